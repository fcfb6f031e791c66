//! Runs as the API shows them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{SerializedError, TaskRunError, serialize_instant, serialize_instant_option};
use crate::model::duration;
use crate::model::id::RunId as RunName;
use crate::model::run::{End, Run, Status};
use crate::model::wait::Awaited;

/// Where a run is in its life. Not started: `PENDING_VERSION` (no deployment has its task), `DELAYED`, `QUEUED`. With a
/// worker: `EXECUTING`; or `WAITING` for a moment, a wait token or other runs, without a worker and a place in its queue,
/// after which it is `QUEUED` again and goes on with the same attempt. Ended: `COMPLETED` (with an output), `FAILED` (the task
/// returned an error), `CRASHED` (it trapped, or had no memory left), `TIMED_OUT`, `CANCELED`, `EXPIRED` (too long in the
/// queue), `SYSTEM_FAILURE` (the server could not run it). `DEQUEUED` is the contract's; no run is shown in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "`model::run::Status` says what they mean")]
pub enum RunStatus {
    PendingVersion,
    Queued,
    Dequeued,
    Executing,
    Waiting,
    Completed,
    Canceled,
    Failed,
    Crashed,
    SystemFailure,
    Delayed,
    Expired,
    TimedOut,
}

impl RunStatus {
    /// The contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PendingVersion => "PENDING_VERSION",
            Self::Queued => "QUEUED",
            Self::Dequeued => "DEQUEUED",
            Self::Executing => "EXECUTING",
            Self::Waiting => "WAITING",
            Self::Completed => "COMPLETED",
            Self::Canceled => "CANCELED",
            Self::Failed => "FAILED",
            Self::Crashed => "CRASHED",
            Self::SystemFailure => "SYSTEM_FAILURE",
            Self::Delayed => "DELAYED",
            Self::Expired => "EXPIRED",
            Self::TimedOut => "TIMED_OUT",
        }
    }

    /// The status that is stored for it. A run is claimed and starts in one step, so there is none
    /// that is only dequeued: `DEQUEUED` finds executing runs.
    pub fn stored(self) -> Status {
        match self {
            Self::PendingVersion => Status::PendingVersion,
            Self::Queued => Status::Queued,
            Self::Dequeued | Self::Executing => Status::Executing,
            Self::Waiting => Status::Waiting,
            Self::Completed => Status::Completed,
            Self::Canceled => Status::Canceled,
            Self::Failed => Status::Failed,
            Self::Crashed => Status::Crashed,
            Self::SystemFailure => Status::SystemFailure,
            Self::Delayed => Status::Delayed,
            Self::Expired => Status::Expired,
            Self::TimedOut => Status::TimedOut,
        }
    }
}

impl From<Status> for RunStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::PendingVersion => Self::PendingVersion,
            Status::Delayed => Self::Delayed,
            Status::Queued => Self::Queued,
            Status::Executing => Self::Executing,
            Status::Waiting => Self::Waiting,
            Status::Completed => Self::Completed,
            Status::Failed => Self::Failed,
            Status::Crashed => Self::Crashed,
            Status::TimedOut => Self::TimedOut,
            Status::Canceled => Self::Canceled,
            Status::Expired => Self::Expired,
            Status::SystemFailure => Self::SystemFailure,
        }
    }
}

/// What every view of a run has.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunCommon {
    /// `run_…`
    pub id: String,
    /// Where it is in its life.
    pub status: RunStatus,
    /// What it runs.
    pub task_identifier: String,
    /// The idempotency key as its author wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The version it runs on, once it has started or where it is locked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Not started: queued, delayed, or waiting for a version.
    pub is_queued: bool,
    /// A worker has it.
    pub is_executing: bool,
    /// It waits for something outside.
    pub is_waiting: bool,
    /// It has ended, in whatever way.
    pub is_completed: bool,
    /// It has ended with an output.
    pub is_success: bool,
    /// It has ended without one.
    pub is_failed: bool,
    /// Somebody ended it.
    pub is_cancelled: bool,
    /// Triggered as a test.
    pub is_test: bool,
    /// When it was triggered.
    #[serde(serialize_with = "serialize_instant")]
    pub created_at: Timestamp,
    /// When anything about it changed last.
    #[serde(serialize_with = "serialize_instant")]
    pub updated_at: Timestamp,
    /// When its first attempt started.
    #[serde(serialize_with = "serialize_instant_option", skip_serializing_if = "Option::is_none", default)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(serialize_with = "serialize_instant_option", skip_serializing_if = "Option::is_none", default)]
    pub finished_at: Option<Timestamp>,
    /// Until when it was, or is, delayed.
    #[serde(serialize_with = "serialize_instant_option", skip_serializing_if = "Option::is_none", default)]
    pub delayed_until: Option<Timestamp>,
    /// When it expired.
    #[serde(serialize_with = "serialize_instant_option", skip_serializing_if = "Option::is_none", default)]
    pub expired_at: Option<Timestamp>,
    /// Longest time in the queue, in seconds with the unit `s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// Labels, sorted.
    pub tags: Vec<String>,
    /// Always 0: nobody is billed.
    pub cost_in_cents: f64,
    /// Always 0.
    pub base_cost_in_cents: f64,
    /// CPU time of all attempts, in milliseconds.
    pub duration_ms: u64,
    /// JSON object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// Dacapo's: the run that this one replays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed_from: Option<String>,
    /// Dacapo's: whether it is a replay.
    pub is_replay: bool,
}

