//! One attempt of one run, from its claim to its settlement. How it waits in between is in `waiting`.

mod waiting;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::Instrument;

pub(super) use self::waiting::Waiting;
use super::Limits;
use super::calls::Plan;
use super::hooks;
use super::services::Recorder;
use super::world::{Ask, RunWorld};
use crate::clock::Clock;
use crate::context::{SettingsCache, max_attempts};
use crate::model::attempt::{AttemptFacts, Outcome, RetryDecision, Settlement, TaskError, Usage, settle};
use crate::model::run::Status;
use crate::model::task::TaskDefinition;
use crate::runs::Runs;
use crate::sandbox::{Activity, Call, EgressRules, Entry, HookCall, Journal, Report, Sandbox};
use crate::secrets::ServerKey;
use crate::storage::{AttemptEnd, Claimed, Error, Storage};
use crate::waitpoints::Waitpoints;

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
    pub(super) server_key: Arc<ServerKey>,
    pub(super) runs: Runs,
    pub(super) waitpoints: Arc<Waitpoints>,
    pub(super) clock: Clock,
    pub(super) limits: Limits,
    /// Where others reach this server, for example `http://127.0.0.1:3040`.
    pub(super) public_url: String,
    /// Says that guests were refused memory: those that wait are to make room.
    pub(super) memory_is_short: Notify,
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

/// How an attempt left this worker.
pub(super) enum Left {
    /// What became of it is on record, or not ours to record.
    Recorded,
    /// It could not be recorded: whoever knows the lease must give it up.
    Unrecorded,
    /// The run waits. Its guest may stay in memory.
    Waiting(Box<Waiting>),
}

/// A guest that has begun, and what belongs to it.
struct Guest {
    call: Pin<Box<dyn Future<Output = Report> + Send>>,
    asks: mpsc::Receiver<Ask>,
    activity: Activity,
    egress: EgressRules,
    journal: Journal,
    recorder: Recorder,
    definition: Arc<TaskDefinition>,
    /// CPU time that the run had used when this guest began.
    cpu_before: Duration,
    /// The number of the lease, for the guest's world.
    lease: Arc<AtomicU64>,
}

/// An attempt that has been claimed.
pub(super) struct Attempt {
    shared: Arc<Shared>,
    claimed: Claimed,
}

/// Why an attempt is over.
enum Stopped {
    /// The guest ended, or was interrupted by a shutdown; that is to be recorded.
    ByItself(Ended, Option<Box<Guest>>),
    /// The guest waits; that is on record.
    Waiting(Box<Waiting>),
    /// The run was canceled, or belongs to another lease: there is nothing to record.
    NotOurs,
    /// This process could not prove that it lives.
    LeaseLost,
}

/// How an attempt ended, before that is judged.
struct Ended {
    outcome: Outcome,
    usage: Usage,
}

impl Stopped {
    /// The attempt ended so before its guest began, or together with it.
    fn unused(outcome: Outcome) -> Self {
        Self::ByItself(Ended { outcome, usage: Usage::default() }, None)
    }
}

/// How an attempt ends that nothing can bring back.
fn lost_journal() -> Outcome {
    Outcome::Failed(TaskError {
        name: "JournalTooLarge".into(),
        message:
            "the run has waited, its instance did not stay in memory, and its journal is not whole: let it read less \
                  from others (HTTP bodies, outputs of children), or start the server with a larger --max-journal"
                .into(),
        stack: None,
        retry: RetryDecision::ByPolicy,
    })
}

impl Attempt {
    pub(super) fn new(shared: Arc<Shared>, claimed: Claimed) -> Self {
        Self { shared, claimed }
    }

    /// Runs the guest until it ends, waits, or `stop` says so, and records that. `parked` is the guest
    /// of this run that waits in memory, where there is one.
    pub(super) async fn run(self, parked: Option<Box<Waiting>>, stop: oneshot::Receiver<Stop>) -> Left {
        let run = &self.claimed.run;
        let span = tracing::debug_span!("attempt", run.id = %run.id, task.id = %run.task, attempt = run.attempt);
        async move {
            match self.execute(parked, stop).await {
                Stopped::ByItself(ended, guest) => match self.settle(ended, guest).await {
                    true => Left::Recorded,
                    false => Left::Unrecorded,
                },
                Stopped::LeaseLost => Left::Unrecorded,
                Stopped::Waiting(waiting) => Left::Waiting(waiting),
                Stopped::NotOurs => Left::Recorded,
            }
        }
        .instrument(span)
        .await
    }

