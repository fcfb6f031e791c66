//! What a guest can feel of its surroundings, pinned to what a recorded attempt felt: clocks, random
//! numbers and variables.
//!
//! The clock stands still but for what the recording says and for what the guest waits for: whoever
//! waits for a moment is told at once that it has come, once everything else that the guest waits
//! for has had its chance.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::journal::{Blob, Kind};
use crate::recording::Recording;
use crate::world::HostFault;

/// How far a clock goes with each reading that the recording does not have, so that a guest that waits
/// for it to go on does not wait for ever.
const TICK: Duration = Duration::from_micros(1);
/// For how long at most a moment that the guest waits for leaves the precedence to answers that are on
/// their way; no longer than until that moment would really come.
const PATIENCE: Duration = Duration::from_secs(10);

/// The surroundings of one replay. Clones share them.
#[derive(Clone)]
pub struct Pins(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    variables: Option<Vec<(String, String)>>,
    was_asked_for_variables: AtomicBool,
    /// The requests whose answers are on their way to the guest.
    under_way: watch::Sender<HashSet<u32>>,
    made_up: AtomicU64,
}

struct State {
    /// What the clocks show, since 1970.
    now: Duration,
    wall: VecDeque<Duration>,
    monotonic: VecDeque<Duration>,
    /// By the digest of the question: when waits were over that the guest made, in milliseconds.
    dues: VecDeque<(u64, u64)>,
    bytes: HashMap<Kind, VecDeque<Bytes>>,
    numbers: HashMap<Kind, VecDeque<u64>>,
    seeds: VecDeque<(u64, u64)>,
}

impl Pins {
    pub(super) fn new(recording: &Recording, seed: u64, started_ms: u64) -> Result<Self, HostFault> {
        let mut state = State {
            now: Duration::from_millis(started_ms),
            wall: VecDeque::new(),
            monotonic: VecDeque::new(),
            dues: VecDeque::new(),
            bytes: HashMap::new(),
            numbers: HashMap::new(),
            seeds: VecDeque::new(),
        };
        let mut variables = None;
        for call in &recording.calls {
            match call.kind {
                Kind::WallClock => {
                    let read: Option<(u64, u32)> = call.answer()?;
                    state.wall.extend(read.map(|(seconds, nanos)| Duration::new(seconds, nanos)));
                }
                Kind::MonotonicClock => {
                    state.monotonic.extend(call.answer::<u64>()?.map(Duration::from_nanos));
                }
                Kind::WaitAfter => state.dues.extend(call.answer::<u64>()?.map(|due| (call.digest, due))),
                Kind::RandomBytes | Kind::InsecureBytes => {
                    let bytes = call.answer::<Blob>()?.map(|Blob(bytes)| bytes);
                    state.bytes.entry(call.kind).or_default().extend(bytes);
                }
                Kind::RandomNumber | Kind::InsecureNumber => {
                    state.numbers.entry(call.kind).or_default().extend(call.answer::<u64>()?);
                }
                Kind::InsecureSeed => state.seeds.extend(call.answer::<(u64, u64)>()?),
                Kind::Environment => variables = call.answer()?,
                _ => {}
            }
        }
        Ok(Self(Arc::new(Inner {
            state: Mutex::new(state),
            variables,
            was_asked_for_variables: AtomicBool::new(false),
            under_way: watch::Sender::new(HashSet::new()),
            made_up: AtomicU64::new(seed),
        })))
    }

    /// A reading of the wall clock, since 1970.
    pub(crate) fn wall_clock(&self) -> Duration {
        let mut state = self.state();
        let recorded = state.wall.pop_front();
        state.read(recorded)
    }

    /// A reading of the monotonic clock: nanoseconds since 1970.
    pub(crate) fn monotonic_clock(&self) -> u64 {
        let mut state = self.state();
        let recorded = state.monotonic.pop_front();
        nanoseconds(state.read(recorded))
    }

    /// What the clocks show, in nanoseconds since 1970; nobody has read them.
    pub(crate) fn shown(&self) -> u64 {
        nanoseconds(self.state().now)
    }

    /// What the clocks show, in milliseconds since 1970.
    pub(super) fn shown_ms(&self) -> u64 {
        u64::try_from(self.state().now.as_millis()).unwrap_or(u64::MAX)
    }

    /// When a wait of this length is over that begins now, in milliseconds since 1970.
    pub(crate) fn due(&self, length: u64) -> u64 {
        let digest = crate::journal::digest_of(&length);
        let mut state = self.state();
        let recorded = state.dues.iter().position(|(asked, _)| *asked == digest);
        match recorded.and_then(|place| state.dues.remove(place)) {
            Some((_, due)) => due,
            None => u64::try_from(state.now.as_millis()).unwrap_or(u64::MAX).saturating_add(length),
        }
    }

