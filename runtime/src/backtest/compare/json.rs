//! The structural difference of two JSON texts.
//!
//! Objects are compared by key and arrays by index, where inserted and removed elements are recognised as such. Whole
//! numbers of 64 bits are compared exactly, other numbers as doubles; `1` and `1.0` differ. Text that is no JSON, or is
//! nested deeper than our reader goes (128 levels), is compared as text.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use serde_json::{Number, Value};

use super::excerpt;
use crate::api::{Change, Listed};
use crate::backtest::rules::{Path, Pattern, Step, TaskRules};
use crate::model::mask::Mask;

/// How far ahead in an array an element is looked for that is not where it was.
const WINDOW: usize = 64;
/// Values that are hashed in order to recognise elements of arrays. After them, arrays are compared index by index.
const MAX_HASHED: u64 = 4_000_000;
/// Elements that are looked at in order to find one that is near enough.
const MAX_CANDIDATES: usize = 256;

/// What differs in two JSON texts. What `ignore` names, or lies below, does not count; tolerance and unordered arrays
/// are those of the rules. What is shown of it has passed `mask`.
pub fn diff(then: &str, now: &str, ignore: &[Pattern], rules: &TaskRules, mask: &Mask) -> Listed<Change> {
    let mut changes = Listed::default();
    if then == now || ignore.iter().any(|pattern| pattern.matches(Path(&[]))) {
        return changes;
    }
    match (serde_json::from_str::<Value>(then), serde_json::from_str::<Value>(now)) {
        (Ok(then), Ok(now)) => {
            let mut walk = Walk::new(ignore, rules, mask);
            walk.compare(&then, &now);
            walk.changes
        }
        _ => {
            let (before, after) = excerpt::pair(then, now, mask);
            changes.add(|| Change { path: "$".to_owned(), before: Some(before), after: Some(after) });
            changes
        }
    }
}

/// On the way through two values at once.
struct Walk<'r, 'v> {
    ignore: &'r [Pattern],
    rules: &'r TaskRules,
    mask: &'r Mask,
    path: Vec<Step<'v>>,
    changes: Listed<Change>,
    /// Values that were hashed, or looked at in order to tell whether elements are the same.
    hashed: u64,
    /// Whether only that is asked, so that the first difference is enough.
    is_probe: bool,
    hashes: RandomState,
}

impl<'r, 'v> Walk<'r, 'v> {
    fn new(ignore: &'r [Pattern], rules: &'r TaskRules, mask: &'r Mask) -> Self {
        let (path, changes, hashes) = (Vec::new(), Listed::default(), RandomState::new());
        Self { ignore, rules, mask, path, changes, hashed: 0, is_probe: false, hashes }
    }

    fn is_ignored(&self) -> bool {
        self.ignore.iter().any(|pattern| pattern.matches(Path(&self.path)))
    }

    fn is_unordered(&self) -> bool {
        self.rules.unordered_arrays.iter().any(|pattern| pattern.matches(Path(&self.path)))
    }

    /// Does something one step further in.
    fn at<T>(&mut self, step: Step<'v>, work: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step);
        let done = work(self);
        self.path.pop();
        done
    }

    /// Compares two values at the same path.
    fn compare(&mut self, then: &'v Value, now: &'v Value) {
        self.hashed += u64::from(self.is_probe);
        if self.is_ignored() || self.is_probe && !self.changes.is_empty() {
            return;
        }
        match (then, now) {
            (Value::Object(then), Value::Object(now)) => {
                for (key, before) in then {
                    self.at(Step::Key(key), |walk| match now.get(key) {
                        Some(after) => walk.compare(before, after),
                        None => walk.one_sided(Some(before), None),
                    });
                }
                for (key, after) in now.iter().filter(|(key, _)| !then.contains_key(*key)) {
                    self.at(Step::Key(key), |walk| walk.one_sided(None, Some(after)));
                }
            }
            (Value::Array(then), Value::Array(now)) if self.is_unordered() => self.unordered(then, now),
            (Value::Array(then), Value::Array(now)) => self.ordered(then, now),
            (Value::Number(then), Value::Number(now)) if self.are_near(then, now) => {}
            (then, now) if then == now => {}
            (then, now) => self.changes.add(|| {
                let (before, after) = excerpt::values(then, now, self.mask);
                Change { path: shown(&self.path, self.mask), before: Some(before), after: Some(after) }
            }),
        }
    }

