//! Recording files: a source run in one JSON document, to be executed again on another machine with nothing
//! but the component.
//!
//! What the guest was answered is in it as the journal has it, in Base64; secrets can be taken out.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::value::RawValue;

use super::replay::effects_of;
use super::source::{Original, Source};
use crate::api::{LogLines, RecordedEnd, RecordedError, RecordingFile, Used};
use crate::model::attempt::Usage;
use crate::model::limits::MAX_RECORDING_FILE_BYTES;
use crate::model::replay::{LogCounts, Observed, ObservedEnd};
use crate::model::run::ErrorKind;
use crate::sandbox::context::Context;
use crate::sandbox::recording::{Recording, redacted};

/// How files are written now.
pub const FORMAT: u32 = 1;

/// Why there is no recording file, or none that can be used. The text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It is too large.
    #[error("a recording file has {} MiB at most", MAX_RECORDING_FILE_BYTES >> 20)]
    TooLarge,
    /// It is no JSON, or not of this shape.
    #[error("it is no recording file: {0}")]
    Unreadable(String),
    /// Another version of Dacapo wrote it.
    #[error("it has the format {0}, and this program reads format {FORMAT}: use the dacapo that wrote it")]
    Format(u32),
    /// A value in it means nothing.
    #[error("`{field}`: {problem}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
}

fn invalid(field: &'static str, problem: impl ToString) -> FileError {
    FileError::Invalid { field, problem: problem.to_string() }
}

/// The file of a run; with `redact`, without the secrets that are in its journal.
///
/// # Errors
///
/// If it would be too large, or the journal is damaged.
pub fn write(original: &Original, redact: bool) -> Result<RecordingFile, FileError> {
    let Original { source, version, component, journal, is_redacted } = original;
    let without_secrets = redact.then(|| redacted(journal)).transpose().map_err(|fault| invalid("journal", fault))?;
    let journal = without_secrets.as_ref().unwrap_or(journal);
    let seen = &source.observed;
    let texts = [source.payload.len(), seen.metadata.len(), source.metadata.as_ref().map_or(0, String::len)];
    if texts.iter().sum::<usize>() + BASE64.encode_len(journal.len()) > MAX_RECORDING_FILE_BYTES {
        return Err(FileError::TooLarge);
    }
    let (output, error) = match &seen.end {
        ObservedEnd::Completed(output) => (Some(raw("seen.output", output)?), None),
        ObservedEnd::Failed { kind, name, message, stack } => {
            let (kind, name, message) = (kind.as_str().into(), name.clone(), message.clone());
            (None, Some(RecordedError { kind, name, message, stack: stack.clone() }))
        }
    };
    Ok(RecordingFile {
        format: FORMAT,
        redacted: redact || *is_redacted,
        run_id: source.context.run.id.clone(),
        task_identifier: source.context.task.id.clone(),
        version: version.clone(),
        component: component.to_string(),
        payload: raw("payload", &source.payload)?,
        metadata: source.metadata.as_deref().map(|metadata| raw("metadata", metadata)).transpose()?,
        machine: source.machine.map(|machine| machine.name().into()),
        max_duration: source.max_duration_seconds,
        context: serde_json::to_value(&source.context).map_err(|error| invalid("context", error))?,
        seen: RecordedEnd {
            output,
            error,
            logs: LogLines::from(seen.logs),
            metadata: raw("seen.metadata", &seen.metadata)?,
            usage: Used::from(seen.usage),
        },
        journal: BASE64.encode(journal),
    })
}

fn raw(field: &'static str, text: &str) -> Result<Box<RawValue>, FileError> {
    RawValue::from_string(text.into()).map_err(|error| invalid(field, error))
}

/// Reads a file that somebody may have changed.
///
/// # Errors
///
/// If it is too large, of another format, or makes no sense.
pub fn read(text: &str) -> Result<Original, FileError> {
    if text.len() > MAX_RECORDING_FILE_BYTES {
        return Err(FileError::TooLarge);
    }
    let file: RecordingFile = serde_json::from_str(text)
        .map_err(|error| format_of(text).unwrap_or(FileError::Unreadable(error.to_string())))?;
    if file.format != FORMAT {
        return Err(FileError::Format(file.format));
    }
    let journal = BASE64.decode(file.journal.as_bytes()).map_err(|error| invalid("journal", error))?;
    let recording = Recording::read(&journal).map_err(|fault| invalid("journal", fault))?;
    let effects = effects_of(&recording).map_err(|fault| invalid("journal", fault))?;
    let context: Context = serde_json::from_value(file.context).map_err(|error| invalid("context", error))?;
    let component = file.component.parse().map_err(|error| invalid("component", error))?;
    let machine = file.machine.map(|machine| machine.parse()).transpose().map_err(|error| invalid("machine", error))?;
    let RecordedEnd { output, error, logs, metadata, usage } = file.seen;
    let end = match (output, error) {
        (Some(output), None) => ObservedEnd::Completed(output.get().into()),
        (None, Some(RecordedError { kind, name, message, stack })) => {
            let unknown = || invalid("seen.error.kind", format!("`{kind}` is no kind of error"));
            ObservedEnd::Failed { kind: ErrorKind::parse(&kind).ok_or_else(unknown)?, name, message, stack }
        }
        _ => return Err(invalid("seen", "there must be either `output` or `error`")),
    };
    let metadata_digest = recording.metadata_digest();
    let source = Source {
        context,
        payload: Arc::new(file.payload.get().into()),
        metadata: file.metadata.map(|metadata| metadata.get().into()),
        machine,
        max_duration_seconds: file.max_duration,
        recording: Arc::new(recording),
        observed: Observed {
            end,
            effects,
            children: Vec::new(),
            logs: counts(logs),
            metadata: metadata.get().into(),
            metadata_digest,
            usage: used(usage),
        },
    };
    Ok(Original { source, version: file.version, component, journal, is_redacted: file.redacted })
}

/// Whether it could not be read because it is of another format.
fn format_of(text: &str) -> Option<FileError> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let format = u32::try_from(value.get("format")?.as_u64()?).ok()?;
    (format != FORMAT).then_some(FileError::Format(format))
}

fn counts(lines: LogLines) -> LogCounts {
    let LogLines { trace, debug, info, warn, error } = lines;
    LogCounts { trace, debug, info, warn, error }
}

fn used(used: Used) -> Usage {
    Usage {
        cpu: Duration::from_micros(used.cpu_us),
        wall: Duration::from_micros(used.wall_us),
        peak_memory_bytes: used.peak_memory_bytes,
    }
}
