//! The journal of an attempt: every answer of the host that the guest could not have computed, in
//! the order in which it was given.
//!
//! A guest that gets the same answers asks the same questions. So an attempt whose instance is gone
//! is brought back by a new instance that gets its answers from here, until they are used up; from
//! then on the answers are new, and are recorded in their turn. What an entry holds says
//! [`question`], and when it was asked and answered [`times`]. Nothing that the guest does before the answers are used up has
//! an effect outside.
//!
//! A call that had not been answered when the journal was last written is in it as a question alone:
//! it is the first call with a new answer.

mod blob;
mod question;
#[cfg(test)]
mod tests;
mod times;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::blob::Blob;
pub(crate) use self::question::Header;
pub(crate) use self::question::{Kind, PieceDigest, Question, digest_of};
pub use self::question::{NonDeterministic, UsedUp};
use self::times::{Clock, TIMED, split_time};
use crate::context::Context;
use crate::tape::Notes;
use crate::world::HostFault;

/// The first byte of a journal. Another one for every change of what guests are asked to repeat: a journal of another format
/// is refused, where it would else be the guest that seems not to be deterministic.
const FORMAT: u8 = 2;
/// Stands before each answer, so that even an answer without content is not mistaken for none.
const ANSWERED: u8 = 0xA5;
/// What stands before an answer: [`ANSWERED`], and the length of the answer in four bytes, the least
/// first.
const MARK_BYTES: usize = 5;

/// What follows once the past is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beyond {
    /// New answers, which are recorded.
    Live,
    /// Nothing: the guest is stopped.
    Nothing,
}

/// The journal of one attempt. Clones share it.
#[derive(Clone)]
pub struct Journal(Option<Arc<Mutex<State>>>);

struct State {
    /// What an earlier instance recorded; empty once that is used up.
    past: Vec<u8>,
    /// The next entry in it.
    next: usize,
    is_resuming: bool,
    beyond: Beyond,
    is_used_up: bool,
    /// Calls so far.
    calls: u64,
    /// Bytes of the whole journal.
    bytes: usize,
    max_bytes: usize,
    /// The last of these bytes, those that are not yet kept; `None`: recording has stopped for good.
    unwritten: Option<Vec<u8>>,
    /// What the guest was told at its beginning: recorded with its first question, so that an attempt
    /// that asks nothing has no journal.
    context: Option<Context>,
    /// Where questions are noted instead.
    notes: Option<Notes>,
    clock: Clock,
    /// Whether the time of the next answer is to be recorded.
    answer_is_timed: bool,
}

/// What was recorded and is not yet kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Unwritten {
    /// The next segment. Segments of an attempt, one after the other, are its journal.
    pub segment: Vec<u8>,
    /// To be given to [`Journal::written`].
    pub up_to: u64,
}

impl Journal {
    /// Records nothing.
    pub fn off() -> Self {
        Self(None)
    }

    /// Records an attempt from its beginning, `max_bytes` at most.
    pub fn recording(max_bytes: usize) -> Self {
        Self::resuming(Vec::new(), max_bytes)
    }

    /// Answers from what an earlier instance of the attempt recorded, until that is used up, and
    /// goes on recording.
    pub fn resuming(segments: Vec<Vec<u8>>, max_bytes: usize) -> Self {
        Self::of(segments.concat(), Beyond::Live, max_bytes)
    }

    /// Answers from a whole journal, and from nothing else: a guest that asks more is stopped with
    /// [`UsedUp`], so that none of its calls has an effect.
    pub fn repeating(journal: Vec<u8>) -> Self {
        Self::of(journal, Beyond::Nothing, 0)
    }

    /// Has no answers and records none: questions are noted.
    pub(crate) fn noting(notes: Notes) -> Self {
        Self::from(State { unwritten: None, notes: Some(notes), ..State::of(Vec::new(), Beyond::Live, 0) })
    }

    fn of(past: Vec<u8>, beyond: Beyond, max_bytes: usize) -> Self {
        Self::from(State::of(past, beyond, max_bytes))
    }

    fn from(state: State) -> Self {
        Self(Some(Arc::new(Mutex::new(state))))
    }

