//! Reports of a backtest: one JSON document, JUnit XML, or one HTML page that needs nothing else.
//!
//! A [`Report`] is written as its rows arrive, so that it may be longer than memory: [`Report::head`], [`Report::row`]
//! for each, [`Report::tail`]. Everything in it that came from a guest is escaped.

mod escape;
mod html;
mod html_details;
mod json;
mod junit;

use std::io::{self, Write};

use jiff::Timestamp;

use crate::api::Comparison;
use crate::model::verdict::{Counts, Verdict};

/// What is known of a backtest as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Its id.
    pub id: String,
    /// The version that was tried, or the digest of a component.
    pub version: String,
    /// Whose runs were used: a version, or none for runs of all versions.
    pub against: Option<String>,
    /// The task whose runs were used, or none for those of all tasks.
    pub task: Option<String>,
    /// How many came to each verdict.
    pub counts: Counts,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended, if it has.
    pub finished_at: Option<Timestamp>,
    /// Speed.
    pub replays_per_second: f64,
    /// Differences that are allowed.
    pub allowed: u64,
    /// Whether the version may be promoted; none while that is open, and where nobody asks.
    pub is_gate_open: Option<bool>,
    /// Why it could not go on, or why its gate decides nothing.
    pub reason: Option<String>,
    /// Of a gate: tasks of which nothing is known.
    pub untested: Vec<String>,
}

/// One replay.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportRow {
    /// The source run.
    pub run_id: String,
    /// Its task.
    pub task: String,
    /// What it came to.
    pub verdict: Verdict,
    /// Whether it speaks against the version.
    pub differs: bool,
    /// What differs; none where there was no replay.
    pub comparison: Option<Comparison>,
    /// Why there was none, or something else to say.
    pub note: Option<String>,
}

/// A form of report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `{"summary": {…}, "runs": [{…}, …]}`.
    Json,
    /// For CI servers: the schema of Jenkins.
    Junit,
    /// For people.
    Html,
}

impl Format {
    /// The format of a word: `json`, `junit` or `html`.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Json, Self::Junit, Self::Html].into_iter().find(|format| format.as_str() == word)
    }

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Junit => "junit",
            Self::Html => "html",
        }
    }

    /// The media type of a report.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Junit => "application/xml",
            Self::Html => "text/html; charset=utf-8",
        }
    }
}

/// A report that is being written.
#[derive(Debug)]
pub struct Report {
    summary: Summary,
    writer: Writer,
}

#[derive(Debug)]
enum Writer {
    Json(json::Writer),
    Junit(junit::Writer),
    Html(html::Writer),
}

impl Report {
    /// Nothing is written yet.
    pub fn new(format: Format, summary: Summary) -> Self {
        let writer = match format {
            Format::Json => Writer::Json(json::Writer::default()),
            Format::Junit => Writer::Junit(junit::Writer::new(&summary)),
            Format::Html => Writer::Html(html::Writer::default()),
        };
        Self { summary, writer }
    }

    /// What comes before the rows.
    pub fn head(&mut self) -> String {
        match &mut self.writer {
            Writer::Json(_) => json::head(&self.summary),
            Writer::Junit(writer) => writer.head(&self.summary),
            Writer::Html(_) => html::head(&self.summary),
        }
    }

    /// One row; the text may be empty.
    pub fn row(&mut self, row: &ReportRow) -> String {
        match &mut self.writer {
            Writer::Json(writer) => writer.row(row),
            Writer::Junit(writer) => writer.row(row),
            Writer::Html(writer) => writer.row(row),
        }
    }

    /// What comes after the rows.
    pub fn tail(self) -> String {
        match self.writer {
            Writer::Json(_) => json::tail(),
            Writer::Junit(writer) => writer.tail(&self.summary),
            Writer::Html(writer) => writer.tail(),
        }
    }
}

/// Writes a whole report.
pub fn write(
    out: &mut impl Write,
    format: Format,
    summary: &Summary,
    rows: impl IntoIterator<Item = ReportRow>,
) -> io::Result<()> {
    let mut report = Report::new(format, summary.clone());
    out.write_all(report.head().as_bytes())?;
    for row in rows {
        out.write_all(report.row(&row).as_bytes())?;
    }
    out.write_all(report.tail().as_bytes())
}
