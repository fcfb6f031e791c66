//! Waits of runs: going to wait, and what came of it.
//!
//! A run that waits holds neither a place in its queue nor a worker. What it still waits for are
//! rows of `run_waits`, and only while it waits; [`super::wakes`] takes them away and queues it
//! again. What has come by the moment it goes to wait never becomes a row, so that nothing that ends
//! meanwhile is missed: both are transactions of one writer.

use std::time::Duration;

use jiff::Timestamp;

use super::edits::{MetadataEdit, edit_metadata};
use super::journals::keep_journal;
use super::logs::{LogRow, append_logs};
use super::places::place_is_free;
use super::queue::{Lease, holds};
use super::runs::{Event, add_event, read_error};
use super::settlements::micros;
use super::sql::{Row, Tx, values};
use super::{Error, Storage};
use crate::model::attempt::Usage;
use crate::model::id::{EnvironmentId, RunId, WaitpointId};
use crate::model::limits::MAX_OUTCOME_BYTES;
use crate::model::run::{ErrorKind, RunError, Status};
use crate::model::wait::{Awaited, EndedRun, WaitOutcome};
use crate::model::waitpoint::WaitpointStatus;

/// An attempt that is about to wait, to be written in one transaction.
#[derive(Debug, Clone)]
pub struct Suspension {
    /// Whose attempt.
    pub lease: Lease,
    /// What it waits for. Nothing at all is there already.
    pub waits: Vec<Awaited>,
    /// Whether it waits for all of them, or for any.
    pub all: bool,
    /// What was recorded in its journal since the last segment, sealed.
    pub journal: Option<Vec<u8>>,
    /// Whether its journal is the whole of it. `false`: it passed its limit, and what is stored of it
    /// is forgotten, so that the next claim cannot resume it, and says so.
    pub replayable: bool,
    /// What the attempt has used so far.
    pub usage: Usage,
    /// CPU time of what came before that: as in `AttemptEnd`, what the claim said that `usage` counts
    /// from.
    pub cpu_before: Duration,
    /// What it has logged and nobody wrote yet.
    pub logs: Vec<LogRow>,
    /// What the attempt did to the metadata.
    pub metadata: Option<MetadataEdit>,
    /// Now.
    pub at: Timestamp,
}

/// What became of a wish to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspended {
    /// The run waits; the lease is gone. It is queued again as soon as it need not wait any more.
    Waiting,
    /// What it waits for is there; the attempt goes on. Of the suspension only the logs and
    /// the metadata are written.
    Ready,
    /// The lease does not hold any more. Of the suspension only the logs are written.
    Lost,
}

impl Storage {
    /// Lets a run wait, unless what it waits for is there already.
    pub async fn suspend(&self, suspension: Suspension) -> Result<Suspended, Error> {
        self.writer.write(move |tx| suspend(tx, &suspension)).await
    }

    /// What a waiting run lacks still, in the order of its list, 100 at most; nothing of another run.
    pub async fn waits_of(&self, run: RunId) -> Result<Vec<Awaited>, Error> {
        let sql = "SELECT due_at, target_run, target_token FROM run_waits
                   WHERE run_id = ?1 ORDER BY place, item LIMIT 100";
        let lacks = self.read(move |tx| {
            tx.rows(sql, values![run], |row| {
                let moment = row.column::<Option<Timestamp>>()?.map(Awaited::Moment);
                let run = row.column::<Option<RunId>>()?.map(Awaited::Run);
                let token = row.column::<Option<WaitpointId>>()?.map(Awaited::Token);
                Ok(moment.or(run).or(token))
            })
        });
        Ok(lacks.await?.into_iter().flatten().collect())
    }

    /// What has come of each of these by `now`; `None`: nothing yet. The outputs of runs are
    /// [`MAX_OUTCOME_BYTES`] at most: see [`EndedRun::error`].
    pub async fn outcomes(
        &self,
        environment: EnvironmentId,
        awaited: Vec<Awaited>,
        now: Timestamp,
    ) -> Result<Vec<Option<WaitOutcome>>, Error> {
        self.read(move |tx| {
            let mut left = MAX_OUTCOME_BYTES;
            awaited.iter().map(|awaited| outcome(tx, environment, awaited, (now, &mut left))).collect()
        })
        .await
    }
}

