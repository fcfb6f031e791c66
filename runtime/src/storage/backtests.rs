//! Backtests: what was asked for, how far they have come, and what came of each run.
//!
//! How they go on is in [`super::backtest_steps`].

use jiff::Timestamp;

use super::backtest_steps::last_decision;
use super::page::{Page, Place};
use super::sql::{Row, values};
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
    /// Its runs, newest first, in the portions of its steps; `None`: they are looked for with each step.
    pub pages: Option<Vec<Vec<RunId>>>,
    /// Whether the version is promoted at the end.
    pub gate: Option<GateRule>,
    /// The rules that its environment has now, as JSON.
    pub rules: String,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// When a version is promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateRule {
    /// Most differences.
    pub allowed: u64,
    /// The least share of the runs of each task, in percent, about which something must be known.
    pub min_known: u32,
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
    /// How many of them came to each verdict.
    pub counts: Counts,
    /// When the version is promoted at the end; `None`: it is not.
    pub gate: Option<GateRule>,
    /// Whether that gate was open, once that is decided.
    pub is_open: Option<bool>,
    /// Why it failed.
    pub reason: Option<String>,
    /// Of a gate that was decided: tasks of which nothing is known.
    pub untested: Vec<String>,
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
    /// Whether it is not replayable because the server could not execute the version on it.
    pub is_troubled: bool,
    /// The comparison, sealed, where there is one: what tasks were given and answered is in it.
    pub comparison: Option<Vec<u8>>,
    /// Why there is none.
    pub note: Option<String>,
}

/// What became of a backtest that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BacktestDeleted {
    /// Nobody sees it any more.
    Now,
    /// It is not over.
    Pending,
    /// There is none of this name.
    Missing,
}

macro_rules! backtest_columns {
    () => {
        "id, environment_id, status, deployment_id, against_id, planned, created_at, completed_at, last_run, done,
         same, fixed, output_changed, effects_changed, newly_failing, over_budget, payload_rejected, not_replayable,
         troubled, allowed, min_known, is_open, reason, untested"
    };
}
pub(super) use backtest_columns;

