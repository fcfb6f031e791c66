//! Bulk actions as the API shows them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Pagination, QueueKind, RunStatus, StringOrList, serialize_instant, serialize_instant_option};
use crate::model::bulk;

/// What is done to every run of a selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BulkKind {
    /// Ends those that have not ended.
    Cancel,
    /// Runs their payloads again.
    Replay,
}

impl From<BulkKind> for bulk::BulkKind {
    fn from(kind: BulkKind) -> Self {
        match kind {
            BulkKind::Cancel => Self::Cancel,
            BulkKind::Replay => Self::Replay,
        }
    }
}

/// `POST /api/v1/bulk-actions`: exactly one of `filter` and `runIds`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BulkRequest {
    /// What to do.
    pub action: BulkKind,
    /// The runs that fit. Without a time in it: of the last 7 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<BulkFilter>,
    /// These runs, 500 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_ids: Option<Vec<String>>,
    /// For people, 255 characters at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Taken and ignored: there is one region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_region: Option<String>,
}

/// The conditions of a list of runs, all of which a run must meet.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct BulkFilter {
    /// Statuses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<OneOrMore<RunStatus>>,
    /// Tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_identifier: Option<StringOrList>,
    /// Versions such as `20261121.3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<StringOrList>,
    /// Tags: runs that have any of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<StringOrList>,
    /// Machine presets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<StringOrList>,
    /// Queues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<OneOrMore<QueueName>>,
    /// The items of this batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// What this schedule fired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// What this bulk action made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bulk_action: Option<String>,
    /// Groups of errors, by their fingerprints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<StringOrList>,
    /// Whether it was triggered as a test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_test: Option<bool>,
    /// Whether it is a replay, or was triggered by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_replay: Option<bool>,
    /// The replays of this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed_from: Option<String>,
    /// Triggered from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Triggered until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// Triggered in this time until now, such as `24h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<String>,
    /// Taken and ignored: there is one region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<StringOrList>,
}

impl BulkFilter {
    /// Whether it has no condition at all. The region is none: it is the same for all runs.
    pub fn is_empty(&self) -> bool {
        let conditions = Self { region: None, ..self.clone() };
        serde_json::to_value(conditions).is_ok_and(|value| value.as_object().is_some_and(serde_json::Map::is_empty))
    }
}

/// One value or several.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "neither a value that is known here nor a list of such values")]
pub enum OneOrMore<T> {
    /// One.
    One(T),
    /// Several.
    More(Vec<T>),
}

impl<'v, T> IntoIterator for &'v OneOrMore<T> {
    type Item = &'v T;
    type IntoIter = std::slice::Iter<'v, T>;

    fn into_iter(self) -> Self::IntoIter {
        match self {
            OneOrMore::One(one) => std::slice::from_ref(one).iter(),
            OneOrMore::More(more) => more.iter(),
        }
    }
}

/// Which runs an action is for, as it is stored.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BulkSelection {
    /// Those that fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<BulkFilter>,
    /// These.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_ids: Option<Vec<String>>,
}

impl BulkSelection {
    /// As JSON text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers can be written as JSON")
    }

    /// From JSON text.
    pub fn from_json(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }
}

/// A queue as the list of runs names it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QueueName {
    /// `task` or `custom`.
    #[serde(rename = "type")]
    pub kind: QueueKind,
    /// The task's id, or the queue's name.
    pub name: String,
}

/// Where a bulk action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BulkStatus {
    /// There are runs left.
    Pending,
    /// Every run was looked at.
    Completed,
    /// Somebody stopped it.
    Aborted,
}

impl From<bulk::BulkStatus> for BulkStatus {
    fn from(status: bulk::BulkStatus) -> Self {
        match status {
            bulk::BulkStatus::Pending => Self::Pending,
            bulk::BulkStatus::Completed => Self::Completed,
            bulk::BulkStatus::Aborted => Self::Aborted,
        }
    }
}

/// A bulk action.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BulkItem {
    /// `bulk_…`
    pub id: String,
    /// `CANCEL` or `REPLAY`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it is.
    pub status: BulkStatus,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Runs looked at so far.
    pub counts: BulkCounts,
    /// When it was asked for.
    #[serde(serialize_with = "serialize_instant")]
    pub created_at: Timestamp,
    /// When it was over.
    #[serde(serialize_with = "serialize_instant_option", skip_serializing_if = "Option::is_none", default)]
    pub completed_at: Option<Timestamp>,
    /// Dacapo's: where the runs are that a replay has made, by status: of the first 100,000 that it looked at. Not in
    /// lists.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcomes: Option<BTreeMap<String, u64>>,
}

/// Runs that a bulk action has looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BulkCounts {
    /// All of them.
    pub total: u64,
    /// To which the action was done.
    pub success: u64,
    /// To which it could not be done, or did not have to be.
    pub failure: u64,
}

/// `GET /api/v1/bulk-actions`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BulkList {
    /// Newest first.
    pub data: Vec<BulkItem>,
    /// Where the next page begins.
    pub pagination: Pagination,
}

/// `{"id": "bulk_…"}`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BulkId {
    /// The action.
    pub id: String,
}

/// Dacapo's: `GET /api/v1/bulk-actions/{id}/members`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BulkMembers {
    /// Oldest source run first.
    pub data: Vec<BulkMember>,
    /// Where the next page begins: the last source run of this one.
    pub pagination: Pagination,
}

/// What became of one run of a bulk action.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BulkMember {
    /// The source run.
    pub run_id: String,
    /// `done`, `skipped` or `failed`.
    pub outcome: String,
    /// Why it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of a replay, the new run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_run_id: Option<String>,
    /// Where that run is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_run_status: Option<RunStatus>,
}