    /// The moment comes, in nanoseconds since 1970.
    pub(crate) async fn reach(&self, when: u64) {
        let when = Duration::from_nanos(when);
        let left = when.saturating_sub(self.state().now).min(PATIENCE);
        let mut under_way = self.0.under_way.subscribe();
        // A guest that does not take what it asked for waits in vain, as it would have then.
        let _ = tokio::time::timeout(left, under_way.wait_for(HashSet::is_empty)).await;
        tokio::task::yield_now().await;
        self.go_to(when);
    }

    /// It is this time, or later.
    pub(super) fn go_to(&self, moment: Duration) {
        let mut state = self.state();
        state.now = state.now.max(moment);
    }

    /// The answer to a request is on its way.
    pub(super) fn sets_out(&self, exchange: u32) {
        self.0.under_way.send_modify(|under_way| {
            under_way.insert(exchange);
        });
    }

    /// It has come, or nobody waits for it any more.
    pub(crate) fn arrives(&self, exchange: u32) {
        self.0.under_way.send_modify(|under_way| {
            under_way.remove(&exchange);
        });
    }

    /// Random bytes: those of the recording, or made up ones.
    pub(crate) fn random_bytes(&self, kind: Kind, length: u64) -> wasmtime::Result<Bytes> {
        if length > crate::MAX_RANDOM_BYTES {
            wasmtime::bail!("asked for more than {} random bytes at once", crate::MAX_RANDOM_BYTES);
        }
        let recorded = {
            let mut state = self.state();
            let left = state.bytes.entry(kind).or_default();
            let place = left.iter().position(|bytes| bytes.len() as u64 == length);
            place.and_then(|place| left.remove(place))
        };
        Ok(recorded.unwrap_or_else(|| {
            let mut bytes = Vec::new();
            while (bytes.len() as u64) < length {
                bytes.extend(self.make_up().to_le_bytes());
            }
            bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
            bytes.into()
        }))
    }

    /// A random number: that of the recording, or a made up one.
    pub(crate) fn random_number(&self, kind: Kind) -> u64 {
        let recorded = self.state().numbers.entry(kind).or_default().pop_front();
        recorded.unwrap_or_else(|| self.make_up())
    }

    /// A seed: that of the recording, or a made up one.
    pub(crate) fn seed(&self) -> (u64, u64) {
        let recorded = self.state().seeds.pop_front();
        recorded.unwrap_or_else(|| (self.make_up(), self.make_up()))
    }

    /// The variables that the recorded attempt saw; none if it did not look.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        match &self.0.variables {
            Some(variables) => variables.clone(),
            None => {
                self.0.was_asked_for_variables.store(true, Ordering::Relaxed);
                Vec::new()
            }
        }
    }

    pub(super) fn was_asked_for_variables(&self) -> bool {
        self.0.was_asked_for_variables.load(Ordering::Relaxed)
    }

    /// The next of a sequence that only looks random (SplitMix64).
    fn make_up(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let state = self.0.made_up.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn read(&mut self, recorded: Option<Duration>) -> Duration {
        self.now = match recorded {
            Some(recorded) => self.now.max(recorded),
            None => self.now + TICK,
        };
        self.now
    }
}

fn nanoseconds(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pins(seed: u64) -> Pins {
        Pins::new(&Recording::default(), seed, 1_000).expect("an empty recording")
    }

    #[tokio::test]
    async fn the_clock_goes_where_the_guest_waits_for_it() {
        let pins = pins(0);
        assert_eq!(pins.shown_ms(), 1_000);
        let first = pins.wall_clock();
        assert!(pins.wall_clock() > first);
        pins.reach(5_000_000_000).await;
        assert_eq!(pins.shown_ms(), 5_000);
        pins.reach(4_000_000_000).await;
        assert_eq!(pins.shown_ms(), 5_000, "it never goes back");
        assert_eq!(pins.due(10), 5_010);
    }

    #[test]
    fn what_is_made_up_depends_on_the_seed_alone() {
        let made = |seed| {
            let pins = pins(seed);
            (pins.random_number(Kind::RandomNumber), pins.random_bytes(Kind::RandomBytes, 13).expect("bytes"))
        };
        assert_eq!(made(1), made(1));
        assert_ne!(made(1), made(2));
        assert_eq!(made(1).1.len(), 13);
        assert!(pins(1).random_bytes(Kind::RandomBytes, u64::MAX).is_err());
    }
}
