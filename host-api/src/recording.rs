//! A journal, read as what it is for a reader: the calls of an attempt, one after the other, and
//! what they were answered.
//!
//! The guest of [`crate::Journal`] must ask the same as before. Here nobody asks: the calls are
//! listed for people ([`Recording::steps`]), and for whoever compares two attempts
//! ([`Recording::reaches`]); a [`crate::tape::Tape`] answers from them a guest that may ask otherwise.
//!
//! What is shown holds no secrets that can be told by their names; what a tape answers with does.

mod bodies;
mod calls;
mod edit;
mod news;
mod shown;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use bytes::Bytes;
use serde::de::DeserializeOwned;

pub use self::calls::{CallSeen, HttpSeen};
pub use self::edit::{Censor, beginning, redacted, redacted_context};
pub use self::news::BadNews;
use crate::context::Context;
use crate::http::{Got, Head, StreamAnswer, body_digest};
use crate::journal::{self, Blob, Entry, Header, Kind, PieceDigest};
use crate::world::HostFault;

/// Stands below a request whose body counts as equal to every other of which as little is known.
const NOT_WHOLE: &str = "\n(not all of its body was sent: it is not compared)";

/// The calls of an attempt.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// What the guest was told at its beginning; `None`: it asked nothing at all.
    pub context: Option<Context>,
    pub(crate) calls: Vec<Call>,
}

/// One call, and what it was answered.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) kind: Kind,
    pub(crate) exchange: u32,
    pub(crate) text: String,
    pub(crate) key: u64,
    pub(crate) detail: String,
    pub(crate) digest: u64,
    /// When it was made, and answered: microseconds since the attempt began. 0: it is not known.
    times_us: (u64, u64),
    /// `None`: the attempt was cut off before.
    answer: Option<Bytes>,
}

/// A call, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which call it is, from 1.
    pub number: u64,
    /// For example `wall-clock.now`, or `http GET https://example.com`.
    pub call: String,
    /// The arguments, where there are more: a beginning of them, if they are long.
    pub arguments: String,
    /// What it was answered; `None`: it was not.
    pub answer: Option<String>,
}

/// A sort of call that reaches beyond the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReachKind {
    /// An HTTP request.
    Http,
    /// A run was triggered.
    Trigger,
    /// A batch of runs was triggered.
    BatchTrigger,
    /// A wait token was made.
    CreateToken,
    /// A wait token was completed.
    CompleteToken,
    /// The metadata of a relative were changed.
    Metadata,
    /// Tags were added.
    Tags,
    /// Something was added to a stream.
    Stream,
    /// A file outside the guest's directory was asked for, and refused as always.
    File,
    /// Variables were asked for. No call: only tapes say so.
    Environment,
    /// Something was waited for. No call: only tapes say so.
    Wait,
}

/// A call that reaches beyond the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// What sort of call.
    pub kind: ReachKind,
    /// Whom it reaches.
    pub target: String,
    /// The arguments, for people.
    pub arguments: String,
    /// Tells all arguments apart: the whole URL and body of a request, but not its headers; payload and options of a
    /// trigger. 0: not known.
    pub digest: u64,
}

impl Reach {
    /// What a guest wanted to know that nobody knows.
    pub(crate) fn unknown(kind: ReachKind, target: String) -> Self {
        Self { kind, target, arguments: String::new(), digest: 0 }
    }
}

impl Kind {
    /// How calls of this kind reach beyond the run, if they do.
    pub(crate) fn reach(self) -> Option<ReachKind> {
        Some(match self {
            Self::Http => ReachKind::Http,
            Self::Trigger | Self::TriggerAndWait => ReachKind::Trigger,
            Self::BatchTrigger | Self::BatchTriggerAndWait => ReachKind::BatchTrigger,
            Self::CreateToken => ReachKind::CreateToken,
            Self::CompleteToken => ReachKind::CompleteToken,
            Self::ChangeMetadata => ReachKind::Metadata,
            Self::AddTags => ReachKind::Tags,
            Self::Append => ReachKind::Stream,
            Self::Outside => ReachKind::File,
            _ => return None,
        })
    }

    /// Whether calls of this kind change the run's own metadata.
    pub(crate) fn changes_metadata(self) -> bool {
        matches!(
            self,
            Self::MetadataSet
                | Self::MetadataDelete
                | Self::MetadataAppend
                | Self::MetadataRemove
                | Self::MetadataIncrement
                | Self::MetadataUpdate
        )
    }
}

