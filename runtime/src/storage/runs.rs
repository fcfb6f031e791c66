//! Runs as they are read, the events of their lives, and how one that had no code is queued.

use std::time::Duration;

use jiff::Timestamp;

use super::effects::RunEnd;
use super::list::{ids, list};
use super::page::{Page, Place};
use super::queue::expiry;
use super::sql::{Row, Tx, values};
use super::{Error, Storage};
use crate::model::id::{BatchId, BulkId, DeploymentId, EnvironmentId, RunId, ScheduleId};
use crate::model::run::{ErrorKind, Origin, Packet, PacketFormat, Run, RunError, Status};

/// Which runs to list. Empty lists and `None` mean any.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// One of these statuses.
    pub statuses: Vec<Status>,
    /// One of these tasks.
    pub tasks: Vec<String>,
    /// One of these deployments.
    pub deployments: Vec<DeploymentId>,
    /// One of these tags.
    pub tags: Vec<String>,
    /// One of these queues.
    pub queues: Vec<String>,
    /// One of these machines, where the caller chose it.
    pub machines: Vec<String>,
    /// The runs of the items of this batch, whether made for it or found by a key.
    pub batch: Option<BatchId>,
    /// What this schedule fired.
    pub schedule: Option<ScheduleId>,
    /// What this bulk action made.
    pub bulk: Option<BulkId>,
    /// Whose error is in one of these groups.
    pub errors: Vec<String>,
    /// Tests, or everything else.
    pub is_test: Option<bool>,
    /// Replays and the runs below them, or everything else.
    pub is_replay: Option<bool>,
    /// The replays of this run.
    pub replay_of: Option<RunId>,
    /// Triggered at this moment or later.
    pub from: Option<Timestamp>,
    /// Triggered at this moment or earlier.
    pub to: Option<Timestamp>,
}

/// A change of a run's status, as it was recorded with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEvent {
    /// Its place among the run's events, from 1.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// The status since then.
    pub status: Status,
    /// The attempt it concerns; 0 before the first.
    pub attempt: u32,
    /// Why, for people.
    pub detail: Option<String>,
}

/// The columns of [`read_run`], in its order. `without_output` is for lists: it reads neither the
/// output nor the stack of an error, of which a page can have a gigabyte. `within_budget` is for
/// feeds: it reads no output, and the other long texts only where they have `?3` bytes at most.
macro_rules! run_columns {
    () => {
        run_columns!("metadata", "error_message", "error_stack, output")
    };
    (without_output) => {
        run_columns!("metadata", "error_message", "NULL, NULL")
    };
    (within_budget) => {
        run_columns!(
            "CASE WHEN OCTET_LENGTH(metadata) <= CAST(?3 AS BIGINT) THEN metadata END",
            "CASE WHEN OCTET_LENGTH(error_message) <= CAST(?3 AS BIGINT) THEN error_message END",
            "CASE WHEN OCTET_LENGTH(error_stack) <= CAST(?3 AS BIGINT) THEN error_stack END, NULL"
        )
    };
    ($metadata:literal, $message:literal, $stack_and_output:literal) => {
        concat!(
            "id, environment_id, task_id, status, deployment_id,
             (SELECT d.version FROM deployments d WHERE d.id = runs.deployment_id) AS version,
             queue, queue_given, concurrency_key, priority_ms, tags, ",
            $metadata,
            ", created_at, updated_at, delay_until,
             queued_at, started_at, finished_at, ttl_ms, attempt, max_attempts, max_duration_seconds, machine,
             idempotency_key, idempotency_scope, is_test, replay_of, parent_id, root_id, depth, is_awaited,
             is_replay, batch_id, schedule_id, bulk_id, cpu_us, peak_memory_bytes,
             error_kind, error_name, ",
            $message,
            ", ",
            $stack_and_output
        )
    };
}
pub(super) use run_columns;

impl Storage {
    /// A run of an environment.
    pub async fn run(&self, environment: EnvironmentId, run: RunId) -> Result<Option<Run>, Error> {
        let sql = concat!("SELECT ", run_columns!(), " FROM runs WHERE id = ?1 AND environment_id = ?2");
        self.read(move |tx| tx.row(sql, values![run, environment], read_run)).await
    }

