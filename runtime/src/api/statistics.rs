//! What an environment is at, and what has ended in it, in numbers. Dacapo's own.
//!
//! A duration is from the start of the first attempt to the end of the run. Percentiles are those of
//! classes of durations: up to 19 % too large.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{serialize_instant, serialize_instant_option};

/// `GET /api/v1/overview`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// What is there now.
    pub now: PresentCounts,
    /// What ended in the time that was asked for.
    pub ended: EndedCounts,
    /// The same over time.
    pub series: Series,
    /// The same of each task that had any, by its id.
    pub tasks: Vec<TaskStatistics>,
    /// Whether there was more than is counted here: the oldest is missing.
    pub is_cut: bool,
}

/// `GET /api/v1/tasks/{task}/statistics`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskOverview {
    /// What ended in the time that was asked for.
    #[serde(flatten)]
    pub ended: TaskStatistics,
    /// The same over time.
    pub series: Series,
    /// Whether there was more than is counted here: the oldest is missing.
    pub is_cut: bool,
}

/// Runs that have not ended. Each is counted up to 10,001, which means: more than 10,000.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PresentCounts {
    /// With a worker.
    pub executing: u64,
    /// Waiting for a worker, or for a place in their queue.
    pub queued: u64,
    /// Waiting for something outside.
    pub waiting: u64,
    /// Not due yet.
    pub delayed: u64,
    /// Waiting for a version that has their task.
    pub pending_version: u64,
    /// Since when the run is queued that has waited longest for its first attempt.
    #[serde(serialize_with = "serialize_instant_option", skip_serializing_if = "Option::is_none", default)]
    pub oldest_queued_at: Option<Timestamp>,
}

/// Runs that have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndedCounts {
    /// With an output.
    pub completed: u64,
    /// Failed, crashed, timed out, or not run by the server's fault.
    pub failed: u64,
    /// Canceled or expired.
    pub dropped: u64,
}

/// Runs of a task that have ended.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskStatistics {
    /// The task.
    pub task_identifier: String,
    /// How many.
    #[serde(flatten)]
    pub counts: EndedCounts,
    /// The duration that half of those that started did not pass, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// The duration that 99 of 100 did not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
}

/// Counts of intervals that follow one another. All lists are as long.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// When the first interval begins.
    #[serde(serialize_with = "serialize_instant")]
    pub from: Timestamp,
    /// How long each is.
    pub step_seconds: u64,
    /// Runs that completed in each.
    pub completed: Vec<u64>,
    /// Runs that failed.
    pub failed: Vec<u64>,
    /// Runs that were canceled or expired.
    pub dropped: Vec<u64>,
    /// The duration that half of them did not pass, in milliseconds; `null`: none of them had started.
    pub p50_ms: Vec<Option<f64>>,
    /// The duration that 99 of 100 did not pass.
    pub p99_ms: Vec<Option<f64>>,
}

/// `GET /api/v1/errors`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorGroupList {
    /// The last seen first; 200 at most.
    pub data: Vec<ErrorGroupItem>,
}

/// Errors of a task that look alike: by name and message, without numbers and what is quoted.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorGroupItem {
    /// 16 hexadecimal digits. `filter[error]` of a list of runs, and `error` in the filter of a bulk action, take it.
    pub fingerprint: String,
    /// Whose errors.
    pub task_identifier: String,
    /// As the last run said it.
    pub name: String,
    /// The same; the first KiB of it.
    pub message: String,
    /// Runs that ended so, ever.
    pub count: u64,
    /// When the first of them ended.
    #[serde(serialize_with = "serialize_instant")]
    pub first_seen_at: Timestamp,
    /// When the last of them ended.
    #[serde(serialize_with = "serialize_instant")]
    pub last_seen_at: Timestamp,
    /// That run.
    pub last_run_id: String,
    /// The versions on which they ended, newest first; 10 at most.
    pub versions: Vec<String>,
}
