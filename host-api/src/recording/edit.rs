//! Journals that are made from journals: without secrets, or only their beginning.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bodies::Bodies;
use crate::context::Context;
use crate::generated::dacapo::task::metadata::MetadataError;
use crate::http::{Fields, Got, Head, REDACTED, StreamAnswer, shown_header};
use crate::journal::{self, Blob, Entry, Header, Kind, Question};
use crate::wait::Waited;
use crate::world::{BatchHandle, HostFault, Outcome, RunHandle, RunResult, Token, TriggerError};

/// Leaves out of a text what is not to be shown.
pub trait Censor {
    /// The text without it; `None`: there is nothing of it in the text.
    fn censored(&self, text: &str) -> Option<String>;

    /// Where it stands in these bytes, or begins at their end: in ascending order, none of the places over another.
    fn places(&self, bytes: &[u8]) -> Vec<Range<usize>>;

    /// Whether the environment variable of this name may be shown.
    fn keeps(&self, _variable: &str) -> bool {
        false
    }
}

/// A journal without the values of environment variables that `censor` does not keep, the values of headers and trailers of responses that are
/// secret by their names, secrets in the addresses that responses lead on to, and the URLs by which tokens are
/// completed. What `censor` knows is left out of all texts that somebody else has made, too: of what the guest was told of
/// itself, of arguments, bodies, results, refusals and metadata.
///
/// A guest that computes something from what is gone asks otherwise, and cannot be repeated with it.
///
/// # Errors
///
/// If the journal is damaged.
pub fn redacted(journal: &[u8], censor: &dyn Censor) -> Result<Vec<u8>, HostFault> {
    let mut redacted = Vec::with_capacity(journal.len());
    let mut bodies = Bodies::censored(journal, censor)?;
    for entry in journal::entries(journal)? {
        let Entry { header, answer, times_us } = entry?;
        let detail = censor.censored(header.detail);
        let header = Header { detail: detail.as_deref().unwrap_or(header.detail), ..header };
        let answer = answer.map(|answer| without_secrets(&header, answer, censor, &mut bodies)).transpose()?;
        journal::add_entry(&mut redacted, &Entry { header, answer: answer.as_deref(), times_us })?;
    }
    Ok(redacted)
}

/// The beginning of a journal: its first calls, for a run that was told something else at its beginning.
///
/// # Errors
///
/// If the journal is damaged.
pub fn beginning(journal: &[u8], calls: u64, context: &Context) -> Result<Vec<u8>, HostFault> {
    let mut beginning = Vec::new();
    let told = written(context)?;
    let question = Question::new(Kind::Context);
    let told = Entry { header: question.header(), answer: Some(&told), times_us: (0, 0) };
    journal::add_entry(&mut beginning, &told)?;
    let is_call = |entry: &Result<Entry<'_>, HostFault>| {
        !matches!(entry, Ok(Entry { header: Header { kind: Kind::Context, .. }, .. }))
    };
    let calls = usize::try_from(calls).unwrap_or(usize::MAX);
    for entry in journal::entries(journal)?.filter(is_call).take(calls) {
        journal::add_entry(&mut beginning, &entry?)?;
    }
    Ok(beginning)
}

/// What a guest was told of itself, without what `censor` knows. Ids, and what else the server has made up, stay.
pub fn redacted_context(context: &Context, censor: &dyn Censor) -> Context {
    let mut context = context.clone();
    let Context { run, task, queue, environment, organization, project, .. } = &mut context;
    let texts = [&mut task.file_path, &mut queue.name, &mut organization.name, &mut project.name];
    let others = run.tags.iter_mut().chain(&mut run.idempotency_key).chain(&mut environment.branch_name);
    texts.into_iter().chain(others).for_each(|text| censor_text(text, censor));
    context
}

