//! The calls of an attempt that reach beyond it, or wait, for people: with what came of them, and when.

use std::collections::HashMap;

use super::{Call, ReachKind, Recording, shown};
use crate::generated::dacapo::task::metadata::MetadataError;
use crate::http::{Got, Head, StreamAnswer};
use crate::journal::{Blob, Kind};
use crate::wait::Waited;
use crate::world::{BatchHandle, HostFault, Outcome, RunHandle, RunResult, Token, TriggerError};

/// Most runs that are named of one call.
const MAX_RUNS: usize = 100;

/// A call that reaches beyond the run, or waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallSeen {
    /// Which call it is of all that the attempt has made, from 1.
    pub number: u64,
    /// What sort of call.
    pub kind: ReachKind,
    /// Whom it reaches: method and URL, a task, a token, a relative, a stream; of a wait and a batch, how many things.
    pub target: String,
    /// The arguments: a beginning of them, if they are long.
    pub arguments: String,
    /// When it was made: microseconds since the attempt began.
    pub asked_us: Option<u64>,
    /// When the last was heard of it, by the same clock.
    pub answered_us: Option<u64>,
    /// What there is to say of a request.
    pub http: Option<HttpSeen>,
    /// What was wrong: it was refused, there was no response, a body broke off, a run that was waited for failed, a token
    /// timed out.
    pub error: Option<String>,
    /// Whether the attempt was cut off before the answer.
    pub is_unanswered: bool,
    /// The runs that it has made or waited for, 100 at most.
    pub runs: Vec<String>,
    /// The token that it has made or waited for: the first.
    pub token: Option<String>,
}

/// An HTTP request, as far as the guest looked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpSeen {
    /// `GET` ….
    pub method: String,
    /// Without what is secret by its name.
    pub url: String,
    /// With its port, where it has one.
    pub host: String,
    /// Of the response.
    pub status: Option<u16>,
    /// Bytes that the guest has written of the body.
    pub request_bytes: Option<u64>,
    /// Bytes that it has read of the response's.
    pub response_bytes: u64,
}

impl Recording {
    /// The first `most` of these calls, in their order, and whether there are more.
    ///
    /// # Errors
    ///
    /// If the journal is damaged.
    pub fn calls_seen(&self, most: usize) -> Result<(Vec<CallSeen>, bool), HostFault> {
        let mut seen: Vec<CallSeen> = Vec::new();
        let mut requests: HashMap<u32, usize> = HashMap::new();
        let mut is_cut = false;
        for (number, call) in (1..).zip(&self.calls) {
            match kind_of(call) {
                Some(_) if seen.len() == most => is_cut = true,
                Some(kind) => {
                    if call.exchange > 0 {
                        requests.insert(call.exchange, seen.len());
                    }
                    seen.push(call.seen(number, kind)?);
                }
                None => {
                    if let Some(request) = requests.get(&call.exchange) {
                        seen[*request].learn(call)?;
                    }
                }
            }
        }
        Ok((seen, is_cut))
    }
}

fn kind_of(call: &Call) -> Option<ReachKind> {
    match call.kind {
        Kind::WaitAny | Kind::WaitAll => Some(ReachKind::Wait),
        _ => call.reach(),
    }
}

fn known(us: u64) -> Option<u64> {
    (us > 0).then_some(us)
}

