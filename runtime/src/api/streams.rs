//! The streams of runs.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// `PUT /realtime/v1/streams/{run}/{target}/{stream}`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct StreamVersion {
    /// How to write: `v1` is line by line, to this server.
    pub version: String,
}

/// An event by which the reader of a stream gets a chunk.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct StreamEvent {
    /// For `last-event-id`, to go on after it.
    pub id: String,
    /// The chunk.
    pub data: String,
}

/// The answer to what was written.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct StreamReceipt {
    /// Always true: what fails has another status.
    pub ok: bool,
}

/// `POST /realtime/v1/streams/{run}/input/{stream}`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct InputRequest {
    /// What is said to the run. Left out: `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub data: Option<Box<RawValue>>,
}