    /// The guest begins, and is told this; or what an earlier instance of the attempt was told. It is `now_ms`: milliseconds
    /// since 1970, by the clock of [`Attempt::started_at`](crate::context::Attempt).
    ///
    /// # Errors
    ///
    /// [`HostFault`] if the journal cannot be read.
    pub fn begin(&self, context: Context, now_ms: u64) -> wasmtime::Result<Context> {
        let Some(mut state) = self.state() else { return Ok(context) };
        state.clock = Clock::since(context.attempt.started_at, now_ms);
        if !state.is_resuming {
            state.context = Some(context.clone());
            return Ok(context);
        }
        if state.past.is_empty() {
            return Ok(context);
        }
        let told = state.ask(&Question::new(Kind::Context))?.unwrap_or(context);
        state.calls = 0;
        state.clock = Clock::since(told.attempt.started_at, now_ms);
        Ok(told)
    }

    /// Whether a guest asked more than [`Self::repeating`] had answers for.
    pub fn is_used_up(&self) -> bool {
        self.state().is_some_and(|state| state.is_used_up)
    }

    /// What was recorded and is not yet kept; `None`: nothing.
    pub fn unwritten(&self) -> Option<Unwritten> {
        let state = self.state()?;
        let segment = state.unwritten.clone().filter(|segment| !segment.is_empty())?;
        Some(Unwritten { segment, up_to: state.bytes as u64 })
    }

    /// Bytes that it holds in memory.
    pub fn held_bytes(&self) -> usize {
        self.state().map_or(0, |state| state.past.len() + state.unwritten.as_ref().map_or(0, Vec::capacity))
    }

    /// What [`Self::unwritten`] gave is kept now, up to there.
    pub fn written(&self, up_to: u64) {
        let Some(mut state) = self.state() else { return };
        let bytes = state.bytes as u64;
        if let Some(unwritten) = &mut state.unwritten {
            let later = usize::try_from(bytes.saturating_sub(up_to)).unwrap_or(usize::MAX);
            *unwritten = unwritten.split_off(unwritten.len().saturating_sub(later));
        }
    }

    /// Whether the whole attempt is on record: `false` once it passed the limit of bytes, or where
    /// nothing is recorded.
    pub fn is_complete(&self) -> bool {
        self.state().is_some_and(|state| state.unwritten.is_some())
    }

    /// Whether answers still come from an earlier instance, so that nothing may have an effect.
    pub fn is_resuming(&self) -> bool {
        self.state().is_some_and(|state| state.is_resuming)
    }

    /// The guest has returned.
    ///
    /// # Errors
    ///
    /// [`NonDeterministic`] if an earlier instance of the attempt had gone further, [`HostFault`] if
    /// the journal cannot be read.
    pub fn ended(&self) -> wasmtime::Result<()> {
        let Some(state) = self.state() else { return Ok(()) };
        if !state.is_resuming {
            return Ok(());
        }
        match state.header()? {
            Some((header, _)) => Err(NonDeterministic::at_end(state.calls + 1, &header).into()),
            None => Ok(()),
        }
    }

    /// The answer that an earlier instance got to this question, or that of `live`, which is recorded.
    pub(crate) async fn ask<T: Serialize + DeserializeOwned>(
        &self,
        question: impl FnOnce() -> Question,
        live: impl Future<Output = wasmtime::Result<T>>,
    ) -> wasmtime::Result<T> {
        if let Some(answer) = self.past(question)? {
            return Ok(answer);
        }
        let answer = live.await?;
        self.keep(&answer);
        Ok(answer)
    }

    /// The same, for an answer that is there at once.
    pub(crate) fn ask_now<T: Serialize + DeserializeOwned>(
        &self,
        question: impl FnOnce() -> Question,
        live: impl FnOnce() -> wasmtime::Result<T>,
    ) -> wasmtime::Result<T> {
        if let Some(answer) = self.past(question)? {
            return Ok(answer);
        }
        let answer = live()?;
        self.keep(&answer);
        Ok(answer)
    }

