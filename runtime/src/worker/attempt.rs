//! One attempt of one run, from its claim to its settlement.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::Instrument;

use super::Limits;
use super::context::context_of;
use super::services::{Recorder, RunServices};
use super::settings::SettingsCache;
use crate::api;
use crate::clock::Clock;
use crate::model::attempt::{AttemptFacts, Outcome, Settlement, Usage, settle};
use crate::model::run::Status;
use crate::model::task::TaskDefinition;
use crate::sandbox::world::NoWorld;
use crate::sandbox::{self, Activity, Call, Journal, Sandbox};
use crate::storage::{AttemptEnd, Claimed, Error, Storage};

/// How often what a running attempt says is written.
const REPORT_EVERY: Duration = Duration::from_millis(500);
/// Tries to write how an attempt ended, and the pause between them.
const SETTLE_TRIES: u32 = 20;
const SETTLE_RETRY: Duration = Duration::from_millis(250);

/// What all attempts of a worker use.
pub(super) struct Shared {
    pub(super) storage: Storage,
    pub(super) sandbox: Arc<dyn Sandbox>,
    pub(super) settings: SettingsCache,
    pub(super) clock: Clock,
    pub(super) limits: Limits,
}

/// Why an attempt is to end now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The run was canceled: that is recorded already.
    Canceled,
    /// The server shuts down.
    ShuttingDown,
    /// The run may belong to another worker.
    LeaseLost,
}

/// An attempt that has been claimed.
pub(super) struct Attempt {
    shared: Arc<Shared>,
    claimed: Claimed,
    recorder: Recorder,
}

/// What must be known before the guest can be called.
struct Prepared {
    call: Call,
    definition: Arc<TaskDefinition>,
}

/// Why an attempt is over.
enum Stopped {
    /// The guest ended, or was interrupted by a shutdown; that is to be recorded.
    ByItself(Ended),
    /// The run was canceled, or belongs to another lease: there is nothing to record.
    NotOurs,
    /// This process could not prove that it lives.
    LeaseLost,
}

/// How an attempt ended, before that is judged.
struct Ended {
    outcome: Outcome,
    usage: Usage,
    facts: AttemptFacts,
}

impl Attempt {
    pub(super) fn new(shared: Arc<Shared>, claimed: Claimed) -> Self {
        let recorder = Recorder::new(claimed.run.metadata.as_deref(), claimed.run.attempt);
        Self { shared, claimed, recorder }
    }

    /// Runs the guest until it ends or `stop` says so, and records how it ended. `false`: it could
    /// not be recorded, and whoever knows the lease must give it up.
    pub(super) async fn run(self, stop: oneshot::Receiver<Stop>) -> bool {
        let run = &self.claimed.run;
        let span = tracing::debug_span!("attempt", run.id = %run.id, task.id = %run.task, attempt = run.attempt);
        async move {
            match self.execute(stop).await {
                Stopped::ByItself(ended) => self.settle(ended).await,
                Stopped::NotOurs => true,
                Stopped::LeaseLost => false,
            }
        }
        .instrument(span)
        .await
    }

