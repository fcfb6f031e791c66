//! What a run can wait for, and what comes of it.

use std::time::Duration;

use super::Timestamp;
use super::id::{RunId, WaitpointId};
use super::run::{RunError, Status};

/// Something that a run can wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Awaited {
    /// A moment.
    Moment(Timestamp),
    /// The end of a wait token.
    Token(WaitpointId),
    /// The end of a run.
    Run(RunId),
    /// The ends of all these runs.
    Runs(Vec<RunId>),
}

/// What came of something that was waited for.
#[derive(Debug, Clone, PartialEq)]
pub enum WaitOutcome {
    /// The moment has come.
    Elapsed,
    /// The token was completed, with this JSON text or with nothing.
    Completed(Option<String>),
    /// The token's time ran out.
    TimedOut,
    /// The run has ended.
    Ended(EndedRun),
    /// All the runs have ended; in the order in which they were named.
    AllEnded(Vec<EndedRun>),
    /// There is no such token, or one of the runs does not exist: nobody will ever end it.
    Missing,
}

/// A run that has ended, for one that waited for it.
#[derive(Debug, Clone, PartialEq)]
pub struct EndedRun {
    /// Its name.
    pub id: RunId,
    /// What it ran.
    pub task: String,
    /// A final status.
    pub status: Status,
    /// JSON text, where it completed.
    pub output: Option<String>,
    /// Why it did not complete; or, of one that did, why its output is not here: with those before
    /// it, it would be more than `MAX_OUTCOME_BYTES`.
    pub error: Option<RunError>,
    /// CPU time of all its attempts.
    pub cpu: Duration,
}
