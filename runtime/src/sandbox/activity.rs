//! What a call does at the moment, for whoever made it: whether its time runs, and what it has used.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::cpu::{Meter, Running, Ticker};
use super::memory::Gauge;
use crate::model::attempt::Usage;

/// The time and the means of one call. Clones share them.
///
/// Between [`Self::pause`] and [`Self::resume`] the call waits for something outside: no time counts,
/// and nothing ticks for it. It must not be polled then.
#[derive(Clone, Default)]
pub struct Activity(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    resumed: Notify,
}

#[derive(Default)]
struct State {
    /// What the call runs on, once it has begun.
    means: Option<Means>,
    /// Since when time counts; `None`: it does not.
    since: Option<Instant>,
    /// Time that has counted before.
    before: Duration,
    /// Makes the guest yield while its time counts.
    ticking: Option<Running>,
}

struct Means {
    meter: Arc<Meter>,
    memory: Gauge,
    ticker: Ticker,
}

impl Activity {
    /// The call begins.
    pub(super) fn begin(&self, meter: Arc<Meter>, memory: Gauge, ticker: Ticker) {
        let mut state = self.state();
        state.ticking = Some(ticker.running());
        state.since = Some(Instant::now());
        state.means = Some(Means { meter, memory, ticker });
    }

    /// The call has ended: nothing ticks for it any more.
    pub(super) fn end(&self) {
        self.pause();
    }

    /// Stops the time of the call. It must not be polled before [`Self::resume`].
    pub fn pause(&self) {
        let mut state = self.state();
        state.before = state.active();
        state.since = None;
        state.ticking = None;
    }

    /// Lets the time of the call go on.
    pub fn resume(&self) {
        let mut state = self.state();
        if state.since.is_none()
            && let Some(means) = &state.means
        {
            state.ticking = Some(means.ticker.running());
            state.since = Some(Instant::now());
            self.0.resumed.notify_one();
        }
    }

    /// What the call has used so far; its wall time is what has counted.
    pub fn usage(&self) -> Usage {
        let state = self.state();
        let Some(means) = &state.means else { return Usage::default() };
        Usage { cpu: means.meter.used(), wall: state.active(), peak_memory_bytes: means.memory.bytes() }
    }

    /// Resolves when `limit` of time has counted.
    pub(super) async fn used_up(&self, limit: Duration) {
        loop {
            let (since, before) = {
                let state = self.state();
                (state.since, state.before)
            };
            match since {
                None => self.0.resumed.notified().await,
                Some(_) if before >= limit => return,
                Some(since) => {
                    tokio::time::sleep_until(since + (limit - before)).await;
                    if self.state().active() >= limit {
                        return;
                    }
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn active(&self) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::super::cpu;
    use super::super::quota::WHOLE_CORE;
    use super::*;

    #[tokio::test]
    async fn time_counts_only_while_it_is_not_paused() {
        let engine = super::super::engine::engine(1, false).expect("an engine");
        let ticker = Ticker::start(&engine).expect("a thread");
        let activity = Activity::default();
        activity.begin(Arc::new(Meter::new(Duration::MAX, WHOLE_CORE, cpu::turns())), Gauge::default(), ticker);
        activity.pause();
        let counted = activity.usage().wall;
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(activity.usage().wall, counted);

        // Nothing is left of this limit, but as long as no time counts nobody is told.
        let mut used_up = std::pin::pin!(activity.used_up(counted));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(used_up.as_mut().poll(&mut context).is_pending());
        activity.resume();
        used_up.await;
    }
}