impl Recording {
    /// Reads the whole journal of an attempt.
    ///
    /// # Errors
    ///
    /// If it is damaged, or of the format of another version of the server.
    pub fn read(journal: &[u8]) -> Result<Self, HostFault> {
        let mut recording = Self::default();
        for entry in journal::entries(journal)? {
            let Entry { header, answer, times_us } = entry?;
            let call = Call { answer: answer.map(Bytes::copy_from_slice), times_us, ..Call::unanswered(&header) };
            match call.kind {
                Kind::Context => recording.context = call.answer()?,
                _ => recording.calls.push(call),
            }
        }
        Ok(recording)
    }

    /// Calls in all.
    pub fn len(&self) -> u64 {
        self.calls.len() as u64
    }

    /// Whether the attempt asked nothing.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// All calls in their order, for people.
    pub fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        (1..).zip(&self.calls).map(|(number, call)| Step {
            number,
            call: call.header().to_string(),
            arguments: call.detail.clone(),
            answer: call.answer.is_some().then(|| shown::answer(call)),
        })
    }

    /// The calls that reach beyond the run, in their order.
    ///
    /// # Errors
    ///
    /// If the journal is damaged.
    pub fn reaches(&self) -> Result<Vec<Reach>, HostFault> {
        let responses = self.responses()?;
        let reaches = self.calls.iter().filter_map(|call| Some((call, call.reach()?)));
        Ok(reaches.map(|(call, kind)| call.to_reach(kind, responses.get(&call.exchange))).collect())
    }

    /// The variables that the guest saw, with their values; none if it did not look.
    ///
    /// # Errors
    ///
    /// If the journal is damaged.
    pub fn variables(&self) -> Result<Vec<(String, String)>, HostFault> {
        let seen = self.calls.iter().rfind(|call| call.kind == Kind::Environment);
        Ok(seen.map(Call::answer).transpose()?.flatten().unwrap_or_default())
    }

    /// Tells apart what attempts did to their own metadata.
    pub fn metadata_digest(&self) -> u64 {
        self.calls.iter().fold(0, |before, call| after_change(before, &call.header()))
    }

    /// Bytes that it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let bytes = |call: &Call| {
            size_of::<Call>() + call.text.len() + call.detail.len() + call.answer.as_ref().map_or(0, Bytes::len)
        };
        self.calls.iter().map(bytes).sum()
    }

    /// The requests.
    pub(crate) fn requests(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.kind == Kind::Http)
    }

    /// What came of each request, by its number.
    ///
    /// # Errors
    ///
    /// If the journal is damaged.
    pub(crate) fn responses(&self) -> Result<HashMap<u32, Response>, HostFault> {
        let mut responses: HashMap<u32, Response> = HashMap::new();
        let mut read_before = None;
        for call in &self.calls {
            if call.exchange > 0 {
                responses.entry(call.exchange).or_default().add(call)?;
            }
            // Who reads and then waits, waits for more.
            if let (Kind::Poll, Some(exchange)) = (call.kind, read_before) {
                responses.entry(exchange).or_default().was_awaited = true;
            }
            read_before = (call.kind == Kind::ReadBody).then_some(call.exchange);
        }
        Ok(responses)
    }

    /// Whether the attempt was stopped in its last call: that has no answer.
    pub fn is_cut_off(&self) -> bool {
        self.calls.last().is_some_and(|call| call.answer.is_none())
    }
}

/// What tells apart what attempts did to their own metadata, after this call.
pub(crate) fn after_change(before: u64, call: &Header<'_>) -> u64 {
    match call.kind.changes_metadata() {
        true => journal::digest_of(&(before, call.kind, call.text, call.digest)),
        false => before,
    }
}

/// The body of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Sent {
    /// There was none.
    #[default]
    Nothing,
    /// Not all of it is known.
    Part,
    /// All of it; tells bodies apart, and is not 0.
    Whole(u64),
}

impl Sent {
    /// As the questions about bodies say it.
    fn of(key: u64) -> Self {
        if key == 0 { Self::Part } else { Self::Whole(key) }
    }

    /// Tells bodies apart; 0: it is not known.
    pub(crate) fn digest(self) -> u64 {
        match self {
            Self::Nothing => body_digest(PieceDigest::default()),
            Self::Part => 0,
            Self::Whole(digest) => digest,
        }
    }
}

