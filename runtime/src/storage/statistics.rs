//! What has ended, counted: by interval, task and duration; and errors in groups.
//!
//! Runs are counted by the transaction in which they end, all of a group commit together: counts are
//! neither late nor lost, and cost a run less than an index would.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::sql::{Column, Row, Tx, values};
use super::upkeep::MAX_UPKEEP_RUNS;
use super::{Error, Storage};
use crate::model::id::{DeploymentId, EnvironmentId, RunId};
use crate::model::limits::{
    MAX_COUNTED, MAX_ERROR_GROUPS, MAX_ERROR_GROUPS_PER_TASK, MAX_ERROR_VERSIONS, MAX_STATISTICS_ROWS,
};
use crate::model::run::{RunError, Status};
use crate::model::statistics::{Class, Step, Tally, fingerprint, rest_of};
use crate::model::version::Version;

/// Bytes of the message of a group.
const MAX_MESSAGE_BYTES: usize = 1_024;

/// How many runs of an interval, or of a task, ended after as long a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted<K> {
    /// The beginning of the interval, or the task.
    pub of: K,
    /// How long they took; `None`: they never started.
    pub class: Option<Class>,
    /// Runs that completed.
    pub completed: u64,
    /// Runs that failed.
    pub failed: u64,
    /// Runs that were canceled or expired.
    pub dropped: u64,
}

/// What ended in an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    /// Of all tasks, by interval.
    pub by_interval: Vec<Counted<Timestamp>>,
    /// Of all intervals, by task.
    pub by_task: Vec<Counted<String>>,
    /// Whether there was more than is counted: the oldest is missing.
    pub is_cut: bool,
}

/// What an environment is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Runs of each status that is not final, counted up to [`MAX_COUNTED`].
    pub counts: Vec<(Status, u64)>,
    /// Since when the run is queued that has waited longest for its first attempt.
    pub oldest_queued_at: Option<Timestamp>,
}

/// Errors that look alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorGroup {
    /// 16 hexadecimal digits.
    pub fingerprint: String,
    /// Whose errors.
    pub task: String,
    /// As the last run said it.
    pub name: String,
    /// The same, the beginning of it.
    pub message: String,
    /// Runs that ended so.
    pub runs: u64,
    /// When the first of them ended.
    pub first_seen_at: Timestamp,
    /// When the last of them ended.
    pub last_seen_at: Timestamp,
    /// That run.
    pub last_run: RunId,
    /// The newest versions on which they ended, newest first.
    pub versions: Vec<Version>,
}

impl Storage {
    /// What ended since `from` in intervals of this length, added up; of [`MAX_STATISTICS_ROWS`] counts at most, the newest.
    pub async fn ended_since(&self, environment: EnvironmentId, step: Step, from: Timestamp) -> Result<Ends, Error> {
        macro_rules! newest_by {
            ($key:literal) => {
                concat!(
                    "SELECT ",
                    $key,
                    ", class, CAST(SUM(completed) AS BIGINT), CAST(SUM(failed) AS BIGINT), CAST(SUM(dropped) AS BIGINT),
                       COUNT(*)
                FROM   (SELECT begins_at, task_id, class, completed, failed, dropped
                        FROM   run_statistics
                        WHERE  environment_id = ?1 AND step_s = ?2 AND begins_at >= ?3
                        ORDER BY begins_at DESC, task_id DESC, class DESC
                        LIMIT  ?4) AS newest
                GROUP BY ",
                    $key,
                    ", class"
                )
            };
        }
        let (by_interval, by_task) = (newest_by!("begins_at"), newest_by!("task_id"));
        self.read(move |tx| {
            let (length, from) = (step.length().as_secs(), step.begin_of(from));
            let of = values![environment, length, from, MAX_STATISTICS_ROWS];
            let mut rows = 0;
            let by_interval = tx.rows(by_interval, of, |row| {
                let counted = read_counted(row)?;
                rows += row.column::<u64>()?;
                Ok(counted)
            })?;
            let by_task = tx.rows(by_task, of, read_counted)?;
            Ok(Ends { by_interval, by_task, is_cut: rows >= MAX_STATISTICS_ROWS.into() })
        })
        .await
    }

