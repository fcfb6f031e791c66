//! Requests that change a run.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{MetadataOperation, StringOrList};

/// `POST /api/v1/runs/{runId}/reschedule`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RescheduleRequest {
    /// A duration from now such as `2h`, or an ISO date.
    pub delay: String,
}

/// `POST /api/v1/runs/{runId}/tags`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AddTagsRequest {
    /// Labels to add.
    pub tags: StringOrList,
}

/// What was done, in words.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Message {
    /// For people.
    pub message: String,
}

/// `PUT /api/v1/runs/{runId}/metadata`
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ChangeMetadataRequest {
    /// Replaces the whole object, before the operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
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

/// A change of metadata, as its `type` says: `set` puts a value under a key, `delete` removes a key, `append` adds an
/// item at the end of a list, `remove` removes all items that equal the value from a list, `increment` adds to a number,
/// `update` replaces the whole object. A key that begins with `$.` is a path of keys, for example `$.steps.done`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
#[expect(missing_docs, reason = "`MetadataOperation` says what they do")]
pub enum Operation {
    Set {
        key: String,
        value: Value,
    },
    Delete {
        key: String,
    },
    Append {
        key: String,
        value: Value,
    },
    Remove {
        key: String,
        value: Value,
    },
    Increment {
        key: String,
        value: f64,
    },
    Update {
        #[schema(value_type = Object)]
        value: Map<String, Value>,
    },
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
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct MetadataAnswer {
    /// A JSON object, also where nothing was set.
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
}

/// `POST /api/v1/idempotencyKeys/{key}/reset`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResetKeyRequest {
    /// The task that was triggered with the key.
    pub task_identifier: String,
}

/// The key that names no run any more.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ResetKeyReceipt {
    /// The key.
    pub id: String,
}
