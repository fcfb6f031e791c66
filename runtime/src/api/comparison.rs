//! What the comparison of a run with its replay found, as it is stored, shown and reported.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::attempt;
use crate::model::replay::LogCounts;
use crate::model::verdict::Verdict;

/// How a replay (*now*) compares with its source run (*then*). Texts are cut and lists are bounded: what is
/// left out is counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// What it comes to: a word such as `output-changed`.
    #[serde(with = "verdict_word")]
    #[schema(value_type = String)]
    pub verdict: Verdict,
    /// How they ended.
    pub ends: Both<End>,
    /// What differs in the output, or in the error.
    pub output: Listed<Change>,
    /// What differs in the metadata.
    pub metadata: Listed<Change>,
    /// What differs in the calls that reach beyond the run.
    pub effects: EffectChanges,
    /// The same of the runs that were executed in place of those that it triggered, where something differs or is not
    /// answered, or that could not be executed.
    #[serde(default, skip_serializing_if = "Listed::is_empty")]
    pub children: Listed<ChildChanges>,
    /// Variables that the environment has now and the recording has not: names alone, where the replay looked for
    /// variables. It saw them only if the current ones were asked for.
    #[serde(default, skip_serializing_if = "Listed::is_empty")]
    pub new_variables: Listed<String>,
    /// The log lines.
    pub logs: Both<LogLines>,
    /// What they used.
    pub usage: Both<Used>,
    /// The budgets of the rules that were passed, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_budgets: Vec<String>,
}

/// The same of the source run and of the replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Both<T> {
    /// The source run.
    pub then: T,
    /// The replay.
    pub now: T,
}

/// `GET /api/v1/runs/{runId}/comparison`: two runs that were done for real.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunComparison {
    /// The runs.
    #[serde(flatten)]
    pub sides: Both<RunSide>,
    /// How they differ.
    pub comparison: Comparison,
    /// Whether their calls were compared: where a side has no recording they were not, and `effects` says nothing.
    pub are_calls_compared: bool,
    /// What was not compared, and why: sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One of two runs that are compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunSide {
    /// The run.
    pub run_id: String,
    /// Its task.
    pub task_identifier: String,
    /// The version that it ran on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether its calls are on record.
    pub is_recorded: bool,
}

/// The first items of a list, and how many more there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Listed<T> {
    /// The first.
    pub items: Vec<T>,
    /// How many were left out.
    #[serde(default)]
    pub more: u64,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { items: Vec::new(), more: 0 }
    }
}

impl<T> Listed<T> {
    /// Most items that are kept.
    pub const MAX_ITEMS: usize = 100;

    /// One more, which is made only if there is room for it.
    pub fn add(&mut self, item: impl FnOnce() -> T) {
        if self.items.len() < Self::MAX_ITEMS { self.items.push(item()) } else { self.more += 1 }
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    /// How many were added, those left out included.
    pub fn total(&self) -> u64 {
        self.items.len() as u64 + self.more
    }

    /// Keeps so many items.
    pub fn shorten(&mut self, max_items: usize) {
        self.more += self.items.len().saturating_sub(max_items) as u64;
        self.items.truncate(max_items);
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// `completed`, or the kind of the failure: `task`, `crash`, `out-of-memory`, `time-limit` ….
    pub kind: String,
    /// The name of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its message, cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// One difference between two values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// Where, as rules name it: `$.items[3].total`; for errors `kind`, `name` or `message`.
    pub path: String,
    /// JSON text then, cut around the difference; absent where there was nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// JSON text now, cut around the difference; absent where there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What differs in the calls of two runs that reach beyond them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EffectChanges {
    /// How many calls are the same then and now, those that have moved included; 0 where calls were not compared.
    pub matched: u64,
    /// Calls that are made now only.
    pub added: Listed<EffectCall>,
    /// Calls that were made then only.
    pub removed: Listed<EffectCall>,
    /// Calls of the same kind to the same target with other arguments.
    pub changed: Listed<EffectChange>,
    /// The same calls at another place in the order.
    pub reordered: Listed<EffectMove>,
    /// Hosts that get requests now and got none then, whatever the rules ignore.
    pub new_hosts: Listed<String>,
    /// Calls that the recording does not answer, whatever the rules ignore.
    pub unmatched: Listed<EffectCall>,
}

/// What differs in the calls of a child that was executed, or was to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChildChanges {
    /// Its task.
    pub task: String,
    /// What differs from the run in whose place it was executed; all is new where there was none.
    pub effects: EffectChanges,
    /// Whether it was not executed, because that run is not on record: then it ended as that one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub not_executed: bool,
}

/// A call that reaches beyond the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EffectCall {
    /// `http`, `trigger`, `tags` ….
    pub kind: String,
    /// Whom it reaches, cut.
    pub target: String,
    /// Its arguments, cut.
    pub arguments: String,
}

