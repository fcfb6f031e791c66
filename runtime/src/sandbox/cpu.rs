//! CPU time: how it is measured, limited and shared.
//!
//! **Measured** is the CPU time of the thread while it polls a call: the guest and what the host
//! does for it there. **Limited**: once a millisecond every running guest comes to
//! [`Meter::tick`], which ends it if its limit has passed. So a limit is kept within 1-2 ms. There,
//! too, it rests where it was faster than its machine (`quota`).
//!
//! **Shared**: at each tick a guest yields to whatever else is ready on its thread. A guest that
//! has used more than 10 ms is *heavy*: to go on it needs one of as many turns as there are cores,
//! holds it for 5 ms of CPU, and goes to the end of the line. A turn is given back while the guest
//! waits for something. However many busy loops there are, then, at most one per core competes
//! with fresh calls: before each millisecond of a fresh call they get three ticks of its core at
//! most, which the test below counts: tokio may let the one with the turn go twice, and the next one
//! may take the turn over in between. So a call that needs less than 1 ms of CPU waits for them 3 ms, and
//! one that needs n ms, n up to 10, 3n ms. Fresh calls among themselves wait as in any queue, at
//! most 10 ms for each that turns out to be heavy.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{Engine, EngineWeak, UpdateDeadline};

use super::quota::Quota;

/// How often guests come to the host.
const TICK: Duration = Duration::from_millis(1);
/// How long ticks go on after the last call: starting them anew costs a system call.
const LINGER_TICKS: u32 = 100;
/// From here on a guest is heavy.
const HEAVY: Duration = Duration::from_millis(10);
/// How much CPU time a heavy guest may use in one turn.
const TURN: Duration = Duration::from_millis(5);

/// Advances the engine's epoch while calls are running. Its thread ends with it.
#[derive(Clone)]
pub(super) struct Ticker(Arc<Ticking>);

struct Ticking {
    shared: Arc<TickerState>,
    thread: Thread,
}

#[derive(Default)]
struct TickerState {
    running: AtomicUsize,
    parked: AtomicBool,
    stopped: AtomicBool,
}

impl Ticker {
    pub(super) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(TickerState::default());
        let (state, engine) = (Arc::clone(&shared), engine.weak());
        let thread = std::thread::Builder::new().name("epochs".into()).spawn(move || tick(&state, &engine))?;
        Ok(Self(Arc::new(Ticking { shared, thread: thread.thread().clone() })))
    }

    /// Ticks until the answer is dropped.
    pub(super) fn running(&self) -> Running {
        let Ticking { shared, thread } = &*self.0;
        shared.running.fetch_add(1, Ordering::SeqCst);
        if shared.parked.swap(false, Ordering::SeqCst) {
            thread.unpark();
        }
        Running(Arc::clone(shared))
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// Proof that the epoch advances.
pub(super) struct Running(Arc<TickerState>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

fn tick(state: &TickerState, engine: &EngineWeak) {
    let mut idle_ticks = 0;
    while !state.stopped.load(Ordering::SeqCst) {
        std::thread::sleep(TICK);
        let Some(engine) = engine.upgrade() else {
            return;
        };
        engine.increment_epoch();
        idle_ticks = if state.running.load(Ordering::SeqCst) == 0 { idle_ticks + 1 } else { 0 };
        if idle_ticks < LINGER_TICKS {
            continue;
        }
        idle_ticks = 0;
        state.parked.store(true, Ordering::SeqCst);
        // A call that began in between either sees `parked`, or is seen here.
        if state.running.load(Ordering::SeqCst) > 0 {
            state.parked.store(false, Ordering::SeqCst);
        }
        while state.parked.load(Ordering::SeqCst) && !state.stopped.load(Ordering::SeqCst) {
            std::thread::park();
        }
    }
}

/// The turns of heavy guests: as many as there are cores.
pub(super) fn turns() -> Arc<Semaphore> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new(cores))
}

/// The guest has used up its CPU time.
#[derive(Debug, thiserror::Error)]
#[error("CPU time is used up")]
pub(super) struct CpuTimeUsedUp;

/// The CPU time of one call.
pub(super) struct Meter {
    limit_ns: u64,
    used_ns: AtomicU64,
    /// The thread's CPU clock when the current poll began.
    poll_began_ns: AtomicU64,
    turns: Arc<Semaphore>,
    turn: Mutex<Turn>,
}

struct Turn {
    quota: Quota,
    permit: Option<OwnedSemaphorePermit>,
    ends_at_used_ns: u64,
    /// The guest is ready to go on, and only lets others go first.
    yielding: bool,
}

impl Meter {
    pub(super) fn new(limit: Duration, millicores: u32, turns: Arc<Semaphore>) -> Self {
        let turn = Turn { quota: Quota::new(millicores), permit: None, ends_at_used_ns: 0, yielding: false };
        Self {
            limit_ns: nanos(limit),
            used_ns: AtomicU64::new(0),
            poll_began_ns: AtomicU64::new(0),
            turns,
            turn: Mutex::new(turn),
        }
    }

    /// CPU time so far, up to the last poll.
    pub(super) fn used(&self) -> Duration {
        Duration::from_nanos(self.used_ns.load(Ordering::Relaxed))
    }

