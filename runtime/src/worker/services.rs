//! What a running attempt says, kept until it is written: log lines, spans and metadata.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dacapo_host_api::{Level, LogEntry, LogSource, MetadataChange, MetadataError, Services, SpanClosed, SpanOpened};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::api::{self, BadOperation, MetadataOperation};
use crate::model::limits::MAX_METADATA_BYTES;
use crate::storage::{LogKind, LogRow};

/// What an attempt has said and nobody has written yet.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) logs: Vec<LogRow>,
    /// The whole metadata, where they changed.
    pub(super) metadata: Option<String>,
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
    metadata: Map<String, Value>,
    metadata_changed: bool,
}

impl Recorder {
    /// For attempt number `attempt` of a run with this metadata, a JSON object.
    pub(super) fn new(metadata: Option<&str>, attempt: u32) -> Self {
        let metadata = parsed(metadata);
        Self { attempt, state: Arc::new(Mutex::new(State { metadata, ..State::default() })) }
    }

    /// What was said since the last time.
    pub(super) fn take(&self) -> Said {
        let mut state = self.lock();
        let metadata = std::mem::take(&mut state.metadata_changed).then(|| text_of(&state.metadata));
        Said { logs: std::mem::take(&mut state.logs), metadata }
    }

    /// Adds a line of the host's own to the log: an error.
    pub(super) fn say(&self, message: String, at: Timestamp) {
        let row = LogRow {
            attempt: self.attempt,
            at,
            kind: LogKind::Line,
            level: level(Level::Error).into(),
            source: source(LogSource::Host).into(),
            message,
            attributes: None,
            span: None,
            parent_span: None,
            duration_us: None,
        };
        self.lock().logs.push(row);
    }

    /// Metadata that were taken were not written after all.
    pub(super) fn metadata_unwritten(&self, unwritten: bool) {
        self.lock().metadata_changed |= unwritten;
    }

    /// Goes on with the metadata that the run has by now: nothing of its own is unsaid, and others may
    /// have changed them.
    pub(super) fn resume(&self, metadata: Option<&str>) {
        let mut state = self.lock();
        if !state.metadata_changed {
            state.metadata = parsed(metadata);
        }
    }

    /// Changes the metadata.
    pub(super) fn change_metadata(&self, change: MetadataChange) -> Result<(), MetadataError> {
        let operation = operation(change)?;
        let mut state = self.lock();
        let changed = api::apply(&state.metadata, operation).map_err(metadata_error)?;
        if text_of(&changed).len() > MAX_METADATA_BYTES {
            return Err(MetadataError::TooLarge(MAX_METADATA_BYTES as u32));
        }
        state.metadata = changed;
        state.metadata_changed = true;
        Ok(())
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
        text_of(&self.recorder.lock().metadata)
    }

    fn metadata_value(&mut self, key: &str) -> Option<String> {
        api::find(&self.recorder.lock().metadata, key).map(ToString::to_string)
    }

    fn change_metadata(&mut self, change: MetadataChange) -> Result<(), MetadataError> {
        self.recorder.change_metadata(change)
    }
}

/// What the guest is told of a change that is none.
pub(super) fn metadata_error(error: BadOperation) -> MetadataError {
    match error {
        BadOperation::NotANumber(key) | BadOperation::NotFinite(key) => MetadataError::NotANumber(key),
        error @ (BadOperation::TooDeep(_) | BadOperation::ReservedName(_)) => {
            MetadataError::InvalidJson(error.to_string())
        }
    }
}

/// A change as the guest asks for it, read.
pub(super) fn operation(change: MetadataChange) -> Result<MetadataOperation, MetadataError> {
    let json = |text: String| {
        serde_json::from_str::<Value>(&text).map_err(|error| MetadataError::InvalidJson(error.to_string()))
    };
    Ok(match change {
        MetadataChange::Set(key, value) => MetadataOperation::Set(key, json(value)?),
        MetadataChange::Delete(key) => MetadataOperation::Delete(key),
        MetadataChange::Append(key, value) => MetadataOperation::Append(key, json(value)?),
        MetadataChange::Remove(key, value) => MetadataOperation::Remove(key, json(value)?),
        MetadataChange::Increment(key, by) => MetadataOperation::Increment(key, by),
        MetadataChange::Update(value) => match json(value)? {
            Value::Object(object) => MetadataOperation::Update(object),
            _ => return Err(MetadataError::InvalidJson("metadata must be a JSON object".into())),
        },
    })
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

fn parsed(metadata: Option<&str>) -> Map<String, Value> {
    metadata.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn text_of(object: &Map<String, Value>) -> String {
    serde_json::to_string(object).unwrap_or_else(|_| "{}".into())
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