    /// What ended of a task since `from`, in intervals of this length, newest first; [`MAX_STATISTICS_ROWS`] rows at most.
    pub async fn ended_of_task_since(
        &self,
        environment: EnvironmentId,
        task: String,
        step: Step,
        from: Timestamp,
    ) -> Result<Vec<Counted<Timestamp>>, Error> {
        let sql = "SELECT begins_at, class, completed, failed, dropped
                   FROM   run_statistics
                   WHERE  environment_id = ?1 AND step_s = ?2 AND task_id = ?5 AND begins_at >= ?3
                   ORDER BY begins_at DESC
                   LIMIT  ?4";
        self.read(move |tx| {
            let (length, from) = (step.length().as_secs(), step.begin_of(from));
            tx.rows(sql, values![environment, length, from, MAX_STATISTICS_ROWS, &task], read_counted)
        })
        .await
    }

    /// What the environment is at now.
    pub async fn present(&self, environment: EnvironmentId) -> Result<Present, Error> {
        let count = "SELECT COUNT(*) FROM (
                         SELECT 1 AS one FROM runs WHERE environment_id = ?1 AND status = ?2 LIMIT ?3
                     ) AS found";
        let oldest = "SELECT queued_at FROM runs
                      WHERE  environment_id = ?1 AND status = 'queued' AND started_at IS NULL
                      ORDER BY queued_at
                      LIMIT  1";
        let alive = [Status::Executing, Status::Queued, Status::Waiting, Status::Delayed, Status::PendingVersion];
        self.read(move |tx| {
            let mut counts = Vec::new();
            for status in alive {
                let found = tx.row(count, values![environment, status.as_str(), MAX_COUNTED], |row| row.column())?;
                counts.push((status, found.unwrap_or_default()));
            }
            let oldest_queued_at = tx.row(oldest, values![environment], |row| row.column())?.flatten();
            Ok(Present { counts, oldest_queued_at })
        })
        .await
    }

    /// The groups of errors that were seen since `from`, the last seen first; [`MAX_ERROR_GROUPS`] at most.
    pub async fn error_groups(&self, environment: EnvironmentId, from: Timestamp) -> Result<Vec<ErrorGroup>, Error> {
        let groups = "SELECT fingerprint, task_id, name, message, runs, first_seen_at, last_seen_at, last_run
                      FROM   error_groups
                      WHERE  environment_id = ?1 AND last_seen_at >= ?2
                      ORDER BY last_seen_at DESC, fingerprint DESC
                      LIMIT  ?3";
        let versions = "SELECT d.version
                        FROM   error_versions v JOIN deployments d ON d.id = v.deployment_id
                        WHERE  v.environment_id = ?1 AND v.fingerprint = ?2
                        ORDER BY v.deployment_id DESC
                        LIMIT  ?3";
        self.read(move |tx| {
            let mut found = tx.rows(groups, values![environment, from, MAX_ERROR_GROUPS], read_group)?;
            for group in &mut found {
                let of = values![environment, &group.fingerprint, MAX_ERROR_VERSIONS];
                group.versions = tx.rows(versions, of, |row| row.column())?;
            }
            Ok(found)
        })
        .await
    }

    /// Forgets counts and groups that are too old, some at a time. `true`: there may be more.
    pub async fn forget_old_statistics(&self, now: Timestamp) -> Result<bool, Error> {
        let before = move |step: Step| now.checked_sub(step.retention()).unwrap_or(Timestamp::MIN);
        let counts = "DELETE FROM run_statistics
                      WHERE  (environment_id, step_s, begins_at, task_id, class) IN (
                                 SELECT environment_id, step_s, begins_at, task_id, class FROM run_statistics
                                 WHERE  step_s = ?1 AND begins_at < ?2
                                 LIMIT  ?3)";
        let versions = "DELETE FROM error_versions
                        WHERE  (environment_id, fingerprint) IN (
                                   SELECT environment_id, fingerprint FROM error_groups
                                   WHERE  last_seen_at < ?1
                                   ORDER BY last_seen_at LIMIT ?2)";
        let groups = "DELETE FROM error_groups
                      WHERE  (environment_id, task_id, fingerprint) IN (
                                 SELECT environment_id, task_id, fingerprint FROM error_groups
                                 WHERE  last_seen_at < ?1
                                 ORDER BY last_seen_at LIMIT ?2)";
        let is_old = "SELECT 1 FROM run_statistics WHERE step_s = ?1 AND begins_at < ?2 LIMIT 1";
        let is_forgotten = "SELECT 1 FROM error_groups WHERE last_seen_at < ?1 LIMIT 1";
        // A look costs no writer its turn.
        let look = move |tx: &Tx<'_>| {
            let mut found: Option<u32> = tx.row(is_forgotten, values![before(Step::Hour)], |row| row.column())?;
            for step in Step::ALL {
                let old = values![step.length().as_secs(), before(step)];
                found = found.or(tx.row(is_old, old, |row| row.column())?);
            }
            Ok(found.is_some())
        };
        if !self.read(look).await? {
            return Ok(false);
        }
        self.writer
            .write(move |tx| {
                let mut most = 0;
                for step in Step::ALL {
                    let old = values![step.length().as_secs(), before(step), MAX_UPKEEP_RUNS];
                    most = most.max(tx.execute(counts, old)?);
                }
                let old = values![before(Step::Hour), MAX_UPKEEP_RUNS];
                tx.execute(versions, old)?;
                most = most.max(tx.execute(groups, old)?);
                Ok(most == MAX_UPKEEP_RUNS as usize)
            })
            .await
    }
}

