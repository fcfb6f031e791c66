//! What is found by what is asked.

use std::collections::{HashMap, VecDeque};

use super::AnsweredBy;

/// The things of a recording that were asked for by one text, each to be given once. Finding one takes the same
/// time however many there are.
pub(super) struct Shelf<T> {
    by_text: HashMap<String, Items<T>>,
}

struct Items<T> {
    /// In their order; `None`: it was given.
    things: Vec<Option<T>>,
    /// The places of things, those that were given by the other way included.
    by_key: HashMap<u64, VecDeque<usize>>,
    /// Before this place, all were given.
    next: usize,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { by_text: HashMap::new() }
    }
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self { things: Vec::new(), by_key: HashMap::new(), next: 0 }
    }
}

impl<T> Shelf<T> {
    pub(super) fn put(&mut self, text: String, key: u64, thing: T) {
        let items = self.by_text.entry(text).or_default();
        items.by_key.entry(key).or_default().push_back(items.things.len());
        items.things.push(Some(thing));
    }

    /// The first that is left under this text.
    pub(super) fn next(&mut self, text: &str) -> Option<&T> {
        let items = self.by_text.get_mut(text)?;
        while items.things.get(items.next).is_some_and(Option::is_none) {
            items.next += 1;
        }
        items.things.get(items.next)?.as_ref()
    }

    /// The first that is left under this text and this key; else the first that is left under this text.
    pub(super) fn take(&mut self, text: &str, key: u64) -> Option<(T, AnsweredBy)> {
        let items = self.by_text.get_mut(text)?;
        while let Some(place) = items.by_key.get_mut(&key).and_then(VecDeque::pop_front) {
            if let Some(thing) = items.things[place].take() {
                return Some((thing, AnsweredBy::Recorded));
            }
        }
        while let Some(thing) = items.things.get_mut(items.next) {
            items.next += 1;
            if let Some(thing) = thing.take() {
                return Some((thing, AnsweredBy::Changed));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_found_first_and_then_what_is_left_in_its_order() {
        let mut shelf = Shelf::default();
        for (key, thing) in [(1, "a"), (2, "b"), (1, "c"), (3, "d")] {
            shelf.put("task".into(), key, thing);
        }
        let mut take = |text: &str, key| shelf.take(text, key);
        assert_eq!(take("other", 1), None);
        assert_eq!(take("task", 9), Some(("a", AnsweredBy::Changed)));
        assert_eq!(take("task", 1), Some(("c", AnsweredBy::Recorded)), "the first of its key was given");
        assert_eq!(shelf.next("task"), Some(&"b"));
        let mut take = |text: &str, key| shelf.take(text, key);
        assert_eq!(take("task", 1), Some(("b", AnsweredBy::Changed)));
        assert_eq!(take("task", 3), Some(("d", AnsweredBy::Recorded)));
        assert_eq!(take("task", 3), None);
    }

    #[test]
    fn finding_takes_no_longer_with_many() {
        const MANY: u64 = 300_000;
        let mut shelf = Shelf::default();
        (0..MANY).for_each(|thing| shelf.put("task".into(), thing % 2, thing));
        // By a look at all that were given before, this would be 10^10 steps.
        let given: u64 = (0..MANY).filter_map(|key| shelf.take("task", key % 3)).map(|(thing, _)| thing).sum();
        assert_eq!(given, MANY * (MANY - 1) / 2);
    }
}
