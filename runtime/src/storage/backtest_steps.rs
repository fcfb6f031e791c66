//! How backtests go on: whose turn it is, what came of a step, and how they end.
//!
//! The results of a few replays are written in one transaction with the place to go on from: what a
//! server had not written when it died is done again, and counted once. Where two servers take the same
//! step, the slower writes nothing.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::backtests::{Backtest, StoredReplay, backtest_columns, read_backtest};
use super::deployments::promote;
use super::sql::{Row, Tx, values};
use super::{Error, Storage};
use crate::model::backtest::BacktestStatus;
use crate::model::id::{BacktestId, DeploymentId, EnvironmentId, RunId};
use crate::model::verdict::{Counts, Verdict};

/// Replays that one transaction deletes at most. Each may have many kilobytes.
const MAX_DELETED: u32 = 500;

/// A backtest that is to go on.
#[derive(Debug, Clone)]
pub struct PendingBacktest {
    /// The backtest.
    pub backtest: Backtest,
    /// What was asked for, as JSON.
    pub request: String,
    /// Whether its runs were chosen when it was asked for ([`Storage::backtest_page`]).
    pub is_planned: bool,
    /// The rules of its environment when it was asked for, as JSON; `None`: an earlier version asked.
    pub rules: Option<String>,
}

/// What a step of a backtest has found.
#[derive(Debug, Clone)]
pub struct BacktestStep {
    /// Whose.
    pub backtest: BacktestId,
    /// Where it began: the last run that was looked at before.
    pub from: Option<RunId>,
    /// Where it ended: the last run that it looked at.
    pub to: RunId,
    /// What came of its runs.
    pub replays: Vec<StoredReplay>,
}

/// How many runs of a task were looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskCount {
    /// The task.
    pub task: String,
    /// So many.
    pub done: u64,
    /// Of those, about how many something is known.
    pub known: u64,
}

/// How a backtest ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BacktestEnd {
    /// Every run was looked at. A gate is open or not.
    Completed {
        /// Of a gate.
        is_open: Option<bool>,
        /// Of a gate: tasks of which nothing is known.
        untested: Vec<String>,
    },
    /// Somebody stopped it.
    Aborted,
    /// It could not go on, for this reason.
    Failed(String),
}

impl Storage {
    /// The backtest whose turn it is, of all environments: the gate that has waited longest for a step, or
    /// else the other one.
    pub async fn pending_backtest(&self) -> Result<Option<PendingBacktest>, Error> {
        let gate = concat!(
            "SELECT ",
            backtest_columns!(),
            ", request, is_planned, rules FROM backtests WHERE status = 'pending' AND allowed IS NOT NULL
              ORDER BY turn, id LIMIT 1"
        );
        let other = concat!(
            "SELECT ",
            backtest_columns!(),
            ", request, is_planned, rules FROM backtests WHERE status = 'pending' ORDER BY turn, id LIMIT 1"
        );
        self.read(move |tx| {
            for sql in [gate, other] {
                let found = tx.row(sql, &[], |row| {
                    let backtest = read_backtest(row)?;
                    let (request, is_planned, rules) = (row.column()?, row.column()?, row.column()?);
                    Ok(PendingBacktest { backtest, request, is_planned, rules })
                })?;
                if found.is_some() {
                    return Ok(found);
                }
            }
            Ok(None)
        })
        .await
    }

    /// The next runs, newest first, of a backtest whose runs were chosen when it was asked for: those behind `last`.
    /// Empty: there are none left.
    pub async fn backtest_page(&self, backtest: BacktestId, last: Option<RunId>) -> Result<Vec<RunId>, Error> {
        let first = "SELECT runs FROM backtest_pages WHERE backtest_id = ?1 ORDER BY oldest DESC LIMIT 1";
        let next =
            "SELECT runs FROM backtest_pages WHERE backtest_id = ?1 AND oldest < ?2 ORDER BY oldest DESC LIMIT 1";
        let parse = |text: &str| text.lines().map(|line| line.parse().ok()).collect::<Option<Vec<RunId>>>();
        let page = self.read(move |tx| match last {
            None => tx.row(first, values![backtest], |row| row.parsed(parse)),
            Some(last) => tx.row(next, values![backtest, last], |row| row.parsed(parse)),
        });
        Ok(page.await?.unwrap_or_default())
    }

