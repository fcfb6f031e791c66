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
use tokio::time::Instant;

use super::looks::Looks;
use super::{Held, Options, Variables};
use crate::journal::{Blob, Kind, Question, damaged};
use crate::recording::Recording;
use crate::world::HostFault;

/// How far a clock goes with each reading that the recording does not have, so that a guest that waits
/// for it to go on does not wait for ever.
const TICK: Duration = Duration::from_micros(1);
/// For how long at most, in a whole replay, moments that the guest waits for leave the precedence to answers that are
/// on their way; each no longer than until it would really come.
const PATIENCE: Duration = Duration::from_secs(10);
/// For how long they do so for an answer that has come and that the guest does not take, once for each: a guest that
/// waits for it takes it sooner.
const COURTESY: Duration = Duration::from_millis(20);

/// The surroundings of one replay. Clones share them.
#[derive(Clone)]
pub struct Pins(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    recorded_variables: Option<Vec<(String, String)>>,
    variables: Variables,
    was_asked_for_variables: AtomicBool,
    /// The requests whose answers are on their way to the guest, and whether they have only to be taken.
    under_way: watch::Sender<HashMap<u32, bool>>,
    /// The requests whose responses the guest has looked for.
    looked_at: watch::Sender<HashSet<u32>>,
    made_up: AtomicU64,
    /// What the guest holds without having looked at it.
    held: Mutex<Held>,
}

struct State {
    /// What the clocks show, since 1970.
    now: Duration,
    wall: VecDeque<Duration>,
    monotonic: VecDeque<Duration>,
    /// By the digest of the question: when waits were over that the guest made, in milliseconds.
    dues: HashMap<u64, VecDeque<u64>>,
    /// By their number.
    bytes: HashMap<(Kind, u64), VecDeque<Bytes>>,
    numbers: HashMap<Kind, VecDeque<u64>>,
    seeds: VecDeque<(u64, u64)>,
    /// What is left of the patience.
    patience: Duration,
    metadata: Looks,
}

