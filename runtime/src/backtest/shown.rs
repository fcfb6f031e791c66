//! The whole of how a replay ended, for whoever asked for it: bounded, and without the values of variables.

use dacapo_host_api::{Level, LogSource};

use super::file::masked_json;
use super::services::Kept;
use crate::api::{Both, ReplayEnd, ReplayLine, SerializedError, SourceEnd};
use crate::model::limits::MAX_SHOWN_OUTPUT_BYTES;
use crate::model::mask::Mask;
use crate::model::replay::{Observed, ObservedEnd};
use crate::model::run::RunError;

/// How the source run and its replay ended, without what either of them knew that nobody is to read.
pub(super) fn shown_ends(observed: Both<Observed>, log: Kept) -> (SourceEnd, ReplayEnd) {
    let Both { then, now } = observed;
    let mask = then.secrets.and(&now.secrets);
    let SourceEnd { output, output_is_cut, error } = shown_end(now.end, &mask);
    let line = |(level, source, message): (Level, LogSource, String)| ReplayLine {
        level: level_word(level).into(),
        source: source_word(source).into(),
        message: mask.apply(&message).into_owned(),
    };
    let (logs, logs_are_cut) = (log.lines.into_iter().map(line).collect(), log.is_cut);
    (shown_end(then.end, &mask), ReplayEnd { output, output_is_cut, error, logs, logs_are_cut })
}

fn shown_end(end: ObservedEnd, mask: &Mask) -> SourceEnd {
    match end {
        ObservedEnd::Completed(output) => {
            let output_is_cut = output.len() > MAX_SHOWN_OUTPUT_BYTES;
            let output = if output_is_cut { None } else { shown_output(&output, mask) };
            SourceEnd { output, output_is_cut, error: None }
        }
        ObservedEnd::Failed { kind, name, message, stack } => {
            let masked = |text: String| mask.apply(&text).into_owned();
            let error = RunError { kind, name: masked(name), message: masked(message), stack: stack.map(masked) };
            SourceEnd { output: None, output_is_cut: false, error: Some(SerializedError::from(&error)) }
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
