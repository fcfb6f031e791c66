//! Bulk actions as the API shows them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Pagination, QueueKind, RunStatus, StringOrList, serialize_instant, serialize_instant_option};

/// What is done to every run of a selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BulkKind {
    /// Ends those that have not ended.
    Cancel,
    /// Runs their payloads again.
    Replay,
}

/// `POST /api/v1/bulk-actions`: exactly one of `filter` and `runIds`.
#[derive(Debug, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the list of runs documents them")]
pub struct BulkFilter {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<StringOrList>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_identifier: Option<StringOrList>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<StringOrList>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<StringOrList>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<StringOrList>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueNames>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bulk_action: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_test: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<StringOrList>,
}

/// One queue or several.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum QueueNames {
    /// One.
    One(QueueName),
    /// Several.
    Several(Vec<QueueName>),
}

/// A queue as the list of runs names it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QueueName {
    /// `task` or `custom`.
    #[serde(rename = "type")]
    pub kind: QueueKind,
    /// The task's id, or the queue's name.
    pub name: String,
}

/// Where a bulk action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BulkStatus {
    /// There are runs left.
    Pending,
    /// Every run was looked at.
    Completed,
    /// Somebody stopped it.
    Aborted,
}

/// A bulk action.
#[derive(Debug, Serialize, Deserialize)]
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
}

/// Runs that a bulk action has looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkCounts {
    /// All of them.
    pub total: u64,
    /// To which the action was done.
    pub success: u64,
    /// To which it could not be done, or did not have to be.
    pub failure: u64,
}

/// `GET /api/v1/bulk-actions`
#[derive(Debug, Serialize, Deserialize)]
pub struct BulkList {
    /// Newest first.
    pub data: Vec<BulkItem>,
    /// Where the next page begins.
    pub pagination: Pagination,
}

/// `{"id": "bulk_…"}`
#[derive(Debug, Serialize, Deserialize)]
pub struct BulkId {
    /// The action.
    pub id: String,
}

/// Dacapo's: `GET /api/v1/bulk-actions/{id}/members`
#[derive(Debug, Serialize, Deserialize)]
pub struct BulkMembers {
    /// Oldest source run first.
    pub data: Vec<BulkMember>,
    /// Where the next page begins: the last source run of this one.
    pub pagination: Pagination,
}

/// What became of one run of a bulk action.
#[derive(Debug, Serialize, Deserialize)]
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
