//! Batches: announced, then sent item by item.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{Pagination, RunResult, TriggerOptions, serialize_instant, serialize_instant_option};
use crate::model::batch;

/// `POST /api/v3/batches`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateBatchRequest {
    /// How many items will be sent: 1 to 1,000.
    pub run_count: u32,
    /// The run that triggers the batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_run_id: Option<String>,
    /// A second request with the same key finds the batch of the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The tasks of the items. A public access token must be good for each of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_identifiers: Option<Vec<String>>,
}

/// The answer to it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateBatchReceipt {
    /// `batch_…`
    pub id: String,
    /// How many items are to be sent, or were.
    pub run_count: u32,
    /// Whether the idempotency key named an older batch that is complete: nothing is to be sent then.
    pub is_cached: bool,
    /// As it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// A line of `POST /api/v3/batches/{batchId}/items`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BatchItemRequest {
    /// Its number in the batch, from 0.
    pub index: u32,
    /// What is to run.
    pub task: String,
    /// As in a trigger.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub payload: Option<Box<RawValue>>,
    /// As in a trigger.
    #[serde(default)]
    pub options: TriggerOptions,
}

/// What of an item a server needs that refuses it: all that can be known of a line that is too long.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct BatchItemHead {
    /// Its number in the batch.
    pub index: Option<u32>,
    /// What is to run.
    pub task: Option<String>,
}

impl BatchItemHead {
    /// Reads the beginning of an item's JSON text, as far as it goes.
    pub fn read(beginning: &[u8]) -> Self {
        let mut head = Self::default();
        let mut json = serde_json::Deserializer::from_slice(beginning);
        // The text ends in the middle of something; what was read until then counts.
        let _ = serde::de::DeserializeSeed::deserialize(HeadReader(&mut head), &mut json);
        head
    }
}

struct HeadReader<'h>(&'h mut BatchItemHead);

impl<'de> serde::de::DeserializeSeed<'de> for HeadReader<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> serde::de::Visitor<'de> for HeadReader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an item of a batch")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "index" => self.0.index = Some(map.next_value()?),
                "task" => self.0.task = Some(map.next_value()?),
                _ => drop(map.next_value::<serde::de::IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// The answer when all lines have been read.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchItemsReceipt {
    /// The batch.
    pub id: String,
    /// Items that arrived with this request for the first time.
    pub items_accepted: u32,
    /// Items that had arrived before.
    pub items_deduplicated: u32,
    /// Whether all announced items have arrived; else send them again.
    pub sealed: bool,
    /// Of a batch that is not sealed: how many items have arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enqueued_count: Option<u32>,
    /// Of a batch that is not sealed: how many were announced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_count: Option<u32>,
}

/// The contract's words for where a batch is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum BatchStatus {
    /// Not all items have arrived.
    Pending,
    /// All items have arrived, and a run of them has not ended.
    Processing,
    /// All runs have ended.
    Completed,
    /// All runs have ended, and for some items there is none.
    PartialFailed,
    /// For no item there is a run.
    Aborted,
}

impl From<batch::BatchStatus> for BatchStatus {
    fn from(status: batch::BatchStatus) -> Self {
        match status {
            batch::BatchStatus::Pending => Self::Pending,
            batch::BatchStatus::Processing => Self::Processing,
            batch::BatchStatus::Completed => Self::Completed,
            batch::BatchStatus::PartialFailed => Self::PartialFailed,
            batch::BatchStatus::Aborted => Self::Aborted,
        }
    }
}

/// `GET /api/v2/batches/{batchId}`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchDetails {
    /// `batch_…`
    pub id: String,
    /// Where it is in its life.
    pub status: BatchStatus,
    /// As it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// When it was announced.
    #[serde(serialize_with = "serialize_instant")]
    pub created_at: Timestamp,
    /// When it was sealed, or a run of it ended last.
    #[serde(serialize_with = "serialize_instant")]
    pub updated_at: Timestamp,
    /// Announced items.
    pub run_count: u32,
    /// The runs of its items, in the order of the items.
    pub runs: Vec<String>,
    /// What became of sending it.
    pub processing: BatchProcessing,
}

/// Dacapo's: `GET /api/v1/batches`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BatchList {
    /// Newest first.
    pub data: Vec<BatchSummary>,
    /// Where the next page begins.
    pub pagination: Pagination,
}

/// A batch in a list.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchSummary {
    /// `batch_…`
    pub id: String,
    /// Where it is in its life.
    pub status: BatchStatus,
    /// As it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The run that triggered it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_run_id: Option<String>,
    /// When it was announced.
    #[serde(serialize_with = "serialize_instant")]
    pub created_at: Timestamp,
    /// Announced items.
    pub run_count: u32,
    /// What became of those that have arrived.
    pub counts: BatchItemCounts,
}

/// Items of a batch, by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchItemCounts {
    /// Their run completed.
    pub succeeded: u64,
    /// Their run ended otherwise.
    pub failed: u64,
    /// Their run has not ended.
    pub unfinished: u64,
    /// They have no run, because it could not be made.
    pub without_run: u64,
}

/// What became of sending a batch.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchProcessing {
    /// When all items had arrived.
    #[serde(serialize_with = "serialize_instant_option", skip_serializing_if = "Option::is_none", default)]
    pub completed_at: Option<Timestamp>,
    /// The items without a run.
    pub errors: Vec<BatchItemError>,
}

/// Why an item has no run.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchItemError {
    /// Its number in the batch.
    pub index: u32,
    /// What was to run.
    pub task_identifier: String,
    /// For people.
    pub error: String,
    /// For programs.
    pub error_code: String,
}

/// `GET /api/v1/batches/{batchId}/results`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BatchResults {
    /// The batch.
    pub id: String,
    /// How its runs ended that have ended, in the order of the items.
    pub items: Vec<RunResult>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_broken_item_is_read_as_far_as_it_goes() {
        let head = |text: &str| BatchItemHead::read(text.as_bytes());
        let whole = BatchItemHead { index: Some(7), task: Some("t".into()) };
        assert_eq!(head(r#"{"index":7,"task":"t","payload":"aaaa"#), whole);
        assert_eq!(head(r#"{"options":{"a":[1]},"task":"t","index":7,"payload":"#), whole);
        assert_eq!(head(r#"{"index":7,"payload":"aaaa"#), BatchItemHead { index: Some(7), task: None });
        assert_eq!(head(r#"{"payload":"aaaa"#), BatchItemHead::default());
        assert_eq!(head("[7"), BatchItemHead::default());
    }
}