    /// The answer that an earlier instance got; `None`: there is none, and the next thing is to
    /// [`Self::keep`] a new one.
    pub(crate) fn past<T: DeserializeOwned>(&self, question: impl FnOnce() -> Question) -> wasmtime::Result<Option<T>> {
        match self.state() {
            Some(mut state) if state.is_resuming || state.unwritten.is_some() || state.notes.is_some() => {
                state.ask(&question())
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Records the answer to the last question.
    pub(crate) fn keep<T: Serialize>(&self, answer: &T) {
        if let Some(mut state) = self.state() {
            state.append_answer(answer);
        }
    }

    fn state(&self) -> Option<MutexGuard<'_, State>> {
        // What a panic could leave behind is never worse than a journal that cannot be read.
        self.0.as_ref().map(|state| state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Journal {
    /// Shows no answers: secrets are among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state() {
            Some(state) => write!(f, "Journal({} calls, {} bytes)", state.calls, state.bytes),
            None => f.write_str("Journal(off)"),
        }
    }
}

impl fmt::Debug for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unwritten({} bytes, up to {})", self.segment.len(), self.up_to)
    }
}

impl State {
    fn of(past: Vec<u8>, beyond: Beyond, max_bytes: usize) -> Self {
        let bytes = past.len();
        Self {
            next: 0,
            is_resuming: bytes > 0 || beyond == Beyond::Nothing,
            beyond,
            is_used_up: false,
            past,
            calls: 0,
            bytes,
            max_bytes,
            unwritten: (bytes <= max_bytes).then(Vec::new),
            context: None,
            notes: None,
            clock: Clock::since(0, 0),
            answer_is_timed: false,
        }
    }

    fn ask<T: DeserializeOwned>(&mut self, question: &Question) -> wasmtime::Result<Option<T>> {
        self.calls += 1;
        if let Some(notes) = &self.notes {
            notes.asked(&question.header());
            return Ok(None);
        }
        if !self.is_resuming {
            self.append_question(question);
            return Ok(None);
        }
        let Some((header, rest)) = self.header()? else {
            // The earlier instance had been answered, and then asked nothing more.
            self.go_live(question)?;
            self.append_question(question);
            return Ok(None);
        };
        if !header.is_same_as(&question.header()) {
            return Err(NonDeterministic::new(self.calls, &header, question).into());
        }
        if rest.is_empty() {
            self.answer_is_timed = header.kind.answer_is_timed();
            self.go_live(question)?;
            return Ok(None);
        }
        let (_, answer, rest) = split_answer(rest)?;
        let answer = postcard::from_bytes(answer).map_err(|_| damaged())?;
        self.next = self.past.len() - rest.len();
        Ok(Some(answer))
    }

    /// The next question of the past, and what follows it; `None`: there is none.
    fn header(&self) -> Result<Option<(Header<'_>, &[u8])>, HostFault> {
        let rest = match self.next {
            0 if self.past.is_empty() && self.beyond == Beyond::Live => return Err(damaged()),
            0 => after_format(&self.past)?,
            next => &self.past[next..],
        };
        Ok(split_question(rest)?.map(|(_, header, rest)| (header, rest)))
    }

    /// The past is used up, and this is asked.
    fn go_live(&mut self, question: &Question) -> Result<(), UsedUp> {
        if self.beyond == Beyond::Nothing {
            self.is_used_up = true;
            return Err(UsedUp { call: self.calls, came: question.header().to_string() });
        }
        self.is_resuming = false;
        self.past = Vec::new();
        Ok(())
    }

    fn append_question(&mut self, question: &Question) {
        let header = question.header();
        match header.kind.question_is_timed() {
            true => self.append(&(TIMED, self.clock.now_us(), header)),
            false => self.append(&header),
        }
        // Not before: the first question of an attempt comes after what it was told.
        self.answer_is_timed = header.kind.answer_is_timed();
    }

    fn append_answer<T: Serialize>(&mut self, answer: &T) {
        if std::mem::take(&mut self.answer_is_timed) {
            self.append(&(TIMED, self.clock.now_us()));
        }
        let start = self.unwritten.as_ref().map_or(0, Vec::len);
        self.append(&(ANSWERED, [0_u8; MARK_BYTES - 1], answer));
        if let Some(unwritten) = &mut self.unwritten {
            let bytes = unwritten.len() - start - MARK_BYTES;
            // No answer is as large as that: the host bounds all of them.
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            unwritten[start + 1..start + MARK_BYTES].copy_from_slice(&bytes.to_le_bytes());
        }
    }

