//! Payload schemas: which a task may declare, and whether a payload fits one.
//!
//! A schema comes from outside, and a small one can ask for endless work: when each of twenty
//! definitions has two branches that refer to the next, one value is checked a million times. So
//! two things are counted before the library does any of it. When a schema is declared, how many
//! of its sub-schemas are applied to *one* value ([`OneValue`]). When a payload is to be checked,
//! how many times a sub-schema is applied to a value of it at all ([`Steps`]). Beyond a limit the
//! answer is no. Nothing is ever fetched: a reference leads to a place in the same schema.

use std::collections::HashMap;

use jsonschema::PatternOptions;
use serde_json::Value;

/// Sub-schemas that may be applied to one value, references followed.
const MAX_STEPS_PER_VALUE: u64 = 1_000;
/// Sub-schemas that may lie one in another without going into the value.
const MAX_LEVELS_PER_VALUE: usize = 64;
/// Steps that checking one payload may take: as many as a plain schema takes for the largest.
const MAX_STEPS: u64 = 5_000_000;
/// Steps up to which problems are named; each may keep 3 KB while they are gathered.
const MAX_EXPLAINED_STEPS: u64 = 20_000;
/// Sub-schemas that may lie one in another for one payload, since each takes some of the stack.
const MAX_LEVELS: usize = 500;
/// Problems of one payload that are named.
const MAX_PROBLEMS: usize = 10;
/// What matching a pattern counts for.
const STEPS_PER_PATTERN: u64 = 100;
/// Ways that matching one pattern may try, where it needs to look around or back.
const MAX_BACKTRACKS: usize = 100_000;
/// Bytes of one compiled pattern.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// A schema that may be used.
pub struct PayloadSchema {
    document: Value,
    validator: jsonschema::Validator,
}

impl PayloadSchema {
    /// Reads a JSON Schema, or says what its author must change.
    pub fn parse(text: &str) -> Result<Self, String> {
        let document = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        OneValue::check(&document)?;
        let patterns = PatternOptions::fancy_regex().backtrack_limit(MAX_BACKTRACKS).size_limit(MAX_PATTERN_BYTES);
        let options = jsonschema::options().offline().with_pattern_options(patterns);
        let validator = options.build(&document).map_err(|error| error.to_string())?;
        Ok(Self { document, validator })
    }

    /// What does not fit, with the place; nothing where the payload fits. Blocks for as long as it
    /// computes.
    pub fn problems(&self, payload: &Value) -> Vec<String> {
        let Some(steps) = Steps::of(&self.document, payload) else {
            return vec![format!(
                "checking it would take more than {MAX_STEPS} steps or {MAX_LEVELS} levels; \
                 make the payload smaller, or the schema simpler"
            )];
        };
        if steps <= MAX_EXPLAINED_STEPS {
            let problems = self.validator.iter_errors(payload).take(MAX_PROBLEMS);
            return problems
                .map(|problem| match problem.instance_path().as_str() {
                    "" => problem.to_string(),
                    place => format!("{place}: {problem}"),
                })
                .collect();
        }
        if self.validator.is_valid(payload) {
            return Vec::new();
        }
        vec![format!("somewhere; checking it takes more than {MAX_EXPLAINED_STEPS} steps, too many to say where")]
    }
}

/// Counts the sub-schemas that are applied to one value, for every sub-schema that is used.
struct OneValue<'s> {
    document: &'s Value,
    /// By address. `None`: being counted.
    counted: HashMap<*const Value, Option<u64>>,
    /// Schemas for the parts of values.
    parts: Vec<&'s Value>,
}

impl<'s> OneValue<'s> {
    fn check(document: &'s Value) -> Result<(), String> {
        let mut counts = Self { document, counted: HashMap::new(), parts: vec![document] };
        while let Some(schema) = counts.parts.pop() {
            if !counts.counted.contains_key(&std::ptr::from_ref(schema)) {
                counts.count(schema, 0)?;
            }
        }
        Ok(())
    }

