//! What differs in the calls that reach beyond a run.
//!
//! Calls of the same kind, target and digest belong together, the first to the first; then calls of the same kind and
//! target, which have changed. What is left was removed or added. Of the pairs, the fewest that explain the new order
//! have moved.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::excerpt;
use crate::api::{ChildChanges, EffectCall, EffectChange, EffectChanges, EffectMove, Listed};
use crate::backtest::rules::{TaskRules, host_of};
use crate::model::mask::Mask;
use crate::model::replay::{AnsweredBy, ChildEffects, Effect, EffectKind};

/// Most bytes of a target that are shown.
const MAX_TARGET_BYTES: usize = 400;
/// Most bytes of a host that are shown.
const MAX_HOST_BYTES: usize = 260;

/// What is said of a call whose arguments differ in nothing that is shown.
const UNSHOWN: &str = "(what differs is not shown: a body, a secret, an option, or the end of something long)";

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    /// After the rules; new hosts and unmatched calls are listed whatever the rules say.
    pub(super) changes: EffectChanges,
    /// Whether the world outside would see a difference, or might: nobody knows what an unmatched call would have got. One
    /// that was unmatched then as well is none.
    pub(super) differ: bool,
    /// Whether there are new hosts, or calls that are unmatched now only, that the rules do not ignore.
    pub(super) go_further: bool,
}

/// What differs.
pub(super) fn changes(then: &[Effect], now: &[Effect], rules: &TaskRules, mask: &Mask) -> Found {
    let counts = |effect: &&Effect| !rules.ignore_effects.iter().any(|pattern| pattern.matches(effect));
    let old: Vec<&Effect> = then.iter().filter(counts).collect();
    let new: Vec<&Effect> = now.iter().filter(counts).collect();
    let known = hosts(then);
    let mut changes = EffectChanges::default();
    for host in hosts(now).difference(&known) {
        changes.new_hosts.add(|| excerpt::start(host, MAX_HOST_BYTES, mask));
    }
    let is_unmatched = |effect: &Effect| effect.answered_by == AnsweredBy::Unmatched;
    for effect in now.iter().filter(|effect| is_unmatched(effect)) {
        changes.unmatched.add(|| call(effect, mask));
    }
    let pairs = pairs(&old, &new);
    let (mut from_taken, mut to_taken) = (vec![false; old.len()], vec![false; new.len()]);
    let mut unmatched_anew: Vec<bool> = new.iter().map(|effect| is_unmatched(effect)).collect();
    for &(from, to) in &pairs {
        (from_taken[from], to_taken[to]) = (true, true);
        unmatched_anew[to] &= !is_unmatched(old[from]);
        // What is not known is not compared; the arguments say so.
        let are_known = old[from].digest != 0 && new[to].digest != 0;
        match old[from].digest == new[to].digest {
            true => changes.matched += u64::from(are_known),
            false if are_known => changes.changed.add(|| change(old[from], new[to], mask)),
            false => {}
        }
    }
    for (_, effect) in from_taken.iter().zip(&old).filter(|(taken, _)| !**taken) {
        changes.removed.add(|| call(effect, mask));
    }
    for (_, effect) in to_taken.iter().zip(&new).filter(|(taken, _)| !**taken) {
        changes.added.add(|| call(effect, mask));
    }
    if !rules.unordered_effects {
        for (from, to) in moved(&pairs) {
            changes.reordered.add(|| EffectMove {
                kind: new[to].kind.as_str().to_owned(),
                target: target(new[to], mask),
                from: from as u64 + 1,
                to: to as u64 + 1,
            });
        }
    }
    let are_unmatched = unmatched_anew.contains(&true);
    let EffectChanges { matched: _, added, removed, changed, reordered, new_hosts: _, unmatched: _ } = &changes;
    let are_same = added.is_empty() && removed.is_empty() && changed.is_empty() && reordered.is_empty();
    let go_further = are_unmatched || new.iter().filter_map(|effect| host(effect)).any(|host| !known.contains(&host));
    Found { differ: !are_same || are_unmatched, go_further, changes }
}

