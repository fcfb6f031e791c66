//! Runs that wait, their journals and their children.

use std::fs;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Bench, MANY, deploy};
use crate::client::Client;
use crate::server::Server;

/// Drops every guest that waits.
const DROPPING: [&str; 4] = ["--listen", "127.0.0.1:0", "--parked-time", "0s"];
/// Keeps every one.
const KEEPING: [&str; 8] =
    ["--listen", "127.0.0.1:0", "--parked-time", "1h", "--parked-memory", "16GiB", "--max-concurrent-runs", "1000"];
/// Records nothing.
const NOT_RECORDING: [&str; 4] = ["--listen", "127.0.0.1:0", "--max-journal", "0B"];
const RECORDING: [&str; 2] = ["--listen", "127.0.0.1:0"];
/// Requests of a run whose journal is weighed.
const REQUESTS: u64 = 20;

/// From a wake-up until a guest goes on; and what runs cost that wait.
pub(super) fn waits(bench: &Bench) -> Result<Value> {
    let (resumes, parked, dropped) = if bench.quick { ("20", "100", "500") } else { ("500", "1000", "10000") };
    Ok(json!({
        "resumeParked": resume(bench, &KEEPING, resumes)?,
        "resumeDropped": resume(bench, &DROPPING, resumes)?,
        "parked": waiting(bench, &KEEPING, parked)?,
        "dropped": waiting(bench, &DROPPING, dropped)?,
    }))
}

fn start(bench: &Bench, settings: &[&str]) -> Result<Server> {
    let server = Server::start_with(&bench.dacapo, &bench.fresh_dir("waits")?, settings)?;
    deploy(&server, "script", &fs::read(bench.guest("script"))?)?;
    Ok(server)
}

fn resume(bench: &Bench, settings: &[&str], runs: &str) -> Result<Value> {
    let server = start(bench, settings)?;
    let key = server.key("dev")?;
    let options = |runs| ["--url", &server.url, "--key", &key, "--runs", runs];
    bench.measured("resume", &options("10"))?;
    let result = bench.measured("resume", &options(runs))?;
    server.stop()?;
    Ok(result)
}

fn waiting(bench: &Bench, settings: &[&str], runs: &str) -> Result<Value> {
    let server = start(bench, settings)?;
    let key = server.key("dev")?;
    let options = |runs| ["--url", &server.url, "--key", &key, "--runs", runs];
    bench.measured("wait", &options("10"))?;
    let before = server.resident_bytes()?;
    let waiting = bench.measured("wait", &options(runs))?;
    let after = server.resident_bytes()?;
    server.stop()?;
    Ok(json!({ "runs": waiting["runs"], "residentBytesBefore": before, "residentBytesAfter": after }))
}

/// What it costs to record: the same load with journals and without, in turn; a run that asks nothing,
/// and one that asks for the time, for random numbers and for a variable. And what an HTTP call weighs.
pub(super) fn journal(bench: &Bench) -> Result<Value> {
    let asks = json!([{ "clock": true }, { "random": true }, { "env": "HOME" }]);
    let mut rounds = Vec::new();
    for _ in 0..if bench.quick { 1 } else { 3 } {
        let (on, off) = (start(bench, &RECORDING)?, start_beside(bench, &NOT_RECORDING)?);
        for script in [json!([]), asks.clone()] {
            let [on, off] = [&on, &off].map(|server| load(bench, server, &script, MANY));
            rounds.push(json!({ "asks": script != json!([]), "on": on?, "off": off? }));
        }
        on.stop()?;
        off.stop()?;
    }
    Ok(json!({ "rounds": rounds, "http": http_call(bench)? }))
}

fn start_beside(bench: &Bench, settings: &[&str]) -> Result<Server> {
    let server = Server::start_with(&bench.dacapo, &bench.fresh_dir("waits-beside")?, settings)?;
    deploy(&server, "script", &fs::read(bench.guest("script"))?)?;
    Ok(server)
}

fn load(bench: &Bench, server: &Server, script: &Value, concurrency: &str) -> Result<Value> {
    let (key, body) = (server.key("dev")?, json!({ "payload": script }).to_string());
    let options = ["--path", "/api/v1/tasks/script/trigger?wait=30s", "--body", &body, "--expect", r#""ok":true"#];
    let server = ["--url", &server.url, "--key", &key, "--concurrency", concurrency, "--seconds", bench.seconds()];
    bench.measured("load", &[&server[..], &options[..]].concat())
}

/// The journal of a run that sends requests and gets short answers, for each of them.
fn http_call(bench: &Bench) -> Result<Value> {
    let mut command = std::process::Command::new(&bench.measure);
    command.arg("echo-server");
    let site = Server::spawn(command, &bench.dir.join("echo"))?;
    let weigh = |requests: u64| -> Result<u64> {
        let server = start(bench, &RECORDING)?;
        let data_dir = bench.dir.join("waits");
        let rules = json!({ "rules": ["127.0.0.1"] });
        Client::new(&server.url, &server.key("admin")?).put("/admin/v1/environments/dev/egress", &rules)?;
        let client = Client::new(&server.url, &server.key("dev")?);
        let script: Vec<Value> = (0..requests).map(|_| json!({ "http": format!("{}/echo", site.url) })).collect();
        let run = client.trigger("script", &json!([{ "clock": true }, { "span": script }]))?;
        client.finished_run(&run)?;
        server.stop()?;
        let weighed = bench.measured("journal", &["--data-dir", &data_dir.display().to_string()])?;
        weighed["bytes"].as_u64().context("a journal has bytes")
    };
    let (without, with) = (weigh(0)?, weigh(REQUESTS)?);
    Ok(json!({ "journalBytes": without, "bytesPerCall": with.saturating_sub(without) / REQUESTS }))
}

/// Runs with a child each, beside runs without.
pub(super) fn children(bench: &Bench) -> Result<Value> {
    let server = start(bench, &RECORDING)?;
    let parent = json!([{ "child": { "task": "leaf", "payload": { "echo": 1 } } }]);
    let result = json!({
        "alone": load(bench, &server, &json!([{ "return": 1 }]), MANY)?,
        "one": load(bench, &server, &parent, "1")?,
        "many": load(bench, &server, &parent, MANY)?,
    });
    server.stop()?;
    Ok(result)
}
