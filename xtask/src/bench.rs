//! `cargo xtask bench`: what a run costs, and what its parts cost alone, in the same minutes on the
//! same machine.
//!
//! Nothing here measures: `dacapo-bench` does, one measurement a process. This starts servers of
//! the release profile on fresh directories, calls it, and writes `target/bench/bench.json` and a
//! table. Numbers are never asserted: machines differ, and so do their moments.

mod page;
mod replays;
mod waits;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::build;
use crate::client::Client;
use crate::report;
use crate::server::{self, Server};
use crate::terminal::heading;
use crate::workspace::Workspace;
use crate::{programs, terminal};

/// The concurrency of the goals in the README.
const MANY: &str = "64";
/// A payload of 256 bytes or so, as JSON of the kind that people send.
const PAYLOAD: &str = r#"{"id":"A-1002","currency":"USD","items":[{"sku":"TSH-M","quantity":1,"price":24.5},{"sku":"CAP-BK","quantity":1,"price":15}],"coupon":"SPRING10","address":{"name":"Noah Reed","street":"12 Pine St","city":"Portland","country":"US"}}"#;

/// Everything that a measurement needs.
struct Bench {
    /// The measuring program.
    measure: PathBuf,
    /// The product.
    dacapo: PathBuf,
    guests: PathBuf,
    /// Where servers keep their data: on the disk that the target directory is on.
    /// What opens the page in a browser.
    page_tests: PathBuf,
    dir: PathBuf,
    /// Smaller and shorter, to see that it works.
    quick: bool,
}

/// A name for `--only`, what is measured, and how.
type Measurement = (&'static str, &'static str, fn(&Bench) -> Result<Value>);

static MEASUREMENTS: [Measurement; 14] = [
    ("calls", "instantiate, call, drop: wasmtime alone and the sandbox", calls),
    ("http", "HTTP alone: axum echoes JSON", http),
    ("commits", "storage alone: three durable records a run in SQLite", commits),
    ("runs", "trigger to finished, over HTTP", runs),
    ("batches", "runs accepted: triggered singly, and in batches of 1,000", batches),
    ("history", "the same, with a million finished runs in the database, and lists of them", history),
    ("subscribe", "1,000 realtime subscribers: idle, and from a change until all have heard of it", subscribe),
    ("waits", "runs that wait: until a guest goes on, and memory", waits::waits),
    ("journal", "what recording costs, and what an HTTP call weighs", waits::journal),
    ("children", "runs with a child each that they wait for", waits::children),
    ("replays", "replays in the sandbox, and a gate of 1,000", replays::replays),
    ("page", "the list of a million runs in a browser", page::page),
    ("queue", "memory with 10,000 queued runs", queue),
    ("deployments", "1,000 deployments: each upload, and the start after them", deployments),
];

/// Runs the command.
pub(crate) fn run(workspace: &Workspace, options: &[String]) -> Result<ExitCode> {
    let only = crate::only(options)?;
    let selected = selected(only.as_deref())?;
    heading("Building for release");
    let (dacapo, measure) = build::server_and_bench(workspace)?;
    let bench = Bench {
        measure,
        dacapo,
        guests: build::guests(workspace)?,
        page_tests: workspace.root.join("tests/page"),
        dir: workspace.target.join("bench"),
        quick: options.iter().any(|option| option == "--quick"),
    };
    fs::create_dir_all(&bench.dir)?;
    let mut results = Map::new();
    results.insert("machine".into(), machine(workspace, &bench)?);
    for (name, title, measure) in selected {
        heading(&format!("{name}: {title}"));
        let started = Instant::now();
        let result = measure(&bench).with_context(|| format!("measuring {name}"))?;
        println!("{}", terminal::dim(&format!("took {:.0} s", started.elapsed().as_secs_f64())));
        results.insert((*name).to_owned(), result);
    }
    let path = bench.dir.join("bench.json");
    let results = Value::Object(results);
    fs::write(&path, serde_json::to_string_pretty(&results)?)?;
    println!("\n{}", report::table(&results));
    println!("Written to {}", path.display());
    Ok(ExitCode::SUCCESS)
}

