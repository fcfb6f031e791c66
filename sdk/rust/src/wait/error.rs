//! What comes of waiting for a token.

use std::fmt;

use serde::de::DeserializeOwned;

use super::pending::unexpected;
use super::wit;

/// Why a token gave no value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitError {
    /// There is no such token in the run's environment.
    NoSuchToken(String),
    /// Nobody completed it in time.
    TimedOut,
    /// It was completed with a value of another type.
    InvalidValue(String),
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchToken(reason) => f.write_str(reason),
            Self::TimedOut => f.write_str("nobody completed the token in time"),
            Self::InvalidValue(reason) => {
                write!(f, "the token was completed with a value that does not fit: {reason}")
            }
        }
    }
}

impl std::error::Error for WaitError {}

/// Reads what came of a token. One that was completed with nothing reads as `null`.
pub(super) fn read_token<T: DeserializeOwned>(outcome: wit::Outcome) -> Result<T, WaitError> {
    match outcome {
        wit::Outcome::Completed(value) => {
            let json = value.as_deref().unwrap_or("null");
            serde_json::from_str(json).map_err(|error| WaitError::InvalidValue(error.to_string()))
        }
        wit::Outcome::TokenTimedOut => Err(WaitError::TimedOut),
        other => unexpected("a token", &other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_what_it_was_completed_with() {
        let completed = |json: &str| wit::Outcome::Completed(Some(json.to_owned()));

        assert_eq!(read_token::<bool>(completed("true")), Ok(true));
        assert_eq!(read_token::<()>(wit::Outcome::Completed(None)), Ok(()));
        assert_eq!(read_token::<Option<u8>>(wit::Outcome::Completed(None)), Ok(None));
        assert_eq!(read_token::<bool>(wit::Outcome::TokenTimedOut), Err(WaitError::TimedOut));
        let error = read_token::<bool>(completed("7")).expect_err("7 is no truth");
        assert!(matches!(error, WaitError::InvalidValue(_)), "{error}");
    }
}