    async fn execute(&self, parked: Option<Box<Waiting>>, mut stop: oneshot::Receiver<Stop>) -> Stopped {
        let parked = parked.filter(|waiting| waiting.goes_on_under(self.claimed.lease));
        let started = tokio::select! {
            biased;
            why = &mut stop => return self.stopped(why, None).await,
            started = self.start(parked) => started,
        };
        match started {
            Ok(guest) => self.drive(guest, stop).await,
            Err(stopped) => stopped,
        }
    }

    /// The guest that is to run: the one that waited, or a new one.
    async fn start(&self, parked: Option<Box<Waiting>>) -> Result<Guest, Stopped> {
        match parked {
            Some(waiting) => self.wake(*waiting).await,
            None if self.claimed.has_lost_journal => Err(Stopped::unused(lost_journal())),
            None => self.begin().await.map_err(Stopped::unused),
        }
    }

    /// What is to be done because the worker said so.
    async fn stopped(&self, why: Result<Stop, oneshot::error::RecvError>, guest: Option<Guest>) -> Stopped {
        match why {
            Ok(Stop::ShuttingDown) => {
                Stopped::ByItself(Ended { outcome: Outcome::Interrupted, usage: Usage::default() }, guest.map(Box::new))
            }
            Ok(Stop::Canceled) => {
                if let Some(guest) = guest {
                    self.report(&guest.recorder).await;
                }
                Stopped::NotOurs
            }
            // The worker forgot this attempt: the run was claimed again under another lease.
            Err(_) => Stopped::NotOurs,
            Ok(Stop::LeaseLost) => Stopped::LeaseLost,
        }
    }

