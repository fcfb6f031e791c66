//! What time does to runs by itself: delays end, times to live run out, workers die, and what was
//! forgotten is found.
//!
//! A pass changes a bounded number of runs, and says when there is more to do.

use std::time::Duration;

use jiff::Timestamp;

use super::cancel::cancel_left;
use super::effects::Listeners;
use super::packets::forget_packets;
use super::places::let_go_of_held;
use super::queue::Lease;
use super::runs::{Event, add_event, release_pending};
use super::settlements::{AttemptEnd, settle};
use super::sql::{Tx, values};
use super::waitpoints::time_out;
use super::wakes::{look_for_waits, run_ended, wake_due};
use super::{Error, Storage};
use crate::model::attempt::after_loss;
use crate::model::id::{RunId, WorkerId};
use crate::model::limits::{PENDING_TTL, REQUEST_KEY_TTL};
use crate::model::run::{End, RunError, Status, later};

/// Runs that one pass changes at most.
pub(super) const MAX_UPKEEP_RUNS: u32 = 500;

impl Storage {
    /// Does what time demands at `now`: delayed runs become queued, queued runs expire, runs of
    /// dead workers are queued again, wait tokens time out, runs that wait for a moment are woken, the
    /// rest of large trees is canceled, old keys are forgotten. Answers with the next moment at which
    /// there is something to do, as far as that is known. The runs of `alive` are never taken for lost:
    /// it lives in this process, whatever the clock says.
    pub async fn upkeep(&self, now: Timestamp, alive: WorkerId) -> Result<Option<Timestamp>, Error> {
        let listeners = self.listeners.clone();
        self.writer.write(move |tx| upkeep(tx, now, alive, &listeners)).await
    }

    /// Resolves when something was stored that makes an earlier [`Self::upkeep`] necessary.
    pub async fn timer_set(&self) {
        self.listeners.timers.notified().await;
    }
}

fn upkeep(tx: &mut Tx<'_>, now: Timestamp, alive: WorkerId, listeners: &Listeners) -> Result<Option<Timestamp>, Error> {
    let due = queue_due(tx, now)?;
    let expired = expire(tx, now)?;
    let released = if listeners.has_pending_left() { release_left(tx, now)? } else { 0 };
    let timed_out = time_out(tx, now)?;
    let woken = wake_due(tx, now)?;
    let is_canceling = cancel_left(tx, now)?;
    let held_left = let_go_of_held(tx, listeners.last_gate())?;
    let lost = requeue_lost(tx, now, alive)?;
    let forgotten = forget_keys(tx, now)?;
    forget_packets(tx, now)?;
    look_for_waits(tx)?;
    let is_full = [due, expired, released, timed_out, woken, lost, forgotten].contains(&(MAX_UPKEEP_RUNS as usize));
    if held_left || is_canceling || is_full {
        tx.effects.upkept(Some(now));
        return Ok(Some(now));
    }
    let sql = "SELECT MIN(at) FROM (
                   SELECT MIN(dequeue_at) AS at FROM runs WHERE status = 'delayed'
                   UNION ALL
                   SELECT MIN(expires_at) AS at FROM runs WHERE status = 'queued' AND expires_at IS NOT NULL
                   UNION ALL
                   SELECT MIN(expires_at) AS at FROM runs WHERE status = 'pending-version' AND expires_at IS NOT NULL
                   UNION ALL
                   SELECT MIN(next_fire_at) AS at FROM schedules WHERE next_fire_at IS NOT NULL
                   UNION ALL
                   SELECT MIN(timeout_at) AS at FROM waitpoints WHERE status = 'waiting' AND timeout_at IS NOT NULL
                   UNION ALL
                   SELECT MIN(due_at) AS at FROM run_waits WHERE due_at IS NOT NULL
               ) AS next";
    let next = tx.row(sql, &[], |row| row.column())?.flatten();
    tx.effects.upkept(next);
    Ok(next)
}

