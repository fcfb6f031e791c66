//! One replay: an old input, executed on some version with everything outside shut off.
//!
//! The guest is told what the source run was told, the version aside; what it asks for is answered by a
//! [`Tape`]. It takes no place in a queue, and nothing of it is stored.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::task::JoinSet;

use super::services::Said;
use super::source::{Source, Sources};
use crate::context::{AttemptLimits, limits_with};
use crate::model::attempt::{AttemptFacts, Outcome, Settlement, Usage, settle};
use crate::model::digest::Digest;
use crate::model::egress::EgressPolicy;
use crate::model::replay::{AnsweredBy, Effect, EffectKind, Mode, Observed, ObservedEnd, Unmatched};
use crate::model::retry::RetryPolicy;
use crate::model::run::{ErrorKind, RunError};
use crate::model::task::TaskDefinition;
use crate::sandbox::context::{Context, Deployment as DeploymentContext};
use crate::sandbox::recording::{Reach, ReachKind, Recording};
use crate::sandbox::tape::{self, Children, Stub};
use crate::sandbox::world::{Answer, BatchItem, FailedStatus, HostFault, NoWorld, Relative, RunError as GuestError, RunResult};
use crate::sandbox::{Activity, Call, Entry, Journal, Limits, Sandbox, Tape};

/// Most runs that one replay executes in place of those that it triggers, theirs included.
pub const MAX_CHILDREN: u32 = 1_000;
/// How deep such runs trigger others.
pub const MAX_DEPTH: u32 = 16;
/// Most bytes of the journal of a replay: beyond it, its later effects are not compared.
const MAX_JOURNAL_BYTES: usize = 64 << 20;

/// On what it is executed.
#[derive(Debug, Clone)]
pub struct Target {
    /// The component.
    pub component: Digest,
    /// The deployment, as the guest is told of it.
    pub deployment: DeploymentContext,
    /// Its tasks.
    pub tasks: Arc<HashMap<String, TaskDefinition>>,
    /// What an attempt may use where neither run nor task say.
    pub limits: AttemptLimits,
}

impl Target {
    /// A call of the task that `context` names, with what the run was given and might use. Nothing is reached from it:
    /// whatever is to answer the guest is up to the journal, or put in later.
    pub(super) fn call(&self, source: &Source, context: Context, journal: Journal) -> Result<Call, ReplayError> {
        let task = &context.task.id;
        let missing = || ReplayError::NoSuchTask { version: self.deployment.version.clone(), task: task.clone() };
        let definition = self.tasks.get(task).ok_or_else(missing)?;
        Ok(Call {
            component: self.component,
            entry: Entry::Task,
            task: task.clone(),
            limits: self.limits_of(source, definition),
            context,
            payload: source.payload.clone(),
            variables: Arc::default(),
            egress: Arc::new(EgressPolicy::new(Vec::new())).into(),
            tape: None,
            services: Box::new(Said::new(source.metadata.as_deref())),
            world: Arc::new(NoWorld),
            journal,
            activity: Activity::default(),
            is_nested: false,
        })
    }

    /// What a replay of this run may use.
    fn limits_of(&self, source: &Source, task: &TaskDefinition) -> Limits {
        let seconds = source.max_duration_seconds.or(task.max_duration_seconds);
        let cpu = seconds.map_or(self.limits.default_max_duration, |seconds| Duration::from_secs(seconds.into()));
        limits_with(source.machine, cpu, task, &self.limits)
    }
}

/// How it is executed.
#[derive(Clone)]
pub struct Options {
    /// `Sandbox` or `Shadow`.
    pub mode: Mode,
    /// What becomes of calls that nobody answers.
    pub unmatched: Unmatched,
    /// Canned answers.
    pub stubs: Arc<Vec<Stub>>,
    /// Where `GET` and `HEAD` requests may go, in the mode `Shadow`.
    pub egress: Arc<EgressPolicy>,
    /// Where recordings of children are found that are to be executed as well; `None`: they are not.
    pub children: Option<Arc<dyn Sources>>,
}

/// Why there is no result: no fault of the guest. The text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The version does not have the task.
    #[error("version {version} has no task `{task}`")]
    NoSuchTask {
        /// The version.
        version: String,
        /// The task.
        task: String,
    },
    /// The recording cannot be used.
    #[error("the recording cannot be used: {0}")]
    Recording(String),
    /// The host failed.
    #[error("the server could not execute the replay: {0}")]
    Host(String),
}

/// Executes source runs on one version. Clones share what they are made of.
#[derive(Clone)]
pub struct Replayer {
    sandbox: Arc<dyn Sandbox>,
    target: Target,
    options: Options,
}

impl Replayer {
    /// One that executes on `target`.
    pub fn new(sandbox: Arc<dyn Sandbox>, target: Target, options: Options) -> Self {
        Self { sandbox, target, options }
    }

