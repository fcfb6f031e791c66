//! Source runs of this server: what is stored of them, unsealed and read.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::compare::{from_stored, to_stored};
use super::jobs::Backtests;
use super::replay::{effects_of, failed};
use super::source::{Original, Source, Sources};
use crate::api::{self, Comparison};
use crate::context::{AttemptLimits, SettingsCache, context_of};
use crate::model::attempt::Usage;
use crate::model::id::{BacktestId, EnvironmentId, RunId};
use crate::model::mask::Mask;
use crate::model::replay::{Effect, LogCounts, Observed, ObservedEnd};
use crate::model::run::{Run, Status};
use crate::model::task::TaskDefinition;
use crate::sandbox::context::Context;
use crate::sandbox::recording::Recording;
use crate::sandbox::world::HostFault;
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
    fn because(why: impl Into<String>) -> Self {
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
        self.original(environment, run).await.map(|original| original.source)
    }

    /// The same, with the recording as it was written, and what it ran on.
    ///
    /// # Errors
    ///
    /// If it cannot be replayed, or storage fails.
    pub async fn original(&self, environment: EnvironmentId, run: RunId) -> Result<Original, NotReplayable> {
        let stored = self.storage.source(environment, run).await?.ok_or(NotReplayable::NoSuchRun)?;
        let end = end_of(&stored.run)?;
        let journal = self.journal(&stored)?;
        let recording = Recording::read(&journal).map_err(|fault| NotReplayable::because(fault.to_string()))?;
        let (deployment, definition) = self.code_of(&stored.run).await?;
        let context = match recording.context.clone() {
            Some(told) => told,
            None => self.context(&stored.run, &deployment, &definition).await?,
        };
        let effects = effects_of(&recording).map_err(|fault| NotReplayable::because(fault.to_string()))?;
        let metadata_digest = recording.metadata_digest();
        let secrets = self.secrets(environment, &recording).await?;
        let StoredSource { run, payload, metadata, logs, .. } = stored;
        let payload = api::plain_json(&payload).map_err(|error| NotReplayable::because(error.to_string()))?;
        let source = Source {
            context,
            payload: Arc::new(payload),
            metadata,
            machine: run.machine,
            max_duration_seconds: run.max_duration_seconds,
            recording: Arc::new(recording),
            observed: observed(&run, (end, effects), logs, (metadata_digest, secrets)),
        };
        let (version, component) = (deployment.version.to_string(), deployment.digest);
        Ok(Original { source, version, component, journal, is_redacted: false })
    }

    /// A run whose code came to an end, as far as it is known what it did.
    ///
    /// # Errors
    ///
    /// If there is no such run, its code did not come to an end, or storage fails.
    pub(super) async fn seen(&self, environment: EnvironmentId, run: RunId) -> Result<Seen, NotReplayable> {
        let stored = self.storage.source(environment, run).await?.ok_or(NotReplayable::NoSuchRun)?;
        let end = end_of(&stored.run)?;
        let read = self.journal(&stored).and_then(|journal| {
            let damaged = |fault: HostFault| NotReplayable::because(fault.to_string());
            let recording = Recording::read(&journal).map_err(damaged)?;
            let effects = effects_of(&recording).map_err(damaged)?;
            Ok((recording, effects))
        });
        let (recording, effects, not_recorded) = match read {
            Ok((recording, effects)) => (recording, effects, None),
            Err(NotReplayable::NoRecording(why)) => (Recording::default(), Vec::new(), Some(why)),
            Err(error) => return Err(error),
        };
        let secrets = self.secrets(environment, &recording).await?;
        let StoredSource { run, logs, .. } = stored;
        let observed = observed(&run, (end, effects), logs, (recording.metadata_digest(), secrets));
        Ok(Seen { run, observed, not_recorded })
    }

    /// The values of the variables that the run saw, and of those that its environment has now.
    async fn secrets(&self, environment: EnvironmentId, recording: &Recording) -> Result<Mask, NotReplayable> {
        let seen = recording.variables().map_err(|fault| NotReplayable::because(fault.to_string()))?;
        let settings = self.settings.of(environment).await.map_err(NotReplayable::Host)?;
        Ok(Mask::new(seen.iter().chain(&*settings.variables).map(|(_, value)| value.as_str())))
    }

    fn journal(&self, stored: &StoredSource) -> Result<Vec<u8>, NotReplayable> {
        match stored.is_recorded {
            Some(true) => {}
            Some(false) => {
                let why = "its journal passed the limit (--max-journal), was not wanted, or is forgotten";
                return Err(NotReplayable::because(why));
            }
            None => return Err(NotReplayable::because("it ended without an attempt that is on record")),
        }
        let owner = journal_owner(stored.run.id, stored.run.attempt);
        let open = |segment: &Vec<u8>| self.server_key.open_bytes(segment, &owner);
        let journal = stored.journal.iter().map(open).collect::<Result<Vec<_>, _>>();
        Ok(journal.map_err(|error| NotReplayable::because(format!("its journal: {error}")))?.concat())
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
        Ok((context, self.secrets(environment, &Recording::default()).await?))
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

fn observed(
    run: &Run,
    (end, effects): (ObservedEnd, Vec<Effect>),
    logs: LogCounts,
    (metadata_digest, secrets): (u64, Mask),
) -> Observed {
    Observed {
        end,
        effects,
        children: Vec::new(),
        logs,
        metadata: run.metadata.clone().unwrap_or_else(|| "{}".into()),
        metadata_digest,
        usage: Usage { cpu: run.cpu, wall: wall_of(run), peak_memory_bytes: run.peak_memory_bytes },
        new_variables: Vec::new(),
        secrets,
    }
}

fn end_of(run: &Run) -> Result<ObservedEnd, NotReplayable> {
    match (run.status, &run.output, &run.error) {
        (Status::Completed, output, _) => Ok(ObservedEnd::Completed(output.clone().unwrap_or_else(|| "null".into()))),
        (Status::Failed | Status::Crashed | Status::TimedOut, _, Some(error)) => Ok(failed(error.clone())),
        (status, ..) if status.is_final() => {
            Err(NotReplayable::because(format!("it is {}: its code did not come to an end", status.as_str())))
        }
        _ => Err(NotReplayable::because("it has not ended")),
    }
}

/// From its start to its end, what it waited included.
fn wall_of(run: &Run) -> Duration {
    let span = run.started_at.zip(run.finished_at).map(|(start, end)| end.duration_since(start));
    span.and_then(|span| Duration::try_from(span).ok()).unwrap_or_default()
}
