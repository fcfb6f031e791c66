//! Deployments as the API shows them.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Pagination, serialize_instant, serialize_instant_option};
use crate::model::retry::RetryPolicy;
use crate::model::task::TaskDefinition;

/// What runs every deployment.
pub const RUNTIME: &str = "wasm";
/// The version of WASI that every deployment is offered.
pub const RUNTIME_VERSION: &str = "wasi-0.2";

/// A deployment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentItem {
    /// `deployment_…`
    pub id: String,
    /// When it was uploaded.
    #[serde(serialize_with = "serialize_instant")]
    pub created_at: Timestamp,
    /// When it was made current last.
    #[serde(serialize_with = "serialize_instant_option", skip_serializing_if = "Option::is_none", default)]
    pub deployed_at: Option<Timestamp>,
    /// The first eight digits of the digest.
    pub short_code: String,
    /// `YYYYMMDD.N`
    pub version: String,
    /// Always `DEPLOYED`: what fails is refused and not kept.
    pub status: String,
    /// `wasm`
    pub runtime: Option<String>,
    /// `wasi-0.2`
    pub runtime_version: Option<String>,
    /// The caller's own name for it, such as a commit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub external_id: Option<String>,
    /// Dacapo's: the name under which it was uploaded.
    pub component: String,
    /// Dacapo's: SHA-256 of the component, in hexadecimal.
    pub digest: String,
    /// Dacapo's: size of the component.
    pub size_bytes: u64,
    /// Dacapo's: whether a task runs on it now.
    pub is_current: bool,
    /// Dacapo's: when it was made current last past the backtest policy of its environment, by the operator.
    #[serde(serialize_with = "serialize_instant_option", skip_serializing_if = "Option::is_none", default)]
    pub past_policy_at: Option<Timestamp>,
    /// Dacapo's: who uploaded it: `admin`, or the hint of a key, such as `tr_dev_…3f9a`. Absent where an earlier version
    /// stored it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deployed_by: Option<String>,
    /// Dacapo's: what it imports.
    pub imports: Vec<String>,
    /// Dacapo's: its tasks; left out of lists.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tasks: Option<Vec<TaskItem>>,
}

/// A task of a deployment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskItem {
    /// Its id.
    pub id: String,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The queue that its runs join.
    pub queue: String,
    /// Most runs of that queue executing at a time, as this task says; left out: no limit of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_concurrency_limit: Option<u32>,
    /// Attempts in all.
    pub max_attempts: u32,
    /// How long to wait between them.
    pub retry: RetryItem,
    /// CPU seconds of an attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<u32>,
    /// Longest time in the queue, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// Machine preset.
    pub machine: String,
    /// Cron pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// Time zone of the cron pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// JSON Schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_schema: Option<Value>,
    /// Whether the journals of its runs are kept after their ends, for as long as the server keeps any.
    pub keeps_journals: bool,
}

/// When a failed attempt is followed by another. The delay before attempt n+1 is
/// `minDelayMs * factor^(n-1)`, at most `maxDelayMs`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetryItem {
    /// By what the delay grows from attempt to attempt; at least 1.
    pub factor: f64,
    /// The delay before the second attempt.
    pub min_delay_ms: u64,
    /// No delay is longer.
    pub max_delay_ms: u64,
    /// Whether each delay is multiplied by a random number between 1 and 2.
    pub randomize: bool,
}

impl From<&RetryPolicy> for RetryItem {
    fn from(policy: &RetryPolicy) -> Self {
        let ms = |delay: Duration| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        Self {
            factor: policy.factor,
            min_delay_ms: ms(policy.min_delay),
            max_delay_ms: ms(policy.max_delay),
            randomize: policy.randomize,
        }
    }
}

impl From<&TaskDefinition> for TaskItem {
    fn from(task: &TaskDefinition) -> Self {
        let retry = task.retry.clone().unwrap_or_default();
        Self {
            id: task.id.clone(),
            description: task.description.clone(),
            queue: task.queue_name(),
            queue_concurrency_limit: task.queue.as_ref().and_then(|queue| queue.concurrency_limit),
            max_attempts: retry.max_attempts,
            retry: RetryItem::from(&retry),
            max_duration: task.max_duration_seconds,
            ttl_seconds: task.ttl.map(|ttl| ttl.as_secs()),
            machine: task.machine.unwrap_or_default().name().into(),
            cron: task.cron.as_ref().map(|cron| cron.pattern.clone()),
            timezone: task.cron.as_ref().and_then(|cron| cron.timezone.clone()),
            payload_schema: task.payload_schema.as_ref().and_then(|text| serde_json::from_str(text).ok()),
            keeps_journals: task.keeps_journals,
        }
    }
}

/// The answer to an upload: `POST /api/v1/deployments?name=…&skipPromotion=…`, the component's
/// bytes as body.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeployReceipt {
    /// The deployment.
    pub deployment: DeploymentItem,
    /// Whether these bytes are new; else the deployment that has them already is the answer.
    pub is_new: bool,
    /// What making it current changed; left out where promotion was skipped, or has to wait for a backtest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promotion: Option<PromoteReceipt>,
    /// Dacapo's: the backtest at whose end it is made current, if it is clean.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backtest_id: Option<String>,
    /// Dacapo's: why it was made current without a backtest, where one was asked for; or that the policy of the environment
    /// counts, where it is stricter than what was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

/// The answer to `POST /api/v1/deployments/{version}/promote` and `POST /api/v1/deployments/rollback`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PromoteReceipt {
    /// The deployment that is current now.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its short code.
    pub short_code: String,
    /// Dacapo's: the tasks that run on it now.
    pub tasks: Vec<String>,
    /// Dacapo's: tasks that its component no longer has; their runs wait for a version.
    pub retired: Vec<String>,
    /// Dacapo's: runs that had waited for it.
    pub released_runs: u64,
}

/// `GET /api/v1/deployments`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DeploymentPage {
    /// Newest first.
    pub data: Vec<DeploymentItem>,
    /// Where the next page begins.
    pub pagination: Pagination,
}
