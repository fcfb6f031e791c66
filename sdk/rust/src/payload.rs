//! Turns payload texts into values, and says where they do not fit.

use serde::de::DeserializeOwned;

use crate::TaskError;

/// Reads a payload. What does not fit is never retried: the payload would be the same.
pub(crate) fn read<P: DeserializeOwned>(text: &str) -> Result<P, TaskError> {
    serde_json::from_str(text).map_err(|error| invalid(text, &error))
}

#[cold]
fn invalid(text: &str, error: &serde_json::Error) -> TaskError {
    let path = path(text, error.line(), error.column());
    TaskError {
        name: "InvalidPayload".into(),
        message: if path.is_empty() { error.to_string() } else { format!("{path}: {error}") },
        stack: None,
        retry: crate::RetryDecision::Never,
    }
}

/// An object or a list that is open at some place of a text.
enum Open {
    Object { key: String, in_key: bool },
    List { index: Option<usize> },
}

/// The path, for example `items[2].price`, to a line and a column of a JSON text.
///
/// serde knows places in the text only, and a payload is often one long line.
fn path(text: &str, line: usize, column: usize) -> String {
    let mut open: Vec<Open> = Vec::new();
    let mut bytes = before(text, line, column).bytes();
    while let Some(byte) = bytes.next() {
        if let Some(Open::List { index: index @ None }) = open.last_mut()
            && !byte.is_ascii_whitespace()
        {
            *index = Some(0);
        }
        match byte {
            b'{' => open.push(Open::Object { key: String::new(), in_key: true }),
            b'[' => open.push(Open::List { index: None }),
            b'}' | b']' => {
                open.pop();
            }
            b',' => match open.last_mut() {
                Some(Open::Object { in_key, .. }) => *in_key = true,
                Some(Open::List { index: Some(index) }) => *index += 1,
                Some(Open::List { index: None }) | None => {}
            },
            b':' => {
                if let Some(Open::Object { in_key, .. }) = open.last_mut() {
                    *in_key = false;
                }
            }
            b'"' => {
                let string = string(&mut bytes);
                if let Some(Open::Object { key, in_key: true }) = open.last_mut() {
                    *key = string;
                }
            }
            _ => {}
        }
    }

    let mut path = String::new();
    for step in open {
        match step {
            Open::Object { key, .. } if key.is_empty() => {}
            Open::Object { key, .. } => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&key);
            }
            Open::List { index: Some(index) } => path.push_str(&format!("[{index}]")),
            Open::List { index: None } => {}
        }
    }
    path
}

/// What lies before a place in the text; lines count from 1, columns are bytes from 1.
fn before(text: &str, line: usize, column: usize) -> &str {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let end = text.floor_char_boundary(start.saturating_add(column));
    &text[..end]
}

/// The rest of a string, as it is written, up to its closing quotation mark.
fn string(bytes: &mut std::str::Bytes<'_>) -> String {
    let mut string = Vec::new();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => break,
            b'\\' => string.extend([byte].into_iter().chain(bytes.next())),
            _ => string.push(byte),
        }
    }
    String::from_utf8_lossy(&string).into_owned()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::RetryDecision;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only reading it is tested")]
    struct Order {
        id: String,
        items: Vec<Item>,
        note: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only reading it is tested")]
    struct Item {
        sku: String,
        quantity: u32,
    }

    #[track_caller]
    fn check(payload: &str, message: &str) {
        let error = read::<Order>(payload).expect_err("the payload does not fit");
        assert_eq!(error.name, "InvalidPayload");
        let (what, place) = error.message.rsplit_once(" at line ").expect("the place is known");
        assert_eq!(what, message, "at line {place}");
        assert_eq!(error.retry, RetryDecision::Never);
    }

    #[test]
    fn a_payload_that_does_not_fit_says_where() {
        check(
            r#"{"id":"a","items":[{"sku":"x","quantity":1},{"sku":"y, \"z\"","quantity":"2"}]}"#,
            r#"items[1].quantity: invalid type: string "2", expected u32"#,
        );
        check(r#"{"id":"a","items":[{"sku":"x","quantity":1},{"sku":"y"}]}"#, "items[1]: missing field `quantity`");
        check("{\n  \"id\": \"a\",\n  \"items\": {}\n}", "items: invalid type: map, expected a sequence");
        check(r#"{"id":[1],"items":[]}"#, "id: invalid type: sequence, expected a string");
        check(r#"{"id":"ä","items":[],"note":true}"#, "note: invalid type: boolean `true`, expected a string");
        check("{}", "missing field `id`");
        check("null", "invalid type: null, expected struct Order");
    }

    #[test]
    fn a_task_without_a_payload_reads_null() {
        assert_eq!(read::<()>("null"), Ok(()));
        assert_eq!(read::<Option<u32>>("null"), Ok(None));
    }
}
