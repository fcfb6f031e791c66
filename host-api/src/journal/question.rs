//! What a guest asks: the kind of call, a short text for people, and a digest of the rest.
//!
//! Questions that reach beyond the run have also what a replay needs, which may ask them a little
//! differently: a key, by which it finds the answer of then, and details for whoever compares the two.

use std::fmt;

use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

use crate::text::bounded;

/// Most bytes of the text of a question.
const MAX_TEXT_BYTES: usize = 256;
/// Most bytes of its details.
const MAX_DETAIL_BYTES: usize = 4_096;
/// What a guest does instead of asking, when it has ended.
const END: &str = "the end of the task";

macro_rules! kinds {
    ($($kind:ident = $name:literal,)*) => {
        /// The kinds of call. Journals hold their places in this list: add to its end only.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub(crate) enum Kind { $($kind,)* }

        impl Kind {
            fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }
        }
    };
}

kinds! {
    Context = "the context",
    WallClock = "wall-clock.now",
    MonotonicClock = "monotonic-clock.now",
    SubscribeDuration = "monotonic-clock.subscribe-duration",
    RandomBytes = "random.get-random-bytes",
    RandomNumber = "random.get-random-u64",
    InsecureBytes = "insecure.get-insecure-random-bytes",
    InsecureNumber = "insecure.get-insecure-random-u64",
    InsecureSeed = "insecure-seed.insecure-seed",
    Environment = "environment.get-environment",
    MetadataAll = "metadata.all",
    MetadataGet = "metadata.get",
    MetadataSet = "metadata.set",
    MetadataDelete = "metadata.delete",
    MetadataAppend = "metadata.append",
    MetadataRemove = "metadata.remove",
    MetadataIncrement = "metadata.increment",
    MetadataUpdate = "metadata.update",
    Span = "log.span",
    Poll = "poll.poll",
    Ready = "pollable.ready",
    FileTimes = "descriptor.stat",
    FileHash = "descriptor.metadata-hash",
    Http = "http",
    Response = "future-incoming-response.get",
    ReadBody = "incoming-body.read",
    Trailers = "future-trailers.get",
    RoomInBody = "outgoing-body.check-write",
    WriteBody = "outgoing-body.write",
    FlushBody = "outgoing-body.flush",
    FinishBody = "outgoing-body.finish",
    WaitAfter = "wait.after",
    WaitToken = "wait.token",
    WaitAny = "wait.any",
    WaitAll = "wait.all",
    Trigger = "runs.trigger",
    TriggerAndWait = "runs.trigger-and-wait",
    BatchTrigger = "runs.batch-trigger",
    BatchTriggerAndWait = "runs.batch-trigger-and-wait",
    CreateToken = "tokens.create",
    CompleteToken = "tokens.complete",
    ChangeMetadata = "relatives.change-metadata",
    AddTags = "relatives.add-tags",
    Append = "streams.append",
    RequestBody = "outgoing-request.body",
    AwaitResponse = "future-incoming-response.subscribe",
    Outside = "descriptor.open-at",
}

/// A question.
#[derive(Debug)]
pub(crate) struct Question {
    kind: Kind,
    exchange: u32,
    text: String,
    key: u64,
    detail: String,
    digest: u64,
}

/// A question, as the journal has it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Header<'a> {
    /// What is asked.
    pub(crate) kind: Kind,
    /// The HTTP request of which it is a part, from 1; 0: none.
    pub(crate) exchange: u32,
    /// The argument that people would name.
    pub(crate) text: &'a str,
    /// By which a replay finds it; 0: it need not.
    pub(crate) key: u64,
    /// The arguments, for people.
    pub(crate) detail: &'a str,
    /// Tells apart whatever else is asked.
    pub(crate) digest: u64,
}

impl Header<'_> {
    /// Whether it is the same question. Details are made from what the digest covers.
    pub(super) fn is_same_as(&self, other: &Header<'_>) -> bool {
        (self.kind, self.exchange, self.text, self.key, self.digest)
            == (other.kind, other.exchange, other.text, other.key, other.digest)
    }
}

