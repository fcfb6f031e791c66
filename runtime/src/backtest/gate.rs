//! Whether a gate is open, once every run was looked at.

use std::collections::HashSet;

use crate::model::verdict::Counts;
use crate::storage::{BacktestEnd, GateRule, TaskCount};

/// Tasks that are named in a reason.
const MAX_NAMED: usize = 5;

/// What is known at the end of a gate.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// How many runs came to each verdict.
    pub(super) counts: &'a Counts,
    /// How many runs of each task were looked at.
    pub(super) looked_at: &'a [TaskCount],
    /// All tasks that are tested.
    pub(super) tasks: Vec<String>,
    /// Those of them that want no recordings kept.
    pub(super) unrecorded: HashSet<String>,
}

/// How a gate ends. It is open where no more differ than are allowed, and where enough is known to say so.
pub(super) fn decide(rule: GateRule, found: &Found<'_>) -> BacktestEnd {
    let Found { counts, looked_at, tasks, unrecorded } = found;
    let is_tested = |task: &str| looked_at.iter().any(|count| count.task == task && count.known > 0);
    let untested: Vec<String> = tasks.iter().filter(|task| !is_tested(task)).cloned().collect();
    if counts.differences() > rule.allowed {
        return BacktestEnd::Completed { is_open: Some(false), untested };
    }
    if counts.total() == 0 {
        let text = "no run of its tasks has ended in the time for which recordings are kept (--journal-retention), so \
                    that nothing is known";
        return BacktestEnd::Failed(text.into());
    }
    // Where no task is recorded, there is nothing that could be known.
    let mut all = tasks.iter().chain(looked_at.iter().map(|count| &count.task));
    if counts.known() == 0 && !all.all(|task| unrecorded.contains(task)) {
        return BacktestEnd::Failed("no run could be replayed, so that nothing is known".into());
    }
    let is_enough = |count: &TaskCount| count.known * 100 >= count.done * u64::from(rule.min_known);
    // Of a run that cannot be read at all, the task is not known.
    let counts_here = |count: &&TaskCount| !count.task.is_empty() && !unrecorded.contains(&count.task);
    let too_few = looked_at.iter().filter(counts_here).filter(|count| !is_enough(count));
    let mut named: Vec<String> =
        too_few.map(|count| format!("{} of {} of `{}`", count.known, count.done, count.task)).collect();
    if named.is_empty() {
        return BacktestEnd::Completed { is_open: Some(true), untested };
    }
    let more = named.len().saturating_sub(MAX_NAMED);
    named.truncate(MAX_NAMED);
    let more = if more > 0 { format!(", and so on for {more} more tasks") } else { String::new() };
    BacktestEnd::Failed(format!(
        "too little is known: {} runs could be replayed{more}, and the gate asks for {}% of each task (`minKnown`)",
        named.join(", "),
        rule.min_known
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::verdict::Verdict;

    /// How a gate ends that allows one difference, after runs of tasks: done, known.
    fn end(different: u64, runs: &[(&str, u64, u64)], unrecorded: &[&str]) -> BacktestEnd {
        let mut counts = Counts::default();
        let looked_at: Vec<TaskCount> = runs
            .iter()
            .map(|(task, done, known)| TaskCount { task: (*task).into(), done: *done, known: *known })
            .collect();
        let (done, known) = looked_at.iter().fold((0, 0), |sum, task| (sum.0 + task.done, sum.1 + task.known));
        counts.set(Verdict::Same, known - different);
        counts.set(Verdict::OutputChanged, different);
        counts.set(Verdict::NotReplayable, done - known);
        let tasks = ["a", "b", "c"].map(String::from).into();
        let unrecorded = unrecorded.iter().map(|task| (*task).to_owned()).collect();
        let rule = GateRule { allowed: 1, min_known: 50 };
        decide(rule, &Found { counts: &counts, looked_at: &looked_at, tasks, unrecorded })
    }

    fn completed(is_open: bool, untested: &[&str]) -> BacktestEnd {
        let untested = untested.iter().map(|task| (*task).to_owned()).collect();
        BacktestEnd::Completed { is_open: Some(is_open), untested }
    }

    #[test]
    fn a_gate_is_open_when_enough_is_known_and_no_more_differ_than_may() {
        assert_eq!(end(1, &[("a", 10, 5), ("b", 2, 2)], &[]), completed(true, &["c"]));
        assert_eq!(end(2, &[("a", 10, 5)], &[]), completed(false, &["b", "c"]));
        assert_eq!(end(0, &[("a", 10, 10), ("b", 9, 0)], &["b"]), completed(true, &["b", "c"]));
        assert_eq!(end(0, &[("", 1, 0), ("a", 10, 10)], &[]), completed(true, &["b", "c"]));
        let all = ["a", "b", "c"];
        assert_eq!(end(0, &[("b", 9, 0)], &all), completed(true, &all), "there is nothing to be known");
    }

    #[test]
    fn a_gate_does_not_open_on_almost_nothing() {
        let failed = |end: BacktestEnd, why: &str| {
            assert!(matches!(&end, BacktestEnd::Failed(reason) if reason.contains(why)), "{end:?}");
        };
        failed(end(0, &[], &[]), "no run of its tasks has ended");
        failed(end(0, &[("a", 7, 0)], &[]), "no run could be replayed");
        failed(end(0, &[("a", 7, 0)], &["a", "b"]), "no run could be replayed");
        failed(end(0, &[("a", 1_000, 1)], &[]), "1 of 1000 of `a` runs could be replayed");
        failed(
            end(1, &[("a", 10, 10), ("b", 3, 1)], &[]),
            "1 of 3 of `b` runs could be replayed, and the gate asks for 50%",
        );
    }

    #[test]
    fn trouble_of_the_server_is_a_difference() {
        let mut counts = Counts::default();
        counts.set(Verdict::Same, 9);
        counts.add_troubled();
        let looked_at = [TaskCount { task: "a".into(), done: 10, known: 9 }];
        let found = Found { counts: &counts, looked_at: &looked_at, tasks: Vec::new(), unrecorded: HashSet::new() };
        assert_eq!(decide(GateRule { allowed: 0, min_known: 50 }, &found), completed(false, &[]));
    }
}