fn selected(only: Option<&[String]>) -> Result<Vec<&'static Measurement>> {
    let Some(names) = only else {
        return Ok(MEASUREMENTS.iter().collect());
    };
    for name in names {
        if !MEASUREMENTS.iter().any(|(known, ..)| known == name) {
            let known = MEASUREMENTS.map(|measurement| measurement.0).join(", ");
            bail!("there is no measurement `{name}`; there are: {known}");
        }
    }
    Ok(MEASUREMENTS.iter().filter(|(name, ..)| names.iter().any(|wanted| wanted == name)).collect())
}

fn machine(workspace: &Workspace, bench: &Bench) -> Result<Value> {
    let said = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        let output = programs::output(command.args(arguments).current_dir(&workspace.root));
        output.map_or_else(|_| "unknown".into(), |text| String::from_utf8_lossy(&text).trim().to_owned())
    };
    let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu_info.lines().find_map(|line| line.strip_prefix("model name"));
    Ok(json!({
        "cpu": model.map_or("unknown", |model| model.trim_start_matches([' ', '\t', ':'])),
        "cores": std::thread::available_parallelism()?.get(),
        "kernel": said("uname", &["-sr"]),
        "date": said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
        "commit": said("git", &["describe", "--always", "--dirty"]),
        "rustc": said("rustc", &["--version"]),
        "quick": bench.quick,
    }))
}

impl Bench {
    /// Calls the measuring program.
    fn measured(&self, measurement: &str, options: &[&str]) -> Result<Value> {
        let mut command = Command::new(&self.measure);
        let output = programs::output(command.arg(measurement).args(options))?;
        serde_json::from_slice(&output).context("the measuring program printed no JSON")
    }