/// A call whose arguments differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EffectChange {
    /// `http`, `trigger`, `tags` ….
    pub kind: String,
    /// Whom it reaches, cut.
    pub target: String,
    /// Its arguments then, cut around the difference.
    pub before: String,
    /// Its arguments now, cut around the difference.
    pub after: String,
}

/// A call that has moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EffectMove {
    /// `http`, `trigger`, `tags` ….
    pub kind: String,
    /// Whom it reaches, cut.
    pub target: String,
    /// Its place then among the calls that count, from 1.
    pub from: u64,
    /// Its place now among the calls that count, from 1.
    pub to: u64,
}

/// Log lines by level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct LogLines {
    /// The finest.
    pub trace: u64,
    /// For the author.
    pub debug: u64,
    /// Normal.
    pub info: u64,
    /// Suspicious.
    pub warn: u64,
    /// Wrong.
    pub error: u64,
}

impl LogLines {
    /// The levels with their counts.
    pub fn levels(&self) -> [(&'static str, u64); 5] {
        [("trace", self.trace), ("debug", self.debug), ("info", self.info), ("warn", self.warn), ("error", self.error)]
    }
}

impl From<LogCounts> for LogLines {
    fn from(counts: LogCounts) -> Self {
        let LogCounts { trace, debug, info, warn, error } = counts;
        Self { trace, debug, info, warn, error }
    }
}

/// What an execution used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Used {
    /// CPU time in microseconds.
    pub cpu_us: u64,
    /// Time from start to end in microseconds.
    pub wall_us: u64,
    /// The most memory at any time.
    pub peak_memory_bytes: u64,
}

impl From<attempt::Usage> for Used {
    fn from(usage: attempt::Usage) -> Self {
        Self {
            cpu_us: u64::try_from(usage.cpu.as_micros()).unwrap_or(u64::MAX),
            wall_us: u64::try_from(usage.wall.as_micros()).unwrap_or(u64::MAX),
            peak_memory_bytes: usage.peak_memory_bytes,
        }
    }
}

impl Both<Used> {
    /// CPU time now as a multiple of then; none where nothing is known of then.
    pub fn cpu_factor(&self) -> Option<f64> {
        factor(self.then.cpu_us, self.now.cpu_us)
    }

    /// Duration now as a multiple of then; none where nothing is known of then.
    pub fn wall_factor(&self) -> Option<f64> {
        factor(self.then.wall_us, self.now.wall_us)
    }

    /// Memory now as a multiple of then; none where nothing is known of then.
    pub fn memory_factor(&self) -> Option<f64> {
        factor(self.then.peak_memory_bytes, self.now.peak_memory_bytes)
    }
}

fn factor(then: u64, now: u64) -> Option<f64> {
    (then > 0).then(|| now as f64 / then as f64)
}

/// A verdict as its word.
mod verdict_word {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::model::verdict::Verdict;

    pub(super) fn serialize<S: Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(verdict.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Verdict, D::Error> {
        let word = String::deserialize(deserializer)?;
        Verdict::parse(&word).ok_or_else(|| D::Error::custom(format_args!("`{word}` is no verdict")))
    }
}
