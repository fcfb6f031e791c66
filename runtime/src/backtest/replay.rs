//! One replay: an old input, executed on some version with everything outside shut off.
//!
//! The guest is told what the source run was told, the version aside; what it asks for is answered by a
//! [`Tape`]. It takes no place in a queue, and nothing of it is stored.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dacapo_host_api::MetadataChange;
use jiff::Timestamp;

use super::children::{Nested, Place, Tree, UnderWay};
use super::services::{Lines, Said};
use super::source::{Source, Sources};
use crate::context::{AttemptLimits, limits_with};
use crate::model::attempt::{AttemptFacts, Outcome, Settlement, settle};
use crate::model::digest::Digest;
use crate::model::egress::EgressPolicy;
use crate::model::replay::{AnsweredBy, Effect, EffectKind, Observed, ObservedEnd, Unmatched};
use crate::model::retry::RetryPolicy;
use crate::model::run::{ErrorKind, RunError};
use crate::model::task::TaskDefinition;
use crate::sandbox::context::{Context, Deployment as DeploymentContext};
use crate::sandbox::recording::{Reach, ReachKind, Recording};
use crate::sandbox::tape::{self, Children, SeenFirst, Stop, Stub};
use crate::sandbox::world::{HostFault, NoWorld, Relative};
use crate::sandbox::{Activity, Call, Entry, Journal, Limits, Outbound, Sandbox, Tape};

/// Most bytes that are kept of a replay while it is under way: its calls, those of the runs that are executed in it, and
/// what these are answered from. One that passes them is none.
const MAX_KEPT_BYTES: usize = 64 << 20;
/// How long a replay takes at most, with all runs that are executed in it. The wall time of its task ends the guest, as it
/// would in a run, where that is shorter; but it stands still while the guest waits for other runs.
const MAX_TIME: Duration = Duration::from_secs(600);

/// On what it is executed.
#[derive(Debug, Clone)]
pub struct Target {
    /// The component.
    pub component: Digest,
    /// The deployment, as the guest is told of it.
    pub deployment: DeploymentContext,
    /// Its tasks.
    pub tasks: Arc<HashMap<String, Arc<TaskDefinition>>>,
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
    /// Sends `GET` and `HEAD` requests that nobody else answers; `None`: they go nowhere.
    pub live: Option<Arc<dyn Outbound>>,
    /// What becomes of calls that nobody answers.
    pub unmatched: Unmatched,
    /// Canned answers.
    pub stubs: Arc<Vec<Stub>>,
    /// Where recordings of children are found that are to be executed as well; `None`: they are not.
    pub children: Option<Arc<dyn Sources>>,
    /// The variables of the environment as they are now.
    pub variables: tape::Variables,
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
    /// The replay passes a limit that its source run did not have.
    #[error("the replay passes a limit: {0}")]
    Limit(String),
    /// The host failed.
    #[error("the server could not execute the replay: {0}")]
    Host(String),
    /// The host had too little left for it beside others.
    #[error("the server could not execute the replay: {0}")]
    Full(String),
}

/// Executes source runs on one version. Clones share what they are made of.
#[derive(Clone)]
pub struct Replayer {
    sandbox: Arc<dyn Sandbox>,
    target: Target,
    options: Options,
    /// Where the log of a replay is kept, but not that of the runs that are executed in it.
    lines: Option<Lines>,
}

impl Replayer {
    /// One that executes on `target`.
    pub fn new(sandbox: Arc<dyn Sandbox>, target: Target, options: Options) -> Self {
        Self { sandbox, target, options, lines: None }
    }

    /// The same, which keeps the log of a replay.
    pub(super) fn keeping(self, lines: Lines) -> Self {
        Self { lines: Some(lines), ..self }
    }

    /// What the version does with the input of `source`, or with `payload` in its place.
    ///
    /// # Errors
    ///
    /// If there is nothing to be compared.
    pub async fn replay(&self, source: &Source, payload: Option<Arc<String>>) -> Result<Observed, ReplayError> {
        let tree = Tree::new(MAX_KEPT_BYTES);
        let _under_way = UnderWay::new(tree.clone());
        let payload = payload.unwrap_or_else(|| source.payload.clone());
        let replayed = tokio::time::timeout(MAX_TIME, self.execute(source, payload, Place::root(tree.clone()))).await;
        let too_long = |_| ReplayError::Limit(format!("it takes longer than {} s", MAX_TIME.as_secs()));
        let observed = replayed.map_err(too_long)??;
        Ok(Observed { children: tree.effects()?, ..observed })
    }

    /// Whether the version has this task.
    pub(super) fn has(&self, task: &str) -> bool {
        self.target.tasks.contains_key(task)
    }

