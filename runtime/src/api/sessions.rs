//! Sessions of operators at the page. Dacapo's own.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::serialize_instant;

/// `POST /api/v1/session`
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoginRequest {
    /// The admin key.
    pub admin_key: String,
}

/// A session.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionItem {
    /// What requests that change something carry in the header `x-csrf-token`.
    pub csrf_token: String,
    /// When it is over.
    #[serde(serialize_with = "serialize_instant")]
    pub expires_at: Timestamp,
    /// The version of the server.
    pub version: String,
}
