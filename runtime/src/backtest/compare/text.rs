//! A comparison as short lines for a terminal, without colours: `-` stands before what was, `+` before what is.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};

use crate::api::{Both, Change, Comparison, EffectChanges, End, Listed, Used};

/// Width of the words at the start of lines.
const WIDTH: usize = 12;

/// The comparison in lines, each with a line feed. What came from a guest cannot move the cursor.
pub fn text(comparison: &Comparison) -> String {
    let mut lines = Lines(String::new());
    lines.line("verdict", comparison.verdict.as_str());
    lines.ends(&comparison.ends);
    for budget in &comparison.passed_budgets {
        lines.line("budget", budget);
    }
    let failed = comparison.ends.then.name.is_some() && comparison.ends.now.name.is_some();
    lines.changes(if failed { "error" } else { "output" }, &comparison.output);
    lines.changes("metadata", &comparison.metadata);
    lines.effects(&comparison.effects);
    for child in &comparison.children.items {
        let task = printable(&child.task);
        if child.not_executed {
            lines.line("not run", format_args!("{task}, which has no recording: it ended as then"));
            continue;
        }
        lines.line("executed", format_args!("{task}:"));
        lines.effects(&child.effects);
    }
    lines.more(comparison.children.more);
    for name in &comparison.new_variables.items {
        lines.line("variable", format_args!("{} is not in the recording", printable(name)));
    }
    lines.more(comparison.new_variables.more);
    let (then, now) = (comparison.logs.then.levels(), comparison.logs.now.levels());
    let logs = then.into_iter().zip(now).filter(|(then, now)| then != now);
    let logs: Vec<String> = logs.map(|((level, then), (_, now))| format!("{level} {then} → {now}")).collect();
    if !logs.is_empty() {
        lines.line("logs", logs.join(", "));
    }
    lines.usage(&comparison.usage);
    lines.0
}

/// A text without characters that a terminal obeys, or that change the direction of writing.
pub fn printable(text: &str) -> Cow<'_, str> {
    let obeyed = |char: char| {
        char.is_control()
            || matches!(char, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' => clean.push_str("\\n"),
            '\t' => clean.push_str("\\t"),
            '\r' => clean.push_str("\\r"),
            char if obeyed(char) => clean.extend(char.escape_unicode()),
            char => clean.push(char),
        }
    }
    Cow::Owned(clean)
}

struct Lines(String);

impl Lines {
    fn push(&mut self, line: std::fmt::Arguments<'_>) {
        self.0.write_fmt(line).expect("a string takes every text");
        self.0.push('\n');
    }

    fn line(&mut self, word: &str, rest: impl Display) {
        self.push(format_args!("{word:WIDTH$}{rest}"));
    }

    fn side(&mut self, sign: char, text: &str) {
        self.push(format_args!("{:WIDTH$}{sign} {}", "", printable(text)));
    }

    fn more(&mut self, more: u64) {
        if more > 0 {
            self.push(format_args!("{:WIDTH$}and {more} more", ""));
        }
    }

    fn ends(&mut self, ends: &Both<End>) {
        if ends.then == ends.now {
            return self.line("ended", end(&ends.now));
        }
        self.line("ended", "differently");
        self.side('-', &end(&ends.then));
        self.side('+', &end(&ends.now));
    }

    fn changes(&mut self, word: &str, changes: &Listed<Change>) {
        for change in &changes.items {
            self.line(word, printable(&change.path));
            if let Some(before) = &change.before {
                self.side('-', before);
            }
            if let Some(after) = &change.after {
                self.side('+', after);
            }
        }
        self.more(changes.more);
    }

    fn effects(&mut self, effects: &EffectChanges) {
        for (word, calls) in
            [("added", &effects.added), ("removed", &effects.removed), ("unmatched", &effects.unmatched)]
        {
            for call in &calls.items {
                let arguments = printable(&call.arguments);
                self.line(word, format_args!("{} {} {arguments}", call.kind, printable(&call.target)));
            }
            self.more(calls.more);
        }
        for change in &effects.changed.items {
            self.line("changed", format_args!("{} {}", change.kind, printable(&change.target)));
            self.side('-', &change.before);
            self.side('+', &change.after);
        }
        self.more(effects.changed.more);
        for call in &effects.reordered.items {
            let (from, to) = (call.from, call.to);
            self.line("moved", format_args!("{} {} from {from} to {to}", call.kind, printable(&call.target)));
        }
        self.more(effects.reordered.more);
        for host in &effects.new_hosts.items {
            self.line("new host", printable(host));
        }
        self.more(effects.new_hosts.more);
    }

    fn usage(&mut self, usage: &Both<Used>) {
        let rows = [
            ("CPU", usage.then.cpu_us, usage.now.cpu_us, usage.cpu_factor(), shown_time as fn(u64) -> String),
            ("duration", usage.then.wall_us, usage.now.wall_us, usage.wall_factor(), shown_time),
            ("memory", usage.then.peak_memory_bytes, usage.now.peak_memory_bytes, usage.memory_factor(), shown_bytes),
        ];
        for (word, then, now, factor, shown) in rows {
            let factor = factor.map(|factor| format!("  ({factor:.2}×)")).unwrap_or_default();
            self.line(word, format_args!("{} → {}{factor}", shown(then), shown(now)));
        }
    }
}

/// How a run ended, in one line.
fn end(end: &End) -> String {
    let mut text = end.kind.clone();
    for part in [&end.name, &end.message].into_iter().flatten() {
        text.push_str(": ");
        text.push_str(part);
    }
    printable(&text).into_owned()
}

/// Microseconds for people.
pub(in crate::backtest) fn shown_time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}

/// Bytes for people.
pub(in crate::backtest) fn shown_bytes(bytes: u64) -> String {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    match bytes {
        0..KIB => format!("{bytes} B"),
        KIB..MIB => format!("{:.1} KiB", bytes as f64 / KIB as f64),
        _ => format!("{:.1} MiB", bytes as f64 / MIB as f64),
    }
}
