//! Rules of two places, as one.

use crate::api::{ReplayRules, TaskReplayRules};

/// The rules of a request over those that are stored: lists are joined, and of single values that of the request counts,
/// task by task.
pub fn join(stored: &ReplayRules, given: &ReplayRules) -> ReplayRules {
    let mut joined = stored.clone();
    for (task, over) in given {
        let under = joined.remove(task).unwrap_or_default();
        joined.insert(task.clone(), of_task(under, over));
    }
    joined
}

fn of_task(under: TaskReplayRules, over: &TaskReplayRules) -> TaskReplayRules {
    TaskReplayRules {
        ignore_output: list(under.ignore_output, &over.ignore_output),
        ignore_metadata: list(under.ignore_metadata, &over.ignore_metadata),
        ignore_error_message: over.ignore_error_message.or(under.ignore_error_message),
        absolute_tolerance: over.absolute_tolerance.or(under.absolute_tolerance),
        relative_tolerance: over.relative_tolerance.or(under.relative_tolerance),
        unordered_arrays: list(under.unordered_arrays, &over.unordered_arrays),
        ignore_effects: list(under.ignore_effects, &over.ignore_effects),
        unordered_effects: over.unordered_effects.or(under.unordered_effects),
        max_memory_factor: over.max_memory_factor.or(under.max_memory_factor),
        max_cpu_factor: over.max_cpu_factor.or(under.max_cpu_factor),
    }
}

/// Both, each entry once.
fn list(mut under: Vec<String>, over: &[String]) -> Vec<String> {
    for entry in over {
        if !under.contains(entry) {
            under.push(entry.clone());
        }
    }
    under
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_joined_and_single_values_of_the_request_count() {
        let rules = |value| -> ReplayRules { serde_json::from_value(value).expect("rules") };
        let stored = rules(json!({
            "*": { "ignore-effects": ["tags"] },
            "a": { "ignore-output": ["$.x", "$.y"], "relative-tolerance": 0.1, "unordered-effects": true },
        }));
        let given = rules(json!({
            "a": { "ignore-output": ["$.y", "$.z"], "relative-tolerance": 0.5 },
            "b": { "ignore-error-message": true },
        }));
        let expected = rules(json!({
            "*": { "ignore-effects": ["tags"] },
            "a": { "ignore-output": ["$.x", "$.y", "$.z"], "relative-tolerance": 0.5, "unordered-effects": true },
            "b": { "ignore-error-message": true },
        }));
        assert_eq!(join(&stored, &given), expected);
        assert_eq!(join(&stored, &ReplayRules::new()), stored);
        assert_eq!(join(&ReplayRules::new(), &given), given);
    }
}
