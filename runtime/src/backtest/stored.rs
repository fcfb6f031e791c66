//! Source runs of this server: what is stored of them, unsealed and read.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::compare::{from_stored, to_stored};
use super::jobs::Backtests;
use super::opened::Opened;
use super::replay::failed;
use super::source::{Original, Source, Sources};
use crate::api::{self, Comparison};
use crate::context::{AttemptLimits, SettingsCache, context_of};
use crate::model::attempt::Usage;
use crate::model::id::{BacktestId, EnvironmentId, RunId};
use crate::model::mask::Mask;
use crate::model::replay::{LogCounts, Observed, ObservedEnd};
use crate::model::run::{Run, Status};
use crate::model::task::TaskDefinition;
use crate::sandbox::context::Context;
use crate::secrets::{ServerKey, comparison_owner, journal_owner};
use crate::storage::{self, Deployment, Storage, StoredReplay, StoredSource};

/// Why a run cannot be replayed in the sandbox. The text is for people.
#[derive(Debug, thiserror::Error)]
pub enum NotReplayable {
    /// There is no run of this id in the environment.
    #[error("Run not found")]
    NoSuchRun,
    /// It has no recording, or none that can be used.
    #[error("{0}")]
    NoRecording(String),
    /// The server cannot read now what it takes. The text is for the operator.
    #[error("{0}")]
    Host(String),
    /// Storage failed.
    #[error("storage failed")]
    Storage(#[from] storage::Error),
}

impl NotReplayable {
    pub(super) fn because(why: impl Into<String>) -> Self {
        Self::NoRecording(why.into())
    }
}

/// Reads source runs. Clones share everything.
#[derive(Clone)]
pub struct StoredRuns {
    storage: Storage,
    server_key: Arc<ServerKey>,
    settings: Arc<SettingsCache>,
    limits: AttemptLimits,
}

impl StoredRuns {
    /// Reads from `storage`, and opens with `server_key`.
    pub fn new(storage: Storage, server_key: Arc<ServerKey>, limits: AttemptLimits) -> Self {
        let settings = Arc::new(SettingsCache::new(storage.clone(), server_key.clone()));
        Self { storage, server_key, settings, limits }
    }

    /// The settings of environments, which this keeps.
    pub(super) fn settings(&self) -> &SettingsCache {
        &self.settings
    }

    /// The journal of the first attempt of a run, sealed.
    pub(super) fn sealed(&self, run: RunId, journal: &[u8]) -> Vec<u8> {
        self.server_key.seal_bytes(journal, &journal_owner(run, 1))
    }

    /// The comparison of a run with its replay in a backtest, sealed.
    pub(super) fn sealed_comparison(&self, backtest: BacktestId, run: RunId, comparison: &Comparison) -> Vec<u8> {
        self.server_key.seal(&to_stored(comparison), &comparison_owner(backtest, run))
    }

    /// What [`Self::sealed_comparison`] has sealed.
    fn comparison(&self, backtest: BacktestId, run: RunId, sealed: &[u8]) -> Result<Comparison, storage::Error> {
        let corrupt = |problem: String| storage::Error::Corrupt(format!("the comparison of {run}: {problem}"));
        let text = self.server_key.open(sealed, &comparison_owner(backtest, run));
        let text = text.map_err(|error| corrupt(error.to_string()))?;
        from_stored(&text).map_err(|error| corrupt(error.to_string()))
    }

    /// A run that has ended, with what its last attempt was answered.
    ///
    /// # Errors
    ///
    /// If it cannot be replayed, or storage fails.
    pub async fn load(&self, environment: EnvironmentId, run: RunId) -> Result<Source, NotReplayable> {
        let (stored, opened) = self.opened(environment, run).await?;
        // What was written is of no more use, and may be large.
        let opened = Opened { journal: Vec::new(), ..opened? };
        let (deployment, definition) = self.code_of(&stored.run).await?;
        self.source(stored, opened, (&deployment, &definition)).await
    }