    /// Notes a value that only one side has.
    fn one_sided(&mut self, before: Option<&Value>, after: Option<&Value>) {
        if !self.is_ignored() {
            self.changes.add(|| Change {
                path: shown(&self.path, self.mask),
                before: before.map(|before| excerpt::value(before, self.mask)),
                after: after.map(|after| excerpt::value(after, self.mask)),
            });
        }
    }

    fn removed(&mut self, index: usize, before: &'v Value) {
        self.at(Step::Index(index), |walk| walk.one_sided(Some(before), None));
    }

    fn added(&mut self, index: usize, after: &'v Value) {
        self.at(Step::Index(index), |walk| walk.one_sided(None, Some(after)));
    }

    fn are_near(&self, then: &Number, now: &Number) -> bool {
        if then == now || !self.rules.is_tolerant() {
            return then == now;
        }
        let (Some(then), Some(now)) = (then.as_f64(), now.as_f64()) else { return false };
        let apart = (then - now).abs();
        apart <= self.rules.absolute_tolerance || apart <= self.rules.relative_tolerance * then.abs().max(now.abs())
    }

    /// Compares arrays whose order counts. Paths of what is new have its index now, all others the index then.
    fn ordered(&mut self, then: &'v [Value], now: &'v [Value]) {
        let (Some(old), Some(new)) = (self.hashes_of(then), self.hashes_of(now)) else {
            return self.by_index(then, now);
        };
        let agree = |walk: &mut Self, from: usize, to: usize| {
            from < then.len() && to < now.len() && old[from] == new[to] && walk.are_same(from, &then[from], &now[to])
        };
        let (mut from, mut to) = (0, 0);
        while from < then.len() && to < now.len() {
            // Where the next ones agree, these were changed in place.
            let in_place = agree(self, from, to) || agree(self, from + 1, to + 1);
            let window = if in_place { 0 } else { WINDOW };
            if let Some(by) = (1..=window).find(|by| agree(self, from, to + by)) {
                (to..to + by).for_each(|index| self.added(index, &now[index]));
                to += by;
            } else if let Some(by) = (1..=window).find(|by| agree(self, from + by, to)) {
                (from..from + by).for_each(|index| self.removed(index, &then[index]));
                from += by;
            } else {
                self.at(Step::Index(from), |walk| walk.compare(&then[from], &now[to]));
                (from, to) = (from + 1, to + 1);
            }
        }
        (from..then.len()).for_each(|index| self.removed(index, &then[index]));
        (to..now.len()).for_each(|index| self.added(index, &now[index]));
    }

    /// Compares arrays index by index.
    fn by_index(&mut self, then: &'v [Value], now: &'v [Value]) {
        for index in 0..then.len().max(now.len()) {
            match (then.get(index), now.get(index)) {
                (Some(before), Some(after)) => self.at(Step::Index(index), |walk| walk.compare(before, after)),
                (Some(before), None) => self.removed(index, before),
                (None, Some(after)) => self.added(index, after),
                (None, None) => {}
            }
        }
    }

    /// Compares arrays whose order does not count: equal elements find each other, the others are paired in order.
    fn unordered(&mut self, then: &'v [Value], now: &'v [Value]) {
        let (Some(old), Some(new)) = (self.hashes_of(then), self.hashes_of(now)) else {
            return self.by_index(then, now);
        };
        let mut places: HashMap<u64, VecDeque<usize>> = HashMap::new();
        for index in ascending(now) {
            places.entry(new[index]).or_default().push_back(index);
        }
        let mut lost = BTreeSet::new();
        for index in ascending(then) {
            let found = places.get_mut(&old[index]).and_then(|places| {
                let fits = |place: &usize| self.are_same(index, &then[index], &now[*place]);
                let at = places.iter().take(MAX_CANDIDATES).position(fits)?;
                places.remove(at)
            });
            if found.is_none() {
                lost.insert(index);
            }
        }
        let fresh: BTreeSet<usize> = places.into_values().flatten().collect();
        let (mut lost, mut fresh) = (lost.into_iter(), fresh.into_iter());
        loop {
            match (lost.next(), fresh.next()) {
                (Some(from), Some(to)) => self.at(Step::Index(from), |walk| walk.compare(&then[from], &now[to])),
                (Some(from), None) => self.removed(from, &then[from]),
                (None, Some(to)) => self.added(to, &now[to]),
                (None, None) => break,
            }
        }
    }

