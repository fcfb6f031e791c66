//! Text of guests in XML and HTML.

use std::borrow::Cow;

use crate::backtest::compare::printable;

/// Text for XML, between tags or in an attribute: every character is one that XML 1.0 takes.
pub(super) fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            '\r' => escaped.push_str("&#13;"),
            '\0'..' ' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            char => escaped.push(char),
        }
    }
    escaped
}

/// Text for XML between tags, where lines may stay lines.
pub(super) fn xml_lines(text: &str) -> String {
    // An ampersand of the text has become another word.
    xml(text).replace("&#10;", "\n")
}

/// Text for HTML, between tags or in a quoted attribute, without characters that cannot be seen.
pub(super) fn html(text: &str) -> String {
    let text: Cow<'_, str> = printable(text);
    xml(&text)
}
