//! Sandboxed replays as the API shows them: how they are asked for, and what came of one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{Comparison, ReplayRules, SerializedError};
use crate::model::replay;

macro_rules! word {
    ($(#[$doc:meta])* $name:ident = $model:ty { $($(#[$variant_doc:meta])* $variant:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl From<$name> for $model {
            fn from(word: $name) -> Self {
                match word { $($name::$variant => Self::$variant,)* }
            }
        }
    };
}

word! {
    /// How far a replay may reach.
    ReplayMode = replay::Mode {
        /// A new run, with all its effects. The default of `POST /api/v1/runs/{runId}/replay`.
        Live,
        /// No effect leaves the server: what the guest asks for is answered from the recording of the source run.
        Sandbox,
        /// As in the sandbox, but `GET` and `HEAD` requests that the recording does not answer may go out.
        Shadow,
    }
}

word! {
    /// What becomes of a call that the recording does not answer. It is listed in any case.
    UnmatchedPolicy = replay::Unmatched {
        /// The guest sees an error, as if it could not connect. The default.
        Block,
        /// The replay fails at once.
        Fail,
        /// It is answered by the first of `stubs` that fits, else blocked.
        Stub,
    }
}

word! {
    /// How the runs that a replayed run triggers come about.
    ChildrenPolicy = replay::Children {
        /// Their recorded results are used. The default.
        Recorded,
        /// They are executed in the sandbox, too.
        Execute,
    }
}

word! {
    /// Which variables a replay sees.
    VariablesPolicy = replay::Variables {
        /// Those of the recording, with the values of then. The default.
        Recorded,
        /// Of those that the recording lacks, the ones that the environment has now: for a version that needs new ones.
        Current,
    }
}

/// Canned answers: for HTTP requests, and for runs by task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ReplayStubs {
    /// For HTTP requests; the first that fits answers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<HttpStub>,
    /// For runs: the output, by the id of the task.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub runs: BTreeMap<String, Value>,
}

/// A canned response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpStub {
    /// Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The URL, or a beginning of it followed by `*`.
    pub url: String,
    /// 100 to 999. Default: 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Names and values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// A text is the body itself; anything else is sent as JSON, with its content type.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub body: Value,
}

/// How a replay in the sandbox is done. Nothing in it need be there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ReplayOptions {
    /// What becomes of a call that the recording does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmatched: Option<UnmatchedPolicy>,
    /// How the runs that it triggers come about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub children: Option<ChildrenPolicy>,
    /// Which variables it sees. Those that the recording lacks are named in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variables: Option<VariablesPolicy>,
    /// Canned answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stubs: Option<ReplayStubs>,
    /// What the comparison overlooks and allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, super::TaskReplayRules>>)]
    pub rules: Option<ReplayRules>,
}

/// The answer to a replay, by its mode.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ReplayAnswer {
    /// `live`
    Live(super::ReplayReceipt),
    /// `sandbox` and `shadow`
    Sandbox(Box<ReplayReport>),
}

/// The answer to `POST /api/v1/runs/{runId}/replay` in the modes `sandbox` and `shadow`. No run was made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplayReport {
    /// The source run.
    pub source_run_id: String,
    /// Its task.
    pub task_identifier: String,
    /// The version that the input was executed on.
    pub version: String,
    /// `sandbox` or `shadow`.
    pub mode: ReplayMode,
    /// `same`, `output-changed`, `effects-changed`, `newly-failing`, `fixed`, `over-budget`, `payload-rejected` or
    /// `not-replayable`.
    pub verdict: String,
    /// What differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// Why there is no comparison.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How the source run ended, where a replay was executed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub then: Option<SourceEnd>,
    /// How the replay ended, where it was executed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub now: Option<ReplayEnd>,
}

/// How a source run ended: the whole of what a comparison shows cut. Values of variables are left out as in `now`, so that
/// the two can stand side by side.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceEnd {
    /// What it returned, where it completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub output: Option<Box<RawValue>>,
    /// Whether it returned more than 1 MiB, which is left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_is_cut: bool,
    /// Why it did not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<SerializedError>,
}

/// How a replay ended: the whole of what a comparison shows cut. The values of variables are left out.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplayEnd {
    /// What it returned, where it completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub output: Option<Box<RawValue>>,
    /// Whether it returned more than 1 MiB, which is left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_is_cut: bool,
    /// Why it did not complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<SerializedError>,
    /// What it wrote into its log: the first 1,000 lines, 256 KiB together at most.
    pub logs: Vec<ReplayLine>,
    /// Whether it wrote more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub logs_are_cut: bool,
}

/// A line of the log of a replay. It has no time: that of a replay says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplayLine {
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// `task`, `stdout` or `stderr`.
    pub source: String,
    /// The text.
    pub message: String,
}
