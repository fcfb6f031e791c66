//! What a running attempt says, kept until it is written: log lines, spans and metadata.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dacapo_host_api::{Level, LogEntry, LogSource, MetadataChange, MetadataError, Services, SpanClosed, SpanOpened};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::metadata::Metadata;
use crate::api;
use crate::edits::text_of;
use crate::storage::{LogKind, LogRow, MetadataEdit};

/// What an attempt has said and nobody has written yet.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) logs: Vec<LogRow>,
    /// What it did to the metadata.
    pub(super) metadata: Option<MetadataEdit>,
}

impl Said {
    pub(super) fn is_empty(&self) -> bool {
        self.logs.is_empty() && self.metadata.is_none()
    }
}

/// Shared by the guest, which says things, and its attempt, which writes them.
#[derive(Debug, Clone)]
pub(super) struct Recorder {
    attempt: u32,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    logs: Vec<LogRow>,
    metadata: Metadata,
}

impl Recorder {
    /// For attempt number `attempt` of a run with this metadata, a JSON object.
    pub(super) fn new(metadata: Option<&str>, attempt: u32) -> Self {
        let metadata = Metadata::new(metadata);
        Self { attempt, state: Arc::new(Mutex::new(State { metadata, ..State::default() })) }
    }

    /// What was said since the last time.
    pub(super) fn take(&self) -> Said {
        let mut state = self.lock();
        Said { logs: std::mem::take(&mut state.logs), metadata: state.metadata.take() }
    }

    /// What was done to the metadata since the last time.
    pub(super) fn take_metadata(&self) -> Option<MetadataEdit> {
        self.lock().metadata.take()
    }

    /// Adds a line of the host's own to the log: an error.
    pub(super) fn say(&self, message: String, at: Timestamp) {
        let row = LogRow::of_host(self.attempt, at, level(Level::Error), message);
        self.lock().logs.push(row);
    }

    /// Goes on with the metadata that the run has by now: nothing of its own is unsaid, and others may
    /// have changed them.
    pub(super) fn resume(&self, metadata: Option<&str>) {
        self.lock().metadata = Metadata::new(metadata);
    }

    /// Changes the metadata.
    pub(super) fn change_metadata(&self, change: MetadataChange) -> Result<(), MetadataError> {
        self.lock().metadata.change(change)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The services of one attempt.
pub(super) struct RunServices {
    recorder: Recorder,
}

impl RunServices {
    pub(super) fn new(recorder: Recorder) -> Self {
        Self { recorder }
    }
}

impl Services for RunServices {
    fn log(&mut self, entry: LogEntry) {
        let row = LogRow {
            attempt: self.recorder.attempt,
            at: timestamp(entry.at),
            kind: LogKind::Line,
            level: level(entry.level).into(),
            source: source(entry.source).into(),
            message: entry.message,
            attributes: attributes(entry.attributes),
            span: entry.span.map(|span| span.0.into()),
            parent_span: None,
            duration_us: None,
        };
        self.recorder.lock().logs.push(row);
    }

    /// Spans are written when they have ended.
    fn span_opened(&mut self, _: SpanOpened) {}

    fn span_closed(&mut self, span: SpanClosed) {
        let mut named = span.attributes;
        let failed = span.error.is_some();
        named.extend(span.error.map(|error| ("error".to_owned(), Value::from(error).to_string())));
        let row = LogRow {
            attempt: self.recorder.attempt,
            at: timestamp(span.at),
            kind: LogKind::Span,
            level: level(if failed { Level::Error } else { Level::Info }).into(),
            source: source(LogSource::Logger).into(),
            message: span.name,
            attributes: attributes(named),
            span: Some(span.id.0.into()),
            parent_span: span.parent.map(|parent| parent.0.into()),
            duration_us: Some(u64::try_from(span.duration.as_micros()).unwrap_or(u64::MAX)),
        };
        self.recorder.lock().logs.push(row);
    }

    fn metadata(&mut self) -> String {
        text_of(self.recorder.lock().metadata.seen())
    }

    fn metadata_value(&mut self, key: &str) -> Option<String> {
        api::find(self.recorder.lock().metadata.seen(), key).map(ToString::to_string)
    }

    fn change_metadata(&mut self, change: MetadataChange) -> Result<(), MetadataError> {
        self.recorder.change_metadata(change)
    }
}

/// Names and JSON texts as a JSON object; what is not JSON becomes a string.
fn attributes(named: Vec<(String, String)>) -> Option<String> {
    if named.is_empty() {
        return None;
    }
    let object: Map<String, Value> = named
        .into_iter()
        .map(|(name, text)| (name, serde_json::from_str(&text).unwrap_or(Value::String(text))))
        .collect();
    Some(text_of(&object))
}

fn timestamp(at: std::time::SystemTime) -> Timestamp {
    Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

fn source(source: LogSource) -> &'static str {
    match source {
        LogSource::Logger => "task",
        LogSource::Stdout => "stdout",
        LogSource::Stderr => "stderr",
        LogSource::Host => "host",
    }
}