    /// Lets the guest run.
    async fn drive(&self, mut guest: Guest, mut stop: oneshot::Receiver<Stop>) -> Stopped {
        let mut report = tokio::time::interval_at(Instant::now() + REPORT_EVERY, REPORT_EVERY);
        report.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Report { outcome, usage, .. } = &mut guest.call => {
                    return Stopped::ByItself(Ended { outcome, usage }, Some(Box::new(guest)));
                }
                Some(ask) = guest.asks.recv() => match self.wait(guest, ask).await {
                    Ok(there) => guest = there,
                    Err(stopped) => return stopped,
                },
                why = &mut stop => return self.stopped(why, Some(guest)).await,
                _ = report.tick() => if !self.report(&guest.recorder).await {
                    return Stopped::NotOurs;
                },
            }
        }
    }

    /// Writes what the attempt has said since the last time. `false`: the run is not ours any more.
    async fn report(&self, recorder: &Recorder) -> bool {
        let said = recorder.take();
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

    /// Makes the guest: from its beginning, or from its journal.
    async fn begin(&self) -> Result<Guest, Outcome> {
        let run = &self.claimed.run;
        let plan = Plan::of(&self.shared, run, run.deployment, &self.claimed.payload).await;
        let plan = plan.map_err(Outcome::HostFault)?;
        let recorder = Recorder::new(run.metadata.as_deref(), run.attempt);
        let is_first = run.attempt == 1 && !self.claimed.resumes;
        if is_first && plan.definition.hooks.at_start() {
            hooks::call(&self.shared, &plan, HookCall::Start, &recorder).await?;
        }
        let lease = Arc::new(AtomicU64::new(self.claimed.lease.number));
        let world = RunWorld::new(self.shared.clone(), run, plan.deployment.id, recorder.clone());
        let (world, asks) = world.of_attempt(lease.clone());
        let (journal, activity) = (self.journal().await?, Activity::default());
        let call = plan.call(Entry::Task, &recorder, world, &self.shared.limits.attempts);
        let call = Call { journal: journal.clone(), activity: activity.clone(), ..call };
        let egress = call.egress.clone();
        let sandbox = self.shared.sandbox.clone();
        let call = Box::pin(async move { sandbox.call(call).await });
        let (definition, cpu_before) = (plan.definition, run.cpu);
        Ok(Guest { call, asks, activity, egress, journal, recorder, definition, cpu_before, lease })
    }

    /// The journal of the attempt: an empty one, or what was kept of it when it waited before.
    async fn journal(&self) -> Result<Journal, Outcome> {
        let max_bytes = self.shared.limits.max_journal_bytes;
        let run = &self.claimed.run;
        if !self.claimed.resumes {
            return Ok(if max_bytes == 0 { Journal::off() } else { Journal::recording(max_bytes) });
        }
        let sealed = self.shared.storage.journal(run.id, run.attempt).await;
        let sealed = sealed.map_err(|error| Outcome::HostFault(error.to_string()))?;
        let open = |segment: &Vec<u8>| self.shared.server_key.open_bytes(segment, &self.journal_name());
        let segments = sealed.iter().map(open).collect::<Result<Vec<_>, _>>();
        let segments = segments.map_err(|error| Outcome::HostFault(format!("the journal: {error}")))?;
        Ok(Journal::resuming(segments, max_bytes))
    }

    fn sealed(&self, segment: &[u8]) -> Vec<u8> {
        self.shared.server_key.seal_bytes(segment, &self.journal_name())
    }

    /// What its journal is sealed for.
    fn journal_name(&self) -> String {
        crate::secrets::journal_owner(self.claimed.run.id, self.claimed.run.attempt)
    }

    /// Decides and records; while storage fails, tries again for a while. `false`: it could not be
    /// recorded, and the run is to be attempted again.
    async fn settle(&self, ended: Ended, guest: Option<Box<Guest>>) -> bool {
        let now = self.shared.clock.now();
        match &ended.outcome {
            Outcome::HostFault(error) => tracing::error!(error, "host fault"),
            Outcome::HostFull(error) => {
                tracing::warn!(error, "memory is short");
                self.shared.memory_is_short.notify_one();
            }
            Outcome::Returned(_)
            | Outcome::Failed(_)
            | Outcome::Crashed(_)
            | Outcome::TimedOut(_)
            | Outcome::NonDeterministic(_)
            | Outcome::Interrupted => {}
        }
        let definition = match &guest {
            Some(guest) => Some(guest.definition.clone()),
            None => self.definition().await,
        };
        let facts = facts(&self.claimed, definition.as_deref());
        let said = guest.as_ref().map(|guest| guest.recorder.take()).unwrap_or_default();
        let keeps_journal = !self.shared.limits.journal_retention.is_zero()
            && guest.as_ref().is_none_or(|guest| guest.definition.keeps_journals);
        let unwritten = guest.as_ref().filter(|_| keeps_journal).and_then(|guest| guest.journal.unwritten());
        let end = AttemptEnd {
            lease: self.claimed.lease,
            settlement: settle(&facts, ended.outcome, now, crate::secrets::chance()),
            usage: ended.usage,
            cpu_before: guest.as_ref().map_or(self.claimed.run.cpu, |guest| guest.cpu_before),
            metadata: said.metadata,
            logs: said.logs,
            journal: unwritten.map(|unwritten| self.sealed(&unwritten.segment)),
            replayable: guest.as_ref().map(|guest| guest.journal.is_complete()),
            keeps_journal,
            at: now,
        };
        // Its memory is free while the disk is waited for.
        drop(guest);
        self.record(end, ended.usage).await
    }

    /// What its task says of retries, where there is no guest that knows.
    async fn definition(&self) -> Option<Arc<TaskDefinition>> {
        let run = &self.claimed.run;
        let deployment = run.deployment?;
        insist(|| self.shared.storage.task(deployment, &run.task)).await.ok().flatten()
    }

    async fn record(&self, end: AttemptEnd, usage: Usage) -> bool {
        let status = status_of(&end.settlement);
        match insist(|| self.shared.storage.settle(end.clone())).await {
            Ok(true) => {
                let (duration_ms, cpu_ms) = (usage.wall.as_millis(), usage.cpu.as_millis());
                tracing::debug!(status = status.as_str(), duration_ms, cpu_ms, "attempt finished");
            }
            Ok(false) => tracing::warn!("attempt lost its lease"),
            Err(_) => return false,
        }
        true
    }
}

/// Writes what became of an attempt: tries again for a while where storage fails, because all that it
/// did since its last wait depends on it.
async fn insist<T, F: Future<Output = Result<T, Error>>>(write: impl Fn() -> F) -> Result<T, Error> {
    let mut tries = 1;
    loop {
        match write().await {
            Err(error) if !matches!(error, Error::Closed) => {
                tracing::error!(%error, "what became of an attempt could not be recorded");
                if tries == SETTLE_TRIES {
                    return Err(error);
                }
            }
            written => return written,
        }
        tries += 1;
        tokio::time::sleep(SETTLE_RETRY).await;
    }
}

fn status_of(settlement: &Settlement) -> Status {
    match settlement {
        Settlement::Completed(_) => Status::Completed,
        Settlement::RetryAt { .. } | Settlement::Requeued { .. } => Status::Queued,
        Settlement::Ended { status, .. } => *status,
    }
}

fn facts(claimed: &Claimed, definition: Option<&TaskDefinition>) -> AttemptFacts {
    AttemptFacts {
        attempt: claimed.run.attempt,
        max_attempts: max_attempts(&claimed.run, definition),
        retry: definition.and_then(|task| task.retry.clone()).unwrap_or_default(),
        losses: claimed.losses,
    }
}