fn read_counted<K: Column>(row: &mut Row<'_>) -> Result<Counted<K>, Error> {
    Ok(Counted {
        of: row.column()?,
        class: Class::from_number(row.column()?),
        completed: row.column()?,
        failed: row.column()?,
        dropped: row.column()?,
    })
}

fn read_group(row: &mut Row<'_>) -> Result<ErrorGroup, Error> {
    Ok(ErrorGroup {
        fingerprint: row.column()?,
        task: row.column()?,
        name: row.column()?,
        message: row.column()?,
        runs: row.column()?,
        first_seen_at: row.column()?,
        last_seen_at: row.column()?,
        last_run: row.column()?,
        versions: Vec::new(),
    })
}

/// Whose end is counted, and when it came.
struct Ended {
    run: RunId,
    environment: EnvironmentId,
    task: String,
    deployment: Option<DeploymentId>,
    class: Option<Class>,
    at: Timestamp,
}

/// Counts the runs that end in this transaction. To be called once, at its end.
pub(super) fn count_ends(tx: &mut Tx<'_>) -> Result<(), Error> {
    let mut counts: BTreeMap<(EnvironmentId, Timestamp, String, i64), [u64; 3]> = BTreeMap::new();
    // Outputs are large, and not looked at.
    let ended: Vec<_> = tx.effects.ended().iter().map(|(run, end)| (*run, end.status, end.error.clone())).collect();
    for (run, status, error) in ended {
        let Some(ended) = read_ended(tx, run)? else { continue };
        if let Some(error) = &error {
            count_error(tx, &ended, error)?;
        }
        let class = ended.class.map_or(-1, |class| class.number().into());
        let minute = Step::Minute.begin_of(ended.at);
        let tallies = counts.entry((ended.environment, minute, ended.task, class)).or_default();
        tallies[Tally::of(status) as usize] += 1;
    }
    let sql = "INSERT INTO run_statistics
                   (environment_id, step_s, begins_at, task_id, class, completed, failed, dropped)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
               ON CONFLICT (environment_id, step_s, begins_at, task_id, class) DO UPDATE
               SET    completed = run_statistics.completed + excluded.completed,
                      failed = run_statistics.failed + excluded.failed,
                      dropped = run_statistics.dropped + excluded.dropped";
    for ((environment, minute, task, class), [completed, failed, dropped]) in counts {
        for step in Step::ALL {
            let (length, begins_at) = (step.length().as_secs(), step.begin_of(minute));
            tx.execute(sql, values![environment, length, begins_at, &task, class, completed, failed, dropped])?;
        }
    }
    Ok(())
}

