//! The verbs: replay one run and compare, and ask for the same of many.
//!
//! A backtest is stored and then done by a loop that calls [`Backtests::step`].

use std::sync::Arc;
use std::time::Duration;

use super::door::Door;
use super::judge::{Bench, Judged};
use super::plan::{Amount, Plan, Scope, check_how, check_min_known};
use super::replay::ReplayError;
use super::rules::RulesError;
use super::services::Lines;
use super::shown::shown_ends;
use super::stored::{NotReplayable, StoredRuns};
use crate::api::{BacktestRequest, Gate, ReplayEnd, ReplayMode, ReplayOptions, SourceEnd};
use crate::clock::Clock;
use crate::context::AttemptLimits;
use crate::model::id::{BacktestId, DeploymentId, EnvironmentId, RunId};
use crate::model::limits;
use crate::runs::Runs;
use crate::sandbox::Sandbox;
use crate::secrets;
use crate::selection::SelectionError;
use crate::storage::{self, BacktestDeleted, BacktestEnd, Deployment, GateRule, NewBacktest, Storage};

/// Runs that are replayed before their results are written together.
pub(super) const STEP_RUNS: u32 = 128;

/// Replays runs of this server. Clones share everything.
#[derive(Clone)]
pub struct Backtests {
    pub(super) storage: Storage,
    pub(super) sources: StoredRuns,
    pub(super) sandbox: Arc<dyn Sandbox>,
    pub(super) runs: Runs,
    pub(super) clock: Clock,
    pub(super) limits: AttemptLimits,
    /// How long the recording of a run is kept after its end.
    pub(super) recordings_kept: Duration,
    pub(super) door: Door,
}

/// Why nothing is replayed.
#[derive(Debug, thiserror::Error)]
pub enum BacktestError {
    /// It asks for something that cannot be.
    #[error("{0}")]
    Refused(String),
    /// The rules are none.
    #[error("`options.rules`: {0}")]
    Rules(#[from] RulesError),
    /// It names runs that cannot be meant.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// There is no run of this id.
    #[error("Run not found")]
    NoSuchRun,
    /// There is no backtest of this id.
    #[error("Backtest not found")]
    NoSuchBacktest,
    /// The run cannot be executed again.
    #[error("the run cannot be replayed: {0}")]
    NotReplayable(String),
    /// The run cannot be compared with another.
    #[error("the runs cannot be compared: {0}")]
    NotComparable(String),
    /// It is over.
    #[error("the backtest is over already")]
    Over,
    /// It is not over.
    #[error("the backtest is under way: abort it first")]
    Pending,
    /// The environment has so many that are not over.
    #[error(
        "{} backtests of the environment are under way already; abort one, or try again when one is over",
        limits::MAX_PENDING_BACKTESTS
    )]
    TooMany,
    /// So many replays wait for a place.
    #[error("{} replays wait already; try again in a moment", limits::MAX_WAITING_REPLAYS)]
    Full,
    /// So many wait for a place to look at a recording.
    #[error("{} others wait to look at recordings already; try again in a moment", limits::MAX_WAITING_REPLAYS)]
    FullOfReaders,
    /// The server cannot do it now. The text is for people.
    #[error("{0}")]
    Host(String),
    /// Storage failed.
    #[error("storage failed")]
    Storage(#[from] storage::Error),
}

impl From<NotReplayable> for BacktestError {
    fn from(error: NotReplayable) -> Self {
        match error {
            NotReplayable::NoSuchRun => Self::NoSuchRun,
            NotReplayable::NoRecording(why) => Self::NotReplayable(why),
            NotReplayable::Host(error) => Self::Host(error),
            NotReplayable::Storage(error) => error.into(),
        }
    }
}

impl From<ReplayError> for BacktestError {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Host(_) | ReplayError::Full(_) => Self::Host(error.to_string()),
            ReplayError::NoSuchTask { .. } | ReplayError::Recording(_) | ReplayError::Limit(_) => {
                Self::NotReplayable(error.to_string())
            }
        }
    }
}

/// What replays may use, and what they are made from.
#[derive(Debug, Clone, Copy)]
pub struct ReplayLimits {
    /// What an attempt may use where neither run nor task say.
    pub attempts: AttemptLimits,
    /// How long the recording of a run is kept after its end.
    pub recordings_kept: Duration,
}

impl Backtests {
    /// `sandbox` is a lane of its own, so that replays take nothing from runs.
    pub fn new(
        storage: Storage,
        sandbox: Arc<dyn Sandbox>,
        runs: Runs,
        clock: Clock,
        (server_key, limits): (Arc<secrets::ServerKey>, ReplayLimits),
    ) -> Self {
        let ReplayLimits { attempts, recordings_kept } = limits;
        let sources = StoredRuns::new(storage.clone(), server_key, attempts);
        Self { storage, sources, sandbox, runs, clock, limits: attempts, recordings_kept, door: Door::new() }
    }