fn without_secrets<'a>(
    header: &Header<'_>,
    answer: &'a [u8],
    censor: &dyn Censor,
    bodies: &mut Bodies,
) -> Result<Cow<'a, [u8]>, HostFault> {
    match header.kind {
        Kind::Context => rewritten(answer, |told: &mut Context| *told = redacted_context(told, censor)),
        Kind::Environment => rewritten(answer, |variables: &mut Vec<(String, String)>| {
            for (name, value) in variables {
                match censor.keeps(name) {
                    true => censor_text(value, censor),
                    false => *value = REDACTED.into(),
                }
            }
        }),
        Kind::Response => rewritten(answer, |got: &mut Got<Head>| redact_head(got, censor)),
        Kind::Trailers => rewritten(answer, |got: &mut Got<Option<Fields>>| redact_trailers(got, censor)),
        Kind::ReadBody => rewritten(answer, |read: &mut StreamAnswer<Blob>| {
            if let StreamAnswer::Done(Blob(piece)) = read
                && let Some(left) = bodies.next(header.exchange)
            {
                *piece = left;
            }
        }),
        Kind::Trigger | Kind::TriggerAndWait => {
            rewritten(answer, |run: &mut Result<RunHandle, TriggerError>| redact_refusal(run, censor))
        }
        Kind::BatchTrigger | Kind::BatchTriggerAndWait => {
            rewritten(answer, |batch: &mut Result<BatchHandle, TriggerError>| redact_refusal(batch, censor))
        }
        Kind::CreateToken => rewritten(answer, |created: &mut Result<Token, String>| {
            created.iter_mut().for_each(|token| token.url = REDACTED.into());
            redact_error(created, censor);
        }),
        Kind::CompleteToken | Kind::AddTags | Kind::Append | Kind::WaitToken => {
            rewritten(answer, |done: &mut Result<(), String>| redact_error(done, censor))
        }
        Kind::WaitAny | Kind::WaitAll => rewritten(answer, |waited: &mut Waited| {
            waited.outcomes.iter_mut().for_each(|(_, outcome)| redact_outcome(outcome, censor));
        }),
        Kind::MetadataAll => rewritten(answer, |metadata: &mut String| censor_text(metadata, censor)),
        Kind::MetadataGet => rewritten(answer, |value: &mut Option<String>| {
            value.iter_mut().for_each(|value| censor_text(value, censor));
        }),
        Kind::ChangeMetadata
        | Kind::MetadataSet
        | Kind::MetadataDelete
        | Kind::MetadataAppend
        | Kind::MetadataRemove
        | Kind::MetadataIncrement
        | Kind::MetadataUpdate => {
            rewritten(answer, |changed: &mut Result<(), MetadataError>| redact_metadata_error(changed, censor))
        }
        Kind::WallClock | Kind::MonotonicClock | Kind::SubscribeDuration | Kind::WaitAfter => Ok(answer.into()),
        Kind::RandomBytes | Kind::RandomNumber | Kind::InsecureBytes | Kind::InsecureNumber | Kind::InsecureSeed => {
            Ok(answer.into())
        }
        Kind::Span | Kind::Poll | Kind::Ready | Kind::FileTimes | Kind::FileHash | Kind::Outside => Ok(answer.into()),
        // What becomes of a request, in words of the host.
        Kind::Http | Kind::RequestBody | Kind::AwaitResponse => Ok(answer.into()),
        Kind::RoomInBody | Kind::WriteBody | Kind::FlushBody | Kind::FinishBody => Ok(answer.into()),
    }
}

fn redact_head(got: &mut Got<Head>, censor: &dyn Censor) {
    if let Got::Here(Head { headers, .. }) = got {
        redact_fields(headers, censor);
    }
}

fn redact_trailers(got: &mut Got<Option<Fields>>, censor: &dyn Censor) {
    if let Got::Here(Some(trailers)) = got {
        redact_fields(trailers, censor);
    }
}

fn redact_error<T>(answer: &mut Result<T, String>, censor: &dyn Censor) {
    if let Err(why) = answer {
        censor_text(why, censor);
    }
}

fn redact_refusal<T>(answer: &mut Result<T, TriggerError>, censor: &dyn Censor) {
    match answer {
        Ok(_) => {}
        Err(TriggerError::Invalid(why) | TriggerError::QueueFull(why)) => censor_text(why, censor),
        Err(TriggerError::PayloadRejected(problems)) => {
            problems.iter_mut().for_each(|problem| censor_text(problem, censor));
        }
    }
}

fn redact_metadata_error(answer: &mut Result<(), MetadataError>, censor: &dyn Censor) {
    match answer {
        Ok(()) | Err(MetadataError::TooLarge(_)) => {}
        Err(MetadataError::InvalidJson(text) | MetadataError::NotANumber(text)) => censor_text(text, censor),
    }
}

fn redact_fields(fields: &mut Fields, censor: &dyn Censor) {
    for (name, Blob(value)) in fields {
        let shown = shown_header(name, value);
        let shown = censor.censored(&shown).map_or(shown, Cow::Owned);
        // What is no text, and no secret, stays as it is.
        if std::str::from_utf8(value).is_ok() || shown == REDACTED {
            *value = Bytes::from(shown.into_owned());
        }
    }
}

fn redact_outcome(outcome: &mut Outcome, censor: &dyn Censor) {
    let run = |run: &mut RunResult| match &mut run.output {
        Ok(output) => censor_text(output, censor),
        Err(error) => {
            censor_text(&mut error.message, censor);
            error.stack.iter_mut().for_each(|stack| censor_text(stack, censor));
        }
    };
    match outcome {
        Outcome::Elapsed | Outcome::TokenTimedOut | Outcome::Completed(None) => {}
        Outcome::Completed(Some(value)) => censor_text(value, censor),
        Outcome::Ended(ended) => run(ended),
        Outcome::AllEnded(ended) => ended.iter_mut().for_each(run),
    }
}

fn censor_text(text: &mut String, censor: &dyn Censor) {
    if let Some(censored) = censor.censored(text) {
        *text = censored;
    }
}

fn rewritten<T: Serialize + DeserializeOwned>(
    answer: &[u8],
    change: impl FnOnce(&mut T),
) -> Result<Cow<'_, [u8]>, HostFault> {
    let mut value = postcard::from_bytes(answer).map_err(|_| journal::damaged())?;
    change(&mut value);
    written(&value).map(Cow::Owned)
}

fn written<T: Serialize>(value: &T) -> Result<Vec<u8>, HostFault> {
    postcard::to_stdvec(value).map_err(|error| HostFault(format!("an answer cannot be written: {error}")))
}