/// Keys that count no more are forgotten. That of a call counts until the run that called has ended:
/// after a crash the call is done again, perhaps days later, because the server was down so long or
/// the queue of the run was paused. Such keys are looked at again after another while.
fn forget_keys(tx: &Tx<'_>, now: Timestamp) -> Result<usize, Error> {
    let keep = "UPDATE trigger_keys
                SET    expires_at = ?2
                WHERE  (environment_id, kind, task_id, key) IN (
                           SELECT k.environment_id, k.kind, k.task_id, k.key
                           FROM   trigger_keys k JOIN runs r ON r.id = k.caller_id
                           WHERE  k.expires_at <= ?1 AND r.finished_at IS NULL
                           LIMIT  ?3)";
    let forget = "DELETE FROM trigger_keys
                  WHERE  (environment_id, kind, task_id, key) IN (
                             SELECT k.environment_id, k.kind, k.task_id, k.key
                             FROM   trigger_keys k LEFT JOIN runs r ON r.id = k.caller_id
                             WHERE  k.expires_at <= ?1 AND (k.caller_id IS NULL OR r.finished_at IS NOT NULL)
                             ORDER BY k.expires_at
                             LIMIT  ?2)";
    let kept = tx.execute(keep, values![now, later(now, REQUEST_KEY_TTL), MAX_UPKEEP_RUNS])?;
    Ok(kept.max(tx.execute(forget, values![now, MAX_UPKEEP_RUNS])?))
}

/// Delayed runs whose time has come are queued, or wait for a version. Their ttl begins.
fn queue_due(tx: &mut Tx<'_>, now: Timestamp) -> Result<usize, Error> {
    let sql = "UPDATE runs
               SET    status = 'pending-version', updated_at = ?1, expires_at = ?1 + COALESCE(ttl_ms, ?3)
               WHERE  status = 'delayed' AND id IN (
                          SELECT r.id FROM runs r
                          WHERE  r.status = 'delayed' AND r.dequeue_at <= ?1
                          ORDER BY r.dequeue_at, r.id
                          LIMIT  ?2)
               RETURNING id";
    let due: Vec<RunId> = tx.rows(sql, values![now, MAX_UPKEEP_RUNS, PENDING_TTL], |row| row.column())?;
    for run in &due {
        if !release_pending(tx, *run, now)? {
            tx.effects.timer_set(later(now, PENDING_TTL));
            add_event(tx, *run, Event { at: now, status: Status::PendingVersion, attempt: 0, detail: None })?;
        }
    }
    Ok(due.len())
}

/// Runs that have waited too long for their turn, or for a version, end. Answers with the larger
/// number of the two.
fn expire(tx: &mut Tx<'_>, now: Timestamp) -> Result<usize, Error> {
    let queued = "SELECT r.id, r.environment_id, r.attempt, r.cpu_us
                  FROM   runs r
                  WHERE  r.status = 'queued' AND r.expires_at IS NOT NULL AND r.expires_at <= ?1
                  ORDER BY r.expires_at, r.id
                  LIMIT  ?2";
    let pending = "SELECT r.id, r.environment_id, r.attempt, r.cpu_us
                  FROM   runs r
                  WHERE  r.status = 'pending-version' AND r.expires_at IS NOT NULL AND r.expires_at <= ?1
                  ORDER BY r.expires_at, r.id
                  LIMIT  ?2";
    let mut most = 0;
    for (find, status) in [(queued, Status::Queued), (pending, Status::PendingVersion)] {
        let found = tx.rows(find, values![now, MAX_UPKEEP_RUNS], |row| {
            let cpu = |us| Duration::from_micros(us);
            Ok((row.column()?, row.column()?, row.column()?, cpu(row.column()?)))
        })?;
        most = most.max(found.len());
        for (run, environment, attempt, cpu) in found {
            let error = RunError::expired();
            if expire_run(tx, run, status, &error, Event { at: now, status: Status::Expired, attempt, detail: None })? {
                tx.effects.waiting(environment, -1);
                run_ended(tx, run, End { status: Status::Expired, output: None, error: Some(error), cpu }, now)?;
            }
        }
    }
    Ok(most)
}

