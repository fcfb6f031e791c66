//! How backtests go on, step by step, newest run first.
//!
//! What came of runs is written with the place to go on from, so that each counts once, whatever dies in between. At
//! the end a gate is open, and the version made current, or it is not. A run that cannot be read is not replayable; a
//! step that fails otherwise is tried again when the others have had their turn, and a few times at most.
//! A step ends early when its time is over, and at once when somebody stops the backtest.

use std::collections::HashSet;
use std::error::Error as _;
use std::time::Duration;

use super::gate::{Found, decide};
use super::jobs::{BacktestError, Backtests, STEP_RUNS};
use crate::api::BacktestRequest;
use crate::model::backtest::BacktestStatus;
use crate::model::id::{DeploymentId, EnvironmentId};
use crate::storage::{self, Backtest, BacktestEnd, BacktestStep, PendingBacktest};

/// Steps of a backtest that may fail, one after the other.
const MAX_FAILURES: u32 = 5;
/// How often a step looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(500);

impl Backtests {
    /// Replays the next runs of the backtest whose turn it is. `false`: there is none.
    ///
    /// # Errors
    ///
    /// If the step failed; it is taken again later.
    pub async fn step(&self) -> Result<bool, BacktestError> {
        let Some(pending) = self.storage.pending_backtest().await? else { return Ok(false) };
        let backtest = &pending.backtest;
        let failed = match self.step_of(&pending).await {
            Ok(()) => return Ok(true),
            Err(BacktestError::Storage(error @ (storage::Error::Closed | storage::Error::Busy))) => {
                return Err(error.into());
            }
            Err(error @ (BacktestError::Storage(_) | BacktestError::Host(_))) => {
                if self.storage.backtest_faltered(backtest.id).await? < MAX_FAILURES {
                    return Err(error);
                }
                // What went wrong inside is for the log of the server.
                let cause = error.source().map(ToString::to_string);
                tracing::error!(backtest.id = %backtest.id, %error, cause, "a backtest has failed");
                format!("{MAX_FAILURES} steps failed, one after the other: the log of the server says why")
            }
            Err(error) => error.to_string(),
        };
        tracing::warn!(backtest.id = %backtest.id, error = failed, "a backtest cannot go on");
        self.storage.end_backtest(backtest, BacktestEnd::Failed(failed), self.clock.now()).await?;
        Ok(true)
    }

    async fn step_of(&self, pending: &PendingBacktest) -> Result<(), BacktestError> {
        let backtest = &pending.backtest;
        let request: BacktestRequest = serde_json::from_str(&pending.request)
            .map_err(|error| BacktestError::Refused(format!("the request of the backtest: {error}")))?;
        let left = u32::try_from(backtest.planned.saturating_sub(backtest.done)).unwrap_or(u32::MAX);
        let runs = self.next_runs(pending, &request, left.min(STEP_RUNS)).await?;
        if runs.is_empty() {
            return self.complete(backtest, &request).await;
        }
        let bench = self.bench(pending, &request).await?;
        let replays = tokio::select! {
            is_over = self.until_over(backtest) => return is_over,
            replays = self.replay_all(&bench, backtest.id, runs) => replays?,
        };
        let Some(to) = replays.iter().map(|replay| replay.source).min() else { return Ok(()) };
        self.storage.keep_replays(BacktestStep { backtest: backtest.id, from: backtest.last_run, to, replays }).await?;
        Ok(())
    }

    /// Resolves when somebody has stopped or deleted a backtest, soon after that.
    async fn until_over(&self, backtest: &Backtest) -> Result<(), BacktestError> {
        loop {
            tokio::time::sleep(LOOK).await;
            let found = self.storage.backtest(backtest.environment, backtest.id).await?;
            if found.is_none_or(|found| found.status != BacktestStatus::Pending) {
                return Ok(());
            }
        }
    }

    async fn complete(&self, backtest: &Backtest, request: &BacktestRequest) -> Result<(), BacktestError> {
        let end = match backtest.gate {
            None => BacktestEnd::Completed { is_open: None, untested: Vec::new() },
            Some(rule) => {
                let named = request.filter.as_ref().and_then(|filter| filter.task_identifier.clone());
                let tasks = match named {
                    Some(named) => named.into_list(),
                    None => self.tasks_of(backtest.environment, backtest.deployment).await?,
                };
                let unrecorded = self.unrecorded(backtest.environment, backtest.deployment, &tasks).await?;
                let looked_at = self.storage.backtest_tasks(backtest.id).await?;
                decide(rule, &Found { counts: &backtest.counts, looked_at: &looked_at, tasks, unrecorded })
            }
        };
        self.storage.end_backtest(backtest, end, self.clock.now()).await?;
        Ok(())
    }

    /// Those of `tasks` that want no recordings kept: as the version says on which they run now, or else the one that is
    /// tested. A version that gives up its recordings is measured by those of its predecessor.
    pub(super) async fn unrecorded(
        &self,
        environment: EnvironmentId,
        tested: DeploymentId,
        tasks: &[String],
    ) -> Result<HashSet<String>, storage::Error> {
        let mut unrecorded = HashSet::new();
        for task in tasks {
            let runs_on = self.storage.current_deployment_of(environment, task).await?.unwrap_or(tested);
            let definition = self.storage.task(runs_on, task).await?;
            if definition.is_some_and(|definition| !definition.keeps_journals) {
                unrecorded.insert(task.clone());
            }
        }
        Ok(unrecorded)
    }
}
