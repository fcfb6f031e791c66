//! Exact re-execution: the same code gets the same input and the same answers, and must ask and return the same.
//!
//! Nothing is reached outside: whatever the guest asks is answered from its journal, and where that has no answer
//! the guest is stopped. The code must be the component that the run ran on.

use super::compare::compare;
use super::file::{self, FileError, Redaction};
use super::jobs::{BacktestError, Backtests};
use super::replay::{ReplayError, Target, end_of};
use super::rules::TaskRules;
use super::source::Original;
use crate::api::{Comparison, RecordingFile, RerunReport, RerunStep, Used};
use crate::model::attempt::{Outcome, Usage};
use crate::model::id::{EnvironmentId, RunId};
use crate::model::limits::MAX_SHOWN_STEPS;
use crate::model::replay::{Observed, ObservedEnd};
use crate::model::run::ErrorKind;
use crate::model::verdict::Verdict;
use crate::sandbox::{Journal, Sandbox};

/// CPU time that a re-execution may use, as a multiple of what the run might: another machine may be slower.
const CPU_FACTOR: u32 = 4;

/// Why there is no file of a recording.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The run cannot be executed again, or too many wait.
    #[error(transparent)]
    Backtest(#[from] BacktestError),
    /// It cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What stays in the file of a recording of what the run was told in confidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Nothing.
    Nothing,
    /// The values of variables that are not marked as secret.
    PlainVariables,
    /// All of it.
    Secrets,
}

/// What came of a re-execution.
#[derive(Debug, Clone)]
pub struct Rerun {
    /// How it ended.
    pub end: ObservedEnd,
    /// What it used.
    pub usage: Usage,
    /// Which call differs.
    pub mismatch: Option<String>,
    /// How the ends differ.
    pub comparison: Comparison,
}

impl Rerun {
    /// Whether it asked the same, and ended the same.
    pub fn is_same(&self) -> bool {
        self.mismatch.is_none() && self.comparison.verdict == Verdict::Same
    }
}

/// Executes a run again on its own component.
///
/// # Errors
///
/// If it cannot be executed: that it differs is a result.
pub async fn rerun(sandbox: &dyn Sandbox, target: &Target, original: &Original) -> Result<Rerun, ReplayError> {
    let Original { source, component, journal, version, .. } = original;
    if target.component != *component {
        let text = format!(
            "the run ran on version {version}, component {component}, and this is component {}: an exact re-execution \
             takes the very same file",
            target.component
        );
        return Err(ReplayError::Recording(text));
    }
    let then = &source.observed;
    let journal = Journal::repeating(journal.clone());
    let mut call = target.call(source, source.context.clone(), journal.clone())?;
    if !matches!(then.end, ObservedEnd::Failed { kind: ErrorKind::TimeLimit, .. }) {
        let limits = &mut call.limits;
        (limits.cpu, limits.wall) = (limits.cpu * CPU_FACTOR, limits.wall * CPU_FACTOR);
    }
    let report = sandbox.call(call).await;
    let (end, mismatch) = match report.outcome {
        // It came to where the run was stopped, in the middle of a call.
        _ if journal.is_used_up() && source.recording.is_cut_off() => (then.end.clone(), None),
        Outcome::NonDeterministic(text) => (end_of(Outcome::NonDeterministic(text.clone()))?, Some(text)),
        outcome => {
            let left = journal.ended().err().map(|left| left.to_string());
            (end_of(outcome)?, left)
        }
    };
    // What it said and did on the way is in the journal, and not done again.
    let now = Observed { end: end.clone(), usage: report.usage, ..then.clone() };
    let comparison = compare(then, &now, &TaskRules::default());
    Ok(Rerun { end, usage: report.usage, mismatch, comparison })
}

/// What came of it, for people and machines; with `steps`, call by call.
pub fn report(original: &Original, rerun: &Rerun, steps: bool) -> RerunReport {
    let Original { source, version, .. } = original;
    let masked = |text: &String| source.observed.secrets.apply(text).into_owned();
    let steps = steps.then(|| {
        let shown = source.recording.steps().take(MAX_SHOWN_STEPS);
        let step = |step: crate::sandbox::recording::Step| RerunStep {
            number: step.number,
            call: masked(&step.call),
            arguments: masked(&step.arguments),
            answer: step.answer.as_ref().map(masked),
        };
        shown.map(step).collect()
    });
    let stack = match &rerun.end {
        ObservedEnd::Failed { stack, .. } => stack.as_ref().map(masked),
        ObservedEnd::Completed(_) => None,
    };
    RerunReport {
        run_id: source.context.run.id.clone(),
        task_identifier: source.context.task.id.clone(),
        version: version.clone(),
        same: rerun.is_same(),
        mismatch: rerun.mismatch.as_ref().map(masked),
        differences: rerun.comparison.output.clone(),
        end: rerun.comparison.ends.now.clone(),
        stack,
        usage: Used::from(rerun.usage),
        calls: source.recording.len(),
        steps,
    }
}

impl Backtests {
    /// A stored run with its recording as it was written.
    ///
    /// # Errors
    ///
    /// If there is no such run, or it has no recording that can be used.
    pub async fn original(&self, environment: EnvironmentId, run: RunId) -> Result<Original, BacktestError> {
        Ok(self.sources.original(environment, run).await?)
    }

    /// The recording of a stored run as a file. It takes a place among the replays, since it holds as much in memory, and
    /// is written where nobody else waits.
    ///
    /// # Errors
    ///
    /// If there is no such run, or no recording that can be used.
    pub async fn recording(
        &self,
        environment: EnvironmentId,
        run: RunId,
        kept: Kept,
    ) -> Result<RecordingFile, ExportError> {
        let inside = self.door.enter_from_outside().await?;
        let original = self.original(environment, run).await?;
        let redaction = match kept {
            Kept::Nothing => Some(Redaction::of_all(&original)),
            Kept::PlainVariables => {
                let settings = self.sources.settings().of(environment).await.map_err(BacktestError::Host)?;
                Some(Redaction::of_all_but(settings.plain.clone(), &original, &settings.variables)?)
            }
            Kept::Secrets => None,
        };
        let writing = tokio::task::spawn_blocking(move || {
            // Its place is free when it is written, whether or not somebody still wants it.
            let _inside = inside;
            file::write(&original, redaction.as_ref())
        });
        Ok(writing.await.map_err(|error| BacktestError::Host(error.to_string()))??)
    }

    /// Executes a stored run again on its own version.
    ///
    /// # Errors
    ///
    /// If it cannot be executed: that it differs is a result.
    pub async fn rerun(
        &self,
        environment: EnvironmentId,
        run: RunId,
        steps: bool,
    ) -> Result<RerunReport, BacktestError> {
        let _inside = self.door.enter_from_outside().await?;
        let original = self.original(environment, run).await?;
        let deployment = self.deployment_of(environment, &original.version).await?;
        let target = self.target(&deployment).await?;
        let rerun = rerun(&*self.sandbox, &target, &original).await?;
        Ok(report(&original, &rerun, steps))
    }
}
