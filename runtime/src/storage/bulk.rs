//! Bulk actions: what was asked for, how far it has come, and what became of each run.
//!
//! What is done to a run and the row that says so are written in one transaction: nothing is done
//! twice, wherever a server dies.

use std::collections::HashMap;

use jiff::Timestamp;

use super::cancel::cancel;
use super::insert::insert_run;
use super::page::{Page, Place};
use super::sql::{Row, Tx, values};
use super::{Canceled, Error, Inserted, Storage};
use crate::model::bulk::{BulkKind, BulkStatus, MemberOutcome};
use crate::model::id::{BulkId, EnvironmentId, Id, RunId};
use crate::model::run::{NewRun, Status};

/// Members of which the new runs are counted, with each look at a bulk action.
const MAX_COUNTED_MEMBERS: u32 = 100_000;

/// A bulk action that is to be done.
#[derive(Debug, Clone)]
pub struct NewBulk {
    /// Its name.
    pub id: BulkId,
    /// Where its runs are.
    pub environment: EnvironmentId,
    /// What is done.
    pub kind: BulkKind,
    /// For people.
    pub name: Option<String>,
    /// Which runs, as JSON.
    pub selection: String,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// A bulk action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bulk {
    /// Its name.
    pub id: BulkId,
    /// Where its runs are.
    pub environment: EnvironmentId,
    /// What is done.
    pub kind: BulkKind,
    /// Where it is.
    pub status: BulkStatus,
    /// For people.
    pub name: Option<String>,
    /// Which runs, as JSON.
    pub selection: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was over.
    pub completed_at: Option<Timestamp>,
    /// The last source run that was looked at.
    pub last_run: Option<RunId>,
    /// Runs it was done to.
    pub done: u64,
    /// Runs to which it was not.
    pub not_done: u64,
}

/// What is to be done to one run.
#[derive(Debug, Clone)]
pub enum MemberAction {
    /// End it.
    Cancel,
    /// Store this replay of it.
    Replay(Box<NewRun>),
    /// Nothing: it cannot be done, for this reason.
    Refuse(String),
}

/// What came of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acted {
    /// It is on record, now or since an earlier try.
    Recorded,
    /// So many runs wait already that a replay must wait, too; nothing changed.
    QueueFull,
    /// The action is over; nothing changed.
    Over,
}

/// What became of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The source run.
    pub source: RunId,
    /// What became of it.
    pub outcome: MemberOutcome,
    /// Why it was not done.
    pub reason: Option<String>,
    /// Of a replay, the new run, and where it is now.
    pub new_run: Option<(RunId, Status)>,
}

macro_rules! bulk_columns {
    () => {
        "b.id, b.environment_id, b.kind, b.status, b.name, b.selection, b.created_at, b.completed_at, b.last_run,
         b.done, b.not_done"
    };
}

impl Storage {
    /// Stores a bulk action that is to be done.
    pub async fn insert_bulk(&self, bulk: NewBulk) -> Result<(), Error> {
        let sql = "INSERT INTO bulk_actions (id, environment_id, kind, status, name, selection, created_at)
                   VALUES (?1, ?2, ?3, 'pending', ?4, ?5, ?6)";
        self.writer
            .write(move |tx| {
                let NewBulk { id, environment, kind, name, selection, created_at } = &bulk;
                tx.effects.bulk_added();
                let values = values![*id, *environment, kind.as_str(), name.as_ref(), selection, *created_at];
                tx.execute(sql, values).map(drop)
            })
            .await
    }

    /// Resolves when a bulk action was stored; one that was stored since the last time counts.
    pub async fn bulk_added(&self) {
        self.listeners.bulk.notified().await;
    }

    /// A bulk action of an environment.
    pub async fn bulk(&self, environment: EnvironmentId, id: BulkId) -> Result<Option<Bulk>, Error> {
        let sql = concat!("SELECT ", bulk_columns!(), " FROM bulk_actions b WHERE b.id = ?1 AND b.environment_id = ?2");
        self.read(move |tx| tx.row(sql, values![id, environment], read_bulk)).await
    }

