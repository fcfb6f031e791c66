//! What the embedder does for a run beyond its log and its own metadata: everything that reaches
//! other runs, or waits.
//!
//! Each call happens once: what it answered is in the journal, and is answered from there when the
//! run is brought back. A call that was cut off before its answer was kept is done again, under the
//! same [`CallNumber`].

use wasmtime_wasi::async_trait;

pub use crate::generated::dacapo::task::relatives::Relative;
pub use crate::generated::dacapo::task::runs::{
    BatchHandle, BatchItem, Debounce, Delay, IdempotencyKey, RunHandle, TriggerError, TriggerOptions,
};
pub use crate::generated::dacapo::task::tokens::{Timeout, Token, TokenOptions};
pub use crate::generated::dacapo::task::wait::{FailedStatus, Outcome, RunError, RunResult};
use crate::services::{MetadataChange, MetadataError};

/// The place of a call among those of an attempt that have one, from 1. The same call has the same
/// number whenever the attempt is brought back, and also when it begins anew without a journal, as long
/// as the task does the same again: answers that come at different times do not change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallNumber(pub u64);

/// The host could not do its part: no fault of the guest. The text is for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HostFault(pub String);

/// A call's answer, unless the host failed.
pub type Answer<T> = Result<T, HostFault>;

/// Something that can be waited for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Awaited {
    /// A moment, in milliseconds since 1970.
    Moment(u64),
    /// A wait token, by its id.
    Token(String),
    /// The end of a run, by its id.
    Run(String),
    /// The ends of all these runs, by their ids.
    Runs(Vec<String>),
}

/// A guest's handle on something that can be waited for.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    /// What it is.
    pub awaited: Awaited,
    /// Whether it is there.
    pub state: State,
}

/// Whether something that is waited for is there.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// As far as the guest knows, it is not.
    NotThere,
    /// It is, and this came of it.
    There(Outcome),
    /// It was, and the guest has taken what came of it.
    Taken,
}

impl State {
    /// What came of it, if it is there and was not taken before.
    pub(crate) fn take(&mut self) -> Option<Outcome> {
        match std::mem::replace(self, Self::Taken) {
            Self::There(outcome) => Some(outcome),
            Self::Taken => None,
            Self::NotThere => {
                *self = Self::NotThere;
                None
            }
        }
    }
}

/// What a run waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// These things, at least one.
    pub of: Vec<Awaited>,
    /// Whether it waits for all of them, or for any.
    pub all: bool,
}

/// Reaches beyond the run.
#[async_trait]
pub trait World: Send + Sync {
    /// Milliseconds since 1970, by the clock that [`Awaited::Moment`] is meant by.
    fn now(&self) -> u64;

    /// Whether the guest may wait. One that does although it may not is stopped.
    fn can_wait(&self) -> bool;

    /// Triggers a child. One that is `awaited` runs on this run's version.
    async fn trigger(
        &self,
        call: CallNumber,
        item: BatchItem,
        awaited: bool,
    ) -> Answer<Result<RunHandle, TriggerError>>;

    /// Triggers a batch of children, all of them or none.
    async fn trigger_batch(
        &self,
        call: CallNumber,
        items: Vec<BatchItem>,
        awaited: bool,
    ) -> Answer<Result<BatchHandle, TriggerError>>;

    /// Makes a wait token; the error is for people.
    async fn create_token(&self, call: CallNumber, options: TokenOptions) -> Answer<Result<Token, String>>;

    /// Completes a wait token with a JSON text or nothing; the error is for people.
    async fn complete_token(&self, id: String, value: Option<String>) -> Answer<Result<(), String>>;

    /// Whether there is a wait token of this name; the error says no, for people.
    async fn find_token(&self, id: String) -> Answer<Result<(), String>>;

    /// Changes the metadata of a relative.
    async fn change_metadata(&self, of: Relative, change: MetadataChange) -> Answer<Result<(), MetadataError>>;

    /// Adds tags to a relative; the error is for people.
    async fn add_tags(&self, to: Relative, tags: Vec<String>) -> Answer<Result<(), String>>;

    /// Adds chunks to a stream of a relative; the error is for people. After a crash, what was added
    /// since the last wait is added again, as the HTTP requests since then are made again: what a
    /// stream says is mostly made of their answers, so that the second time it says something else.
    async fn append(&self, of: Relative, name: String, chunks: Vec<String>) -> Answer<Result<(), String>>;

    /// Waits, for days perhaps, and answers with what is there: places in `wait.of`, in ascending
    /// order, and what came of each.
    async fn wait(&self, wait: Wait) -> Answer<Vec<(u32, Outcome)>>;
}

/// A world in which there is nothing beyond the run: every call fails as a fault of the host.
pub struct NoWorld;

impl NoWorld {
    fn fault<T>() -> Answer<T> {
        Err(HostFault("nothing beyond the run can be reached from here".into()))
    }
}

#[async_trait]
impl World for NoWorld {
    fn now(&self) -> u64 {
        0
    }

    fn can_wait(&self) -> bool {
        false
    }

    async fn trigger(&self, _: CallNumber, _: BatchItem, _: bool) -> Answer<Result<RunHandle, TriggerError>> {
        Self::fault()
    }

    async fn trigger_batch(
        &self,
        _: CallNumber,
        _: Vec<BatchItem>,
        _: bool,
    ) -> Answer<Result<BatchHandle, TriggerError>> {
        Self::fault()
    }

    async fn create_token(&self, _: CallNumber, _: TokenOptions) -> Answer<Result<Token, String>> {
        Self::fault()
    }

    async fn complete_token(&self, _: String, _: Option<String>) -> Answer<Result<(), String>> {
        Self::fault()
    }

    async fn find_token(&self, _: String) -> Answer<Result<(), String>> {
        Self::fault()
    }

    async fn change_metadata(&self, _: Relative, _: MetadataChange) -> Answer<Result<(), MetadataError>> {
        Self::fault()
    }

    async fn add_tags(&self, _: Relative, _: Vec<String>) -> Answer<Result<(), String>> {
        Self::fault()
    }

    async fn append(&self, _: Relative, _: String, _: Vec<String>) -> Answer<Result<(), String>> {
        Self::fault()
    }

    async fn wait(&self, _: Wait) -> Answer<Vec<(u32, Outcome)>> {
        Self::fault()
    }
}