/// Ends a run that is still as it was found.
fn expire_run(tx: &mut Tx<'_>, run: RunId, found: Status, error: &RunError, event: Event<'_>) -> Result<bool, Error> {
    let sql = "UPDATE runs
               SET    status = 'expired', finished_at = ?3, updated_at = ?3, error_kind = ?4, error_name = ?5,
                      error_message = ?6, error_stack = NULL
               WHERE  id = ?1 AND status = ?2";
    let values = values![run, found.as_str(), event.at, error.kind.as_str(), &error.name, &error.message];
    let expired = tx.execute(sql, values)? == 1;
    if expired {
        add_event(tx, run, event)?;
    }
    Ok(expired)
}

/// Queues runs that wait for a version although it is there: a promotion releases as many as one
/// transaction takes, and this the rest.
fn release_left(tx: &mut Tx<'_>, now: Timestamp) -> Result<usize, Error> {
    let sql = "SELECT r.id
               FROM   current_tasks c
               JOIN   runs r ON r.environment_id = c.environment_id AND r.task_id = c.task_id
               WHERE  r.status = 'pending-version' AND r.external_deployment IS NULL
               LIMIT  ?1";
    let labelled = "SELECT r.id
                    FROM   runs r
                    JOIN   deployments d ON d.environment_id = r.environment_id AND d.external_id = r.external_deployment
                    JOIN   deployment_tasks t ON t.deployment_id = d.id AND t.task_id = r.task_id
                    WHERE  r.status = 'pending-version' AND r.external_deployment IS NOT NULL
                    LIMIT  ?1";
    let mut pending: Vec<RunId> = tx.rows(sql, values![MAX_UPKEEP_RUNS], |row| row.column())?;
    if pending.is_empty() {
        pending = tx.rows(labelled, values![MAX_UPKEEP_RUNS], |row| row.column())?;
    }
    for run in &pending {
        release_pending(tx, *run, now)?;
    }
    tx.effects.pending_left(pending.len() == MAX_UPKEEP_RUNS as usize);
    Ok(pending.len())
}

/// Queues the runs of workers that do not live again, or ends those that were lost too often. Few
/// execute at a time, so that all are looked at.
fn requeue_lost(tx: &mut Tx<'_>, now: Timestamp, alive: WorkerId) -> Result<usize, Error> {
    let lost = "SELECT r.id, r.environment_id, r.lease, r.attempt, r.losses, r.cpu_us
                FROM   runs r
                WHERE  r.status = 'executing' AND r.worker_id <> ?2
                AND    NOT EXISTS (SELECT 1 FROM workers w WHERE w.id = r.worker_id AND w.lease_until > ?1)
                LIMIT  ?3";
    let lost = tx.rows(lost, values![now, alive, MAX_UPKEEP_RUNS], |row| {
        let lease =
            Lease { run: row.column()?, environment: row.column()?, number: row.column()?, attempt: row.column()? };
        Ok((lease, row.column::<u32>()?, Duration::from_micros(row.column()?)))
    })?;
    for (lease, losses, cpu) in &lost {
        settle(tx, &AttemptEnd::without_attempt(*lease, after_loss(*losses, now), *cpu, now))?;
    }
    tx.execute("DELETE FROM workers WHERE lease_until <= ?1 AND id <> ?2", values![now, alive])?;
    Ok(lost.len())
}

/// Marks every worker that the database knows as dead: on opening a database that one process at a
/// time may use, none of them can be alive.
pub(super) fn end_all_leases(tx: &Tx<'_>) -> Result<(), Error> {
    tx.execute("UPDATE workers SET lease_until = 0", &[]).map(drop)
}
