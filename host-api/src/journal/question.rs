//! What a guest asks: the kind of call, a short text for people, and a digest of the rest.

use std::fmt;

use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

/// Most bytes of the text of a question.
const MAX_TEXT_BYTES: usize = 256;
/// What a guest does instead of asking, when it has ended.
const END: &str = "the end of the task";

macro_rules! kinds {
    ($($kind:ident = $name:literal,)*) => {
        /// The kinds of call. Journals hold their places in this list: add to its end only.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// A question.
#[derive(Debug)]
pub(crate) struct Question {
    kind: Kind,
    text: String,
    digest: u64,
}

/// A question, as the journal has it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header<'a> {
    kind: Kind,
    text: &'a str,
    digest: u64,
}

impl Question {
    /// A question in which there is nothing but its kind.
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, text: String::new(), digest: 0 }
    }

    /// With the argument that people would name. No secrets.
    pub(crate) fn text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self.text.truncate(self.text.floor_char_boundary(MAX_TEXT_BYTES));
        self
    }

    /// With everything else that it holds.
    pub(crate) fn about<T: Serialize + ?Sized>(mut self, rest: &T) -> Self {
        // Cannot fail: a digest takes everything.
        self.digest = postcard::serialize_with_flavor(rest, Digest::default()).unwrap_or_default();
        self
    }

    pub(super) fn header(&self) -> Header<'_> {
        Header { kind: self.kind, text: &self.text, digest: self.digest }
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
