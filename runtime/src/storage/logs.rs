//! What attempts say while they run: log lines, spans and metadata.

use jiff::Timestamp;

use super::edits::{MetadataEdit, edit_metadata};
use super::queue::{Lease, holds};
use super::sql::{Tx, values};
use super::{Error, Storage};
use crate::model::id::RunId;

/// A line or a span of a run's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// The attempt that wrote it.
    pub attempt: u32,
    /// When it was written; of a span, when it began.
    pub at: Timestamp,
    /// Whether it is a line or a span.
    pub kind: LogKind,
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// `task`, `stdout`, `stderr` or `host`.
    pub source: String,
    /// The text; of a span, its name.
    pub message: String,
    /// A JSON object.
    pub attributes: Option<String>,
    /// The span that this is, or lies in; counted per attempt from 1.
    pub span: Option<u64>,
    /// The span around that span.
    pub parent_span: Option<u64>,
    /// How long the span lasted, in microseconds.
    pub duration_us: Option<u64>,
}

impl LogRow {
    /// A line that the host itself writes.
    pub fn of_host(attempt: u32, at: Timestamp, level: &str, message: String) -> Self {
        Self {
            attempt,
            at,
            kind: LogKind::Line,
            level: level.into(),
            source: "host".into(),
            message,
            attributes: None,
            span: None,
            parent_span: None,
            duration_us: None,
        }
    }
}

/// What a [`LogRow`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    /// A log line.
    Line,
    /// A span that has ended.
    Span,
}

impl LogKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Span => "span",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Line, Self::Span].into_iter().find(|kind| kind.as_str() == word)
    }
}

impl Storage {
    /// Writes what an attempt has logged, and what it did to the metadata. The logs are kept in
    /// any case; the change of the metadata only while the lease holds, or where the run was canceled under it.
    /// Answers whether the attempt is to go on.
    pub async fn report(
        &self,
        lease: Lease,
        logs: Vec<LogRow>,
        metadata: Option<MetadataEdit>,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.writer
            .write(move |tx| {
                append_logs(tx, lease.run, &logs)?;
                edit_metadata(tx, &lease, metadata.as_ref(), now)?;
                holds(tx, lease.run, lease.number)
            })
            .await
    }

    /// The log of a run from entry `after` on, in order, `limit` entries at most, each with its
    /// number.
    pub async fn logs(&self, run: RunId, after: u64, limit: u32) -> Result<Vec<(u64, LogRow)>, Error> {
        let sql = "SELECT seq, attempt, at, kind, level, source, message, attributes, span, parent_span, duration_us
                   FROM   run_logs
                   WHERE  run_id = ?1 AND seq > ?2
                   ORDER BY seq
                   LIMIT  ?3";
        self.read(move |tx| {
            tx.rows(sql, values![run, after, limit], |row| {
                let seq = row.column()?;
                let entry = LogRow {
                    attempt: row.column()?,
                    at: row.column()?,
                    kind: row.parsed(LogKind::parse)?,
                    level: row.column()?,
                    source: row.column()?,
                    message: row.column()?,
                    attributes: row.column()?,
                    span: row.column()?,
                    parent_span: row.column()?,
                    duration_us: row.column()?,
                };
                Ok((seq, entry))
            })
        })
        .await
    }
}

pub(super) fn append_logs(tx: &Tx<'_>, run: RunId, logs: &[LogRow]) -> Result<(), Error> {
    let sql = "INSERT INTO run_logs (run_id, seq, attempt, at, kind, level, source, message, attributes, span,
                                     parent_span, duration_us)
               VALUES (?1, COALESCE((SELECT MAX(seq) FROM run_logs WHERE run_id = ?1), 0) + 1,
                       ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    for entry in logs {
        tx.execute(
            sql,
            values![
                run,
                entry.attempt,
                entry.at,
                entry.kind.as_str(),
                &entry.level,
                &entry.source,
                &entry.message,
                entry.attributes.as_ref(),
                entry.span,
                entry.parent_span,
                entry.duration_us,
            ],
        )?;
    }
    Ok(())
}
