//! Makes runs happen: claims them, runs their attempts, and does what time demands.
//!
//! [`Worker::run`] is one loop that owns every attempt of this process. It has at most
//! `max_concurrent_runs` of them; while there is room, one claim waits in storage.
//!
//! # Lease
//!
//! The process proves that it lives by a row that it renews every [`RENEW_EVERY`] for
//! [`LEASE`]. When it could not renew for [`TRUST`], counted from before the last renewal that
//! succeeded, it stops its attempts: another process may have taken them over. An attempt that
//! ended without a record (it was stopped so, it panicked, storage failed too long) gives up its
//! lease: at once, else with the next renewal that succeeds.
//!
//! # Waiting
//!
//! A guest that waits leaves the loop: its run is recorded as waiting and holds no place any more.
//! The guest stays in memory within the bounds of [`ParkLimits`], as a future that nobody polls. When
//! the run is claimed again, the guest goes on; where it was dropped, or the server was started anew,
//! another one is made and answered from the journal up to where it waited.
//!
//! A claim can find its run's guest on its way here still: then the journal serves, too, and the
//! guest that comes late is dropped.
//!
//! # Shutdown
//!
//! On the first signal the loop stops claiming and waits for its attempts, `grace` at most; the
//! rest is interrupted: queued again, the attempt not counted.
//!
//! # What can be observed
//!
//! | span or event | fields | when |
//! |---|---|---|
//! | span `attempt` (debug) | `run.id`, `task.id`, `attempt` | around every attempt |
//! | `attempt finished` (debug) | `status`, `duration_ms`, `cpu_ms` | at its end |
//! | `attempt lost its lease` (warn) | | its result was dropped, because the run was canceled or taken over |
//! | `host fault` (error) | `error` | the server failed the run |

mod attempt;
pub mod backtests;
pub mod bulk;
mod calls;
pub mod hooks;
mod metadata;
mod parked;
mod request;
mod services;
pub mod upkeep;
mod wait;
mod world;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast, oneshot, watch};
use tokio::task::{self, JoinSet};
use tokio::time::Instant;

use self::attempt::{Attempt, Left, Stop, Waiting};
use self::hooks::Hooks;
pub use self::parked::ParkLimits;
use self::parked::Parked;
use self::upkeep::Upkeep;
use crate::clock::Clock;
use crate::context::{AttemptLimits, SettingsCache};
use crate::model::id::{RunId, WorkerId};
use crate::model::run::later;
use crate::runs::Runs;
use crate::sandbox::Sandbox;
use crate::schedules::Schedules;
use crate::secrets::ServerKey;
use crate::storage::{ClaimRequest, Claimed, Error, Lease, PendingClaim, Storage};
use crate::waitpoints::Waitpoints;

/// How long a renewal holds.
pub const LEASE: Duration = Duration::from_secs(30);
/// How often it is renewed.
pub const RENEW_EVERY: Duration = Duration::from_secs(10);
/// How long this process trusts its last renewal: less than [`LEASE`].
pub const TRUST: Duration = Duration::from_secs(25);
/// Pause after storage failed a claim.
const CLAIM_RETRY: Duration = Duration::from_millis(500);
/// Cancellations of runs that this loop does not know (yet) which it remembers.
const MAX_EARLY_CANCELLATIONS: usize = 1_024;

/// What a worker may do.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Attempts at a time.
    pub max_concurrent_runs: usize,
    /// What an attempt may use.
    pub attempts: AttemptLimits,
    /// Bytes of the journal of an attempt; 0: nothing is recorded.
    pub max_journal_bytes: usize,
    /// How long journals are kept after the end of their runs; 0: not at all.
    pub journal_retention: Duration,
    /// How long a backtest is kept after its end.
    pub backtest_retention: Duration,
    /// What of waiting runs stays in memory.
    pub parked: ParkLimits,
    /// How long a shutdown waits for attempts.
    pub grace: Duration,
}

/// What a worker works with.
pub struct Means {
    /// Where runs come from.
    pub storage: Storage,
    /// Where they run.
    pub sandbox: Arc<dyn Sandbox>,
    /// Opens variables, and seals journals.
    pub server_key: Arc<ServerKey>,
    /// What tasks trigger.
    pub runs: Runs,
    /// Tokens that tasks make.
    pub waitpoints: Arc<Waitpoints>,
    /// The time.
    pub clock: Clock,
    /// Where others reach this server, for example `http://127.0.0.1:3040`.
    pub public_url: String,
}

