//! Hooks: functions of a component that are called around its runs, each in a fresh guest.
//!
//! Those of an end are rows of storage, written with the end of the run and deleted after the last
//! of them: they are called for every end, and after a crash of the server perhaps again. Nothing
//! that a hook does changes what became of its run.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{self, JoinSet};

use super::attempt::Shared;
use super::calls::Plan;
use super::services::Recorder;
use super::wait::{failed, run_error};
use super::world::RunWorld;
use crate::model::attempt::{Outcome, TimeLimit};
use crate::model::hook::Hook;
use crate::model::id::{DeploymentId, RunId};
use crate::model::run::{Run, Status, later};
use crate::sandbox::world::{FailedStatus, RunError};
use crate::sandbox::{Entry, HookCall};
use crate::storage::{DueHooks, Error};

/// Runs whose hooks are called at a time.
pub const MAX_CONCURRENT_HOOKS: u32 = 16;
/// Tries to call the hooks of a run while the server fails them; the pause after the first is this,
/// and each further one four times as long.
const MAX_TRIES: u32 = 5;
const RETRY: Duration = Duration::from_secs(5);
/// The loop looks at least this often, because another process may have stored something.
const MAX_SLEEP: Duration = Duration::from_secs(5);
/// Pause after storage failed.
const STORAGE_RETRY: Duration = Duration::from_secs(1);

/// Calls the hooks of runs that have ended.
pub struct Hooks {
    shared: Arc<Shared>,
    calling: JoinSet<()>,
    runs: HashMap<task::Id, RunId>,
}

impl Hooks {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, calling: JoinSet::new(), runs: HashMap::new() }
    }

    /// Calls them until `shutdown` becomes true. Those that are called then are cut off, and called
    /// again at the next start.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        let storage = self.shared.storage.clone();
        loop {
            let pause = match self.start_due().await {
                Ok(pause) => pause,
                Err(Error::Closed) => return,
                Err(error) => {
                    tracing::error!(%error, "hooks could not be read");
                    STORAGE_RETRY
                }
            };
            tokio::select! {
                () = super::stopped(&mut shutdown) => return,
                Some(ended) = self.calling.join_next_with_id() => self.forget(ended),
                () = storage.hooks_due(), if self.has_room() => {}
                () = tokio::time::sleep(pause), if self.has_room() => {}
            }
        }
    }

    fn has_room(&self) -> bool {
        self.runs.len() < MAX_CONCURRENT_HOOKS as usize
    }

    fn forget(&mut self, ended: Result<(task::Id, ()), task::JoinError>) {
        let id = ended.map_or_else(
            |error| {
                tracing::error!(%error, "the hooks of a run panicked");
                error.id()
            },
            |(id, ())| id,
        );
        self.runs.remove(&id);
    }

    /// Starts what is due, as far as there is room, and says when to look again.
    async fn start_due(&mut self) -> Result<Duration, Error> {
        let free = MAX_CONCURRENT_HOOKS.saturating_sub(u32::try_from(self.runs.len()).unwrap_or(u32::MAX));
        if free == 0 {
            return Ok(MAX_SLEEP);
        }
        let storage = &self.shared.storage;
        let calling: Vec<RunId> = self.runs.values().copied().collect();
        for due in storage.due_hooks(self.shared.clock.now(), calling, free).await? {
            let run = due.run.id;
            let task = self.calling.spawn(call_all(self.shared.clone(), due));
            self.runs.insert(task.id(), run);
        }
        let next = if self.runs.is_empty() { storage.next_hooks().await? } else { None };
        let until = next.map(|at| Duration::try_from(at.duration_since(self.shared.clock.now())).unwrap_or_default());
        Ok(until.unwrap_or(MAX_SLEEP).min(MAX_SLEEP))
    }
}