fn read_ended(tx: &Tx<'_>, run: RunId) -> Result<Option<Ended>, Error> {
    let sql = "SELECT environment_id, task_id, deployment_id, started_at, finished_at, updated_at
               FROM   runs
               WHERE  id = ?1";
    tx.row(sql, values![run], |row| {
        let (environment, task, deployment) = (row.column()?, row.column()?, row.column()?);
        let (started, finished): (Option<Timestamp>, Option<Timestamp>) = (row.column()?, row.column()?);
        let at = finished.unwrap_or(row.column()?);
        let length = started.map(|started| at.duration_since(started).try_into().unwrap_or_default());
        Ok(Ended { run, environment, task, deployment, class: length.map(Class::of), at })
    })
}

/// Puts the error into its group.
fn count_error(tx: &Tx<'_>, ended: &Ended, error: &RunError) -> Result<(), Error> {
    let Some(mut group) = fingerprint(&ended.task, error) else { return Ok(()) };
    if !is_seen_again(tx, ended, &group, error)? {
        let known = "SELECT COUNT(*) FROM error_groups WHERE environment_id = ?1 AND task_id = ?2";
        let known: Option<u64> = tx.row(known, values![ended.environment, &ended.task], |row| row.column())?;
        if known.unwrap_or_default() >= MAX_ERROR_GROUPS_PER_TASK {
            group = rest_of(&ended.task);
        }
        if !is_seen_again(tx, ended, &group, error)? {
            let new = "INSERT INTO error_groups
                           (environment_id, task_id, fingerprint, name, message, runs, first_seen_at, last_seen_at, last_run)
                       VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?6, ?7)";
            let Ended { run, environment, task, at, .. } = ended;
            tx.execute(new, values![*environment, task, &group, &error.name, beginning(&error.message), *at, *run])?;
        }
    }
    if let Some(deployment) = ended.deployment {
        let version = "INSERT INTO error_versions (environment_id, fingerprint, deployment_id, runs)
                       VALUES (?1, ?2, ?3, 1)
                       ON CONFLICT (environment_id, fingerprint, deployment_id) DO UPDATE
                       SET    runs = error_versions.runs + 1";
        tx.execute(version, values![ended.environment, &group, deployment])?;
    }
    tx.execute("UPDATE runs SET error_group = ?2 WHERE id = ?1", values![ended.run, &group])?;
    Ok(())
}

/// Adds a run to a group; `false`: there is no such group.
fn is_seen_again(tx: &Tx<'_>, ended: &Ended, group: &str, error: &RunError) -> Result<bool, Error> {
    let sql = "UPDATE error_groups
               SET    name = ?4, message = ?5, runs = runs + 1, last_seen_at = ?6, last_run = ?7
               WHERE  environment_id = ?1 AND task_id = ?2 AND fingerprint = ?3";
    let Ended { run, environment, task, at, .. } = ended;
    let message = beginning(&error.message);
    Ok(tx.execute(sql, values![*environment, task, group, &error.name, message, *at, *run])? == 1)
}

fn beginning(message: &str) -> &str {
    &message[..message.floor_char_boundary(MAX_MESSAGE_BYTES)]
}
