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
//! | metadata | the key and their order, as long as the guest has changed them as it did then; else those that were given |
//! | changes of metadata, tags, streams | not at all: they are noted, and nothing else happens |
//! | files outside the scratch directory | not at all: they are refused, as they always are, and noted |
//!
//! What is not found is up to [`Options::unmatched`]. What the guest asks is noted ([`Tape::journal`]), and who answered
//! it; [`Tape::finish`] has these notes. How much of a replay is kept in memory is bounded by its [`Session`].

mod exchanges;
mod looks;
mod notes;
mod pins;
mod session;
mod shelf;
mod waits;
mod world;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

pub use self::looks::SeenFirst;
pub(crate) use self::notes::Notes;
pub use self::pins::Pins;
pub use self::session::{Held, Session, Stop};
use self::shelf::Shelf;
use crate::http::{Outbound, shown_url};
use crate::journal::{Journal, Kind};
use crate::recording::{Reach, ReachKind, Recording};
use crate::services::MetadataChange;
use crate::world::{Answer, BatchItem, HostFault, Relative, RunResult, World};

/// What becomes of a call that the recording does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unmatched {
    /// The guest sees an error.
    #[default]
    Block,
    /// The replay is over: [`Session::stopped`].
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
    /// Whether it can execute runs of this task. Recorded results are used of others.
    fn can_execute(&self, task: &str) -> bool;

    /// Executes it to its end. `recorded` is the id of the run that was triggered then in its place, where
    /// there was one. The id in the result does not count. `None`: that one has no recording, so that there is nothing to
    /// execute it from; how it ended then counts.
    async fn execute(&self, item: BatchItem, recorded: Option<String>) -> Answer<Option<RunResult>>;
}

/// The variables of now, of those that the recording may lack.
#[derive(Clone, Default)]
pub struct Variables {
    /// Names and values.
    pub current: Arc<Vec<(String, String)>>,
    /// Whether a guest sees those that the recording lacks.
    pub are_offered: bool,
}

/// What a tape does beside answering from the recording.
pub struct Options {
    /// What it shares with the other tapes of the replay.
    pub session: Session,
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
    /// The variables of now.
    pub variables: Variables,
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
    notes: Notes,
}

struct State {
    exchanges: exchanges::Exchanges,
    world: world::Recorded,
    /// Who answered, by the numbers of requests.
    requests: HashMap<u32, AnsweredBy>,
    /// Who answers requests that the recording does not answer, by their numbers.
    otherwise: HashMap<u32, AnsweredBy>,
    /// Who answered the other calls, in their order.
    calls: Vec<AnsweredBy>,
    /// What the guest wanted to know that nobody knows, where it did not call anybody.
    unknown: Vec<Reach>,
}

/// What is known of a replay at its end.
#[derive(Debug)]
pub struct Finished {
    /// The calls that reached beyond the run, or would have, in the order in which they were made, and who answered
    /// them.
    pub reaches: Vec<(Reach, AnsweredBy)>,
    /// Tells apart what guests did to their own metadata.
    pub metadata_digest: u64,
    /// The names of the variables of now that the recording lacks, if the guest asked for variables.
    pub new_variables: Vec<String>,
}

impl Tape {
    /// The answers of a recording.
    ///
    /// # Errors
    ///
    /// If the recording is damaged.
    pub fn new(recording: &Recording, options: Options) -> Result<Self, HostFault> {
        let pins = Pins::new(recording, &options)?;
        let state = State {
            exchanges: exchanges::Exchanges::new(recording)?,
            world: world::Recorded::new(recording)?,
            requests: HashMap::new(),
            otherwise: HashMap::new(),
            calls: Vec::new(),
            unknown: Vec::new(),
        };
        let notes = Notes::new(options.session.clone());
        Ok(Self(Arc::new(Inner { state: Mutex::new(state), options, pins, notes })))
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

    /// What stands in for the journal: it has no answers, and keeps none.
    pub fn journal(&self) -> Journal {
        Journal::noting(self.0.notes.clone())
    }

    /// What is known of the replay, once, when it is over.
    ///
    /// # Errors
    ///
    /// If the notes cannot be read, which is a fault of the host.
    pub fn finish(&self) -> Result<Finished, HostFault> {
        let asked = self.0.notes.taken();
        let mut state = self.state();
        let mut calls = std::mem::take(&mut state.calls).into_iter();
        let mut answered = Vec::new();
        for call in asked.calls.iter().filter(|call| call.reach().is_some()) {
            answered.push(match call.kind {
                Kind::Http => state.who_answered(call.exchange, call.key),
                // What is refused to everybody takes no answer.
                Kind::Outside => AnsweredBy::Captured,
                // The guest was stopped in the middle of it.
                _ => calls.next().unwrap_or(match self.0.options.children {
                    Some(_) => AnsweredBy::Executed,
                    None => AnsweredBy::Unmatched,
                }),
            });
        }
        let mut unknown = std::mem::take(&mut state.unknown);
        drop(state);
        if self.0.pins.variables_are_unknown() {
            unknown.push(Reach::unknown(ReachKind::Environment, "environment variables".into()));
        }
        let unknown = unknown.into_iter().map(|reach| (reach, AnsweredBy::Unmatched));
        let reaches = asked.reaches()?.into_iter().zip(answered).chain(unknown).collect();
        let (metadata_digest, new_variables) = (self.0.notes.metadata_digest(), self.0.pins.lacking());
        Ok(Finished { reaches, metadata_digest, new_variables })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody answers this.
    fn unmatched(&self, call: impl FnOnce() -> String) {
        if self.0.options.unmatched == Unmatched::Fail {
            self.0.options.session.stop(Stop::Unmatched(call()));
        }
    }
}

impl State {
    /// Who answered a request; for one that was still under way, who would have.
    fn who_answered(&mut self, exchange: u32, key: u64) -> AnsweredBy {
        if let Some(by) = self.requests.get(&exchange) {
            return *by;
        }
        match self.exchanges.take(key, 0) {
            Some(_) => AnsweredBy::Recorded,
            // One that was refused before it came here reached nobody.
            None => self.otherwise.get(&exchange).copied().unwrap_or(AnsweredBy::Unmatched),
        }
    }
}
