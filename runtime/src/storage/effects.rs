//! What the rest of the process learns of a transaction, once it is committed and not before.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use jiff::Timestamp;
use tokio::sync::{Notify, broadcast, oneshot};

use super::changes::{Topic, Watchers};
use super::places::Gate;
use crate::model::id::{EnvironmentId, RunId};
use crate::model::run::{End, Status};
use crate::secrets;

/// Cancellations that a slow listener may lag behind before it must look for itself.
const CANCELLATIONS_KEPT: usize = 4_096;

/// What one transaction did, beside its rows.
#[derive(Debug, Default)]
pub(super) struct Effects {
    ended: Vec<(RunId, End)>,
    waiting: Vec<(EnvironmentId, i64)>,
    tokens: Vec<(EnvironmentId, i64)>,
    /// The earliest moment at which a run that was queued here may be claimed.
    pub(super) ready_at: Option<Timestamp>,
    /// The earliest moment that was set here at which upkeep has something to do.
    timer_at: Option<Timestamp>,
    /// Upkeep was done here, and knows of nothing before this moment.
    upkept_until: Option<Timestamp>,
    settings: bool,
    pending_left: Option<bool>,
    bulk_added: bool,
    backtest_added: bool,
    /// Whether any run may be held back by its queue, as far as was known before.
    may_hold: bool,
    /// Whether any is, as far as was seen here.
    holds: Option<bool>,
    /// Whether any run may wait for the end of another, as far as was known before.
    may_await_runs: bool,
    /// Whether any does, as far as was seen here.
    awaits_runs: Option<bool>,
    /// Whether any task has hooks, as far as is known.
    may_have_hooks: bool,
    /// Whether hooks became due here.
    hooks_due: bool,
    /// See [`Listeners::last_gate`].
    last_gate: Option<Option<Gate>>,
    changed: Vec<RunId>,
    /// Runs of which a stream has grown.
    streams: Vec<RunId>,
    /// Topics of those, where they were looked for.
    topics: Option<Vec<(RunId, Topic)>>,
}

impl Effects {
    /// A run has ended so.
    pub(super) fn run_ended(&mut self, run: RunId, end: End) {
        self.ended.push((run, end));
    }

    /// The runs that have ended here.
    pub(super) fn ended(&self) -> &[(RunId, End)] {
        &self.ended
    }

    /// So many more (or fewer) runs of the environment have not started yet.
    pub(super) fn waiting(&mut self, environment: EnvironmentId, change: i64) {
        self.waiting.push((environment, change));
    }

    /// So many more (or fewer) wait tokens of the environment wait.
    pub(super) fn tokens(&mut self, environment: EnvironmentId, change: i64) {
        self.tokens.push((environment, change));
    }

    /// A queued run may be claimed from `at` on.
    pub(super) fn ready(&mut self, at: Timestamp) {
        self.ready_at = earliest(self.ready_at, Some(at));
    }

    /// Upkeep will have something to do at `at`.
    pub(super) fn timer_set(&mut self, at: Timestamp) {
        self.timer_at = earliest(self.timer_at, Some(at));
    }

    /// Upkeep was done; it has nothing to do before `next`, as far as is known.
    pub(super) fn upkept(&mut self, next: Option<Timestamp>) {
        self.upkept_until = Some(next.unwrap_or(Timestamp::MAX));
    }

    /// Whether runs may still wait for a version that is there.
    pub(super) fn pending_left(&mut self, left: bool) {
        self.pending_left = Some(left);
        if left {
            self.timer_set(Timestamp::MIN);
        }
    }

    /// There is a backtest to be done.
    pub(super) fn backtest_added(&mut self) {
        self.backtest_added = true;
    }

    /// There is a bulk action to be done.
    pub(super) fn bulk_added(&mut self) {
        self.bulk_added = true;
    }

    /// Begins with what is known of earlier transactions.
    pub(super) fn begin(&mut self, listeners: &Listeners) {
        self.may_hold = listeners.may_hold.load(Ordering::Acquire);
        self.may_await_runs = listeners.may_await_runs.load(Ordering::Acquire);
        self.may_have_hooks = listeners.may_have_hooks.load(Ordering::Acquire);
    }

    /// Whether a task may have hooks.
    pub(super) fn may_have_hooks(&self) -> bool {
        self.may_have_hooks
    }

    /// A task has hooks.
    pub(super) fn hooks_exist(&mut self) {
        self.may_have_hooks = true;
    }

    /// The hooks of a run's end are to be called.
    pub(super) fn hooks_due(&mut self) {
        self.hooks_due = true;
    }

    /// Whether a run may wait for the end of another.
    pub(super) fn may_await_runs(&self) -> bool {
        self.may_await_runs
    }

    /// Whether runs wait for the ends of others.
    pub(super) fn awaits_runs(&mut self, awaits: bool) {
        self.may_await_runs = awaits;
        self.awaits_runs = Some(awaits);
    }

    /// Whether a run may be held back by its queue.
    pub(super) fn may_hold(&self) -> bool {
        self.may_hold
    }

