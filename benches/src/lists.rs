//! First pages of the list of runs, by every filter, over one keep-alive connection: what somebody
//! waits who opens a page.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::latency::Latencies;
use crate::load::{ANSWER_TIMEOUT, address, read_answer};
use crate::options::Options;
use crate::variety;

/// Requests of each filter that are not counted: they bring what they need into memory.
const WARMUP: u64 = 5;
/// Longest time for the requests of one filter.
const MAX_TIME: Duration = Duration::from_secs(10);

/// Runs the measurement.
pub(crate) fn run(options: &Options) -> Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(options))
}

async fn measure(options: &Options) -> Result<Value> {
    let requests = options.number("requests", 300)?.max(1);
    let (address, key) = (address(options.text("url")?)?, options.text("key")?);
    let mut stream = TcpStream::connect(&address).await.context(address.clone())?;
    stream.set_nodelay(true)?;
    let mut results = Map::new();
    for (name, query) in variety::queries(options.text("task")?, options.text("version")?) {
        let request = format!(
            "GET /api/v1/runs?{query} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\r\n",
            query = query.replace('[', "%5B").replace(']', "%5D"),
        );
        let first = Instant::now();
        let found = ask(&mut stream, &request).await.with_context(|| name.to_owned())?;
        let first_us = first.elapsed().as_secs_f64() * 1e6;
        ensure!(found > 0, "the filter `{name}` finds nothing: {query}");
        for _ in 0..WARMUP {
            ask(&mut stream, &request).await?;
        }
        let mut latencies = Latencies::default();
        let started = Instant::now();
        for _ in 0..requests {
            let sent = Instant::now();
            ask(&mut stream, &request).await?;
            latencies.add(sent.elapsed());
            if started.elapsed() > MAX_TIME {
                break;
            }
        }
        let mut summary = latencies.summary(started.elapsed());
        summary["found"] = json!(found);
        summary["firstUs"] = json!(first_us);
        results.insert(name.to_owned(), summary);
    }
    Ok(Value::Object(results))
}

/// Asks for a page, and answers with the number of runs on it.
async fn ask(stream: &mut TcpStream, request: &str) -> Result<usize> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(64 * 1024);
    let read = read_answer(stream, &mut answer);
    tokio::time::timeout(ANSWER_TIMEOUT, read).await.context("no answer came in time")??;
    let text = std::str::from_utf8(&answer)?;
    ensure!(text.starts_with("HTTP/1.1 200 "), "unexpected answer: {text}");
    // Every run on the page has one; parsing the whole would take as long as the server takes.
    Ok(text.matches("\"taskIdentifier\":").count())
}
