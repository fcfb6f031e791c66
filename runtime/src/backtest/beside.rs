//! Two runs that were done for real, beside each other: mostly a live replay and the run that it replays.
//!
//! What they wanted of the world outside is compared where both are recorded; how they ended, their metadata and what they
//! used, in any case.

use super::compare::compare;
use super::jobs::{BacktestError, Backtests};
use super::rules::TaskRules;
use super::stored::{NotReplayable, Seen};
use crate::api::{Both, ReplayOptions, RunComparison, RunSide};
use crate::model::id::{EnvironmentId, RunId};

impl Backtests {
    /// How `now` differs from `then`, or from the run that it replays.
    ///
    /// # Errors
    ///
    /// If one of them is not there or its code did not come to an end, or too many others wait already.
    pub async fn beside(
        &self,
        environment: EnvironmentId,
        now: RunId,
        then: Option<RunId>,
    ) -> Result<RunComparison, BacktestError> {
        let backtests = self.clone();
        self.reading(async move { backtests.beside_inside(environment, now, then).await }).await
    }

    async fn beside_inside(
        &self,
        environment: EnvironmentId,
        now: RunId,
        then: Option<RunId>,
    ) -> Result<RunComparison, BacktestError> {
        let rules = self.rules(environment, None, &ReplayOptions::default()).await?;
        let now = self.seen(environment, now).await?;
        let then = then.or(now.run.replay_of).ok_or_else(|| {
            let text = "the run replays no other: name the run to compare with, `?with=run_…`";
            BacktestError::Refused(text.into())
        })?;
        let then = self.seen(environment, then).await?;
        let compared = tokio::task::spawn_blocking(move || {
            let rules = rules.task(&now.run.task);
            compare_sides((then, now), rules)
        });
        compared.await.map_err(|error| BacktestError::Host(error.to_string()))
    }

    async fn seen(&self, environment: EnvironmentId, run: RunId) -> Result<Seen, BacktestError> {
        match self.sources.seen(environment, run).await {
            Err(NotReplayable::NoRecording(why)) => Err(BacktestError::NotComparable(format!("{run}: {why}"))),
            seen => Ok(seen?),
        }
    }
}

fn compare_sides((mut then, mut now): (Seen, Seen), rules: &TaskRules) -> RunComparison {
    let mut notes = Vec::new();
    if then.run.task != now.run.task {
        notes.push(format!("they are runs of two tasks, `{}` and `{}`", then.run.task, now.run.task));
    }
    for seen in [&then, &now] {
        if let Some(why) = &seen.not_recorded {
            notes.push(format!("{} has no recording, so that calls are not compared: {why}", seen.run.id));
        }
    }
    let are_calls_compared = then.not_recorded.is_none() && now.not_recorded.is_none();
    if !are_calls_compared {
        then.observed.effects.clear();
        now.observed.effects.clear();
        // Who changed their metadata is not known: all that differs counts.
        (then.observed.metadata_digest, now.observed.metadata_digest) = (0, 1);
    }
    let comparison = compare(&then.observed, &now.observed, rules);
    RunComparison { sides: Both { then: side(&then), now: side(&now) }, comparison, are_calls_compared, notes }
}

fn side(seen: &Seen) -> RunSide {
    RunSide {
        run_id: seen.run.id.to_string(),
        task_identifier: seen.run.task.clone(),
        version: seen.run.version.map(|version| version.to_string()),
        is_recorded: seen.not_recorded.is_none(),
    }
}
