//! What comparisons overlook and allow, task by task.
//!
//! The rules are kept in `dacapo-replay.json` beside the source of the task, and are sent with a backtest. The
//! file is one JSON object of task ids (`*` stands for all tasks), each with an object of these fields, none of
//! which need be there:
//!
//! | field | value | meaning |
//! |---|---|---|
//! | `ignore-output` | paths | what differs there, or below, in the output does not count |
//! | `ignore-metadata` | paths | the same of the metadata |
//! | `ignore-error-message` | `true` or `false` | of errors, only kind and name are compared |
//! | `absolute-tolerance` | number ≥ 0 | numbers this far from each other are the same |
//! | `relative-tolerance` | number from 0 to 1 | the same as a share of the greater |
//! | `unordered-arrays` | paths | the order in these arrays, of output and metadata, says nothing |
//! | `ignore-effects` | effects | these calls do not count, nor do new hosts and unmatched calls that are among them |
//! | `unordered-effects` | `true` or `false` | the order of calls does not count |
//! | `max-memory-factor` | number > 0 | `over-budget` when the peak of memory is more than this multiple of then |
//! | `max-cpu-factor` | number > 0 | the same of CPU time, where it is at least 5 ms more |
//!
//! A *path* is `$` and steps: `.name`, `["any name"]`, `[3]`, `.*` or `[*]` (any one step), and `..` before a step
//! (any number of steps). An *effect* is a kind (`http`, `trigger`, `batch-trigger`, `create-token`,
//! `complete-token`, `metadata`, `tags`, `stream`, `file`, `environment`, `wait`), a kind, a space and the start of a
//! target (`http POST https://metrics.example.com/`, `trigger send-`), or the start of a URL. A URL ends at a whole host
//! or goes on into the path, so that `https://example.com` does not stand for `https://example.com.evil.org`.
//!
//! ```json
//! {
//!     "*": { "ignore-effects": ["https://metrics.example.com/"] },
//!     "send-invoice": { "ignore-output": ["$.sentAt", "$.lines[*].id"], "relative-tolerance": 0.001 }
//! }
//! ```
//!
//! Lists of `*` and of the task are joined; single values of the task count before those of `*`.

mod effect;
mod join;
mod path;

use std::collections::BTreeMap;

pub use effect::EffectPattern;
pub(in crate::backtest) use effect::host_of;
pub use join::join;
pub use path::{Path, Pattern, Step};

use crate::api::{ReplayRules, TaskReplayRules};
use crate::model::limits::{
    MAX_REPLAY_RULE_CHARS, MAX_REPLAY_RULE_ENTRIES, MAX_REPLAY_RULES_BYTES, MAX_REPLAY_RULES_TASKS, MAX_TASK_ID_CHARS,
};

/// The name of the file beside the source of a task.
pub const FILE_NAME: &str = "dacapo-replay.json";
/// The task id that stands for all.
const ALL: &str = "*";

/// Why rules were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// No JSON, an unknown field, or a value of the wrong type.
    #[error("the rules of replays cannot be read: {0}")]
    Unreadable(String),
    /// More than a limit allows.
    #[error("{0}")]
    TooMuch(String),
    /// A value that means nothing.
    #[error("the rules of task `{task}`: `{field}`: {problem}")]
    Invalid {
        /// Whose rules.
        task: String,
        /// Which.
        field: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// The rules of all tasks, checked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rules {
    given: ReplayRules,
    /// Of every task that is named, joined with those of `*`.
    of: BTreeMap<String, TaskRules>,
    of_others: TaskRules,
}

/// What holds for one task.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TaskRules {
    /// What may differ in the output.
    pub ignore_output: Vec<Pattern>,
    /// What may differ in the metadata.
    pub ignore_metadata: Vec<Pattern>,
    /// Whether the message of an error may differ.
    pub ignore_error_message: bool,
    /// How far numbers may be from each other.
    pub absolute_tolerance: f64,
    /// The same as a share of the greater.
    pub relative_tolerance: f64,
    /// Arrays the order of which says nothing.
    pub unordered_arrays: Vec<Pattern>,
    /// Calls that do not count.
    pub ignore_effects: Vec<EffectPattern>,
    /// Whether calls may come in another order.
    pub unordered_effects: bool,
    /// The most memory, as a multiple of then.
    pub max_memory_factor: Option<f64>,
    /// The most CPU time, as a multiple of then.
    pub max_cpu_factor: Option<f64>,
}