    /// How long to measure.
    fn seconds(&self) -> &'static str {
        if self.quick { "2" } else { "10" }
    }

    fn guest(&self, name: &str) -> PathBuf {
        self.guests.join(format!("{name}.wasm"))
    }

    fn fresh_dir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        server::fresh_dir(&dir)?;
        Ok(dir)
    }

    /// Load on `task` until every answer says that its run completed.
    fn load_runs(&self, server: &Server, concurrency: &str) -> Result<Value> {
        let (key, body) = (server.key("dev")?, format!(r#"{{"payload":{PAYLOAD}}}"#));
        self.measured(
            "load",
            &[
                "--url",
                &server.url,
                "--path",
                "/api/v1/tasks/echo/trigger?wait=30s",
                "--key",
                &key,
                "--body",
                &body,
                "--expect",
                r#""ok":true"#,
                "--concurrency",
                concurrency,
                "--seconds",
                self.seconds(),
            ],
        )
    }
}

fn calls(bench: &Bench) -> Result<Value> {
    let dir = bench.fresh_dir("calls")?;
    let (component, dir) = (bench.guest("echo_v1"), dir.display().to_string());
    let component = component.display().to_string();
    let cores = std::thread::available_parallelism()?.to_string();
    let measure = |concurrency: &str| {
        bench.measured(
            "calls",
            &[
                "--component",
                &component,
                "--task",
                "echo",
                "--payload",
                PAYLOAD,
                "--dir",
                &dir,
                "--seconds",
                bench.seconds(),
                "--concurrency",
                concurrency,
            ],
        )
    };
    Ok(json!({ "one": measure("1")?, "allCores": measure(&cores)? }))
}

fn http(bench: &Bench) -> Result<Value> {
    let mut command = Command::new(&bench.measure);
    command.arg("echo-server");
    let server = Server::spawn(command, &bench.dir.join("echo"))?;
    let measure = |concurrency: &str| {
        bench.measured(
            "load",
            &[
                "--url",
                &server.url,
                "--path",
                "/echo",
                "--body",
                PAYLOAD,
                "--concurrency",
                concurrency,
                "--seconds",
                bench.seconds(),
            ],
        )
    };
    Ok(json!({ "one": measure("1")?, "many": measure(MANY)? }))
}

fn commits(bench: &Bench) -> Result<Value> {
    let dir = bench.fresh_dir("commits")?.display().to_string();
    let measure = |concurrency: &str| {
        bench.measured("commits", &["--dir", &dir, "--concurrency", concurrency, "--seconds", bench.seconds()])
    };
    Ok(json!({ "one": measure("1")?, "many": measure(MANY)? }))
}

/// Leaves its database for `history`.
fn runs(bench: &Bench) -> Result<Value> {
    let server = Server::start(&bench.dacapo, &bench.fresh_dir("runs")?, None)?;
    deploy(&server, "echo", &fs::read(bench.guest("echo_v1"))?)?;
    let at_rest = server.resident_bytes()?;
    let (one, many) = (bench.load_runs(&server, "1")?, bench.load_runs(&server, MANY)?);
    let after_load = server.resident_bytes()?;
    server.stop()?;
    Ok(json!({
        "one": one,
        "many": many,
        "residentBytesAtRest": at_rest,
        "residentBytesAfterLoad": after_load,
    }))
}

fn history(bench: &Bench) -> Result<Value> {
    let data_dir = bench.dir.join("runs");
    if !data_dir.join("dacapo.db").exists() {
        bail!("`runs` must have been measured before");
    }
    let dir = data_dir.display().to_string();
    let count = if bench.quick { "100000" } else { "1000000" };
    println!("inserting {count} finished runs");
    let inserted = bench.measured("history", &["--data-dir", &dir, "--runs", count])?;
    let started = Instant::now();
    let server = Server::start(&bench.dacapo, &data_dir, None)?;
    let start = started.elapsed();
    let lists = lists(bench, &server, &inserted)?;
    let (one, many) = (bench.load_runs(&server, "1")?, bench.load_runs(&server, MANY)?);
    let resident = server.resident_bytes()?;
    server.stop()?;
    fs::remove_dir_all(&data_dir)?;
    Ok(json!({
        "inserted": inserted,
        "startMs": milliseconds(start),
        "lists": lists,
        "one": one,
        "many": many,
        "residentBytesAfterLoad": resident,
    }))
}

/// First pages by every filter.
fn lists(bench: &Bench, server: &Server, inserted: &Value) -> Result<Value> {
    let text = |name: &str| inserted[name].as_str().context("the history says what it has inserted");
    let requests = if bench.quick { "50" } else { "300" };
    let (key, task, version) = (server.key("dev")?, text("task")?, text("version")?);
    let options = ["--task", task, "--version", version, "--requests", requests];
    bench.measured("lists", &[&["--url", &server.url, "--key", &key][..], &options].concat())
}

fn subscribe(bench: &Bench) -> Result<Value> {
    let server = Server::start(&bench.dacapo, &bench.fresh_dir("subscribe")?, None)?;
    let (key, pid) = (server.key("dev")?, server.pid());
    let subscribers = if bench.quick { "100" } else { "1000" };
    let options = ["--pid", &pid, "--subscribers", subscribers, "--seconds", bench.seconds()];
    let result = bench.measured("subscribe", &[&["--url", &server.url, "--key", &key][..], &options].concat())?;
    server.stop()?;
    Ok(result)
}

/// A server all of whose places are taken by runs that sleep, so that others stay in the queue.
fn full_server(bench: &Bench, name: &str) -> Result<(Server, Client)> {
    const PLACES: usize = 4;
    let settings = ["--listen", "127.0.0.1:0", "--max-concurrent-runs", "4", "--max-waiting-runs", "100000000"];
    let server = Server::start_with(&bench.dacapo, &bench.fresh_dir(name)?, &settings)?;
    deploy(&server, "echo", &fs::read(bench.guest("echo_v1"))?)?;
    let client = deploy(&server, "sleep", &fs::read(bench.guest("sleep"))?)?;
    for _ in 0..PLACES {
        client.trigger("sleep", &json!({ "ms": 3_600_000 }))?;
    }
    Ok((server, client))
}

/// Only the accepting is measured: what is accepted stays in the queue.
fn batches(bench: &Bench) -> Result<Value> {
    let (server, _) = full_server(bench, "batches")?;
    let (key, body) = (server.key("dev")?, format!(r#"{{"payload":{PAYLOAD}}}"#));
    let server_options = ["--url", &server.url, "--key", &key, "--seconds", bench.seconds()];
    let singly = |concurrency: &str| {
        let path = "/api/v1/tasks/echo/trigger";
        let options = ["--path", path, "--body", &body, "--concurrency", concurrency];
        bench.measured("load", &[&server_options[..], &options].concat())
    };
    let batched = |concurrency: &str| {
        let options = ["--task", "echo", "--payload", PAYLOAD, "--concurrency", concurrency];
        bench.measured("batch", &[&server_options[..], &options].concat())
    };
    // Its runs sleep on: it is not asked to stop but killed, by being dropped.
    Ok(json!({
        "singly": { "one": singly("1")?, "many": singly(MANY)? },
        "batched": { "one": batched("1")?, "many": batched("4")? },
    }))
}

fn queue(bench: &Bench) -> Result<Value> {
    const QUEUED: &str = "10000";
    let (server, client) = full_server(bench, "queue")?;
    let before = server.resident_bytes()?;
    let (key, body) = (server.key("dev")?, format!(r#"{{"payload":{PAYLOAD}}}"#));
    let accepted = bench.measured(
        "load",
        &[
            "--url",
            &server.url,
            "--path",
            "/api/v1/tasks/echo/trigger",
            "--key",
            &key,
            "--body",
            &body,
            "--concurrency",
            "16",
            "--requests",
            QUEUED,
            "--warmup-seconds",
            "0",
        ],
    )?;
    let queued = client.get("/api/v1/runs?filter[status]=QUEUED&page[size]=1")?;
    if queued["data"].as_array().is_none_or(Vec::is_empty) {
        bail!("the runs did not stay in the queue");
    }
    // Its runs sleep on: it is not asked to stop but killed, by being dropped.
    let after = server.resident_bytes()?;
    Ok(json!({
        "accepted": accepted,
        "residentBytesBefore": before,
        "residentBytesWithQueue": after,
    }))
}

fn deployments(bench: &Bench) -> Result<Value> {
    let count: u64 = if bench.quick { 50 } else { 1_000 };
    let data_dir = bench.fresh_dir("deployments")?;
    let server = Server::start(&bench.dacapo, &data_dir, None)?;
    let component = fs::read(bench.guest("echo_v1"))?;
    let mut uploads = Vec::new();
    for number in 0..count {
        let bytes = with_number(&component, number);
        let started = Instant::now();
        deploy(&server, "echo", &bytes)?;
        uploads.push(started.elapsed());
    }
    let size_bytes = component.len();
    server.stop()?;
    let (mut starts, mut first_runs) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let started = Instant::now();
        let server = Server::start(&bench.dacapo, &data_dir, None)?;
        starts.push(started.elapsed());
        let client = Client::new(&server.url, &server.key("dev")?);
        let started = Instant::now();
        client.finished_run(&client.trigger("echo", &json!({}))?)?;
        first_runs.push(started.elapsed());
        server.stop()?;
    }
    fs::remove_dir_all(&data_dir)?;
    Ok(json!({
        "count": count,
        "componentBytes": size_bytes,
        "uploadMs": spread(&mut uploads),
        "coldStartMs": spread(&mut starts),
        "firstRunMs": spread(&mut first_runs),
    }))
}

/// Deploys to `dev`, and returns the client that did.
fn deploy(server: &Server, name: &str, component: &[u8]) -> Result<Client> {
    let client = Client::new(&server.url, &server.key("dev")?);
    client.deploy(name, component)?;
    Ok(client)
}

/// The component with a section that nobody reads: other bytes, the same code.
fn with_number(component: &[u8], number: u64) -> Vec<u8> {
    const NAME: &[u8] = b"bench";
    let number = number.to_le_bytes();
    let length = 1 + NAME.len() + number.len();
    // A custom section: its id, its length, the length of its name, its name, its content. The
    // lengths are below 128, so each is one byte.
    let head = [0, length as u8, NAME.len() as u8];
    [component, &head, NAME, &number].concat()
}

fn spread(durations: &mut [Duration]) -> Value {
    durations.sort_unstable();
    let at = |quantile: f64| {
        let last = durations.len().saturating_sub(1) as f64;
        durations.get((last * quantile).round() as usize).map_or(0.0, |duration| milliseconds(*duration))
    };
    json!({ "p50": at(0.5), "p99": at(0.99), "max": at(1.0) })
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