    fn append<T: Serialize>(&mut self, value: &T) {
        if let Some(context) = self.context.take() {
            self.append(&Question::new(Kind::Context).header());
            self.append_answer(&context);
        }
        let Some(mut unwritten) = self.unwritten.take() else { return };
        let before = unwritten.len();
        if self.bytes == 0 {
            unwritten.push(FORMAT);
        }
        // Recording stops where this fails, or where it passes the limit.
        if let Ok(unwritten) = postcard::to_extend(value, unwritten) {
            self.bytes += unwritten.len() - before;
            self.unwritten = (self.bytes <= self.max_bytes).then_some(unwritten);
        }
    }
}

/// A question, and what it was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'j> {
    pub(crate) header: Header<'j>,
    pub(crate) answer: Option<&'j [u8]>,
    /// When it was asked, and answered: microseconds since the attempt began. 0: it is not known.
    pub(crate) times_us: (u64, u64),
}

/// All questions of a journal and what they were answered, in order.
pub(crate) fn entries(journal: &[u8]) -> Result<impl Iterator<Item = Result<Entry<'_>, HostFault>>, HostFault> {
    let mut rest = after_format(journal)?;
    Ok(std::iter::from_fn(move || {
        let next = (|| {
            let Some((asked_us, header, after)) = split_question(rest)? else { return Ok(None) };
            // Only the last question may be without an answer.
            let (answered_us, answer, after) = match after {
                [] => (0, None, after),
                _ => split_answer(after).map(|(at, answer, after)| (at, Some(answer), after))?,
            };
            rest = after;
            Ok(Some(Entry { header, answer, times_us: (asked_us, answered_us) }))
        })();
        if next.is_err() {
            rest = &[];
        }
        next.transpose()
    }))
}

/// Adds a question and what it was answered to a journal; an empty one begins with it.
pub(crate) fn add_entry(journal: &mut Vec<u8>, entry: &Entry<'_>) -> Result<(), HostFault> {
    let Entry { header, answer, times_us: (asked_us, answered_us) } = entry;
    if journal.is_empty() {
        journal.push(FORMAT);
    }
    add_time(journal, *asked_us)?;
    add(journal, header)?;
    if let Some(answer) = answer {
        add_time(journal, *answered_us)?;
        // No answer is as large as that: the host bounds all of them.
        let bytes = u32::try_from(answer.len()).map_err(|_| damaged())?;
        journal.push(ANSWERED);
        journal.extend_from_slice(&bytes.to_le_bytes());
        journal.extend_from_slice(answer);
    }
    Ok(())
}

/// Adds a time, where it is known.
fn add_time(journal: &mut Vec<u8>, us: u64) -> Result<(), HostFault> {
    if us == 0 { Ok(()) } else { add(journal, &(TIMED, us)) }
}

fn add<T: Serialize>(journal: &mut Vec<u8>, what: &T) -> Result<(), HostFault> {
    let written = postcard::to_extend(what, std::mem::take(journal));
    *journal = written.map_err(|error| HostFault(format!("a journal cannot be written: {error}")))?;
    Ok(())
}

/// What follows the format of a journal; nothing in an empty one.
fn after_format(journal: &[u8]) -> Result<&[u8], HostFault> {
    match journal {
        [] => Ok(journal),
        [FORMAT, rest @ ..] => Ok(rest),
        [other, ..] => Err(HostFault(format!(
            "the journal of the attempt has the format {other}, and this version of the server reads format {FORMAT} only"
        ))),
    }
}

/// When a question was asked, the question, and what follows it.
type Asked<'j> = (u64, Header<'j>, &'j [u8]);

/// The question at the beginning of these bytes with its time, and what follows it; `None`: there are none.
fn split_question(bytes: &[u8]) -> Result<Option<Asked<'_>>, HostFault> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (at, bytes) = split_time(bytes)?;
    let (header, rest) = postcard::take_from_bytes(bytes).map_err(|_| damaged())?;
    Ok(Some((at, header, rest)))
}

/// The answer at the beginning of these bytes with its time, and what follows it.
fn split_answer(bytes: &[u8]) -> Result<(u64, &[u8], &[u8]), HostFault> {
    let (at, bytes) = split_time(bytes)?;
    let (mark, rest) = bytes.split_first_chunk::<MARK_BYTES>().ok_or_else(damaged)?;
    let [ANSWERED, length @ ..] = *mark else { return Err(damaged()) };
    let (answer, rest) = rest.split_at_checked(u32::from_le_bytes(length) as usize).ok_or_else(damaged)?;
    Ok((at, answer, rest))
}

pub(crate) fn damaged() -> HostFault {
    HostFault("the journal of the attempt cannot be read: it is damaged".into())
}