impl Call {
    fn seen(&self, number: u64, kind: ReachKind) -> Result<CallSeen, HostFault> {
        let (asked_us, answered_us) = self.times_us;
        let mut seen = CallSeen {
            number,
            kind,
            target: self.text.clone(),
            arguments: self.detail.clone(),
            asked_us: known(asked_us),
            answered_us: known(answered_us),
            http: None,
            error: None,
            is_unanswered: self.answer.is_none(),
            runs: Vec::new(),
            token: None,
        };
        match self.kind {
            Kind::Http => {
                let (request, headers) = self.detail.split_once('\n').unwrap_or((&self.detail, ""));
                (seen.target, seen.arguments) = (request.to_owned(), headers.to_owned());
                seen.http = Some(self.request(request));
            }
            Kind::Trigger | Kind::TriggerAndWait => match self.answer::<Result<RunHandle, TriggerError>>()? {
                Some(Ok(run)) => seen.runs.push(run.id),
                Some(Err(error)) => seen.error = Some(shown::trigger_error(&error)),
                None => {}
            },
            Kind::BatchTrigger | Kind::BatchTriggerAndWait => {
                match self.answer::<Result<BatchHandle, TriggerError>>()? {
                    Some(Ok(batch)) => seen.runs = batch.runs.into_iter().take(MAX_RUNS).map(|run| run.id).collect(),
                    Some(Err(error)) => seen.error = Some(shown::trigger_error(&error)),
                    None => {}
                }
            }
            Kind::CreateToken => match self.answer::<Result<Token, String>>()? {
                Some(Ok(token)) => seen.token = Some(token.id),
                Some(Err(error)) => seen.error = Some(error),
                None => {}
            },
            Kind::CompleteToken => {
                seen.token = Some(self.text.clone());
                seen.error = self.answer::<Result<(), String>>()?.and_then(Result::err);
            }
            Kind::AddTags | Kind::Append => seen.error = self.answer::<Result<(), String>>()?.and_then(Result::err),
            Kind::ChangeMetadata => {
                let answer = self.answer::<Result<(), MetadataError>>()?;
                seen.error = answer.and_then(Result::err).map(|error| format!("{error:?}"));
            }
            Kind::WaitAny | Kind::WaitAll => {
                if let Some(waited) = self.answer::<Waited>()? {
                    seen.waited_for(waited);
                }
            }
            _ => {}
        }
        Ok(seen)
    }

    fn request(&self, shown: &str) -> HttpSeen {
        let (method, url) = shown.split_once(' ').unwrap_or(("", shown));
        // `GET https://host:port`
        let host = self.text.rsplit_once("://").map_or("", |(_, host)| host);
        HttpSeen { method: method.into(), url: url.into(), host: host.into(), ..HttpSeen::default() }
    }
}

impl CallSeen {
    /// What a later call says of this request.
    fn learn(&mut self, call: &Call) -> Result<(), HostFault> {
        let Some(http) = &mut self.http else { return Ok(()) };
        match call.kind {
            Kind::Response => match call.answer::<Got<Head>>()? {
                Some(Got::Here(Head { status, .. })) => http.status = Some(status),
                Some(Got::Failed(failed)) => self.error = Some(format!("no response: {:?}", failed.0)),
                Some(Got::NotYet | Got::Taken) | None => return Ok(()),
            },
            Kind::ReadBody => match call.answer::<StreamAnswer<Blob>>()? {
                Some(StreamAnswer::Done(Blob(piece))) => http.response_bytes += piece.len() as u64,
                Some(StreamAnswer::Closed) => {}
                Some(StreamAnswer::Failed(why)) => self.error = Some(format!("the body broke off: {why}")),
                None => return Ok(()),
            },
            Kind::RequestBody | Kind::FinishBody => {
                http.request_bytes = call.detail.parse().ok();
                return Ok(());
            }
            _ => return Ok(()),
        }
        self.answered_us = known(call.times_us.1).or(self.answered_us);
        Ok(())
    }

    /// What came of what was waited for.
    fn waited_for(&mut self, waited: Waited) {
        self.token = waited.tokens.into_iter().next().map(|(_, id)| id);
        for (_, outcome) in waited.outcomes {
            match outcome {
                Outcome::Elapsed | Outcome::Completed(_) => {}
                Outcome::TokenTimedOut => self.error = Some("the token timed out".into()),
                Outcome::Ended(run) => self.ended(run),
                Outcome::AllEnded(runs) => runs.into_iter().for_each(|run| self.ended(run)),
            }
        }
    }

    fn ended(&mut self, run: RunResult) {
        if let Err(error) = run.output
            && self.error.is_none()
        {
            self.error = Some(format!("{}: {}: {}", run.id, error.name, error.message));
        }
        if self.runs.len() < MAX_RUNS {
            self.runs.push(run.id);
        }
    }
}