    /// Records what came of a step. `false`: the backtest is over, or somebody else took the step.
    pub async fn keep_replays(&self, step: BacktestStep) -> Result<bool, Error> {
        let go_on = "UPDATE backtests
                     SET    last_run = ?3, failures = 0,
                            turn = COALESCE((SELECT MAX(b.turn) FROM backtests b WHERE b.status = 'pending'), 0) + 1
                     WHERE  id = ?1 AND status = 'pending' AND last_run IS NOT DISTINCT FROM ?2";
        self.writer
            .write(move |tx| {
                let BacktestStep { backtest, from, to, replays } = &step;
                if tx.execute(go_on, values![*backtest, *from, *to])? == 0 {
                    return Ok(false);
                }
                let (mut counts, mut tasks) = (Counts::default(), BTreeMap::<&str, (u64, u64)>::new());
                for replay in replays {
                    if !keep(tx, *backtest, replay)? {
                        continue;
                    }
                    match replay.is_troubled {
                        true => counts.add_troubled(),
                        false => counts.add(replay.verdict),
                    }
                    let (done, known) = tasks.entry(&replay.task).or_default();
                    *done += 1;
                    *known += u64::from(replay.verdict != Verdict::NotReplayable);
                }
                count(tx, *backtest, &counts)?;
                tasks.iter().try_for_each(|(task, counts)| count_task(tx, *backtest, task, *counts)).map(|()| true)
            })
            .await
    }

    /// How many runs of each task a backtest has looked at.
    pub async fn backtest_tasks(&self, backtest: BacktestId) -> Result<Vec<TaskCount>, Error> {
        let sql = "SELECT task_id, done, known FROM backtest_tasks WHERE backtest_id = ?1 ORDER BY task_id";
        let read = |row: &mut Row<'_>| Ok(TaskCount { task: row.column()?, done: row.column()?, known: row.column()? });
        self.read(move |tx| tx.rows(sql, values![backtest], read)).await
    }

    /// Records that a step failed, and lets others go first. Answers how many have, one after the other.
    pub async fn backtest_faltered(&self, backtest: BacktestId) -> Result<u32, Error> {
        let sql = "UPDATE backtests
                   SET    failures = failures + 1,
                          turn = COALESCE((SELECT MAX(b.turn) FROM backtests b WHERE b.status = 'pending'), 0) + 1
                   WHERE  id = ?1 AND status = 'pending'
                   RETURNING failures";
        self.writer.write(move |tx| Ok(tx.row(sql, values![backtest], |row| row.column())?.unwrap_or(0))).await
    }