/// The part of the server that runs attempts.
pub struct Worker {
    id: WorkerId,
    storage: Storage,
    clock: Clock,
    limits: Limits,
    shared: Arc<attempt::Shared>,
    /// The attempts; each answers how it left.
    running: JoinSet<Left>,
    /// What each attempt holds.
    leases: HashMap<task::Id, Lease>,
    /// Guests of runs that wait.
    parked: Parked<Box<Waiting>>,
    /// Leases whose attempts ended without a record. They are given up as soon as storage can.
    unrecorded: Vec<Lease>,
    /// How to stop the attempts, with the number of the lease that each holds: a run can be claimed
    /// again before its last attempt is gone from here.
    stops: HashMap<RunId, (u64, oneshot::Sender<Stop>)>,
    early_cancellations: VecDeque<RunId>,
}

impl Worker {
    /// A worker that has not begun.
    pub fn new(means: Means, limits: Limits) -> Self {
        let Means { storage, sandbox, server_key, runs, waitpoints, clock, public_url } = means;
        let settings = SettingsCache::new(storage.clone(), server_key.clone());
        let shared = attempt::Shared {
            storage: storage.clone(),
            sandbox,
            settings,
            server_key,
            runs,
            waitpoints,
            clock: clock.clone(),
            limits,
            public_url,
            memory_is_short: Notify::new(),
        };
        Self {
            id: crate::secrets::worker_id(clock.now()),
            shared: Arc::new(shared),
            storage,
            clock,
            limits,
            running: JoinSet::new(),
            leases: HashMap::new(),
            parked: Parked::new(limits.parked),
            unrecorded: Vec::new(),
            stops: HashMap::new(),
            early_cancellations: VecDeque::new(),
        }
    }

    /// What calls the hooks of runs, beside this loop.
    pub fn hooks(&self) -> Hooks {
        Hooks::new(self.shared.clone())
    }

    /// What does what time demands, beside this loop.
    pub fn upkeep(&self, schedules: Schedules) -> Upkeep {
        let (storage, clock) = (self.storage.clone(), self.clock.clone());
        let Limits { journal_retention, backtest_retention, .. } = self.limits;
        Upkeep { storage, schedules, clock, worker: self.id, journal_retention, backtest_retention }
    }

    /// Works until `shutdown` becomes true, then lets its attempts end as the module says.
    pub async fn run(mut self, mut shutdown: watch::Receiver<bool>) {
        // Subscribe before the first claim: no cancellation of a claimed run can be missed.
        let mut cancellations = self.storage.cancellations();
        let mut renew = tokio::time::interval(RENEW_EVERY);
        let mut trusted_until = Instant::now() + TRUST;
        let mut claim = None;
        let mut claim_after = Instant::now();
        loop {
            let free = self.limits.max_concurrent_runs.saturating_sub(self.running.len());
            let may_claim = claim.is_none() && free > 0;
            if may_claim && Instant::now() >= claim_after {
                claim = self.claim(free, &mut claim_after);
            }
            tokio::select! {
                biased;
                () = stopped(&mut shutdown) => break,
                cancellation = cancellations.recv() => self.cancel(cancellation),
                _ = renew.tick() => self.renew(&mut trusted_until).await,
                Some(ended) = self.running.join_next_with_id() => self.forget(ended).await,
                claimed = async { claim.as_mut().expect("checked by the guard").await }, if claim.is_some() => {
                    claim = None;
                    match claimed {
                        Ok(claimed) => self.start_all(claimed),
                        Err(error) => claim_failed(&error, &mut claim_after),
                    }
                }
                () = tokio::time::sleep_until(claim_after), if may_claim && claim.is_none() => {}
                () = self.shared.memory_is_short.notified() => self.parked.drop_replaceable(),
                () = until(self.parked.next_drop()) => self.parked.drop_old(Instant::now()),
            }
        }
        self.give_back(claim).await;
        self.shut_down(cancellations).await;
    }

    fn claim(&self, max_runs: usize, claim_after: &mut Instant) -> Option<PendingClaim> {
        match self.storage.claim(ClaimRequest { worker: self.id, max_runs }) {
            Ok(claim) => Some(claim),
            Err(error) => {
                claim_failed(&error, claim_after);
                None
            }
        }
    }

    /// What was claimed while the shutdown began goes back to the queue.
    async fn give_back(&mut self, claim: Option<PendingClaim>) {
        let claimed = claim.map(PendingClaim::give_up).unwrap_or_default();
        if claimed.is_empty() {
            return;
        }
        if let Err(error) = self.storage.give_back(claimed, self.clock.now()).await {
            tracing::error!(%error, "claimed runs could not go back to the queue; the next start finds them");
        }
    }

