//! `cargo xtask demo`: the product's one story, on this machine, with the real server.
//!
//! An order importer is deployed, 20 real payloads are triggered, six of them fail; a fixed version
//! is deployed, the six are replayed on it and succeed. With `--exit` it is a test of just that:
//! anything but exactly this story is an error.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::build;
use crate::client::Client;
use crate::server::{self, Server};
use crate::terminal::{bad, dim, good, heading, strong};
use crate::workspace::Workspace;

/// The task of both versions.
const TASK: &str = "import-order";
/// The name under which both versions are deployed: the second takes the first's place.
const NAME: &str = "order-importer";
/// The orders on which the first version fails. Their bugs are in its source.
const FAILING: [&str; 6] = ["A-1004", "A-1007", "A-1010", "A-1012", "A-1014", "A-1017"];
/// Where the demo's server listens when it stays up: the product's default.
const LISTEN: &str = "127.0.0.1:3040";

/// The most that is shown of a reason, so that tables keep their shape.
const MAX_REASON_CHARS: usize = 100;

/// A run of one order, as it ended.
struct Imported {
    order: String,
    run: Value,
}

/// Runs the command.
pub(crate) fn run(workspace: &Workspace, options: &[String]) -> Result<ExitCode> {
    let exit = match options {
        [] => false,
        [option] if option == "--exit" => true,
        _ => bail!("demo knows one option: --exit"),
    };
    heading("Building the server and the sample tasks (minutes the first time, then seconds)");
    let samples = build::samples(workspace)?;
    let binary = build::server(workspace)?;
    let server = story(workspace, &binary, &samples, (!exit).then_some(LISTEN))?;
    if exit {
        return end(server).map(|()| ExitCode::SUCCESS);
    }
    invite(&server, &server.key("dev")?, &binary);
    stay(&server)?;
    Ok(ExitCode::SUCCESS)
}

/// The same as a test, with what is built already.
pub(crate) fn check(workspace: &Workspace, binary: &Path, samples: &Path) -> Result<()> {
    end(story(workspace, binary, samples, None)?)
}

/// Tells the story on a new server, and leaves that running.
fn story(workspace: &Workspace, binary: &Path, samples: &Path, listen: Option<&str>) -> Result<Server> {
    heading("Starting a server with an empty data directory");
    let data_dir = workspace.target.join("demo/data");
    server::fresh_dir(&data_dir)?;
    // The usual address, unless something else listens there.
    let listen = listen.filter(|address| std::net::TcpListener::bind(address).is_ok());
    let server = Server::start(binary, &data_dir, listen)?;
    println!("It listens on {} and keeps its data in {}.", strong(&server.url), data_dir.display());
    tell(workspace, &server, &server.key("dev")?, binary, samples)?;
    Ok(server)
}

fn end(server: Server) -> Result<()> {
    server.stop()?;
    println!("\n{} The demo went as it should, and the server has stopped.", good("✓"));
    Ok(())
}

fn tell(workspace: &Workspace, server: &Server, key: &str, binary: &Path, samples: &Path) -> Result<()> {
    let client = Client::new(&server.url, key);
    let orders = orders(workspace)?;
    let deploy = |file: &str| deploy(binary, server, key, &samples.join(file));

    heading("Deploying the order importer, version 1");
    deploy("order_importer_v1.wasm")?;

    heading(&format!("Triggering `{TASK}` with {} orders", orders.len()));
    let first = import(&client, &orders)?;
    show(&first);
    let failed: Vec<Imported> = first.into_iter().filter(|import| !succeeded(&import.run)).collect();
    let names: Vec<&str> = failed.iter().map(|import| import.order.as_str()).collect();
    ensure!(names == FAILING, "these orders should have failed: {FAILING:?}; these did: {names:?}");

    heading("Deploying version 2, which copes with them");
    deploy("order_importer_v2.wasm")?;

    heading(&format!("Replaying the {} failed runs: the old payloads, on the new code", failed.len()));
    let replayed = replay(&client, &failed)?;
    show(&replayed);
    println!();
    for (source, replay) in failed.iter().zip(&replayed) {
        check_replay(source, replay)?;
        let lineage = format!("{}  replays  {}", text(&replay.run["id"]), text(&source.run["id"]));
        println!("  {:<8} {}", source.order, dim(&lineage));
    }
    println!("\n{} All {} orders are imported.", good("✓"), orders.len());
    Ok(())
}

fn orders(workspace: &Workspace) -> Result<Vec<Value>> {
    let path = workspace.root.join("sample-tasks/orders.json");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let orders: Vec<Value> = serde_json::from_str(&text).context("sample-tasks/orders.json")?;
    ensure!(orders.len() == 20, "sample-tasks/orders.json should hold 20 orders");
    Ok(orders)
}

/// Deploys through the command line, as a person would.
fn deploy(binary: &Path, server: &Server, key: &str, component: &Path) -> Result<()> {
    let here = std::env::current_dir().unwrap_or_default();
    let shown = component.strip_prefix(here).unwrap_or(component).display();
    println!("{}", dim(&format!("$ dacapo deploy {shown} --name {NAME}")));
    let mut command = Command::new(binary);
    command
        .arg("deploy")
        .arg(component)
        .args(["--name", NAME])
        .env("TRIGGER_API_URL", &server.url)
        .env("TRIGGER_SECRET_KEY", key);
    crate::programs::run(&mut command)
}

