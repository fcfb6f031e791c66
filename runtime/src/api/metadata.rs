//! A run's metadata and the changes that can be made to it.
//!
//! Whatever is accepted here can be read back from its text.

use serde_json::{Map, Value};

use crate::model::limits::MAX_METADATA_LEVELS;

/// A change of the metadata. A key that begins with `$.` is a path of keys, for example
/// `$.steps.done`; objects on the way are made where they are missing.
#[derive(Debug, Clone, PartialEq)]
pub enum MetadataOperation {
    /// Puts a value under a key.
    Set(String, Value),
    /// Removes a key.
    Delete(String),
    /// Adds an item at the end of a list; a missing list begins empty, another value becomes its
    /// first item.
    Append(String, Value),
    /// Removes all items that equal the value from a list.
    Remove(String, Value),
    /// Adds to a number; a missing one counts as 0.
    Increment(String, f64),
    /// Replaces the whole object.
    Update(Map<String, Value>),
}

/// What no step of a path may be called.
const RESERVED_NAMES: [&str; 3] = ["__proto__", "constructor", "prototype"];

/// Metadata with too many levels of objects and lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("metadata can have {MAX_METADATA_LEVELS} levels of objects and lists at most")]
pub struct TooDeep;

/// Why a change was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOperation {
    /// Something else than a number is under this key.
    #[error("`{0}` is not a number")]
    NotANumber(String),
    /// The number would be infinite or not a number.
    #[error("`{0}` cannot be counted so far")]
    NotFinite(String),
    /// A path goes through a name that means something else to clients in JavaScript.
    #[error("`{0}` has `__proto__`, `constructor` or `prototype` in its path")]
    ReservedName(String),
    /// The object would have too many levels.
    #[error(transparent)]
    TooDeep(#[from] TooDeep),
}

impl MetadataOperation {
    /// The key of the whole object below which it changes something; `None`: it changes all.
    pub fn first_step(&self) -> Option<&str> {
        match self {
            Self::Set(key, _)
            | Self::Delete(key)
            | Self::Append(key, _)
            | Self::Remove(key, _)
            | Self::Increment(key, _) => Some(steps(key).0),
            Self::Update(_) => None,
        }
    }
}

/// The metadata after a change.
pub fn apply(metadata: &Map<String, Value>, operation: MetadataOperation) -> Result<Map<String, Value>, BadOperation> {
    apply_all(metadata.clone(), [operation])
}

/// The metadata after changes in this order: all of them, or an error.
pub fn apply_all(
    mut metadata: Map<String, Value>,
    operations: impl IntoIterator<Item = MetadataOperation>,
) -> Result<Map<String, Value>, BadOperation> {
    for operation in operations {
        change(&mut metadata, operation)?;
    }
    check_levels(&metadata)?;
    Ok(metadata)
}

/// Makes a change, whatever the levels become.
fn change(changed: &mut Map<String, Value>, operation: MetadataOperation) -> Result<(), BadOperation> {
    check_names(&operation)?;
    match operation {
        MetadataOperation::Set(key, value) => *place(changed, &key)? = value,
        MetadataOperation::Delete(key) => delete(changed, &key),
        MetadataOperation::Append(key, item) => match place(changed, &key)? {
            Value::Array(items) => items.push(item),
            empty @ Value::Null => *empty = Value::Array(vec![item]),
            single => *single = Value::Array(vec![single.take(), item]),
        },
        MetadataOperation::Remove(key, item) => {
            if let Some(Value::Array(items)) = find_mut(changed, &key) {
                items.retain(|other| *other != item);
            }
        }
        MetadataOperation::Increment(key, by) => increment(changed, &key, by)?,
        MetadataOperation::Update(object) => *changed = object,
    }
    Ok(())
}