    /// The same, with the recording as it was written, and what it ran on.
    ///
    /// # Errors
    ///
    /// If it cannot be replayed, or storage fails.
    pub async fn original(&self, environment: EnvironmentId, run: RunId) -> Result<Original, NotReplayable> {
        let (stored, opened) = self.opened(environment, run).await?;
        let mut opened = opened?;
        let journal = std::mem::take(&mut opened.journal);
        let (deployment, definition) = self.code_of(&stored.run).await?;
        let source = self.source(stored, opened, (&deployment, &definition)).await?;
        let (version, component) = (deployment.version.to_string(), deployment.digest);
        Ok(Original { source, version, component, journal, is_redacted: false })
    }

    /// A run whose code came to an end, as far as it is known what it did.
    ///
    /// # Errors
    ///
    /// If there is no such run, its code did not come to an end, or storage fails.
    pub(super) async fn seen(&self, environment: EnvironmentId, run: RunId) -> Result<Seen, NotReplayable> {
        let (StoredSource { run, logs, .. }, opened) = self.opened(environment, run).await?;
        let (opened, not_recorded) = match opened {
            Ok(opened) => (opened, None),
            Err(NotReplayable::NoRecording(why)) => {
                let secrets = self.secrets_now(environment).await?;
                (Opened { secrets, ..Opened::default() }, Some(why))
            }
            Err(error) => return Err(error),
        };
        let observed = observed(&run, end_of(&run)?, logs, opened);
        Ok(Seen { run, observed, not_recorded })
    }

    /// What is stored of a run whose code came to an end, and its recording.
    async fn opened(
        &self,
        environment: EnvironmentId,
        run: RunId,
    ) -> Result<(StoredSource, Result<Opened, NotReplayable>), NotReplayable> {
        let mut stored = self.storage.source(environment, run).await?.ok_or(NotReplayable::NoSuchRun)?;
        check_end(&stored.run)?;
        let settings = self.settings.of(environment).await.map_err(NotReplayable::Host)?;
        let key = self.server_key.clone();
        let opening = tokio::task::spawn_blocking(move || {
            let opened = Opened::of(&mut stored, &key, &settings.variables);
            (stored, opened)
        });
        opening.await.map_err(|error| NotReplayable::Host(error.to_string()))
    }

    async fn source(
        &self,
        stored: StoredSource,
        opened: Opened,
        (deployment, definition): (&Deployment, &TaskDefinition),
    ) -> Result<Source, NotReplayable> {
        let StoredSource { run, payload, metadata, logs, .. } = stored;
        let context = match opened.recording.context.clone() {
            Some(told) => told,
            None => self.context(&run, deployment, definition).await?,
        };
        let payload = api::plain_json(&payload).map_err(|error| NotReplayable::because(error.to_string()))?;
        Ok(Source {
            context,
            payload: Arc::new(payload),
            metadata,
            machine: run.machine,
            max_duration_seconds: run.max_duration_seconds,
            recording: opened.recording.clone(),
            observed: observed(&run, end_of(&run)?, logs, opened),
        })
    }

    /// The values of the variables that an environment has now.
    async fn secrets_now(&self, environment: EnvironmentId) -> Result<Mask, NotReplayable> {
        let settings = self.settings.of(environment).await.map_err(NotReplayable::Host)?;
        Ok(Mask::new(settings.variables.iter().map(|(_, value)| value.as_str())))
    }

    async fn code_of(&self, run: &Run) -> Result<(Arc<Deployment>, Arc<TaskDefinition>), NotReplayable> {
        let gone = || NotReplayable::because("the version that it ran on is gone");
        let deployment = run.deployment.ok_or_else(gone)?;
        let deployment = self.settings.deployment(deployment).await?.ok_or_else(gone)?;
        let definition = self.storage.task(deployment.id, &run.task).await?.ok_or_else(gone)?;
        Ok((deployment, definition))
    }

    /// What a run would be told of itself now, and what is not to be read in it.
    ///
    /// # Errors
    ///
    /// If there is no such run, it has no version, or storage fails.
    pub(super) async fn context_now(
        &self,
        environment: EnvironmentId,
        run: RunId,
    ) -> Result<(Context, Mask), NotReplayable> {
        let run = self.storage.run(environment, run).await?.ok_or(NotReplayable::NoSuchRun)?;
        if run.deployment.is_none() {
            return Err(NotReplayable::because("it has not started, and has no version yet"));
        }
        let (deployment, definition) = self.code_of(&run).await?;
        let context = self.context(&run, &deployment, &definition).await?;
        Ok((context, self.secrets_now(environment).await?))
    }

