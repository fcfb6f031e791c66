//! Decides what the command line shows: tables and colours for people, the API's JSON for machines.
//!
//! Everything that came from elsewhere (names of tasks, log lines, messages of errors) passes
//! [`clean`] or [`clean_block`] before it reaches a terminal, so that no run can move the cursor,
//! rename the window or forge a line. Colours follow `NO_COLOR` and whether there is a terminal.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use comfy_table::{Attribute, Cell, Color, Table, TableStyle};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::api::{ErrorBody, RunStatus};

/// For headings and what matters most in a line.
pub(super) const BOLD: Style = Style::new().bold();
/// For what may be overlooked.
pub(super) const DIM: Style = Style::new().dimmed();
/// For what went well.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// For what asks for attention.
pub(super) const WARN: Style = AnsiColor::Yellow.on_default();
/// For what went wrong.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// How often a spinner moves.
const SPINNER_TICK: Duration = Duration::from_millis(100);

/// Where a command writes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Output {
    /// Tables and sentences.
    Human,
    /// One JSON document on standard output, and nothing but errors beside it.
    Json,
}

impl Output {
    /// What `--json` asked for.
    pub(super) fn new(json: bool) -> Self {
        if json { Self::Json } else { Self::Human }
    }

    /// Prints one JSON text, as it came.
    pub(super) fn json(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match out.is_terminal() {
            true => writeln!(out, "{}", escape_json(text.trim_end())),
            false => writeln!(out, "{}", text.trim_end()),
        }
    }

    /// Prints a line for people on standard output.
    pub(super) fn line(self, text: impl Display) -> io::Result<()> {
        writeln!(anstream::stdout().lock(), "{text}")
    }

    /// Prints a line beside the result, on standard error. Machines do not get it.
    pub(super) fn note(self, text: impl Display) -> io::Result<()> {
        match self {
            Self::Human => writeln!(anstream::stderr().lock(), "{text}"),
            Self::Json => Ok(()),
        }
    }

    /// Prints a table; its cells are cleaned here.
    pub(super) fn table(self, header: &[&str], rows: Vec<Vec<Field>>) -> io::Result<()> {
        let mut table = Table::new();
        table.load_style(TableStyle::new());
        match anstream::AutoStream::choice(&io::stdout()) {
            anstream::ColorChoice::Never => table.force_no_tty(),
            anstream::ColorChoice::Auto | anstream::ColorChoice::AlwaysAnsi | anstream::ColorChoice::Always => {
                table.enforce_styling()
            }
        };
        table.set_header(header.iter().map(|name| Cell::new(name.to_uppercase()).add_attribute(Attribute::Dim)));
        for row in rows {
            table.add_row(row.into_iter().map(Field::into_cell));
        }
        table.column_iter_mut().for_each(|column| {
            column.set_padding((0, 2));
        });
        let mut out = anstream::stdout().lock();
        for line in table.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }

    /// Prints names and values below each other; values are cleaned here.
    pub(super) fn fields(self, fields: &[(&str, String)]) -> io::Result<()> {
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut out = anstream::stdout().lock();
        for (name, value) in fields {
            writeln!(out, "{DIM}{name:width$}{DIM:#}  {}", clean(value))?;
        }
        Ok(())
    }

    /// A spinner on standard error, where people watch. It goes away when it is dropped.
    pub(super) fn spinner(self, message: impl Into<Cow<'static, str>>) -> Progress {
        self.progress(ProgressBar::new_spinner(), ProgressStyle::default_spinner(), message)
    }

    /// A bar on standard error for `total` bytes, where people watch.
    pub(super) fn bytes_bar(self, total: u64, message: &'static str) -> Progress {
        self.progress(ProgressBar::new(total), bar("{spinner} {msg} [{bar:30}] {bytes}/{total_bytes}"), message)
    }

    /// A bar on standard error for `total` things, where people watch.
    pub(super) fn count_bar(self, total: u64, message: impl Into<Cow<'static, str>>) -> Progress {
        let style = bar("{spinner} [{bar:30}] {pos}/{len} ({per_sec}, {eta} left) {msg}");
        self.progress(ProgressBar::new(total), style, message)
    }

    fn progress(self, bar: ProgressBar, style: ProgressStyle, message: impl Into<Cow<'static, str>>) -> Progress {
        let bar = match self {
            Self::Human if io::stderr().is_terminal() => bar.with_message(message),
            Self::Human | Self::Json => ProgressBar::hidden(),
        };
        bar.set_style(style);
        bar.enable_steady_tick(SPINNER_TICK);
        Progress(bar)
    }
}