/// Something that is not there yet.
enum Target {
    Moment(Timestamp),
    Token(WaitpointId),
    Run(RunId),
}

fn suspend(tx: &mut Tx<'_>, suspension: &Suspension) -> Result<Suspended, Error> {
    let wait = "UPDATE runs
                SET    status = 'waiting', updated_at = ?3, worker_id = NULL, expires_at = NULL,
                       cpu_us = CASE WHEN cpu_us < ?4 THEN ?4 ELSE cpu_us END,
                       peak_memory_bytes = CASE WHEN peak_memory_bytes < ?5 THEN ?5 ELSE peak_memory_bytes END,
                       is_replayable = ?6, journaled_attempt = ?7
                WHERE  id = ?1 AND lease = ?2 AND status = 'executing'";
    let Suspension { lease, waits, all, replayable, usage, at, .. } = suspension;
    append_logs(tx, lease.run, &suspension.logs)?;
    if !holds(tx, lease.run, lease.number)? {
        return Ok(Suspended::Lost);
    }
    edit_metadata(tx, lease, suspension.metadata.as_ref(), *at)?;
    let mut missing = Vec::with_capacity(waits.len());
    for awaited in waits {
        missing.push(not_there(tx, lease.environment, awaited, *at)?);
    }
    let mut places = missing.iter().map(Vec::is_empty);
    if waits.is_empty() || if *all { places.all(|is_there| is_there) } else { places.any(|is_there| is_there) } {
        return Ok(Suspended::Ready);
    }
    let cpu = micros(suspension.cpu_before + usage.cpu);
    let attempt = i64::from(lease.attempt);
    let (is_replayable, journaled) = if *replayable { (None, attempt) } else { (Some(false), -attempt) };
    let memory = usage.peak_memory_bytes;
    let values = values![lease.run, lease.number, *at, cpu, memory, is_replayable, journaled];
    tx.execute(wait, values)?;
    for (place, targets) in missing.iter().enumerate() {
        insert_waits(tx, lease.run, (place, *all), targets)?;
    }
    let journal = (suspension.journal.as_deref(), *replayable);
    keep_journal(tx, lease.run, lease.attempt, journal)?;
    let event = Event { at: *at, status: Status::Waiting, attempt: lease.attempt, detail: None };
    add_event(tx, lease.run, event)?;
    place_is_free(tx, lease.run)?;
    Ok(Suspended::Waiting)
}

/// Stores what a run waits for at one place of its list.
fn insert_waits(
    tx: &mut Tx<'_>,
    run: RunId,
    (place, needs_all): (usize, bool),
    targets: &[(usize, Target)],
) -> Result<(), Error> {
    let sql = "INSERT INTO run_waits (run_id, place, item, needs_all, due_at, target_run, target_token)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    for (item, target) in targets {
        let (due_at, of_run, of_token) = match target {
            Target::Moment(at) => (Some(*at), None, None),
            Target::Run(run) => (None, Some(*run), None),
            Target::Token(token) => (None, None, Some(*token)),
        };
        let (place, item) = (place as u64, *item as u64);
        tx.execute(sql, values![run, place, item, needs_all, due_at, of_run, of_token])?;
        if let Some(at) = due_at {
            tx.effects.timer_set(at);
        }
        if of_run.is_some() {
            tx.effects.awaits_runs(true);
        }
    }
    Ok(())
}

/// What of `awaited` is not there yet at `now`, each with its number. What does not exist will never
/// come, and counts as there.
fn not_there(
    tx: &Tx<'_>,
    environment: EnvironmentId,
    awaited: &Awaited,
    now: Timestamp,
) -> Result<Vec<(usize, Target)>, Error> {
    let token_status = "SELECT status FROM waitpoints WHERE id = ?1 AND environment_id = ?2";
    let run_status = "SELECT status FROM runs WHERE id = ?1 AND environment_id = ?2";
    let runs = match awaited {
        Awaited::Moment(at) => {
            let is_there = *at <= now;
            return Ok(if is_there { Vec::new() } else { vec![(0, Target::Moment(*at))] });
        }
        Awaited::Token(token) => {
            let found = tx.row(token_status, values![*token, environment], |row| row.parsed(WaitpointStatus::parse))?;
            let waits = found == Some(WaitpointStatus::Waiting);
            return Ok(if waits { vec![(0, Target::Token(*token))] } else { Vec::new() });
        }
        Awaited::Run(run) => std::slice::from_ref(run),
        Awaited::Runs(runs) => runs,
    };
    let mut missing = Vec::new();
    for (item, run) in runs.iter().enumerate() {
        let found = tx.row(run_status, values![*run, environment], |row| row.parsed(Status::parse))?;
        if found.is_some_and(|status| !status.is_final()) {
            missing.push((item, Target::Run(*run)));
        }
    }
    Ok(missing)
}

