//! Answers for a replay: what a guest gets that is not to reach anything outside, and may ask
//! otherwise than the recorded attempt did.
//!
//! A [`crate::Journal`] answers by position, and stops a guest that asks something else. A tape finds
//! answers by what is asked:
//!
//! | asked | found by |
//! |---|---|
//! | an HTTP request | method, URL and body, then by order; with another body by method and URL alone, then by order |
//! | runs and tokens | task and payload, or whatever else is asked, then by order; with other arguments by the task alone |
//! | what came of runs and tokens | their ids; moments come at once |
//! | clocks, random numbers, variables | the sort of question and its order; made up beyond that, the same every time |
//! | changes of metadata, tags, streams | not at all: they are noted, and nothing else happens |
//!
//! What is not found is up to [`Options::unmatched`]. Whom it was that answered a call is noted:
//! [`Tape::answered`] has these notes in the order in which the guest asked.

mod exchanges;
mod pins;
mod world;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;

pub use self::pins::Pins;
use crate::http::{Outbound, shown_url};
use crate::recording::Recording;
use crate::services::MetadataChange;
use crate::world::{Answer, BatchItem, HostFault, Relative, RunResult, World};

/// What becomes of a call that the recording does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unmatched {
    /// The guest sees an error.
    #[default]
    Block,
    /// The replay is over: [`Tape::failed`].
    Fail,
}

/// Who answered a call that reaches beyond the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnsweredBy {
    /// The recording, which has the same call.
    Recorded,
    /// The recording, which has this call with other arguments.
    Changed,
    /// A canned answer.
    Stub,
    /// The world outside.
    Live,
    /// Nobody needed to: it was noted.
    Captured,
    /// The one who executes children.
    Executed,
    /// Nobody.
    Unmatched,
}

/// A canned answer.
#[derive(Debug, Clone)]
pub enum Stub {
    /// For HTTP requests.
    Http {
        /// `None`: whatever the method.
        method: Option<String>,
        /// The URL, or a beginning of it followed by `*`.
        url: String,
        /// The status, 100 to 999.
        status: u16,
        /// Names and values.
        headers: Vec<(String, String)>,
        /// The body.
        body: Bytes,
    },
    /// For runs of a task: the output as JSON text, or why there is none.
    Run {
        /// The id of the task.
        task: String,
        /// How the run ends.
        output: Result<String, crate::world::RunError>,
    },
}

/// Executes the runs that a replayed run triggers, where that is wanted.
#[async_trait]
pub trait Children: Send + Sync {
    /// Executes it to its end. `recorded` is the id of the run that was triggered then in its place, where
    /// there was one. The id in the result does not count.
    async fn execute(&self, item: BatchItem, recorded: Option<String>) -> Answer<RunResult>;
}

/// What a tape does beside answering from the recording.
#[derive(Default)]
pub struct Options {
    /// What becomes of calls that nobody answers.
    pub unmatched: Unmatched,
    /// Canned answers, for calls that the recording does not answer; the first that fits.
    pub stubs: Vec<Stub>,
    /// Sends `GET` and `HEAD` requests that nothing else answers; `None`: nobody.
    pub live: Option<Arc<dyn Outbound>>,
    /// Is told of changes of the metadata of relatives, each of which worked.
    pub changes: Option<Arc<dyn Fn(Relative, MetadataChange) + Send + Sync>>,
    /// Executes children; `None`: what is recorded of them is used.
    pub children: Option<Arc<dyn Children>>,
    /// Names the run: what is made up depends on it, and on nothing else.
    pub seed: u64,
    /// What the clocks show before the recording says what they showed, in milliseconds since 1970.
    pub started_ms: u64,
}

/// The answers of one replay. Clones share it.
#[derive(Clone)]
pub struct Tape(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    options: Options,
    pins: Pins,
    failed: Notify,
}

struct State {
    exchanges: exchanges::Exchanges,
    world: world::Recorded,
    /// Who answered, by the numbers of requests.
    requests: HashMap<u32, AnsweredBy>,
    /// Who answered the other calls, in their order.
    calls: Vec<AnsweredBy>,
    /// The first call for which the replay is over.
    failure: Option<String>,
}

impl Tape {
    /// The answers of a recording.
    ///
    /// # Errors
    ///
    /// If the recording is damaged.
    pub fn new(recording: &Recording, options: Options) -> Result<Self, HostFault> {
        let pins = Pins::new(recording, options.seed, options.started_ms)?;
        let state = State {
            exchanges: exchanges::Exchanges::new(recording)?,
            world: world::Recorded::new(recording)?,
            requests: HashMap::new(),
            calls: Vec::new(),
            failure: None,
        };
        Ok(Self(Arc::new(Inner { state: Mutex::new(state), options, pins, failed: Notify::new() })))
    }

    /// What stands in for the network.
    pub fn outbound(&self) -> Arc<dyn Outbound> {
        Arc::new(self.clone())
    }

    /// What stands in for everything else beyond the run.
    pub fn world(&self) -> Arc<dyn World> {
        Arc::new(self.clone())
    }

    /// What stands in for clocks, random numbers and variables.
    pub fn pins(&self) -> Pins {
        self.0.pins.clone()
    }

    /// Resolves when the replay is over because of a call that nobody answers; the text names it.
    pub async fn failed(&self) -> String {
        loop {
            let notified = self.0.failed.notified();
            if let Some(failure) = self.state().failure.clone() {
                return failure;
            }
            notified.await;
        }
    }

    /// Who answered the calls that reach beyond the run, as [`Recording::reaches`] of the replay lists
    /// them: given whether each is an HTTP request.
    pub fn answered(&self, are_requests: impl IntoIterator<Item = bool>) -> Vec<AnsweredBy> {
        let state = self.state();
        let (mut exchange, mut calls) = (0, state.calls.iter());
        let next = |is_request| {
            if is_request {
                exchange += 1;
                state.requests.get(&exchange)
            } else {
                calls.next()
            }
        };
        // A call that was refused before it came here reached nobody.
        are_requests.into_iter().map(next).map(|by| by.copied().unwrap_or(AnsweredBy::Unmatched)).collect()
    }

    /// Whether the guest asked for variables that the recording does not have.
    pub fn was_asked_for_variables(&self) -> bool {
        self.0.pins.was_asked_for_variables()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody answers this.
    fn unmatched(&self, call: impl FnOnce() -> String) {
        if self.0.options.unmatched == Unmatched::Fail {
            self.state().failure.get_or_insert_with(call);
            self.0.failed.notify_waiters();
        }
    }
}

/// The things of a recording that were asked for by one text, each to be given once.
struct Shelf<T> {
    by_text: HashMap<String, Vec<Item<T>>>,
}

struct Item<T> {
    key: u64,
    is_taken: bool,
    thing: T,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { by_text: HashMap::new() }
    }
}

impl<T> Shelf<T> {
    fn put(&mut self, text: String, key: u64, thing: T) {
        self.by_text.entry(text).or_default().push(Item { key, is_taken: false, thing });
    }

    /// The first that is left under this text and this key; else the first that is left under this text.
    fn take(&mut self, text: &str, key: u64) -> Option<(&T, AnsweredBy)> {
        let items = self.by_text.get_mut(text)?;
        let same = items.iter().position(|item| !item.is_taken && item.key == key);
        let by = if same.is_some() { AnsweredBy::Recorded } else { AnsweredBy::Changed };
        let place = same.or_else(|| items.iter().position(|item| !item.is_taken))?;
        let item = &mut items[place];
        item.is_taken = true;
        Some((&item.thing, by))
    }
}
