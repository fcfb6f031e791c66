//! What a replayed guest says: counted, kept for the report, and otherwise without effect.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dacapo_host_api::{Level, LogEntry, LogSource, MetadataChange, MetadataError, Services, SpanClosed, SpanOpened};
use serde_json::{Map, Value};

use crate::api;
use crate::edits;
use crate::model::limits::{MAX_SHOWN_LINES, MAX_SHOWN_LINES_BYTES};
use crate::model::replay::LogCounts;

/// What a guest has said so far. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Said(Arc<Mutex<State>>);

/// The first lines of a log, for whoever asked for the replay. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Lines(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Level, source and text.
    pub(super) lines: Vec<(Level, LogSource, String)>,
    /// Whether there were more.
    pub(super) is_cut: bool,
    bytes: usize,
}

impl Lines {
    /// The lines, which are given away.
    pub(super) fn taken(&self) -> Kept {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, level: Level, source: LogSource, message: String) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes = kept.bytes.saturating_add(message.len());
        kept.is_cut |= kept.lines.len() == MAX_SHOWN_LINES || kept.bytes > MAX_SHOWN_LINES_BYTES;
        if !kept.is_cut {
            kept.lines.push((level, source, message));
        }
    }
}

#[derive(Debug, Default)]
struct State {
    logs: LogCounts,
    /// Where lines are kept, if they are wanted.
    lines: Option<Lines>,
    metadata: Map<String, Value>,
}

impl Said {
    /// Nothing yet; the metadata are these, a JSON object.
    pub(super) fn new(metadata: Option<&str>) -> Self {
        Self(Arc::new(Mutex::new(State { metadata: edits::parsed(metadata), ..State::default() })))
    }

    /// Keeps the lines of its log from now on.
    pub(super) fn keep(&self, lines: &Lines) {
        self.lock().lines = Some(lines.clone());
    }

    /// Its log lines.
    pub(super) fn logs(&self) -> LogCounts {
        self.lock().logs
    }

    /// Its metadata: the text of a JSON object.
    pub(super) fn metadata(&self) -> String {
        edits::text_of(&self.lock().metadata)
    }

    /// Changes the metadata, if that can be.
    pub(super) fn change(&self, change: MetadataChange) {
        // Who asked for it was told that it worked, as it did then.
        let _ = edits::change_seen(&mut self.lock().metadata, change);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Services for Said {
    fn log(&mut self, entry: LogEntry) {
        // What the host says of a replay says nothing of the guest.
        if entry.source == LogSource::Host {
            return;
        }
        let mut state = self.lock();
        let logs = &mut state.logs;
        let count = match entry.level {
            Level::Trace => &mut logs.trace,
            Level::Debug => &mut logs.debug,
            Level::Info => &mut logs.info,
            Level::Warn => &mut logs.warn,
            Level::Error => &mut logs.error,
        };
        *count += 1;
        if let Some(lines) = &state.lines {
            lines.add(entry.level, entry.source, entry.message);
        }
    }

    fn span_opened(&mut self, _: SpanOpened) {}

    fn span_closed(&mut self, _: SpanClosed) {}

    fn metadata(&mut self) -> String {
        Said::metadata(self)
    }

    fn metadata_value(&mut self, key: &str) -> Option<String> {
        api::find(&self.lock().metadata, key).map(ToString::to_string)
    }

    fn change_metadata(&mut self, change: MetadataChange) -> Result<(), MetadataError> {
        edits::change_seen(&mut self.lock().metadata, change).map(drop)
    }
}
