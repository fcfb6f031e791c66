//! Decides how a replay differs from its source run, and what that comes to.
//!
//! Pure, and bounded whatever guests made: texts are cut, lists end after [`Listed::MAX_ITEMS`] and say how much is
//! left out, and the work grows with the size of what is compared. The values of variables are left out of all texts. Two things are not decided here, because there is no
//! replay to look at: that the new version does not take a payload, and that a run cannot be replayed.
//!
//! Start with [`compare`].

mod effects;
mod excerpt;
mod headline;
mod json;
mod stored;
mod text;

use std::time::Duration;

pub use headline::headline;
pub use json::diff;
pub use stored::{StoredError, from_stored, to_stored};
pub use text::{printable, text};
pub(in crate::backtest) use text::{shown_bytes, shown_time};

use super::rules::TaskRules;
use crate::api::{Both, Change, Comparison, End, Listed, Used};
use crate::model::mask::Mask;
use crate::model::replay::{Observed, ObservedEnd};
use crate::model::run::ErrorKind;
use crate::model::verdict::Verdict;

/// CPU time by which a replay must exceed its source run before a factor counts: less is noise.
const MIN_CPU_EXCESS: Duration = Duration::from_millis(5);
/// Most bytes of an error's name that are kept.
const MAX_NAME_BYTES: usize = 200;
/// Most bytes of an error's message that are kept.
const MAX_MESSAGE_BYTES: usize = 2_000;

/// Compares what a source run did with what its replay did.
pub fn compare(then: &Observed, now: &Observed, rules: &TaskRules) -> Comparison {
    let mask = &then.secrets.and(&now.secrets);
    let output = ends((&then.end, &now.end), rules, mask);
    // Others change the metadata of a run, too: what differs without its doing is not its difference.
    let metadata = match then.metadata_digest == now.metadata_digest {
        true => Listed::default(),
        false => json::diff(&then.metadata, &now.metadata, &rules.ignore_metadata, rules, mask),
    };
    let found = effects::changes(&then.effects, &now.effects, rules, mask);
    let (children, others) = effects::of_children((&then.children, &now.children), rules, mask);
    let usage = Both { then: Used::from(then.usage), now: Used::from(now.usage) };
    let passed_budgets = passed_budgets(&usage, rules);
    let seen = Seen {
        output_differs: !output.is_empty(),
        effects_differ: found.differ || others.differ || !metadata.is_empty(),
        goes_further: found.go_further || others.go_further,
        passes_a_budget: !passed_budgets.is_empty(),
    };
    Comparison {
        verdict: verdict(&then.end, &now.end, seen),
        ends: Both { then: end(&then.end, mask), now: end(&now.end, mask) },
        output,
        metadata,
        effects: found.changes,
        children,
        new_variables: new_variables(now),
        logs: Both { then: then.logs.into(), now: now.logs.into() },
        usage,
        passed_budgets,
    }
}

/// The names of the variables that the recording lacks.
fn new_variables(now: &Observed) -> Listed<String> {
    let mut names = Listed::default();
    for name in &now.new_variables {
        names.add(|| excerpt::start(name, MAX_NAME_BYTES, &Mask::default()));
    }
    names
}

/// What was found, after the rules.
#[derive(Debug, Clone, Copy)]
struct Seen {
    output_differs: bool,
    effects_differ: bool,
    /// There are hosts that are new, or calls that nobody answers.
    goes_further: bool,
    passes_a_budget: bool,
}

/// The first verdict that fits.
fn verdict(then: &ObservedEnd, now: &ObservedEnd, seen: Seen) -> Verdict {
    use ObservedEnd::{Completed, Failed};
    match (then, now) {
        (Completed(_), Failed { kind: ErrorKind::OutOfMemory | ErrorKind::TimeLimit, .. }) => Verdict::OverBudget,
        (Completed(_), _) if seen.passes_a_budget => Verdict::OverBudget,
        (Completed(_), Failed { .. }) => Verdict::NewlyFailing,
        (Failed { .. }, Completed(_)) if seen.goes_further => Verdict::EffectsChanged,
        (Failed { .. }, Completed(_)) => Verdict::Fixed,
        (Completed(_), Completed(_)) | (Failed { .. }, Failed { .. }) if seen.output_differs => Verdict::OutputChanged,
        (Completed(_), Completed(_)) | (Failed { .. }, Failed { .. }) if seen.effects_differ => Verdict::EffectsChanged,
        (Completed(_), Completed(_)) | (Failed { .. }, Failed { .. }) => Verdict::Same,
    }
}

/// What differs in two outputs, or in two errors. Nothing where only one has completed: the ends say that.
fn ends((then, now): (&ObservedEnd, &ObservedEnd), rules: &TaskRules, mask: &Mask) -> Listed<Change> {
    match (then, now) {
        (ObservedEnd::Completed(then), ObservedEnd::Completed(now)) => {
            json::diff(then, now, &rules.ignore_output, rules, mask)
        }
        (ObservedEnd::Failed { .. }, ObservedEnd::Failed { .. }) => errors((then, now), rules, mask),
        (ObservedEnd::Completed(_), ObservedEnd::Failed { .. })
        | (ObservedEnd::Failed { .. }, ObservedEnd::Completed(_)) => Listed::default(),
    }
}

/// What differs in two errors. Their stacks are not compared: every build has its own.
fn errors((then, now): (&ObservedEnd, &ObservedEnd), rules: &TaskRules, mask: &Mask) -> Listed<Change> {
    let parts = |end: &ObservedEnd| match end {
        ObservedEnd::Failed { kind, name, message, .. } => {
            [("kind", kind.as_str().to_owned()), ("name", name.clone()), ("message", message.clone())]
        }
        ObservedEnd::Completed(_) => [("kind", String::new()), ("name", String::new()), ("message", String::new())],
    };
    let mut changes = Listed::default();
    for ((part, before), (_, after)) in parts(then).into_iter().zip(parts(now)) {
        if before != after && !(part == "message" && rules.ignore_error_message) {
            changes.add(|| {
                let (before, after) = excerpt::pair(&before, &after, mask);
                Change { path: part.to_owned(), before: Some(before), after: Some(after) }
            });
        }
    }
    changes
}

fn end(end: &ObservedEnd, mask: &Mask) -> End {
    match end {
        ObservedEnd::Completed(_) => End { kind: "completed".to_owned(), name: None, message: None },
        ObservedEnd::Failed { kind, name, message, .. } => End {
            kind: kind.as_str().to_owned(),
            name: Some(excerpt::start(name, MAX_NAME_BYTES, mask)),
            message: Some(excerpt::start(message, MAX_MESSAGE_BYTES, mask)),
        },
    }
}

/// The budgets of the rules that the replay passed.
fn passed_budgets(usage: &Both<Used>, rules: &TaskRules) -> Vec<String> {
    let passed = |what, factor: Option<f64>, allowed: Option<f64>| match (factor, allowed) {
        (Some(factor), Some(allowed)) if factor > allowed => {
            Some(format!("{what} is {factor:.2} times that of then, and {allowed} times is allowed"))
        }
        _ => None,
    };
    let memory = passed("peak memory", usage.memory_factor(), rules.max_memory_factor);
    let excess = Duration::from_micros(usage.now.cpu_us.saturating_sub(usage.then.cpu_us));
    let cpu = passed("CPU time", usage.cpu_factor(), rules.max_cpu_factor.filter(|_| excess >= MIN_CPU_EXCESS));
    memory.into_iter().chain(cpu).collect()
}
