//! What a replay is, and what is seen of a run: then, when it ran, and now, when it is replayed.

use super::attempt::Usage;
use super::mask::Mask;
use super::run::ErrorKind;

/// How far a replay may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// A new run, with all its effects.
    Live,
    /// Nothing leaves the process: what the guest asks for is answered from the recording of the source run.
    #[default]
    Sandbox,
    /// As in the sandbox, but `GET` and `HEAD` requests that the recording does not answer may go out.
    Shadow,
}

words!(Mode {
    Live = "live",
    Sandbox = "sandbox",
    Shadow = "shadow",
});

/// What becomes of a call that the recording does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unmatched {
    /// The guest sees an error, as if it could not connect.
    #[default]
    Block,
    /// The replay fails at once.
    Fail,
    /// It is answered from a file of canned answers, or else blocked.
    Stub,
}

words!(Unmatched {
    Block = "block",
    Fail = "fail",
    Stub = "stub",
});

/// How the runs that a replayed run triggers come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Children {
    /// Their recorded results are used.
    #[default]
    Recorded,
    /// They are executed in the sandbox, too.
    Execute,
}

words!(Children {
    Recorded = "recorded",
    Execute = "execute",
});

/// Which variables a replay sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Variables {
    /// Those of the recording, with the values of then.
    #[default]
    Recorded,
    /// Of those that the recording lacks, the ones that the environment has now.
    Current,
}

words!(Variables {
    Recorded = "recorded",
    Current = "current",
});

/// What was seen of a run, or of its replay.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// How it ended.
    pub end: ObservedEnd,
    /// What it wanted of the world outside, in order.
    pub effects: Vec<Effect>,
    /// What those runs wanted that were executed in place of the ones that it triggered, in the order in which they
    /// began, those that they triggered in turn included. Empty where recorded results were used.
    pub children: Vec<ChildEffects>,
    /// Its log lines, counted.
    pub logs: LogCounts,
    /// Its metadata at the end: the JSON text of an object. Others may have changed them, too.
    pub metadata: String,
    /// Eight bytes that tell apart what it did to them itself.
    pub metadata_digest: u64,
    /// What it used.
    pub usage: Usage,
    /// The names of variables that its environment has now and its recording has not, if it looked for variables.
    pub new_variables: Vec<String>,
    /// What it knew that nobody is to read: the values of its variables.
    pub secrets: Mask,
}

/// What a child wanted of the world outside that was executed, or was to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildEffects {
    /// Its task.
    pub task: String,
    /// What the run wanted in whose place it was executed, in order; `None`: there was none, or it is not on record.
    pub then: Option<Vec<Effect>>,
    /// What it wanted itself, in order; `None`: it was not executed, because the run in whose place it was to be is not on
    /// record. It ended as that one.
    pub now: Option<Vec<Effect>>,
}

/// How a run ended, or its replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObservedEnd {
    /// It completed. The output is JSON text.
    Completed(String),
    /// It did not.
    Failed {
        /// The sort of the failure.
        kind: ErrorKind,
        /// The kind of error, in the author's words or ours.
        name: String,
        /// For people.
        message: String,
        /// One frame a line, with the places in the source where they are known.
        stack: Option<String>,
    },
}

/// A call that reaches beyond the run, or would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// What sort of call.
    pub kind: EffectKind,
    /// Whom it reaches: method and URL, a task, a token, a relative, a stream.
    pub target: String,
    /// Its arguments, for people: bounded, and without secrets.
    pub arguments: String,
    /// Eight bytes that tell all its arguments apart, headers of HTTP requests left out; 0: not known.
    pub digest: u64,
    /// Who answered.
    pub answered_by: AnsweredBy,
}

/// A sort of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EffectKind {
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
    /// A file outside the scratch directory was asked for, and refused as always.
    File,
    /// Environment variables were asked for that the source run had not asked for.
    Environment,
    /// It waited for something of which nobody knows what came of it.
    Wait,
}

words!(EffectKind {
    Http = "http",
    Trigger = "trigger",
    BatchTrigger = "batch-trigger",
    CreateToken = "create-token",
    CompleteToken = "complete-token",
    Metadata = "metadata",
    Tags = "tags",
    Stream = "stream",
    File = "file",
    Environment = "environment",
    Wait = "wait",
});

/// Who answered a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnsweredBy {
    /// The world outside.
    Live,
    /// The recording, which has the same call.
    Recorded,
    /// The recording, which has this call with other arguments.
    Changed,
    /// The file of canned answers.
    Stub,
    /// Nobody needed to: it was noted, and nothing else was done.
    Captured,
    /// The sandbox, which executed the run that was triggered.
    Executed,
    /// Nobody: the recording does not know this call.
    Unmatched,
}

words!(AnsweredBy {
    Live = "live",
    Recorded = "recorded",
    Changed = "changed",
    Stub = "stub",
    Captured = "captured",
    Executed = "executed",
    Unmatched = "unmatched",
});

/// Log lines by level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogCounts {
    /// The finest.
    pub trace: u64,
    /// For the author.
    pub debug: u64,
    /// Normal.
    pub info: u64,
    /// Suspicious.
    pub warn: u64,
    /// Wrong.
    pub error: u64,
}
