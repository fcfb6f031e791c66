//! Delayed runs: moving the moment at which they are queued.

use jiff::Timestamp;

use super::runs::{parse_tags, tags_text};
use super::sql::{Tx, values};
use super::{Error, Storage};
use crate::model::id::{EnvironmentId, RunId};
use crate::model::run::{Debounce, NewRun, later};
use crate::model::task::Machine;

/// What became of a reschedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rescheduled {
    /// The run waits until the new moment.
    Now,
    /// The run is not delayed; nothing changed.
    NotDelayed,
    /// There is no such run.
    NoSuchRun,
}

impl Storage {
    /// Moves a delayed run to another moment.
    pub async fn reschedule(
        &self,
        environment: EnvironmentId,
        run: RunId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Rescheduled, Error> {
        let known = "SELECT 1 FROM runs WHERE id = ?1 AND environment_id = ?2";
        self.writer
            .write(move |tx| {
                let is_known: Option<i64> = tx.row(known, values![run, environment], |row| row.column())?;
                if is_known.is_none() {
                    return Ok(Rescheduled::NoSuchRun);
                }
                Ok(if move_to(tx, run, until, now)? { Rescheduled::Now } else { Rescheduled::NotDelayed })
            })
            .await
    }
}

/// Lets a delayed run wait until another moment. `false`: it is not delayed.
fn move_to(tx: &mut Tx<'_>, run: RunId, until: Timestamp, now: Timestamp) -> Result<bool, Error> {
    let sql = "UPDATE runs
               SET    delay_until = ?2, dequeue_at = ?2, updated_at = ?3
               WHERE  id = ?1 AND status = 'delayed'";
    let moved = tx.execute(sql, values![run, until, now])? == 1;
    if moved {
        tx.effects.timer_set(until);
        tx.effects.run_changed(run);
    }
    Ok(moved)
}

/// Pushes back the delayed run that stands for the debounce key of `new`, and answers with it.
/// `None`: there is none, or it cannot be pushed that far.
pub(super) fn push_back(tx: &mut Tx<'_>, new: &NewRun) -> Result<Option<RunId>, Error> {
    let Some(Debounce { key, delay, trailing, .. }) = &new.debounce else { return Ok(None) };
    let find = "SELECT id, debounce_until
                FROM   runs
                WHERE  environment_id = ?1 AND task_id = ?2 AND debounce_key = ?3 AND status = 'delayed'
                ORDER BY id DESC
                LIMIT  1";
    let found = tx.row(find, values![new.environment, &new.task, key], |row| {
        Ok((row.column::<RunId>()?, row.column::<Option<Timestamp>>()?))
    })?;
    let Some((run, latest)) = found else { return Ok(None) };
    let until = later(new.created_at, *delay);
    if latest.is_some_and(|latest| until > latest) || !move_to(tx, run, until, new.created_at)? {
        return Ok(None);
    }
    if *trailing {
        take_over(tx, run, new)?;
    }
    Ok(Some(run))
}

/// Gives a run what a later trigger brought.
fn take_over(tx: &Tx<'_>, run: RunId, new: &NewRun) -> Result<(), Error> {
    let options = "UPDATE runs
                   SET    tags = ?2, metadata = ?3, max_attempts = ?4, max_duration_seconds = ?5, machine = ?6
                   WHERE  id = ?1 AND status = 'delayed'";
    let payload = "UPDATE run_payloads SET data = ?2, format = ?3, metadata = ?4 WHERE run_id = ?1";
    let known = "SELECT tags FROM runs WHERE id = ?1";
    let forget = "DELETE FROM run_tags WHERE environment_id = ?1 AND tag = ?2 AND run_id = ?3";
    let old_tags = tx.row(known, values![run], |row| row.parsed(parse_tags))?.unwrap_or_default();
    let (tags, metadata) = (tags_text(&new.tags), new.metadata.as_ref());
    let machine = new.machine.map(Machine::name);
    tx.execute(options, values![run, tags, metadata, new.max_attempts, new.max_duration_seconds, machine])?;
    let format = new.payload.format.as_str();
    tx.execute(payload, values![run, new.payload.data.as_ref(), format, metadata])?;
    for tag in old_tags {
        tx.execute(forget, values![new.environment, &tag, run])?;
    }
    super::insert::insert_tags(tx, new.environment, run, &new.tags)
}
