//! Errors: of requests, and of runs.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::run::{ErrorKind, RunError};

/// The body of every answer that is not 2xx.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What was wrong and what to do, for people.
    pub error: String,
    /// A stable word for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What of the request was wrong.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub param: Option<String>,
    /// The sort of error.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none", default)]
    pub kind: Option<String>,
    /// More of the same, one problem an entry.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub details: Vec<String>,
}

/// Why a run failed, as its details show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SerializedError {
    /// For people.
    pub message: String,
    /// The kind of error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// One frame a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_trace: Option<String>,
}

impl From<&RunError> for SerializedError {
    fn from(error: &RunError) -> Self {
        Self { message: error.message.clone(), name: Some(error.name.clone()), stack_trace: error.stack.clone() }
    }
}

/// Why a run failed, as its result shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskRunError {
    /// The task returned it.
    #[serde(rename_all = "camelCase")]
    BuiltInError {
        /// The kind of error.
        name: String,
        /// For people.
        message: String,
        /// One frame a line; may be empty.
        stack_trace: String,
    },
    /// The platform ended the run.
    #[serde(rename_all = "camelCase")]
    InternalError {
        /// One of the contract's codes.
        code: String,
        /// For people.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// One frame a line.
        #[serde(skip_serializing_if = "Option::is_none")]
        stack_trace: Option<String>,
    },
}

impl From<&RunError> for TaskRunError {
    fn from(error: &RunError) -> Self {
        let code = match error.kind {
            ErrorKind::Task => {
                return Self::BuiltInError {
                    name: error.name.clone(),
                    message: error.message.clone(),
                    stack_trace: error.stack.clone().unwrap_or_default(),
                };
            }
            ErrorKind::Crash => "TASK_RUN_CRASHED",
            ErrorKind::OutOfMemory => "TASK_PROCESS_OOM_KILLED",
            ErrorKind::TimeLimit => "MAX_DURATION_EXCEEDED",
            ErrorKind::Canceled => "TASK_RUN_CANCELLED",
            ErrorKind::Expired => "TASK_EXECUTION_ABORTED",
            ErrorKind::System => "TASK_RUN_STALLED_EXECUTING",
        };
        Self::InternalError {
            code: code.into(),
            message: Some(error.message.clone()),
            stack_trace: error.stack.clone(),
        }
    }
}
