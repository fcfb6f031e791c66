//! The journal of an attempt: every answer of the host that the guest could not have computed, in
//! the order in which it was given.

use std::sync::{Arc, Mutex};

/// The journal of one attempt. Clones share it.
#[derive(Debug, Clone)]
pub struct Journal(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    is_on: bool,
}

/// What was recorded and is not yet kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwritten {
    /// The next segment. Segments of an attempt, one after the other, are its journal.
    pub segment: Vec<u8>,
    /// To be given to [`Journal::written`].
    pub up_to: u64,
}

impl Journal {
    /// Records nothing.
    pub fn off() -> Self {
        Self(Arc::new(Mutex::new(State { is_on: false })))
    }

    /// Records an attempt from its beginning, `max_bytes` at most.
    pub fn recording(max_bytes: usize) -> Self {
        let _ = max_bytes;
        Self(Arc::new(Mutex::new(State { is_on: true })))
    }

    /// Answers from what an earlier instance of the attempt recorded, until that is used up, and
    /// goes on recording.
    pub fn resuming(segments: Vec<Vec<u8>>, max_bytes: usize) -> Self {
        let _ = segments;
        Self::recording(max_bytes)
    }

    /// What was recorded and is not yet kept; `None`: nothing.
    pub fn unwritten(&self) -> Option<Unwritten> {
        None
    }

    /// What [`Self::unwritten`] gave is kept now, up to there.
    pub fn written(&self, up_to: u64) {
        let _ = up_to;
    }

    /// Whether the whole attempt is on record: `false` once it passed the limit of bytes, or where
    /// nothing is recorded.
    pub fn is_complete(&self) -> bool {
        self.0.lock().is_ok_and(|state| state.is_on)
    }
}