    /// A pass of upkeep has stopped at this gate of held runs; `None`: it has seen all.
    pub(super) fn set_last_gate(&mut self, gate: Option<Gate>) {
        self.last_gate = Some(gate);
    }

    /// A run is held back by its queue.
    pub(super) fn held(&mut self) {
        self.may_hold = true;
        self.holds = Some(true);
    }

    /// No run is held back.
    pub(super) fn none_held(&mut self) {
        self.may_hold = false;
        self.holds = Some(false);
    }

    /// Runs may be held back although their queue has places.
    pub(super) fn held_left(&mut self) {
        self.timer_set(Timestamp::MIN);
    }

    /// Something about a run changed that its watchers want to know.
    pub(super) fn run_changed(&mut self, run: RunId) {
        self.changed.push(run);
    }

    /// A stream of a run has grown.
    pub(super) fn stream_changed(&mut self, run: RunId) {
        self.streams.push(run);
    }

    /// The runs that changed.
    pub(super) fn changed_runs(&self) -> &[RunId] {
        &self.changed
    }

    /// The topics of the runs that changed, where they were looked for.
    pub(super) fn set_topics(&mut self, topics: Option<Vec<(RunId, Topic)>>) {
        self.topics = topics;
    }

    /// An environment's keys, rules, variables or current deployments changed.
    pub(super) fn settings_changed(&mut self) {
        self.settings = true;
    }
}

/// Resolves with how a run ends, or with `None` where storage is gone before. As long as this lives
/// the run is listened for: drop it as soon as nobody waits any more.
#[derive(Debug)]
pub struct RunEnd {
    run: RunId,
    end: oneshot::Receiver<End>,
    listeners: Arc<Listeners>,
}

impl Future for RunEnd {
    type Output = Option<End>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.end).poll(context).map(Result::ok)
    }
}

impl Drop for RunEnd {
    fn drop(&mut self) {
        self.end.close();
        self.listeners.forget_end_of(self.run);
    }
}

/// The listeners of this process.
#[derive(Debug)]
pub(super) struct Listeners {
    ends: Mutex<HashMap<RunId, Vec<oneshot::Sender<End>>>>,
    waiting: Mutex<HashMap<EnvironmentId, i64>>,
    tokens: Mutex<HashMap<EnvironmentId, i64>>,
    cancellations: broadcast::Sender<RunId>,
    settings: AtomicU64,
    /// Whether runs may wait for a version that is there; true at the start, when nobody knows.
    pending_left: AtomicBool,
    /// Milliseconds since 1970 until which upkeep has nothing to do.
    upkept_until_ms: AtomicI64,
    pub(super) timers: Notify,
    pub(super) bulk: Notify,
    /// A backtest was stored.
    pub(super) backtest: Notify,
    /// Whether a run may be held back by its queue: where not, nobody waits for a free place.
    may_hold: AtomicBool,
    /// Whether a run may wait for the end of another: where not, no end wakes anybody.
    may_await_runs: AtomicBool,
    /// Whether a task may have hooks: where not, no end of a run calls any.
    may_have_hooks: AtomicBool,
    pub(super) hooks: Notify,
    last_gate: Mutex<Option<Gate>>,
    pub(super) watchers: Arc<Watchers>,
}

fn count(
    committed: &Mutex<HashMap<EnvironmentId, i64>>,
    changes: &[(EnvironmentId, i64)],
    environment: EnvironmentId,
) -> u64 {
    let committed = committed.lock().unwrap_or_else(PoisonError::into_inner).get(&environment).copied().unwrap_or(0);
    let change: i64 = changes.iter().filter(|(of, _)| *of == environment).map(|(_, change)| change).sum();
    (committed + change).max(0).unsigned_abs()
}