/// Calls the hooks of a run's end, and records that; or when they are to be tried again.
async fn call_all(shared: Arc<Shared>, due: DueHooks) {
    let DueHooks { run, deployment, tries } = due;
    let id = run.id;
    let called = call_each(&shared, &run, deployment).await;
    let recorded = match called {
        Err(fault) if tries + 1 < MAX_TRIES => {
            tracing::warn!(run.id = %id, fault, "the hooks of a run are tried again later");
            shared.storage.delay_hooks(id, later(shared.clock.now(), RETRY * 4_u32.pow(tries))).await
        }
        Err(fault) => {
            tracing::error!(run.id = %id, fault, "the hooks of a run are given up");
            shared.storage.hooks_called(id).await
        }
        Ok(()) => shared.storage.hooks_called(id).await,
    };
    if let Err(error) = recorded {
        tracing::error!(run.id = %id, %error, "that hooks were called could not be recorded");
    }
}

/// An error is a fault of the host.
async fn call_each(shared: &Arc<Shared>, run: &Run, deployment: DeploymentId) -> Result<(), String> {
    let text = |error: Error| error.to_string();
    let (payload, _) = shared.storage.payload(run.id).await.map_err(text)?.ok_or("the payload is missing")?;
    let plan = Plan::of(shared, run, Some(deployment), &payload).await?;
    for hook in plan.definition.hooks.after(run.status) {
        // The hook before may have changed them.
        let now = shared.storage.run(run.environment, run.id).await.map_err(text)?;
        let recorder = Recorder::new(now.and_then(|run| run.metadata).as_deref(), run.attempt);
        let called = call(shared, &plan, call_of(hook, run), &recorder).await;
        let said = recorder.take();
        let now = shared.clock.now();
        shared.storage.tell((run.id, run.attempt), said.logs, said.metadata, now).await.map_err(text)?;
        called.map_err(|outcome| format!("{outcome:?}"))?;
    }
    Ok(())
}

/// Calls a hook. What it does wrong is said in the log of the run; an error is an outcome that is the
/// host's fault.
pub(super) async fn call(
    shared: &Arc<Shared>,
    plan: &Plan<'_>,
    call: HookCall,
    recorder: &Recorder,
) -> Result<(), Outcome> {
    let hook = name_of(&call);
    let name = hook.as_str();
    let world = RunWorld::new(shared.clone(), plan.run, plan.deployment.id, recorder.clone()).of_hook(hook);
    let call = plan.call(Entry::Hook(call), recorder, world, &shared.limits.attempts);
    let problem = match shared.sandbox.call(call).await.outcome {
        Outcome::Returned(_) => return Ok(()),
        fault @ (Outcome::HostFault(_) | Outcome::HostFull(_)) => return Err(fault),
        Outcome::Failed(error) => error.message,
        Outcome::Crashed(crash) => crash.message,
        Outcome::NonDeterministic(message) => message,
        Outcome::TimedOut(TimeLimit::Cpu(limit) | TimeLimit::Wall(limit)) => {
            format!("it took longer than {} s", limit.as_secs())
        }
        Outcome::Interrupted => "it was interrupted".into(),
    };
    recorder.say(format!("{name} failed: {problem}"), shared.clock.now());
    Ok(())
}

fn name_of(call: &HookCall) -> Hook {
    match call {
        HookCall::Start => Hook::Start,
        HookCall::Success(_) => Hook::Success,
        HookCall::Failure(_) => Hook::Failure,
        HookCall::Cancel => Hook::Cancel,
        HookCall::Complete(_) => Hook::Complete,
    }
}

/// What a hook of the run's end is told.
fn call_of(hook: Hook, run: &Run) -> HookCall {
    let output = || run.output.clone().unwrap_or_else(|| "null".into());
    match hook {
        Hook::Start => HookCall::Start,
        Hook::Success => HookCall::Success(output()),
        Hook::Failure => HookCall::Failure(error_of(run)),
        Hook::Cancel => HookCall::Cancel,
        Hook::Complete if run.status == Status::Completed => HookCall::Complete(Ok(output())),
        Hook::Complete => HookCall::Complete(Err(error_of(run))),
    }
}

fn error_of(run: &Run) -> RunError {
    run_error(failed(run.status).unwrap_or(FailedStatus::Failed), run.error.clone())
}
