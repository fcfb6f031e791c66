//! Storing runs: each once, whatever key names it, and only while there is room to wait.
//!
//! A payload has a table of its own and is written once, so that no change of a status rewrites it.

use jiff::Timestamp;

use super::delays::push_back;
use super::queue::holds;
use super::queues::know_queue;
use super::runs::{Event, add_event, release_pending, tags_text};
use super::sql::{Tx, values};
use super::tokens::{give_token_back, use_token};
use super::{Error, Storage};
use crate::model::id::{EnvironmentId, RunId};
use crate::model::limits;
use crate::model::run::{IdempotencyKey, NewRun, Status, later};
use crate::model::task::Machine;

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
        Status::PendingVersion => drop(release_pending(tx, run.id, run.created_at)?),
        _ => {}
    }
    Ok(Inserted::New)
}

/// Whether the attempt that triggers a run, where one does, goes on: a run that was canceled makes no
/// more children.
pub(super) fn parent_holds(tx: &Tx<'_>, run: &NewRun) -> Result<bool, Error> {
    let (Some(parent), Some(lease)) = (run.origin.parent, run.parent_lease) else { return Ok(true) };
    holds(tx, parent, lease)
}

fn insert_row(tx: &Tx<'_>, run: &NewRun) -> Result<(), Error> {
    let sql = "INSERT INTO runs (
                   id, environment_id, task_id, status, deployment_id, queue, queue_given, concurrency_key, priority_ms,
                   tags, metadata, created_at, updated_at, delay_until, queued_at, dequeue_at, ttl_ms, expires_at,
                   max_attempts, max_duration_seconds, machine, idempotency_key, idempotency_scope, is_test, replay_of,
                   parent_id, root_id, depth, is_awaited, is_replay, batch_id, schedule_id, bulk_id, debounce_key,
                   debounce_until, external_deployment)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20,
                       ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35)";
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
            run.origin.awaited,
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
               WHERE  k.environment_id = ?1 AND k.kind = ?2 AND k.task_id = ?3 AND k.key = ?4
               AND    (k.expires_at > ?5 OR k.caller_id IS NOT NULL)";
    for Key { kind, key, .. } in keys_of(run) {
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
    let sql = "INSERT INTO trigger_keys (environment_id, kind, task_id, key, run_id, expires_at, caller_id)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
               ON CONFLICT (environment_id, kind, task_id, key)
               DO UPDATE SET run_id = excluded.run_id, expires_at = excluded.expires_at,
                             caller_id = excluded.caller_id";
    for Key { kind, key, expires_at, caller } in keys_of(run) {
        tx.execute(sql, values![run.environment, kind, &run.task, key, stored, expires_at, caller])?;
    }
    Ok(())
}

/// What names the run of a trigger to the next one.
struct Key<'r> {
    kind: &'static str,
    key: &'r str,
    expires_at: Timestamp,
    /// The run whose attempt triggers: the key counts until that has ended.
    caller: Option<RunId>,
}

fn keys_of(run: &NewRun) -> impl Iterator<Item = Key<'_>> {
    // A request by HTTP, also one that names a parent, and a hook, which is called of a run that has
    // ended, have no lease.
    let caller = run.origin.parent.filter(|_| run.parent_lease.is_some());
    let request_expiry = later(run.created_at, limits::REQUEST_KEY_TTL);
    let by_request =
        run.request_key.as_ref().map(|key| Key { kind: "request", key, expires_at: request_expiry, caller });
    let by_choice = run.idempotency.as_ref().map(|IdempotencyKey { key, expires_at, .. }| Key {
        kind: "idempotency",
        key,
        expires_at: *expires_at,
        caller: None,
    });
    by_request.into_iter().chain(by_choice)
}