    /// What the version does with the input of `source`, or with `payload` in its place.
    ///
    /// # Errors
    ///
    /// If there is nothing to be compared.
    pub async fn replay(&self, source: &Source, payload: Option<Arc<String>>) -> Result<Observed, ReplayError> {
        let budget = Arc::new(AtomicU32::new(MAX_CHILDREN));
        self.execute(source, payload.unwrap_or_else(|| source.payload.clone()), (0, budget)).await
    }

    async fn execute(
        &self,
        source: &Source,
        payload: Arc<String>,
        (depth, budget): (u32, Arc<AtomicU32>),
    ) -> Result<Observed, ReplayError> {
        let deployment = &self.target.deployment;
        let mut context = source.context.clone();
        context.run.version.clone_from(&deployment.version);
        context.deployment = Some(deployment.clone());
        let (said, journal) = (Said::new(source.metadata.as_deref()), Journal::recording(MAX_JOURNAL_BYTES));
        let call = self.target.call(source, context, journal.clone())?;
        let tape = self.tape(source, (&said, &call.activity), (depth, budget))?;
        let call = Call {
            payload,
            egress: self.options.egress.clone().into(),
            tape: Some(tape.clone()),
            services: Box::new(said.clone()),
            world: tape.world(),
            is_nested: depth > 0,
            ..call
        };
        let report = tokio::select! {
            biased;
            unmatched = tape.failed() => Err(unmatched),
            report = self.sandbox.call(call) => Ok(report),
        };
        let (end, usage) = match report {
            Ok(report) => (end_of(report.outcome)?, report.usage),
            Err(unmatched) => (stopped_at(unmatched), Usage::default()),
        };
        let segment = journal.unwritten().map(|unwritten| unwritten.segment).unwrap_or_default();
        let recording = Recording::read(&segment).map_err(|fault| ReplayError::Host(fault.to_string()))?;
        let mut effects = effects_of(&recording).map_err(|fault| ReplayError::Host(fault.to_string()))?;
        let answered = tape.answered(effects.iter().map(|effect| effect.kind == EffectKind::Http));
        for (effect, by) in effects.iter_mut().zip(answered) {
            effect.answered_by = answered_by(by);
        }
        effects.extend(tape.was_asked_for_variables().then(variables));
        let metadata_digest = recording.metadata_digest();
        let (children, logs, metadata) = (Vec::new(), said.logs(), said.metadata());
        Ok(Observed { end, effects, children, logs, metadata, metadata_digest, usage })
    }

    fn tape(
        &self,
        source: &Source,
        (said, activity): (&Said, &Activity),
        (depth, budget): (u32, Arc<AtomicU32>),
    ) -> Result<Tape, ReplayError> {
        let Options { mode, unmatched, stubs, egress, children } = &self.options;
        let live = || self.sandbox.outbound(&source.context.environment.id, egress.clone());
        let nested = |sources: &Arc<dyn Sources>| -> Arc<dyn Children> {
            let (replayer, parent, activity) = (self.clone(), source.clone(), activity.clone());
            Arc::new(Nested { replayer, parent, activity, sources: sources.clone(), depth, budget: budget.clone() })
        };
        // A run without a parent is its own.
        let (said, is_root) = (said.clone(), source.context.run.parent_run_id.is_none());
        let options = tape::Options {
            changes: Some(Arc::new(move |of, change| {
                if of == Relative::ThisRun || is_root {
                    said.change(change);
                }
            })),
            unmatched: match unmatched {
                Unmatched::Fail => tape::Unmatched::Fail,
                Unmatched::Block | Unmatched::Stub => tape::Unmatched::Block,
            },
            stubs: stubs.to_vec(),
            live: (*mode == Mode::Shadow).then(live),
            children: children.as_ref().map(nested),
            seed: source.seed(),
            started_ms: source.context.attempt.started_at,
        };
        Tape::new(&source.recording, options).map_err(|fault| ReplayError::Recording(fault.to_string()))
    }
}

/// Executes the runs that a replayed run triggers.
struct Nested {
    replayer: Replayer,
    parent: Source,
    /// That of the parent, whose time stands still while it waits for another run.
    activity: Activity,
    sources: Arc<dyn Sources>,
    depth: u32,
    /// How many more may be executed.
    budget: Arc<AtomicU32>,
}

