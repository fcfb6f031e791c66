//! What a run is, and where it can be in its life.
//!
//! What follows the end of an attempt is decided in [`super::attempt`]. To add a status, start with
//! [`Status`] and follow the compiler.
//!
//! ```text
//!                 ┌─────────── a deployment brings the task ───────────┐
//!  trigger ─┬─► pending-version ─────────────────────────────────────►─┤
//!           ├─► delayed ──── its time comes ─────────────────────────►─┤
//!           └─► queued ◄───────────────────────────────────────────────┘
//!                 │  ▲
//!           claim │  │ retry, interruption, loss of the worker ◄─┐
//!                 ▼  │                                           │ what it waits for is there
//!              executing ──── it waits ────► waiting ────────────┘
//!                 │
//!                 └─► completed · failed · crashed · timed-out · system-failure
//!
//!  queued ── ttl passes ──► expired          any that is not final ── cancel ──► canceled
//! ```

use std::time::Duration;

use super::Timestamp;
use super::id::{BatchId, BulkId, DeploymentId, EnvironmentId, RunId, ScheduleId};
use super::scope::OneTimeToken;
use super::task::Machine;
use super::version::Version;

/// Where a run is in its life. One column, one meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// No deployed version has the task yet.
    PendingVersion,
    /// Not before its `dequeue_at`.
    Delayed,
    /// Ready, as soon as its `dequeue_at` has come and there is room.
    Queued,
    /// Claimed by a worker.
    Executing,
    /// Waiting for something outside; holds no slot.
    Waiting,
    /// The task returned an output.
    Completed,
    /// The task returned an error and no attempt is left.
    Failed,
    /// The guest trapped, exited or ran out of memory.
    Crashed,
    /// The guest was stopped at a limit of time.
    TimedOut,
    /// Somebody ended it.
    Canceled,
    /// It stayed queued longer than its ttl.
    Expired,
    /// The fault was ours.
    SystemFailure,
}

impl Status {
    /// All of them, in the order of a run's life.
    pub const ALL: [Self; 12] = [
        Self::PendingVersion,
        Self::Delayed,
        Self::Queued,
        Self::Executing,
        Self::Waiting,
        Self::Completed,
        Self::Failed,
        Self::Crashed,
        Self::TimedOut,
        Self::Canceled,
        Self::Expired,
        Self::SystemFailure,
    ];

    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PendingVersion => "pending-version",
            Self::Delayed => "delayed",
            Self::Queued => "queued",
            Self::Executing => "executing",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Crashed => "crashed",
            Self::TimedOut => "timed-out",
            Self::Canceled => "canceled",
            Self::Expired => "expired",
            Self::SystemFailure => "system-failure",
        }
    }

    /// The status of a stored word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether the run has ended. A final status never changes.
    pub fn is_final(self) -> bool {
        match self {
            Self::PendingVersion | Self::Delayed | Self::Queued | Self::Executing | Self::Waiting => false,
            Self::Completed
            | Self::Failed
            | Self::Crashed
            | Self::TimedOut
            | Self::Canceled
            | Self::Expired
            | Self::SystemFailure => true,
        }
    }
}

/// Text with the type it was sent as: a payload or an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The text, encoded as `format` says; `None` where nothing was sent.
    pub data: Option<String>,
    /// How to read it.
    pub format: PacketFormat,
}

/// How the text of a [`Packet`] is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PacketFormat {
    /// JSON text.
    #[default]
    Json,
    /// superjson text: `{"json": …, "meta"?: …}`.
    SuperJson,
    /// The text itself is the value.
    Text,
}

// What is stored is the contract's name.
words!(PacketFormat { Json = "application/json", SuperJson = "application/super+json", Text = "text/plain", });

/// A key under which a second trigger finds the first one's run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// What is compared: usually a hash that the client made.
    pub key: String,
    /// The key as its author wrote it, for display.
    pub shown: Option<String>,
    /// `run`, `attempt` or `global`, for display.
    pub scope: Option<String>,
    /// From then on the key no longer counts.
    pub expires_at: Timestamp,
}

