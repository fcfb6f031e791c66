//! Recording files, and exact re-executions, as the API shows them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{Change, End, Listed, LogLines, Used};

/// A run with all that it was given, told and answered, and what came of it: enough to execute it again, with nothing
/// but its component. Whoever has the file has what the run had: payload, bodies, variables.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordingFile {
    /// How the rest is written: 1.
    pub format: u32,
    /// Whether secrets were taken out of the journal: variables, secret headers, URLs of tokens. A run that computed
    /// something from them cannot be executed exactly any more.
    #[serde(default)]
    pub redacted: bool,
    /// The run.
    pub run_id: String,
    /// Its task.
    pub task_identifier: String,
    /// The version that it ran on.
    pub version: String,
    /// The SHA-256 of the component of that version, 64 hexadecimal digits.
    pub component: String,
    /// What it was given.
    #[schema(value_type = serde_json::Value)]
    pub payload: Box<RawValue>,
    /// Its metadata as it was given them: an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub metadata: Option<Box<RawValue>>,
    /// Its machine preset, where it overrides the task's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The CPU seconds of an attempt, where they override the task's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<u32>,
    /// What its last attempt was told of itself.
    pub context: Value,
    /// What was seen of it.
    pub seen: RecordedEnd,
    /// What its last attempt was answered, in Base64.
    pub journal: String,
}

/// What was seen of a recorded run.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordedEnd {
    /// What it returned, where it completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub output: Option<Box<RawValue>>,
    /// Why it did not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<RecordedError>,
    /// Its log lines.
    #[serde(default)]
    pub logs: LogLines,
    /// Its metadata at its end: an object.
    #[schema(value_type = serde_json::Value)]
    pub metadata: Box<RawValue>,
    /// What it used.
    #[serde(default)]
    pub usage: Used,
}

/// Why a recorded run did not complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordedError {
    /// `task`, `crash`, `out-of-memory`, `time-limit` ….
    pub kind: String,
    /// The kind of error, in the author's words or ours.
    pub name: String,
    /// For people.
    pub message: String,
    /// One frame a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
}

/// The answer to `POST /api/v1/runs/{runId}/rerun`. No run was made, and nothing was reached outside.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RerunReport {
    /// The run that was executed again.
    pub run_id: String,
    /// Its task.
    pub task_identifier: String,
    /// The version that it ran on, and now again.
    pub version: String,
    /// Whether it asked the same, call by call, and ended the same.
    pub same: bool,
    /// Which call differs: what the journal has, and what came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mismatch: Option<String>,
    /// What differs in output or error.
    #[serde(default, skip_serializing_if = "Listed::is_empty")]
    pub differences: Listed<Change>,
    /// How it ended this time.
    pub end: End,
    /// Where it failed this time: one frame a line, innermost first, with places in the source where the component has
    /// debug information and it is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// What it used this time.
    pub usage: Used,
    /// Calls in the journal.
    pub calls: u64,
    /// The calls, with `steps=true`: the first 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<RerunStep>>,
}

/// A call of a guest to its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RerunStep {
    /// Which call it is, from 1.
    pub number: u64,
    /// For example `wall-clock.now`, or `http GET https://example.com`.
    pub call: String,
    /// The arguments, where there are more: a beginning of them, if they are long.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub arguments: String,
    /// What it was answered; absent where the attempt was cut off before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}
