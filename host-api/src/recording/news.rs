//! Of what an attempt failed, as far as its answers tell.

use std::collections::HashMap;

use super::{Call, ReachKind, Recording, shown};
use crate::http::{Got, Head, StreamAnswer};
use crate::journal::{Blob, Kind};
use crate::wait::Waited;
use crate::world::{BatchHandle, HostFault, Outcome, RunHandle, RunResult, Token, TriggerError};

/// Most bytes that are shown of bad news.
const MAX_SHOWN_BYTES: usize = 200;

/// An answer of which an attempt may have failed: a refusal, no response or one with a status from 400, a body that broke
/// off, a run that failed, a token that timed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadNews {
    /// The call that is to be made again for another answer, from 1. Where that is the one that triggered a run or made
    /// a token, and the attempt reached others before it waited, it is the wait.
    pub call: u64,
    /// This call, for people: `http POST https://a.example`.
    pub name: String,
    /// The answer, for people: one line.
    pub answer: String,
    /// Whether the attempt began nothing new beyond the run after it. Where it did, it had got over it, perhaps.
    pub is_last: bool,
}

impl Recording {
    /// The last bad news; `None`: there were none.
    ///
    /// # Errors
    ///
    /// If the journal is damaged.
    pub fn bad_news(&self) -> Result<Option<BadNews>, HostFault> {
        let mut origins = Origins::default();
        let mut last = None;
        for (place, call) in self.calls.iter().enumerate() {
            origins.learn(place, call)?;
            if let Some(cause) = origins.cause(place, call)? {
                last = Some((place, self.to_be_repeated(cause, place)));
            }
        }
        Ok(last.map(|(told, repeated)| BadNews {
            call: repeated as u64 + 1,
            name: self.calls[repeated].header().to_string(),
            answer: one_line(&shown::answer(&self.calls[told])),
            is_last: !self.calls[told + 1..].iter().any(begins_something),
        }))
    }

    /// The place to go back to: where the cause is, unless others were reached between there and the news.
    fn to_be_repeated(&self, cause: usize, told: usize) -> usize {
        let is_wait = matches!(self.calls[told].kind, Kind::WaitAny | Kind::WaitAll);
        match is_wait && self.calls[cause + 1..told].iter().any(begins_something) {
            true => told,
            false => cause,
        }
    }
}

/// Whether something beyond the run is done that it matters to do once.
fn begins_something(call: &Call) -> bool {
    match call.reach() {
        Some(
            ReachKind::Http
            | ReachKind::Trigger
            | ReachKind::BatchTrigger
            | ReachKind::CreateToken
            | ReachKind::CompleteToken,
        ) => true,
        Some(
            ReachKind::Metadata
            | ReachKind::Tags
            | ReachKind::Stream
            | ReachKind::File
            | ReachKind::Environment
            | ReachKind::Wait,
        )
        | None => false,
    }
}

fn one_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line[..line.floor_char_boundary(MAX_SHOWN_BYTES)].to_owned()
}

/// By which calls things came about that news come of later.
#[derive(Default)]
struct Origins {
    /// By the numbers of requests.
    requests: HashMap<u32, usize>,
    /// By the ids of runs and tokens.
    made: HashMap<String, usize>,
}

impl Origins {
    fn learn(&mut self, place: usize, call: &Call) -> Result<(), HostFault> {
        match call.kind {
            Kind::Http => {
                self.requests.insert(call.exchange, place);
            }
            Kind::Trigger | Kind::TriggerAndWait => {
                if let Some(Ok(run)) = call.answer::<Result<RunHandle, TriggerError>>()? {
                    self.made.insert(run.id, place);
                }
            }
            Kind::BatchTrigger | Kind::BatchTriggerAndWait => {
                if let Some(Ok(batch)) = call.answer::<Result<BatchHandle, TriggerError>>()? {
                    self.made.extend(batch.runs.into_iter().map(|run| (run.id, place)));
                }
            }
            Kind::CreateToken => {
                if let Some(Ok(token)) = call.answer::<Result<Token, String>>()? {
                    self.made.insert(token.id, place);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The place of the call of which these news come, if they are bad.
    fn cause(&self, place: usize, call: &Call) -> Result<Option<usize>, HostFault> {
        let request = || self.requests.get(&call.exchange).copied().unwrap_or(place);
        Ok(match call.kind {
            Kind::Response => match call.answer::<Got<Head>>()? {
                Some(Got::Here(Head { status, .. })) => (status >= 400).then(request),
                Some(Got::Failed(_)) => Some(request()),
                Some(Got::NotYet | Got::Taken) | None => None,
            },
            Kind::ReadBody => match call.answer::<StreamAnswer<Blob>>()? {
                Some(StreamAnswer::Failed(_)) => Some(request()),
                Some(StreamAnswer::Done(_) | StreamAnswer::Closed) | None => None,
            },
            Kind::WaitAny | Kind::WaitAll => match call.answer::<Waited>()? {
                Some(waited) => bad_outcome(&waited).map(|of| self.made.get(of).copied().unwrap_or(place)),
                None => None,
            },
            _ if call.reach().is_some() && call.kind != Kind::Http => call.has_been_refused()?.then_some(place),
            _ => None,
        })
    }
}

/// The run or the token of which bad news came, by its id.
fn bad_outcome(waited: &Waited) -> Option<&str> {
    let failed = |run: &'_ RunResult| run.output.is_err();
    waited.outcomes.iter().find_map(|(place, outcome)| match outcome {
        Outcome::Elapsed | Outcome::Completed(_) => None,
        Outcome::TokenTimedOut => {
            let token = waited.tokens.iter().find(|(of, _)| of == place);
            Some(token.map_or("", |(_, id)| id.as_str()))
        }
        Outcome::Ended(run) => failed(run).then_some(run.id.as_str()),
        Outcome::AllEnded(runs) => runs.iter().find(|run| failed(run)).map(|run| run.id.as_str()),
    })
}
