//! What a key is told that asks too often.

use serde::{Deserialize, Serialize};

/// The answer 429, as `application/problem+json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateProblem {
    /// What kind of problem.
    pub title: String,
    /// 429.
    pub status: u16,
    /// Where it is explained.
    #[serde(rename = "type")]
    pub kind: String,
    /// What to do.
    pub detail: String,
    /// When the next request is answered, in milliseconds since 1970.
    pub reset: i64,
    /// Most requests at once.
    pub limit: u32,
    /// Always 0.
    pub remaining: u32,
    /// Until the next request is answered, rounded up.
    pub seconds_until_reset: i64,
    /// What to do, where the client looks for it.
    pub error: String,
}
