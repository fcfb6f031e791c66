//! Requests that make runs.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// `POST /api/v1/tasks/{taskId}/trigger`
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct TriggerRequest {
    /// With `options.payloadType`: text of that type. Without: any JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub payload: Option<Box<RawValue>>,
    /// See there.
    #[serde(default)]
    pub options: TriggerOptions,
}

/// How a run is to be made. What is left out is up to the task, or to the server.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TriggerOptions {
    /// `application/json`, `application/super+json`, `text/plain`, or `application/store`: then the
    /// payload is the path of an uploaded packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_type: Option<String>,
    /// The queue to join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueOption>,
    /// One virtual copy of the queue per key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<Value>,
    /// A duration such as `10m`, or an ISO date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// A duration, or seconds; the longest time in the queue. 0: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<TtlOption>,
    /// A second trigger with the same key finds the run of the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// A duration; default 30 days.
    #[serde(rename = "idempotencyKeyTTL", skip_serializing_if = "Option::is_none")]
    pub idempotency_key_ttl: Option<String>,
    /// The key as its author wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key_options: Option<IdempotencyKeyOptions>,
    /// Seconds of head start in the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<f64>,
    /// Labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<StringOrList>,
    /// A JSON object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// Attempts in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// CPU seconds of an attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<f64>,
    /// A machine preset, from `micro` to `large-2x`: its memory, and its share of a core in every 100 ms
    /// where that is less than a whole one. Without one here or in the task: the memory of `small-1x`, and a whole core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// A deployed version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_to_version: Option<String>,
    /// Marks the run as a test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<bool>,
    /// Taken and ignored: there is one region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<Value>,
    /// Further triggers with the key push the run back instead of making another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debounce: Option<DebounceOption>,
    /// The run that triggers this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_run_id: Option<String>,
    /// The caller's own name of a deployment: the run waits until there is one, and runs on it. Means nothing beside
    /// `lockToVersion`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_deployment_id: Option<String>,
    /// Named limits of concurrency: not offered yet; a request that has them is refused rather than done by halves. An
    /// empty list asks for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Value>,
    /// More queues to pass: not offered yet, as above. An empty list asks for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gates: Option<Value>,
}

/// `{"key": "…", "delay": "5s"}`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DebounceOption {
    /// Counts within the environment and the task.
    pub key: String,
    /// A duration: how far each trigger pushes the run back.
    pub delay: String,
    /// `leading` (the first trigger's payload and options count, the default) or `trailing` (the last one's).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// A duration: the longest time from the first trigger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_delay: Option<String>,
}

/// `{"name": "…"}`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QueueOption {
    /// The queue's name, of which the characters `A-Z a-z 0-9 _ - /` are kept, and of these the first 128. A queue that
    /// is not known yet is made.
    pub name: String,
}

/// `"10m"` or seconds.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "a ttl must be a duration such as `10m`, or whole seconds from 0")]
pub enum TtlOption {
    /// Seconds.
    Seconds(u64),
    /// A duration.
    Duration(String),
}

/// One string or several.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "what is here must be a string or a list of strings")]
pub enum StringOrList {
    /// One.
    One(String),
    /// Several.
    List(Vec<String>),
}

impl StringOrList {
    /// The strings that are not empty.
    pub fn into_list(self) -> Vec<String> {
        let mut list = match self {
            Self::One(one) => vec![one],
            Self::List(list) => list,
        };
        list.retain(|text| !text.is_empty());
        list
    }
}

/// The idempotency key as its author wrote it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct IdempotencyKeyOptions {
    /// Before hashing.
    pub key: String,
    /// `run`, `attempt` or `global`.
    pub scope: String,
}

/// The answer to a trigger.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriggerReceipt {
    /// The run.
    pub id: String,
    /// Whether an idempotency key named an older run.
    pub is_cached: bool,
    /// Dacapo's: with `?wait=`, what became of the run, where it ended in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<super::RunResult>,
}

/// `POST /api/v1/runs/{runId}/replay`: what the replay does not take from its source. An empty
/// body changes nothing.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ReplayRequest {
    /// As in a trigger.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub payload: Option<Box<RawValue>>,
    /// `application/json` or `application/super+json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_type: Option<String>,
    /// A JSON object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// Instead of the source's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<StringOrList>,
    /// A queue's name, as in a trigger. Default: the source's queue where its caller chose one and it is known where the
    /// replay goes, else the queue that the task declares there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// As in a trigger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<Value>,
    /// A machine preset, from `micro` to `large-2x`: its memory, and its share of a core in every 100 ms
    /// where that is less than a whole one. Without one here or in the task: the memory of `small-1x`, and a whole core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// A deployed version, promoted or not. Default: the current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Taken and ignored: there is one region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// As in a trigger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// As in a trigger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<TtlOption>,
    /// As in a trigger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// As in a trigger.
    #[serde(rename = "idempotencyKeyTTL", skip_serializing_if = "Option::is_none")]
    pub idempotency_key_ttl: Option<String>,
    /// As in a trigger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// As in a trigger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<f64>,
    /// As in a trigger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<f64>,
    /// Dacapo's: `live` (the default) makes a new run. In the modes `sandbox` and `shadow` no run is made: the answer
    /// says what the version does with the input, and how that differs from what the source run did. Of the fields above,
    /// `payload`, `payloadType` and `version` count then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<super::ReplayMode>,
    /// Dacapo's, of a run that failed: the new run goes on where that failed, with what it was answered before, on the
    /// version. Where the version asks something else up to there, the answer is 409, and nothing is done. The new run
    /// has one attempt, and the payload cannot be another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_failure: Option<bool>,
    /// Dacapo's, with `fromFailure`: also if another run goes on from there already. What that one did is done again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force: Option<bool>,
    /// Dacapo's: how a replay in the sandbox is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<super::ReplayOptions>,
}

/// The answer to a replay.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplayReceipt {
    /// The new run.
    pub id: String,
    /// Dacapo's: whether an idempotency key named an older run, which stands for the replay.
    #[serde(default)]
    pub is_cached: bool,
    /// Dacapo's, with `fromFailure`: where it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goes_on: Option<GoesOn>,
}

/// Where a run goes on that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GoesOn {
    /// The first call that is made, from 1: those before it are answered as they were then.
    pub call: u64,
    /// This call, as the source run made it: `http POST https://a.example`. It is made again, because its answer was bad
    /// news. Absent where there were none, or the version gets over them: then all calls are answered as they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The bad news, in a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}
