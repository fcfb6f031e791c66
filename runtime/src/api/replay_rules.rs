//! What comparisons overlook and allow: the file `dacapo-replay.json`, and the same in a request.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::serialize_instant_option;

/// Rules by task. Those of `*` hold for all tasks: lists are joined with those of the task, and a single value
/// of the task counts before that of `*`.
pub type ReplayRules = BTreeMap<String, TaskReplayRules>;

/// The rules of one task, none of which need be there.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct TaskReplayRules {
    /// Paths in the output that may differ, with all that is in them: `$.items[*].createdAt`, `$..etag`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore_output: Vec<String>,
    /// Paths in the metadata that may differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore_metadata: Vec<String>,
    /// Whether the message of an error may differ, as long as its kind and name are the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_error_message: Option<bool>,
    /// How far numbers may be from each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub absolute_tolerance: Option<f64>,
    /// The same as a share of the greater: 0.01 is one percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative_tolerance: Option<f64>,
    /// Paths of arrays, in output and metadata, the order of which says nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unordered_arrays: Vec<String>,
    /// Calls that do not count: a kind (`tags`), a kind and the start of a target (`trigger send-`), or the start
    /// of a URL (`https://metrics.example.com/`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore_effects: Vec<String>,
    /// Whether calls may come in another order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unordered_effects: Option<bool>,
    /// The most memory, as a multiple of then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory_factor: Option<f64>,
    /// The most CPU time, as a multiple of then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cpu_factor: Option<f64>,
}

/// `PUT /api/v1/replay-rules`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayRulesRequest {
    /// By task; none at all delete what is stored.
    #[schema(value_type = BTreeMap<String, TaskReplayRules>)]
    pub rules: ReplayRules,
}

/// The rules of an environment.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplayRulesItem {
    /// By task.
    #[schema(value_type = BTreeMap<String, TaskReplayRules>)]
    pub rules: ReplayRules,
    /// When they were stored last. Absent where there are none.
    #[serde(serialize_with = "serialize_instant_option", skip_serializing_if = "Option::is_none", default)]
    pub updated_at: Option<Timestamp>,
}