/// Where a run came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The run that triggered it.
    pub parent: Option<RunId>,
    /// The first run of its tree, where that is another one.
    pub root: Option<RunId>,
    /// Runs between it and its root, and the root: 0 for a run that no run triggered.
    pub depth: u32,
    /// Whether the run that triggered it waits for it.
    pub awaited: bool,
    /// Whether it, or the root of its tree, is a replay.
    pub is_replay: bool,
    /// The batch that it is an item of.
    pub batch: Option<BatchId>,
    /// The schedule that fired it.
    pub schedule: Option<ScheduleId>,
    /// The bulk action that made it.
    pub bulk: Option<BulkId>,
}

/// How further triggers with a key push a delayed run back instead of making another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debounce {
    /// Counts within the environment and the task.
    pub key: String,
    /// How far a further trigger pushes the run back, from then.
    pub delay: Duration,
    /// Whether the last trigger's payload and options count, and not the first one's.
    pub trailing: bool,
    /// The longest time from the first trigger; one that would push beyond makes a new run.
    pub max_delay: Option<Duration>,
}

/// A run that has been admitted and not yet stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    /// Its name.
    pub id: RunId,
    /// Where it runs.
    pub environment: EnvironmentId,
    /// What it runs.
    pub task: String,
    /// `pending-version`, `delayed` or `queued`.
    pub status: Status,
    /// The stored name of its queue: `task/<id>` for a task's own.
    pub queue: String,
    /// Whether the caller chose the queue.
    pub queue_given: bool,
    /// One virtual copy of the queue per key.
    pub concurrency_key: Option<String>,
    /// Head start in the queue.
    pub priority_ms: i64,
    /// When it was triggered.
    pub created_at: Timestamp,
    /// When it may be queued, where that is later.
    pub delay_until: Option<Timestamp>,
    /// When it was queued.
    pub queued_at: Option<Timestamp>,
    /// The order of the queue; of a delayed run, when it becomes due.
    pub dequeue_at: Timestamp,
    /// Longest time in the queue.
    pub ttl: Option<Duration>,
    /// When it expires, where it is queued with a ttl.
    pub expires_at: Option<Timestamp>,
    /// What the task is given.
    pub payload: Packet,
    /// JSON object, as given.
    pub metadata: Option<String>,
    /// Labels.
    pub tags: Vec<String>,
    /// See [`IdempotencyKey`].
    pub idempotency: Option<IdempotencyKey>,
    /// The request's own key: a request sent again finds the run of the first.
    pub request_key: Option<String>,
    /// Overrides the task's.
    pub max_attempts: Option<u32>,
    /// Overrides the task's; CPU seconds.
    pub max_duration_seconds: Option<u32>,
    /// Overrides the task's.
    pub machine: Option<Machine>,
    /// The version it must run on; `None`: the one that is current when it starts.
    pub locked: Option<DeploymentId>,
    /// Triggered as a test.
    pub is_test: bool,
    /// The run it replays.
    pub replay_of: Option<RunId>,
    /// Where it came from.
    pub origin: Origin,
    /// The lease under which its parent's task triggers it: there is no run unless it holds.
    pub parent_lease: Option<u64>,
    /// See [`Debounce`]; of a delayed run only.
    pub debounce: Option<Debounce>,
    /// The token that is used up by storing it.
    pub one_time_token: Option<OneTimeToken>,
    /// The label of the deployment that it waits for.
    pub external_deployment: Option<String>,
}

