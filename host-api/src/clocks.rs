//! `wasi:clocks`: both clocks tell the time of the host, through the journal.
//!
//! The monotonic clock counts nanoseconds since 1970, so that it goes on when the attempt is brought
//! back by another process; it never shows less than it has shown before.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::bindings::clocks::wall_clock::{self, Datetime};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use crate::TaskCtx;
use crate::journal::{Kind, Question};
use crate::tape::Pins;

/// The resolution of both clocks, in nanoseconds.
const RESOLUTION: u32 = 1;

/// The monotonic clock of an attempt.
#[derive(Debug, Default)]
pub(crate) struct Monotonic {
    /// What it showed when it was first read in this process, and when that was.
    start: Option<(u64, Instant)>,
    last: u64,
}

impl Monotonic {
    /// What it shows now.
    fn now(&mut self) -> u64 {
        let (start, at) = *self.start.get_or_insert_with(|| (nanoseconds(since_1970()), Instant::now()));
        self.show(start.saturating_add(nanoseconds(at.elapsed())))
    }

    /// It shows this, or what it has shown already.
    fn show(&mut self, now: u64) -> u64 {
        self.last = self.last.max(now);
        self.last
    }

    /// There when this clock shows `due`.
    fn deadline(&mut self, due: u64) -> Deadline {
        match due.saturating_sub(self.now()) {
            0 => Deadline::Past { yielded: false },
            left => match Instant::now().checked_add(Duration::from_nanos(left)) {
                Some(at) => Deadline::At(at),
                None => Deadline::Never,
            },
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a guest asks what time it is")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn nanoseconds(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

impl wall_clock::Host for TaskCtx {
    fn now(&mut self) -> wasmtime::Result<Datetime> {
        let (seconds, nanoseconds) = self.journal.ask_now(
            || Question::new(Kind::WallClock),
            || {
                let now = self.pins.as_ref().map_or_else(since_1970, Pins::wall_clock);
                Ok((now.as_secs(), now.subsec_nanos()))
            },
        )?;
        Ok(Datetime { seconds, nanoseconds })
    }

    fn resolution(&mut self) -> wasmtime::Result<Datetime> {
        Ok(Datetime { seconds: 0, nanoseconds: RESOLUTION })
    }
}

impl monotonic_clock::Host for TaskCtx {
    fn now(&mut self) -> wasmtime::Result<u64> {
        let Self { monotonic: clock, pins, .. } = self;
        let live = || Ok(pins.as_ref().map_or_else(|| clock.now(), Pins::monotonic_clock));
        let now = self.journal.ask_now(|| Question::new(Kind::MonotonicClock), live)?;
        // What it showed then, though this process may have read it since.
        self.monotonic.show(now);
        Ok(now)
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(RESOLUTION.into())
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let deadline = match &self.pins {
            Some(pins) => Deadline::Pinned { pins: pins.clone(), when },
            None => self.monotonic.deadline(when),
        };
        let deadline = self.table.push(deadline)?;
        subscribe(&mut self.table, deadline)
    }

    fn subscribe_duration(&mut self, length: u64) -> wasmtime::Result<Resource<DynPollable>> {
        // Recorded, so that time that passed before the attempt is brought back counts.
        let Self { monotonic: clock, pins, .. } = self;
        let due = self.journal.ask_now(
            || Question::new(Kind::SubscribeDuration).about(&length),
            || Ok(pins.as_ref().map_or_else(|| clock.now(), Pins::shown).saturating_add(length)),
        )?;
        monotonic_clock::Host::subscribe_instant(self, due)
    }
}

/// A moment, as something to wait for.
enum Deadline {
    Past {
        yielded: bool,
    },
    At(Instant),
    /// Too far away to be told.
    Never,
    /// By a clock that stands still while the guest runs.
    Pinned {
        pins: Pins,
        when: u64,
    },
}

#[async_trait]
impl Pollable for Deadline {
    async fn ready(&mut self) {
        match self {
            Self::Past { yielded: true } => {}
            Self::Past { yielded } => {
                // Guests that poll in a loop add a deadline of zero. Sockets are looked at only when
                // the thread is given away for a moment.
                *yielded = true;
                tokio::task::yield_now().await;
            }
            Self::At(at) => tokio::time::sleep_until(*at).await,
            Self::Never => std::future::pending().await,
            Self::Pinned { pins, when } => pins.reach(*when).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_never_goes_back() {
        let mut clock = Monotonic::default();
        let first = clock.now();
        let ahead = first + 1_000_000_000_000;
        assert_eq!(clock.show(ahead), ahead);
        assert_eq!(clock.now(), ahead);
        assert!(matches!(clock.deadline(ahead), Deadline::Past { .. }));
        assert!(matches!(clock.deadline(ahead + 1), Deadline::At(_)));
    }
}