fn outcome(
    tx: &Tx<'_>,
    environment: EnvironmentId,
    awaited: &Awaited,
    (now, left): (Timestamp, &mut usize),
) -> Result<Option<WaitOutcome>, Error> {
    let token = "SELECT status, output FROM waitpoints WHERE id = ?1 AND environment_id = ?2";
    let runs = match awaited {
        Awaited::Moment(at) => return Ok((*at <= now).then_some(WaitOutcome::Elapsed)),
        Awaited::Token(id) => {
            let found = tx.row(token, values![*id, environment], |row| {
                Ok((row.parsed(WaitpointStatus::parse)?, row.column()?))
            })?;
            return Ok(match found {
                None => Some(WaitOutcome::Missing),
                Some((WaitpointStatus::Waiting, _)) => None,
                Some((WaitpointStatus::Completed, output)) => Some(WaitOutcome::Completed(output)),
                Some((WaitpointStatus::TimedOut, _)) => Some(WaitOutcome::TimedOut),
            });
        }
        Awaited::Run(run) => std::slice::from_ref(run),
        Awaited::Runs(runs) => runs,
    };
    if !not_there(tx, environment, awaited, now)?.is_empty() {
        return Ok(None);
    }
    let mut ended = Vec::with_capacity(runs.len());
    for run in runs {
        let Some(run) = ended_run(tx, environment, *run, left)? else { return Ok(Some(WaitOutcome::Missing)) };
        ended.push(run);
    }
    Ok(match awaited {
        Awaited::Run(_) => ended.pop().map(WaitOutcome::Ended),
        Awaited::Moment(_) | Awaited::Token(_) | Awaited::Runs(_) => Some(WaitOutcome::AllEnded(ended)),
    })
}

/// A run that has ended, with its output where that is `left` bytes long at most.
fn ended_run(tx: &Tx<'_>, environment: EnvironmentId, run: RunId, left: &mut usize) -> Result<Option<EndedRun>, Error> {
    let sql = "SELECT id, task_id, status, cpu_us, OCTET_LENGTH(output),
                      CASE WHEN OCTET_LENGTH(output) <= CAST(?3 AS BIGINT) THEN output END,
                      error_kind, error_name, error_message, error_stack
               FROM   runs
               WHERE  id = ?1 AND environment_id = ?2";
    let found = tx.row(sql, values![run, environment, *left as u64], read_ended)?;
    Ok(found.map(|(mut ended, output_bytes)| {
        if let Some(error) = &mut ended.error {
            let texts = error.name.len() + error.message.len();
            error.stack = error.stack.take().filter(|stack| texts + stack.len() <= *left);
            *left = left.saturating_sub(texts + error.stack.as_ref().map_or(0, String::len));
        }
        match &ended.output {
            Some(output) => *left = left.saturating_sub(output.len()),
            None if output_bytes.is_some() => ended.error = Some(too_much()),
            None => {}
        }
        ended
    }))
}

fn read_ended(row: &mut Row<'_>) -> Result<(EndedRun, Option<u64>), Error> {
    let (id, task, status) = (row.column()?, row.column()?, row.parsed(Status::parse)?);
    let cpu = Duration::from_micros(row.column()?);
    let output_bytes = row.column()?;
    let output = row.column()?;
    // The error of its last attempt but one is no reason why it completed.
    let error = read_error(row)?.filter(|_| status != Status::Completed);
    Ok((EndedRun { id, task, status, output, error, cpu }, output_bytes))
}

fn too_much() -> RunError {
    let message = format!(
        "the outputs of the runs that were waited for have more than {} MiB; return less, or wait for fewer at a time",
        MAX_OUTCOME_BYTES / 1_048_576
    );
    RunError { kind: ErrorKind::System, name: "OutputsTooLarge".into(), message, stack: None }
}
