//! Backtests: what was asked for, how far they have come, and what came of each run.
//!
//! The results of a few replays are written in one transaction with the place to go on from: what a
//! server had not written when it died is done again, and counted once.

use jiff::Timestamp;

use super::deployments::promote;
use super::page::{Page, Place};
use super::sql::{Row, Tx, values};
use super::{Error, Storage};
use crate::model::backtest::BacktestStatus;
use crate::model::id::{BacktestId, DeploymentId, EnvironmentId, Id, RunId};
use crate::model::verdict::{Counts, Verdict};

/// A backtest that is to be done.
#[derive(Debug, Clone)]
pub struct NewBacktest {
    /// Its name.
    pub id: BacktestId,
    /// Where its runs are.
    pub environment: EnvironmentId,
    /// The version that is tested.
    pub deployment: DeploymentId,
    /// The version that it is compared with; `None`: what was recorded.
    pub against: Option<DeploymentId>,
    /// What was asked for, as JSON.
    pub request: String,
    /// Most runs that it replays.
    pub planned: u64,
    /// Most differences with which the version is promoted at the end; `None`: it is not.
    pub allowed: Option<u64>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// A backtest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backtest {
    /// Its name.
    pub id: BacktestId,
    /// Where its runs are.
    pub environment: EnvironmentId,
    /// Where it is.
    pub status: BacktestStatus,
    /// The version that is tested.
    pub deployment: DeploymentId,
    /// The version that it is compared with; `None`: what was recorded.
    pub against: Option<DeploymentId>,
    /// What was asked for, as JSON.
    pub request: String,
    /// Most runs that it replays.
    pub planned: u64,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was over.
    pub completed_at: Option<Timestamp>,
    /// The last source run that was looked at, newest first.
    pub last_run: Option<RunId>,
    /// Runs that were looked at.
    pub done: u64,
    /// Most differences with which the version is promoted at the end; `None`: it is not.
    pub allowed: Option<u64>,
    /// Whether that gate was open, once that is decided.
    pub is_open: Option<bool>,
    /// Why it failed.
    pub reason: Option<String>,
}

/// What came of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReplay {
    /// The source run.
    pub source: RunId,
    /// Its task.
    pub task: String,
    /// In a word.
    pub verdict: Verdict,
    /// The comparison, as JSON, where there is one.
    pub comparison: Option<String>,
    /// Why there is none.
    pub note: Option<String>,
}

/// How a backtest ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BacktestEnd {
    /// Every run was looked at. A gate is open or not.
    Completed {
        /// Of a gate.
        is_open: Option<bool>,
    },
    /// Somebody stopped it.
    Aborted,
    /// It could not go on, for this reason.
    Failed(String),
}

macro_rules! backtest_columns {
    () => {
        "id, environment_id, status, deployment_id, against_id, request, planned, created_at, completed_at, last_run,
         done, allowed, is_open, reason"
    };
}

