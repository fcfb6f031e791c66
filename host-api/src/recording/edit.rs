//! Journals that are made from journals: without secrets, or only their beginning.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::http::{Fields, Got, Head, REDACTED, StreamAnswer, shown_header};
use crate::journal::{self, Blob, Header, Kind, Question};
use crate::wait::Waited;
use crate::world::{HostFault, Outcome, RunResult, Token};

/// Leaves out of a text what is not to be shown.
pub trait Censor {
    /// The text without it; `None`: there is nothing of it in the text.
    fn censored(&self, text: &str) -> Option<String>;
}

/// A journal without the values of environment variables, the values of headers and trailers of responses that are
/// secret by their names, secrets in the addresses that responses lead on to, and the URLs by which tokens are
/// completed. What `censor` knows is left out of arguments, bodies, results and metadata, too, where it stands in one
/// piece.
///
/// A guest that computes something from what is gone asks otherwise, and cannot be repeated with it.
///
/// # Errors
///
/// If the journal is damaged.
pub fn redacted(journal: &[u8], censor: &dyn Censor) -> Result<Vec<u8>, HostFault> {
    let mut redacted = Vec::with_capacity(journal.len());
    for entry in journal::entries(journal)? {
        let (header, answer) = entry?;
        let detail = censor.censored(header.detail);
        let header = Header { detail: detail.as_deref().unwrap_or(header.detail), ..header };
        let answer = answer.map(|answer| without_secrets(header.kind, answer, censor)).transpose()?;
        journal::add_entry(&mut redacted, &header, answer.as_deref())?;
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
    journal::add_entry(&mut beginning, &Question::new(Kind::Context).header(), Some(&told))?;
    let is_call = |entry: &Result<(Header<'_>, Option<&[u8]>), HostFault>| {
        !matches!(entry, Ok((Header { kind: Kind::Context, .. }, _)))
    };
    let calls = usize::try_from(calls).unwrap_or(usize::MAX);
    for entry in journal::entries(journal)?.filter(is_call).take(calls) {
        let (header, answer) = entry?;
        journal::add_entry(&mut beginning, &header, answer)?;
    }
    Ok(beginning)
}

fn without_secrets<'a>(kind: Kind, answer: &'a [u8], censor: &dyn Censor) -> Result<Cow<'a, [u8]>, HostFault> {
    match kind {
        Kind::Environment => rewritten(answer, |variables: &mut Vec<(String, String)>| {
            variables.iter_mut().for_each(|(_, value)| *value = REDACTED.into());
        }),
        Kind::Response => rewritten(answer, |got: &mut Got<Head>| {
            if let Got::Here(Head { headers, .. }) = got {
                redact_fields(headers, censor);
            }
        }),
        Kind::Trailers => rewritten(answer, |got: &mut Got<Option<Fields>>| {
            if let Got::Here(Some(trailers)) = got {
                redact_fields(trailers, censor);
            }
        }),
        Kind::ReadBody => rewritten(answer, |read: &mut StreamAnswer<Blob>| {
            if let StreamAnswer::Done(Blob(bytes)) = read
                && let Some(text) = std::str::from_utf8(bytes).ok().and_then(|text| censor.censored(text))
            {
                *bytes = text.into();
            }
        }),
        Kind::CreateToken => rewritten(answer, |created: &mut Result<Token, String>| {
            if let Ok(token) = created {
                token.url = REDACTED.into();
            }
        }),
        Kind::WaitAny | Kind::WaitAll => rewritten(answer, |waited: &mut Waited| {
            waited.outcomes.iter_mut().for_each(|(_, outcome)| redact_outcome(outcome, censor));
        }),
        Kind::MetadataAll => rewritten(answer, |metadata: &mut String| censor_text(metadata, censor)),
        Kind::MetadataGet => rewritten(answer, |value: &mut Option<String>| {
            value.iter_mut().for_each(|value| censor_text(value, censor));
        }),
        _ => Ok(answer.into()),
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
