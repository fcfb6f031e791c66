//! Short texts of long values: cut where it matters, and never longer than a bound.

use std::io::{self, Write};

use serde_json::Value;

use crate::model::mask::Mask;

/// Most bytes of one side of a difference that are shown.
const MAX_SHOWN_BYTES: usize = 300;
/// Bytes that are shown before the first difference.
const LEAD_BYTES: usize = 60;
/// Most bytes of JSON that are written in order to look for the first difference.
const MAX_WRITTEN_BYTES: usize = 16 * 1024;

/// Two texts without what is not shown, each cut to the part around their first difference.
pub(super) fn pair(before: &str, after: &str, mask: &Mask) -> (String, String) {
    let (before, after) = (&*mask.apply(before), &*mask.apply(after));
    if before.len() <= MAX_SHOWN_BYTES && after.len() <= MAX_SHOWN_BYTES {
        return (before.to_owned(), after.to_owned());
    }
    let same = before.bytes().zip(after.bytes()).take_while(|(before, after)| before == after).count();
    let from = before.floor_char_boundary(same.saturating_sub(LEAD_BYTES));
    let from = if from < LEAD_BYTES { 0 } else { from };
    // Up to `from` the texts are the same, so that it is a boundary of both.
    (part(before, from), part(after, from))
}

/// The start of a text, without what is not shown.
pub(super) fn start(text: &str, max_bytes: usize, mask: &Mask) -> String {
    let text = &*mask.apply(text);
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    format!("{}… ({} bytes in all)", &text[..text.floor_char_boundary(max_bytes)], text.len())
}

/// The start of a text, as short as one side of a difference.
pub(super) fn short(text: &str, mask: &Mask) -> String {
    part(&mask.apply(text), 0)
}

fn part(text: &str, from: usize) -> String {
    let to = text.floor_char_boundary(from + MAX_SHOWN_BYTES);
    let before = if from == 0 { "" } else { "…" };
    let after = if to == text.len() { "" } else { "…" };
    format!("{before}{}{after}", &text[from..to])
}

/// The JSON texts of two values, cut to the part around their first difference.
pub(super) fn values(before: &Value, after: &Value, mask: &Mask) -> (String, String) {
    match (before, after) {
        (Value::String(before), Value::String(after)) => {
            let (before, after) = pair(before, after, mask);
            (written(&Value::String(before)), written(&Value::String(after)))
        }
        (before, after) => pair(&written(before), &written(after), mask),
    }
}

/// The start of the JSON text of a value.
pub(super) fn value(value: &Value, mask: &Mask) -> String {
    short(&written(value), mask)
}

/// The JSON text of a value, or the start of it.
fn written(value: &Value) -> String {
    let mut bounded = Bounded(Vec::new());
    // It fails where the bound is met; what was written until then is wanted.
    let whole = serde_json::to_writer(&mut bounded, value).is_ok();
    let mut text = String::from_utf8_lossy(&bounded.0).into_owned();
    if !whole {
        text.push('…');
    }
    text
}

/// A buffer that is full at some point.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = MAX_WRITTEN_BYTES.saturating_sub(self.0.len());
        if room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().min(room);
        self.0.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_shown_where_they_differ() {
        let none = &Mask::default();
        let (head, tail) = ("ä".repeat(5_000), "z".repeat(5_000));
        let (before, after) = pair(&format!("{head}one{tail}"), &format!("{head}two{tail}"), none);
        assert!(before.contains("äone") && after.contains("ätwo"), "{before} {after}");
        assert!(before.len() < 400 && after.len() < 400);
        let (before, after) = pair("short", &tail, none);
        assert_eq!(before, "short");
        assert_eq!(after, format!("{}…", "z".repeat(300)));
        assert_eq!(start(&tail, 3, none), "zzz… (5000 bytes in all)");
        // They differ within a character.
        let (before, after) = pair(&format!("{head}\u{e9}"), &format!("{head}\u{e8}"), none);
        assert!(before.ends_with('\u{e9}') && after.ends_with('\u{e8}'));
    }

    #[test]
    fn what_is_masked_is_left_out_before_texts_are_cut() {
        let mask = &Mask::new(["open-sesame-7431"]);
        let long = format!("{}open-sesame-7431", "a".repeat(MAX_SHOWN_BYTES - 8));
        assert!(short(&long, mask).ends_with("a[redacte…"), "{}", short(&long, mask));
        let (before, after) = pair(&format!("{long}1"), &format!("{long}2"), mask);
        assert!(!before.contains("sesame") && !after.contains("sesame"), "{before} {after}");
    }

    #[test]
    fn long_values_are_not_written_as_a_whole() {
        let long = Value::from("ä".repeat(1_000_000));
        assert!(written(&long).len() < MAX_WRITTEN_BYTES + 10);
        assert!(value(&long, &Mask::default()).len() < 400);
    }
}
