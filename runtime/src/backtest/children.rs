//! Runs that are executed in the place of those that a replayed run triggers, in the sandbox as that one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;

use super::replay::{ReplayError, Replayer, effects_of_reaches};
use super::source::{Source, Sources};
use crate::model::replay::{ChildEffects, Effect, Observed, ObservedEnd};
use crate::model::run::ErrorKind;
use crate::sandbox::tape::{Children, Session, Stop};
use crate::sandbox::world::{Answer, BatchItem, FailedStatus, HostFault, RunError as GuestError, RunResult};
use crate::sandbox::{Activity, Tape};

/// Most runs that one replay executes in place of those that it triggers, theirs included.
pub const MAX_CHILDREN: u32 = 1_000;
/// How deep such runs trigger others.
pub const MAX_DEPTH: u32 = 16;
/// Most CPU time that all of them use together.
pub const MAX_CHILDREN_CPU: Duration = Duration::from_secs(600);
/// Bytes that an effect costs beside its texts.
const EFFECT_BYTES: usize = 128;

/// A replay with all runs that are executed in it. Clones are the same.
#[derive(Clone)]
pub(super) struct Tree {
    session: Session,
    state: Arc<Mutex<State>>,
}

struct State {
    children: Vec<Executed>,
    cpu: Duration,
    /// Nothing is kept any more.
    is_over: bool,
}

/// A replay that is under way. When this is dropped, nothing is kept of it, however it ended: the tapes of its children
/// know the tree, and the tree knows them.
pub(super) struct UnderWay(Tree);

impl UnderWay {
    /// That of this tree.
    pub(super) fn new(tree: Tree) -> Self {
        Self(tree)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let children = {
            let mut state = self.0.state();
            state.is_over = true;
            std::mem::take(&mut state.children)
        };
        drop(children);
    }
}

/// A run that is or was executed.
enum Executed {
    UnderWay { task: String, then: Option<Vec<Effect>>, tape: Tape },
    Ended(ChildEffects),
}

impl Tree {
    /// A replay of which so many bytes may be kept.
    pub(super) fn new(bytes: usize) -> Self {
        let state = State { children: Vec::new(), cpu: Duration::ZERO, is_over: false };
        Self { session: Session::new(bytes), state: Arc::new(Mutex::new(state)) }
    }

    /// What its tapes share.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// What all of them wanted, in the order in which they began. Of those that were stopped, what they wanted before.
    pub(super) fn effects(&self) -> Result<Vec<ChildEffects>, ReplayError> {
        let children = std::mem::take(&mut self.state().children);
        let effects = |child| match child {
            Executed::Ended(effects) => Ok(effects),
            Executed::UnderWay { task, then, tape } => {
                effects_now(&tape).map(|now| ChildEffects { task, then, now: Some(now) })
            }
        };
        children.into_iter().map(effects).collect()
    }

    /// How many children there were so far.
    fn count(&self) -> usize {
        self.state().children.len()
    }

    /// A child begins; the answer is its place. It has none once the replay is over.
    fn begins(&self, task: String, then: Option<Vec<Effect>>, tape: Tape) -> Option<usize> {
        let mut state = self.state();
        if state.is_over {
            return None;
        }
        state.children.push(Executed::UnderWay { task, then, tape });
        Some(state.children.len() - 1)
    }

    fn ends(&self, place: usize, now: Vec<Effect>, cpu: Duration) {
        let mut state = self.state();
        state.cpu += cpu;
        if let Some(child) = state.children.get_mut(place)
            && let Executed::UnderWay { task, then, .. } = child
        {
            let (task, then) = (std::mem::take(task), then.take());
            *child = Executed::Ended(ChildEffects { task, then, now: Some(now) });
        }
    }

