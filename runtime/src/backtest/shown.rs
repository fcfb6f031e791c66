//! The whole of how a replay ended, for whoever asked for it: bounded, and without the values of variables.

use dacapo_host_api::{Level, LogSource};

use super::file::masked_json;
use super::services::Kept;
use crate::api::{ReplayEnd, ReplayLine, SerializedError};
use crate::model::limits::MAX_SHOWN_OUTPUT_BYTES;
use crate::model::mask::Mask;
use crate::model::replay::{Observed, ObservedEnd};
use crate::model::run::RunError;

pub(super) fn shown_end(now: Observed, log: Kept) -> ReplayEnd {
    let mask = now.secrets;
    let masked = |text: String| mask.apply(&text).into_owned();
    let line = |(level, source, message): (Level, LogSource, String)| ReplayLine {
        level: level_word(level).into(),
        source: source_word(source).into(),
        message: masked(message),
    };
    let (logs, logs_are_cut) = (log.lines.into_iter().map(line).collect(), log.is_cut);
    let ended = ReplayEnd { output: None, output_is_cut: false, error: None, logs, logs_are_cut };
    match now.end {
        ObservedEnd::Completed(output) => {
            let output_is_cut = output.len() > MAX_SHOWN_OUTPUT_BYTES;
            let output = if output_is_cut { None } else { shown_output(&output, &mask) };
            ReplayEnd { output, output_is_cut, ..ended }
        }
        ObservedEnd::Failed { kind, name, message, stack } => {
            let error = RunError { kind, name: masked(name), message: masked(message), stack: stack.map(masked) };
            ReplayEnd { error: Some(SerializedError::from(&error)), ..ended }
        }
    }
}

/// An output is JSON: the sandbox has looked.
fn shown_output(output: &str, mask: &Mask) -> Option<Box<serde_json::value::RawValue>> {
    masked_json("output", output, mask).ok()
}

fn level_word(level: Level) -> &'static str {
    match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

fn source_word(source: LogSource) -> &'static str {
    match source {
        LogSource::Logger => "task",
        LogSource::Stdout => "stdout",
        LogSource::Stderr => "stderr",
        LogSource::Host => "host",
    }
}
