//! Answers, for people.

use serde::de::DeserializeOwned;

use super::Call;
use crate::generated::dacapo::task::metadata::MetadataError;
use crate::http::{Got, Head, StreamAnswer, shown_header};
use crate::journal::{Blob, Kind};
use crate::text::bounded;
use crate::wait::Waited;
use crate::world::{BatchHandle, HostFault, Outcome, RunHandle, RunResult, Token, TriggerError};

/// Most bytes that are shown of an answer.
const MAX_SHOWN_BYTES: usize = 4_096;
/// Most random bytes that are shown.
const MAX_HEX_BYTES: usize = 32;

/// The answer to a call that has one.
pub(super) fn answer(call: &Call) -> String {
    let shown = of_kind(call).unwrap_or_else(|fault| Some(fault.to_string())).unwrap_or_default();
    bounded(shown, MAX_SHOWN_BYTES)
}

fn of_kind(call: &Call) -> Result<Option<String>, HostFault> {
    Ok(match call.kind {
        Kind::WallClock => call.answer::<(u64, u32)>()?.map(|(seconds, nanos)| format!("{seconds}.{nanos:09} s")),
        Kind::MonotonicClock | Kind::SubscribeDuration => call.answer::<u64>()?.map(|now| format!("{now} ns")),
        Kind::WaitAfter => call.answer::<u64>()?.map(|due| format!("until {due} ms")),
        Kind::RandomBytes | Kind::InsecureBytes => call.answer::<Blob>()?.map(|Blob(bytes)| hex(&bytes)),
        Kind::RandomNumber | Kind::InsecureNumber => call.answer::<u64>()?.map(|number| number.to_string()),
        Kind::Environment => call.answer::<Vec<(String, String)>>()?.map(|variables| names(&variables)),
        Kind::Response => call.answer::<Got<Head>>()?.map(|got| response(&got)),
        Kind::ReadBody => call.answer::<StreamAnswer<Blob>>()?.map(|read| body(&read)),
        Kind::Trigger | Kind::TriggerAndWait => {
            result(call, |RunHandle { id, is_cached }: &RunHandle| handle(id, *is_cached), trigger_error)?
        }
        Kind::BatchTrigger | Kind::BatchTriggerAndWait => {
            result(call, |batch: &BatchHandle| format!("{}: {} runs", batch.id, batch.runs.len()), trigger_error)?
        }
        // Who has the URL can complete the token.
        Kind::CreateToken => result(call, |Token { id, is_cached, .. }: &Token| handle(id, *is_cached), String::clone)?,
        Kind::CompleteToken | Kind::AddTags | Kind::Append | Kind::WaitToken => {
            result(call, |(): &()| "ok".into(), String::clone)?
        }
        Kind::ChangeMetadata => result(call, |(): &()| "ok".into(), |error: &MetadataError| format!("{error:?}"))?,
        Kind::Outside => Some("refused".into()),
        Kind::WaitAny | Kind::WaitAll => call.answer::<Waited>()?.map(|waited| outcomes(&waited)),
        _ => None,
    })
}

fn result<T: DeserializeOwned, E: DeserializeOwned>(
    call: &Call,
    ok: impl FnOnce(&T) -> String,
    error: impl FnOnce(&E) -> String,
) -> Result<Option<String>, HostFault> {
    Ok(call.answer::<Result<T, E>>()?.map(|answer| match &answer {
        Ok(value) => ok(value),
        Err(why) => format!("refused: {}", error(why)),
    }))
}

fn handle(id: &str, is_cached: bool) -> String {
    if is_cached { format!("{id}, which was there") } else { id.into() }
}

pub(super) fn trigger_error(error: &TriggerError) -> String {
    match error {
        TriggerError::Invalid(why) | TriggerError::QueueFull(why) => why.clone(),
        TriggerError::PayloadRejected(problems) => problems.join("; "),
    }
}

fn names(variables: &[(String, String)]) -> String {
    let names: Vec<&str> = variables.iter().map(|(name, _)| name.as_str()).collect();
    format!("{} (values are not shown)", names.join(", "))
}

fn response(got: &Got<Head>) -> String {
    match got {
        Got::NotYet => "not yet".into(),
        Got::Taken => "taken before".into(),
        Got::Failed(failed) => format!("no response: {:?}", failed.0),
        Got::Here(Head { status, headers }) => {
            let header = |(name, Blob(value)): &(String, Blob)| format!("\n{name}: {}", shown_header(name, value));
            std::iter::once(status.to_string()).chain(headers.iter().map(header)).collect()
        }
    }
}

fn body(read: &StreamAnswer<Blob>) -> String {
    match read {
        StreamAnswer::Done(Blob(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        StreamAnswer::Closed => "the end".into(),
        StreamAnswer::Failed(why) => format!("failed: {why}"),
    }
}

fn outcomes(waited: &Waited) -> String {
    let run = |run: &RunResult| match &run.output {
        Ok(output) => format!("{}: {output}", run.id),
        Err(error) => format!("{}: {:?}, {}: {}", run.id, error.status, error.name, error.message),
    };
    let outcome = |(place, outcome): &(u32, Outcome)| {
        let came = match outcome {
            Outcome::Elapsed => "the moment has come".into(),
            Outcome::Completed(None) => "completed".into(),
            Outcome::Completed(Some(value)) => format!("completed: {value}"),
            Outcome::TokenTimedOut => "timed out".into(),
            Outcome::Ended(ended) => run(ended),
            Outcome::AllEnded(ended) => ended.iter().map(run).collect::<Vec<_>>().join("\n"),
        };
        format!("{place}: {came}")
    };
    waited.outcomes.iter().map(outcome).collect::<Vec<_>>().join("\n")
}

fn hex(bytes: &[u8]) -> String {
    let shown: String = bytes.iter().take(MAX_HEX_BYTES).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > MAX_HEX_BYTES { format!("{shown}… ({} bytes)", bytes.len()) } else { shown }
}
