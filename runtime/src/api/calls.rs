//! What a run has asked its host for, as the API shows it. Dacapo's own.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::serialize_instant_option;

/// `GET /api/v1/runs/{runId}/calls`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallList {
    /// The calls of the last attempt that reached beyond the run, or waited, in their order: 1,000 at most.
    pub calls: Vec<CallItem>,
    /// Whether there are more.
    pub is_cut: bool,
    /// Why there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A call that reaches beyond the run, or waits.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CallItem {
    /// Which call it is of all that the attempt has made, those included that are not listed; from 1.
    pub seq: u64,
    /// The attempt.
    pub attempt: u32,
    /// `http`, `trigger`, `batch-trigger`, `create-token`, `complete-token`, `metadata`, `tags`, `stream` or `wait`.
    pub kind: String,
    /// Whom it reaches: method and URL, a task, a token, a relative, a stream; of a batch and a wait, how many things.
    pub target: String,
    /// The arguments: a beginning of them, if they are long.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub arguments: String,
    /// When it was made. Absent where an earlier version recorded it.
    #[serde(serialize_with = "serialize_instant_option", skip_serializing_if = "Option::is_none", default)]
    pub at: Option<Timestamp>,
    /// How long it was until the answer; of a request, until the last was read of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
    /// What there is to say of a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCall>,
    /// What was wrong: it was refused, there was no response, a body broke off, a run that was waited for failed, a token
    /// timed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether the attempt was cut off before the answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_unanswered: bool,
    /// The runs that it has made or waited for: 100 at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub run_ids: Vec<String>,
    /// The token that it has made, completed or waited for: the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
}

/// An HTTP request, as far as the task looked.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpCall {
    /// `GET` ….
    pub method: String,
    /// Without secrets.
    pub url: String,
    /// With its port, where it has one.
    pub host: String,
    /// Of the response, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Bytes of the body that was sent, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_bytes: Option<u64>,
    /// Bytes that the task has read of the response's body.
    pub response_bytes: u64,
}

/// `GET /api/v1/runs/{runId}/context`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunContext {
    /// What the task could know of its run: the records of the WIT interface `context`.
    pub context: Value,
    /// Whether it is what its last attempt was told; else it is what one would be told now.
    pub is_recorded: bool,
}
