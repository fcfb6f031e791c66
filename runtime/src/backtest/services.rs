//! What a replayed guest says: counted, kept for the report, and otherwise without effect.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dacapo_host_api::{Level, LogEntry, LogSource, MetadataChange, MetadataError, Services, SpanClosed, SpanOpened};
use serde_json::{Map, Value};

use crate::api;
use crate::edits;
use crate::model::replay::LogCounts;

/// What a guest has said so far. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Said(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    logs: LogCounts,
    metadata: Map<String, Value>,
}

impl Said {
    /// Nothing yet; the metadata are these, a JSON object.
    pub(super) fn new(metadata: Option<&str>) -> Self {
        Self(Arc::new(Mutex::new(State { logs: LogCounts::default(), metadata: edits::parsed(metadata) })))
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
        let logs = &mut self.lock().logs;
        let count = match entry.level {
            Level::Trace => &mut logs.trace,
            Level::Debug => &mut logs.debug,
            Level::Info => &mut logs.info,
            Level::Warn => &mut logs.warn,
            Level::Error => &mut logs.error,
        };
        *count += 1;
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
