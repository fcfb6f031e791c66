//! When calls that may take long were made and answered: microseconds since the attempt began, for people.
//!
//! A time stands before the question or the answer that it belongs to. It is no part of either: a guest that asks the same
//! at another time asks the same.

use std::time::Instant;

use super::{Kind, damaged};
use crate::world::HostFault;

/// Stands before a time. No question begins with it, nor does an answer.
pub(super) const TIMED: u8 = 0xA6;

/// Counts from the beginning of an attempt, and goes on when it is brought back.
pub(super) struct Clock {
    /// When this instance began.
    began: Instant,
    /// Since the attempt had.
    before_us: u64,
}

impl Clock {
    /// The attempt began at a moment, and now it is this one: milliseconds since 1970.
    pub(super) fn since(started_ms: u64, now_ms: u64) -> Self {
        Self { began: Instant::now(), before_us: now_ms.saturating_sub(started_ms).saturating_mul(1_000) }
    }

    /// What it shows: at least 1.
    pub(super) fn now_us(&self) -> u64 {
        let here = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.before_us.saturating_add(here).max(1)
    }
}

impl Kind {
    /// Whether it is recorded when such a call was made.
    pub(super) fn question_is_timed(self) -> bool {
        self == Self::Http || self.takes_long()
    }

    /// Whether it is recorded when it was answered.
    pub(super) fn answer_is_timed(self) -> bool {
        matches!(self, Self::Response | Self::ReadBody) || self.takes_long()
    }

    /// Whether such a call is answered by more than this process, at once.
    fn takes_long(self) -> bool {
        let is_wait = matches!(self, Self::WaitToken | Self::WaitAny | Self::WaitAll);
        is_wait || (self != Self::Http && self.reach().is_some())
    }
}

/// The time at the beginning of these bytes, and what follows it; 0: there is none.
pub(super) fn split_time(bytes: &[u8]) -> Result<(u64, &[u8]), HostFault> {
    match bytes {
        [TIMED, rest @ ..] => postcard::take_from_bytes(rest).map_err(|_| damaged()),
        _ => Ok((0, bytes)),
    }
}
