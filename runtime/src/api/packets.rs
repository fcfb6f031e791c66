//! Links to large payloads.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The `payloadType` of a payload that is the path of an uploaded packet.
pub const STORED_PACKET: &str = "application/store";

/// `PUT /api/v2/packets/{path}`: where to send a packet, and what to call it in the trigger.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UploadLink {
    /// Takes a `PUT` with the bytes and their content type, without a key.
    pub presigned_url: String,
    /// The payload of a trigger whose `payloadType` is `application/store`.
    pub storage_path: String,
}

/// `GET /api/v1/packets/{path}`: where to fetch a packet.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DownloadLink {
    /// Answers a `GET` with the bytes and their content type, without a key.
    pub presigned_url: String,
}