    /// A child is not executed: there is no recording of the run in whose place it was to be.
    fn leaves_out(&self, task: String) -> Answer<()> {
        if !self.session.take(EFFECT_BYTES + task.len()) {
            return Err(over());
        }
        self.state().children.push(Executed::Ended(ChildEffects { task, then: None, now: None }));
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn over() -> HostFault {
    HostFault("the replay is over".into())
}

fn effects_now(tape: &Tape) -> Result<Vec<Effect>, ReplayError> {
    let finished = tape.finish().map_err(|fault| ReplayError::Host(fault.to_string()))?;
    Ok(effects_of_reaches(finished.reaches))
}

/// Where a run stands in a replay.
#[derive(Clone)]
pub(super) struct Place {
    /// The replay.
    pub(super) tree: Tree,
    /// How many runs wait for it.
    pub(super) depth: u32,
    /// What the run wanted in whose place it is executed.
    then: Option<Vec<Effect>>,
    /// Its place among all that are executed, once it has begun.
    number: Option<usize>,
}

impl Place {
    /// That of the replayed run itself.
    pub(super) fn root(tree: Tree) -> Self {
        Self { tree, depth: 0, then: None, number: None }
    }

    /// Its run begins.
    pub(super) fn begins(&mut self, task: &str, tape: &Tape) {
        if self.depth > 0 {
            self.number = self.tree.begins(task.into(), self.then.take(), tape.clone());
        }
    }

    /// Its run has ended.
    pub(super) fn ends(&self, effects: &[Effect], cpu: Duration) {
        if let Some(number) = self.number {
            self.tree.ends(number, effects.to_vec(), cpu);
        }
    }
}

/// Executes the runs that a replayed run triggers.
pub(super) struct Nested {
    pub(super) replayer: Replayer,
    pub(super) parent: Source,
    /// That of the parent, whose time stands still while it waits for another run.
    pub(super) activity: Activity,
    /// Where recordings of children are found.
    pub(super) sources: Arc<dyn Sources>,
    /// That of the parent.
    pub(super) place: Place,
}

impl Nested {
    /// Executes a run to its end, as a task of its own, so that what it uses is not counted as the parent's; it goes with
    /// the parent.
    async fn execute_source(
        &self,
        source: Source,
        place: Place,
        payload: Arc<String>,
    ) -> Result<Observed, ReplayError> {
        let (mut child, replayer) = (JoinSet::new(), self.replayer.clone());
        child.spawn(async move { replayer.execute(&source, payload, place).await });
        self.activity.pause();
        let executed = child.join_next().await;
        self.activity.resume();
        let lost = |why: String| Err(ReplayError::Host(why));
        executed.map_or_else(
            || lost("a replay was lost".into()),
            |joined| joined.unwrap_or_else(|error| lost(error.to_string())),
        )
    }

    /// Whether one more may be executed; if not, the replay is over.
    fn may_execute(&self) -> bool {
        let Place { tree, depth, .. } = &self.place;
        let (count, cpu) = {
            let state = tree.state();
            (state.children.len(), state.cpu)
        };
        let limit = if count >= MAX_CHILDREN as usize || *depth >= MAX_DEPTH {
            format!("a replay executes {MAX_CHILDREN} runs at most, {MAX_DEPTH} deep")
        } else if cpu >= MAX_CHILDREN_CPU {
            format!("the runs that it executes use more than {} s of CPU time", MAX_CHILDREN_CPU.as_secs())
        } else {
            return true;
        };
        tree.session.stop(Stop::Limit(limit));
        false
    }
}

#[async_trait]
impl Children for Nested {
    fn can_execute(&self, task: &str) -> bool {
        self.replayer.has(task)
    }

    async fn execute(&self, item: BatchItem, recorded: Option<String>) -> Answer<Option<RunResult>> {
        if !self.may_execute() {
            return Err(over());
        }
        let BatchItem { task_id, payload, options } = item;
        let Place { tree, depth, .. } = &self.place;
        let recorded = match recorded {
            Some(id) => match self.sources.source(&id).await.map_err(HostFault)? {
                Some(source) => Some(source),
                // Compared with nothing, all that it does would be new.
                None => return tree.leaves_out(task_id).map(|()| None),
            },
            None => None,
        };
        let then = recorded.as_ref().map(|source| source.observed.effects.clone());
        let kept =
            then.iter().flatten().map(|effect| EFFECT_BYTES + effect.target.len() + effect.arguments.len()).sum();
        if !tree.session.take(kept) {
            return Err(over());
        }
        let source = recorded.unwrap_or_else(|| self.parent.child(tree.count(), &task_id, options.metadata));
        let _held = tree.session.hold(source.recording.bytes()).ok_or_else(over)?;
        let place = Place { tree: tree.clone(), depth: depth + 1, then, number: None };
        let (output, cpu) = match self.execute_source(source, place, Arc::new(payload)).await {
            Ok(observed) => (output_of(observed.end), observed.usage.cpu.as_millis()),
            Err(ReplayError::Host(fault)) => return Err(HostFault(fault)),
            Err(ReplayError::Full(fault)) => {
                tree.session.stop(Stop::Full(fault));
                return Err(over());
            }
            Err(ReplayError::Limit(_)) => return Err(over()),
            Err(error @ (ReplayError::NoSuchTask { .. } | ReplayError::Recording(_))) => {
                let (name, message) = ("NotReplayable".into(), error.to_string());
                (Err(GuestError { status: FailedStatus::SystemFailure, name, message, stack: None }), 0)
            }
        };
        Ok(Some(RunResult { id: String::new(), task_id, output, cpu: u64::try_from(cpu).unwrap_or(u64::MAX) }))
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
