//! What a wait token can be: waiting, completed, or timed out. The last two are final.

/// How far a wait token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitpointStatus {
    /// Nobody has completed it, and its time is not over.
    Waiting,
    /// Somebody has.
    Completed,
    /// Nobody has in time.
    TimedOut,
}

words!(WaitpointStatus { Waiting = "waiting", Completed = "completed", TimedOut = "timed-out", });