impl From<&Run> for RunCommon {
    fn from(run: &Run) -> Self {
        let status = run.status;
        let is_success = status == Status::Completed;
        let mut tags = run.tags.clone();
        tags.sort();
        Self {
            id: run.id.to_string(),
            status: status.into(),
            task_identifier: run.task.clone(),
            idempotency_key: run.idempotency_key.clone(),
            version: run.version.map(|version| version.to_string()),
            is_queued: matches!(status, Status::Queued | Status::Delayed | Status::PendingVersion),
            is_executing: status == Status::Executing,
            is_waiting: status == Status::Waiting,
            is_completed: status.is_final(),
            is_success,
            is_failed: status.is_final() && !is_success,
            is_cancelled: status == Status::Canceled,
            is_test: run.is_test,
            created_at: run.created_at,
            updated_at: run.updated_at,
            started_at: run.started_at,
            finished_at: run.finished_at,
            delayed_until: run.delay_until,
            expired_at: run.finished_at.filter(|_| status == Status::Expired),
            ttl: run.ttl.map(duration::text),
            tags,
            cost_in_cents: 0.0,
            base_cost_in_cents: 0.0,
            duration_ms: u64::try_from(run.cpu.as_millis()).unwrap_or(u64::MAX),
            metadata: run.metadata.as_ref().and_then(|text| serde_json::from_str(text).ok()),
            replayed_from: run.replay_of.map(|source| source.to_string()),
            is_replay: run.origin.is_replay,
        }
    }
}

/// `GET /api/v3/runs/{runId}`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunDetails {
    /// What every view has.
    #[serde(flatten)]
    pub common: RunCommon,
    /// 0 for a run that no run triggered.
    pub depth: u32,
    /// How it was triggered.
    pub trigger_function: String,
    /// The schedule that fired it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub schedule: Option<super::RunSchedule>,
    /// The batch that it is an item of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<String>,
    /// What the task was given, as plain JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub payload: Option<Box<RawValue>>,
    /// What the task returned.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub output: Option<Box<RawValue>>,
    /// Why it failed; while it retries, why its last attempt did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<SerializedError>,
    /// Runs it came from, and runs it made.
    pub related_runs: RelatedRuns,
    /// Dacapo's: what it lacks still, while it is `WAITING`, 100 things at most.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub waits_for: Vec<AwaitedItem>,
    /// Attempts so far.
    pub attempt_count: u32,
    /// Dacapo's: the runs that replay this one, oldest first, 100 at most.
    pub replays: Vec<String>,
    /// Dacapo's: the name of its queue.
    pub queue: String,
    /// Dacapo's: the most memory an attempt used, in bytes.
    pub peak_memory_bytes: u64,
    /// Dacapo's: its part of the queue, where that is divided by keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
    /// Dacapo's: how far ahead it stands in the queue, in seconds.
    pub priority: f64,
    /// Dacapo's: the machine, where the trigger named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Dacapo's: the most attempts, where the trigger named a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Dacapo's: CPU seconds, where the trigger named a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<u32>,
    /// Dacapo's: the bulk action that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bulk_action_id: Option<String>,
}

/// Something that a run waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AwaitedItem {
    /// A moment.
    Moment {
        /// When it comes.
        #[serde(serialize_with = "serialize_instant")]
        at: Timestamp,
    },
    /// A wait token, until it is completed or its time is over.
    Token {
        /// `waitpoint_…`
        id: String,
    },
    /// The end of another run.
    Run {
        /// `run_…`
        id: String,
    },
}

impl AwaitedItem {
    /// All of them, each run of a batch by itself.
    pub fn list(awaited: &[Awaited]) -> Vec<Self> {
        let run = |run: &RunName| Self::Run { id: run.to_string() };
        let mut list = Vec::with_capacity(awaited.len());
        for awaited in awaited {
            match awaited {
                Awaited::Moment(at) => list.push(Self::Moment { at: *at }),
                Awaited::Token(token) => list.push(Self::Token { id: token.to_string() }),
                Awaited::Run(one) => list.push(run(one)),
                Awaited::Runs(runs) => list.extend(runs.iter().map(run)),
            }
        }
        list
    }
}

