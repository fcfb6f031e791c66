//! Runs that wait: how long until one goes on, and many of them at once.
//!
//! The guest is `script` of the tests. To go on is measured from the moment at which the request is
//! sent that completes what the run waits for, until the guest looks at its clock: both read the same.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::exchange::{Target, exchange};
use crate::latency::Latencies;
use crate::options::Options;

/// Longest time until a run waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to the server.
struct Client {
    target: Target,
    stream: TcpStream,
}

/// How long it takes from a wake-up until the guest's code runs.
pub(crate) fn resume(options: &Options) -> Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = Client::connect(options).await?;
        let mut latencies = Latencies::default();
        let started = std::time::Instant::now();
        for _ in 0..options.number("runs", 200)? {
            latencies.add(client.resume_one().await?);
        }
        Ok(latencies.summary(started.elapsed()))
    })
}

/// Lets runs wait; ends when all of them do, and leaves them so.
pub(crate) fn wait(options: &Options) -> Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = Client::connect(options).await?;
        let mut runs = Vec::new();
        for _ in 0..options.number("runs", 1_000)? {
            runs.push(client.trigger(&json!([{ "wait_ms": 1_000_000_000 }])).await?);
        }
        for run in &runs {
            client.until_waiting(run).await?;
        }
        Ok(json!({ "runs": runs.len() }))
    })
}

impl Client {
    async fn connect(options: &Options) -> Result<Self> {
        let target = Target::of(options)?;
        let stream = TcpStream::connect(&target.address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { target, stream })
    }

    async fn send(&mut self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        exchange(&mut self.stream, &self.target, method, path, &body).await?.json()
    }

    async fn trigger(&mut self, script: &Value) -> Result<String> {
        let made = self.send("POST", "/api/v1/tasks/script/trigger", &json!({ "payload": script })).await?;
        Ok(made["id"].as_str().context("the receipt has no id")?.to_owned())
    }

    async fn until_waiting(&mut self, run: &str) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.send("GET", &format!("/api/v3/runs/{run}"), &Value::Null).await?;
            if found["status"] == "WAITING" {
                return Ok(found);
            }
            ensure!(Instant::now() < deadline, "the run does not wait: {found}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the guest looks at the clock of the system, too")]
    async fn resume_one(&mut self) -> Result<Duration> {
        let run = self.trigger(&json!([{ "create_token": {} }, { "token": "$last" }, { "clock": true }])).await?;
        let waiting = self.until_waiting(&run).await?;
        let token = waiting["metadata"]["token"]["id"].as_str().context("no token was made")?.to_owned();
        let sent = SystemTime::now().duration_since(UNIX_EPOCH)?;
        self.send("POST", &format!("/api/v1/waitpoints/tokens/{token}/complete"), &json!({})).await?;
        let ended = self.send("GET", &format!("/api/v1/runs/{run}/result?wait=60s"), &Value::Null).await?;
        let output: Value = serde_json::from_str(ended["output"].as_str().context("the run failed")?)?;
        let ran = output[2].as_u64().context("the guest shows no time")?;
        Ok(Duration::from_nanos(ran).saturating_sub(sent))
    }
}

/// The bytes of the journals in the database of a stopped server, and their runs.
pub(crate) fn journal(options: &Options) -> Result<Value> {
    let database = options.path("data-dir")?.join("dacapo.db");
    let connection = rusqlite::Connection::open(database)?;
    let sql = "SELECT COALESCE(SUM(LENGTH(data)), 0), COUNT(DISTINCT run_id) FROM run_journals";
    let (bytes, runs): (i64, i64) = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(json!({ "bytes": bytes, "runs": runs }))
}
