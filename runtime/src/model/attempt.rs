//! Decides what happens to a run when one of its attempts ends.
//!
//! Pure: no clock, no I/O, no `async`. `worker` gathers the facts, [`settle`] decides, `storage`
//! records.

use std::time::Duration;

use super::Timestamp;
use super::limits::MAX_LOSSES;
use super::retry::RetryPolicy;
use super::run::{ErrorKind, RunError, Status, later};

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
    /// After it had waited, the guest asked something else than before; the text is for the author.
    /// Never retried: it would again.
    NonDeterministic(String),
    /// The server stopped it in order to shut down. Queued again; does not count as an attempt.
    Interrupted,
    /// The host could not do its part; the text is for the operator. Queued again, a few times.
    HostFault(String),
    /// Neighbours had the memory that the guest needed; the text is for the operator. Queued again,
    /// a few times, each time for longer.
    HostFull(String),
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
        Outcome::NonDeterministic(message) => Settlement::Ended {
            status: Status::Failed,
            error: RunError { kind: ErrorKind::Task, name: "NonDeterministic".into(), message, stack: None },
        },
        Outcome::Interrupted => Settlement::Requeued { at: now, loss: false },
        Outcome::HostFault(_) => after_loss(facts.losses, now),
        Outcome::HostFull(_) => match after_loss(facts.losses, now) {
            Settlement::Requeued { loss, .. } => {
                Settlement::Requeued { at: later(now, room_after(facts.losses)), loss }
            }
            ended => ended,
        },
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

/// How long a run waits for its neighbours to end: 5 s, then each time four times as long, 7 minutes
/// in all.
fn room_after(losses: u32) -> Duration {
    Duration::from_secs(5 << (2 * losses.min(MAX_LOSSES)))
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
        check(1, Outcome::NonDeterministic("as call 1".into()), "failed: NonDeterministic");
        check(1, Outcome::TimedOut(TimeLimit::Cpu(Duration::from_secs(5))), "timed-out: TimeLimitExceeded");
    }

    #[test]
    fn an_interrupted_attempt_does_not_count() {
        check(3, Outcome::Interrupted, "requeued after 0 ms, loss: false");
        check(3, Outcome::HostFault("disk".into()), "requeued after 0 ms, loss: true");
    }

    #[test]
    fn a_run_gives_its_neighbours_minutes_to_end() {
        check(3, Outcome::HostFull("memory".into()), "requeued after 5000 ms, loss: true");
        let waits: u64 = (0..MAX_LOSSES - 1).map(|losses| room_after(losses).as_secs()).sum();
        assert_eq!(waits, 5 + 20 + 80 + 320);
        let last = AttemptFacts { losses: MAX_LOSSES - 1, ..facts(1) };
        let end = settle(&last, Outcome::HostFull("memory".into()), Timestamp::UNIX_EPOCH, 0.0);
        assert!(matches!(end, Settlement::Ended { status: Status::SystemFailure, .. }));
    }

    #[test]
    fn a_run_is_not_lost_for_ever() {
        let now = Timestamp::UNIX_EPOCH;
        assert!(matches!(after_loss(MAX_LOSSES - 2, now), Settlement::Requeued { .. }));
        assert!(matches!(after_loss(MAX_LOSSES - 1, now), Settlement::Ended { status: Status::SystemFailure, .. }));
    }
}
