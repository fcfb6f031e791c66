//! Requests that change a run.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{MetadataOperation, StringOrList};

/// `POST /api/v1/runs/{runId}/reschedule`
#[derive(Debug, Serialize, Deserialize)]
pub struct RescheduleRequest {
    /// A duration from now such as `2h`, or an ISO date.
    pub delay: String,
}

/// `POST /api/v1/runs/{runId}/tags`
#[derive(Debug, Serialize, Deserialize)]
pub struct AddTagsRequest {
    /// Labels to add.
    pub tags: StringOrList,
}

/// What was done, in words.
#[derive(Debug, Serialize, Deserialize)]
pub struct Message {
    /// For people.
    pub message: String,
}

/// `PUT /api/v1/runs/{runId}/metadata`
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChangeMetadataRequest {
    /// Replaces the whole object, before the operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// Changes of the run's own metadata, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Operation>,
    /// Changes of its parent's; its own where it has none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parent_operations: Vec<Operation>,
    /// Changes of its root's; its own where it is the root.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub root_operations: Vec<Operation>,
}

/// A change of metadata. See [`MetadataOperation`], whose cases these are.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[expect(missing_docs, reason = "`MetadataOperation` says what they do")]
pub enum Operation {
    Set { key: String, value: Value },
    Delete { key: String },
    Append { key: String, value: Value },
    Remove { key: String, value: Value },
    Increment { key: String, value: f64 },
    Update { value: Map<String, Value> },
}

impl From<Operation> for MetadataOperation {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Set { key, value } => Self::Set(key, value),
            Operation::Delete { key } => Self::Delete(key),
            Operation::Append { key, value } => Self::Append(key, value),
            Operation::Remove { key, value } => Self::Remove(key, value),
            Operation::Increment { key, value } => Self::Increment(key, value),
            Operation::Update { value } => Self::Update(value),
        }
    }
}

/// `{"metadata": {…}}`
#[derive(Debug, Serialize, Deserialize)]
pub struct MetadataAnswer {
    /// A JSON object, also where nothing was set.
    pub metadata: Map<String, Value>,
}

/// `POST /api/v1/idempotencyKeys/{key}/reset`
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResetKeyRequest {
    /// The task that was triggered with the key.
    pub task_identifier: String,
}

/// The key that names no run any more.
#[derive(Debug, Serialize, Deserialize)]
pub struct ResetKeyReceipt {
    /// The key.
    pub id: String,
}