    /// Replays one run on a version, by default the current one, and compares. The version is one of `wanted.target`, whose
    /// settings count, too; what the run was told and answered is that of its own environment.
    ///
    /// # Errors
    ///
    /// If the request cannot be met, or too many are waiting. That the run cannot be replayed is a verdict.
    pub async fn replay_one(
        &self,
        environment: EnvironmentId,
        run: RunId,
        wanted: Wanted,
    ) -> Result<Replayed, BacktestError> {
        let Wanted { target, version, payload, mode, options } = wanted;
        let rules = Arc::new(self.rules(environment, None, &options).await?);
        let _inside = self.door.enter_from_outside().await?;
        let source = self.storage.run(environment, run).await?.ok_or(BacktestError::NoSuchRun)?;
        let named = match version {
            Some(version) => Some(self.deployment_of(target, &version).await?.id),
            None => None,
        };
        let deployment = self.named_or_current(target, named, &source.task).await?;
        let mut version = self.version(environment, deployment.clone(), (mode, &options)).await?;
        let lines = Lines::default();
        version.replayer = version.replayer.keeping(lines.clone());
        let bench = Bench { environment, version, against: None, rules };
        let mut judged = self.judge(&bench, run, payload.map(Arc::new)).await?;
        let ends = judged.observed.take().map(|observed| shown_ends(*observed, lines.taken()));
        Ok(Replayed { judged, deployment, ends })
    }

    /// Stores a backtest; it begins at once.
    ///
    /// # Errors
    ///
    /// If the request cannot be met.
    pub async fn create(
        &self,
        environment: EnvironmentId,
        request: BacktestRequest,
    ) -> Result<BacktestId, BacktestError> {
        let now = self.clock.now();
        let amount = Amount::check(request.last, request.sample)?;
        check_how(request.mode, &request.options)?;
        let rules = self.rules_to_keep(environment, &request.options).await?;
        let gate = match request.gate {
            Some(Gate { allow, min_known }) => {
                Some(GateRule { allowed: allow, min_known: check_min_known(min_known)? })
            }
            None => None,
        };
        let deployment = self.deployment_of(environment, &request.version).await?;
        let against = match request.against.as_deref() {
            None | Some("recorded") => None,
            Some("current") => Some(self.current_for(&deployment).await?),
            Some(version) => Some(self.deployment_of(environment, version).await?.id),
        };
        let id = secrets::backtest_id(now);
        let scope = Scope { environment, deployment: deployment.id, made_at: now };
        let Plan { request, planned, pages } = self.plan(&scope, request, amount).await?;
        let new = NewBacktest {
            id,
            environment,
            deployment: deployment.id,
            against,
            request: serde_json::to_string(&request).expect("texts and numbers can be written as JSON"),
            planned: planned as u64,
            pages,
            gate,
            rules,
            created_at: now,
        };
        match self.storage.insert_backtest(new, limits::MAX_PENDING_BACKTESTS).await? {
            true => Ok(id),
            false => Err(BacktestError::TooMany),
        }
    }

    /// What is current where a version would be: of its component, or else of one of its tasks.
    async fn current_for(&self, tested: &Deployment) -> Result<DeploymentId, BacktestError> {
        let (environment, component) = (tested.environment, tested.component.clone());
        if let Some(current) = self.storage.current_deployment_of_component(environment, component).await? {
            return Ok(current);
        }
        for task in self.storage.tasks(tested.id).await? {
            if let Some(current) = self.storage.current_deployment_of(environment, &task.id).await? {
                return Ok(current);
            }
        }
        let text = format!(
            "no version of `{}` is current, and no other has its tasks: compare with `recorded`",
            tested.component
        );
        Err(BacktestError::Refused(text))
    }

    /// Ends a backtest where it is.
    ///
    /// # Errors
    ///
    /// If there is none of this name, or it is over.
    pub async fn abort(&self, environment: EnvironmentId, id: BacktestId) -> Result<(), BacktestError> {
        let backtest = self.storage.backtest(environment, id).await?.ok_or(BacktestError::NoSuchBacktest)?;
        match self.storage.end_backtest(&backtest, BacktestEnd::Aborted, self.clock.now()).await? {
            true => Ok(()),
            false => Err(BacktestError::Over),
        }
    }

    /// Deletes a backtest that is over, with all that it has found.
    ///
    /// # Errors
    ///
    /// If there is none of this name, or it is not over.
    pub async fn delete(&self, environment: EnvironmentId, id: BacktestId) -> Result<(), BacktestError> {
        match self.storage.delete_backtest(environment, id).await? {
            BacktestDeleted::Now => Ok(()),
            BacktestDeleted::Pending => Err(BacktestError::Pending),
            BacktestDeleted::Missing => Err(BacktestError::NoSuchBacktest),
        }
    }
}

/// What came of the replay of one run.
#[derive(Debug)]
pub struct Replayed {
    /// How it compares.
    pub judged: Judged,
    /// On what it was executed.
    pub deployment: Arc<Deployment>,
    /// How the source and the replay ended, where it was executed.
    pub ends: Option<(SourceEnd, ReplayEnd)>,
}

/// How one run is to be replayed.
#[derive(Debug)]
pub struct Wanted {
    /// The environment of the version.
    pub target: EnvironmentId,
    /// Default: the current one.
    pub version: Option<String>,
    /// JSON text instead of that of the run.
    pub payload: Option<String>,
    /// `Sandbox` or `Shadow`.
    pub mode: Option<ReplayMode>,
    /// The rest.
    pub options: ReplayOptions,
}
