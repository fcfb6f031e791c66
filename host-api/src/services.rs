//! What the embedder does for a running task, besides HTTP.
//!
//! Every text that arrives here is bounded by [`crate::Limits`]; values that the WIT package calls
//! JSON come as the guest wrote them and have not been parsed.

use std::time::{Duration, SystemTime};

/// Takes the log and keeps the metadata of one attempt. Called on the thread that runs the guest:
/// never block.
pub trait Services: Send {
    /// Takes a log line.
    fn log(&mut self, entry: LogEntry);
    /// A span has begun.
    fn span_opened(&mut self, span: SpanOpened);
    /// A span has ended. Spans that the guest leaves open end with the attempt.
    fn span_closed(&mut self, span: SpanClosed);
    /// The run's metadata: a JSON object.
    fn metadata(&mut self) -> String;
    /// The value under a key or `$.` path of the metadata.
    fn metadata_value(&mut self, key: &str) -> Option<String>;
    /// Changes the metadata.
    ///
    /// # Errors
    ///
    /// As the guest is to see them; then nothing was changed.
    fn change_metadata(&mut self, change: MetadataChange) -> Result<(), MetadataError>;
}

/// Takes what a guest says, and drops it. There are no metadata.
pub struct NoServices;

impl Services for NoServices {
    fn log(&mut self, _: LogEntry) {}
    fn span_opened(&mut self, _: SpanOpened) {}
    fn span_closed(&mut self, _: SpanClosed) {}
    fn metadata(&mut self) -> String {
        "{}".into()
    }
    fn metadata_value(&mut self, _: &str) -> Option<String> {
        None
    }
    fn change_metadata(&mut self, _: MetadataChange) -> Result<(), MetadataError> {
        Ok(())
    }
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// When it was written.
    pub at: SystemTime,
    /// How important it is.
    pub level: Level,
    /// The line, without its end.
    pub message: String,
    /// Names and JSON texts.
    pub attributes: Vec<(String, String)>,
    /// The innermost span that was open.
    pub span: Option<SpanId>,
    /// How it was written.
    pub source: LogSource,
}

/// How important a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The finest.
    Trace,
    /// For the author.
    Debug,
    /// Normal.
    Info,
    /// Suspicious.
    Warn,
    /// Wrong.
    Error,
}

/// How a log line came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSource {
    /// `dacapo:task/log`.
    Logger,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The host itself has something to say to the author.
    Host,
}

/// A span's name within its attempt; the first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub u32);

/// The beginning of a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanOpened {
    /// Its name for the host.
    pub id: SpanId,
    /// The span it lies within.
    pub parent: Option<SpanId>,
    /// Its name for people.
    pub name: String,
    /// Names and JSON texts.
    pub attributes: Vec<(String, String)>,
    /// When it began.
    pub at: SystemTime,
}

/// A span as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanClosed {
    /// Its name for the host.
    pub id: SpanId,
    /// The span it lies within.
    pub parent: Option<SpanId>,
    /// Its name for people.
    pub name: String,
    /// Names and JSON texts.
    pub attributes: Vec<(String, String)>,
    /// Why it failed, where it did.
    pub error: Option<String>,
    /// When it began.
    pub at: SystemTime,
    /// How long it took.
    pub duration: Duration,
}

/// A change that a guest makes to the metadata. Values are JSON texts, not yet parsed.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub enum MetadataChange {
    /// Puts a value under a key or `$.` path.
    Set(String, String),
    /// Removes a key.
    Delete(String),
    /// Adds an item to the list under a key.
    Append(String, String),
    /// Removes equal items from the list under a key.
    Remove(String, String),
    /// Adds to the number under a key.
    Increment(String, f64),
    /// Replaces the whole object.
    Update(String),
}

impl MetadataChange {
    /// The key or path; empty for the whole object.
    pub fn key(&self) -> &str {
        match self {
            Self::Set(key, _) | Self::Append(key, _) | Self::Remove(key, _) => key,
            Self::Delete(key) | Self::Increment(key, _) => key,
            Self::Update(_) => "",
        }
    }

    /// The bytes of the value; a number has none.
    pub fn value_bytes(&self) -> usize {
        match self {
            Self::Set(_, value) | Self::Append(_, value) | Self::Remove(_, value) | Self::Update(value) => value.len(),
            Self::Delete(_) | Self::Increment(..) => 0,
        }
    }
}

/// Why a change of the metadata was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The value is not JSON, or not of the kind that is needed.
    #[error("invalid JSON: {0}")]
    InvalidJson(String),
    /// There is something else than a number under this key.
    #[error("`{0}` is not a number")]
    NotANumber(String),
    /// The object would be larger than this many bytes.
    #[error("the metadata would be larger than {0} bytes")]
    TooLarge(u32),
}
