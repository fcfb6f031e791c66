//! What all tapes of one replay share, those of the runs that are executed in it included.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// After how long a guest gets what nobody waited long enough for: everything else that it waits for comes before.
const LATE: Duration = Duration::from_secs(1);
/// For how long a whole replay waits for that.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much a replay may keep in memory, and whether it is over before its guest is. Clones are the same.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    stopped: Notify,
}

struct State {
    bytes: usize,
    bytes_left: usize,
    /// What is left of the patience, without those that wait at the moment.
    patience: Duration,
    /// How many wait at the moment, and since when there has been one.
    waiting: usize,
    since: Instant,
    stop: Option<Stop>,
}

/// Why a replay is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// A call that nobody answers, where that is not allowed; the text names it.
    Unmatched(String),
    /// It passes a limit of replays, which says nothing of the guest. The text is for people.
    Limit(String),
    /// The host had too little left for it beside others. The text is for people.
    Full(String),
}

/// Somebody waits, until this is dropped. Those that do so at the same time use no more patience than one.
struct Waiting(Session);

/// Some room, until it is dropped.
pub struct Held {
    session: Session,
    bytes: usize,
}

impl Session {
    /// One that may keep so many bytes.
    pub fn new(bytes: usize) -> Self {
        let (patience, waiting, since) = (PATIENCE, 0, Instant::now());
        let state = State { bytes, bytes_left: bytes, patience, waiting, since, stop: None };
        Self(Arc::new(Inner { state: Mutex::new(state), stopped: Notify::new() }))
    }

    /// Takes room for good; `false`: there is none, and the replay is over.
    pub fn take(&self, bytes: usize) -> bool {
        let mut state = self.state();
        match state.bytes_left.checked_sub(bytes) {
            Some(left) => {
                state.bytes_left = left;
                true
            }
            None => {
                let most = state.bytes >> 20;
                drop(state);
                self.stop(Stop::Limit(format!("its calls, and what they are answered, take more than {most} MiB")));
                false
            }
        }
    }

    /// Takes room for as long as the answer is kept; `None`: there is none, and the replay is over.
    pub fn hold(&self, bytes: usize) -> Option<Held> {
        self.take(bytes).then(|| Held { session: self.clone(), bytes })
    }

    /// Room that grows and shrinks, and is none so far.
    pub(super) fn hold_none(&self) -> Held {
        Held { session: self.clone(), bytes: 0 }
    }

    /// Resolves when what a guest gets late has come. Where the patience of the replay ends before, the replay is over.
    pub(super) async fn late(&self) {
        let (_waiting, left) = self.waits();
        tokio::time::sleep(left.min(LATE)).await;
        if left < LATE {
            let most = PATIENCE.as_secs();
            self.stop(Stop::Limit(format!("it waits longer than {most} s for responses that nobody waited for then")));
        }
    }

    /// Somebody waits from now on; how much patience is left.
    fn waits(&self) -> (Waiting, Duration) {
        let mut state = self.state();
        if state.waiting == 0 {
            state.since = Instant::now();
        }
        state.waiting += 1;
        (Waiting(self.clone()), state.patience.saturating_sub(state.since.elapsed()))
    }

    /// The replay is over; the first reason counts.
    pub fn stop(&self, why: Stop) {
        self.state().stop.get_or_insert(why);
        self.0.stopped.notify_waiters();
    }

    /// Resolves when the replay is over, and says why.
    pub async fn stopped(&self) -> Stop {
        loop {
            let notified = self.0.stopped.notified();
            if let Some(why) = self.stop_so_far() {
                return why;
            }
            notified.await;
        }
    }

    /// Why the replay is over, if it is.
    pub fn stop_so_far(&self) -> Option<Stop> {
        self.state().stop.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// It is as large as that from now on, if there is room; if there is none, the replay is over.
    pub(super) fn resize(&mut self, bytes: usize) {
        if bytes < self.bytes {
            self.session.state().bytes_left += self.bytes - bytes;
        } else if !self.session.take(bytes - self.bytes) {
            return;
        }
        self.bytes = bytes;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.waiting -= 1;
        if state.waiting == 0 {
            state.patience = state.patience.saturating_sub(state.since.elapsed());
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.session.state().bytes_left += self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_replay_is_over_when_its_room_is() {
        let session = Session::new(10);
        let held = session.hold(6).expect("room");
        assert!(session.take(4));
        drop(held);
        let mut held = session.hold_none();
        held.resize(6);
        held.resize(2);
        held.resize(5);
        drop(held);
        assert!(session.take(6), "what was held is free again");
        assert_eq!(session.stop_so_far(), None);
        assert!(!session.take(1));
        session.stop(Stop::Unmatched("late".into()));
        let full = Stop::Limit("its calls, and what they are answered, take more than 0 MiB".into());
        assert_eq!(session.stopped().await, full, "the first reason counts");
    }

    #[tokio::test]
    async fn a_replay_is_over_when_its_patience_is() {
        let session = Session::new(0);
        {
            let (first, left) = session.waits();
            assert!(left > Duration::ZERO && left <= PATIENCE, "{left:?}");
            let since = session.state().since;
            let (_second, _) = session.waits();
            drop(first);
            assert_eq!(session.state().since, since, "both wait at the same time");
            assert_eq!(session.state().patience, PATIENCE, "one still waits");
        }
        assert!(session.state().patience < PATIENCE);
        session.state().patience = Duration::ZERO;
        session.late().await;
        let late = Stop::Limit("it waits longer than 60 s for responses that nobody waited for then".into());
        assert_eq!(session.stop_so_far(), Some(late));
    }
}