/// The runs around a run.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct RelatedRuns {
    /// The first of its tree, where that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<RelatedRun>,
    /// The run that triggered it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<RelatedRun>,
    /// The runs that it triggered, oldest first, 100 at most.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub children: Vec<RelatedRun>,
}

/// A run beside another.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RelatedRun {
    /// What every view has.
    #[serde(flatten)]
    pub common: RunCommon,
    /// 0 for a run that no run triggered.
    pub depth: u32,
    /// How it was triggered.
    pub trigger_function: String,
    /// The batch that it is an item of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<String>,
}

/// An entry of a list of runs.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunItem {
    /// What every view has.
    #[serde(flatten)]
    pub common: RunCommon,
    /// Where it runs.
    pub env: EnvironmentRef,
    /// Dacapo's: the name of its queue.
    pub queue: String,
    /// Dacapo's: attempts so far.
    pub attempt_count: u32,
    /// Dacapo's: why it failed, or why its last attempt did, without a stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<SerializedError>,
}

/// `GET /api/v1/runs/count`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunCount {
    /// Runs that meet the conditions: 10,000 at most.
    pub count: u64,
    /// Whether there are more.
    pub is_more: bool,
}

/// An environment, in short.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentRef {
    /// `env_…`
    pub id: String,
    /// Its slug.
    pub name: String,
}

/// `GET /api/v1/runs`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RunList {
    /// Newest first.
    pub data: Vec<RunItem>,
    /// Where the pages before and after begin.
    pub pagination: Pagination,
}

/// Cursors: opaque, to be sent back as `page[after]` and `page[before]`.
#[derive(Debug, Default, Clone, Serialize, Deserialize, ToSchema)]
pub struct Pagination {
    /// For `page[after]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// For `page[before]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
}

/// `{"id": "run_…"}`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RunId {
    /// The run.
    pub id: String,
}

/// `GET /api/v1/runs/{runId}/result`: how a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunResult {
    /// Whether it completed.
    pub ok: bool,
    /// The run.
    pub id: String,
    /// JSON text, encoded as `outputType` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// `application/json`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_type: Option<String>,
    /// Why it did not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<TaskRunError>,
    /// What it ran.
    pub task_identifier: String,
    /// What it used.
    pub usage: Usage,
}

/// What a run used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// CPU time, in milliseconds.
    pub duration_ms: u64,
}

impl RunResult {
    /// How the run `id` of the task `task` ended.
    pub fn new(id: RunName, task: String, end: End) -> Self {
        let ok = end.status == Status::Completed;
        Self {
            ok,
            id: id.to_string(),
            output: end.output.filter(|_| ok),
            output_type: ok.then(|| "application/json".into()),
            error: end.error.as_ref().filter(|_| !ok).map(Into::into),
            task_identifier: task,
            usage: Usage { duration_ms: u64::try_from(end.cpu.as_millis()).unwrap_or(u64::MAX) },
        }
    }
}

/// `GET /api/v1/runs/{runId}/events`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct EventList {
    /// In the order in which they happened.
    pub events: Vec<EventItem>,
}

/// A change of a run's status.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct EventItem {
    /// From 1.
    pub seq: u64,
    /// When.
    #[serde(serialize_with = "serialize_instant")]
    pub at: Timestamp,
    /// The status since then.
    pub status: RunStatus,
    /// The attempt it concerns; 0 before the first.
    pub attempt: u32,
    /// Why, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Dacapo's: `GET /api/v1/runs/{runId}/logs?after=0&limit=1000`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogPage {
    /// In the order in which they were written.
    pub logs: Vec<LogItem>,
    /// For `after`, to go on from here.
    pub next: u64,
    /// Whether the run has ended and there is nothing more to come after `next`.
    pub is_complete: bool,
}

/// A line or a span of a run's log.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogItem {
    /// From 1.
    pub seq: u64,
    /// When; of a span, when it began.
    #[serde(serialize_with = "serialize_instant")]
    pub at: Timestamp,
    /// The attempt that wrote it.
    pub attempt: u32,
    /// `line` or `span`.
    pub kind: String,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// `task`, `stdout`, `stderr` or `host`.
    pub source: String,
    /// The text; of a span, its name.
    pub message: String,
    /// Structured values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Value>,
    /// The span that this is, or lies in; counted per attempt from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span_id: Option<u64>,
    /// The span around that span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_span_id: Option<u64>,
    /// How long the span lasted, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
}
