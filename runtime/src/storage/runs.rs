//! Runs: storing, canceling and reading them.

use std::time::Duration;

use jiff::Timestamp;

use super::delays::push_back;
use super::effects::RunEnd;
use super::list::list;
use super::page::{Page, Place};
use super::places::place_is_free;
use super::queue::expiry;
use super::queues::know_queue;
use super::sql::{Row, Tx, values};
use super::tokens::{give_token_back, use_token};
use super::wakes::{forget_waits, run_ended};
use super::{Error, Storage};
use crate::model::id::{BatchId, BulkId, DeploymentId, EnvironmentId, RunId, ScheduleId};
use crate::model::limits;
use crate::model::run::{
    End, ErrorKind, IdempotencyKey, NewRun, Origin, Packet, PacketFormat, Run, RunError, Status, later,
};
use crate::model::task::Machine;

/// Runs below a canceled one that are canceled with it, at most.
const MAX_CANCELED_CHILDREN: u32 = 10_000;

/// What became of a run that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It is stored.
    New,
    /// One of its keys names an older run, which stands for it; nothing was stored.
    Existing {
        /// The older run.
        run: RunId,
        /// Whether the idempotency key was the one; else it was the request's.
        by_idempotency_key: bool,
    },
    /// The token that it takes was used before; nothing was stored.
    TokenUsed,
    /// The attempt that triggers it is over; nothing was stored.
    ParentGone,
    /// So many runs are waiting in the environment already; nothing was stored.
    QueueFull {
        /// Runs that have not started yet.
        waiting: u64,
    },
}

/// What became of a cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canceled {
    /// The run is canceled now.
    Now,
    /// It had ended already; nothing changed.
    HadEnded,
    /// There is no such run.
    NoSuchRun,
}

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
    /// Tests, or everything else.
    pub is_test: Option<bool>,
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
             idempotency_key, idempotency_scope, is_test, replay_of, parent_id, root_id, depth, is_replay, batch_id,
             schedule_id, bulk_id, cpu_us, peak_memory_bytes,
             error_kind, error_name, ",
            $message,
            ", ",
            $stack_and_output
        )
    };
}
pub(super) use run_columns;

impl Storage {
    /// Stores a run, unless one of its keys names an older one, or `max_waiting` runs of its
    /// environment are waiting to start.
    pub async fn insert_run(&self, run: NewRun, max_waiting: u64) -> Result<Inserted, Error> {
        let listeners = self.listeners.clone();
        self.writer
            .write(move |tx| {
                let waiting = listeners.waiting(run.environment, &tx.effects);
                insert_run(tx, &run, waiting, max_waiting)
            })
            .await
    }

    /// Ends a run that has not ended. Whoever executes it is told.
    pub async fn cancel(&self, environment: EnvironmentId, run: RunId, now: Timestamp) -> Result<Canceled, Error> {
        self.writer.write(move |tx| cancel(tx, environment, run, now)).await
    }

    /// A run of an environment.
    pub async fn run(&self, environment: EnvironmentId, run: RunId) -> Result<Option<Run>, Error> {
        let sql = concat!("SELECT ", run_columns!(), " FROM runs WHERE id = ?1 AND environment_id = ?2");
        self.read(move |tx| tx.row(sql, values![run, environment], read_run)).await
    }

