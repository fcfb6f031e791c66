//! Replays in the sandbox: how many a second, and how long a gate keeps a version waiting.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{Bench, MANY, milliseconds, with_number};
use crate::client::Client;
use crate::server::Server;

/// What the replayed runs did.
const SCRIPT: &str = r#"[{"clock":true},{"random":true},{"return":{"ok":1}}]"#;
/// What is called beside them: the same without questions, which wasmtime alone could not answer.
const CALLED: &str = r#"[{"return":{"ok":1}}]"#;
/// How often a backtest is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Looks at most: ten minutes.
const MAX_LOOKS: u32 = 60_000;

/// A backtest of many runs, beside what an instance and a call cost alone; and a gate of 1,000.
pub(super) fn replays(bench: &Bench) -> Result<Value> {
    let server = Server::start(&bench.dacapo, &bench.fresh_dir("replays")?, None)?;
    let client = Client::new(&server.url, &server.key("dev")?);
    let component = fs::read(bench.guest("script"))?;
    let version = client.deploy("script", &component)?["deployment"]["version"].clone();
    load(bench, &server)?;
    let last = if bench.quick { 1_000 } else { 20_000 };
    let mut rounds = Vec::new();
    for _ in 0..if bench.quick { 1 } else { 3 } {
        let started = Instant::now();
        let done = backtest(&client, &json!({ "version": version, "last": last }))?;
        let seconds = started.elapsed().as_secs_f64();
        rounds.push(json!({ "seconds": seconds, "done": done["done"], "verdicts": done["verdicts"] }));
    }
    let started = Instant::now();
    let other = client.deploy_unpromoted("script", &with_number(&component, 1))?["deployment"]["version"].clone();
    let gate = json!({ "version": other, "last": 1_000, "gate": { "allow": 0 } });
    let done = backtest(&client, &gate)?;
    if done["isOpen"] != true {
        bail!("the same code did not pass its gate: {done}");
    }
    let gate_ms = milliseconds(started.elapsed());
    server.stop()?;
    Ok(json!({ "rounds": rounds, "gateMs": gate_ms, "calls": calls(bench)? }))
}

fn load(bench: &Bench, server: &Server) -> Result<Value> {
    let (key, body) = (server.key("dev")?, format!(r#"{{"payload":{SCRIPT}}}"#));
    let options = ["--path", "/api/v1/tasks/script/trigger?wait=30s", "--body", &body, "--expect", r#""ok":true"#];
    let server = ["--url", &server.url, "--key", &key, "--concurrency", MANY, "--seconds", bench.seconds()];
    bench.measured("load", &[&server[..], &options[..]].concat())
}

/// Does a backtest to its end.
fn backtest(client: &Client, request: &Value) -> Result<Value> {
    let id = client.post("/api/v1/backtests", request)?["id"].as_str().unwrap_or_default().to_owned();
    for _ in 0..MAX_LOOKS {
        let item = client.get(&format!("/api/v1/backtests/{id}"))?;
        if item["status"] != "PENDING" {
            return Ok(item);
        }
        sleep(LOOK_EVERY);
    }
    bail!("the backtest {id} does not end")
}

/// The same component: instantiate, call, drop, on all cores.
fn calls(bench: &Bench) -> Result<Value> {
    let (component, dir) = (bench.guest("script").display().to_string(), bench.fresh_dir("replays-calls")?);
    let (dir, cores) = (dir.display().to_string(), std::thread::available_parallelism()?.to_string());
    let task = ["--component", &component, "--task", "script", "--payload", CALLED];
    let how = ["--dir", &dir, "--seconds", bench.seconds(), "--concurrency", &cores];
    bench.measured("calls", &[&task[..], &how[..]].concat())
}