    async fn execute(&self, mut stop: oneshot::Receiver<Stop>) -> Stopped {
        let facts = |definition: Option<&TaskDefinition>| facts(&self.claimed, definition);
        let prepared = match self.prepare().await {
            Ok(prepared) => prepared,
            Err(outcome) => {
                return Stopped::ByItself(Ended { outcome, usage: Usage::default(), facts: facts(None) });
            }
        };
        let facts = facts(Some(&prepared.definition));
        let call = self.shared.sandbox.call(prepared.call);
        tokio::pin!(call);
        let mut report = tokio::time::interval_at(Instant::now() + REPORT_EVERY, REPORT_EVERY);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                report = &mut call => {
                    return Stopped::ByItself(Ended { outcome: report.outcome, usage: report.usage, facts });
                }
                why = &mut stop => match why {
                    Ok(Stop::ShuttingDown) => {
                        return Stopped::ByItself(Ended { outcome: Outcome::Interrupted, usage: Usage::default(), facts });
                    }
                    Ok(Stop::Canceled) => {
                        self.report().await;
                        return Stopped::NotOurs;
                    }
                    // The worker forgot this attempt: the run was claimed again under another lease.
                    Err(_) => return Stopped::NotOurs,
                    Ok(Stop::LeaseLost) => return Stopped::LeaseLost,
                },
                _ = report.tick() => if !self.report().await {
                    return Stopped::NotOurs;
                },
            }
        }
    }

    /// Writes what the attempt has said since the last time. `false`: the run is not ours any more.
    async fn report(&self) -> bool {
        let said = self.recorder.take();
        if said.is_empty() {
            return true;
        }
        let now = self.shared.clock.now();
        let reported = self.shared.storage.report(self.claimed.lease, said.logs, said.metadata, now).await;
        reported.unwrap_or_else(|error| {
            tracing::error!(%error, "log lines of a running attempt were lost");
            true
        })
    }

    async fn prepare(&self) -> Result<Prepared, Outcome> {
        let run = &self.claimed.run;
        let storage = &self.shared.storage;
        let fault = |error: Error| Outcome::HostFault(error.to_string());
        let missing = |what: &str| Outcome::HostFault(format!("{what} is missing from the database"));
        let deployment = run.deployment.ok_or_else(|| missing("the deployment of the run"))?;
        let deployment = self
            .shared
            .settings
            .deployment(deployment)
            .await
            .map_err(fault)?
            .ok_or_else(|| missing("the deployment of the run"))?;
        let definition = storage
            .task(deployment.id, &run.task)
            .await
            .map_err(fault)?
            .ok_or_else(|| missing("the task of the run"))?;
        let settings = self.shared.settings.of(run.environment).await.map_err(Outcome::HostFault)?;
        let payload = api::plain_json(&self.claimed.payload).map_err(|error| Outcome::HostFault(error.to_string()))?;
        let call = Call {
            component: deployment.digest,
            task: run.task.clone(),
            context: context_of(&self.claimed, &definition, &deployment, &settings, &self.shared.limits),
            payload,
            limits: limits_of(&self.claimed, &definition, &self.shared.limits),
            variables: settings.variables.clone(),
            egress: settings.egress.clone(),
            services: Box::new(RunServices::new(self.recorder.clone())),
            world: Arc::new(NoWorld),
            journal: Journal::off(),
            activity: Activity::default(),
        };
        Ok(Prepared { call, definition })
    }

    /// Decides and records; while storage fails, tries again for a while. `false`: it could not be
    /// recorded, and the run is to be attempted again.
    async fn settle(&self, ended: Ended) -> bool {
        let now = self.shared.clock.now();
        match &ended.outcome {
            Outcome::HostFault(error) => tracing::error!(error, "host fault"),
            Outcome::HostFull(error) => tracing::warn!(error, "memory is short"),
            Outcome::Returned(_)
            | Outcome::Failed(_)
            | Outcome::Crashed(_)
            | Outcome::TimedOut(_)
            | Outcome::Interrupted => {}
        }
        let said = self.recorder.take();
        let end = AttemptEnd {
            lease: self.claimed.lease,
            settlement: settle(&ended.facts, ended.outcome, now, crate::secrets::chance()),
            usage: ended.usage,
            cpu_before: self.claimed.run.cpu,
            metadata: said.metadata,
            logs: said.logs,
            at: now,
        };
        let status = status_of(&end.settlement);
        for _ in 0..SETTLE_TRIES {
            match self.shared.storage.settle(end.clone()).await {
                Ok(true) => {
                    let (duration_ms, cpu_ms) = (ended.usage.wall.as_millis(), ended.usage.cpu.as_millis());
                    tracing::debug!(status = status.as_str(), duration_ms, cpu_ms, "attempt finished");
                    return true;
                }
                Ok(false) => {
                    tracing::warn!("attempt lost its lease");
                    return true;
                }
                Err(Error::Closed) => return false,
                Err(error) => tracing::error!(%error, "the end of an attempt could not be recorded"),
            }
            tokio::time::sleep(SETTLE_RETRY).await;
        }
        false
    }
}

fn status_of(settlement: &Settlement) -> Status {
    match settlement {
        Settlement::Completed(_) => Status::Completed,
        Settlement::RetryAt { .. } | Settlement::Requeued { .. } => Status::Queued,
        Settlement::Ended { status, .. } => *status,
    }
}

pub(super) fn facts(claimed: &Claimed, definition: Option<&TaskDefinition>) -> AttemptFacts {
    let retry = definition.and_then(|task| task.retry.clone()).unwrap_or_default();
    AttemptFacts {
        attempt: claimed.run.attempt,
        max_attempts: claimed.run.max_attempts.unwrap_or(retry.max_attempts),
        retry,
        losses: claimed.losses,
    }
}

pub(super) fn max_duration(claimed: &Claimed, task: &TaskDefinition, limits: &Limits) -> Duration {
    let seconds = claimed.run.max_duration_seconds.or(task.max_duration_seconds);
    seconds.map_or(limits.default_max_duration, |seconds| Duration::from_secs(seconds.into()))
}

/// A machine that nobody named gives its memory, and does not hold back: it is not what anyone chose.
fn limits_of(claimed: &Claimed, task: &TaskDefinition, limits: &Limits) -> sandbox::Limits {
    let cpu = max_duration(claimed, task, limits);
    let machine = claimed.run.machine.or(task.machine);
    let whole_core = sandbox::Limits::default().millicores;
    let millicores = machine.map_or(whole_core, |machine| machine.millicores().min(whole_core));
    sandbox::Limits {
        memory_bytes: machine.unwrap_or_default().memory_bytes(),
        cpu,
        millicores,
        wall: cpu * whole_core / millicores + limits.max_host_wait,
        scratch_bytes: limits.scratch_bytes,
        ..sandbox::Limits::default()
    }
}