    /// What a run was given: its payload, and its metadata at the trigger.
    pub async fn payload(&self, run: RunId) -> Result<Option<(Packet, Option<String>)>, Error> {
        let sql = "SELECT data, format, metadata FROM run_payloads WHERE run_id = ?1";
        self.read(move |tx| tx.row(sql, values![run], |row| Ok((packet(row)?, row.column()?)))).await
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

    /// Resolves with how `run` ends. Ask before you look whether it has ended.
    pub fn end_of(&self, run: RunId) -> RunEnd {
        self.listeners.end_of(run)
    }

    /// Every run that is canceled from now on, whoever cancels it.
    pub fn cancellations(&self) -> tokio::sync::broadcast::Receiver<RunId> {
        self.listeners.cancellations()
    }
}

pub(super) fn insert_run(tx: &mut Tx<'_>, run: &NewRun, waiting: u64, max_waiting: u64) -> Result<Inserted, Error> {
    if !parent_holds(tx, run)? {
        return Ok(Inserted::ParentGone);
    }
    if let Some(existing) = existing_run(tx, run)? {
        return Ok(existing);
    }
    // A debounced trigger may have no need of another place.
    if waiting >= max_waiting && run.debounce.is_none() {
        return Ok(Inserted::QueueFull { waiting });
    }
    if let Some(token) = &run.one_time_token
        && !use_token(tx, token, run.created_at)?
    {
        return Ok(Inserted::TokenUsed);
    }
    if let Some(pushed) = push_back(tx, run)? {
        insert_keys(tx, run, pushed)?;
        return Ok(Inserted::Existing { run: pushed, by_idempotency_key: false });
    }
    if waiting >= max_waiting {
        if let Some(token) = &run.one_time_token {
            give_token_back(tx, token)?;
        }
        return Ok(Inserted::QueueFull { waiting });
    }
    insert_row(tx, run)?;
    if run.queue_given {
        know_queue(tx, run.environment, &run.queue, run.created_at)?;
    }
    tx.execute(
        "INSERT INTO run_payloads (run_id, data, format, metadata) VALUES (?1, ?2, ?3, ?4)",
        values![run.id, run.payload.data.as_ref(), run.payload.format.as_str(), run.metadata.as_ref()],
    )?;
    insert_keys(tx, run, run.id)?;
    insert_tags(tx, run.environment, run.id, &run.tags)?;
    tx.effects.waiting(run.environment, 1);
    add_event(tx, run.id, Event { at: run.created_at, status: run.status, attempt: 0, detail: None })?;
    if let Some(at) = run.delay_until.or(run.expires_at) {
        tx.effects.timer_set(at);
    }
    match run.status {
        Status::Queued => tx.effects.ready(run.dequeue_at),
        // A deployment may have brought the task since the run was admitted.
        Status::PendingVersion => drop(release_parked(tx, run.id, run.created_at)?),
        _ => {}
    }
    Ok(Inserted::New)
}

/// Whether the attempt that triggers a run, where one does, goes on: a run that was canceled makes no
/// more children.
pub(super) fn parent_holds(tx: &Tx<'_>, run: &NewRun) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM runs WHERE id = ?1 AND lease = ?2 AND status = 'executing'";
    let (Some(parent), Some(lease)) = (run.origin.parent, run.parent_lease) else { return Ok(true) };
    let holds: Option<i64> = tx.row(sql, values![parent, lease], |row| row.column())?;
    Ok(holds.is_some())
}

fn insert_row(tx: &Tx<'_>, run: &NewRun) -> Result<(), Error> {
    let sql = "INSERT INTO runs (
                   id, environment_id, task_id, status, deployment_id, queue, queue_given, concurrency_key, priority_ms,
                   tags, metadata, created_at, updated_at, delay_until, queued_at, dequeue_at, ttl_ms, expires_at,
                   max_attempts, max_duration_seconds, machine, idempotency_key, idempotency_scope, is_test, replay_of,
                   parent_id, root_id, depth, is_replay, batch_id, schedule_id, bulk_id, debounce_key, debounce_until,
                   external_deployment)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20,
                       ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34)";
    let key = run.idempotency.as_ref();
    let debounce = run.debounce.as_ref();
    let changed = tx.execute(
        sql,
        values![
            run.id,
            run.environment,
            &run.task,
            run.status.as_str(),
            run.locked,
            &run.queue,
            run.queue_given,
            run.concurrency_key.as_ref(),
            run.priority_ms,
            tags_text(&run.tags),
            run.metadata.as_ref(),
            run.created_at,
            run.delay_until,
            run.queued_at,
            run.dequeue_at,
            run.ttl,
            run.expires_at,
            run.max_attempts,
            run.max_duration_seconds,
            run.machine.map(Machine::name),
            key.map(|key| key.shown.as_ref().unwrap_or(&key.key)),
            key.and_then(|key| key.scope.as_ref()),
            run.is_test,
            run.replay_of,
            run.origin.parent,
            run.origin.root,
            run.origin.depth,
            run.origin.is_replay,
            run.origin.batch,
            run.origin.schedule,
            run.origin.bulk,
            debounce.map(|debounce| &debounce.key),
            debounce.and_then(|debounce| debounce.max_delay).map(|longest| later(run.created_at, longest)),
            run.external_deployment.as_ref(),
        ],
    )?;
    debug_assert_eq!(changed, 1, "an INSERT without ON CONFLICT stores its row or fails");
    Ok(())
}

/// The run that a key of `run` names, if the key counts: it has not expired, and its run did not
/// end in a way that frees the key.
pub(super) fn existing_run(tx: &Tx<'_>, run: &NewRun) -> Result<Option<Inserted>, Error> {
    let sql = "SELECT k.run_id, r.status
               FROM   trigger_keys k JOIN runs r ON r.id = k.run_id
               WHERE  k.environment_id = ?1 AND k.kind = ?2 AND k.task_id = ?3 AND k.key = ?4 AND k.expires_at > ?5";
    for (kind, key, _) in keys_of(run) {
        let found = tx.row(sql, values![run.environment, kind, &run.task, key, run.created_at], |row| {
            Ok((row.column::<RunId>()?, row.parsed(Status::parse)?))
        })?;
        let by_idempotency_key = kind == "idempotency";
        if let Some((existing, status)) = found
            && !(by_idempotency_key && frees_its_key(status))
        {
            return Ok(Some(Inserted::Existing { run: existing, by_idempotency_key }));
        }
    }
    Ok(None)
}

/// Whether the next trigger with the key of a run that ended so makes a new run.
fn frees_its_key(status: Status) -> bool {
    match status {
        Status::Failed | Status::Crashed | Status::SystemFailure | Status::TimedOut | Status::Expired => true,
        Status::PendingVersion
        | Status::Delayed
        | Status::Queued
        | Status::Executing
        | Status::Waiting
        | Status::Completed
        | Status::Canceled => false,
    }
}

