//! Wait tokens as the API shows them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{Pagination, StringOrList, instant, serialize_instant, serialize_instant_option};
use crate::model::waitpoint;

/// `POST /api/v1/waitpoints/tokens`
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateWaitpointRequest {
    /// A duration such as `10m`, or a date. Left out: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// A second request with the same key finds the first one's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// A duration: how long the key counts.
    #[serde(rename = "idempotencyKeyTTL", skip_serializing_if = "Option::is_none")]
    pub idempotency_key_ttl: Option<String>,
    /// What it is found by, 10 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<StringOrList>,
}

/// A token was made, or found by its key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateWaitpointReceipt {
    /// `waitpoint_…`
    pub id: String,
    /// Whether the key has found it.
    pub is_cached: bool,
    /// Where a `POST` completes it, without a key.
    pub url: String,
}

/// How far a wait token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WaitpointStatus {
    /// Nobody has completed it, and its time is not over.
    Waiting,
    /// Somebody has.
    Completed,
    /// Nobody has in time.
    TimedOut,
}

impl From<waitpoint::WaitpointStatus> for WaitpointStatus {
    fn from(status: waitpoint::WaitpointStatus) -> Self {
        match status {
            waitpoint::WaitpointStatus::Waiting => Self::Waiting,
            waitpoint::WaitpointStatus::Completed => Self::Completed,
            waitpoint::WaitpointStatus::TimedOut => Self::TimedOut,
        }
    }
}

impl WaitpointStatus {
    /// The status as it is stored.
    pub fn stored(self) -> waitpoint::WaitpointStatus {
        match self {
            Self::Waiting => waitpoint::WaitpointStatus::Waiting,
            Self::Completed => waitpoint::WaitpointStatus::Completed,
            Self::TimedOut => waitpoint::WaitpointStatus::TimedOut,
        }
    }
}

/// A wait token in a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitpointItem {
    /// `waitpoint_…`
    pub id: String,
    /// Where a `POST` completes it, without a key.
    pub url: String,
    /// How far it is.
    pub status: WaitpointStatus,
    /// What it is found by.
    pub tags: Vec<String>,
    /// When it was made.
    #[serde(serialize_with = "serialize_instant")]
    pub created_at: Timestamp,
    /// When it was completed, or found to have timed out.
    #[serde(serialize_with = "serialize_instant_option", skip_serializing_if = "Option::is_none", default)]
    pub completed_at: Option<Timestamp>,
    /// When its time is over.
    #[serde(serialize_with = "serialize_instant_option", skip_serializing_if = "Option::is_none", default)]
    pub timeout_at: Option<Timestamp>,
    /// The caller's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// From then on the key makes another token.
    #[serde(serialize_with = "serialize_instant_option", skip_serializing_if = "Option::is_none", default)]
    pub idempotency_key_expires_at: Option<Timestamp>,
}

/// `GET /api/v1/waitpoints/tokens/{token}`
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitpointDetails {
    /// What lists show, too.
    #[serde(flatten)]
    pub item: WaitpointItem,
    /// With what it has ended.
    #[serde(flatten)]
    #[schema(value_type = WaitpointOutput)]
    pub output: Option<WaitpointOutput>,
}

/// With what a wait token has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitpointOutput {
    /// JSON text. This and the other fields are there when it has ended.
    #[schema(required = false)]
    pub output: String,
    /// `application/json`
    #[schema(required = false)]
    pub output_type: String,
    /// Whether the text says why nobody completed it.
    #[schema(required = false)]
    pub output_is_error: bool,
}

impl WaitpointOutput {
    /// What somebody completed a token with.
    pub fn of(json: String) -> Self {
        Self { output: json, output_type: "application/json".into(), output_is_error: false }
    }

    /// That a token's time was over.
    pub fn timed_out(at: Timestamp) -> Self {
        let message = format!("Waitpoint timed out at {}", instant(at));
        let error = json!({ "code": "TRIGGER_WAITPOINT_TIMEOUT", "message": message }).to_string();
        Self { output_is_error: true, ..Self::of(error) }
    }
}

/// `GET /api/v1/waitpoints/tokens`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WaitpointList {
    /// Newest first, without their outputs.
    pub data: Vec<WaitpointItem>,
    /// Cursors.
    pub pagination: Pagination,
}

/// `POST /api/v1/waitpoints/tokens/{token}/complete`
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct CompleteWaitpointRequest {
    /// Any JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub data: Option<Box<RawValue>>,
}

/// `{"success": true}`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CompleteWaitpointReceipt {
    /// Always.
    pub success: bool,
}