impl Pins {
    pub(super) fn new(recording: &Recording, options: &Options) -> Result<Self, HostFault> {
        let mut state = State {
            now: Duration::from_millis(options.started_ms),
            wall: VecDeque::new(),
            monotonic: VecDeque::new(),
            dues: HashMap::new(),
            bytes: HashMap::new(),
            numbers: HashMap::new(),
            seeds: VecDeque::new(),
            patience: PATIENCE,
            metadata: Looks::of(recording)?,
        };
        let mut recorded_variables = None;
        for call in &recording.calls {
            match call.kind {
                Kind::WallClock => {
                    let read: Option<(u64, u32)> = call.answer()?;
                    state.wall.extend(read.map(moment).transpose()?);
                }
                Kind::MonotonicClock => {
                    state.monotonic.extend(call.answer::<u64>()?.map(Duration::from_nanos));
                }
                Kind::WaitAfter => {
                    state.dues.entry(call.digest).or_default().extend(call.answer::<u64>()?);
                }
                Kind::RandomBytes | Kind::InsecureBytes => {
                    if let Some(Blob(bytes)) = call.answer()? {
                        state.bytes.entry((call.kind, bytes.len() as u64)).or_default().push_back(bytes);
                    }
                }
                Kind::RandomNumber | Kind::InsecureNumber => {
                    state.numbers.entry(call.kind).or_default().extend(call.answer::<u64>()?);
                }
                Kind::InsecureSeed => state.seeds.extend(call.answer::<(u64, u64)>()?),
                Kind::Environment => recorded_variables = call.answer()?,
                _ => {}
            }
        }
        Ok(Self(Arc::new(Inner {
            state: Mutex::new(state),
            recorded_variables,
            variables: options.variables.clone(),
            was_asked_for_variables: AtomicBool::new(false),
            under_way: watch::Sender::new(HashMap::new()),
            looked_at: watch::Sender::new(HashSet::new()),
            made_up: AtomicU64::new(options.seed),
            held: Mutex::new(options.session.hold_none()),
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
        match state.dues.get_mut(&digest).and_then(VecDeque::pop_front) {
            Some(due) => due,
            None => u64::try_from(state.now.as_millis()).unwrap_or(u64::MAX).saturating_add(length),
        }
    }

    /// The moment comes, in nanoseconds since 1970.
    pub(crate) async fn reach(&self, when: u64) {
        let when = Duration::from_nanos(when);
        if !self.0.under_way.borrow().is_empty() {
            let began = Instant::now();
            let left = {
                let state = self.state();
                when.saturating_sub(state.now).min(state.patience)
            };
            let mut under_way = self.0.under_way.subscribe();
            let is_answered = |under_way: &HashMap<u32, bool>| under_way.values().all(|is_answered| *is_answered);
            // A guest that does not take what it asked for waits in vain, as it would have then.
            let _ = tokio::time::timeout(left, under_way.wait_for(is_answered)).await;
            let left = left.saturating_sub(began.elapsed()).min(COURTESY);
            if tokio::time::timeout(left, under_way.wait_for(HashMap::is_empty)).await.is_err() {
                self.0.under_way.send_modify(|under_way| under_way.retain(|_, is_answered| !*is_answered));
            }
            let mut state = self.state();
            state.patience = state.patience.saturating_sub(began.elapsed());
        }
        tokio::task::yield_now().await;
        self.go_to(when);
    }

    /// The guest holds so many bytes of answers that it has not looked at.
    pub(crate) fn holds(&self, bytes: usize) {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner).resize(bytes);
    }

    /// It is this time, or later.
    pub(super) fn go_to(&self, moment: Duration) {
        let mut state = self.state();
        state.now = state.now.max(moment);
    }

    /// The answer to a request is on its way.
    pub(super) fn sets_out(&self, exchange: u32) {
        self.0.under_way.send_modify(|under_way| {
            under_way.insert(exchange, false);
        });
    }

    /// It is there for the guest to take.
    pub(super) fn is_answered(&self, exchange: u32) {
        self.0.under_way.send_modify(|under_way| {
            if let Some(is_answered) = under_way.get_mut(&exchange) {
                *is_answered = true;
            }
        });
    }

    /// It has come, or nobody waits for it any more.
    pub(crate) fn arrives(&self, exchange: u32) {
        self.0.under_way.send_modify(|under_way| {
            under_way.remove(&exchange);
        });
    }

    /// The guest looks for the response to this request.
    pub(crate) fn looks_at(&self, exchange: u32) {
        self.0.looked_at.send_if_modified(|looked_at| looked_at.insert(exchange));
    }

    /// Resolves when it does so.
    pub(super) async fn looked_at(&self, exchange: u32) {
        let mut looked_at = self.0.looked_at.subscribe();
        // Whoever sends it has it, and so does this.
        let _ = looked_at.wait_for(|looked_at| looked_at.contains(&exchange)).await;
    }

    /// The guest changes metadata of its run, or of a relative.
    pub(crate) fn changes(&self, question: &Question) {
        self.state().metadata.changes(&question.header());
    }

    /// All metadata, as the recorded attempt saw them at this point; `None`: it did not look, or this one has done
    /// something else since.
    pub(crate) fn metadata(&self) -> Option<String> {
        self.state().metadata.all()
    }

    /// The same of the value of one key.
    pub(crate) fn metadata_value(&self, key: &str) -> Option<Option<String>> {
        self.state().metadata.value(key)
    }

    /// Random bytes: those of the recording, or made up ones.
    pub(crate) fn random_bytes(&self, kind: Kind, length: u64) -> wasmtime::Result<Bytes> {
        if length > crate::MAX_RANDOM_BYTES {
            wasmtime::bail!("asked for more than {} random bytes at once", crate::MAX_RANDOM_BYTES);
        }
        let recorded = {
            let mut state = self.state();
            state.bytes.get_mut(&(kind, length)).and_then(VecDeque::pop_front)
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

    /// The variables that the recorded attempt saw, none if it did not look; and those of now that it did not see, where
    /// they are offered.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        self.0.was_asked_for_variables.store(true, Ordering::Relaxed);
        let mut variables = self.0.recorded_variables.clone().unwrap_or_default();
        if self.0.variables.are_offered {
            variables.extend(self.new_variables().cloned());
        }
        variables
    }

    /// Those of now that the recording lacks.
    fn new_variables(&self) -> impl Iterator<Item = &(String, String)> {
        let Inner { recorded_variables, variables, .. } = &*self.0;
        let recorded = recorded_variables.as_deref().unwrap_or_default();
        let is_new = |(name, _): &&(String, String)| !recorded.iter().any(|(known, _)| known == name);
        variables.current.iter().filter(is_new)
    }

    /// The names of those that the recording lacks, if the guest asked for variables.
    pub(super) fn lacking(&self) -> Vec<String> {
        let was_asked = self.0.was_asked_for_variables.load(Ordering::Relaxed);
        let names = self.new_variables().map(|(name, _)| name.clone());
        names.filter(|_| was_asked).collect()
    }

    /// Whether the guest asked for variables, though it had not then, and nobody offers any.
    pub(super) fn variables_are_unknown(&self) -> bool {
        let Inner { recorded_variables, variables, was_asked_for_variables, .. } = &*self.0;
        recorded_variables.is_none() && !variables.are_offered && was_asked_for_variables.load(Ordering::Relaxed)
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
            None => self.now.saturating_add(TICK),
        };
        self.now
    }
}

/// A reading of the wall clock, which could be any in a file that somebody has changed.
fn moment((seconds, nanoseconds): (u64, u32)) -> Result<Duration, HostFault> {
    match nanoseconds {
        0..1_000_000_000 => Ok(Duration::new(seconds, nanoseconds)),
        _ => Err(damaged()),
    }
}

fn nanoseconds(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::{Session, Unmatched};
    use super::*;

    fn options(variables: Variables, (seed, started_ms): (u64, u64)) -> Options {
        Options {
            session: Session::new(0),
            unmatched: Unmatched::Block,
            stubs: Vec::new(),
            live: None,
            changes: None,
            children: None,
            variables,
            seed,
            started_ms,
        }
    }

    fn pins(seed: u64) -> Pins {
        let options = options(Variables::default(), (seed, 1_000));
        Pins::new(&Recording::default(), &options).expect("an empty recording")
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

    /// Whatever a file says, nothing in it stops the program.
    #[test]
    fn clocks_are_shown_within_their_range() {
        let reading = |seconds: u64, nanoseconds: u32| {
            let journal = crate::Journal::recording(1_000);
            journal.ask_now(|| Question::new(Kind::WallClock), || Ok((seconds, nanoseconds))).expect("an answer");
            let recording = Recording::read(&journal.unwritten().expect("a segment").segment).expect("a journal");
            Pins::new(&recording, &options(Variables::default(), (0, u64::MAX)))
        };
        assert!(reading(u64::MAX, 1_000_000_000).is_err());
        let pins = reading(u64::MAX, 999_999_999).expect("the last moment");
        assert_eq!(pins.wall_clock(), Duration::MAX);
        assert_eq!(pins.wall_clock(), Duration::MAX, "the clock stands still");
        assert_eq!((pins.shown(), pins.shown_ms(), pins.due(u64::MAX)), (u64::MAX, u64::MAX, u64::MAX));
    }

    #[tokio::test]
    async fn patience_has_an_end() {
        let pins = pins(0);
        pins.sets_out(1);
        pins.is_answered(1);
        pins.reach(2_000_000_000).await;
        assert!(pins.0.under_way.borrow().is_empty(), "one that is not taken is waited for once");
        pins.state().patience = COURTESY;
        pins.sets_out(2);
        pins.reach(3_000_000_000).await;
        assert_eq!(pins.state().patience, Duration::ZERO, "that was all there was");
        pins.reach(4_000_000_000).await;
        assert_eq!(pins.shown_ms(), 4_000);
        pins.arrives(2);
        assert!(pins.0.under_way.borrow().is_empty());
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
    #[test]
    fn variables_are_those_of_then_and_new_ones_are_named_and_seen_on_request() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let current = Arc::new(vec![pair("A", "now"), pair("B", "now")]);
        let with = |recorded: Option<Vec<(String, String)>>, are_offered| {
            let variables = Variables { current: current.clone(), are_offered };
            let pins = Pins::new(&Recording::default(), &options(variables, (0, 0))).expect("an empty recording");
            let mut inner = Arc::into_inner(pins.0).expect("nobody else has it");
            inner.recorded_variables = recorded;
            Pins(Arc::new(inner))
        };
        let pins = with(Some(vec![pair("A", "then")]), false);
        assert_eq!(pins.lacking(), Vec::<String>::new(), "nobody asked");
        assert_eq!(pins.variables(), [pair("A", "then")]);
        assert_eq!((pins.lacking(), pins.variables_are_unknown()), (vec!["B".to_owned()], false));
        let pins = with(Some(vec![pair("A", "then")]), true);
        assert_eq!(pins.variables(), [pair("A", "then"), pair("B", "now")]);
        assert_eq!(pins.lacking(), ["B"]);
        let pins = with(None, false);
        assert_eq!(pins.variables(), []);
        assert!(pins.variables_are_unknown());
        let pins = with(None, true);
        assert_eq!((pins.variables(), pins.variables_are_unknown()), (current.to_vec(), false));
    }
}