fn check_names(operation: &MetadataOperation) -> Result<(), BadOperation> {
    use MetadataOperation::{Append, Delete, Increment, Remove, Set, Update};
    let key = match operation {
        Set(key, _) | Delete(key) | Append(key, _) | Remove(key, _) | Increment(key, _) => key,
        Update(_) => return Ok(()),
    };
    let mut path = key.strip_prefix("$.").unwrap_or_default().split('.');
    let is_reserved = path.any(|step| RESERVED_NAMES.contains(&step));
    if is_reserved { Err(BadOperation::ReservedName(key.clone())) } else { Ok(()) }
}

/// Refuses metadata that have more levels than [`MAX_METADATA_LEVELS`].
pub fn check_levels(metadata: &Map<String, Value>) -> Result<(), TooDeep> {
    let levels = 1 + metadata.values().map(levels).max().unwrap_or(0);
    if levels <= MAX_METADATA_LEVELS { Ok(()) } else { Err(TooDeep) }
}

fn levels(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(levels).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(levels).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// The value under a key or path.
pub fn find<'m>(metadata: &'m Map<String, Value>, key: &str) -> Option<&'m Value> {
    let (first, rest) = steps(key);
    rest.into_iter().try_fold(metadata.get(first)?, |value, step| value.as_object()?.get(step))
}

fn find_mut<'m>(metadata: &'m mut Map<String, Value>, key: &str) -> Option<&'m mut Value> {
    let (first, rest) = steps(key);
    rest.into_iter().try_fold(metadata.get_mut(first)?, |value, step| value.as_object_mut()?.get_mut(step))
}

/// The value under a key or path, `null` where there was none. A path that is too long is refused
/// before it is made: what is deep takes much stack to walk and to drop.
fn place<'m>(metadata: &'m mut Map<String, Value>, key: &str) -> Result<&'m mut Value, TooDeep> {
    let (first, rest) = steps(key);
    if rest.len() >= MAX_METADATA_LEVELS {
        return Err(TooDeep);
    }
    let mut value = metadata.entry(first).or_insert(Value::Null);
    for step in rest {
        if !value.is_object() {
            *value = Value::Object(Map::new());
        }
        value = match value {
            Value::Object(object) => object.entry(step).or_insert(Value::Null),
            other => return Ok(other),
        };
    }
    Ok(value)
}

fn delete(metadata: &mut Map<String, Value>, key: &str) {
    match key.rsplit_once('.').filter(|_| key.starts_with("$.")) {
        Some(("$", only)) => drop(metadata.remove(only)),
        Some((parent, last)) => {
            if let Some(Value::Object(object)) = find_mut(metadata, parent) {
                object.remove(last);
            }
        }
        None => drop(metadata.remove(key)),
    }
}

fn increment(metadata: &mut Map<String, Value>, key: &str, by: f64) -> Result<(), BadOperation> {
    let number = match find(metadata, key) {
        None | Some(Value::Null) => 0.0,
        Some(value) => value.as_f64().ok_or_else(|| BadOperation::NotANumber(key.into()))?,
    };
    let sum = number + by;
    let whole = sum.fract() == 0.0 && sum.abs() < (1_i64 << 53) as f64;
    let sum = if whole { Value::from(sum as i64) } else { Value::from(sum) };
    if sum.is_null() {
        return Err(BadOperation::NotFinite(key.into()));
    }
    *place(metadata, key)? = sum;
    Ok(())
}

