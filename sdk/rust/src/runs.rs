//! Triggering other tasks of the same environment. The new run is a *child* of this one.
//!
//! ```no_run
//! use dacapo::prelude::*;
//! use std::time::Duration;
//!
//! fn publish(_: &Context, image: String) -> Result<u64> {
//!     // Goes on at once; nobody hears how it ends.
//!     runs::child("index", &image).delay(Duration::from_secs(60)).trigger()?;
//!
//!     // Waits for its output.
//!     let bytes: u64 = runs::child("resize", &image).queue("images").tag("thumbnail").trigger_and_wait()?;
//!
//!     // Waits for twenty at the same time.
//!     let pages = (1..=20).map(|page| runs::child("render", page));
//!     let texts = runs::batch(pages).trigger_and_wait::<String>()?;
//!     let failed = texts.iter().filter(|text| text.is_err()).count();
//!     warn!("{failed} of {} pages failed", texts.len());
//!     Ok(bytes)
//! }
//! ```
//!
//! A child that is waited for runs on this run's version; one that is not runs on whatever version is
//! current when it starts. A call that is done again after a crash finds the child that it made
//! before. To wait for several children, moments and tokens at once, see
//! [`wait`](crate::wait#several-things-at-once).
//!
//! Outside a component, in a unit test for example, there are no other runs: whatever would make one
//! gives a [`TriggerError`] that says so.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::dacapo::task::runs as wit;

mod batch;
mod child;
mod failure;
mod options;

pub use batch::{Batch, Outputs, batch};
pub use child::{Child, child};
pub use failure::{ChildError, FailedStatus, RunFailure, TriggerError};
pub use options::{Debounce, IdempotencyKey};

/// A run that was made, or found under its idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunHandle {
    /// `run_…`
    pub id: String,
    /// Whether an idempotency key named an older run.
    pub is_cached: bool,
}

/// Runs that were made together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchHandle {
    /// `batch_…`
    pub id: String,
    /// In the order in which they were listed.
    pub runs: Vec<RunHandle>,
}

/// Triggers a run and goes on. [`child()`] does the same with options.
pub fn trigger(task_id: &str, payload: impl Serialize) -> Result<RunHandle, TriggerError> {
    child(task_id, payload).trigger()
}

/// Triggers a run and waits for its output. [`child()`] does the same with options.
pub fn trigger_and_wait<O: DeserializeOwned + 'static>(
    task_id: &str,
    payload: impl Serialize,
) -> Result<O, ChildError> {
    child(task_id, payload).trigger_and_wait()
}

/// Triggers a run of one task for each of 1 to 1,000 payloads, and goes on: all of them, or none.
/// [`batch()`] does the same with options, and for different tasks.
pub fn batch_trigger<P: Serialize>(
    task_id: &str,
    payloads: impl IntoIterator<Item = P>,
) -> Result<BatchHandle, TriggerError> {
    batch(payloads.into_iter().map(|payload| child(task_id, payload))).trigger()
}

/// Triggers a run of one task for each of 1 to 1,000 payloads, all of them or none, and waits until
/// all have ended. [`batch()`] does the same with options, and for different tasks.
pub fn batch_trigger_and_wait<O: DeserializeOwned + 'static>(
    task_id: &str,
    payloads: impl IntoIterator<Item = impl Serialize>,
) -> Result<Outputs<O>, TriggerError> {
    batch(payloads.into_iter().map(|payload| child(task_id, payload))).trigger_and_wait()
}

impl From<wit::RunHandle> for RunHandle {
    fn from(handle: wit::RunHandle) -> Self {
        Self { id: handle.id, is_cached: handle.is_cached }
    }
}

impl From<wit::BatchHandle> for BatchHandle {
    fn from(handle: wit::BatchHandle) -> Self {
        Self { id: handle.id, runs: handle.runs.into_iter().map(Into::into).collect() }
    }
}