    /// Runs a call, and measures it.
    pub(super) async fn measure<F: Future>(&self, call: F) -> F::Output {
        let mut call = pin!(call);
        poll_fn(|context| {
            let began = thread_cpu_ns();
            self.poll_began_ns.store(began, Ordering::Relaxed);
            let polled = call.as_mut().poll(context);
            self.used_ns.fetch_add(thread_cpu_ns().saturating_sub(began), Ordering::Relaxed);
            if polled.is_pending() {
                let mut turn = self.turn();
                if !turn.yielding {
                    turn.permit = None;
                }
            }
            polled
        })
        .await
    }

    /// What a guest does at a tick.
    pub(super) fn tick(self: &Arc<Self>) -> Result<UpdateDeadline, CpuTimeUsedUp> {
        let in_poll = thread_cpu_ns().saturating_sub(self.poll_began_ns.load(Ordering::Relaxed));
        self.tick_at(self.used_ns.load(Ordering::Relaxed) + in_poll)
    }

    /// The rule by which CPU time is shared: what a guest does that has used `used` nanoseconds.
    fn tick_at(self: &Arc<Self>, used: u64) -> Result<UpdateDeadline, CpuTimeUsedUp> {
        if used >= self.limit_ns {
            return Err(CpuTimeUsedUp);
        }
        let mut turn = self.turn();
        if let Some(rest) = turn.quota.rest(used, Instant::now()) {
            turn.permit = None;
            let meter = Arc::clone(self);
            return Ok(UpdateDeadline::YieldCustom(1, Box::pin(async move { meter.rest(rest, used).await })));
        }
        if used < nanos(HEAVY) {
            return Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())));
        }
        turn.yielding = true;
        let goes_on = turn.permit.is_some() && used < turn.ends_at_used_ns;
        if !goes_on {
            turn.permit = None;
        }
        let meter = Arc::clone(self);
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(async move { meter.next_turn(goes_on, used).await })))
    }

    async fn rest(&self, rest: Duration, used: u64) {
        tokio::time::sleep(rest).await;
        self.next_turn(false, used).await;
    }

    async fn next_turn(&self, goes_on: bool, used: u64) {
        if goes_on {
            tokio::task::yield_now().await;
        } else {
            // Others that are ready go first even where no heavy guest is in line.
            tokio::task::yield_now().await;
            let permit = Arc::clone(&self.turns).acquire_owned().await.ok();
            let mut turn = self.turn();
            turn.permit = permit;
            turn.ends_at_used_ns = used + nanos(TURN);
        }
        self.turn().yielding = false;
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn thread_cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::quota::WHOLE_CORE;
    use super::*;

    /// Ticks that busy loops are granted, on one core, before a fresh call gets its next one.
    const MAX_TICKS_AHEAD: u64 = 3;

    /// The milliseconds of CPU that busy loops were granted, on one core.
    type Granted = Arc<AtomicU64>;

    /// A guest that needs `work_ms` of CPU and comes to the host once in each of them. `granted` is
    /// told of each. What it would measure is counted instead, so that the order alone decides.
    async fn guest(meter: Arc<Meter>, work_ms: u64, mut granted: impl FnMut()) {
        let ticks = Arc::clone(&meter);
        let work = async move {
            for used_ms in 1..=work_ms {
                granted();
                match ticks.tick_at(used_ms * nanos(TICK)) {
                    Ok(UpdateDeadline::YieldCustom(_, others)) => others.await,
                    _ => panic!("a guest yields at every tick"),
                }
            }
        };
        meter.measure(work).await;
    }

    /// One core with `count` busy loops that are all heavy, and what they have been granted.
    async fn busy_core(count: u64) -> (Arc<Semaphore>, Granted) {
        let (turns, granted) = (Arc::new(Semaphore::new(1)), Granted::default());
        for _ in 0..count {
            let (meter, granted) =
                (Arc::new(Meter::new(Duration::MAX, WHOLE_CORE, Arc::clone(&turns))), Arc::clone(&granted));
            tokio::spawn(guest(meter, u64::MAX, move || {
                granted.fetch_add(1, Ordering::Relaxed);
            }));
        }
        while granted.load(Ordering::Relaxed) < 20 * count {
            tokio::task::yield_now().await;
        }
        (turns, granted)
    }

    /// The most that busy loops were granted before any one millisecond of a call that needs
    /// `work_ms`, whenever it comes.
    async fn worst_wait(loops: u64, work_ms: u64) -> u64 {
        let (turns, granted) = busy_core(loops).await;
        let worst = Arc::new(AtomicU64::new(0));
        for _ in 0..200 {
            let meter = Arc::new(Meter::new(Duration::MAX, WHOLE_CORE, Arc::clone(&turns)));
            let (seen, worst, mut before) = (Arc::clone(&granted), Arc::clone(&worst), granted.load(Ordering::Relaxed));
            let fresh = guest(meter, work_ms, move || {
                let now = seen.load(Ordering::Relaxed);
                worst.fetch_max(now - before, Ordering::Relaxed);
                before = now;
            });
            tokio::spawn(fresh).await.expect("the call ends");
        }
        worst.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn a_fresh_call_waits_for_three_ticks_of_busy_loops_at_most_however_many_there_are() {
        for loops in [1, 2, 10, 500] {
            let worst = worst_wait(loops, 9).await;
            assert!(worst <= MAX_TICKS_AHEAD, "{worst} ticks of {loops} loops");
        }
    }
}
