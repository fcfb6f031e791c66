//! What a running attempt does to the metadata of its run.
//!
//! Others change them meanwhile: its children, and whoever has a key. So an attempt hands over what it did,
//! not what came of it, and that is done again to what is stored by then. Only what it does
//! faster than it is written is put together: beyond [`MAX_OPERATIONS`] it is known by keys of the
//! object alone, and then its own value of a key wins.

use std::sync::Arc;

use dacapo_host_api::{MetadataChange, MetadataError};
use serde_json::{Map, Value};

use crate::api::{self, MetadataOperation};
use crate::edits::{change_seen, parsed, text_of};
use crate::model::limits::MAX_METADATA_BYTES;
use crate::storage::MetadataEdit;

/// Most operations that are kept until they are written: storage does them again while others wait.
const MAX_OPERATIONS: usize = 256;
/// Most bytes of their values.
const MAX_OPERATION_BYTES: usize = 2 * MAX_METADATA_BYTES;

/// The metadata as an attempt sees them, and what it did to them since the last time.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    seen: Map<String, Value>,
    /// What `done` has made `seen` of.
    base: Option<Arc<str>>,
    done: Vec<MetadataOperation>,
    done_bytes: usize,
}

impl Metadata {
    /// As they are stored: a JSON object.
    pub(super) fn new(stored: Option<&str>) -> Self {
        Self { seen: parsed(stored), base: stored.map(Into::into), ..Self::default() }
    }

    /// As the attempt sees them.
    pub(super) fn seen(&self) -> &Map<String, Value> {
        &self.seen
    }

    /// Changes them.
    pub(super) fn change(&mut self, change: MetadataChange) -> Result<(), MetadataError> {
        let bytes = change.key().len() + change.value_bytes();
        let operation = change_seen(&mut self.seen, change)?;
        self.note(operation);
        self.done_bytes += bytes;
        if self.done.len() > MAX_OPERATIONS || self.done_bytes > MAX_OPERATION_BYTES {
            self.done = self.difference();
            self.done_bytes = 0;
        }
        Ok(())
    }

    /// What was done since the last time.
    pub(super) fn take(&mut self) -> Option<MetadataEdit> {
        if self.done.is_empty() {
            return None;
        }
        let after: Arc<str> = text_of(&self.seen).into();
        let before = self.base.replace(after.clone());
        let done = std::mem::take(&mut self.done);
        self.done_bytes = 0;
        Some(MetadataEdit::new(move |stored| match stored == before.as_deref() {
            // Nobody else changed them.
            true => Ok(after.to_string()),
            false => again(stored, &done).map_err(|why| format!("changes of the metadata are lost: {why}")),
        }))
    }

    /// Remembers an operation, in one with the one before at its place if that can be.
    fn note(&mut self, operation: MetadataOperation) {
        use MetadataOperation::{Increment, Set, Update};
        if matches!(operation, Update(_)) {
            self.done.clear();
        }
        let step = operation.first_step();
        let before = self.done.iter_mut().rfind(|other| other.first_step().is_none_or(|other| Some(other) == step));
        match (before, operation) {
            (Some(Increment(key, sum)), Increment(same, by)) if *key == same && (*sum + by).is_finite() => *sum += by,
            (Some(Set(key, value)), Set(same, newer)) if *key == same => *value = newer,
            (_, operation) => self.done.push(operation),
        }
    }

    /// What makes `seen` of `base`, by keys of the object.
    fn difference(&self) -> Vec<MetadataOperation> {
        let before = parsed(self.base.as_deref());
        let differs = |(key, value): &(&String, &Value)| before.get(*key) != Some(*value);
        let set = self.seen.iter().filter(differs);
        let set = set.map(|(key, value)| MetadataOperation::Set(key.clone(), value.clone()));
        let gone = before.keys().filter(|key| !self.seen.contains_key(*key)).cloned().map(MetadataOperation::Delete);
        let done: Vec<_> = gone.chain(set).collect();
        let is_path = |operation: &MetadataOperation| match operation {
            MetadataOperation::Set(key, _) | MetadataOperation::Delete(key) => key.starts_with("$."),
            _ => false,
        };
        // What is called like a path can only be put there as a part of the whole.
        if done.iter().any(is_path) { vec![MetadataOperation::Update(self.seen.clone())] } else { done }
    }
}

