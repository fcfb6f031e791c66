//! Fix-forward: a run that failed goes on, on a version that mends it, from where it failed.
//!
//! What the run was answered before the call that failed is the beginning of the journal of a new run, so that
//! nothing of it is done twice: the new run is brought back from it, as one is that has waited, and goes on live. That
//! holds only if the new version asks the same up to there, which is tried first, in the sandbox, as the new run would
//! do it. If it asks otherwise, or ends before it asks anything new, nothing is done.
//!
//! The call that failed is the one with the last bad news, where nothing new was begun after them; a wait for a run that
//! failed counts, and then that run is triggered again. Without bad news, what failed is the code, and the whole journal
//! is used. Where the run went on after the news, it is tried whether the version goes on with the whole journal; if it
//! does not, the news count, and what came after them is done again. [`GoesOn`] says which it was.
//!
//! The new run has one attempt, because another would begin from the start; if it fails, it can be fixed forward in its
//! turn. Nobody is fixed forward twice, unless that is insisted on: what the new run does is done for real.

use jiff::Timestamp;

use super::jobs::{BacktestError, Backtests};
use super::replay::Target;
use super::source::{Original, Source};
use crate::api::GoesOn;
use crate::context::context_of;
use crate::model::admission::Overrides;
use crate::model::attempt::{Outcome, TaskError};
use crate::model::id::{EnvironmentId, RunId};
use crate::model::replay::ObservedEnd;
use crate::model::run::{NewRun, Run, Status};
use crate::model::task::TaskDefinition;
use crate::runs::{Forwarded, TriggerError, Triggered};
use crate::sandbox::Journal;
use crate::sandbox::context::Context;
use crate::sandbox::recording::{BadNews, beginning};
use crate::sandbox::world::HostFault;
use crate::storage::{self, Deployment};

