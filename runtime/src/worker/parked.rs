//! Waiting runs whose instances stay in memory, as long as that is cheap.
//!
//! An instance that stays goes on at once; one that was dropped is made again from the journal. So
//! this is a cache: what does not fit in its bounds is dropped, the longest waiting first, and all that
//! can be made again as soon as those that run are short of memory. One that
//! has no whole journal goes on here or not at all: it stays for as long as there is memory.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::id::RunId;

/// For how long an instance stays of which no other can be made: longer than any wait.
const FOR_GOOD: Duration = Duration::from_secs(10 * 366 * 86_400);
/// What an instance costs beside its linear memory: its stack, tables and the host's side of it.
const INSTANCE_BYTES: u64 = 96 * 1024;

/// How much may stay, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParkLimits {
    /// Instances.
    pub max_instances: usize,
    /// Memory of all of them together.
    pub max_bytes: u64,
    /// From the beginning of the wait.
    pub max_time: Duration,
}

/// Something that waits with a run.
pub(super) struct Parked<T> {
    limits: ParkLimits,
    /// By the moment at which they are dropped.
    by_drop: BTreeMap<(Instant, RunId), Place<T>>,
    drops: HashMap<RunId, Instant>,
    bytes: u64,
}

/// What is to be kept.
pub(super) struct Guest<T> {
    pub(super) instance: T,
    pub(super) memory_bytes: u64,
    /// Whether another one can be made from the journal.
    pub(super) is_replaceable: bool,
}

struct Place<T> {
    instance: T,
    bytes: u64,
    is_replaceable: bool,
}

impl<T> Parked<T> {
    pub(super) fn new(limits: ParkLimits) -> Self {
        Self { limits, by_drop: BTreeMap::new(), drops: HashMap::new(), bytes: 0 }
    }

    /// Keeps the guest of a run that waits from `now` on, and drops those for which there is no room
    /// any more: perhaps this one.
    pub(super) fn park(&mut self, run: RunId, guest: Guest<T>, now: Instant) {
        self.take(run);
        let Guest { instance, memory_bytes, is_replaceable } = guest;
        let bytes = memory_bytes + INSTANCE_BYTES;
        let time = if is_replaceable { self.limits.max_time } else { FOR_GOOD };
        if self.limits.max_instances == 0 || time.is_zero() || bytes > self.limits.max_bytes {
            return;
        }
        while self.bytes + bytes > self.limits.max_bytes || self.drops.len() >= self.limits.max_instances {
            self.drop_next();
        }
        let drop_at = now + time;
        self.bytes += bytes;
        self.drops.insert(run, drop_at);
        self.by_drop.insert((drop_at, run), Place { instance, bytes, is_replaceable });
    }

    /// The instance of a run, if it is still there.
    pub(super) fn take(&mut self, run: RunId) -> Option<T> {
        let drop_at = self.drops.remove(&run)?;
        let place = self.by_drop.remove(&(drop_at, run))?;
        self.bytes -= place.bytes;
        Some(place.instance)
    }

    /// When the next one has stayed for long enough.
    pub(super) fn next_drop(&self) -> Option<Instant> {
        self.by_drop.first_key_value().map(|((drop_at, _), _)| *drop_at)
    }

    /// Drops those that have stayed for long enough.
    pub(super) fn drop_old(&mut self, now: Instant) {
        while self.next_drop().is_some_and(|at| at <= now) {
            self.drop_next();
        }
    }

    /// Makes room for guests that run: drops all of which others can be made.
    pub(super) fn drop_replaceable(&mut self) {
        for ((_, run), place) in self.by_drop.extract_if(.., |_, place| place.is_replaceable) {
            self.drops.remove(&run);
            self.bytes -= place.bytes;
        }
    }

    fn drop_next(&mut self) {
        if let Some(((_, run), place)) = self.by_drop.pop_first() {
            self.drops.remove(&run);
            self.bytes -= place.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn parked(max_instances: usize, max_bytes: u64) -> Parked<u128> {
        Parked::new(ParkLimits { max_instances, max_bytes, max_time: 10 * SECOND })
    }

    fn run(number: u128) -> RunId {
        RunId::from_bits(number)
    }

    fn guest(instance: u128, memory_bytes: u64) -> Guest<u128> {
        Guest { instance, memory_bytes, is_replaceable: true }
    }

    #[test]
    fn what_cannot_be_made_again_stays() {
        let mut parked = parked(2, 1 << 40);
        let now = Instant::now();
        parked.park(run(1), Guest { is_replaceable: false, ..guest(1, 0) }, now);
        parked.park(run(2), guest(2, 0), now + SECOND);
        parked.park(run(3), guest(3, 0), now + 2 * SECOND);
        parked.drop_old(now + 3_600 * SECOND);
        assert_eq!([1, 2, 3].map(|number| parked.take(run(number))), [Some(1), None, None]);
    }

    #[test]
    fn the_longest_waiting_gives_way() {
        let mut parked = parked(2, 1 << 40);
        let now = Instant::now();
        for number in 1..=3 {
            parked.park(run(number), guest(number, 0), now + SECOND * u32::try_from(number).unwrap());
        }
        assert_eq!([1, 2, 3].map(|number| parked.take(run(number))), [None, Some(2), Some(3)]);
        assert_eq!(parked.bytes, 0);
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let mut parked = parked(10, 2 * INSTANCE_BYTES + 10);
        let now = Instant::now();
        parked.park(run(1), guest(1, 5), now);
        parked.park(run(2), guest(2, 5), now);
        assert_eq!(parked.drops.len(), 2);
        parked.park(run(3), guest(3, INSTANCE_BYTES + 11), now);
        assert_eq!(parked.drops.len(), 2, "it would not fit alone");
        parked.park(run(4), guest(4, 5), now);
        assert_eq!(parked.drops.len(), 2, "one had to go");
    }

    #[test]
    fn all_that_can_be_made_again_gives_way_to_those_that_run() {
        let mut parked = parked(10, 1 << 40);
        let now = Instant::now();
        parked.park(run(1), Guest { is_replaceable: false, ..guest(1, 7) }, now);
        parked.park(run(2), guest(2, 9), now);
        parked.drop_replaceable();
        assert_eq!([1, 2].map(|number| parked.take(run(number))), [Some(1), None]);
        assert_eq!((parked.bytes, parked.next_drop()), (0, None));
    }

    #[test]
    fn nothing_stays_for_too_long() {
        let mut parked = parked(10, 1 << 40);
        let now = Instant::now();
        parked.park(run(1), guest(1, 0), now);
        parked.park(run(2), guest(2, 0), now + SECOND);
        assert_eq!(parked.next_drop(), Some(now + 10 * SECOND));
        parked.drop_old(now + 10 * SECOND);
        assert_eq!([1, 2].map(|number| parked.take(run(number))), [None, Some(2)]);
        assert_eq!(parked.next_drop(), None);
    }
}
