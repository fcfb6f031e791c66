//! Batches, as the official client sends them: announced, then all items as lines, one batch at a
//! time on each connection. What counts is when the last answer says that all items are on disk.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::latency::Latencies;
use crate::load::{ANSWER_TIMEOUT, address, find, read_answer};
use crate::options::Options;

/// What every connection does.
struct Batches {
    address: String,
    key: String,
    announcement: String,
    lines: String,
    measure_from: Instant,
    until: Instant,
}

/// Runs the measurement.
pub(crate) fn run(options: &Options) -> Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(generate(options))
}

async fn generate(options: &Options) -> Result<Value> {
    let concurrency = options.number("concurrency", 1)?.max(1);
    let items = options.number("items", 1_000)?;
    let measure_from = Instant::now() + options.seconds("warmup-seconds", 2)?;
    let (task, payload) = (options.text("task")?, options.text("payload")?);
    let payload: Value = serde_json::from_str(payload).context("--payload")?;
    let line = |index: u64| format!("{}\n", json!({ "index": index, "task": task, "payload": payload }));
    let batches = Arc::new(Batches {
        address: address(options.text("url")?)?,
        key: options.text("key")?.to_owned(),
        announcement: json!({ "runCount": items }).to_string(),
        lines: (0..items).map(line).collect(),
        measure_from,
        until: measure_from + options.seconds("seconds", 10)?,
    });
    let mut connections = JoinSet::new();
    for _ in 0..concurrency {
        connections.spawn(connection(batches.clone()));
    }
    let mut all = Latencies::default();
    while let Some(latencies) = connections.join_next().await {
        all.append(latencies??);
    }
    let mut summary = all.summary(measure_from.elapsed());
    let batches_per_second = summary["perSecond"].as_f64().unwrap_or_default();
    summary["concurrency"] = json!(concurrency);
    summary["items"] = json!(items);
    summary["itemsPerSecond"] = json!(batches_per_second * items as f64);
    Ok(summary)
}

async fn connection(batches: Arc<Batches>) -> Result<Latencies> {
    let mut stream = TcpStream::connect(&batches.address).await.context(batches.address.clone())?;
    stream.set_nodelay(true)?;
    let mut answer = Vec::with_capacity(16 * 1024);
    let mut latencies = Latencies::default();
    loop {
        let sent = Instant::now();
        if sent >= batches.until {
            return Ok(latencies);
        }
        let announcement = ("/api/v3/batches", "application/json", batches.announcement.as_str());
        batches.post(&mut stream, announcement, &mut answer).await?;
        let id = id(&answer)?;
        let path = format!("/api/v3/batches/{id}/items");
        batches.post(&mut stream, (&path, "application/x-ndjson", &batches.lines), &mut answer).await?;
        ensure!(find(&answer, br#""sealed":true"#).is_some(), "not sealed: {}", String::from_utf8_lossy(&answer));
        if sent >= batches.measure_from {
            latencies.add(sent.elapsed());
        }
    }
}

impl Batches {
    /// Sends a request, given by its path, its content type and its body.
    async fn post(&self, stream: &mut TcpStream, request: (&str, &str, &str), answer: &mut Vec<u8>) -> Result<()> {
        let (path, content_type, body) = request;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: {content_type}\r\n\
             content-length: {}\r\n\r\n",
            self.address,
            self.key,
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        answer.clear();
        tokio::time::timeout(ANSWER_TIMEOUT, read_answer(stream, answer)).await.context("no answer came in time")??;
        ensure!(answer.starts_with(b"HTTP/1.1 20"), "unexpected answer: {}", String::from_utf8_lossy(answer));
        Ok(())
    }
}

fn id(answer: &[u8]) -> Result<String> {
    let body = find(answer, b"\r\n\r\n").context("the answer has no body")?;
    let receipt: Value = serde_json::from_slice(&answer[body + 4..])?;
    Ok(receipt["id"].as_str().context("the receipt has no id")?.to_owned())
}