/// What came of a request, as far as the guest looked.
#[derive(Default)]
pub(crate) struct Response {
    pub(crate) got: Option<Got<Head>>,
    pub(crate) sent: Sent,
    pub(crate) body: Vec<Bytes>,
    pub(crate) end: BodyEnd,
    /// Whether the guest waited for what did not come any more: for the response, or the rest of its body.
    pub(crate) was_awaited: bool,
    /// Whether it came before the guest had written the whole body of the request.
    pub(crate) is_early: bool,
}

/// How the body of a response ended, as far as the guest read it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum BodyEnd {
    /// The guest did not read so far.
    #[default]
    Unknown,
    /// Well.
    Whole,
    /// The guest was told that it was broken off.
    Broken,
}

impl Response {
    fn add(&mut self, call: &Call) -> Result<(), HostFault> {
        match call.kind {
            Kind::Response => match call.answer::<Got<Head>>()? {
                Some(got @ (Got::Here(_) | Got::Failed(_))) => {
                    self.is_early = self.sent == Sent::Part;
                    self.was_awaited = false;
                    self.end = if has_no_body(&got) { BodyEnd::Whole } else { BodyEnd::Unknown };
                    self.got = Some(got);
                }
                Some(Got::NotYet) => self.was_awaited = true,
                Some(Got::Taken) | None => {}
            },
            Kind::AwaitResponse => self.was_awaited = self.got.is_none(),
            Kind::RequestBody | Kind::FinishBody => self.sent = Sent::of(call.key),
            Kind::ReadBody => {
                self.was_awaited = false;
                match call.answer::<StreamAnswer<Blob>>()? {
                    Some(StreamAnswer::Done(Blob(bytes))) => {
                        self.body.extend(Some(bytes).filter(|bytes| !bytes.is_empty()))
                    }
                    Some(StreamAnswer::Closed) => self.end = BodyEnd::Whole,
                    Some(StreamAnswer::Failed(_)) => self.end = BodyEnd::Broken,
                    None => {}
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether a response has no body, whether or not somebody looked.
fn has_no_body(got: &Got<Head>) -> bool {
    let Got::Here(Head { status, headers }) = got else { return false };
    let is_empty =
        |(name, Blob(value)): &(String, Blob)| name.eq_ignore_ascii_case("content-length") && &**value == b"0";
    matches!(status, 204 | 304) || headers.iter().any(is_empty)
}

impl Call {
    /// A call that has no answer.
    pub(crate) fn unanswered(header: &Header<'_>) -> Self {
        let Header { kind, exchange, text, key, detail, digest } = *header;
        Self { kind, exchange, text: text.into(), key, detail: detail.into(), digest, times_us: (0, 0), answer: None }
    }

    /// The answer, of the type that calls of this kind have.
    pub(crate) fn answer<T: DeserializeOwned>(&self) -> Result<Option<T>, HostFault> {
        self.answer.as_deref().map(postcard::from_bytes).transpose().map_err(|_| journal::damaged())
    }

    pub(crate) fn header(&self) -> Header<'_> {
        let Self { kind, exchange, text, key, detail, digest, .. } = self;
        Header { kind: *kind, exchange: *exchange, text, key: *key, detail, digest: *digest }
    }

    pub(crate) fn reach(&self) -> Option<ReachKind> {
        self.kind.reach()
    }

    fn to_reach(&self, kind: ReachKind, response: Option<&Response>) -> Reach {
        let (target, mut arguments) = match kind {
            // The first line names the request, those below are its headers.
            ReachKind::Http => {
                let (target, headers) = self.detail.split_once('\n').unwrap_or((&self.detail, ""));
                (target.to_owned(), headers.to_owned())
            }
            _ => (self.text.clone(), self.detail.clone()),
        };
        let digest = match kind {
            // The target is shown without secrets, and cut; the key is of all of it.
            ReachKind::Http => match response.map(|response| response.sent).unwrap_or_default() {
                Sent::Part => {
                    arguments.push_str(NOT_WHOLE);
                    0
                }
                sent @ (Sent::Nothing | Sent::Whole(_)) => journal::digest_of(&(self.key, sent.digest())).max(1),
            },
            _ => journal::digest_of(&(self.key, self.digest)),
        };
        Reach { kind, target, arguments, digest }
    }

    /// Whether the answer is an error: the second of two, in every answer of a call that reaches beyond
    /// the run, but for HTTP.
    fn has_been_refused(&self) -> Result<bool, HostFault> {
        match self.answer.as_deref().and_then(<[u8]>::first) {
            None | Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(_) => Err(journal::damaged()),
        }
    }
}