/// The style of a bar of this template.
fn bar(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

/// A spinner or bar that disappears with its owner.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Changes the text; it is cleaned here.
    pub(super) fn message(&self, text: &str) {
        self.0.set_message(clean(text).into_owned());
    }

    /// Moves the bar to `position`.
    pub(super) fn position(&self, position: u64) {
        self.0.set_position(position);
    }

    /// Counts `bytes` more; when all have gone, becomes a spinner with `after` as its text.
    pub(super) fn advance(&self, bytes: u64, after: &'static str) {
        self.0.inc(bytes);
        if self.0.length().is_some_and(|total| self.0.position() >= total) {
            self.0.set_style(ProgressStyle::default_spinner());
            self.0.set_message(after);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A cell of a table.
#[derive(Debug)]
pub(super) enum Field {
    /// Plain.
    Text(String),
    /// Coloured by what it means.
    Status(RunStatus),
    /// Green.
    Good(String),
    /// Red.
    Bad(String),
    /// Grey.
    Dim(String),
}

impl Field {
    fn into_cell(self) -> Cell {
        match self {
            Self::Text(text) => Cell::new(clean(&text)),
            Self::Status(status) => Cell::new(status.as_str()).fg(match status {
                RunStatus::Completed => Color::Green,
                RunStatus::Failed | RunStatus::Crashed | RunStatus::SystemFailure | RunStatus::TimedOut => Color::Red,
                RunStatus::Executing | RunStatus::Dequeued | RunStatus::Waiting => Color::Blue,
                RunStatus::Canceled
                | RunStatus::Expired
                | RunStatus::Queued
                | RunStatus::Delayed
                | RunStatus::PendingVersion => Color::Yellow,
            }),
            Self::Good(text) => Cell::new(clean(&text)).fg(Color::Green),
            Self::Bad(text) => Cell::new(clean(&text)).fg(Color::Red),
            Self::Dim(text) => Cell::new(clean(&text)).add_attribute(Attribute::Dim),
        }
    }
}

impl<T: Into<String>> From<T> for Field {
    fn from(text: T) -> Self {
        Self::Text(text.into())
    }
}

/// The colour of a run's status in a sentence.
pub(super) fn status_style(status: RunStatus) -> Style {
    match status {
        RunStatus::Completed => GOOD,
        RunStatus::Failed | RunStatus::Crashed | RunStatus::SystemFailure | RunStatus::TimedOut => BAD,
        RunStatus::Canceled
        | RunStatus::Expired
        | RunStatus::Queued
        | RunStatus::Delayed
        | RunStatus::PendingVersion
        | RunStatus::Executing
        | RunStatus::Dequeued
        | RunStatus::Waiting => WARN,
    }
}

/// `text` on one line and without anything a terminal would obey: such characters are written as
/// `\u{1b}`.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(visible).collect())
}

/// Like [`clean`], but keeps line breaks: every line after the first begins with `indent`, so
/// that none passes for a line of ours. Tabs become two spaces.
pub(super) fn clean_block(text: &str, indent: &str) -> String {
    let mut block = String::with_capacity(text.len());
    for (index, line) in text.trim_end().lines().enumerate() {
        if index > 0 {
            block.push('\n');
            block.push_str(indent);
        }
        block.push_str(&clean(&line.replace('\t', "  ")));
    }
    block
}

/// JSON text with the same meaning, in which what a terminal would obey is written `\u001b`.
fn escape_json(text: &str) -> Cow<'_, str> {
    let is_layout = |char: char| matches!(char, '\n' | '\r' | '\t');
    if !text.chars().any(|char| is_unsafe(char) && !is_layout(char)) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if is_unsafe(char) && !is_layout(char) {
            // All of them lie in the basic plane; writing to a `String` cannot fail.
            let _ = write!(escaped, "\\u{:04x}", u32::from(char));
        } else {
            escaped.push(char);
        }
    }
    Cow::Owned(escaped)
}

/// Control characters of both blocks, and what reorders or hides text.
fn is_unsafe(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn visible(char: char) -> Cow<'static, str> {
    match char {
        '\n' => Cow::Borrowed("⏎"),
        '\t' => Cow::Borrowed("  "),
        char if is_unsafe(char) => Cow::Owned(char.escape_unicode().to_string()),
        char => Cow::Owned(char.to_string()),
    }
}