    /// Whether two elements of the same hash are the same. Without tolerance, the hash has said so. Where too much was looked
    /// at already, nobody knows: they are compared where they are.
    fn are_same(&mut self, index: usize, then: &'v Value, now: &'v Value) -> bool {
        if !self.rules.is_tolerant() || self.hashed > MAX_HASHED {
            return !self.rules.is_tolerant();
        }
        let mut walk = Walk::new(self.ignore, self.rules, self.mask);
        (walk.hashed, walk.is_probe) = (self.hashed, true);
        walk.path.clone_from(&self.path);
        walk.at(Step::Index(index), |walk| walk.compare(then, now));
        self.hashed = walk.hashed;
        walk.changes.is_empty()
    }

    /// The hashes of the elements of an array: equal where the elements are, as far as the rules look. None when
    /// too much was hashed already.
    fn hashes_of(&mut self, array: &'v [Value]) -> Option<Vec<u64>> {
        let one = |(index, value)| {
            let hash = self.at(Step::Index(index), |walk| walk.hash_of(value));
            (self.hashed <= MAX_HASHED).then_some(hash)
        };
        array.iter().enumerate().map(one).collect()
    }

    fn hash_of(&mut self, value: &'v Value) -> u64 {
        self.hashed += 1;
        if self.hashed > MAX_HASHED || self.is_ignored() {
            return 0;
        }
        let mut hasher = self.hashes.build_hasher();
        match value {
            Value::Null => 0_u8.hash(&mut hasher),
            Value::Bool(bool) => (1_u8, bool).hash(&mut hasher),
            // Numbers that are near have no hash in common; all of them have.
            Value::Number(_) if self.rules.is_tolerant() => 2_u8.hash(&mut hasher),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => (3_u8, number).hash(&mut hasher),
                (None, Some(number)) => (4_u8, number).hash(&mut hasher),
                // Adding zero makes one zero of the two.
                (None, None) => (5_u8, number.as_f64().map(|number| (number + 0.0).to_bits())).hash(&mut hasher),
            },
            Value::String(string) => (6_u8, string).hash(&mut hasher),
            Value::Array(array) => {
                let mut hashes: Vec<u64> = Vec::with_capacity(array.len());
                for (index, value) in array.iter().enumerate() {
                    hashes.push(self.at(Step::Index(index), |walk| walk.hash_of(value)));
                }
                if self.is_unordered() {
                    hashes.sort_unstable();
                }
                (7_u8, hashes).hash(&mut hasher);
            }
            Value::Object(object) => {
                8_u8.hash(&mut hasher);
                for (key, value) in object {
                    if let Some(hash) = self.at(Step::Key(key), |walk| walk.member_hash(value)) {
                        (key, hash).hash(&mut hasher);
                    }
                }
            }
        }
        hasher.finish()
    }

    /// The hash of a member of an object; an ignored one is as good as none.
    fn member_hash(&mut self, value: &'v Value) -> Option<u64> {
        (!self.is_ignored()).then(|| self.hash_of(value))
    }
}

fn shown(path: &[Step<'_>], mask: &Mask) -> String {
    mask.apply(&Path(path).shown()).into_owned()
}

/// The indices of an array, those of numbers by their size.
fn ascending(array: &[Value]) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..array.len()).collect();
    let size = |index: &usize| array[*index].as_f64().unwrap_or(f64::NEG_INFINITY);
    indices.sort_by(|one, other| size(one).total_cmp(&size(other)));
    indices
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_not_looked_at_is_not_the_same() {
        let rules = TaskRules {
            absolute_tolerance: 0.5,
            unordered_arrays: vec![Pattern::parse("$").expect("a pattern")],
            ..TaskRules::default()
        };
        let (then, now, mask) = (json!([1.0, 2.0]), json!([5.0, 6.0]), Mask::default());
        for left in 0..8 {
            let mut walk = Walk::new(&[], &rules, &mask);
            walk.hashed = MAX_HASHED - left;
            walk.compare(&then, &now);
            assert_eq!(walk.changes.items.len(), 2, "after {left} values more");
        }
    }
}