/// What differs in the calls of executed children, each compared with the one that was executed then, else with the run in
/// whose place it was executed; and those that were not executed. Of all of them together: what it comes to.
pub(super) fn of_children(
    (then, now): (&[ChildEffects], &[ChildEffects]),
    rules: &TaskRules,
    mask: &Mask,
) -> (Listed<ChildChanges>, Found) {
    let mut earlier: HashMap<&str, VecDeque<Option<&[Effect]>>> = HashMap::new();
    for child in then {
        earlier.entry(&child.task).or_default().push_back(child.now.as_deref());
    }
    let (mut children, mut all) = (Listed::default(), Found::default());
    for child in now {
        let executed = earlier.get_mut(child.task.as_str()).and_then(VecDeque::pop_front).flatten();
        let task = || excerpt::start(&child.task, MAX_TARGET_BYTES, mask);
        let Some(wanted) = &child.now else {
            let effects = EffectChanges::default();
            children.add(|| ChildChanges { task: task(), effects, not_executed: true });
            continue;
        };
        let then = executed.or(child.then.as_deref()).unwrap_or_default();
        let found = changes(then, wanted, rules, mask);
        all.differ |= found.differ;
        all.go_further |= found.go_further;
        if found.differ || !found.changes.new_hosts.is_empty() || !found.changes.unmatched.is_empty() {
            children.add(|| ChildChanges { task: task(), effects: found.changes, not_executed: false });
        }
    }
    (children, all)
}

/// Which call then is which call now, in the order of then.
fn pairs(old: &[&Effect], new: &[&Effect]) -> Vec<(usize, usize)> {
    let mut exact: HashMap<(EffectKind, &str, u64), VecDeque<usize>> = HashMap::new();
    for (to, effect) in new.iter().enumerate() {
        exact.entry((effect.kind, &effect.target, effect.digest)).or_default().push_back(to);
    }
    let mut pairs = Vec::with_capacity(old.len().min(new.len()));
    let mut unpaired = Vec::new();
    for (from, effect) in old.iter().enumerate() {
        let places = exact.get_mut(&(effect.kind, effect.target.as_str(), effect.digest));
        match places.and_then(VecDeque::pop_front) {
            Some(to) => pairs.push((from, to)),
            None => unpaired.push(from),
        }
    }
    let mut left: Vec<usize> = exact.into_values().flatten().collect();
    left.sort_unstable();
    let mut similar: HashMap<(EffectKind, &str), VecDeque<usize>> = HashMap::new();
    for to in left {
        similar.entry((new[to].kind, &new[to].target)).or_default().push_back(to);
    }
    for from in unpaired {
        let places = similar.get_mut(&(old[from].kind, old[from].target.as_str()));
        if let Some(to) = places.and_then(VecDeque::pop_front) {
            pairs.push((from, to));
        }
    }
    pairs.sort_unstable();
    pairs
}

/// The pairs that are not on the longest way on which the order is that of then.
fn moved(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // For every length of a way, the pair with which the one that ends first ends.
    let mut ends: Vec<usize> = Vec::new();
    let mut previous: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    for (at, (_, to)) in pairs.iter().enumerate() {
        let length = ends.partition_point(|end| pairs[*end].1 < *to);
        previous.push(length.checked_sub(1).map(|before| ends[before]));
        if length == ends.len() { ends.push(at) } else { ends[length] = at }
    }
    let mut stayed = vec![false; pairs.len()];
    let mut next = ends.last().copied();
    while let Some(at) = next {
        stayed[at] = true;
        next = previous[at];
    }
    pairs.iter().zip(stayed).filter(|(_, stayed)| !stayed).map(|(pair, _)| *pair).collect()
}

/// The hosts that get requests.
fn hosts(effects: &[Effect]) -> BTreeSet<String> {
    effects.iter().filter_map(host).collect()
}

/// The host that gets a request.
fn host(effect: &Effect) -> Option<String> {
    if effect.kind == EffectKind::Http { host_of(&effect.target) } else { None }
}

fn target(effect: &Effect, mask: &Mask) -> String {
    excerpt::start(&effect.target, MAX_TARGET_BYTES, mask)
}

fn call(effect: &Effect, mask: &Mask) -> EffectCall {
    let arguments = excerpt::short(&effect.arguments, mask);
    EffectCall { kind: effect.kind.as_str().to_owned(), target: target(effect, mask), arguments }
}

fn change(before: &Effect, after: &Effect, mask: &Mask) -> EffectChange {
    let (kind, target) = (after.kind.as_str().to_owned(), target(after, mask));
    let (before, mut after) = excerpt::pair(&before.arguments, &after.arguments, mask);
    if before == after {
        after = [after.as_str(), UNSHOWN].join(if after.is_empty() { "" } else { " " });
    }
    EffectChange { kind, target, before, after }
}