    fn count(&mut self, schema: &'s Value, level: usize) -> Result<u64, String> {
        match self.counted.get(&std::ptr::from_ref(schema)) {
            Some(Some(count)) => return Ok(*count),
            Some(None) => return Err("a schema refers to itself without going into the value".into()),
            None => {}
        }
        if level > MAX_LEVELS_PER_VALUE {
            return Err(format!("more than {MAX_LEVELS_PER_VALUE} schemas for one value lie in each other"));
        }
        self.counted.insert(schema, None);
        check_references(self.document, schema)?;
        let mut same = Vec::new();
        for_each_inner(self.document, schema, |part, inner| match part {
            Part::Whole => same.push(inner),
            Part::Property(_) | Part::Matching | Part::EachProperty | Part::Item(_) | Part::EachItem => {
                self.parts.push(inner);
            }
        });
        let mut count = 1_u64;
        for inner in same {
            count = count.saturating_add(self.count(inner, level + 1)?);
        }
        if count > MAX_STEPS_PER_VALUE {
            return Err(format!(
                "with its references followed, more than {MAX_STEPS_PER_VALUE} schemas apply to one value"
            ));
        }
        self.counted.insert(schema, Some(count));
        Ok(count)
    }
}

/// References must lead to a place in the document, so that they can be followed here as well.
fn check_references(document: &Value, schema: &Value) -> Result<(), String> {
    if let Some(keyword) = ["$dynamicRef", "$recursiveRef"].into_iter().find(|keyword| schema.get(keyword).is_some()) {
        return Err(format!("`{keyword}` cannot be used; write `$ref`"));
    }
    // Names of a part of the schema change where the references in it lead to.
    let named = ["$id", "id"].iter().any(|keyword| schema.get(keyword).is_some_and(Value::is_string));
    if named && !std::ptr::eq(schema, document) {
        return Err("only the whole schema can have an `$id`".into());
    }
    match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) if target(document, reference).is_none() => Err(format!(
            "`{}` does not lead to a place in the schema; write `#/$defs/name`",
            reference.chars().take(128).collect::<String>()
        )),
        Some(_) | None => Ok(()),
    }
}

/// The place that a reference leads to, where no part on the way has a name of its own.
fn target<'s>(document: &'s Value, reference: &str) -> Option<&'s Value> {
    let pointer = reference.strip_prefix('#')?;
    if pointer.contains('%') {
        return None;
    }
    document.pointer(pointer)
}

/// The part of a value to which a schema in a schema is applied.
enum Part<'s> {
    Whole,
    Property(&'s str),
    /// The properties whose names match a pattern.
    Matching,
    EachProperty,
    Item(usize),
    EachItem,
}

/// Finds the schemas in a schema.
fn for_each_inner<'s>(document: &'s Value, schema: &'s Value, mut found: impl FnMut(Part<'s>, &'s Value)) {
    let Value::Object(keywords) = schema else { return };
    // What the others have not looked at is found by looking at everything once more.
    let looks = if keywords.keys().any(|keyword| keyword.starts_with("unevaluated")) { 2 } else { 1 };
    for (keyword, inner) in keywords {
        match (keyword.as_str(), inner) {
            ("not" | "if" | "then" | "else", _) => (0..looks).for_each(|_| found(Part::Whole, inner)),
            ("allOf" | "anyOf" | "oneOf", Value::Array(list)) => {
                (0..looks).flat_map(|_| list).for_each(|inner| found(Part::Whole, inner));
            }
            ("dependentSchemas" | "dependencies", Value::Object(map)) => {
                (0..looks).flat_map(|_| map.values()).for_each(|inner| found(Part::Whole, inner));
            }
            ("$ref", Value::String(reference)) => {
                let target = target(document, reference);
                (0..looks).filter_map(|_| target).for_each(|inner| found(Part::Whole, inner));
            }
            ("properties", Value::Object(map)) => {
                map.iter().for_each(|(name, inner)| found(Part::Property(name), inner))
            }
            ("patternProperties", Value::Object(map)) => map.values().for_each(|inner| found(Part::Matching, inner)),
            ("additionalProperties" | "unevaluatedProperties" | "propertyNames", _) => found(Part::EachProperty, inner),
            ("items" | "prefixItems", Value::Array(list)) => {
                list.iter().enumerate().for_each(|(place, inner)| found(Part::Item(place), inner));
            }
            ("items" | "additionalItems" | "unevaluatedItems" | "contains", _) => found(Part::EachItem, inner),
            _ => {}
        }
    }
}

/// Counts how often sub-schemas are applied to values of one payload. What the library leaves out,
/// since it knows the answer already, is counted too.
struct Steps<'s> {
    taken: u64,
    /// What is still to be applied, to what, at which level.
    open: Vec<(&'s Value, &'s Value, usize)>,
}