#[async_trait]
impl Children for Nested {
    async fn execute(&self, item: BatchItem, recorded: Option<String>) -> Answer<RunResult> {
        let refused = |name: &str, message: String| GuestError {
            status: FailedStatus::SystemFailure,
            name: name.into(),
            message,
            stack: None,
        };
        let BatchItem { task_id, payload, options } = item;
        let result = |output, cpu| RunResult { id: String::new(), task_id: task_id.clone(), output, cpu };
        let left = self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_err() || self.depth >= MAX_DEPTH {
            let message = format!("a replay executes {MAX_CHILDREN} runs at most, {MAX_DEPTH} deep");
            return Ok(result(Err(refused("TooManyChildren", message)), 0));
        }
        let recorded = match recorded {
            Some(id) => self.sources.source(&id).await.map_err(HostFault)?,
            None => None,
        };
        let source = recorded.unwrap_or_else(|| self.parent.child(&task_id, options.metadata));
        let (replayer, next) = (self.replayer.clone(), (self.depth + 1, self.budget.clone()));
        // A task of its own, so that what it uses is not counted as the parent's; it goes with the parent.
        let mut child = JoinSet::new();
        child.spawn(async move { replayer.execute(&source, Arc::new(payload), next).await });
        self.activity.pause();
        let executed = child.join_next().await;
        self.activity.resume();
        let executed = executed.unwrap_or(Ok(Err(ReplayError::Host("a replay was lost".into()))));
        match executed.map_err(|error| HostFault(error.to_string()))? {
            Ok(observed) => {
                let cpu = u64::try_from(observed.usage.cpu.as_millis()).unwrap_or(u64::MAX);
                Ok(result(output_of(observed.end), cpu))
            }
            Err(ReplayError::Host(fault)) => Err(HostFault(fault)),
            Err(error @ (ReplayError::NoSuchTask { .. } | ReplayError::Recording(_))) => {
                Ok(result(Err(refused("NotReplayable", error.to_string())), 0))
            }
        }
    }
}

fn output_of(end: ObservedEnd) -> Result<String, GuestError> {
    match end {
        ObservedEnd::Completed(output) => Ok(output),
        ObservedEnd::Failed { kind, name, message, stack } => {
            let status = match kind {
                ErrorKind::Task => FailedStatus::Failed,
                ErrorKind::Crash | ErrorKind::OutOfMemory => FailedStatus::Crashed,
                ErrorKind::TimeLimit => FailedStatus::TimedOut,
                ErrorKind::Canceled => FailedStatus::Canceled,
                ErrorKind::Expired => FailedStatus::Expired,
                ErrorKind::System => FailedStatus::SystemFailure,
            };
            Err(GuestError { status, name, message, stack })
        }
    }
}

/// How an attempt ended, if nothing is attempted again.
pub(super) fn end_of(outcome: Outcome) -> Result<ObservedEnd, ReplayError> {
    if let Outcome::HostFault(fault) | Outcome::HostFull(fault) = outcome {
        return Err(ReplayError::Host(fault));
    }
    let facts = AttemptFacts { attempt: 1, max_attempts: 1, retry: RetryPolicy::default(), losses: 0 };
    Ok(match settle(&facts, outcome, Timestamp::UNIX_EPOCH, 0.0) {
        Settlement::Completed(output) => ObservedEnd::Completed(output),
        Settlement::Ended { error, .. } | Settlement::RetryAt { error, .. } => failed(error),
        Settlement::Requeued { .. } => return Err(ReplayError::Host("the replay was interrupted".into())),
    })
}

/// The end of a run with this error.
pub(super) fn failed(error: RunError) -> ObservedEnd {
    let RunError { kind, name, message, stack } = error;
    ObservedEnd::Failed { kind, name, message, stack }
}

fn stopped_at(call: String) -> ObservedEnd {
    ObservedEnd::Failed {
        kind: ErrorKind::Task,
        name: "UnmatchedCall".into(),
        message: format!("the recording does not answer {call}"),
        stack: None,
    }
}

/// What a recorded attempt wanted of the world outside.
pub(super) fn effects_of(recording: &Recording) -> Result<Vec<Effect>, HostFault> {
    let effect = |Reach { kind, target, arguments, digest, .. }: Reach| Effect {
        kind: kind_of(kind),
        target,
        arguments,
        digest,
        answered_by: AnsweredBy::Live,
    };
    Ok(recording.reaches()?.into_iter().map(effect).collect())
}

/// It looked for variables that the source run had not looked for.
fn variables() -> Effect {
    Effect {
        kind: EffectKind::Environment,
        target: "environment variables".into(),
        arguments: String::new(),
        digest: 0,
        answered_by: AnsweredBy::Unmatched,
    }
}

fn kind_of(kind: ReachKind) -> EffectKind {
    match kind {
        ReachKind::Http => EffectKind::Http,
        ReachKind::Trigger => EffectKind::Trigger,
        ReachKind::BatchTrigger => EffectKind::BatchTrigger,
        ReachKind::CreateToken => EffectKind::CreateToken,
        ReachKind::CompleteToken => EffectKind::CompleteToken,
        ReachKind::Metadata => EffectKind::Metadata,
        ReachKind::Tags => EffectKind::Tags,
        ReachKind::Stream => EffectKind::Stream,
    }
}

fn answered_by(by: tape::AnsweredBy) -> AnsweredBy {
    match by {
        tape::AnsweredBy::Recorded => AnsweredBy::Recorded,
        tape::AnsweredBy::Changed => AnsweredBy::Changed,
        tape::AnsweredBy::Stub => AnsweredBy::Stub,
        tape::AnsweredBy::Live => AnsweredBy::Live,
        tape::AnsweredBy::Captured => AnsweredBy::Captured,
        tape::AnsweredBy::Executed => AnsweredBy::Executed,
        tape::AnsweredBy::Unmatched => AnsweredBy::Unmatched,
    }
}