    /// Ends a backtest that is pending; one with an open gate makes its version current with that, unless something
    /// else was decided about its tasks meanwhile, or a newer gate is to decide: then it has failed, and says so.
    /// `false`: it is over already.
    pub async fn end_backtest(&self, of: &Backtest, end: BacktestEnd, now: Timestamp) -> Result<bool, Error> {
        let sql = "UPDATE backtests SET status = ?2, completed_at = ?3, is_open = ?4, reason = ?5, untested = ?6
                   WHERE  id = ?1 AND status = 'pending'";
        let of = of.clone();
        self.writer
            .write(move |tx| {
                let is_to_promote = matches!(end, BacktestEnd::Completed { is_open: Some(true), .. });
                let last = last_decision(tx, of.environment, of.deployment)?;
                // Who made it current by hand was before us.
                let is_current = last.is_some_and(|(_, deployment)| deployment == of.deployment);
                let obstacle = match is_to_promote && !is_current {
                    true => obstacle(tx, &of, last.map_or(0, |(seq, _)| seq))?,
                    false => None,
                };
                let (status, is_open, reason) = match (&end, &obstacle) {
                    (_, Some(obstacle)) => (BacktestStatus::Failed, None, Some(obstacle)),
                    (BacktestEnd::Completed { is_open, .. }, None) => (BacktestStatus::Completed, *is_open, None),
                    (BacktestEnd::Aborted, None) => (BacktestStatus::Aborted, None, None),
                    (BacktestEnd::Failed(reason), None) => (BacktestStatus::Failed, None, Some(reason)),
                };
                let untested = match &end {
                    BacktestEnd::Completed { untested, .. } if !untested.is_empty() => {
                        Some(serde_json::Value::from(untested.as_slice()).to_string())
                    }
                    _ => None,
                };
                if tx.execute(sql, values![of.id, status.as_str(), now, is_open, reason, untested])? == 0 {
                    return Ok(false);
                }
                if is_open == Some(true) && !is_current {
                    promote(tx, of.environment, of.deployment, now, false)?;
                }
                Ok(true)
            })
            .await
    }

    /// Deletes what is left of the backtests that ended at `ended_by` or before, the oldest first, and of those that
    /// nobody is to see, a bounded number of rows at a time. Answers whether there may be more.
    pub async fn forget_old_backtests(&self, ended_by: Timestamp) -> Result<bool, Error> {
        let deleted = "SELECT id FROM backtests WHERE is_deleted = 1 ORDER BY id LIMIT 1";
        let old = "SELECT id FROM backtests
                   WHERE  completed_at IS NOT NULL AND completed_at <= ?1
                   ORDER BY completed_at
                   LIMIT  1";
        // A look costs no writer its turn. What is over does not begin again.
        let found = self.read(move |tx| {
            let found = tx.row(deleted, &[], |row| row.column::<BacktestId>())?;
            match found {
                Some(found) => Ok(Some(found)),
                None => tx.row(old, values![ended_by], |row| row.column()),
            }
        });
        let Some(old) = found.await? else { return Ok(false) };
        self.writer.write(move |tx| forget(tx, old)).await?;
        Ok(true)
    }
}

/// Why an open gate makes nothing current: `now` is the last decision.
fn obstacle(tx: &Tx<'_>, of: &Backtest, now: u64) -> Result<Option<String>, Error> {
    let then = "SELECT b.decided_seq, (SELECT d.version FROM promotions p JOIN deployments d ON d.id = p.deployment_id
                                       WHERE  p.environment_id = b.environment_id AND p.seq = ?2)
                FROM   backtests b
                WHERE  b.id = ?1";
    let newer = "SELECT b.id
                 FROM   backtests b JOIN deployments d ON d.id = b.deployment_id
                 WHERE  b.environment_id = ?1 AND b.id > ?2 AND b.status = 'pending' AND b.allowed IS NOT NULL
                 AND    d.component = (SELECT t.component FROM deployments t WHERE t.id = ?3)
                 ORDER BY b.id
                 LIMIT  1";
    let (then, version): (Option<u64>, Option<String>) =
        tx.row(then, values![of.id, now], |row| Ok((row.column()?, row.column()?)))?.unwrap_or_default();
    if then.is_some_and(|then| then != now) {
        let version = version.unwrap_or_default();
        return Ok(Some(format!(
            "no more differ than are allowed, but version {version} was made current while the backtest ran, and what \
             was decided later counts: deploy again to have it tested again"
        )));
    }
    let newer: Option<BacktestId> = tx.row(newer, values![of.environment, of.id, of.deployment], |row| row.column())?;
    Ok(newer.map(|newer| {
        format!("no more differ than are allowed, but a newer gate of the same component is to decide: {newer}")
    }))
}