/// Makes a run be found by tags.
pub(super) fn insert_tags(tx: &Tx<'_>, environment: EnvironmentId, run: RunId, tags: &[String]) -> Result<(), Error> {
    let sql = "INSERT INTO run_tags (environment_id, tag, run_id) VALUES (?1, ?2, ?3)
               ON CONFLICT (environment_id, tag, run_id) DO NOTHING";
    tags.iter().try_for_each(|tag| tx.execute(sql, values![environment, tag, run]).map(drop))
}

/// Lets the keys of a trigger find `stored`.
fn insert_keys(tx: &Tx<'_>, run: &NewRun, stored: RunId) -> Result<(), Error> {
    let sql = "INSERT INTO trigger_keys (environment_id, kind, task_id, key, run_id, expires_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (environment_id, kind, task_id, key)
               DO UPDATE SET run_id = excluded.run_id, expires_at = excluded.expires_at";
    for (kind, key, expires_at) in keys_of(run) {
        tx.execute(sql, values![run.environment, kind, &run.task, key, stored, expires_at])?;
    }
    Ok(())
}

fn keys_of(run: &NewRun) -> impl Iterator<Item = (&'static str, &String, Timestamp)> {
    let idempotency = run.idempotency.as_ref();
    let request_expiry = later(run.created_at, limits::REQUEST_KEY_TTL);
    let by_caller = idempotency.map(|IdempotencyKey { key, expires_at, .. }| ("idempotency", key, *expires_at));
    let by_request = run.request_key.as_ref().map(|key| ("request", key, request_expiry));
    by_request.into_iter().chain(by_caller)
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

/// Queues a parked run if a deployment runs its task, and answers whether it did. Unless its caller
/// chose a queue, it joins the one that the deployment declares, whatever was known at the trigger.
pub(super) fn release_parked(tx: &mut Tx<'_>, run: RunId, now: Timestamp) -> Result<bool, Error> {
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

/// Cancels a run, and the runs below it that have not ended.
pub(super) fn cancel(
    tx: &mut Tx<'_>,
    environment: EnvironmentId,
    run: RunId,
    now: Timestamp,
) -> Result<Canceled, Error> {
    let children = "SELECT id FROM runs WHERE parent_id = ?1 ORDER BY id LIMIT ?2";
    let canceled = cancel_one(tx, environment, run, now)?;
    if canceled != Canceled::Now {
        return Ok(canceled);
    }
    let mut below = vec![run];
    let mut found = 0;
    while let Some(parent) = below.pop()
        && found < MAX_CANCELED_CHILDREN
    {
        let next: Vec<RunId> = tx.rows(children, values![parent, MAX_CANCELED_CHILDREN], |row| row.column())?;
        found += u32::try_from(next.len()).unwrap_or(MAX_CANCELED_CHILDREN);
        for child in next {
            cancel_one(tx, environment, child, now)?;
            below.push(child);
        }
    }
    Ok(canceled)
}

fn cancel_one(tx: &mut Tx<'_>, environment: EnvironmentId, run: RunId, now: Timestamp) -> Result<Canceled, Error> {
    macro_rules! cancel_where {
        ($statuses:literal) => {
            concat!(
                "UPDATE runs
                 SET    status = 'canceled', finished_at = ?3, updated_at = ?3, worker_id = NULL, error_kind = ?4,
                        error_name = ?5, error_message = ?6, error_stack = NULL
                 WHERE  id = ?1 AND environment_id = ?2 AND status IN ",
                $statuses,
                " RETURNING attempt, cpu_us"
            )
        };
    }
    let not_started = cancel_where!("('pending-version', 'delayed', 'queued')");
    let started = cancel_where!("('executing', 'waiting')");
    let error = RunError::canceled();
    for (sql, waiting_change) in [(not_started, -1), (started, 0)] {
        let values = values![run, environment, now, error.kind.as_str(), &error.name, &error.message];
        let canceled = tx.row(sql, values, |row| Ok((row.column::<u32>()?, row.column()?)))?;
        if let Some((attempt, cpu_us)) = canceled {
            tx.effects.waiting(environment, waiting_change);
            place_is_free(tx, run)?;
            add_event(tx, run, Event { at: now, status: Status::Canceled, attempt, detail: None })?;
            let cpu = Duration::from_micros(cpu_us);
            forget_waits(tx, run)?;
            run_ended(tx, run, End { status: Status::Canceled, output: None, error: Some(error), cpu }, now)?;
            return Ok(Canceled::Now);
        }
    }
    let known = "SELECT 1 FROM runs WHERE id = ?1 AND environment_id = ?2";
    let known: Option<i64> = tx.row(known, values![run, environment], |row| row.column())?;
    Ok(if known.is_some() { Canceled::HadEnded } else { Canceled::NoSuchRun })
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