/// Why a run does not go on.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The request asks for something that cannot be.
    #[error("{0}")]
    Refused(String),
    /// The version asks something else, or ends before it asks anything new. Nothing was done.
    #[error("the run cannot go on, on version {version}: {why}; nothing was done")]
    Differs {
        /// The version.
        version: String,
        /// Which call differs, or how it ended.
        why: String,
    },
    /// It was done before. Nothing was done.
    #[error("run {0} goes on from there already; with `force` another one does, and what that one did is done again")]
    Already(RunId),
    /// There is no such run, or no recording of it; or the server cannot do it now.
    #[error(transparent)]
    Backtest(#[from] BacktestError),
    /// The new run is refused.
    #[error(transparent)]
    Trigger(#[from] TriggerError),
    /// Storage failed.
    #[error("storage failed")]
    Storage(#[from] storage::Error),
}

impl Backtests {
    /// Makes a run that goes on where `run` failed, on the version that `overrides` locks it to, or the current
    /// one. With `force`, also if one does already.
    ///
    /// # Errors
    ///
    /// If there is none, or it would not go on from there; then nothing was done.
    pub async fn go_on(
        &self,
        environment: EnvironmentId,
        run: RunId,
        mut overrides: Overrides,
        force: bool,
    ) -> Result<(Triggered, GoesOn), ForwardError> {
        let refuse = |text: &str| Err(ForwardError::Refused(text.into()));
        if overrides.payload.is_some() {
            return refuse(
                "with `fromFailure` the payload stays as it was: the calls before the failure were made with it",
            );
        }
        if overrides.max_attempts.is_some_and(|attempts| attempts > 1) {
            return refuse("with `fromFailure` there is one attempt: another would begin from the start");
        }
        let _inside = self.door.enter_from_outside().await?;
        let original = self.original(environment, run).await?;
        if !matches!(original.source.observed.end, ObservedEnd::Failed { .. }) {
            return refuse("the run did not fail: there is nothing to be fixed");
        }
        let task = &original.source.context.task.id;
        let deployment = self.named_or_current(environment, overrides.locked, task).await;
        let deployment = deployment.map_err(|error| match error {
            BacktestError::Refused(text) => ForwardError::Refused(text),
            error => error.into(),
        })?;
        overrides.locked = Some(deployment.id);
        overrides.max_attempts = Some(1);
        // What it had made of them before it failed is not made again.
        overrides.metadata.get_or_insert_with(|| original.source.observed.metadata.clone());
        let id = self.runs.new_id();
        let new = self.runs.admit_replay((id, environment), run, overrides).await?;
        let context = self.context(&new, &deployment).await?;
        let (journal, goes_on) = self.beginning(&new, &original, &deployment, &context).await?;
        let sealed = self.sources.sealed(id, &journal);
        match self.runs.insert_forward(new, sealed, force).await? {
            Forwarded::Inserted(triggered) => Ok((triggered, goes_on)),
            Forwarded::Already(other) => Err(ForwardError::Already(other)),
        }
    }

    /// The beginning of the journal with which the version goes on.
    async fn beginning(
        &self,
        new: &NewRun,
        original: &Original,
        deployment: &Deployment,
        context: &Context,
    ) -> Result<(Vec<u8>, GoesOn), ForwardError> {
        let unreadable = |fault: HostFault| BacktestError::NotReplayable(fault.to_string());
        let source = &original.source;
        // It is tried as it will begin.
        let source = &Source { metadata: new.metadata.clone(), ..source.clone() };
        let mut refused = None;
        for goes_on in places(source).map_err(unreadable)? {
            let journal = beginning(&original.journal, goes_on.call - 1, context).map_err(unreadable)?;
            match self.try_out(source, deployment, (&journal, context)).await {
                Ok(()) => return Ok((journal, goes_on)),
                Err(error @ ForwardError::Differs { .. }) => refused = refused.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        Err(refused.unwrap_or_else(|| ForwardError::Refused("there is no place to go on from".into())))
    }

    /// What the new run will be told of itself.
    async fn context(&self, new: &NewRun, deployment: &Deployment) -> Result<Context, ForwardError> {
        let definition = self.storage.task(deployment.id, &new.task).await?;
        let definition = definition.ok_or_else(|| TriggerError::NoSuchTask(new.task.clone()))?;
        let stored = self.storage.run(new.environment, new.replay_of.unwrap_or(new.id)).await?;
        let stored = stored.ok_or(BacktestError::NoSuchRun)?;
        let settings = self.sources.settings().of(new.environment).await.map_err(BacktestError::Host)?;
        let begun = begun(stored, new, self.clock.now());
        Ok(context_of(&begun, &definition as &TaskDefinition, deployment, &settings, &self.limits))
    }

    /// Executes the new run in the sandbox until it asks what is not in its journal.
    async fn try_out(
        &self,
        source: &Source,
        deployment: &Deployment,
        (prefix, context): (&[u8], &Context),
    ) -> Result<(), ForwardError> {
        let target: Target = self.target(deployment).await?;
        let journal = Journal::repeating(prefix.to_vec());
        let call = target.call(source, context.clone(), journal.clone()).map_err(BacktestError::from)?;
        let outcome = self.sandbox.call(call).await.outcome;
        if journal.is_used_up() {
            return Ok(());
        }
        let failed = |name: &str, message: &str| match journal.ended() {
            Err(left) => format!("{left}, with {name}: {message}"),
            Ok(()) => format!("it fails before it asks anything new, with {name}: {message}"),
        };
        let why = match outcome {
            // All that was left to do is to return.
            Outcome::Returned(_) => return Ok(()),
            Outcome::NonDeterministic(why) => why,
            Outcome::Failed(TaskError { name, message, .. }) => failed(&name, &message),
            Outcome::Crashed(crash) => failed("a crash", &crash.message),
            Outcome::TimedOut(_) => failed("a time limit", "its time ran out"),
            Outcome::HostFault(fault) | Outcome::HostFull(fault) => return Err(BacktestError::Host(fault).into()),
            Outcome::Interrupted => return Err(BacktestError::Host("it was interrupted".into()).into()),
        };
        let why = source.observed.secrets.apply(&why).into_owned();
        Err(ForwardError::Differs { version: deployment.version.to_string(), why })
    }
}

/// The places from which a run may go on, the best first.
fn places(source: &Source) -> Result<Vec<GoesOn>, HostFault> {
    let recording = &source.recording;
    let after_all = GoesOn { call: recording.len() + 1, name: None, answer: None };
    let Some(BadNews { call, name, answer, is_last }) = recording.bad_news()? else { return Ok(vec![after_all]) };
    let shown = |text: String| Some(source.observed.secrets.apply(&text).into_owned());
    let before = GoesOn { call, name: shown(name), answer: shown(answer) };
    Ok(if is_last { vec![before] } else { vec![after_all, before] })
}

/// The new run, as it will be when its attempt begins: what it is told of itself is decided now.
fn begun(source: Run, new: &NewRun, now: Timestamp) -> Run {
    let key = new.idempotency.as_ref();
    Run {
        id: new.id,
        status: Status::Executing,
        deployment: new.locked,
        queue: new.queue.clone(),
        queue_given: new.queue_given,
        concurrency_key: new.concurrency_key.clone(),
        priority_ms: new.priority_ms,
        tags: new.tags.clone(),
        metadata: new.metadata.clone(),
        created_at: new.created_at,
        updated_at: now,
        started_at: None,
        finished_at: None,
        attempt: 1,
        max_attempts: new.max_attempts,
        max_duration_seconds: new.max_duration_seconds,
        machine: new.machine,
        idempotency_key: key.map(|key| key.shown.clone().unwrap_or_else(|| key.key.clone())),
        idempotency_scope: key.and_then(|key| key.scope.clone()),
        is_test: new.is_test,
        replay_of: new.replay_of,
        origin: new.origin.clone(),
        ..source
    }
}