impl<'s> Steps<'s> {
    /// `None`: too many, or too many levels.
    fn of(document: &'s Value, payload: &'s Value) -> Option<u64> {
        let mut steps = Self { taken: 0, open: vec![(document, payload, 0)] };
        while let Some((schema, value, level)) = steps.open.pop() {
            steps.taken += cost(schema, value);
            for_each_inner(document, schema, |part, inner| steps.open(part, inner, value, level + 1));
            if steps.taken + steps.open.len() as u64 > MAX_STEPS || level > MAX_LEVELS {
                return None;
            }
        }
        Some(steps.taken)
    }

    fn open(&mut self, part: Part<'s>, inner: &'s Value, value: &'s Value, level: usize) {
        if self.taken + self.open.len() as u64 > MAX_STEPS {
            return;
        }
        match (part, value) {
            (Part::Whole, _) => self.open.push((inner, value, level)),
            (Part::Property(name), Value::Object(properties)) => {
                self.open.extend(properties.get(name).map(|value| (inner, value, level)));
            }
            (Part::Matching, Value::Object(properties)) => {
                // Which names match is not looked at here.
                self.taken += STEPS_PER_PATTERN * properties.len() as u64;
                self.open.extend(properties.values().map(|value| (inner, value, level)));
            }
            (Part::EachProperty, Value::Object(properties)) => {
                self.open.extend(properties.values().map(|value| (inner, value, level)));
            }
            (Part::Item(place), Value::Array(items)) => {
                self.open.extend(items.get(place).map(|item| (inner, item, level)));
            }
            (Part::EachItem, Value::Array(items)) => self.open.extend(items.iter().map(|item| (inner, item, level))),
            (Part::Property(_) | Part::Matching | Part::EachProperty | Part::Item(_) | Part::EachItem, _) => {}
        }
    }
}

