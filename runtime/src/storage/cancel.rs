//! Canceling runs: with all that is below them, and once.
//!
//! One transaction cancels a bounded number of runs. Of a larger tree it notes where it has stopped,
//! and upkeep goes on there.

use std::time::Duration;

use jiff::Timestamp;

use super::places::place_is_free;
use super::runs::{Event, add_event};
use super::sql::{Tx, values};
use super::wakes::{forget_waits, run_ended};
use super::{Error, Storage};
use crate::model::id::{EnvironmentId, Id, RunId};
use crate::model::run::{End, RunError, Status};

/// Runs below a canceled one that one transaction looks at.
const MAX_CANCELED_AT_ONCE: u32 = 200;

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

impl Storage {
    /// Ends a run that has not ended. Whoever executes it is told.
    pub async fn cancel(&self, environment: EnvironmentId, run: RunId, now: Timestamp) -> Result<Canceled, Error> {
        self.writer.write(move |tx| cancel(tx, environment, run, now)).await
    }

    /// Every run that is canceled from now on, whoever cancels it.
    pub fn cancellations(&self) -> tokio::sync::broadcast::Receiver<RunId> {
        self.listeners.cancellations()
    }
}

/// A run whose children after one of them are to be canceled.
struct Above {
    run: RunId,
    environment: EnvironmentId,
    after: RunId,
}

/// Cancels a run, and the runs below it that have not ended.
pub(super) fn cancel(
    tx: &mut Tx<'_>,
    environment: EnvironmentId,
    run: RunId,
    now: Timestamp,
) -> Result<Canceled, Error> {
    let canceled = cancel_one(tx, environment, run, now)?;
    if canceled == Canceled::Now {
        cancel_below(tx, vec![Above { run, environment, after: RunId::FIRST }], now)?;
    }
    Ok(canceled)
}

/// Goes on where earlier transactions have stopped. `false`: there was nothing to do.
pub(super) fn cancel_left(tx: &mut Tx<'_>, now: Timestamp) -> Result<bool, Error> {
    let find = "SELECT l.run_id, r.environment_id, l.after_id
                FROM   cancels_left l JOIN runs r ON r.id = l.run_id
                WHERE  l.run_id > ?1
                ORDER BY l.run_id
                LIMIT  ?2";
    let forget = "DELETE FROM cancels_left WHERE run_id = ?1";
    let left = tx.rows(find, values![RunId::FIRST, MAX_CANCELED_AT_ONCE], |row| {
        Ok(Above { run: row.column()?, environment: row.column()?, after: row.column()? })
    })?;
    for above in &left {
        tx.execute(forget, values![above.run])?;
    }
    let is_any = !left.is_empty();
    cancel_below(tx, left, now)?;
    Ok(is_any)
}

/// Cancels the runs below others, or as many as one transaction takes: then upkeep is told of the rest.
fn cancel_below(tx: &mut Tx<'_>, mut above: Vec<Above>, now: Timestamp) -> Result<(), Error> {
    let children = "SELECT r.id, CASE WHEN EXISTS (SELECT 1 FROM runs b WHERE b.parent_id = r.id) THEN 1 ELSE 0 END
                    FROM   runs r
                    WHERE  r.parent_id = ?1 AND r.id > ?2
                    ORDER BY r.id
                    LIMIT  ?3";
    // Where another cancellation has come further, that stands.
    let leave = "INSERT INTO cancels_left (run_id, after_id) VALUES (?1, ?2) ON CONFLICT (run_id) DO NOTHING";
    let mut left = MAX_CANCELED_AT_ONCE as usize;
    while left > 0
        && let Some(Above { run, environment, after }) = above.pop()
    {
        let found: Vec<(RunId, bool)> =
            tx.rows(children, values![run, after, left as u64], |row| Ok((row.column()?, row.column()?)))?;
        if let Some((last, _)) = found.last()
            && found.len() == left
        {
            above.push(Above { run, environment, after: *last });
        }
        left -= found.len();
        for (child, has_children) in found {
            // One that had ended may have left children behind.
            cancel_one(tx, environment, child, now)?;
            if has_children {
                above.push(Above { run: child, environment, after: RunId::FIRST });
            }
        }
    }
    for Above { run, after, .. } in above {
        tx.execute(leave, values![run, after])?;
        tx.effects.timer_set(now);
    }
    Ok(())
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
