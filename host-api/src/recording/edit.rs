//! Journals that are made from journals: without secrets, or only their beginning.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::http::{Got, Head, is_secret, shown_url};
use crate::journal::{self, Blob, Header, Kind, Question};
use crate::world::{HostFault, Token};

/// Stands for what is left out.
const REDACTED: &str = "[redacted]";

/// A journal without the values of environment variables, the values of headers of responses that are secret by
/// their names, secrets in the addresses that responses lead on to, and the URLs by which tokens are completed.
/// Payloads, bodies and results are left as they are.
///
/// A guest that computes something from what is gone asks otherwise, and cannot be repeated with it.
///
/// # Errors
///
/// If the journal is damaged.
pub fn redacted(journal: &[u8]) -> Result<Vec<u8>, HostFault> {
    let mut redacted = Vec::with_capacity(journal.len());
    for entry in journal::entries(journal)? {
        let (header, answer) = entry?;
        let answer = answer.map(|answer| without_secrets(header.kind, answer)).transpose()?;
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

fn without_secrets(kind: Kind, answer: &[u8]) -> Result<Cow<'_, [u8]>, HostFault> {
    match kind {
        Kind::Environment => rewritten(answer, |variables: &mut Vec<(String, String)>| {
            variables.iter_mut().for_each(|(_, value)| *value = REDACTED.into());
        }),
        Kind::Response => rewritten(answer, |got: &mut Got<Head>| {
            let Got::Here(Head { headers, .. }) = got else { return };
            for (name, Blob(value)) in headers {
                if is_secret(name) {
                    *value = REDACTED.into();
                } else if name.eq_ignore_ascii_case("location") {
                    *value = shown_url(&String::from_utf8_lossy(value)).into_bytes().into();
                }
            }
        }),
        Kind::CreateToken => rewritten(answer, |created: &mut Result<Token, String>| {
            if let Ok(token) = created {
                token.url = REDACTED.into();
            }
        }),
        _ => Ok(answer.into()),
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
