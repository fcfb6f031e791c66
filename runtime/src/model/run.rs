//! Decides what happens to a run when one of its attempts ends.
//!
//! Pure: no clock, no I/O, no `async`. `worker` gathers the facts, [`settle`] decides, `storage`
//! records. To add a status, start with [`Status`] and follow the compiler.
//!
//! ```text
//!                 ┌─────────── a deployment brings the task ───────────┐
//!  trigger ─┬─► pending-version ─────────────────────────────────────►─┤
//!           ├─► delayed ──── its time comes ─────────────────────────►─┤
//!           └─► queued ◄───────────────────────────────────────────────┘
//!                 │  ▲
//!           claim │  │ retry, interruption, loss of the worker
//!                 ▼  │
//!              executing ──► completed · failed · crashed · timed-out · system-failure
//!
//!  queued ── ttl passes ──► expired          any that is not final ── cancel ──► canceled
//! ```

use std::time::Duration;

use super::Timestamp;
use super::id::{DeploymentId, EnvironmentId, RunId};
use super::limits::MAX_LOSSES;
use super::retry::RetryPolicy;
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

impl PacketFormat {
    /// The contract's name, which is also what is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::SuperJson => "application/super+json",
            Self::Text => "text/plain",
        }
    }

    /// The format of a name of the contract.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Json, Self::SuperJson, Self::Text].into_iter().find(|format| format.as_str() == name)
    }
}

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

/// An error that a task returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskError {
    /// The kind of error, in the author's words.
    pub name: String,
    /// For people.
    pub message: String,
    /// One frame a line.
    pub stack: Option<String>,
    /// Whether, and when, to try again.
    pub retry: RetryDecision,
}

/// What a task says about trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// As the policy says.
    ByPolicy,
    /// Not before this has passed.
    After(Duration),
    /// Never.
    Never,
}

/// How one attempt ended, as seen from outside the guest.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The guest returned `ok`: JSON text, at most `MAX_OUTPUT_BYTES` long.
    Returned(String),
    /// The guest returned `err`. Retried while attempts remain.
    Failed(TaskError),
    /// The guest trapped, exited, broke the contract or passed a limit of space. Never retried: it
    /// would again.
    Crashed(Crash),
    /// The guest was stopped at a limit of time. Never retried.
    TimedOut(TimeLimit),
    /// The server stopped it in order to shut down. Queued again; does not count as an attempt.
    Interrupted,
    /// The host could not do its part; the text is for the operator. Queued again, a few times.
    HostFault(String),
}

/// A guest's end that is its own fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// Whether memory was the reason.
    pub out_of_memory: bool,
    /// What happened, in the author's terms.
    pub message: String,
    /// The WebAssembly backtrace, one frame a line, innermost first.
    pub backtrace: Option<String>,
}

/// The limit of time that an attempt passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeLimit {
    /// `maxDuration`: CPU time.
    Cpu(Duration),
    /// Wall time, waiting in host calls included.
    Wall(Duration),
}

/// What an attempt used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// CPU time of the guest and of what the host did for it on the same thread.
    pub cpu: Duration,
    /// From start to end.
    pub wall: Duration,
    /// The most linear memory at any time.
    pub peak_memory_bytes: u64,
}

/// What [`settle`] must know of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptFacts {
    /// The attempt that ended, from 1.
    pub attempt: u32,
    /// Attempts in all; the run's own number, else the policy's.
    pub max_attempts: u32,
    /// The task's policy.
    pub retry: RetryPolicy,
    /// How often the run was lost or met a fault of the host before.
    pub losses: u32,
}

/// What is to happen to the run.
#[derive(Debug, Clone, PartialEq)]
pub enum Settlement {
    /// Ended well. The output is JSON text.
    Completed(String),
    /// Another attempt, not before `at`.
    RetryAt {
        /// When.
        at: Timestamp,
        /// Why the attempt failed.
        error: RunError,
    },
    /// Back in the queue as if the attempt had not been.
    Requeued {
        /// When it may start again.
        at: Timestamp,
        /// Whether to count a loss.
        loss: bool,
    },
    /// Ended badly, with one of the final statuses.
    Ended {
        /// `failed`, `crashed`, `timed-out` or `system-failure`.
        status: Status,
        /// Why.
        error: RunError,
    },
}

/// Decides what happens to a run whose attempt ended with `outcome` at `now`.
///
/// `chance`, from 0 to 1 exclusive, spreads the delays of retries.
pub fn settle(facts: &AttemptFacts, outcome: Outcome, now: Timestamp, chance: f64) -> Settlement {
    match outcome {
        Outcome::Returned(output) => Settlement::Completed(output),
        Outcome::Failed(error) => settle_failure(facts, error, now, chance),
        Outcome::Crashed(crash) => Settlement::Ended {
            status: Status::Crashed,
            error: RunError {
                kind: if crash.out_of_memory { ErrorKind::OutOfMemory } else { ErrorKind::Crash },
                name: if crash.out_of_memory { "OutOfMemory" } else { "Crash" }.into(),
                message: crash.message,
                stack: crash.backtrace,
            },
        },
        Outcome::TimedOut(limit) => Settlement::Ended { status: Status::TimedOut, error: time_limit_error(limit) },
        Outcome::Interrupted => Settlement::Requeued { at: now, loss: false },
        Outcome::HostFault(_) => after_loss(facts.losses, now),
    }
}