/// A run as it is stored, without payload.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its name.
    pub id: RunId,
    /// Where it runs.
    pub environment: EnvironmentId,
    /// What it runs.
    pub task: String,
    /// Where it is in its life.
    pub status: Status,
    /// The version it runs on, once it has started or where it is locked.
    pub deployment: Option<DeploymentId>,
    /// That deployment's version.
    pub version: Option<Version>,
    /// The stored name of its queue.
    pub queue: String,
    /// Whether the caller chose the queue.
    pub queue_given: bool,
    /// See [`NewRun::concurrency_key`].
    pub concurrency_key: Option<String>,
    /// See [`NewRun::priority_ms`].
    pub priority_ms: i64,
    /// Labels.
    pub tags: Vec<String>,
    /// JSON object, as it is now.
    pub metadata: Option<String>,
    /// When it was triggered.
    pub created_at: Timestamp,
    /// When anything about it changed last.
    pub updated_at: Timestamp,
    /// Until when it was, or is, delayed.
    pub delay_until: Option<Timestamp>,
    /// When it was queued first.
    pub queued_at: Option<Timestamp>,
    /// When its first attempt started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// See [`NewRun::ttl`].
    pub ttl: Option<Duration>,
    /// Attempts so far.
    pub attempt: u32,
    /// Overrides the task's.
    pub max_attempts: Option<u32>,
    /// Overrides the task's; CPU seconds.
    pub max_duration_seconds: Option<u32>,
    /// Overrides the task's.
    pub machine: Option<Machine>,
    /// The idempotency key as its author wrote it, else as it was sent.
    pub idempotency_key: Option<String>,
    /// `run`, `attempt` or `global`.
    pub idempotency_scope: Option<String>,
    /// Triggered as a test.
    pub is_test: bool,
    /// The run it replays.
    pub replay_of: Option<RunId>,
    /// Where it came from.
    pub origin: Origin,
    /// JSON text, once completed.
    pub output: Option<String>,
    /// Why it ended, where it did not complete; while it retries, why its last attempt failed.
    pub error: Option<RunError>,
    /// CPU time of all attempts.
    pub cpu: Duration,
    /// The most memory an attempt used.
    pub peak_memory_bytes: u64,
}

/// Why a run or an attempt failed, as it is stored and shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunError {
    /// Who is to blame.
    pub kind: ErrorKind,
    /// The kind of error, in the author's words or ours.
    pub name: String,
    /// For people.
    pub message: String,
    /// One frame a line.
    pub stack: Option<String>,
}

/// The sort of a [`RunError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The task returned it.
    Task,
    /// The guest trapped or exited.
    Crash,
    /// The guest wanted more memory than its machine has.
    OutOfMemory,
    /// CPU or wall time ran out.
    TimeLimit,
    /// Somebody canceled the run.
    Canceled,
    /// The ttl passed.
    Expired,
    /// The fault was ours.
    System,
}

impl ErrorKind {
    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Crash => "crash",
            Self::OutOfMemory => "out-of-memory",
            Self::TimeLimit => "time-limit",
            Self::Canceled => "canceled",
            Self::Expired => "expired",
            Self::System => "system",
        }
    }

    /// The kind of a stored word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Task, Self::Crash, Self::OutOfMemory, Self::TimeLimit, Self::Canceled, Self::Expired, Self::System]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// A final status.
    pub status: Status,
    /// JSON text, where it completed.
    pub output: Option<String>,
    /// Why it did not.
    pub error: Option<RunError>,
    /// CPU time of all attempts.
    pub cpu: Duration,
}

impl Run {
    /// How it ended; `None` while it has not.
    pub fn end(&self) -> Option<End> {
        let ended = self.status.is_final().then(|| self.error.clone());
        ended.map(|error| End { status: self.status, output: self.output.clone(), error, cpu: self.cpu })
    }
}

impl RunError {
    /// Of a run that somebody canceled.
    pub fn canceled() -> Self {
        let message = "the run was canceled".into();
        Self { kind: ErrorKind::Canceled, name: "Canceled".into(), message, stack: None }
    }

    /// Of a run that stayed in the queue for too long.
    pub fn expired() -> Self {
        let message = "the run was not started before its ttl passed".into();
        Self { kind: ErrorKind::Expired, name: "Expired".into(), message, stack: None }
    }
}

/// `now` and a length of time; the end of time where that is too far.
pub fn later(now: Timestamp, delay: Duration) -> Timestamp {
    now.checked_add(delay).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_words_are_read_back() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        assert_eq!(Status::parse("frozen"), None);
    }
}
