//! Traces as the API shows them: a run, its attempts, the spans that they opened, the runs that
//! they triggered.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{RunStatus, serialize_instant};

/// A trace, or a page of it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum TraceOrPage {
    /// Without `page[size]`.
    Tree(Box<TraceAnswer>),
    /// With it.
    Page(TracePage),
}

/// `GET /api/v1/runs/{runId}/trace`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TraceAnswer {
    /// The run, and what lies in it.
    pub trace: Trace,
}

/// What happened in a run, as a tree.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// 32 hexadecimal digits: the same for all runs of a tree.
    pub trace_id: String,
    /// The run.
    pub root_span: TraceSpan,
}

/// A span, and the spans in it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TraceSpan {
    /// 16 hexadecimal digits.
    pub id: String,
    /// The span around it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent_id: Option<String>,
    /// The run it is of.
    pub run_id: String,
    /// What is known of it.
    pub data: SpanData,
    /// The spans in it, in the order in which they began.
    #[schema(no_recursion)]
    pub children: Vec<TraceSpan>,
}

/// What is known of a span in a tree.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpanData {
    /// Its name.
    pub message: String,
    /// The task of the run it is of.
    pub task_slug: String,
    /// What happened in it, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub events: Vec<SpanEvent>,
    /// When it began.
    #[serde(serialize_with = "serialize_instant")]
    #[schema(value_type = String, format = DateTime)]
    pub start_time: Timestamp,
    /// How long it lasted, or has lasted until now, in nanoseconds.
    pub duration: u64,
    /// Whether it ended badly.
    pub is_error: bool,
    /// Whether it has not ended.
    pub is_partial: bool,
    /// Whether somebody ended it.
    pub is_cancelled: bool,
    /// `TRACE`, `DEBUG`, `INFO`, `WARN` or `ERROR`.
    pub level: String,
    /// Of a run: the version it runs on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub worker_version: Option<String>,
    /// Of a run: its queue.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub queue_name: Option<String>,
    /// Of a run: its machine, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub machine_preset: Option<String>,
    /// JSON object.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Value)]
    pub properties: Option<Value>,
    /// Of the run that the trace is of: what it returned.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Value)]
    pub output: Option<Box<RawValue>>,
}

/// Something that happened in a span: `log`, `status` or `exception`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SpanEvent {
    /// What kind of thing.
    pub name: String,
    /// When.
    #[serde(serialize_with = "serialize_instant")]
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// JSON object.
    #[schema(value_type = Value)]
    pub properties: Value,
}

/// `GET /api/v1/runs/{runId}/trace?page[size]=…`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TracePage {
    /// Each after the span around it.
    pub data: Vec<FlatSpan>,
    /// The attempts on this page that failed.
    pub attempt_failures: Vec<AttemptFailure>,
    /// Where the next page begins.
    pub pagination: TracePagination,
}

/// A span of a page.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlatSpan {
    /// 16 hexadecimal digits.
    pub id: String,
    /// The span around it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent_id: Option<String>,
    /// The run it is of.
    pub run_id: String,
    /// Its name.
    pub message: String,
    /// When it began.
    #[serde(serialize_with = "serialize_instant")]
    #[schema(value_type = String, format = DateTime)]
    pub start_time: Timestamp,
    /// How long it lasted, or has lasted until now, in nanoseconds.
    pub duration: u64,
    /// Whether it ended badly.
    pub is_error: bool,
    /// Whether it has not ended.
    pub is_partial: bool,
    /// Whether somebody ended it.
    pub is_cancelled: bool,
    /// `TRACE`, `DEBUG`, `INFO`, `WARN` or `ERROR`.
    pub level: String,
    /// The attempt it is, or lies in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempt_number: Option<u32>,
}

/// An attempt that failed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttemptFailure {
    /// Its span.
    pub span_id: String,
    /// From 1.
    pub attempt_number: u32,
    /// The run it is of.
    pub run_id: String,
}

/// Where the next page of a trace begins.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TracePagination {
    /// For `page[after]`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<String>,
    /// Whether the trace has more than is shown on any page.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub truncated: bool,
}

/// `GET /api/v1/runs/{runId}/spans/{spanId}`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpanDetails {
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// The span around it; `null`: there is none. The client wants it to be there.
    #[schema(required)]
    pub parent_id: Option<String>,
    /// The run it is of.
    pub run_id: String,
    /// Its name.
    pub message: String,
    /// Whether it ended badly.
    pub is_error: bool,
    /// Whether it has not ended.
    pub is_partial: bool,
    /// Whether somebody ended it.
    pub is_cancelled: bool,
    /// `TRACE`, `DEBUG`, `INFO`, `WARN` or `ERROR`.
    pub level: String,
    /// When it began.
    #[serde(serialize_with = "serialize_instant")]
    #[schema(value_type = String, format = DateTime)]
    pub start_time: Timestamp,
    /// How long it lasted, or has lasted until now, in milliseconds.
    pub duration_ms: f64,
    /// JSON object.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Value)]
    pub properties: Option<Value>,
    /// What happened in it, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub events: Vec<SpanEvent>,
    /// `run`, `attempt` or `span`.
    pub entity_type: String,
    /// The runs that were triggered in it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub triggered_runs: Vec<TriggeredRun>,
}

/// A run that another run triggered.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriggeredRun {
    /// `run_…`
    pub run_id: String,
    /// What it runs.
    pub task_identifier: String,
    /// Where it is in its life.
    pub status: RunStatus,
    /// When it was triggered.
    #[serde(serialize_with = "serialize_instant")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}