    /// Bulk actions of an environment, newest first.
    pub async fn bulks(
        &self,
        environment: EnvironmentId,
        place: Place<BulkId>,
        limit: u32,
    ) -> Result<Page<Bulk, BulkId>, Error> {
        let newest_first = concat!(
            "SELECT ",
            bulk_columns!(),
            " FROM bulk_actions b WHERE b.environment_id = ?1 AND b.id > ?2 AND b.id < ?3 ORDER BY b.id DESC LIMIT ?4"
        );
        let oldest_first = concat!(
            "SELECT ",
            bulk_columns!(),
            " FROM bulk_actions b WHERE b.environment_id = ?1 AND b.id > ?2 AND b.id < ?3 ORDER BY b.id LIMIT ?4"
        );
        let sql = if place.is_backward() { oldest_first } else { newest_first };
        let (above, below) = place.range(None, None);
        self.read(move |tx| {
            let found = tx.rows(sql, values![environment, above, below, limit + 1], read_bulk)?;
            Ok(Page::found(found, place, limit))
        })
        .await
    }

    /// Bulk actions that are to be done, of all environments, oldest first.
    pub async fn pending_bulks(&self, limit: u32) -> Result<Vec<Bulk>, Error> {
        let sql = concat!(
            "SELECT ",
            bulk_columns!(),
            " FROM bulk_actions b WHERE b.status = 'pending' ORDER BY b.id LIMIT ?1"
        );
        self.read(move |tx| tx.rows(sql, values![limit], read_bulk)).await
    }

    /// Does what a bulk action asks for to one run, and records it; where it is on record already,
    /// nothing is done. `max_waiting` is the number of runs of the environment that may wait.
    pub async fn act_on_member(
        &self,
        (bulk, environment): (BulkId, EnvironmentId),
        (source, action): (RunId, MemberAction),
        now: Timestamp,
        max_waiting: u64,
    ) -> Result<Acted, Error> {
        let go_on = "UPDATE bulk_actions SET last_run = ?2 WHERE id = ?1 AND status = 'pending'";
        let listeners = self.listeners.clone();
        self.writer
            .write(move |tx| {
                let waiting = listeners.waiting(environment, &tx.effects);
                if matches!(action, MemberAction::Replay(_)) && waiting >= max_waiting {
                    return Ok(Acted::QueueFull);
                }
                if tx.execute(go_on, values![bulk, source])? == 0 {
                    return Ok(Acted::Over);
                }
                match &action {
                    MemberAction::Cancel => cancel_member(tx, (bulk, environment), source, now)?,
                    MemberAction::Replay(run) => replay_member(tx, bulk, source, run, (waiting, max_waiting))?,
                    MemberAction::Refuse(reason) => {
                        record(tx, bulk, source, (MemberOutcome::Failed, Some(reason), None))?;
                    }
                }
                Ok(Acted::Recorded)
            })
            .await
    }

    /// Ends a bulk action that is pending. `false`: it is not.
    pub async fn end_bulk(&self, bulk: BulkId, status: BulkStatus, now: Timestamp) -> Result<bool, Error> {
        let sql = "UPDATE bulk_actions SET status = ?2, completed_at = ?3 WHERE id = ?1 AND status = 'pending'";
        self.writer.write(move |tx| Ok(tx.execute(sql, values![bulk, status.as_str(), now])? == 1)).await
    }

    /// What became of runs, oldest first, of runs newer than `after`.
    pub async fn members(&self, bulk: BulkId, after: Option<RunId>, limit: u32) -> Result<Vec<Member>, Error> {
        let sql = "SELECT m.source_id, m.outcome, m.reason, m.new_run, r.status
                   FROM   bulk_members m
                   LEFT JOIN runs r ON r.id = m.new_run
                   WHERE  m.bulk_id = ?1 AND m.source_id > ?2
                   ORDER BY m.source_id
                   LIMIT  ?3";
        let after = after.unwrap_or(RunId::FIRST);
        self.read(move |tx| {
            tx.rows(sql, values![bulk, after, limit], |row| {
                let source = row.column()?;
                let outcome = row.parsed(MemberOutcome::parse)?;
                let (reason, new_run) = (row.column()?, row.column::<Option<RunId>>()?);
                let status = row.parsed_option(Status::parse)?;
                Ok(Member { source, outcome, reason, new_run: new_run.zip(status) })
            })
        })
        .await
    }