/// What was done, done to what is stored: all of it, or nothing.
fn again(stored: Option<&str>, done: &[MetadataOperation]) -> Result<String, String> {
    let changed = api::apply_all(parsed(stored), done.iter().cloned()).map_err(|error| error.to_string())?;
    let text = text_of(&changed);
    if text.len() > MAX_METADATA_BYTES {
        return Err(format!("with those of others they would be larger than {} KiB", MAX_METADATA_BYTES / 1_024));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(key: &str, value: Value) -> MetadataChange {
        MetadataChange::Set(key.into(), value.to_string())
    }

    fn increment(key: &str, by: f64) -> MetadataChange {
        MetadataChange::Increment(key.into(), by)
    }

    /// Does this to metadata that begin as `before`, and again to `stored`.
    #[track_caller]
    fn check(before: Value, changes: Vec<MetadataChange>, stored: Value, after: Value) {
        let mut metadata = Metadata::new(Some(&before.to_string()));
        for change in changes {
            metadata.change(change).expect("a good change");
        }
        let edit = metadata.take().expect("something was changed");
        let alone = edit.apply(Some(&before.to_string())).expect("nobody else did anything");
        assert_eq!(alone, text_of(metadata.seen()));
        let text = edit.apply(Some(&stored.to_string())).expect("it can be done again");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), after);
        assert!(metadata.take().is_none(), "it is handed over once");
    }

    #[test]
    fn what_was_done_is_done_again_to_what_is_stored() {
        let changes = || vec![increment("n", 1.0), set("a", json!(1)), increment("n", 2.0), set("a", json!(2))];
        check(json!({ "n": 1 }), changes(), json!({ "n": 10, "b": 1 }), json!({ "n": 13, "a": 2, "b": 1 }));
        let update = vec![set("a", json!(1)), MetadataChange::Update("{}".into()), increment("n", 1.0)];
        check(json!({}), update, json!({ "n": 5, "b": 1 }), json!({ "n": 1 }));
        let nested = vec![increment("$.a.n", 1.0), set("a", json!({ "n": 7 })), increment("$.a.n", 1.0)];
        check(json!({}), nested, json!({ "a": { "n": 100 } }), json!({ "a": { "n": 8 } }));
        let append = |item: u32| MetadataChange::Append("l".into(), item.to_string());
        check(json!({ "l": [1] }), vec![append(2), append(3)], json!({ "l": [1, 9] }), json!({ "l": [1, 9, 2, 3] }));
    }

    #[test]
    fn many_increments_are_one() {
        let many = (0..10_000).map(|n| increment(if n % 2 == 0 { "a" } else { "$.b.c" }, 1.0)).collect();
        check(json!({}), many, json!({ "a": 1, "d": 1 }), json!({ "a": 5_001, "b": { "c": 5_000 }, "d": 1 }));
    }

    #[test]
    fn what_is_done_too_fast_is_known_by_keys() {
        let append = |item: usize| MetadataChange::Append("l".into(), item.to_string());
        let many: Vec<_> = (0..=MAX_OPERATIONS).map(append).chain([MetadataChange::Delete("gone".into())]).collect();
        let all: Vec<usize> = (0..=MAX_OPERATIONS).collect();
        check(json!({ "gone": 1 }), many, json!({ "l": [-1], "gone": 2, "b": 1 }), json!({ "l": all, "b": 1 }));

        let large = "x".repeat(MAX_METADATA_BYTES / 2);
        let many = (0..6).flat_map(|n| {
            let key = format!("k{n}");
            [set(&key, json!(large)), MetadataChange::Delete(key)]
        });
        let mut metadata = Metadata::new(None);
        for change in many.chain([set("$.a", json!(1))]) {
            metadata.change(change).expect("a good change");
            assert!(metadata.done_bytes <= MAX_OPERATION_BYTES);
        }
        assert!(metadata.done.len() < 8, "what came and went is forgotten: {:?}", metadata.done);

        let path = vec![MetadataChange::Update(r#"{"$.a":1}"#.into()), MetadataChange::Delete("b".into())];
        check(json!({}), path, json!({ "b": 1 }), json!({ "$.a": 1 }));
    }

    #[test]
    fn what_cannot_be_done_again_is_lost_as_a_whole() {
        let mut metadata = Metadata::new(None);
        metadata.change(increment("n", 1.0)).expect("a good change");
        metadata.change(set("a", json!("x".repeat(MAX_METADATA_BYTES / 2)))).expect("a good change");
        let edit = metadata.take().expect("something was changed");

        let error = edit.apply(Some(r#"{"n":"x"}"#)).expect_err("it is no number");
        assert_eq!(error, "changes of the metadata are lost: `n` is not a number");
        let stored = json!({ "b": "x".repeat(MAX_METADATA_BYTES / 2) }).to_string();
        let error = edit.apply(Some(&stored)).expect_err("it is too large");
        assert!(error.ends_with("they would be larger than 256 KiB"), "{error}");
    }
}
