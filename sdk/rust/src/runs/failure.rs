//! Why a run was not made, or did not complete.

use std::fmt;

use serde::de::DeserializeOwned;

use super::wit;
use crate::bindings::dacapo::task::wait as wit_wait;
use crate::wait::unexpected;

/// Why nothing was triggered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TriggerError {
    /// The request asks for something that cannot be; the text says what, and what to do.
    Invalid(String),
    /// The payload does not fit the task's schema; one line for each problem.
    PayloadRejected(Vec<String>),
    /// So many runs of the environment wait to start that there is no room for more.
    QueueFull(String),
}

impl fmt::Display for TriggerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(reason) | Self::QueueFull(reason) => f.write_str(reason),
            Self::PayloadRejected(problems) => {
                write!(f, "the payload does not fit the task's schema: {}", problems.join("; "))
            }
        }
    }
}

impl std::error::Error for TriggerError {}

impl From<wit::TriggerError> for TriggerError {
    fn from(error: wit::TriggerError) -> Self {
        match error {
            wit::TriggerError::Invalid(reason) => Self::Invalid(reason),
            wit::TriggerError::PayloadRejected(problems) => Self::PayloadRejected(problems),
            wit::TriggerError::QueueFull(reason) => Self::QueueFull(reason),
        }
    }
}

/// Why a child gave no output.
///
/// `?` makes a [`TaskError`](crate::TaskError) of it, so that this run fails, too, with the child's
/// id and error in its message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildError {
    /// There is no child.
    NotTriggered(TriggerError),
    /// It ended otherwise than by completing.
    Failed {
        /// `run_…`
        run_id: String,
        /// Its task.
        task_id: String,
        /// How it ended, and why.
        failure: Box<RunFailure>,
    },
    /// Its output is not of the type that was asked for.
    InvalidOutput {
        /// `run_…`
        run_id: String,
        /// Its task.
        task_id: String,
        /// What does not fit.
        reason: String,
    },
}

impl ChildError {
    /// The child; `None` where there is none.
    pub fn run_id(&self) -> Option<&str> {
        match self {
            Self::NotTriggered(_) => None,
            Self::Failed { run_id, .. } | Self::InvalidOutput { run_id, .. } => Some(run_id),
        }
    }

    /// How the child ended, and why; `None` where there is none, or where it completed.
    pub fn failure(&self) -> Option<&RunFailure> {
        match self {
            Self::Failed { failure, .. } => Some(failure),
            Self::NotTriggered(_) | Self::InvalidOutput { .. } => None,
        }
    }
}

impl fmt::Display for ChildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTriggered(error) => error.fmt(f),
            Self::Failed { run_id, task_id, failure } => write!(f, "{run_id} (task \"{task_id}\") {failure}"),
            Self::InvalidOutput { run_id, task_id, reason } => {
                write!(f, "the output of {run_id} (task \"{task_id}\") does not fit: {reason}")
            }
        }
    }
}

impl std::error::Error for ChildError {}

impl From<TriggerError> for ChildError {
    fn from(error: TriggerError) -> Self {
        Self::NotTriggered(error)
    }
}

/// Why a run did not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunFailure {
    /// How it ended.
    pub status: FailedStatus,
    /// The kind of error, for example `Error` or `InvalidOrder`.
    pub name: String,
    /// For people.
    pub message: String,
    /// Where it happened, one frame a line, as far as that is known.
    pub stack: Option<String>,
}

impl RunFailure {
    /// A failure, for tests of a hook.
    pub fn new(status: FailedStatus, name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, name: name.into(), message: message.into(), stack: None }
    }
}

impl fmt::Display for RunFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.status, self.name, self.message)
    }
}

impl std::error::Error for RunFailure {}

/// The ends of a run other than completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailedStatus {
    /// The task returned an error, and no attempt was left.
    Failed,
    /// It trapped, exited or ran out of memory.
    Crashed,
    /// It passed a limit of time.
    TimedOut,
    /// Somebody canceled it.
    Canceled,
    /// It stayed queued for too long.
    Expired,
    /// The server failed it.
    SystemFailure,
}

impl fmt::Display for FailedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "failed",
            Self::Crashed => "crashed",
            Self::TimedOut => "timed out",
            Self::Canceled => "was canceled",
            Self::Expired => "expired",
            Self::SystemFailure => "was failed by the server",
        })
    }
}

impl From<wit_wait::RunError> for RunFailure {
    fn from(error: wit_wait::RunError) -> Self {
        let status = match error.status {
            wit_wait::FailedStatus::Failed => FailedStatus::Failed,
            wit_wait::FailedStatus::Crashed => FailedStatus::Crashed,
            wit_wait::FailedStatus::TimedOut => FailedStatus::TimedOut,
            wit_wait::FailedStatus::Canceled => FailedStatus::Canceled,
            wit_wait::FailedStatus::Expired => FailedStatus::Expired,
            wit_wait::FailedStatus::SystemFailure => FailedStatus::SystemFailure,
        };
        Self { status, name: error.name, message: error.message, stack: error.stack }
    }
}

/// Reads what came of a child.
pub(super) fn read_ended<O: DeserializeOwned>(outcome: wit_wait::Outcome) -> Result<O, ChildError> {
    match outcome {
        wit_wait::Outcome::Ended(result) => read_result(result),
        other => unexpected("a child", &other),
    }
}

pub(super) fn read_result<O: DeserializeOwned>(result: wit_wait::RunResult) -> Result<O, ChildError> {
    let wit_wait::RunResult { id: run_id, task_id, output, cpu: _ } = result;
    match output {
        Ok(json) => serde_json::from_str(&json).map_err(|error| ChildError::InvalidOutput {
            run_id,
            task_id,
            reason: error.to_string(),
        }),
        Err(error) => Err(ChildError::Failed { run_id, task_id, failure: Box::new(error.into()) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TaskError;

    fn ended(output: Result<&str, RunFailure>) -> wit_wait::Outcome {
        let output = output.map(str::to_owned).map_err(|failure| wit_wait::RunError {
            status: wit_wait::FailedStatus::Failed,
            name: failure.name,
            message: failure.message,
            stack: None,
        });
        wit_wait::Outcome::Ended(wit_wait::RunResult { id: "run_a".into(), task_id: "resize".into(), output, cpu: 7 })
    }

    #[test]
    fn the_output_of_a_child_is_read() {
        assert_eq!(read_ended::<(u8, String)>(ended(Ok(r#"[7,"x"]"#))), Ok((7, "x".into())));

        let error = read_ended::<u8>(ended(Ok("\"x\""))).expect_err("it is a text");
        assert_eq!(error.run_id(), Some("run_a"));
        assert!(error.to_string().starts_with("the output of run_a (task \"resize\") does not fit: invalid type"));
    }

    #[test]
    fn a_failed_child_fails_its_parent_with_its_own_words() {
        let failure = RunFailure::new(FailedStatus::Failed, "InvalidImage", "no pixels");
        let error = read_ended::<u8>(ended(Err(failure.clone()))).expect_err("it failed");

        assert_eq!(error.failure(), Some(&failure));
        let error = TaskError::from(error);
        assert_eq!(error.name, "ChildError");
        assert_eq!(error.message, "run_a (task \"resize\") failed: InvalidImage: no pixels");
    }

    #[test]
    fn a_refused_payload_says_all_that_is_wrong() {
        let error = TriggerError::from(wit::TriggerError::PayloadRejected(vec!["a: no".into(), "b: no".into()]));
        assert_eq!(error.to_string(), "the payload does not fit the task's schema: a: no; b: no");
    }
}