    /// How many of the first runs that a bulk action looked at, [`MAX_COUNTED_MEMBERS`] at most, made
    /// runs that are where.
    pub async fn bulk_outcomes(&self, bulk: BulkId) -> Result<HashMap<Status, u64>, Error> {
        let sql = "SELECT r.status
                   FROM   (SELECT new_run FROM bulk_members WHERE bulk_id = ?1 ORDER BY source_id LIMIT ?2) AS m
                   JOIN   runs r ON r.id = m.new_run";
        self.read(move |tx| {
            let mut counts: HashMap<Status, u64> = HashMap::new();
            for status in tx.rows(sql, values![bulk, MAX_COUNTED_MEMBERS], |row| row.parsed(Status::parse))? {
                *counts.entry(status).or_default() += 1;
            }
            Ok(counts)
        })
        .await
    }

    /// How many of the runs that a bulk action made have not started, `at_most` or fewer.
    pub async fn unstarted_replays(&self, bulk: BulkId, at_most: u32) -> Result<u32, Error> {
        let sql = "SELECT COUNT(*)
                   FROM   (SELECT id FROM runs
                           WHERE  bulk_id = ?1 AND started_at IS NULL AND finished_at IS NULL
                           LIMIT  ?2) AS unstarted";
        self.read(move |tx| Ok(tx.row(sql, values![bulk, at_most], |row| row.column())?.unwrap_or(0))).await
    }

    /// How many runs could start now, `at_most` or fewer.
    pub async fn ready_runs(&self, now: Timestamp, at_most: u32) -> Result<u32, Error> {
        let sql = "SELECT COUNT(*)
                   FROM   (SELECT id FROM runs
                           WHERE  status = 'queued' AND held = 0 AND dequeue_at <= ?1
                           LIMIT  ?2) AS ready";
        self.read(move |tx| Ok(tx.row(sql, values![now, at_most], |row| row.column())?.unwrap_or(0))).await
    }
}

fn cancel_member(
    tx: &mut Tx<'_>,
    (bulk, environment): (BulkId, EnvironmentId),
    source: RunId,
    now: Timestamp,
) -> Result<(), Error> {
    let what = match cancel(tx, environment, source, now)? {
        Canceled::Now => (MemberOutcome::Done, None, None),
        Canceled::HadEnded => (MemberOutcome::Skipped, Some("the run had ended already"), None),
        Canceled::NoSuchRun => (MemberOutcome::Failed, Some("Run not found"), None),
    };
    record(tx, bulk, source, what).map(drop)
}

fn replay_member(
    tx: &mut Tx<'_>,
    bulk: BulkId,
    source: RunId,
    run: &NewRun,
    (waiting, max_waiting): (u64, u64),
) -> Result<(), Error> {
    if !record(tx, bulk, source, (MemberOutcome::Done, None, Some(run.id)))? {
        return Ok(());
    }
    match insert_run(tx, run, waiting, max_waiting)? {
        Inserted::New => Ok(()),
        Inserted::Existing { .. } | Inserted::TokenUsed | Inserted::ParentGone | Inserted::QueueFull { .. } => {
            Err(Error::Corrupt(format!("the replay of {source} was not stored")))
        }
    }
}

/// Records what became of a run. `false`: it is on record.
fn record(
    tx: &Tx<'_>,
    bulk: BulkId,
    source: RunId,
    (outcome, reason, new_run): (MemberOutcome, Option<&str>, Option<RunId>),
) -> Result<bool, Error> {
    let sql = "INSERT INTO bulk_members (bulk_id, source_id, outcome, reason, new_run) VALUES (?1, ?2, ?3, ?4, ?5)
               ON CONFLICT (bulk_id, source_id) DO NOTHING";
    let count = "UPDATE bulk_actions SET done = done + ?2, not_done = not_done + ?3 WHERE id = ?1";
    let is_new = tx.execute(sql, values![bulk, source, outcome.as_str(), reason, new_run])? == 1;
    if is_new {
        let done = i64::from(outcome == MemberOutcome::Done);
        tx.execute(count, values![bulk, done, 1 - done])?;
    }
    Ok(is_new)
}

fn read_bulk(row: &mut Row<'_>) -> Result<Bulk, Error> {
    Ok(Bulk {
        id: row.column()?,
        environment: row.column()?,
        kind: row.parsed(BulkKind::parse)?,
        status: row.parsed(BulkStatus::parse)?,
        name: row.column()?,
        selection: row.column()?,
        created_at: row.column()?,
        completed_at: row.column()?,
        last_run: row.column()?,
        done: row.column()?,
        not_done: row.column()?,
    })
}
