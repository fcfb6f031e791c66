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

impl WaitpointStatus {
    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::TimedOut => "timed-out",
        }
    }

    /// The status of a stored word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Waiting, Self::Completed, Self::TimedOut].into_iter().find(|status| status.as_str() == word)
    }
}
