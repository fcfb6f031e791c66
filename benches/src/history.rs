//! Finished runs for the database of a stopped server, as many as a year may leave behind.
//!
//! They are inserted past the product, which would take hours; each has the rows that an ended run
//! has: the run, its payload, its tags and its three events. They differ as [`crate::variety`] says.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dacapo::clock::Clock;
use dacapo::model::id::{DeploymentId, RunId};
use rusqlite::{Connection, Transaction, params};
use serde_json::{Value, json};

use crate::options::Options;
use crate::variety::{BATCH, Kind, VERSIONS, kind};

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
    version: String,
    /// Those of [`VERSIONS`].
    others: Vec<String>,
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
        "task": owner.task,
        "version": owner.version,
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
    let sql = "SELECT c.environment_id, c.deployment_id, c.task_id, d.version
               FROM   current_tasks c
               JOIN   environments e ON e.id = c.environment_id
               JOIN   deployments d ON d.id = c.deployment_id
               WHERE  e.slug = 'dev'
               LIMIT  1";
    let read = |row: &rusqlite::Row<'_>| {
        let others = Vec::new();
        Ok(Owner { environment: row.get(0)?, deployment: row.get(1)?, task: row.get(2)?, version: row.get(3)?, others })
    };
    let mut owner = connection.query_row(sql, [], read).context("deploy something to `dev` first")?;
    for (version, number) in VERSIONS.iter().zip(1_u32..) {
        let id = DeploymentId::from_bits(number.into()).to_string();
        connection.execute(
            "INSERT INTO deployments (id, environment_id, version, component, digest, size_bytes, imports, created_at)
             SELECT ?1, environment_id, ?2, component, digest, size_bytes, imports, 0 FROM deployments WHERE id = ?3",
            params![id, version, owner.deployment],
        )?;
        owner.others.push(id);
    }
    Ok(owner)
}

fn insert(transaction: &Transaction<'_>, owner: &Owner, number: u64, at_ms: i64) -> Result<()> {
    // As random below the time as real ids are.
    let entropy = u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 16;
    let id = RunId::from_bits(dacapo::model::id::next(at_ms, entropy, 0)).to_string();
    let kind = kind(number);
    insert_run(transaction, owner, &kind, &id, at_ms)?;
    transaction
        .prepare_cached("INSERT INTO run_payloads (run_id, data, format) VALUES (?1, ?2, 'application/json')")?
        .execute(params![id, PAYLOAD])?;
    for tag in &kind.tags {
        transaction
            .prepare_cached("INSERT INTO run_tags (environment_id, tag, run_id) VALUES (?1, ?2, ?3)")?
            .execute(params![owner.environment, tag, id])?;
    }
    if let Some(batch) = &kind.batch {
        insert_item(transaction, owner, batch, ((number % BATCH).cast_signed(), &id), at_ms)?;
    }
    for (seq, status) in [(1, "queued"), (2, "executing"), (3, kind.status)] {
        transaction
            .prepare_cached("INSERT INTO run_events (run_id, seq, at, status, attempt) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![id, seq, at_ms, status, i64::from(seq > 1)])?;
    }
    Ok(())
}

fn insert_item(
    transaction: &Transaction<'_>,
    owner: &Owner,
    batch: &str,
    (item, run): (i64, &str),
    at_ms: i64,
) -> Result<()> {
    transaction
        .prepare_cached(
            "INSERT OR IGNORE INTO batches (id, environment_id, run_count, created_at, sealed_at, finished_at)
             VALUES (?1, ?2, ?3, ?4, ?4, ?4)",
        )?
        .execute(params![batch, owner.environment, BATCH.cast_signed(), at_ms])?;
    transaction
        .prepare_cached("INSERT INTO batch_items (batch_id, item, task_id, run_id) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![batch, item, owner.task, run])?;
    Ok(())
}

fn insert_run(transaction: &Transaction<'_>, owner: &Owner, kind: &Kind, id: &str, at_ms: i64) -> Result<()> {
    let task = kind.task.unwrap_or(&owner.task);
    let queue = kind.queue.map_or_else(|| format!("task/{task}"), Into::into);
    let deployment = kind.version.map_or(&owner.deployment, |version| &owner.others[version]);
    let has_completed = kind.status == "completed";
    let error = (!has_completed).then_some("the history has such runs, too");
    transaction
        .prepare_cached(
            "INSERT INTO runs (id, environment_id, task_id, status, deployment_id, queue, queue_given,
                 priority_ms, tags, created_at, updated_at, queued_at, started_at, finished_at,
                 dequeue_at, attempt, is_test, lease, cpu_us, output, machine, batch_id, schedule_id, bulk_id,
                 is_replay, error_kind, error_name, error_message)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, ?10, ?9, ?10, ?10, ?9, 1, ?11, 1, 40, ?12, ?13, ?14, ?15,
                 ?16, ?17, ?18, ?19, ?20)",
        )?
        .execute(params![
            id,
            owner.environment,
            task,
            kind.status,
            deployment,
            queue,
            kind.queue.is_some(),
            json!(kind.tags).to_string(),
            at_ms,
            at_ms + 1,
            kind.is_test,
            has_completed.then_some(OUTPUT),
            kind.machine,
            kind.batch,
            kind.schedule,
            kind.bulk,
            kind.bulk.is_some(),
            error.map(|_| "task"),
            error.map(|_| "Error"),
            error,
        ])?;
    Ok(())
}