fn import(client: &Client, orders: &[Value]) -> Result<Vec<Imported>> {
    let mut runs = Vec::new();
    for order in orders {
        runs.push((text(&order["id"]), client.trigger(TASK, order)?));
    }
    let finished = |(order, run): (String, String)| client.finished_run(&run).map(|run| Imported { order, run });
    runs.into_iter().map(finished).collect()
}

fn replay(client: &Client, failed: &[Imported]) -> Result<Vec<Imported>> {
    let mut runs = Vec::new();
    for source in failed {
        runs.push((source.order.clone(), client.replay(&text(&source.run["id"]))?));
    }
    let finished = |(order, run): (String, String)| client.finished_run(&run).map(|run| Imported { order, run });
    runs.into_iter().map(finished).collect()
}

fn check_replay(source: &Imported, replay: &Imported) -> Result<()> {
    let (old, new) = (&source.run, &replay.run);
    let order = &source.order;
    ensure!(succeeded(new), "the replay of {order} should have completed: {new}");
    ensure!(new["replayedFrom"] == old["id"], "the replay of {order} does not name its source");
    ensure!(new["isReplay"] == true, "the replay of {order} does not say that it is one");
    ensure!(new["payload"] == old["payload"], "the replay of {order} has another payload");
    ensure!(
        new["version"].is_string() && new["version"] != old["version"],
        "the replay of {order} ran on version {}, its source on {}",
        new["version"],
        old["version"]
    );
    Ok(())
}

fn succeeded(run: &Value) -> bool {
    run["status"] == "COMPLETED"
}

fn show(imports: &[Imported]) {
    println!();
    println!("  {}", dim(&format!("{:<8} {:<10} {:<12} {:<4} result", "order", "status", "version", "try")));
    for Imported { order, run } in imports {
        let status = format!("{:<10}", text(&run["status"]));
        let status = if succeeded(run) { good(&status) } else { bad(&status) };
        let (version, attempts) = (text(&run["version"]), text(&run["attemptCount"]));
        println!("  {order:<8} {status} {version:<12} {attempts:<4} {}", result(run));
    }
    let completed = imports.iter().filter(|import| succeeded(&import.run)).count();
    let failed = imports.len() - completed;
    println!("\n  {completed} completed, {failed} failed");
}

/// What came out of a run, in a line.
fn result(run: &Value) -> String {
    if succeeded(run) {
        let output = &run["output"];
        let cents = output["totalCents"].as_i64().unwrap_or_default();
        return format!("{}.{:02} {}", cents / 100, cents % 100, text(&output["currency"]));
    }
    let error = &run["error"];
    let message = text(&error["message"]).split_whitespace().collect::<Vec<_>>().join(" ");
    let reason = match message.split_once("panicked at ") {
        // What led to the panic's message is the same for all of them.
        Some((_, place_and_reason)) => format!("panicked at {place_and_reason}"),
        None => format!("{}: {message}", text(&error["name"])),
    };
    match reason.char_indices().nth(MAX_REASON_CHARS) {
        Some((end, _)) => format!("{}…", &reason[..end]),
        None => reason,
    }
}

fn invite(server: &Server, key: &str, binary: &Path) {
    heading("The server stays up");
    let (url, dacapo) = (&server.url, binary.display());
    println!("  address  {}\n  key      {}", strong(url), strong(key));
    println!("\nThree things to try in another terminal:\n");
    println!("  {}", dim("# 1. see the runs"));
    println!("  export TRIGGER_API_URL={url} TRIGGER_SECRET_KEY={key}");
    println!("  {dacapo} runs list");
    println!("\n  {}", dim("# 2. trigger a run over HTTP and wait for it"));
    println!("  curl '{url}/api/v1/tasks/{TASK}/trigger?wait=30s' \\");
    println!("    -H 'authorization: Bearer {key}' -H 'content-type: application/json' \\");
    println!(r#"    -d '{{"payload":{{"id":"B-1","currency":"EUR","items":[]}}}}'"#);
    println!("\n  {}", dim("# 3. the same with the official client: npm install @trigger.dev/sdk@4.8.3"));
    println!("  node --input-type=module -e 'import {{ tasks, runs }} from \"@trigger.dev/sdk\";");
    println!("    const run = await tasks.trigger(\"{TASK}\", {{ id: \"B-2\", currency: \"EUR\", items: [] }});");
    println!("    console.log(await runs.poll(run));'");
    println!("\nCtrl-C stops the server.");
}

/// Waits for Ctrl-C, and then for the server.
fn stay(server: &Server) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let interrupter = server.interrupter();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            println!("\nstopping");
            interrupter.interrupt();
        }
    });
    let status = server.wait()?;
    ensure!(status.success(), "the server ended with {status}");
    Ok(())
}

/// A JSON string without its quotes; anything else as JSON.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
