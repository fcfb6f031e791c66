//! What a guest waits for, and what it is told: the host's words and those of storage.

use dacapo_host_api::world::{self, FailedStatus, Outcome, RunResult, Wait};
use jiff::Timestamp;

use crate::model::run::{RunError, Status};
use crate::model::wait::{Awaited, EndedRun, WaitOutcome};

/// What a guest waits for. An error means that the host made a name that it cannot read.
pub(super) fn awaited(wait: &Wait) -> Result<Vec<Awaited>, String> {
    wait.of.iter().map(one).collect()
}

fn one(awaited: &world::Awaited) -> Result<Awaited, String> {
    let id = |id: &String| id.parse().map_err(|_| format!("{id} is not the id of a run"));
    Ok(match awaited {
        world::Awaited::Moment(at) => Awaited::Moment(moment(*at)),
        world::Awaited::Token(token) => {
            Awaited::Token(token.parse().map_err(|_| format!("{token} is not the id of a wait token"))?)
        }
        world::Awaited::Run(run) => Awaited::Run(id(run)?),
        world::Awaited::Runs(runs) => Awaited::Runs(runs.iter().map(id).collect::<Result<_, _>>()?),
    })
}

/// A moment of the guest's; the end of time where no calendar has it.
fn moment(at: u64) -> Timestamp {
    i64::try_from(at).ok().and_then(|at| Timestamp::from_millisecond(at).ok()).unwrap_or(Timestamp::MAX)
}

/// What is there, by its place in the list; `None`: that is not all that is waited for, or nothing.
pub(super) fn answer(wait: &Wait, outcomes: Vec<Option<WaitOutcome>>) -> Option<Vec<(u32, Outcome)>> {
    let found = (0..).zip(&wait.of).zip(outcomes);
    let there: Vec<_> = found.filter_map(|((place, awaited), found)| Some((place, outcome(awaited, found?)))).collect();
    let needed = if wait.all { wait.of.len() } else { 1 };
    (there.len() >= needed).then_some(there)
}

fn outcome(awaited: &world::Awaited, outcome: WaitOutcome) -> Outcome {
    match outcome {
        WaitOutcome::Elapsed => Outcome::Elapsed,
        WaitOutcome::Completed(value) => Outcome::Completed(value),
        WaitOutcome::TimedOut => Outcome::TokenTimedOut,
        WaitOutcome::Ended(run) => Outcome::Ended(result(run)),
        WaitOutcome::AllEnded(runs) => Outcome::AllEnded(runs.into_iter().map(result).collect()),
        WaitOutcome::Missing => missing(awaited),
    }
}

/// What comes of something that was removed meanwhile.
fn missing(awaited: &world::Awaited) -> Outcome {
    let gone = |run: &String| RunResult {
        id: run.clone(),
        task_id: String::new(),
        output: Err(world::RunError {
            status: FailedStatus::SystemFailure,
            name: "RunRemoved".into(),
            message: "the run was removed".into(),
            stack: None,
        }),
        cpu: 0,
    };
    match awaited {
        world::Awaited::Moment(_) => Outcome::Elapsed,
        world::Awaited::Token(_) => Outcome::TokenTimedOut,
        world::Awaited::Run(run) => Outcome::Ended(gone(run)),
        world::Awaited::Runs(runs) => Outcome::AllEnded(runs.iter().map(gone).collect()),
    }
}

fn result(run: EndedRun) -> RunResult {
    let EndedRun { id, task, status, output, error, cpu } = run;
    let status = failed(status).or(error.is_some().then_some(FailedStatus::SystemFailure));
    let output = match status {
        None => Ok(output.unwrap_or_else(|| "null".into())),
        Some(status) => Err(run_error(status, error)),
    };
    let cpu = u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX);
    RunResult { id: id.to_string(), task_id: task, output, cpu }
}

/// Why a run failed, in the guest's words.
pub(super) fn run_error(status: FailedStatus, error: Option<RunError>) -> world::RunError {
    let (name, message, stack) = match error {
        Some(error) => (error.name, error.message, error.stack),
        None => ("Error".into(), String::new(), None),
    };
    world::RunError { status, name, message, stack }
}

/// How a run failed; `None`: it completed.
pub(super) fn failed(status: Status) -> Option<FailedStatus> {
    match status {
        Status::Completed => None,
        Status::Failed => Some(FailedStatus::Failed),
        Status::Crashed => Some(FailedStatus::Crashed),
        Status::TimedOut => Some(FailedStatus::TimedOut),
        Status::Canceled => Some(FailedStatus::Canceled),
        Status::Expired => Some(FailedStatus::Expired),
        Status::SystemFailure
        | Status::PendingVersion
        | Status::Delayed
        | Status::Queued
        | Status::Executing
        | Status::Waiting => Some(FailedStatus::SystemFailure),
    }
}
