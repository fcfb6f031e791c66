//! Canceling runs: with what is below them, and once.

use std::time::Duration;

use jiff::Timestamp;

use super::places::place_is_free;
use super::runs::{Event, add_event};
use super::sql::{Tx, values};
use super::wakes::{forget_waits, run_ended};
use super::{Error, Storage};
use crate::model::id::{EnvironmentId, RunId};
use crate::model::run::{End, RunError, Status};

/// Runs below a canceled one that are canceled with it, at most.
const MAX_CANCELED_CHILDREN: u32 = 10_000;

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
