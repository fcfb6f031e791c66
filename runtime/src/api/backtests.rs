//! Backtests as the API shows them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    BulkFilter, Comparison, Pagination, ReplayMode, ReplayOptions, serialize_instant, serialize_instant_option,
};

/// `POST /api/v1/backtests`: replays runs that have ended on a version, in the sandbox, and compares.
///
/// Without `filter` and `runIds` it is the newest runs that have ended.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BacktestRequest {
    /// The version that is tested, promoted or not, such as `20261121.3`.
    pub version: String,
    /// What it is compared with: `recorded` (the default), what the runs did; `current`, what the current version does with
    /// the same inputs; or another version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// The runs that fit. Without a time in it: of the last 7 days. Without a status: those that completed, failed,
    /// crashed or timed out. Without a task: those of the version's component.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<BulkFilter>,
    /// These runs, 500 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_ids: Option<Vec<String>>,
    /// Of the runs that fit, so many of the newest: 1 to 100,000. Default: 1,000. With a gate, tasks share them evenly; what
    /// one has too few runs for goes to the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<u32>,
    /// Of those, so many that are spread evenly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<u32>,
    /// `sandbox` (the default) or `shadow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<ReplayMode>,
    /// How each replay is done.
    #[serde(default)]
    pub options: ReplayOptions,
    /// Makes the version current at the end, if it is clean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<Gate>,
}

/// When a version is promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gate {
    /// Most runs that may differ: with a verdict other than `same`, `fixed` and `not-replayable`, or with one on which the
    /// server could not execute the version.
    pub allow: u64,
    /// The least share of the runs of each task, in percent, that must be replayable: otherwise too little is known of the
    /// version, and it stays unpromoted. Tasks that want no recordings kept do not count. Default: 50.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub min_known: Option<u32>,
}

/// Where a backtest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum BacktestStatus {
    /// There are runs left.
    Pending,
    /// Every run was looked at.
    Completed,
    /// Somebody stopped it.
    Aborted,
    /// It could not go on.
    Failed,
}

impl From<crate::model::backtest::BacktestStatus> for BacktestStatus {
    fn from(status: crate::model::backtest::BacktestStatus) -> Self {
        use crate::model::backtest::BacktestStatus as Stored;
        match status {
            Stored::Pending => Self::Pending,
            Stored::Completed => Self::Completed,
            Stored::Aborted => Self::Aborted,
            Stored::Failed => Self::Failed,
        }
    }
}

/// A backtest.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BacktestItem {
    /// `backtest_…`
    pub id: String,
    /// Where it is.
    pub status: BacktestStatus,
    /// The version that is tested.
    pub version: String,
    /// `recorded`, or the version that it is compared with.
    pub against: String,
    /// Most runs that it looks at.
    pub planned: u64,
    /// Runs that it has looked at.
    pub done: u64,
    /// How many came to each verdict; verdicts to which none came are left out.
    pub verdicts: BTreeMap<String, u64>,
    /// Runs with a verdict other than `same`, `fixed` and `not-replayable`, and those that are not replayable because the
    /// server could not execute the version on them.
    pub differences: u64,
    /// Whether it speaks for the version, once it is over: every run was looked at, something is known of one at least,
    /// nothing differs, and no task is untested.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub is_clean: Option<bool>,
    /// When it was asked for.
    #[serde(serialize_with = "serialize_instant")]
    pub created_at: Timestamp,
    /// When it was over.
    #[serde(serialize_with = "serialize_instant_option", skip_serializing_if = "Option::is_none", default)]
    pub completed_at: Option<Timestamp>,
    /// The gate, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gate: Option<Gate>,
    /// Whether the gate was open, so that the version was promoted, once that is decided.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub is_open: Option<bool>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Of a gate that was decided: tasks of which nothing is known, because none of their runs has ended in the time for
    /// which recordings are kept, or none could be replayed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub untested: Vec<String>,
    /// What was asked for, its times fixed: asked for again as it is, it is the same backtest. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request: Option<Box<BacktestRequest>>,
}

/// `GET /api/v1/backtests`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BacktestList {
    /// Newest first.
    pub data: Vec<BacktestItem>,
    /// Where the next page begins.
    pub pagination: Pagination,
}

/// `{"id": "backtest_…"}`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BacktestId {
    /// The backtest.
    pub id: String,
}

/// `GET /api/v1/backtests/{id}/replays`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BacktestReplays {
    /// Oldest source run first.
    pub data: Vec<BacktestReplay>,
    /// Where the next page begins: the last source run of this one.
    pub pagination: Pagination,
}

/// What came of one run of a backtest.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BacktestReplay {
    /// The source run.
    pub run_id: String,
    /// Its task.
    pub task_identifier: String,
    /// In a word.
    pub verdict: String,
    /// Whether it speaks against the version. A run that is `not-replayable` does where the server could not execute the
    /// version on it, alone and several times, because that may be the version's doing.
    pub differs: bool,
    /// What differs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub comparison: Option<Comparison>,
    /// Why there is no comparison.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

/// What a version must stand before it is made current: a backtest on the newest runs of its tasks. A setting of an
/// environment, or of one deployment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct BacktestPolicy {
    /// So many of the newest runs, which tasks share evenly: 1 to 100,000. Default: 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<u32>,
    /// Most runs that may differ. Default: 0.
    pub allow: u64,
    /// The least share of the runs of each task, in percent, that must be replayable. Default: 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_known: Option<u32>,
    /// Of those runs, so many that are spread evenly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<u32>,
    /// Of these tasks only. Default: all that the version has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<String>,
    /// `sandbox` (the default) or `shadow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<ReplayMode>,
    /// How each replay is done.
    pub options: ReplayOptions,
}