    /// What a run was given: its payload, and its metadata at the trigger.
    pub async fn payload(&self, run: RunId) -> Result<Option<(Packet, Option<String>)>, Error> {
        self.read(move |tx| given(tx, run)).await
    }

    /// The runs that replay `run`, oldest first, 100 at most.
    pub async fn replays_of(&self, run: RunId) -> Result<Vec<RunId>, Error> {
        let sql = "SELECT id FROM runs WHERE replay_of = ?1 ORDER BY id LIMIT 100";
        self.read(move |tx| tx.rows(sql, values![run], |row| row.column())).await
    }

    /// The runs that `run` triggered, oldest first, 100 at most, without their outputs.
    pub async fn children_of(&self, run: RunId) -> Result<Vec<Run>, Error> {
        let sql =
            concat!("SELECT ", run_columns!(without_output), " FROM runs WHERE parent_id = ?1 ORDER BY id LIMIT 100");
        self.read(move |tx| tx.rows(sql, values![run], read_run)).await
    }

    /// What happened to a run, in order.
    pub async fn events(&self, run: RunId) -> Result<Vec<RunEvent>, Error> {
        let sql = "SELECT seq, at, status, attempt, detail FROM run_events WHERE run_id = ?1 ORDER BY seq LIMIT 10000";
        self.read(move |tx| {
            tx.rows(sql, values![run], |row| {
                Ok(RunEvent {
                    seq: row.column()?,
                    at: row.column()?,
                    status: row.parsed(Status::parse)?,
                    attempt: row.column()?,
                    detail: row.column()?,
                })
            })
        })
        .await
    }

    /// A page of an environment's runs, `limit` at most.
    pub async fn runs(
        &self,
        environment: EnvironmentId,
        filter: RunFilter,
        place: Place,
        limit: u32,
    ) -> Result<Page<Run>, Error> {
        self.read(move |tx| list(tx, environment, &filter, place, limit)).await
    }

    /// The same, their names only.
    pub async fn run_ids(
        &self,
        environment: EnvironmentId,
        filter: RunFilter,
        place: Place,
        limit: u32,
    ) -> Result<Page<RunId>, Error> {
        self.read(move |tx| ids(tx, environment, &filter, place, limit)).await
    }

    /// Resolves with how `run` ends. Ask before you look whether it has ended.
    pub fn end_of(&self, run: RunId) -> RunEnd {
        self.listeners.end_of(run)
    }
}

/// What a run was given.
pub(super) fn given(tx: &Tx<'_>, run: RunId) -> Result<Option<(Packet, Option<String>)>, Error> {
    let sql = "SELECT data, format, metadata FROM run_payloads WHERE run_id = ?1";
    tx.row(sql, values![run], |row| Ok((packet(row)?, row.column()?)))
}

/// The newest deployment with the label that a run waits for, if there is one with its task.
macro_rules! labelled_deployment {
    () => {
        "(SELECT d.id
          FROM   deployments d
          JOIN   deployment_tasks t ON t.deployment_id = d.id AND t.task_id = runs.task_id
          WHERE  d.environment_id = runs.environment_id AND d.external_id = runs.external_deployment
          ORDER BY d.id DESC
          LIMIT  1)"
    };
}

