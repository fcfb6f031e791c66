//! Recording files: a source run in one JSON document, to be executed again on another machine with nothing
//! but the component.
//!
//! What the guest was answered is in it as the journal has it, in Base64; secrets are taken out unless they are asked
//! for.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use serde_json::Value;
use serde_json::value::RawValue;

use super::replay::effects_of;
use super::source::{Original, Source};
use crate::api::{LogLines, RecordedEnd, RecordedError, RecordingFile, Used};
use crate::model::attempt::Usage;
use crate::model::limits::MAX_RECORDING_FILE_BYTES;
use crate::model::mask::Mask;
use crate::model::replay::{LogCounts, Observed, ObservedEnd};
use crate::model::run::ErrorKind;
use crate::sandbox::context::Context;
use crate::sandbox::recording::{Censor, Recording, redacted, redacted_context};

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

/// What is left out of a file, wherever it turns up: the values of variables, but for those that are known to be none of
/// anybody's secrets.
#[derive(Debug, Clone)]
pub struct Redaction {
    mask: Mask,
    plain: Arc<HashSet<String>>,
}

impl Redaction {
    /// The values of all variables that the run saw, or that its environment has now.
    pub fn of_all(original: &Original) -> Self {
        Self { mask: original.source.observed.secrets.clone(), plain: Arc::default() }
    }

    /// The same but for the variables of these names; `now` are those of the environment.
    ///
    /// # Errors
    ///
    /// If the journal is damaged.
    pub fn of_all_but(
        plain: Arc<HashSet<String>>,
        original: &Original,
        now: &[(String, String)],
    ) -> Result<Self, FileError> {
        let seen = original.source.recording.variables().map_err(|fault| invalid("journal", fault))?;
        let secret = seen.iter().chain(now).filter(|(name, _)| !plain.contains(name));
        Ok(Self { mask: Mask::new(secret.map(|(_, value)| value.as_str())), plain })
    }
}

/// The file of a run; with `redaction`, without the secrets that are in its journal, and without the values of its
/// variables.
///
/// # Errors
///
/// If it would be too large, or the journal is damaged.
pub fn write(original: &Original, redaction: Option<&Redaction>) -> Result<RecordingFile, FileError> {
    let Original { source, version, component, journal, is_redacted } = original;
    let seen = &source.observed;
    let mask = redaction.map(|redaction| redaction.mask.clone()).unwrap_or_default();
    let without_secrets = redaction.map(|redaction| redacted(journal, redaction)).transpose();
    let without_secrets = without_secrets.map_err(|fault| invalid("journal", fault))?;
    let journal = without_secrets.as_ref().unwrap_or(journal);
    let raw = |field, text: &str| masked_json(field, text, &mask);
    let texts = [source.payload.len(), seen.metadata.len(), source.metadata.as_ref().map_or(0, String::len)];
    if texts.iter().sum::<usize>() + BASE64.encode_len(journal.len()) > MAX_RECORDING_FILE_BYTES {
        return Err(FileError::TooLarge);
    }
    let (output, error) = match &seen.end {
        ObservedEnd::Completed(output) => (Some(raw("seen.output", output)?), None),
        ObservedEnd::Failed { kind, name, message, stack } => {
            let shown = |text: &String| mask.apply(text).into_owned();
            let (kind, name, message) = (kind.as_str().into(), shown(name), shown(message));
            (None, Some(RecordedError { kind, name, message, stack: stack.as_ref().map(shown) }))
        }
    };
    Ok(RecordingFile {
        format: FORMAT,
        redacted: redaction.is_some() || *is_redacted,
        run_id: source.context.run.id.clone(),
        task_identifier: source.context.task.id.clone(),
        version: version.clone(),
        component: component.to_string(),
        payload: raw("payload", &source.payload)?,
        metadata: source.metadata.as_deref().map(|metadata| raw("metadata", metadata)).transpose()?,
        machine: source.machine.map(|machine| machine.name().into()),
        max_duration: source.max_duration_seconds,
        context: serde_json::to_value(redacted_context(&source.context, &mask))
            .map_err(|error| invalid("context", error))?,
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

impl Censor for Redaction {
    fn censored(&self, text: &str) -> Option<String> {
        self.mask.censored(text)
    }

    fn places(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        self.mask.places(bytes)
    }

    fn keeps(&self, variable: &str) -> bool {
        self.plain.contains(variable)
    }
}

impl Censor for Mask {
    fn censored(&self, text: &str) -> Option<String> {
        match self.apply(text) {
            Cow::Borrowed(_) => None,
            Cow::Owned(censored) => Some(censored),
        }
    }

    fn places(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        Self::places(self, bytes)
    }
}

/// A JSON text without what is masked. Numbers stay as they are.
pub(super) fn masked_json(field: &'static str, text: &str, mask: &Mask) -> Result<Box<RawValue>, FileError> {
    let text = match mask.censored(text) {
        None => text.to_owned(),
        Some(_) => {
            let value = serde_json::from_str(text).map_err(|error| invalid(field, error))?;
            masked(value, mask).to_string()
        }
    };
    RawValue::from_string(text).map_err(|error| invalid(field, error))
}

/// A value without what is masked in its texts.
fn masked(value: Value, mask: &Mask) -> Value {
    match value {
        Value::String(text) => mask.apply(&text).into_owned().into(),
        Value::Array(elements) => elements.into_iter().map(|element| masked(element, mask)).collect(),
        Value::Object(members) => {
            let member = |(name, member): (String, Value)| (mask.apply(&name).into_owned(), masked(member, mask));
            members.into_iter().map(member).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
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
    let variables = recording.variables().map_err(|fault| invalid("journal", fault))?;
    let secrets = Mask::new(variables.iter().map(|(_, value)| value.as_str()));
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
            new_variables: Vec::new(),
            secrets,
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