/// The last promotion that concerned a deployment, and what was promoted: something of the same component, or that
/// shares a task with it.
pub(super) fn last_decision(
    tx: &Tx<'_>,
    environment: EnvironmentId,
    deployment: DeploymentId,
) -> Result<Option<(u64, DeploymentId)>, Error> {
    let sql = "SELECT p.seq, p.deployment_id
               FROM   promotions p JOIN deployments d ON d.id = p.deployment_id
               WHERE  p.environment_id = ?1
               AND    (d.component = (SELECT t.component FROM deployments t WHERE t.id = ?2)
                       OR EXISTS (SELECT 1
                                  FROM   deployment_tasks own
                                  JOIN   deployment_tasks other ON other.task_id = own.task_id
                                  WHERE  own.deployment_id = ?2 AND other.deployment_id = p.deployment_id))
               ORDER BY p.seq DESC
               LIMIT  1";
    tx.row(sql, values![environment, deployment], |row| Ok((row.column()?, row.column()?)))
}

/// Records what came of a run. `false`: it is on record.
fn keep(tx: &Tx<'_>, backtest: BacktestId, replay: &StoredReplay) -> Result<bool, Error> {
    let sql = "INSERT INTO backtest_replays (backtest_id, source_id, task_id, verdict, is_troubled, comparison, note)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
               ON CONFLICT (backtest_id, source_id) DO NOTHING";
    let StoredReplay { source, task, verdict, is_troubled, comparison, note } = replay;
    let what = values![backtest, *source, task, verdict.as_str(), *is_troubled, comparison.as_deref(), note.as_ref()];
    Ok(tx.execute(sql, what)? == 1)
}

/// Adds to the counts of a backtest.
fn count(tx: &Tx<'_>, backtest: BacktestId, counts: &Counts) -> Result<(), Error> {
    let sql = "UPDATE backtests
               SET    done = done + ?2, same = same + ?3, fixed = fixed + ?4, output_changed = output_changed + ?5,
                      effects_changed = effects_changed + ?6, newly_failing = newly_failing + ?7,
                      over_budget = over_budget + ?8, payload_rejected = payload_rejected + ?9,
                      not_replayable = not_replayable + ?10, troubled = troubled + ?11
               WHERE  id = ?1";
    let [same, fixed, output, effects, failing, over, rejected, not] = Verdict::ALL.map(|verdict| counts.of(verdict));
    let (done, troubled) = (counts.total(), counts.troubled());
    let what = values![backtest, done, same, fixed, output, effects, failing, over, rejected, not, troubled];
    tx.execute(sql, what).map(drop)
}

/// Adds to the counts of a task.
fn count_task(tx: &Tx<'_>, backtest: BacktestId, task: &str, (done, known): (u64, u64)) -> Result<(), Error> {
    let sql = "INSERT INTO backtest_tasks (backtest_id, task_id, done, known) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (backtest_id, task_id)
               DO UPDATE SET done = backtest_tasks.done + excluded.done,
                             known = backtest_tasks.known + excluded.known";
    tx.execute(sql, values![backtest, task, done, known]).map(drop)
}

/// Deletes some of what a backtest has found, and in the end the backtest.
fn forget(tx: &Tx<'_>, backtest: BacktestId) -> Result<(), Error> {
    let hide = "UPDATE backtests SET is_deleted = 1 WHERE id = ?1 AND is_deleted = 0";
    let replays = "DELETE FROM backtest_replays
                   WHERE  backtest_id = ?1 AND source_id IN (
                              SELECT r.source_id FROM backtest_replays r WHERE r.backtest_id = ?1 LIMIT ?2)";
    tx.execute(hide, values![backtest])?;
    if tx.execute(replays, values![backtest, MAX_DELETED])? == MAX_DELETED as usize {
        return Ok(());
    }
    tx.execute("DELETE FROM backtest_pages WHERE backtest_id = ?1", values![backtest])?;
    tx.execute("DELETE FROM backtest_tasks WHERE backtest_id = ?1", values![backtest])?;
    tx.execute("DELETE FROM backtests WHERE id = ?1", values![backtest]).map(drop)
}