/// JSON text laid out for reading, cleaned; what is not JSON comes back as it is, cleaned.
pub(super) fn pretty(json: &str) -> String {
    let laid_out = serde_json::from_str::<serde_json::Value>(json)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_else(|_| json.to_owned());
    clean_block(&laid_out, "")
}

/// An instant in local time, to the second.
pub(super) fn local_time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// The time of day of an instant in local time, to the millisecond.
pub(super) fn time_of_day(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%H:%M:%S%.3f").to_string()
}

/// The wall clock, for showing; the server's clock decides everything else.
#[expect(clippy::disallowed_methods, reason = "nothing is decided by it: it is shown")]
pub(super) fn now() -> Timestamp {
    Timestamp::now()
}

/// A length of time in the unit that suits it: `12 ms`, `1.5 s`, `3 min 20 s`.
pub(super) fn span(length: Duration) -> String {
    let ms = length.as_millis();
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", length.as_secs_f64()),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1_000 % 60),
        _ => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// A size in the unit that suits it: `512 B`, `64 KiB`, `1.5 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    const GIB: u64 = 1024 * MIB;
    let in_units = |unit: u64| bytes as f64 / unit as f64;
    match bytes {
        0..KIB => format!("{bytes} B"),
        KIB..MIB => format!("{:.0} KiB", in_units(KIB)),
        MIB..GIB => format!("{:.1} MiB", in_units(MIB)),
        _ => format!("{:.1} GiB", in_units(GIB)),
    }
}

/// Prints why a command failed. Machines get an error body of the API's shape.
pub(super) fn report(output: Output, body: &ErrorBody, causes: &[String]) {
    let mut err = anstream::stderr().lock();
    // Where standard error is gone too, there is nobody left to tell.
    let _ = match output {
        Output::Json => {
            let mut body = body.clone();
            body.details.extend(causes.iter().map(|cause| format!("caused by: {cause}")));
            writeln!(err, "{}", serde_json::to_string(&body).unwrap_or_default())
        }
        Output::Human => write!(err, "{}", report_text(body, causes)),
    };
}

fn report_text(body: &ErrorBody, causes: &[String]) -> String {
    let mut text = format!("{BAD}error:{BAD:#} {}\n", clean_block(&body.error, "  "));
    // Some errors name their details in their sentence already.
    for detail in body.details.iter().filter(|detail| !body.error.contains(*detail)) {
        let _ = writeln!(text, "  - {}", clean_block(detail, "    "));
    }
    for cause in causes {
        let _ = writeln!(text, "{DIM}caused by:{DIM:#} {}", clean_block(cause, "  "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_clean(text: &str, expected: &str) {
        assert_eq!(clean(text), expected);
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_instead() {
        check_clean("plain ünïcode 🎼", "plain ünïcode 🎼");
        check_clean("\x1b[2J", "\\u{1b}[2J");
        check_clean("\u{9b}31m", "\\u{9b}31m");
        check_clean("a\nb\tc", "a⏎b  c");
        check_clean("\u{202e}gpj.exe", "\\u{202e}gpj.exe");
        check_clean("a\rb\u{8}", "a\\u{d}b\\u{8}");
    }

    #[test]
    fn blocks_keep_their_lines_and_indent_them() {
        assert_eq!(clean_block("a\nb\x07\n", "  "), "a\n  b\\u{7}");
    }

    #[test]
    fn escaped_json_means_the_same() {
        let json = "{\"a\":\"\u{9b}\u{7f}\u{202e}\"}";
        let escaped = escape_json(json);
        assert_eq!(escaped, r#"{"a":"\u009b\u007f\u202e"}"#);
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parse(json), parse(&escaped));
    }

    #[test]
    fn lengths_and_sizes_have_the_unit_that_suits_them() {
        assert_eq!(span(Duration::from_millis(12)), "12 ms");
        assert_eq!(span(Duration::from_millis(1_500)), "1.5 s");
        assert_eq!(span(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(span(Duration::from_secs(7_260)), "2 h 1 min");
        assert_eq!(size(512), "512 B");
        assert_eq!(size(64 << 10), "64 KiB");
        assert_eq!(size(3 << 19), "1.5 MiB");
    }

    #[test]
    fn reports_name_details_and_causes_without_escapes_of_the_server() {
        let body = ErrorBody { error: "no\x1b[0m".into(), details: vec!["one".into()], ..ErrorBody::default() };
        let text = anstream::adapter::strip_str(&report_text(&body, &["two".into()])).to_string();
        assert_eq!(text, "error: no\\u{1b}[0m\n  - one\ncaused by: two\n");
    }
}
