//! Three durable records a run (insert, start, finish), each acknowledged after its commit, with
//! one writer that commits whatever has queued up: what storage alone costs.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::latency::Latencies;
use crate::options::Options;

/// Most records of one transaction.
const MAX_GROUP: usize = 1_024;
/// The size of payloads and outputs.
const TEXT_BYTES: usize = 256;

enum Record {
    Insert,
    Start,
    Finish,
}

struct Write {
    record: Record,
    run: u64,
    acknowledge: oneshot::Sender<()>,
}

/// Runs the measurement.
pub(crate) fn run(options: &Options) -> Result<Value> {
    let concurrency = options.number("concurrency", 1)?.max(1);
    let seconds = options.seconds("seconds", 5)?;
    let connection = open(&options.path("dir")?)?;
    let (writes, receiver) = mpsc::sync_channel(4 * MAX_GROUP);
    let writer = thread::spawn(move || commit_groups(connection, &receiver));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut summary = runtime.block_on(clients(concurrency, seconds, writes))?;
    summary["concurrency"] = json!(concurrency);
    writer.join().ok().context("the writer panicked")??;
    Ok(summary)
}

fn open(dir: &Path) -> Result<Connection> {
    std::fs::create_dir_all(dir)?;
    let connection = Connection::open(dir.join("commits.db"))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(
        "DROP TABLE IF EXISTS runs;
         CREATE TABLE runs (id INTEGER PRIMARY KEY, status TEXT NOT NULL, payload TEXT, output TEXT)",
    )?;
    Ok(connection)
}

async fn clients(concurrency: u64, seconds: Duration, writes: mpsc::SyncSender<Write>) -> Result<Value> {
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..concurrency {
        let writes = writes.clone();
        clients.spawn(async move {
            let mut latencies = Latencies::default();
            let mut run = client;
            while started.elapsed() < seconds {
                let began = Instant::now();
                for record in [Record::Insert, Record::Start, Record::Finish] {
                    let (acknowledge, acknowledged) = oneshot::channel();
                    writes.send(Write { record, run, acknowledge }).ok().context("the writer is gone")?;
                    acknowledged.await?;
                }
                latencies.add(began.elapsed());
                run += concurrency;
            }
            anyhow::Ok(latencies)
        });
    }
    drop(writes);
    let mut all = Latencies::default();
    while let Some(latencies) = clients.join_next().await {
        all.append(latencies??);
    }
    Ok(all.summary(started.elapsed()))
}

/// Commits until there is nobody left to write.
fn commit_groups(mut connection: Connection, writes: &mpsc::Receiver<Write>) -> Result<()> {
    let text = "x".repeat(TEXT_BYTES);
    while let Ok(first) = writes.recv() {
        let group: Vec<Write> = std::iter::once(first).chain(writes.try_iter().take(MAX_GROUP - 1)).collect();
        let transaction = connection.transaction()?;
        for write in &group {
            let run = i64::try_from(write.run)?;
            match write.record {
                Record::Insert => transaction
                    .prepare_cached("INSERT INTO runs (id, status, payload) VALUES (?1, 'queued', ?2)")?
                    .execute(params![run, text])?,
                Record::Start => transaction
                    .prepare_cached("UPDATE runs SET status = 'executing' WHERE id = ?1 AND status = 'queued'")?
                    .execute(params![run])?,
                Record::Finish => transaction
                    .prepare_cached("UPDATE runs SET status = 'completed', output = ?2 WHERE id = ?1")?
                    .execute(params![run, text])?,
            };
        }
        transaction.commit()?;
        for write in group {
            // A client that has stopped waiting needs no answer.
            let _ = write.acknowledge.send(());
        }
    }
    Ok(())
}