    /// Executes a run in its place. What those wanted that are executed in it is known by the place's tree.
    pub(super) async fn execute(
        &self,
        source: &Source,
        payload: Arc<String>,
        mut place: Place,
    ) -> Result<Observed, ReplayError> {
        let deployment = &self.target.deployment;
        let mut context = source.context.clone();
        context.run.version.clone_from(&deployment.version);
        context.deployment = Some(deployment.clone());
        let said = said_by(source)?;
        if let (Some(lines), 0) = (&self.lines, place.depth) {
            said.keep(lines);
        }
        let call = self.target.call(source, context, Journal::off())?;
        let activity = call.activity.clone();
        let tape = self.tape(source, (&said, &activity), &place)?;
        place.begins(&source.context.task.id, &tape);
        let call = Call {
            payload,
            tape: Some(tape.clone()),
            services: Box::new(said.clone()),
            world: tape.world(),
            journal: tape.journal(),
            is_nested: place.depth > 0,
            ..call
        };
        let session = place.tree.session();
        let outcome = tokio::select! {
            biased;
            _ = session.stopped() => None,
            report = self.sandbox.call(call) => Some(report.outcome),
        };
        // Its last call may have been the one.
        let end = match (session.stop_so_far(), outcome) {
            (Some(Stop::Unmatched(call)), _) => stopped_at(call),
            (Some(Stop::Limit(why)), _) => return Err(ReplayError::Limit(why)),
            (Some(Stop::Full(why)), _) => return Err(ReplayError::Full(why)),
            (None, Some(outcome)) => end_of(outcome)?,
            (None, None) => return Err(ReplayError::Host("the replay was stopped".into())),
        };
        let finished = tape.finish().map_err(|fault| ReplayError::Host(fault.to_string()))?;
        let (effects, metadata_digest) = (effects_of_reaches(finished.reaches), finished.metadata_digest);
        let usage = activity.usage();
        place.ends(&effects, usage.cpu);
        let (logs, metadata) = (said.logs(), said.metadata());
        let (children, secrets, new_variables) = (Vec::new(), source.observed.secrets.clone(), finished.new_variables);
        Ok(Observed { end, effects, children, logs, metadata, metadata_digest, usage, new_variables, secrets })
    }

    fn tape(&self, source: &Source, (said, activity): (&Said, &Activity), place: &Place) -> Result<Tape, ReplayError> {
        let Options { live, unmatched, stubs, children, variables } = &self.options;
        let nested = |sources: &Arc<dyn Sources>| -> Arc<dyn Children> {
            let (replayer, parent, activity) = (self.clone(), source.clone(), activity.clone());
            Arc::new(Nested { replayer, parent, activity, sources: sources.clone(), place: place.clone() })
        };
        // A run without a parent is its own.
        let (said, is_root) = (said.clone(), source.context.run.parent_run_id.is_none());
        let options = tape::Options {
            session: place.tree.session().clone(),
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
            live: live.clone(),
            children: children.as_ref().map(nested),
            variables: variables.clone(),
            seed: source.seed(),
            started_ms: source.context.attempt.started_at,
        };
        Tape::new(&source.recording, options).map_err(|fault| ReplayError::Recording(fault.to_string()))
    }
}

/// How an attempt ended, if nothing is attempted again.
pub(super) fn end_of(outcome: Outcome) -> Result<ObservedEnd, ReplayError> {
    if let Outcome::HostFault(fault) = outcome {
        return Err(ReplayError::Host(fault));
    }
    if let Outcome::HostFull(fault) = outcome {
        return Err(ReplayError::Full(fault));
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

/// What a replay says begins with the metadata that the recorded attempt saw, as far as it looked: others may have
/// changed those that the run was given, and an earlier attempt.
fn said_by(source: &Source) -> Result<Said, ReplayError> {
    let seen = SeenFirst::of(&source.recording).map_err(|fault| ReplayError::Recording(fault.to_string()))?;
    let said = Said::new(seen.all.as_deref().or(source.metadata.as_deref()));
    if seen.all.is_none() {
        for (key, value) in seen.values {
            said.change(match value {
                Some(value) => MetadataChange::Set(key, value),
                None => MetadataChange::Delete(key),
            });
        }
    }
    Ok(said)
}

/// What a recorded attempt wanted of the world outside.
pub(super) fn effects_of(recording: &Recording) -> Result<Vec<Effect>, HostFault> {
    let effect = |reach| effect(reach, AnsweredBy::Live);
    Ok(recording.reaches()?.into_iter().map(effect).collect())
}

/// What a replayed one wanted.
pub(super) fn effects_of_reaches(reaches: Vec<(Reach, tape::AnsweredBy)>) -> Vec<Effect> {
    reaches.into_iter().map(|(reach, by)| effect(reach, answered_by(by))).collect()
}

fn effect(reach: Reach, answered_by: AnsweredBy) -> Effect {
    let Reach { kind, target, arguments, digest, .. } = reach;
    Effect { kind: kind_of(kind), target, arguments, digest, answered_by }
}

pub(super) fn kind_of(kind: ReachKind) -> EffectKind {
    match kind {
        ReachKind::Http => EffectKind::Http,
        ReachKind::Trigger => EffectKind::Trigger,
        ReachKind::BatchTrigger => EffectKind::BatchTrigger,
        ReachKind::CreateToken => EffectKind::CreateToken,
        ReachKind::CompleteToken => EffectKind::CompleteToken,
        ReachKind::Metadata => EffectKind::Metadata,
        ReachKind::Tags => EffectKind::Tags,
        ReachKind::Stream => EffectKind::Stream,
        ReachKind::File => EffectKind::File,
        ReachKind::Environment => EffectKind::Environment,
        ReachKind::Wait => EffectKind::Wait,
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
