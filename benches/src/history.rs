//! Finished runs for the database of a stopped server, as many as a year may leave behind.
//!
//! They are inserted past the product, which would take hours; each has the rows that a completed
//! run has: the run, its payload and its three events.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dacapo::clock::Clock;
use dacapo::model::id::RunId;
use rusqlite::{Connection, Transaction, params};
use serde_json::{Value, json};

use crate::options::Options;

/// Runs of one transaction.
const GROUP: u64 = 20_000;
/// Time between two of them: a million take eleven days.
const SPACING: Duration = Duration::from_secs(1);
const PAYLOAD: &str = r#"{"order":"A-1001","currency":"EUR","items":[{"sku":"MUG-01","quantity":2,"price":"9.90"}]}"#;
const OUTPUT: &str = r#"{"order":"A-1001","currency":"EUR","totalCents":1980,"country":"DE"}"#;

/// Whose runs they are.
struct Owner {
    environment: String,
    deployment: String,
    task: String,
}

/// Runs the measurement.
pub(crate) fn run(options: &Options) -> Result<Value> {
    let runs = options.number("runs", 1_000_000)?;
    let path = options.path("data-dir")?.join("dacapo.db");
    ensure!(path.is_file(), "{} does not exist: start a server on it first", path.display());
    let started = Instant::now();
    let mut connection = Connection::open(&path)?;
    // What is lost in a crash is made again.
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.set_prepared_statement_cache_capacity(16);
    let owner = owner(&connection)?;
    let now_ms = Clock::system().now().as_millisecond();
    let mut done = 0;
    while done < runs {
        let group = GROUP.min(runs - done);
        let transaction = connection.transaction()?;
        for number in done..done + group {
            let age = SPACING * u32::try_from(runs - number)?;
            insert(&transaction, &owner, number, now_ms - i64::try_from(age.as_millis())?)?;
        }
        transaction.commit()?;
        done += group;
    }
    connection.pragma_update(None, "wal_checkpoint", "TRUNCATE").or_else(ignore_rows)?;
    Ok(json!({
        "runs": runs,
        "seconds": started.elapsed().as_secs_f64(),
        "databaseBytes": std::fs::metadata(&path)?.len(),
    }))
}

/// The checkpoint answers with a row, which is not an error.
fn ignore_rows(error: rusqlite::Error) -> rusqlite::Result<()> {
    match error {
        rusqlite::Error::ExecuteReturnedResults => Ok(()),
        other => Err(other),
    }
}

fn owner(connection: &Connection) -> Result<Owner> {
    let sql = "SELECT c.environment_id, c.deployment_id, c.task_id
               FROM   current_tasks c
               JOIN   environments e ON e.id = c.environment_id
               WHERE  e.slug = 'dev'
               LIMIT  1";
    let read =
        |row: &rusqlite::Row<'_>| Ok(Owner { environment: row.get(0)?, deployment: row.get(1)?, task: row.get(2)? });
    connection.query_row(sql, [], read).context("deploy something to `dev` first")
}

fn insert(transaction: &Transaction<'_>, owner: &Owner, number: u64, at_ms: i64) -> Result<()> {
    // As random below the time as real ids are.
    let entropy = u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 16;
    let id = RunId::from_bits(dacapo::model::id::next(at_ms, entropy, 0)).to_string();
    let queue = format!("task/{}", owner.task);
    transaction
        .prepare_cached(
            "INSERT INTO runs (id, environment_id, task_id, status, deployment_id, queue, queue_given,
                 priority_ms, tags, created_at, updated_at, queued_at, started_at, finished_at,
                 dequeue_at, attempt, is_test, lease, cpu_us, output)
             VALUES (?1, ?2, ?3, 'completed', ?4, ?5, 0, 0, '[]', ?6, ?7, ?6, ?7, ?7, ?6, 1, 0, 1, 40, ?8)",
        )?
        .execute(params![id, owner.environment, owner.task, owner.deployment, queue, at_ms, at_ms + 1, OUTPUT])?;
    transaction
        .prepare_cached("INSERT INTO run_payloads (run_id, data, format) VALUES (?1, ?2, 'application/json')")?
        .execute(params![id, PAYLOAD])?;
    for (seq, status) in [(1, "queued"), (2, "executing"), (3, "completed")] {
        transaction
            .prepare_cached("INSERT INTO run_events (run_id, seq, at, status, attempt) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![id, seq, at_ms, status, i64::from(seq > 1)])?;
    }
    Ok(())
}
