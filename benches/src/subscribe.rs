//! Realtime subscribers that hold a request each: what they cost while nothing happens, and how long
//! it takes from a change until all of them have heard of it.
//!
//! One delayed run is watched by all. Its metadata are changed, again and again: each change is one
//! commit, and wakes everyone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::exchange::{Target, exchange};
use crate::latency::Latencies;
use crate::load::find;
use crate::options::Options;

/// What `/proc` counts CPU time in, on every Linux that matters.
const TICKS_PER_SECOND: f64 = 100.0;

/// Runs the measurement.
pub(crate) fn run(options: &Options) -> Result<Value> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(options))
}

async fn measure(options: &Options) -> Result<Value> {
    let subscribers = usize::try_from(options.number("subscribers", 1_000)?.max(1))?;
    let changes = options.number("changes", 20)?;
    let idle = options.seconds("seconds", 10)?;
    let pid = options.number("pid", 0)?;
    let target = Arc::new(Target::of(options)?);
    let mut control = TcpStream::connect(&target.address).await?;
    let delayed = json!({ "payload": 1, "options": { "delay": "1h" } }).to_string();
    let path = format!("/api/v1/tasks/{}/trigger", options.text_or("task", "nobody"));
    let made = exchange(&mut control, &target, "POST", &path, &delayed).await?.json()?;
    let run = made["id"].as_str().context("the receipt has no id")?.to_owned();
    let (heard, mut news) = mpsc::unbounded_channel();
    let mut feeds = JoinSet::new();
    for _ in 0..subscribers {
        feeds.spawn(follow(target.clone(), run.clone(), heard.clone()));
    }
    drop(heard);
    // Each says so when it has the snapshot.
    all_heard(&mut news, &mut feeds, subscribers).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;

    let before = cpu_seconds(pid)?;
    tokio::time::sleep(idle).await;
    let idle_cpu = cpu_seconds(pid)? - before;

    let mut latencies = Latencies::default();
    let started = Instant::now();
    for number in 0..changes {
        let body = json!({ "metadata": { "n": number } }).to_string();
        let sent = Instant::now();
        exchange(&mut control, &target, "PUT", &format!("/api/v1/runs/{run}/metadata"), &body).await?;
        all_heard(&mut news, &mut feeds, subscribers).await?;
        latencies.add(sent.elapsed());
    }
    let mut summary = latencies.summary(started.elapsed());
    feeds.shutdown().await;
    exchange(&mut control, &target, "POST", &format!("/api/v2/runs/{run}/cancel"), "{}").await?;
    summary["subscribers"] = json!(subscribers);
    summary["idleSeconds"] = json!(idle.as_secs_f64());
    if pid != 0 {
        summary["idleCpuSeconds"] = json!(idle_cpu);
    }
    Ok(summary)
}

/// Waits until everyone has heard.
async fn all_heard(
    news: &mut mpsc::UnboundedReceiver<()>,
    feeds: &mut JoinSet<Result<()>>,
    subscribers: usize,
) -> Result<()> {
    for _ in 0..subscribers {
        tokio::select! {
            one = news.recv() => one.context("nobody subscribes any more")?,
            Some(ended) = feeds.join_next() => bail!("a subscriber ended: {:?}", ended?),
        }
    }
    Ok(())
}

/// Follows the run; says so with every answer that brings something.
async fn follow(target: Arc<Target>, run: String, heard: mpsc::UnboundedSender<()>) -> Result<()> {
    let mut stream = TcpStream::connect(&target.address).await?;
    stream.set_nodelay(true)?;
    let path = format!("/realtime/v1/runs/{run}?log=full");
    let mut place = "&offset=-1".to_owned();
    loop {
        let answer = exchange(&mut stream, &target, "GET", &format!("{path}{place}"), "").await?;
        let header = |name: &str| header(&answer.head, name).with_context(|| format!("no {name}: {}", answer.head));
        place = format!("&live=true&offset={}&handle={}", header("electric-offset")?, header("electric-handle")?);
        let has_news = find(&answer.body, b"\"friendlyId\":").is_some();
        if has_news && heard.send(()).is_err() {
            return Ok(());
        }
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// CPU time that a process has used; 0 for no process.
fn cpu_seconds(pid: u64) -> Result<f64> {
    if pid == 0 {
        return Ok(0.0);
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("--pid {pid}"))?;
    // The second field is the name, in parentheses, and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')').context("no stat")?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).context("no stat");
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}