    fn start_all(&mut self, claimed: Vec<Claimed>) {
        for claimed in claimed {
            let lease = claimed.lease;
            if self.early_cancellations.contains(&lease.run) {
                continue;
            }
            let (stop, stopped) = oneshot::channel();
            self.stops.insert(lease.run, (lease.number, stop));
            let parked = self.parked.take(lease.run);
            let attempt = Attempt::new(self.shared.clone(), claimed);
            let task = self.running.spawn(attempt.run(parked, stopped));
            self.leases.insert(task.id(), lease);
        }
    }

    fn cancel(&mut self, cancellation: Result<RunId, broadcast::error::RecvError>) {
        match cancellation {
            Ok(run) => {
                let was_parked = self.parked.take(run).is_some();
                if let Some((_, stop)) = self.stops.remove(&run) {
                    let _ = stop.send(Stop::Canceled);
                } else if !was_parked {
                    self.early_cancellations.push_back(run);
                    if self.early_cancellations.len() > MAX_EARLY_CANCELLATIONS {
                        self.early_cancellations.pop_front();
                    }
                }
            }
            // Attempts whose cancellation was missed find out when they report or settle.
            Err(broadcast::error::RecvError::Lagged(missed)) => tracing::warn!(missed, "cancellations were missed"),
            Err(broadcast::error::RecvError::Closed) => {}
        }
    }

    async fn renew(&mut self, trusted_until: &mut Instant) {
        let before = Instant::now();
        let now = self.clock.now();
        match self.storage.renew(self.id, now, later(now, LEASE)).await {
            Ok(()) => {
                *trusted_until = before + TRUST;
                self.give_up_unrecorded().await;
            }
            Err(error) => tracing::error!(%error, "the lease could not be renewed"),
        }
        if Instant::now() >= *trusted_until {
            tracing::error!("the lease cannot be trusted any more; all attempts are stopped");
            self.stop_all(Stop::LeaseLost);
        }
    }

    async fn forget(&mut self, ended: Result<(task::Id, Left), task::JoinError>) {
        let (id, left) = ended.unwrap_or_else(|error| {
            tracing::error!(%error, "an attempt panicked");
            (error.id(), Left::Unrecorded)
        });
        let Some(lease) = self.leases.remove(&id) else { return };
        // It is missing where the run was canceled, or claimed again.
        let is_ours = self.stops.get(&lease.run).is_some_and(|(number, _)| *number == lease.number);
        if is_ours {
            self.stops.remove(&lease.run);
        }
        match left {
            Left::Recorded => {}
            Left::Unrecorded => {
                self.unrecorded.push(lease);
                self.give_up_unrecorded().await;
            }
            Left::Waiting(waiting) if is_ours => {
                let (memory_bytes, is_replaceable) = (waiting.memory_bytes(), waiting.is_replaceable());
                let guest = parked::Guest { instance: waiting, memory_bytes, is_replaceable };
                self.parked.park(lease.run, guest, Instant::now());
            }
            Left::Waiting(_) => {}
        }
    }

    /// Puts the runs of attempts that left no record back into the queue.
    async fn give_up_unrecorded(&mut self) {
        if self.unrecorded.is_empty() {
            return;
        }
        match self.storage.lose(self.unrecorded.clone(), self.clock.now()).await {
            Ok(()) => self.unrecorded.clear(),
            Err(error) => tracing::error!(%error, "runs of failed attempts are not back in the queue yet"),
        }
    }

    fn stop_all(&mut self, stop: Stop) {
        for (_, (_, sender)) in self.stops.drain() {
            let _ = sender.send(stop);
        }
    }

    async fn shut_down(mut self, mut cancellations: broadcast::Receiver<RunId>) {
        let grace = tokio::time::sleep(self.limits.grace);
        tokio::pin!(grace);
        let mut renew = tokio::time::interval(RENEW_EVERY);
        let mut trusted_until = Instant::now() + TRUST;
        while !self.running.is_empty() {
            tokio::select! {
                Some(ended) = self.running.join_next_with_id() => self.forget(ended).await,
                cancellation = cancellations.recv() => self.cancel(cancellation),
                _ = renew.tick() => self.renew(&mut trusted_until).await,
                () = &mut grace => break,
            }
        }
        self.stop_all(Stop::ShuttingDown);
        while let Some(ended) = self.running.join_next_with_id().await {
            self.forget(ended).await;
        }
        if let Err(error) = self.storage.retire(self.id).await {
            tracing::error!(%error, "the worker could not sign off");
        }
    }
}

/// Resolves when `shutdown` becomes true, or when nobody is left who could say so.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// Resolves at `moment`; never, where there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn claim_failed(error: &Error, claim_after: &mut Instant) {
    tracing::error!(%error, "runs could not be claimed");
    *claim_after = Instant::now() + CLAIM_RETRY;
}
