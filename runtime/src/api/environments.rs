//! Environments, keys and variables as the API shows them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{BacktestPolicy, serialize_instant, serialize_instant_option};

/// Dacapo's: `GET /admin/v1/environments`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentList {
    /// Oldest first.
    pub data: Vec<EnvironmentItem>,
}

/// An environment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentItem {
    /// `env_…`
    pub id: String,
    /// `dev`, `stg`, `prod` or `preview`; for a branch, `preview/<branch>`.
    pub slug: String,
    /// `DEVELOPMENT`, `STAGING`, `PRODUCTION` or `PREVIEW`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Hosts that its tasks may talk to; see the README for the grammar.
    pub egress: Vec<String>,
    /// Runs that have not started yet.
    pub waiting_runs: u64,
    /// Most runs that execute at a time; left out: as many as the workers take.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub concurrency_limit: Option<u32>,
    /// What a version must stand before it is made current; left out: nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backtest_policy: Option<BacktestPolicy>,
    /// The branch that it is for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub branch: Option<String>,
}

/// Dacapo's: `PUT /admin/v1/environments/{slug}/concurrency`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvironmentConcurrency {
    /// Most runs that execute at a time, 1 to 100,000; left out: as many as the workers take.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit: Option<u32>,
}

/// Dacapo's: `PUT /admin/v1/environments/{slug}/backtest-policy`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentPolicy {
    /// What a version must stand before it is made current; left out: nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy: Option<BacktestPolicy>,
}

/// Dacapo's: `PUT /admin/v1/environments/{slug}/egress`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// The new rules; an empty list allows nothing.
    pub rules: Vec<String>,
}

/// Dacapo's: `GET /admin/v1/keys`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ApiKeyList {
    /// Oldest first.
    pub data: Vec<ApiKeyItem>,
}

/// A key, without the key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyItem {
    /// `key_…`
    pub id: String,
    /// The slug of what it opens.
    pub environment: String,
    /// Its prefix and last four characters.
    pub hint: String,
    /// When it was made.
    #[serde(serialize_with = "serialize_instant")]
    pub created_at: Timestamp,
    /// Since when it opens nothing.
    #[serde(serialize_with = "serialize_instant_option", skip_serializing_if = "Option::is_none", default)]
    pub revoked_at: Option<Timestamp>,
}

/// Dacapo's: `POST /admin/v1/keys`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateKeyRequest {
    /// The slug of an environment.
    pub environment: String,
    /// Whether to make an additional key, `tr_<slug>_sk_…`: for its holder the server makes public
    /// access tokens.
    #[serde(default)]
    pub additional: bool,
}

/// The answer to it: the only time the key is shown.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedKey {
    /// `key_…`
    pub id: String,
    /// The slug of what it opens.
    pub environment: String,
    /// The secret.
    pub key: String,
}

/// An environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VariableItem {
    /// Its name.
    pub name: String,
    /// Its value; of a secret, `<redacted>`.
    pub value: String,
    /// Whether the value is never shown again.
    pub is_secret: bool,
}

/// `POST /api/v1/projects/{ref}/envvars/{slug}`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetVariableRequest {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Whether to never show the value again.
    #[serde(default)]
    pub is_secret: bool,
}

/// `PUT /api/v1/projects/{ref}/envvars/{slug}/{name}`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct UpdateVariableRequest {
    /// Its new value.
    pub value: String,
}

/// `POST /api/v1/projects/{ref}/envvars/{slug}/import`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportVariablesRequest {
    /// Values by name.
    pub variables: BTreeMap<String, String>,
    /// Whether to replace what is there.
    #[serde(default)]
    pub r#override: bool,
    /// Whether to never show the values again.
    #[serde(default)]
    pub is_secret: bool,
}

/// `{"success": true}`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ChangeReceipt {
    /// Always true: what fails has another status.
    pub success: bool,
}