/// What applying a schema counts for, without the schemas in it.
fn cost(schema: &Value, value: &Value) -> u64 {
    let Value::Object(keywords) = schema else { return 1 };
    let named = |keyword: &str| keywords.get(keyword);
    // Small lists of names are looked through as fast as anything else.
    let names = named("properties").and_then(Value::as_object).map_or(0, |names| names.len() / 16);
    let choices = named("enum").and_then(Value::as_array).map_or(0, Vec::len);
    let pattern = match value {
        Value::String(text) if keywords.contains_key("pattern") => STEPS_PER_PATTERN + text.len() as u64,
        _ => 0,
    };
    1 + (names + choices) as u64 + pattern
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(schema: Value, payload: Value, expected: &str) {
        let schema = PayloadSchema::parse(&schema.to_string()).expect("a good schema");
        assert_eq!(schema.problems(&payload).join("; "), expected);
    }

    #[track_caller]
    fn check_refused(schema: Value, expected: &str) {
        assert_eq!(PayloadSchema::parse(&schema.to_string()).err().unwrap_or_default(), expected);
    }

    /// `levels` definitions, each of which refers to the next twice.
    fn branching(levels: usize) -> Value {
        let mut definitions = serde_json::Map::new();
        for level in 0..levels {
            let next = json!({ "$ref": format!("#/$defs/l{}", level + 1) });
            definitions.insert(format!("l{level}"), json!({ "anyOf": [next, next] }));
        }
        definitions.insert(format!("l{levels}"), json!({ "type": "integer" }));
        json!({ "$defs": definitions, "$ref": "#/$defs/l0" })
    }

    /// A tree whose nodes are described twice, so that each level of a payload doubles the work.
    fn doubling_tree() -> Value {
        let node = json!({ "properties": { "next": { "$ref": "#/$defs/node" } } });
        json!({ "$defs": { "node": { "allOf": [node, node] } }, "$ref": "#/$defs/node" })
    }

    fn chain(length: usize) -> Value {
        (0..length).fold(json!({}), |inner, _| json!({ "next": inner }))
    }

    #[test]
    fn a_payload_that_does_not_fit_is_told_where() {
        let schema = json!({ "properties": { "n": { "type": "integer" } }, "required": ["n"] });
        check(schema.clone(), json!({ "n": 1 }), "");
        check(schema.clone(), json!({ "n": "one" }), "/n: \"one\" is not of type \"integer\"");
        check(schema, json!({}), "\"n\" is a required property");
    }

    #[test]
    fn schemas_may_refer_to_themselves_for_parts_of_the_value() {
        let tree = json!({
            "type": "object",
            "properties": { "left": { "$ref": "#" }, "right": { "$ref": "#" }, "n": { "type": "integer" } },
        });
        check(tree.clone(), json!({ "left": { "right": { "n": 1 } }, "right": {} }), "");
        check(tree, json!({ "left": { "n": 0.5 } }), "/left/n: 0.5 is not of type \"integer\"");
    }

    #[test]
    fn a_schema_that_multiplies_itself_is_refused() {
        check_refused(branching(5), "");
        check_refused(branching(20), "with its references followed, more than 1000 schemas apply to one value");
    }

    #[test]
    fn a_schema_that_never_ends_is_refused() {
        let expected = "a schema refers to itself without going into the value";
        check_refused(json!({ "$ref": "#" }), expected);
        let hidden = json!({ "anyOf": [{ "$ref": "#/properties/a" }] });
        check_refused(json!({ "properties": { "a": hidden } }), expected);
        let long = (0..100).fold(json!({}), |inner, _| json!({ "not": inner }));
        check_refused(long, "more than 64 schemas for one value lie in each other");
    }

    #[test]
    fn references_stay_within_the_schema() {
        let expected = "`https://example.com/a` does not lead to a place in the schema; write `#/$defs/name`";
        check_refused(json!({ "items": { "$ref": "https://example.com/a" } }), expected);
        check_refused(
            json!({ "$ref": "#/$defs/missing" }),
            "`#/$defs/missing` does not lead to a place in the schema; write `#/$defs/name`",
        );
        check_refused(json!({ "$dynamicRef": "#a" }), "`$dynamicRef` cannot be used; write `$ref`");
        let named = json!({ "$id": "https://example.com/b" });
        check_refused(json!({ "items": named }), "only the whole schema can have an `$id`");
        check_refused(json!({ "$id": "https://example.com/b", "properties": { "$id": { "$ref": "#" } } }), "");
    }

    #[test]
    fn the_work_for_one_payload_is_bounded() {
        check(doubling_tree(), chain(5), "");
        check(
            doubling_tree(),
            chain(60),
            "checking it would take more than 5000000 steps or 500 levels; \
             make the payload smaller, or the schema simpler",
        );
    }

    #[test]
    fn a_large_payload_is_checked_without_saying_where_it_is_wrong() {
        let numbers = json!({ "items": { "type": "integer" } });
        let mut payload = vec![json!(1); 30_000];
        check(numbers.clone(), payload.clone().into(), "");
        payload.push(json!("one"));
        let expected = "somewhere; checking it takes more than 20000 steps, too many to say where";
        check(numbers, payload.into(), expected);
    }

    #[test]
    fn the_deepest_payload_that_is_checked_fits_the_stack() {
        let inner = (0..2).fold(json!({ "$ref": "#" }), |inner, _| json!({ "allOf": [inner] }));
        let deep = json!({ "properties": { "next": inner }, "required": ["end"] });
        let problems = PayloadSchema::parse(&deep.to_string()).expect("a good schema").problems(&chain(120));
        assert_eq!(problems.len(), MAX_PROBLEMS);
    }

    #[test]
    fn steps_cover_every_keyword_that_has_schemas() {
        let leaf = || json!({ "$ref": "#/$defs/leaf" });
        let schema = json!({
            "$defs": { "leaf": {} },
            "not": leaf(), "if": leaf(), "then": leaf(), "else": leaf(),
            "allOf": [leaf()], "anyOf": [leaf()], "oneOf": [leaf()],
            "dependentSchemas": { "a": leaf() }, "dependencies": { "a": leaf() },
            "properties": { "a": leaf() }, "additionalProperties": leaf(), "propertyNames": leaf(),
        });
        // Two for each: the reference and what it leads to; and one for the whole.
        assert_eq!(Steps::of(&schema, &json!({ "a": 1 })), Some(2 * 12 + 1));
        let items = json!({ "$defs": { "leaf": {} }, "prefixItems": [leaf()], "items": leaf(), "contains": leaf() });
        assert_eq!(Steps::of(&items, &json!([1, 2])), Some(2 * 5 + 1));
    }
}