impl Storage {
    /// Stores a backtest that is to be done, with what was decided last about its component; its turn comes after those of
    /// all that are under way. `false`: `most_pending` of the environment are to be done already.
    pub async fn insert_backtest(&self, new: NewBacktest, most_pending: u64) -> Result<bool, Error> {
        let pending = "SELECT COUNT(*) FROM backtests WHERE environment_id = ?1 AND status = 'pending'";
        let insert = "INSERT INTO backtests (id, environment_id, status, deployment_id, against_id, request, planned,
                                             is_planned, created_at, allowed, min_known, decided_seq, rules, turn)
                      VALUES (?1, ?2, 'pending', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,
                              COALESCE((SELECT MAX(b.turn) FROM backtests b WHERE b.status = 'pending'), 0) + 1)";
        let add_page = "INSERT INTO backtest_pages (backtest_id, oldest, runs) VALUES (?1, ?2, ?3)";
        self.writer
            .write(move |tx| {
                let NewBacktest { id, environment, deployment, against, request, planned, pages, gate, rules, .. } =
                    &new;
                let count: u64 = tx.row(pending, values![*environment], |row| row.column())?.unwrap_or(0);
                if count >= most_pending {
                    return Ok(false);
                }
                let decided = match gate {
                    Some(_) => Some(last_decision(tx, *environment, *deployment)?.map_or(0, |(seq, _)| seq)),
                    None => None,
                };
                tx.effects.backtest_added();
                let is_planned = pages.is_some();
                let (allowed, min_known) = (gate.map(|gate| gate.allowed), gate.map(|gate| gate.min_known));
                let what = values![
                    *id,
                    *environment,
                    *deployment,
                    *against,
                    request,
                    *planned,
                    is_planned,
                    new.created_at,
                    allowed,
                    min_known,
                    decided,
                    rules,
                ];
                tx.execute(insert, what)?;
                for page in pages.iter().flatten() {
                    let Some(oldest) = page.last() else { continue };
                    let runs: Vec<String> = page.iter().map(ToString::to_string).collect();
                    tx.execute(add_page, values![*id, *oldest, runs.join("\n")])?;
                }
                Ok(true)
            })
            .await
    }

    /// Resolves when a backtest was stored; one that was stored since the last time counts.
    pub async fn backtest_added(&self) {
        self.listeners.backtest.notified().await;
    }

    /// A backtest of an environment.
    pub async fn backtest(&self, environment: EnvironmentId, id: BacktestId) -> Result<Option<Backtest>, Error> {
        let sql = concat!(
            "SELECT ",
            backtest_columns!(),
            " FROM backtests WHERE id = ?1 AND environment_id = ?2 AND is_deleted = 0"
        );
        self.read(move |tx| tx.row(sql, values![id, environment], read_backtest)).await
    }

    /// What was asked for with a backtest of an environment, as JSON.
    pub async fn backtest_request(&self, environment: EnvironmentId, id: BacktestId) -> Result<Option<String>, Error> {
        let sql = "SELECT request FROM backtests WHERE id = ?1 AND environment_id = ?2 AND is_deleted = 0";
        self.read(move |tx| tx.row(sql, values![id, environment], |row| row.column())).await
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
            " FROM backtests WHERE environment_id = ?1 AND id > ?2 AND id < ?3 AND is_deleted = 0
              ORDER BY id DESC LIMIT ?4"
        );
        let oldest_first = concat!(
            "SELECT ",
            backtest_columns!(),
            " FROM backtests WHERE environment_id = ?1 AND id > ?2 AND id < ?3 AND is_deleted = 0 ORDER BY id LIMIT ?4"
        );
        let sql = if place.is_backward() { oldest_first } else { newest_first };
        let (above, below) = place.range(None, None);
        self.read(move |tx| {
            let found = tx.rows(sql, values![environment, above, below, limit + 1], read_backtest)?;
            Ok(Page::found(found, place, limit))
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
        let all = "SELECT source_id, task_id, verdict, is_troubled, comparison, note
                   FROM   backtest_replays
                   WHERE  backtest_id = ?1 AND source_id > ?2
                   ORDER BY source_id
                   LIMIT  ?3";
        let some = "SELECT source_id, task_id, verdict, is_troubled, comparison, note
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

    /// Lets nobody see a backtest any more that is over; what it has found is deleted by and by
    /// ([`Storage::forget_old_backtests`]).
    pub async fn delete_backtest(&self, environment: EnvironmentId, id: BacktestId) -> Result<BacktestDeleted, Error> {
        let delete = "UPDATE backtests SET is_deleted = 1
                      WHERE  id = ?1 AND environment_id = ?2 AND status <> 'pending' AND is_deleted = 0";
        let is_there = "SELECT 1 FROM backtests WHERE id = ?1 AND environment_id = ?2 AND is_deleted = 0";
        self.writer
            .write(move |tx| {
                if tx.execute(delete, values![id, environment])? == 1 {
                    tx.effects.timer_set(Timestamp::MIN);
                    return Ok(BacktestDeleted::Now);
                }
                let found: Option<u32> = tx.row(is_there, values![id, environment], |row| row.column())?;
                Ok(found.map_or(BacktestDeleted::Missing, |_| BacktestDeleted::Pending))
            })
            .await
    }
}

pub(super) fn read_backtest(row: &mut Row<'_>) -> Result<Backtest, Error> {
    Ok(Backtest {
        id: row.column()?,
        environment: row.column()?,
        status: row.parsed(BacktestStatus::parse)?,
        deployment: row.column()?,
        against: row.column()?,
        planned: row.column()?,
        created_at: row.column()?,
        completed_at: row.column()?,
        last_run: row.column()?,
        done: row.column()?,
        counts: read_counts(row)?,
        gate: {
            let (allowed, min_known): (Option<u64>, Option<u32>) = (row.column()?, row.column()?);
            allowed.map(|allowed| GateRule { allowed, min_known: min_known.unwrap_or(0) })
        },
        is_open: row.column()?,
        reason: row.column()?,
        untested: row.parsed_option(|text| serde_json::from_str(text).ok())?.unwrap_or_default(),
    })
}

/// The counts; their columns are in the order of [`Verdict::ALL`].
fn read_counts(row: &mut Row<'_>) -> Result<Counts, Error> {
    let mut counts = Counts::default();
    for verdict in Verdict::ALL {
        counts.set(verdict, row.column()?);
    }
    counts.set_troubled(row.column()?);
    Ok(counts)
}

fn read_replay(row: &mut Row<'_>) -> Result<StoredReplay, Error> {
    Ok(StoredReplay {
        source: row.column()?,
        task: row.column()?,
        verdict: row.parsed(Verdict::parse)?,
        is_troubled: row.column()?,
        comparison: row.column()?,
        note: row.column()?,
    })
}