impl Rules {
    /// Reads the text of a file, at most [`MAX_REPLAY_RULES_BYTES`] long.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        if text.len() > MAX_REPLAY_RULES_BYTES {
            return Err(RulesError::TooMuch(format!(
                "the rules of replays are longer than {MAX_REPLAY_RULES_BYTES} bytes"
            )));
        }
        Self::check(serde_json::from_str(text).map_err(|err| RulesError::Unreadable(err.to_string()))?)
    }

    /// Checks what was sent.
    pub fn check(given: ReplayRules) -> Result<Self, RulesError> {
        if given.len() > MAX_REPLAY_RULES_TASKS {
            return Err(RulesError::TooMuch(format!("there are rules for more than {MAX_REPLAY_RULES_TASKS} tasks")));
        }
        let nothing = TaskReplayRules::default();
        let all = given.get(ALL).unwrap_or(&nothing);
        let of_others = task_rules(ALL, all, &nothing)?;
        let mut of = BTreeMap::new();
        for (task, own) in given.iter().filter(|(task, _)| *task != ALL) {
            if task.is_empty() || task.chars().count() > MAX_TASK_ID_CHARS {
                let problem = format!("a task id has 1 to {MAX_TASK_ID_CHARS} characters");
                return Err(RulesError::TooMuch(problem));
            }
            task_rules(task, own, &nothing)?;
            of.insert(task.clone(), task_rules(task, own, all)?);
        }
        Ok(Self { given, of, of_others })
    }

    /// What holds for a task.
    pub fn task(&self, id: &str) -> &TaskRules {
        self.of.get(id).unwrap_or(&self.of_others)
    }

    /// As they were given.
    pub fn given(&self) -> &ReplayRules {
        &self.given
    }

    /// JSON text that [`Rules::parse`] reads back.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.given).expect("strings, numbers and lists are always JSON")
    }
}

impl TaskRules {
    /// Whether numbers may differ at all.
    pub fn is_tolerant(&self) -> bool {
        self.absolute_tolerance > 0.0 || self.relative_tolerance > 0.0
    }
}

/// The rules of a task, joined with those of all.
fn task_rules(task: &str, own: &TaskReplayRules, all: &TaskReplayRules) -> Result<TaskRules, RulesError> {
    let field = |field| Field { task, field };
    Ok(TaskRules {
        ignore_output: field("ignore-output").list(&own.ignore_output, &all.ignore_output, Pattern::parse)?,
        ignore_metadata: field("ignore-metadata").list(&own.ignore_metadata, &all.ignore_metadata, Pattern::parse)?,
        ignore_error_message: own.ignore_error_message.or(all.ignore_error_message).unwrap_or_default(),
        absolute_tolerance: field("absolute-tolerance")
            .number(own.absolute_tolerance.or(all.absolute_tolerance), 0.0, f64::MAX)?
            .unwrap_or_default(),
        relative_tolerance: field("relative-tolerance")
            .number(own.relative_tolerance.or(all.relative_tolerance), 0.0, 1.0)?
            .unwrap_or_default(),
        unordered_arrays: field("unordered-arrays").list(
            &own.unordered_arrays,
            &all.unordered_arrays,
            Pattern::parse,
        )?,
        ignore_effects: field("ignore-effects").list(&own.ignore_effects, &all.ignore_effects, EffectPattern::parse)?,
        unordered_effects: own.unordered_effects.or(all.unordered_effects).unwrap_or_default(),
        max_memory_factor: field("max-memory-factor").number(
            own.max_memory_factor.or(all.max_memory_factor),
            MIN_FACTOR,
            MAX_FACTOR,
        )?,
        max_cpu_factor: field("max-cpu-factor").number(
            own.max_cpu_factor.or(all.max_cpu_factor),
            MIN_FACTOR,
            MAX_FACTOR,
        )?,
    })
}

const MIN_FACTOR: f64 = 0.001;
const MAX_FACTOR: f64 = 1_000_000.0;

/// A field whose values are checked.
struct Field<'a> {
    task: &'a str,
    field: &'static str,
}

impl Field<'_> {
    fn invalid(&self, problem: String) -> RulesError {
        RulesError::Invalid { task: self.task.to_owned(), field: self.field, problem }
    }

    /// The entries of the task and of all.
    fn list<T>(
        &self,
        own: &[String],
        all: &[String],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, RulesError> {
        if own.len() > MAX_REPLAY_RULE_ENTRIES {
            return Err(self.invalid(format!("there are more than {MAX_REPLAY_RULE_ENTRIES} entries")));
        }
        let entry = |text: &String| {
            if text.chars().count() > MAX_REPLAY_RULE_CHARS {
                return Err(self.invalid(format!("an entry is longer than {MAX_REPLAY_RULE_CHARS} characters")));
            }
            parse(text).map_err(|problem| self.invalid(format!("`{}`: {problem}", text.escape_debug())))
        };
        all.iter().chain(own).map(entry).collect()
    }

    fn number(&self, given: Option<f64>, least: f64, most: f64) -> Result<Option<f64>, RulesError> {
        match given {
            Some(number) if !(least..=most).contains(&number) => {
                let most = if most == f64::MAX { "on".to_owned() } else { format!("to {most}") };
                Err(self.invalid(format!("{number} is not a number from {least} {most}")))
            }
            given => Ok(given),
        }
    }
}
