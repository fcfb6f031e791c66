//! Waits for a run to end, and shows how it did.

use std::time::{Duration, Instant};

use super::client::{Client, Error, Route};
use super::output::{BAD, DIM, GOOD, Output, Progress, WARN, clean, clean_block, pretty, span};
use super::{Exit, input};
use crate::api::{RunDetails, RunResult, RunStatus, TaskRunError};

/// How long the server is asked to hold one answer.
pub(super) const HOLD: Duration = Duration::from_secs(30);
/// The least time between two questions, should the server not hold its answers.
const MIN_INTERVAL: Duration = Duration::from_millis(500);

/// Whether and how long to wait.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct WaitArguments {
    /// Wait until the run has ended; exit with 1 if it did not complete
    #[arg(long)]
    wait: bool,
    /// Give up waiting after this time (90s, 5m, 2h); the run goes on
    #[arg(long, value_name = "TIME", requires = "wait", value_parser = input::duration)]
    timeout: Option<Duration>,
}

impl WaitArguments {
    /// When to give up, where there is something to wait for.
    pub(super) fn begin(&self) -> Option<Deadline> {
        self.wait.then(|| Deadline { began: Instant::now(), timeout: self.timeout })
    }
}

/// Until when to wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    began: Instant,
    timeout: Option<Duration>,
}

impl Deadline {
    /// How long the server should hold the next answer, in the words of `?wait=`; `None` once the
    /// time is over.
    pub(super) fn next_hold(&self) -> Option<String> {
        let left = match self.timeout {
            Some(timeout) => timeout.checked_sub(self.began.elapsed())?,
            None => HOLD,
        };
        Some(format!("{}s", left.min(HOLD).as_secs().max(1)))
    }

    fn expired(&self, run: &str) -> anyhow::Error {
        let waited = span(self.began.elapsed());
        anyhow::anyhow!("{run} has not ended within {waited}; it goes on, see `dacapo runs get {run}`")
    }
}

/// Waits until `run` has ended.
pub(super) fn result_of(
    client: &Client,
    run: &str,
    deadline: Deadline,
    progress: &Progress,
) -> anyhow::Result<RunResult> {
    loop {
        let Some(hold) = deadline.next_hold() else { return Err(deadline.expired(run)) };
        let asked_at = Instant::now();
        let route = Route::new("/api/v1/runs").segment(run).path("/result").query("wait", hold);
        match client.get_waiting::<RunResult>(route) {
            Ok(answer) => return Ok(answer.value),
            // Not ended yet, or no such run: the next question tells.
            Err(Error::Refused { status: 404, .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let details = client.get::<RunDetails>(Route::new("/api/v3/runs").segment(run))?.value;
        let waited = span(deadline.began.elapsed());
        progress.message(&match details.common.status {
            RunStatus::PendingVersion => format!("{run} waits for a version that has its task ({waited})"),
            status => {
                let status = status.as_str().to_lowercase();
                format!("{run} {status} (attempt {}, {waited})", details.attempt_count)
            }
        });
        if let Some(pause) = MIN_INTERVAL.checked_sub(asked_at.elapsed()) {
            std::thread::sleep(pause);
        }
    }
}

/// Says so where a run that was just made waits for its task to be deployed. The run is there
/// whatever becomes of this question.
pub(super) fn note_missing_version(output: Output, client: &Client, run: &str) -> anyhow::Result<Exit> {
    if let Output::Human = output
        && let Ok(details) = client.get::<RunDetails>(Route::new("/api/v3/runs").segment(run))
        && details.value.common.status == RunStatus::PendingVersion
    {
        let task = clean(&details.value.common.task_identifier).into_owned();
        output
            .note(format_args!("{WARN}  waits for a version:{WARN:#} deploy a component that has the task `{task}`"))?;
    }
    Ok(Exit::Done)
}

/// Shows how a run ended: its output on standard output, everything else beside it.
pub(super) fn show(output: Output, result: &RunResult) -> anyhow::Result<Exit> {
    match output {
        Output::Json => output.json(&serde_json::to_string(result)?)?,
        Output::Human => show_to_people(output, result)?,
    }
    Ok(if result.ok { Exit::Done } else { Exit::Failed })
}

fn show_to_people(output: Output, result: &RunResult) -> std::io::Result<()> {
    let cpu = span(Duration::from_millis(result.usage.duration_ms));
    let (id, task) = (clean(&result.id), clean(&result.task_identifier));
    if result.ok {
        output.note(format_args!("{GOOD}✓{GOOD:#} {task} completed {DIM}({id}, {cpu} of CPU time){DIM:#}"))?;
        return output.line(pretty(result.output.as_deref().unwrap_or("null")));
    }
    output.note(format_args!("{BAD}✗{BAD:#} {task} did not complete {DIM}({id}, {cpu} of CPU time){DIM:#}"))?;
    let Some(error) = &result.error else { return Ok(()) };
    let (summary, stack) = error_text(error);
    output.note(format_args!("  {BAD}{}{BAD:#}", clean_block(&summary, "    ")))?;
    match stack {
        Some(stack) => output.note(format_args!("    {DIM}{}{DIM:#}", clean_block(&stack, "    "))),
        None => Ok(()),
    }
}

/// What an error says, and the stack below it; not cleaned.
fn error_text(error: &TaskRunError) -> (String, Option<String>) {
    let (name, message, stack) = match error {
        TaskRunError::BuiltInError { name, message, stack_trace } => (name, Some(message), Some(stack_trace)),
        TaskRunError::InternalError { code, message, stack_trace } => (code, message.as_ref(), stack_trace.as_ref()),
    };
    let summary = match message {
        Some(message) => format!("{name}: {message}"),
        None => name.clone(),
    };
    (summary, stack.filter(|stack| !stack.trim().is_empty()).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_never_asks_for_more_than_is_left() {
        let began = Instant::now();
        assert_eq!(Deadline { began, timeout: None }.next_hold().as_deref(), Some("30s"));
        let soon = Deadline { began, timeout: Some(Duration::from_millis(5_500)) };
        assert_eq!(soon.next_hold().as_deref(), Some("5s"));
        assert_eq!(Deadline { began, timeout: Some(Duration::ZERO) }.next_hold(), None);
    }

    #[test]
    fn errors_of_runs_are_one_sentence_and_a_stack() {
        let error = TaskRunError::InternalError { code: "TASK_RUN_CRASHED".into(), message: None, stack_trace: None };
        assert_eq!(error_text(&error), ("TASK_RUN_CRASHED".into(), None));
        let (name, message) = ("Oops".into(), "bad".into());
        let error = TaskRunError::BuiltInError { name, message, stack_trace: "  ".into() };
        assert_eq!(error_text(&error), ("Oops: bad".into(), None));
    }
}
