//! Public access tokens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /api/v1/auth/jwt/claims`: from which a backend makes a token itself.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BaseClaims {
    /// The environment.
    pub sub: String,
    /// Always true.
    #[serde(rename = "pub")]
    pub is_public: bool,
}

/// `POST /api/v1/auth/public-tokens`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateTokenRequest {
    /// `action:type[:id]`, such as `read:runs:run_…`.
    pub scopes: Vec<String>,
    /// A duration such as `15m`, or the second since 1970 at which it ends. 15 minutes.
    #[serde(default)]
    pub expiration_time: Option<TokenEnd>,
    /// Whether it may be used for one trigger only.
    #[serde(default)]
    pub one_time_use: bool,
    /// What holds for realtime feeds.
    #[serde(default)]
    pub realtime: Option<RealtimeClaims>,
}

/// When a token ends.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "an expiration time must be a duration such as `15m`, or seconds since 1970")]
pub enum TokenEnd {
    /// Seconds since 1970.
    At(f64),
    /// A duration.
    After(String),
}

/// What a token says of realtime feeds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RealtimeClaims {
    /// Columns that its bearer does not get.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skip_columns: Vec<String>,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// The token.
    pub token: String,
}