    /// What a run was told that asked nothing, so that nobody wrote it down.
    async fn context(
        &self,
        run: &Run,
        deployment: &Deployment,
        definition: &TaskDefinition,
    ) -> Result<Context, NotReplayable> {
        let settings = self.settings.of(run.environment).await.map_err(NotReplayable::Host)?;
        Ok(context_of(run, definition, deployment, &settings, &self.limits))
    }
}

impl Backtests {
    /// How the replay of a run in a backtest compares with it, where that was found out.
    ///
    /// # Errors
    ///
    /// If what is stored of it cannot be read.
    pub fn comparison(
        &self,
        backtest: BacktestId,
        replay: &StoredReplay,
    ) -> Result<Option<Comparison>, storage::Error> {
        let open = |sealed: &Vec<u8>| self.sources.comparison(backtest, replay.source, sealed);
        replay.comparison.as_ref().map(open).transpose()
    }
}

/// Source runs of one environment, by their ids.
pub struct OfEnvironment {
    pub(super) runs: StoredRuns,
    pub(super) environment: EnvironmentId,
}

#[async_trait]
impl Sources for OfEnvironment {
    async fn source(&self, run: &str) -> Result<Option<Source>, String> {
        let Ok(run) = run.parse() else { return Ok(None) };
        match self.runs.load(self.environment, run).await {
            Ok(source) => Ok(Some(source)),
            Err(NotReplayable::NoSuchRun | NotReplayable::NoRecording(_)) => Ok(None),
            Err(NotReplayable::Host(error)) => Err(error),
            Err(NotReplayable::Storage(error)) => Err(error.to_string()),
        }
    }
}

/// A run whose code came to an end.
#[derive(Debug)]
pub(super) struct Seen {
    /// The run.
    pub(super) run: Run,
    /// What is known of what it did.
    pub(super) observed: Observed,
    /// Why its calls are not known, where they are not.
    pub(super) not_recorded: Option<String>,
}

fn observed(run: &Run, end: ObservedEnd, logs: LogCounts, opened: Opened) -> Observed {
    let Opened { journal: _, recording, effects, secrets } = opened;
    Observed {
        end,
        effects,
        children: Vec::new(),
        logs,
        metadata: run.metadata.clone().unwrap_or_else(|| "{}".into()),
        metadata_digest: recording.metadata_digest(),
        usage: Usage { cpu: run.cpu, wall: wall_of(run), peak_memory_bytes: run.peak_memory_bytes },
        new_variables: Vec::new(),
        secrets,
    }
}

/// Whether the code of a run came to an end.
fn check_end(run: &Run) -> Result<(), NotReplayable> {
    match run.status {
        Status::Completed | Status::Failed | Status::Crashed | Status::TimedOut => Ok(()),
        Status::Canceled | Status::Expired | Status::SystemFailure => Err(without_end(run)),
        Status::PendingVersion | Status::Delayed | Status::Queued | Status::Executing | Status::Waiting => {
            Err(NotReplayable::because("it has not ended"))
        }
    }
}

fn end_of(run: &Run) -> Result<ObservedEnd, NotReplayable> {
    check_end(run)?;
    if run.status == Status::Completed {
        return Ok(ObservedEnd::Completed(run.output.clone().unwrap_or_else(|| "null".into())));
    }
    run.error.clone().map(failed).ok_or_else(|| without_end(run))
}

fn without_end(run: &Run) -> NotReplayable {
    NotReplayable::because(format!("it is {}: its code did not come to an end", run.status.as_str()))
}

/// From its start to its end, what it waited included.
fn wall_of(run: &Run) -> Duration {
    let span = run.started_at.zip(run.finished_at).map(|(start, end)| end.duration_since(start));
    span.and_then(|span| Duration::try_from(span).ok()).unwrap_or_default()
}