impl Question {
    /// A question in which there is nothing but its kind.
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, exchange: 0, text: String::new(), key: 0, detail: String::new(), digest: 0 }
    }

    /// A part of this HTTP request.
    pub(crate) fn exchange(mut self, exchange: u32) -> Self {
        self.exchange = exchange;
        self
    }

    /// With the key by which a replay finds it, and its arguments for people: a beginning of them, if
    /// they are long. No secrets.
    pub(crate) fn found_by(mut self, key: u64, detail: impl Into<String>) -> Self {
        self.key = key;
        self.detail = bounded(detail.into(), MAX_DETAIL_BYTES);
        self
    }

    /// With the argument that people would name. No secrets.
    pub(crate) fn text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self.text.truncate(self.text.floor_char_boundary(MAX_TEXT_BYTES));
        self
    }

    /// With everything else that it holds.
    pub(crate) fn about<T: Serialize + ?Sized>(mut self, rest: &T) -> Self {
        self.digest = digest_of(rest);
        self
    }

    pub(crate) fn header(&self) -> Header<'_> {
        let Self { kind, exchange, text, key, detail, digest } = self;
        Header { kind: *kind, exchange: *exchange, text, key: *key, detail, digest: *digest }
    }
}

impl fmt::Display for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, text) = (self.kind.name(), self.text);
        match self.kind {
            _ if text.is_empty() => f.write_str(name),
            Kind::Http => write!(f, "{name} {text}"),
            _ => write!(f, "{name}({text})"),
        }
    }
}

/// A task asked something else than before, though it had got the same answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NonDeterministic {
    /// Which call it was, from 1.
    pub call: u64,
    /// What the journal has there.
    pub expected: String,
    /// What was asked this time. The same text if only its details differ.
    pub came: String,
}

impl NonDeterministic {
    pub(super) fn new(call: u64, expected: &Header<'_>, came: &Question) -> Self {
        Self { call, expected: expected.to_string(), came: came.header().to_string() }
    }

    pub(super) fn at_end(call: u64, expected: &Header<'_>) -> Self {
        Self { call, expected: expected.to_string(), came: END.into() }
    }
}

impl fmt::Display for NonDeterministic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, expected, came } = self;
        write!(f, "the task is not deterministic: as call {call} the journal has `{expected}`, ")?;
        if came == END {
            f.write_str("but this time the task ended")
        } else if came == expected {
            f.write_str("but this time with other details")
        } else {
            write!(f, "but this time it was `{came}`")
        }
    }
}

impl std::error::Error for NonDeterministic {}

/// A task asked more than the journal answers, and nobody else was to answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the journal ends before call {call}, `{came}`")]
pub struct UsedUp {
    /// Which call it was, from 1.
    pub call: u64,
    /// What was asked.
    pub came: String,
}

/// Eight bytes that tell values apart.
pub(crate) fn digest_of<T: Serialize + ?Sized>(value: &T) -> u64 {
    // Cannot fail: a digest takes everything.
    postcard::serialize_with_flavor(value, Digest::default()).unwrap_or_default()
}

/// Eight bytes that tell texts apart that come in pieces, however they are cut.
#[derive(Default)]
pub(crate) struct PieceDigest {
    digest: Digest,
    word: [u8; 8],
    bytes: u64,
}

impl PieceDigest {
    /// The next piece.
    pub(crate) fn add(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() {
            let filled = (self.bytes % 8) as usize;
            let taken = piece.len().min(8 - filled);
            self.word[filled..filled + taken].copy_from_slice(&piece[..taken]);
            self.bytes += taken as u64;
            piece = &piece[taken..];
            if filled + taken == 8 {
                self.digest.mix(u64::from_le_bytes(std::mem::take(&mut self.word)));
            }
        }
    }

    /// The digest of all pieces.
    pub(crate) fn finish(mut self) -> u64 {
        self.digest.mix(u64::from_le_bytes(self.word));
        self.digest.mix(self.bytes);
        self.digest.0
    }
}

/// Eight bytes that tell questions apart. The same in every version of the server; no defence
/// against a guest that seeks two questions with the same digest, who deceives only itself.
struct Digest(u64);

const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

impl Default for Digest {
    fn default() -> Self {
        Self(0x243F_6A88_85A3_08D3)
    }
}

impl Digest {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * u128::from(FACTOR);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are used")]
        let (low, high) = (product as u64, (product >> 64) as u64);
        self.0 = (low ^ high).wrapping_add(word.rotate_left(32)).wrapping_add(1);
    }
}

impl Flavor for Digest {
    type Output = u64;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.mix(u64::from(byte));
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.mix(u64::from(*byte));
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<u64> {
        Ok(self.0)
    }
}
