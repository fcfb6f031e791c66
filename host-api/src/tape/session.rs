//! What all tapes of one replay share, those of the runs that are executed in it included.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

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

/// Some room, until it is dropped.
pub struct Held {
    session: Session,
    bytes: usize,
}

impl Session {
    /// One that may keep so many bytes.
    pub fn new(bytes: usize) -> Self {
        let state = State { bytes, bytes_left: bytes, stop: None };
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
}