/// The earlier of two moments, where there are any.
pub(super) fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl Listeners {
    /// `waiting` is the number of runs that have not started, by environment.
    pub(super) fn new(waiting: HashMap<EnvironmentId, i64>) -> Self {
        Self {
            ends: Mutex::default(),
            waiting: Mutex::new(waiting),
            tokens: Mutex::default(),
            cancellations: broadcast::Sender::new(CANCELLATIONS_KEPT),
            settings: AtomicU64::new(0),
            pending_left: AtomicBool::new(true),
            upkept_until_ms: AtomicI64::new(i64::MIN),
            timers: Notify::new(),
            bulk: Notify::new(),
            backtest: Notify::new(),
            may_hold: AtomicBool::new(true),
            may_await_runs: AtomicBool::new(true),
            may_have_hooks: AtomicBool::new(false),
            hooks: Notify::new(),
            last_gate: Mutex::default(),
            watchers: Arc::new(Watchers::new(u64::from_le_bytes(secrets::random()))),
        }
    }

    /// Answers with how `run` ends after this call.
    pub(super) fn end_of(self: &Arc<Self>, run: RunId) -> RunEnd {
        let (sender, end) = oneshot::channel();
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.entry(run).or_default().push(sender);
        RunEnd { run, end, listeners: self.clone() }
    }

    /// Forgets those who wait for the end of `run` and went away.
    fn forget_end_of(&self, run: RunId) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = ends.get_mut(&run) {
            waiting.retain(|sender| !sender.is_closed());
            if waiting.is_empty() {
                ends.remove(&run);
            }
        }
    }

    /// A number that grows whenever the settings of an environment change.
    pub(super) fn settings(&self) -> u64 {
        self.settings.load(Ordering::Acquire)
    }

    /// Whether runs may wait for a version that is there.
    pub(super) fn has_pending_left(&self) -> bool {
        self.pending_left.load(Ordering::Acquire)
    }

    /// The gate of held runs at which the last pass of upkeep stopped; `None`: the next one begins with
    /// the first.
    pub(super) fn last_gate(&self) -> Option<Gate> {
        self.last_gate.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every run that is canceled from now on.
    pub(super) fn cancellations(&self) -> broadcast::Receiver<RunId> {
        self.cancellations.subscribe()
    }

    /// Runs of `environment` that have not started yet, those included that a transaction with these
    /// effects has made.
    pub(super) fn waiting(&self, environment: EnvironmentId, effects: &Effects) -> u64 {
        count(&self.waiting, &effects.waiting, environment)
    }

    /// Wait tokens of `environment` that wait, those included that a transaction with these effects
    /// has made.
    pub(super) fn waiting_tokens(&self, environment: EnvironmentId, effects: &Effects) -> u64 {
        count(&self.tokens, &effects.tokens, environment)
    }

    /// So many more wait tokens wait, by environment.
    pub(super) fn count_tokens(&self, changes: impl IntoIterator<Item = (EnvironmentId, i64)>) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        for (environment, change) in changes {
            *tokens.entry(environment).or_default() += change;
        }
    }

    /// Whether a task may have hooks.
    pub(super) fn set_may_have_hooks(&self, may: bool) {
        self.may_have_hooks.store(may, Ordering::Release);
    }

    /// Tells everyone.
    pub(super) fn committed(&self, effects: Effects) {
        if !effects.tokens.is_empty() {
            self.count_tokens(effects.tokens);
        }
        if !effects.waiting.is_empty() {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            for (environment, change) in effects.waiting {
                *waiting.entry(environment).or_default() += change;
            }
        }
        self.watchers.changed(&effects.changed, effects.topics.as_deref());
        if let Some(gate) = effects.last_gate {
            *self.last_gate.lock().unwrap_or_else(PoisonError::into_inner) = gate;
        }
        if let Some(holds) = effects.holds {
            self.may_hold.store(holds, Ordering::Release);
        }
        if let Some(awaits) = effects.awaits_runs {
            self.may_await_runs.store(awaits, Ordering::Release);
        }
        if effects.may_have_hooks {
            self.set_may_have_hooks(true);
        }
        if effects.hooks_due {
            self.hooks.notify_one();
        }
        if effects.backtest_added {
            self.backtest.notify_one();
        }
        if effects.bulk_added {
            self.bulk.notify_one();
        }
        self.watchers.streams_changed(&effects.streams);
        if effects.settings {
            self.settings.fetch_add(1, Ordering::Release);
        }
        if let Some(left) = effects.pending_left {
            self.pending_left.store(left, Ordering::Release);
        }
        for (run, end) in effects.ended {
            if end.status == Status::Canceled {
                let _ = self.cancellations.send(run);
            }
            let waiting = self.ends.lock().unwrap_or_else(PoisonError::into_inner).remove(&run);
            for sender in waiting.into_iter().flatten() {
                let _ = sender.send(end.clone());
            }
        }
        if let Some(until) = effects.upkept_until {
            self.upkept_until_ms.store(until.as_millisecond(), Ordering::Release);
        }
        let wake_at = effects.timer_at.map(Timestamp::as_millisecond);
        if let Some(at) = wake_at.filter(|at| *at < self.upkept_until_ms.load(Ordering::Acquire)) {
            self.upkept_until_ms.store(at, Ordering::Release);
            self.timers.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_run_is_listened_for_only_while_someone_waits_for_its_end() {
        let listeners = Arc::new(Listeners::new(HashMap::new()));
        let run = RunId::from_bits(7);
        let listened_for = || listeners.ends.lock().unwrap().get(&run).map_or(0, Vec::len);
        let (first, mut second) = (listeners.end_of(run), listeners.end_of(run));
        assert_eq!(listened_for(), 2);
        drop(first);
        assert_eq!(listened_for(), 1, "the other still waits");

        let end = End { status: Status::Completed, output: None, error: None, cpu: Duration::ZERO };
        let mut effects = Effects::default();
        effects.run_ended(run, end.clone());
        listeners.committed(effects);

        let mut context = Context::from_waker(std::task::Waker::noop());
        assert_eq!(Pin::new(&mut second).poll(&mut context), Poll::Ready(Some(end)));
        drop(second);
        drop(listeners.end_of(run));
        assert!(listeners.ends.lock().unwrap().is_empty());
    }
}
