//! Waking: what a waiting run waits for is there, and it goes back to the queue.
//!
//! Whatever ends a run or a token wakes those who wait for it, in the same transaction; upkeep wakes
//! those who wait for a moment. A run is woken once: the statement that queues it expects it to
//! wait. It takes its old place in the queue, as the same attempt: the next claim counts it again.

use jiff::Timestamp;

use super::journals::forget_journals;
use super::runs::{Event, add_event};
use super::sql::{Row, Tx, Value, values};
use super::upkeep::MAX_UPKEEP_RUNS;
use super::{Error, hooks};
use crate::model::id::{EnvironmentId, RunId, WaitpointId};
use crate::model::run::{End, Status};

/// One thing that a run waits for.
struct Wait {
    run: RunId,
    place: u32,
    item: u32,
    needs_all: bool,
}

fn read_wait(row: &mut Row<'_>) -> Result<Wait, Error> {
    Ok(Wait { run: row.column()?, place: row.column()?, item: row.column()?, needs_all: row.column()? })
}

/// A run has ended so. Every end of a run comes through here, once.
pub(super) fn run_ended(tx: &mut Tx<'_>, run: RunId, end: End, now: Timestamp) -> Result<(), Error> {
    // An end that no attempt came to: what is stored of its journal breaks off somewhere.
    let is_without_attempt = matches!(end.status, Status::Canceled | Status::Expired | Status::SystemFailure);
    tx.effects.run_ended(run, end);
    hooks::ended(tx, run, now)?;
    if is_without_attempt {
        forget_journals(tx, run)?;
    }
    wake_waiters_of_run(tx, run, now)
}

/// Wakes those who wait for the end of `run`.
fn wake_waiters_of_run(tx: &mut Tx<'_>, run: RunId, now: Timestamp) -> Result<(), Error> {
    let find = "SELECT run_id, place, item, needs_all FROM run_waits
                WHERE  target_run = ?1
                ORDER BY run_id
                LIMIT  ?2";
    let leave = "UPDATE run_waits SET target_run = NULL, due_at = ?2 WHERE target_run = ?1";
    if !tx.effects.may_await_runs() {
        return Ok(());
    }
    wake_waiters(tx, (find, leave), run.into(), now)
}

/// Wakes those who wait for a token.
pub(super) fn wake_waiters_of_token(tx: &mut Tx<'_>, token: WaitpointId, now: Timestamp) -> Result<(), Error> {
    let find = "SELECT run_id, place, item, needs_all FROM run_waits
                WHERE  target_token = ?1
                ORDER BY run_id
                LIMIT  ?2";
    let leave = "UPDATE run_waits SET target_token = NULL, due_at = ?2 WHERE target_token = ?1";
    wake_waiters(tx, (find, leave), token.into(), now)
}

/// Wakes those whom `find` finds for a target. One transaction wakes a bounded number: the rest is due
/// from now on, and left to upkeep.
fn wake_waiters(tx: &mut Tx<'_>, (find, leave): (&str, &str), target: Value<'_>, now: Timestamp) -> Result<(), Error> {
    let waits = tx.rows(find, values![target.clone(), MAX_UPKEEP_RUNS], read_wait)?;
    if waits.is_empty() {
        return Ok(());
    }
    settle_waits(tx, &waits, now)?;
    if tx.execute(leave, values![target, now])? > 0 {
        tx.effects.timer_set(now);
    }
    Ok(())
}

/// Wakes those who wait for a moment that has come: as many waits as one pass of upkeep takes.
/// Answers with how many that were.
pub(super) fn wake_due(tx: &mut Tx<'_>, now: Timestamp) -> Result<usize, Error> {
    let find = "SELECT run_id, place, item, needs_all FROM run_waits
                WHERE  due_at IS NOT NULL AND due_at <= ?1
                ORDER BY due_at, run_id
                LIMIT  ?2";
    let waits = tx.rows(find, values![now, MAX_UPKEEP_RUNS], read_wait)?;
    settle_waits(tx, &waits, now)?;
    Ok(waits.len())
}

/// Looks whether runs wait for others at all: where none does, the end of a run wakes nobody.
pub(super) fn look_for_waits(tx: &mut Tx<'_>) -> Result<(), Error> {
    let sql = "SELECT 1 FROM run_waits WHERE target_run IS NOT NULL LIMIT 1";
    if tx.effects.may_await_runs() {
        let found: Option<i64> = tx.row(sql, &[], |row| row.column())?;
        tx.effects.awaits_runs(found.is_some());
    }
    Ok(())
}

/// Forgets what a run waits for, which waits no more.
pub(super) fn forget_waits(tx: &Tx<'_>, run: RunId) -> Result<(), Error> {
    tx.execute("DELETE FROM run_waits WHERE run_id = ?1", values![run]).map(drop)
}

/// What these waits are for is there: wakes whose wait is over with that.
fn settle_waits(tx: &mut Tx<'_>, waits: &[Wait], now: Timestamp) -> Result<(), Error> {
    let over = "DELETE FROM run_waits WHERE run_id = ?1 AND place = ?2 AND item = ?3";
    let left = "SELECT 1 FROM run_waits WHERE run_id = ?1 LIMIT 1";
    let left_in_place = "SELECT 1 FROM run_waits WHERE run_id = ?1 AND place = ?2 LIMIT 1";
    for Wait { run, place, item, needs_all } in waits {
        // A run that was woken meanwhile waits for nothing.
        if tx.execute(over, values![*run, *place, *item])? == 0 {
            continue;
        }
        let left: Option<i64> = if *needs_all {
            tx.row(left, values![*run], |row| row.column())?
        } else {
            tx.row(left_in_place, values![*run, *place], |row| row.column())?
        };
        if left.is_none() {
            wake(tx, *run, now)?;
        }
    }
    Ok(())
}

fn wake(tx: &mut Tx<'_>, run: RunId, now: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE runs
               SET    status = 'queued', attempt = attempt - 1, updated_at = ?2, expires_at = NULL, held = 0,
                      dequeue_at = COALESCE(queued_at, created_at) - priority_ms
               WHERE  id = ?1 AND status = 'waiting'
               RETURNING environment_id, dequeue_at, attempt";
    let woken = tx.row(sql, values![run, now], |row| {
        Ok((row.column::<EnvironmentId>()?, row.column::<Timestamp>()?, row.column::<u32>()?))
    })?;
    forget_waits(tx, run)?;
    if let Some((environment, dequeue_at, attempt)) = woken {
        tx.effects.waiting(environment, 1);
        tx.effects.ready(dequeue_at);
        let why = Some("what it waited for is there");
        add_event(tx, run, Event { at: now, status: Status::Queued, attempt: attempt + 1, detail: why })?;
    }
    Ok(())
}
