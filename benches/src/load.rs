//! A load generator for HTTP/1.1 over keep-alive connections, one request at a time on each.
//!
//! It costs little, because it shares the machine with what it measures: one thread, one request
//! text for all, no parsing beyond the status line, the length and one expected text.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::latency::Latencies;
use crate::options::Options;

/// Bytes of an answer; what is longer is an error.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Longest wait for one answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// What every connection does.
struct Load {
    address: String,
    request: Vec<u8>,
    expect: String,
    measure_from: Instant,
    until: Instant,
    /// For each connection.
    max_requests: u64,
}

/// Runs the measurement.
pub(crate) fn run(options: &Options) -> Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(generate(options))
}

async fn generate(options: &Options) -> Result<Value> {
    let concurrency = options.number("concurrency", 1)?.max(1);
    let requests = options.number("requests", u64::MAX)?;
    let warmup = options.seconds("warmup-seconds", 2)?;
    let seconds = options.seconds("seconds", if requests == u64::MAX { 10 } else { 600 })?;
    let measure_from = Instant::now() + warmup;
    let load = Arc::new(Load {
        address: address(options.text("url")?)?,
        request: request(options)?,
        expect: options.text_or("expect", "").to_owned(),
        measure_from,
        until: measure_from + seconds,
        max_requests: requests.div_ceil(concurrency),
    });
    let mut connections = JoinSet::new();
    for _ in 0..concurrency {
        connections.spawn(connection(load.clone()));
    }
    let mut all = Latencies::default();
    while let Some(latencies) = connections.join_next().await {
        all.append(latencies??);
    }
    let mut summary = all.summary(measure_from.elapsed());
    summary["concurrency"] = json!(concurrency);
    Ok(summary)
}

pub(crate) fn address(url: &str) -> Result<String> {
    let rest = url.strip_prefix("http://").context("the URL must begin with http://")?;
    Ok(rest.trim_end_matches('/').to_owned())
}

fn request(options: &Options) -> Result<Vec<u8>> {
    let (path, body) = (options.text("path")?, options.text("body")?);
    let authorization = match options.text_or("key", "") {
        "" => String::new(),
        key => format!("authorization: Bearer {key}\r\n"),
    };
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\n{authorization}content-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        address(options.text("url")?)?,
        body.len()
    );
    Ok([head.as_bytes(), body.as_bytes()].concat())
}

async fn connection(load: Arc<Load>) -> Result<Latencies> {
    let mut stream = TcpStream::connect(&load.address).await.context(load.address.clone())?;
    stream.set_nodelay(true)?;
    let mut answer = Vec::with_capacity(16 * 1024);
    let mut latencies = Latencies::default();
    for _ in 0..load.max_requests {
        let sent = Instant::now();
        if sent >= load.until {
            break;
        }
        stream.write_all(&load.request).await?;
        answer.clear();
        let read = read_answer(&mut stream, &mut answer);
        tokio::time::timeout(ANSWER_TIMEOUT, read).await.context("no answer came in time")??;
        check(&answer, &load.expect)?;
        if sent >= load.measure_from {
            latencies.add(sent.elapsed());
        }
    }
    Ok(latencies)
}

/// Reads one answer, head and body, into `answer`.
pub(crate) async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<()> {
    let mut length = None;
    loop {
        if length.is_none()
            && let Some(head) = find(answer, b"\r\n\r\n")
        {
            length = Some(head + 4 + content_length(&answer[..head])?);
        }
        if length.is_some_and(|length| answer.len() >= length) {
            return Ok(());
        }
        ensure!(answer.len() < MAX_ANSWER_BYTES, "the answer is longer than {MAX_ANSWER_BYTES} bytes");
        if stream.read_buf(answer).await? == 0 {
            bail!("the server hung up");
        }
    }
}

fn content_length(head: &[u8]) -> Result<usize> {
    let head = std::str::from_utf8(head)?;
    for line in head.lines() {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            return Ok(value.trim().parse()?);
        }
    }
    bail!("the answer has no content-length: {head}")
}

fn check(answer: &[u8], expect: &str) -> Result<()> {
    let is_good =
        answer.starts_with(b"HTTP/1.1 200 ") && (expect.is_empty() || find(answer, expect.as_bytes()).is_some());
    ensure!(is_good, "unexpected answer: {}", String::from_utf8_lossy(answer));
    Ok(())
}

/// Where the part begins.
pub(crate) fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