/// Queues a pending run if a deployment runs its task, and answers whether it did. Unless its caller
/// chose a queue, it joins the one that the deployment declares, whatever was known at the trigger.
pub(super) fn release_pending(tx: &mut Tx<'_>, run: RunId, now: Timestamp) -> Result<bool, Error> {
    let sql = concat!(
        "UPDATE runs
         SET    status = 'queued', queued_at = COALESCE(queued_at, ?2), dequeue_at = ?2 - priority_ms, updated_at = ?2,
                expires_at = CASE WHEN ttl_ms IS NULL THEN NULL ELSE ?2 + ttl_ms END,
                queue = CASE WHEN queue_given = 1 THEN queue ELSE COALESCE((
                    SELECT COALESCE(q.queue_name, 'task/' || q.task_id)
                    FROM   deployment_tasks q
                    WHERE  q.task_id = runs.task_id AND q.deployment_id = COALESCE(
                               runs.deployment_id, ",
        labelled_deployment!(),
        ", (SELECT c.deployment_id FROM current_tasks c
            WHERE  c.environment_id = runs.environment_id AND c.task_id = runs.task_id))
                ), queue) END,
                deployment_id = COALESCE(deployment_id, ",
        labelled_deployment!(),
        ") WHERE  id = ?1 AND status = 'pending-version'
           AND    (deployment_id IS NOT NULL
                   OR (external_deployment IS NULL AND EXISTS (
                      SELECT 1 FROM current_tasks c
                      WHERE  c.environment_id = runs.environment_id AND c.task_id = runs.task_id))
                   OR ",
        labelled_deployment!(),
        " IS NOT NULL) RETURNING dequeue_at, ttl_ms"
    );
    let released = tx.row(sql, values![run, now], |row| Ok((row.column()?, row.column()?)))?;
    let Some((dequeue_at, ttl)) = released else {
        return Ok(false);
    };
    expiry(now, ttl, &mut tx.effects);
    tx.effects.ready(dequeue_at);
    add_event(tx, run, Event { at: now, status: Status::Queued, attempt: 0, detail: None })?;
    Ok(true)
}

/// A change of a run's status that is to be recorded.
pub(super) struct Event<'d> {
    pub(super) at: Timestamp,
    pub(super) status: Status,
    /// 0 before the first attempt.
    pub(super) attempt: u32,
    /// Why, for people.
    pub(super) detail: Option<&'d str>,
}

/// Records a change of a run's status.
pub(super) fn add_event(tx: &mut Tx<'_>, run: RunId, event: Event<'_>) -> Result<(), Error> {
    let sql = "INSERT INTO run_events (run_id, seq, at, status, attempt, detail)
               VALUES (?1, COALESCE((SELECT MAX(seq) FROM run_events WHERE run_id = ?1), 0) + 1, ?2, ?3, ?4, ?5)";
    let Event { at, status, attempt, detail } = event;
    tx.effects.run_changed(run);
    tx.execute(sql, values![run, at, status.as_str(), attempt, detail]).map(drop)
}

pub(super) fn read_run(row: &mut Row<'_>) -> Result<Run, Error> {
    Ok(Run {
        id: row.column()?,
        environment: row.column()?,
        task: row.column()?,
        status: row.parsed(Status::parse)?,
        deployment: row.column()?,
        version: row.column()?,
        queue: row.column()?,
        queue_given: row.column()?,
        concurrency_key: row.column()?,
        priority_ms: row.column()?,
        tags: row.parsed(parse_tags)?,
        metadata: row.column()?,
        created_at: row.column()?,
        updated_at: row.column()?,
        delay_until: row.column()?,
        queued_at: row.column()?,
        started_at: row.column()?,
        finished_at: row.column()?,
        ttl: row.column()?,
        attempt: row.column()?,
        max_attempts: row.column()?,
        max_duration_seconds: row.column()?,
        machine: row.parsed_option(|name| name.parse().ok())?,
        idempotency_key: row.column()?,
        idempotency_scope: row.column()?,
        is_test: row.column()?,
        replay_of: row.column()?,
        origin: Origin {
            parent: row.column()?,
            root: row.column()?,
            depth: row.column()?,
            awaited: row.column()?,
            is_replay: row.column()?,
            batch: row.column()?,
            schedule: row.column()?,
            bulk: row.column()?,
        },
        cpu: Duration::from_micros(row.column()?),
        peak_memory_bytes: row.column()?,
        error: read_error(row)?,
        output: row.column()?,
    })
}

pub(super) fn read_error(row: &mut Row<'_>) -> Result<Option<RunError>, Error> {
    let kind = row.parsed_option(ErrorKind::parse)?;
    let name: Option<String> = row.column()?;
    let message: Option<String> = row.column()?;
    let stack = row.column()?;
    Ok(kind.map(|kind| RunError { kind, name: name.unwrap_or_default(), message: message.unwrap_or_default(), stack }))
}

pub(super) fn packet(row: &mut Row<'_>) -> Result<Packet, Error> {
    Ok(Packet { data: row.column()?, format: row.parsed(PacketFormat::parse)? })
}

pub(super) fn tags_text(tags: &[String]) -> String {
    if tags.is_empty() {
        return "[]".into();
    }
    serde_json::Value::from(tags).to_string()
}

pub(super) fn parse_tags(text: &str) -> Option<Vec<String>> {
    if text == "[]" {
        return Some(Vec::new());
    }
    serde_json::from_str(text).ok()
}