/// Decides what happens to a run whose worker is gone, or failed it, at `now`, after `losses`
/// earlier such events: another try a little later, or the end.
pub fn after_loss(losses: u32, now: Timestamp) -> Settlement {
    if losses + 1 < MAX_LOSSES {
        return Settlement::Requeued { at: later(now, Duration::from_secs(u64::from(losses))), loss: true };
    }
    Settlement::Ended {
        status: Status::SystemFailure,
        error: RunError {
            kind: ErrorKind::System,
            name: "SystemFailure".into(),
            message: format!("the server failed {MAX_LOSSES} times while it ran this task; its log says why"),
            stack: None,
        },
    }
}

fn settle_failure(facts: &AttemptFacts, error: TaskError, now: Timestamp, chance: f64) -> Settlement {
    let TaskError { name, message, stack, retry } = error;
    let error = RunError { kind: ErrorKind::Task, name, message, stack };
    let delay = match retry {
        RetryDecision::Never => None,
        RetryDecision::After(delay) => Some(delay.min(super::limits::MAX_DELAY)),
        RetryDecision::ByPolicy => Some(facts.retry.delay_after(facts.attempt, chance)),
    };
    match delay {
        Some(delay) if facts.attempt < facts.max_attempts => Settlement::RetryAt { at: later(now, delay), error },
        _ => Settlement::Ended { status: Status::Failed, error },
    }
}

fn time_limit_error(limit: TimeLimit) -> RunError {
    let message = match limit {
        TimeLimit::Cpu(limit) => format!(
            "used more than its max duration of {} s of CPU time; raise `maxDuration` if it needs more",
            limit.as_secs()
        ),
        TimeLimit::Wall(limit) => format!("did not end within {} s, waiting in host calls included", limit.as_secs()),
    };
    RunError { kind: ErrorKind::TimeLimit, name: "TimeLimitExceeded".into(), message, stack: None }
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

    fn facts(attempt: u32) -> AttemptFacts {
        let retry = RetryPolicy { randomize: false, ..RetryPolicy::default() };
        AttemptFacts { attempt, max_attempts: 3, retry, losses: 0 }
    }

    fn oops(retry: RetryDecision) -> Outcome {
        Outcome::Failed(TaskError { name: "Oops".into(), message: "no".into(), stack: None, retry })
    }

    #[track_caller]
    fn check(attempt: u32, outcome: Outcome, expected: &str) {
        let now = Timestamp::UNIX_EPOCH;
        let settled = match settle(&facts(attempt), outcome, now, 0.0) {
            Settlement::Completed(output) => format!("completed {output}"),
            Settlement::RetryAt { at, .. } => format!("retry after {} ms", at.as_millisecond()),
            Settlement::Requeued { at, loss } => {
                format!("requeued after {} ms, loss: {loss}", at.as_millisecond())
            }
            Settlement::Ended { status, error } => format!("{}: {}", status.as_str(), error.name),
        };
        assert_eq!(settled, expected);
    }

    #[test]
    fn an_output_completes_the_run() {
        check(1, Outcome::Returned("7".into()), "completed 7");
    }

    #[test]
    fn an_error_is_retried_while_attempts_remain() {
        check(1, oops(RetryDecision::ByPolicy), "retry after 1000 ms");
        check(2, oops(RetryDecision::ByPolicy), "retry after 2000 ms");
        check(3, oops(RetryDecision::ByPolicy), "failed: Oops");
        check(4, oops(RetryDecision::ByPolicy), "failed: Oops");
    }

    #[test]
    fn the_task_may_choose_when_to_retry() {
        check(1, oops(RetryDecision::After(Duration::from_millis(50))), "retry after 50 ms");
        check(3, oops(RetryDecision::After(Duration::from_millis(50))), "failed: Oops");
        check(1, oops(RetryDecision::Never), "failed: Oops");
    }

    #[test]
    fn what_would_happen_again_is_not_retried() {
        let crash = |out_of_memory| Crash { out_of_memory, message: String::new(), backtrace: None };
        check(1, Outcome::Crashed(crash(false)), "crashed: Crash");
        check(1, Outcome::Crashed(crash(true)), "crashed: OutOfMemory");
        check(1, Outcome::TimedOut(TimeLimit::Cpu(Duration::from_secs(5))), "timed-out: TimeLimitExceeded");
    }

    #[test]
    fn an_interrupted_attempt_does_not_count() {
        check(3, Outcome::Interrupted, "requeued after 0 ms, loss: false");
        check(3, Outcome::HostFault("disk".into()), "requeued after 0 ms, loss: true");
    }

    #[test]
    fn a_run_is_not_lost_for_ever() {
        let now = Timestamp::UNIX_EPOCH;
        assert!(matches!(after_loss(MAX_LOSSES - 2, now), Settlement::Requeued { .. }));
        assert!(matches!(after_loss(MAX_LOSSES - 1, now), Settlement::Ended { status: Status::SystemFailure, .. }));
    }

    #[test]
    fn stored_words_are_read_back() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        assert_eq!(Status::parse("frozen"), None);
    }
}