/// A key as the steps of its path.
fn steps(key: &str) -> (&str, Vec<&str>) {
    match key.strip_prefix("$.") {
        Some(path) => {
            let mut steps = path.split('.');
            (steps.next().unwrap_or(path), steps.collect())
        }
        None => (key, Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::MetadataOperation::{Append, Delete, Increment, Remove, Set, Update};
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(before: Value, operations: Vec<MetadataOperation>, after: Value) {
        let Value::Object(mut metadata) = before else { panic!("metadata is an object") };
        for operation in operations {
            metadata = apply(&metadata, operation).expect("a good operation");
        }
        assert_eq!(Value::Object(metadata), after);
    }

    #[test]
    fn operations_do_what_the_contract_says() {
        check(json!({}), vec![Set("a".into(), json!(1))], json!({"a": 1}));
        check(json!({"a": 1}), vec![Set("$.b.c".into(), json!(2))], json!({"a": 1, "b": {"c": 2}}));
        check(
            json!({"a": 1, "b": {"c": 1, "d": 2}}),
            vec![Delete("a".into()), Delete("$.b.c".into())],
            json!({"b": {"d": 2}}),
        );
        check(json!({}), vec![Delete("a".into()), Delete("$.a.b".into())], json!({}));
        check(
            json!({"l": 1}),
            vec![Append("l".into(), json!(2)), Append("l".into(), json!(3))],
            json!({"l": [1, 2, 3]}),
        );
        check(json!({}), vec![Append("l".into(), json!({"x": 1}))], json!({"l": [{"x": 1}]}));
        check(json!({"l": [1, 2, 1]}), vec![Remove("l".into(), json!(1))], json!({"l": [2]}));
        check(json!({}), vec![Increment("n".into(), 2.0), Increment("n".into(), 0.5)], json!({"n": 2.5}));
        check(json!({"a": 1}), vec![Update(Map::new())], json!({}));
    }

    #[test]
    fn only_numbers_can_be_incremented() {
        let metadata = Map::from_iter([("a".to_owned(), json!("x"))]);
        assert_eq!(apply(&metadata, Increment("a".into(), 1.0)), Err(BadOperation::NotANumber("a".into())));
        assert!(apply(&metadata, Increment("b".into(), f64::INFINITY)).is_err());
    }

    #[test]
    fn a_path_does_not_go_through_names_that_clients_could_trip_over() {
        for key in ["$.__proto__.a", "$.a.constructor", "$.prototype"] {
            let refused = Err(BadOperation::ReservedName(key.into()));
            assert_eq!(apply(&Map::new(), Set(key.into(), json!(1))), refused);
            assert_eq!(apply(&Map::new(), Delete(key.into())), refused);
        }
        check(json!({}), vec![Set("constructor".into(), json!(1))], json!({"constructor": 1}));
    }

    /// A path of so many steps.
    fn path(steps: usize) -> String {
        format!("${}", ".a".repeat(steps))
    }

    /// A number in so many lists.
    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(1), |inner, _| json!([inner]))
    }

    #[test]
    fn metadata_have_a_limit_of_levels_however_they_come_about() {
        let most = MAX_METADATA_LEVELS;
        let full = apply(&Map::new(), Set(path(most), json!(1))).expect("as deep as it may be");
        let object = |value: Value| Map::from_iter([("a".to_owned(), value)]);
        let lists = object(nested(most - 1));
        assert_eq!(apply(&Map::new(), Update(lists.clone())), Ok(lists.clone()));
        for (metadata, operation) in [
            (&Map::new(), Set(path(most + 1), json!(1))),
            (&Map::new(), Set(path(2_040), json!(1))),
            (&Map::new(), Set(path(most), json!([]))),
            (&Map::new(), Set(path(2), nested(most - 1))),
            (&Map::new(), Update(object(nested(most)))),
            (&Map::new(), Increment(path(2_040), 1.0)),
            (&Map::new(), Append(path(most), json!(1))),
            (&full, Append(path(most), json!(1))),
            (&lists, Append("a".into(), nested(most - 1))),
        ] {
            assert_eq!(apply(metadata, operation.clone()), Err(BadOperation::TooDeep(TooDeep)), "{operation:?}");
        }
        assert_eq!(apply(&full, Delete(path(2_040))), Ok(full.clone()), "there is nothing to delete");
        assert_eq!(apply(&full, Remove(path(2_040), json!(1))), Ok(full.clone()));
    }
}
