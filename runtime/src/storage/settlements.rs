//! Settling attempts: what `model::attempt::settle` decided is recorded, if the lease still holds.

use std::time::Duration;

use jiff::Timestamp;

use super::Error;
use super::edits::{MetadataEdit, edit_metadata};
use super::journals::{forget_journal, keep_journal};
use super::logs::{LogRow, append_logs};
use super::places::place_is_free;
use super::queue::Lease;
use super::runs::{Event, add_event};
use super::sql::{Tx, values};
use super::wakes::run_ended;
use crate::model::attempt::{Settlement, Usage};
use crate::model::run::{End, RunError, Status};

/// How an attempt ended, to be written in one transaction.
#[derive(Debug, Clone)]
pub struct AttemptEnd {
    /// Whose attempt.
    pub lease: Lease,
    /// What was decided.
    pub settlement: Settlement,
    /// What the attempt used.
    pub usage: Usage,
    /// CPU time of the attempts before it.
    pub cpu_before: Duration,
    /// What the attempt did to the metadata.
    pub metadata: Option<MetadataEdit>,
    /// What the attempt logged and nobody wrote yet.
    pub logs: Vec<LogRow>,
    /// The last segment of its journal, sealed; kept where the run has ended with this attempt.
    pub journal: Option<Vec<u8>>,
    /// Whether its journal is the whole of it. `Some(false)`: it passed its limit, and what is stored
    /// of it is forgotten. `None`: nothing was recorded.
    pub replayable: Option<bool>,
    /// Whether its journal is kept where the run has ended with this attempt; else what is stored of it
    /// is forgotten with that end.
    pub keeps_journal: bool,
    /// When it ended.
    pub at: Timestamp,
}

impl AttemptEnd {
    /// The end of an attempt of which nothing is known.
    pub(super) fn without_attempt(lease: Lease, settlement: Settlement, cpu_before: Duration, at: Timestamp) -> Self {
        Self {
            lease,
            settlement,
            usage: Usage::default(),
            cpu_before,
            metadata: None,
            logs: Vec::new(),
            journal: None,
            replayable: None,
            keeps_journal: true,
            at,
        }
    }
}

/// Records how an attempt ended. `false`: its lease does not hold any more, and only its logs are kept,
/// and, where the run was canceled, what it did to the metadata.
pub(super) fn settle(tx: &mut Tx<'_>, end: &AttemptEnd) -> Result<bool, Error> {
    append_logs(tx, end.lease.run, &end.logs)?;
    edit_metadata(tx, &end.lease, end.metadata.as_ref(), end.at)?;
    let settled = record(tx, end)?;
    if settled {
        place_is_free(tx, end.lease.run)?;
    }
    Ok(settled)
}

fn record(tx: &mut Tx<'_>, end: &AttemptEnd) -> Result<bool, Error> {
    match &end.settlement {
        Settlement::Completed(output) => finish(tx, end, Status::Completed, Some(output), None),
        Settlement::Ended { status, error } => finish(tx, end, *status, None, Some(error)),
        Settlement::RetryAt { at, error } => {
            requeue(tx, end, Requeue { at: *at, attempt_counts: true, loss: false, error: Some(error) })
        }
        Settlement::Requeued { at, loss } => {
            requeue(tx, end, Requeue { at: *at, attempt_counts: false, loss: *loss, error: None })
        }
    }
}

fn finish(
    tx: &mut Tx<'_>,
    end: &AttemptEnd,
    status: Status,
    output: Option<&String>,
    error: Option<&RunError>,
) -> Result<bool, Error> {
    let sql = "UPDATE runs
               SET    status = ?3, output = ?4, error_kind = ?5, error_name = ?6, error_message = ?7, error_stack = ?8,
                      finished_at = ?9, updated_at = ?9, worker_id = NULL, cpu_us = ?10,
                      peak_memory_bytes = CASE WHEN peak_memory_bytes < ?11 THEN ?11 ELSE peak_memory_bytes END,
                      is_replayable = COALESCE(?12, is_replayable),
                      journaled_attempt = COALESCE(?13, journaled_attempt)
               WHERE  id = ?1 AND lease = ?2 AND status = 'executing'";
    let Lease { run, number, attempt, .. } = end.lease;
    let cpu = end.cpu_before + end.usage.cpu;
    let kept = if end.keeps_journal { end.replayable } else { Some(false) };
    let values = values![
        run,
        number,
        status.as_str(),
        output,
        error.map(|error| error.kind.as_str()),
        error.map(|error| &error.name),
        error.map(|error| &error.message),
        error.and_then(|error| error.stack.as_ref()),
        end.at,
        micros(cpu),
        end.usage.peak_memory_bytes,
        end.replayable,
        kept.map(|is_kept| if is_kept { attempt } else { 0 }),
    ];
    if tx.execute(sql, values)? == 0 {
        return Ok(false);
    }
    if let Some(is_kept) = kept {
        keep_journal(tx, run, attempt, (end.journal.as_deref(), is_kept))?;
    }
    add_event(tx, run, Event { at: end.at, status, attempt, detail: error.map(|error| error.message.as_str()) })?;
    run_ended(tx, run, End { status, output: output.cloned(), error: error.cloned(), cpu }, end.at)?;
    Ok(true)
}

/// How a run goes back to the queue.
struct Requeue<'e> {
    at: Timestamp,
    attempt_counts: bool,
    loss: bool,
    error: Option<&'e RunError>,
}

fn requeue(tx: &mut Tx<'_>, end: &AttemptEnd, how: Requeue<'_>) -> Result<bool, Error> {
    let sql = "UPDATE runs
               SET    status = 'queued', dequeue_at = ?3, updated_at = ?4, worker_id = NULL,
                      attempt = attempt - ?5, losses = losses + ?6, expires_at = NULL,
                      error_kind = COALESCE(?7, error_kind), error_name = COALESCE(?8, error_name),
                      error_message = COALESCE(?9, error_message), error_stack = COALESCE(?10, error_stack),
                      cpu_us = CASE WHEN cpu_us < ?11 THEN ?11 ELSE cpu_us END,
                      journaled_attempt = CASE WHEN ?5 = 0 THEN 0 ELSE journaled_attempt END
               WHERE  id = ?1 AND lease = ?2 AND status = 'executing'";
    let AttemptEnd { lease, at: now, .. } = end;
    let error = how.error;
    let requeued = tx.execute(
        sql,
        values![
            lease.run,
            lease.number,
            how.at,
            *now,
            !how.attempt_counts,
            how.loss,
            error.map(|error| error.kind.as_str()),
            error.map(|error| &error.name),
            error.map(|error| &error.message),
            error.and_then(|error| error.stack.as_ref()),
            micros(end.cpu_before + end.usage.cpu),
        ],
    )? == 1;
    if requeued {
        if how.attempt_counts {
            forget_journal(tx, lease.run, lease.attempt)?;
        }
        tx.effects.waiting(lease.environment, 1);
        tx.effects.ready(how.at);
        let why = match error {
            Some(error) => &error.message,
            None if how.loss => "the attempt was lost with its server, or the server failed it",
            None => "the attempt was interrupted and does not count",
        };
        add_event(
            tx,
            lease.run,
            Event { at: *now, status: Status::Queued, attempt: lease.attempt, detail: Some(why) },
        )?;
    }
    Ok(requeued)
}

pub(super) fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}