impl Storage {
    /// Stores a backtest that is to be done.
    pub async fn insert_backtest(&self, new: NewBacktest) -> Result<(), Error> {
        let sql = "INSERT INTO backtests (id, environment_id, status, deployment_id, against_id, request, planned,
                                          created_at, allowed)
                   VALUES (?1, ?2, 'pending', ?3, ?4, ?5, ?6, ?7, ?8)";
        self.writer
            .write(move |tx| {
                let NewBacktest { id, environment, deployment, against, request, planned, allowed, created_at } = &new;
                tx.effects.backtest_added();
                let what = values![*id, *environment, *deployment, *against, request, *planned, *created_at, *allowed];
                tx.execute(sql, what).map(drop)
            })
            .await
    }

    /// Resolves when a backtest was stored; one that was stored since the last time counts.
    pub async fn backtest_added(&self) {
        self.listeners.backtest.notified().await;
    }

    /// A backtest of an environment.
    pub async fn backtest(&self, environment: EnvironmentId, id: BacktestId) -> Result<Option<Backtest>, Error> {
        let sql = concat!("SELECT ", backtest_columns!(), " FROM backtests WHERE id = ?1 AND environment_id = ?2");
        self.read(move |tx| tx.row(sql, values![id, environment], read_backtest)).await
    }

    /// Backtests of an environment, newest first.
    pub async fn backtests(
        &self,
        environment: EnvironmentId,
        place: Place<BacktestId>,
        limit: u32,
    ) -> Result<Page<Backtest, BacktestId>, Error> {
        let newest_first = concat!(
            "SELECT ",
            backtest_columns!(),
            " FROM backtests WHERE environment_id = ?1 AND id > ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4"
        );
        let oldest_first = concat!(
            "SELECT ",
            backtest_columns!(),
            " FROM backtests WHERE environment_id = ?1 AND id > ?2 AND id < ?3 ORDER BY id LIMIT ?4"
        );
        let sql = if place.is_backward() { oldest_first } else { newest_first };
        let (above, below) = place.range(None, None);
        self.read(move |tx| {
            let found = tx.rows(sql, values![environment, above, below, limit + 1], read_backtest)?;
            Ok(Page::found(found, place, limit))
        })
        .await
    }

    /// The oldest backtest that is to be done, of all environments.
    pub async fn pending_backtest(&self) -> Result<Option<Backtest>, Error> {
        let sql =
            concat!("SELECT ", backtest_columns!(), " FROM backtests WHERE status = 'pending' ORDER BY id LIMIT 1");
        self.read(move |tx| tx.row(sql, &[], read_backtest)).await
    }

    /// Records what came of these runs, and that everything down to `last` was looked at. `false`: the
    /// backtest is over.
    pub async fn keep_replays(
        &self,
        backtest: BacktestId,
        last: RunId,
        replays: Vec<StoredReplay>,
    ) -> Result<bool, Error> {
        let go_on = "UPDATE backtests SET last_run = ?2 WHERE id = ?1 AND status = 'pending'";
        let count = "UPDATE backtests SET done = done + ?2 WHERE id = ?1";
        self.writer
            .write(move |tx| {
                if tx.execute(go_on, values![backtest, last])? == 0 {
                    return Ok(false);
                }
                let mut new = 0_u64;
                for replay in &replays {
                    new += u64::from(keep(tx, backtest, replay)?);
                }
                tx.execute(count, values![backtest, new])?;
                Ok(true)
            })
            .await
    }

    /// Ends a backtest that is pending; one with an open gate makes its version current with that.
    /// `false`: it is over already.
    pub async fn end_backtest(&self, of: &Backtest, end: BacktestEnd, now: Timestamp) -> Result<bool, Error> {
        let sql = "UPDATE backtests SET status = ?2, completed_at = ?3, is_open = ?4, reason = ?5
                   WHERE  id = ?1 AND status = 'pending'";
        let (id, environment, deployment) = (of.id, of.environment, of.deployment);
        self.writer
            .write(move |tx| {
                let (status, is_open, reason) = match &end {
                    BacktestEnd::Completed { is_open } => (BacktestStatus::Completed, *is_open, None),
                    BacktestEnd::Aborted => (BacktestStatus::Aborted, None, None),
                    BacktestEnd::Failed(reason) => (BacktestStatus::Failed, None, Some(reason)),
                };
                if tx.execute(sql, values![id, status.as_str(), now, is_open, reason])? == 0 {
                    return Ok(false);
                }
                if is_open == Some(true) {
                    promote(tx, environment, deployment, now)?;
                }
                Ok(true)
            })
            .await
    }

    /// How many replays came to each verdict.
    pub async fn backtest_counts(&self, backtest: BacktestId) -> Result<Counts, Error> {
        let sql = "SELECT verdict, COUNT(*) FROM backtest_replays WHERE backtest_id = ?1 GROUP BY verdict";
        self.read(move |tx| {
            let mut counts = Counts::default();
            let read = |row: &mut Row<'_>| Ok((row.parsed(Verdict::parse)?, row.column()?));
            for (verdict, count) in tx.rows(sql, values![backtest], read)? {
                counts.set(verdict, count);
            }
            Ok(counts)
        })
        .await
    }

    /// What came of runs, oldest first, of runs newer than `after`; of one `verdict`, or of all.
    pub async fn backtest_replays(
        &self,
        backtest: BacktestId,
        verdict: Option<Verdict>,
        after: Option<RunId>,
        limit: u32,
    ) -> Result<Vec<StoredReplay>, Error> {
        let all = "SELECT source_id, task_id, verdict, comparison, note
                   FROM   backtest_replays
                   WHERE  backtest_id = ?1 AND source_id > ?2
                   ORDER BY source_id
                   LIMIT  ?3";
        let some = "SELECT source_id, task_id, verdict, comparison, note
                    FROM   backtest_replays
                    WHERE  backtest_id = ?1 AND source_id > ?2 AND verdict = ?4
                    ORDER BY source_id
                    LIMIT  ?3";
        let after = after.unwrap_or(RunId::FIRST);
        self.read(move |tx| match verdict {
            None => tx.rows(all, values![backtest, after, limit], read_replay),
            Some(verdict) => tx.rows(some, values![backtest, after, limit, verdict.as_str()], read_replay),
        })
        .await
    }
}

/// Records what came of a run. `false`: it is on record.
fn keep(tx: &Tx<'_>, backtest: BacktestId, replay: &StoredReplay) -> Result<bool, Error> {
    let sql = "INSERT INTO backtest_replays (backtest_id, source_id, task_id, verdict, comparison, note)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)
               ON CONFLICT (backtest_id, source_id) DO NOTHING";
    let StoredReplay { source, task, verdict, comparison, note } = replay;
    let what = values![backtest, *source, task, verdict.as_str(), comparison.as_ref(), note.as_ref()];
    Ok(tx.execute(sql, what)? == 1)
}

fn read_backtest(row: &mut Row<'_>) -> Result<Backtest, Error> {
    Ok(Backtest {
        id: row.column()?,
        environment: row.column()?,
        status: row.parsed(BacktestStatus::parse)?,
        deployment: row.column()?,
        against: row.column()?,
        request: row.column()?,
        planned: row.column()?,
        created_at: row.column()?,
        completed_at: row.column()?,
        last_run: row.column()?,
        done: row.column()?,
        allowed: row.column()?,
        is_open: row.column()?,
        reason: row.column()?,
    })
}

fn read_replay(row: &mut Row<'_>) -> Result<StoredReplay, Error> {
    Ok(StoredReplay {
        source: row.column()?,
        task: row.column()?,
        verdict: row.parsed(Verdict::parse)?,
        comparison: row.column()?,
        note: row.column()?,
    })
}
