//! The verbs: replay one run and compare, and do the same to many, step by step.
//!
//! A backtest is stored and then done by a loop that calls [`Backtests::step`], newest run first.
//! What came of runs is written with the place to go on from, so that each counts once, whatever
//! dies in between. At the end a gate is open, and the version made current, or it is not.

use std::sync::Arc;

use jiff::Timestamp;

use super::judge::{Bench, Judged};
use super::replay::ReplayError;
use super::rules::{Rules, RulesError};
use super::stored::{NotReplayable, StoredRuns};
use super::stubs;
use crate::api::{BacktestRequest, BulkFilter, ReplayMode, ReplayOptions};
use crate::clock::Clock;
use crate::context::AttemptLimits;
use crate::model::id::{BacktestId, DeploymentId, EnvironmentId, RunId};
use crate::model::limits;
use crate::model::run::Status;
use crate::model::verdict::Verdict;
use crate::runs::Runs;
use crate::sandbox::Sandbox;
use crate::secrets;
use crate::selection::{self, SelectionError};
use crate::storage::{self, Backtest, BacktestEnd, Deployment, NewBacktest, Place, RunFilter, Storage};

/// Runs that are replayed before their results are written together.
const PAGE: u32 = 128;

/// Replays runs of this server. Clones share everything.
#[derive(Clone)]
pub struct Backtests {
    pub(super) storage: Storage,
    pub(super) sources: StoredRuns,
    pub(super) sandbox: Arc<dyn Sandbox>,
    pub(super) runs: Runs,
    pub(super) clock: Clock,
    pub(super) limits: AttemptLimits,
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
    /// It is over.
    #[error("the backtest is over already")]
    Over,
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
            NotReplayable::Storage(error) => error.into(),
        }
    }
}

impl From<ReplayError> for BacktestError {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Host(_) => Self::Host(error.to_string()),
            ReplayError::NoSuchTask { .. } | ReplayError::Recording(_) | ReplayError::Limit(_) => {
                Self::NotReplayable(error.to_string())
            }
        }
    }
}

/// Among which runs those of a backtest are looked for.
#[derive(Debug, Clone, Copy)]
struct Scope {
    environment: EnvironmentId,
    /// The version that is tested.
    deployment: DeploymentId,
    /// When the backtest was asked for.
    made_at: Timestamp,
}

impl Backtests {
    /// `sandbox` is a lane of its own, so that replays take nothing from runs.
    pub fn new(
        storage: Storage,
        sandbox: Arc<dyn Sandbox>,
        runs: Runs,
        clock: Clock,
        (server_key, limits): (Arc<secrets::ServerKey>, AttemptLimits),
    ) -> Self {
        let sources = StoredRuns::new(storage.clone(), server_key, limits);
        Self { storage, sources, sandbox, runs, clock, limits }
    }

    /// Replays one run on a version, by default the current one, and compares.
    ///
    /// # Errors
    ///
    /// If the request cannot be met. That the run cannot be replayed is a verdict.
    pub async fn replay_one(
        &self,
        environment: EnvironmentId,
        run: RunId,
        wanted: Wanted,
    ) -> Result<(Judged, Arc<Deployment>), BacktestError> {
        let Wanted { version, payload, mode, options } = wanted;
        let source = self.storage.run(environment, run).await?.ok_or(BacktestError::NoSuchRun)?;
        let deployment = match version {
            Some(version) => self.deployment_of(environment, &version).await?,
            None => {
                let current = self.storage.current_deployment_of(environment, &source.task).await?;
                let missing = || BacktestError::Refused(format!("no current version has the task `{}`", source.task));
                self.deployment(current.ok_or_else(missing)?).await?
            }
        };
        let rules = Arc::new(Rules::check(options.rules.clone().unwrap_or_default())?);
        let version = self.version(environment, deployment.clone(), (mode, &options)).await?;
        let bench = Bench { environment, version, against: None, rules };
        let judged = self.judge(&bench, run, payload.map(Arc::new)).await?;
        Ok((judged, deployment))
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
        let refuse = |text: &str| Err(BacktestError::Refused(text.into()));
        let last = request.last.unwrap_or(limits::DEFAULT_BACKTEST_RUNS);
        if !(1..=limits::MAX_BACKTEST_RUNS).contains(&last) || request.sample == Some(0) {
            return refuse("`last` must be 1 to 100,000, and `sample` at least 1");
        }
        if request.mode == Some(ReplayMode::Live) {
            return refuse("`mode` of a backtest is `sandbox` or `shadow`; for new runs use a bulk action");
        }
        let deployment = self.deployment_of(environment, &request.version).await?;
        let against = match request.against.as_deref() {
            None | Some("recorded") => None,
            Some("current") => {
                let current = self.storage.current_deployment(environment).await?;
                let missing = || BacktestError::Refused("no version is current: compare with `recorded`".into());
                Some(current.ok_or_else(missing)?.0.id)
            }
            Some(version) => Some(self.deployment_of(environment, version).await?.id),
        };
        Rules::check(request.options.rules.clone().unwrap_or_default())?;
        stubs::read(request.options.stubs.as_ref()).map_err(BacktestError::Refused)?;
        let id = secrets::backtest_id(now);
        let allowed = request.gate.map(|gate| gate.allow);
        let scope = Scope { environment, deployment: deployment.id, made_at: now };
        let (request, planned) = self.select(&scope, request, last).await?;
        let text = serde_json::to_string(&request).expect("texts and numbers can be written as JSON");
        let new = NewBacktest {
            id,
            environment,
            deployment: deployment.id,
            against,
            request: text,
            planned: planned.into(),
            allowed,
            created_at: now,
        };
        self.storage.insert_backtest(new).await?;
        Ok(id)
    }

    /// Says which runs: with a sample, one by one.
    async fn select(
        &self,
        scope: &Scope,
        mut request: BacktestRequest,
        last: u32,
    ) -> Result<(BacktestRequest, u32), BacktestError> {
        match (request.filter.take(), request.run_ids.take()) {
            (Some(_), Some(_)) => {
                return Err(BacktestError::Refused("name either a `filter` or `runIds`".into()));
            }
            (None, Some(ids)) => request.run_ids = Some(selection::run_ids(ids)?),
            (Some(filter), None) => {
                request.filter = Some(selection::fixed(filter, self.clock.now())?);
            }
            (None, None) => request.filter = Some(BulkFilter { to: Some(self.clock.now()), ..BulkFilter::default() }),
        }
        let Some(sample) = request.sample else {
            let planned = request.run_ids.as_ref().map_or(last, |ids| u32::try_from(ids.len()).unwrap_or(last));
            return Ok((request, planned));
        };
        let all = self.next_runs(scope, &request, (None, last)).await?;
        let step = all.len().div_ceil(sample as usize).max(1);
        let spread: Vec<String> = all.iter().step_by(step).map(ToString::to_string).collect();
        let planned = u32::try_from(spread.len()).unwrap_or(last);
        (request.filter, request.run_ids) = (None, Some(spread));
        Ok((request, planned))
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

    /// Replays the next runs of the oldest pending backtest. `false`: there is none.
    ///
    /// # Errors
    ///
    /// If storage fails; the step can be taken again.
    pub async fn step(&self) -> Result<bool, storage::Error> {
        let Some(backtest) = self.storage.pending_backtest().await? else { return Ok(false) };
        let failed = match self.step_of(&backtest).await {
            Ok(()) => return Ok(true),
            Err(BacktestError::Storage(error)) => return Err(error),
            Err(error) => error.to_string(),
        };
        tracing::warn!(backtest.id = %backtest.id, error = failed, "a backtest cannot go on");
        self.storage.end_backtest(&backtest, BacktestEnd::Failed(failed), self.clock.now()).await?;
        Ok(true)
    }

    async fn step_of(&self, backtest: &Backtest) -> Result<(), BacktestError> {
        let request: BacktestRequest = serde_json::from_str(&backtest.request)
            .map_err(|error| BacktestError::Host(format!("the request of the backtest: {error}")))?;
        let left = u32::try_from(backtest.planned.saturating_sub(backtest.done)).unwrap_or(u32::MAX);
        let next = (backtest.last_run, left.min(PAGE));
        let (environment, deployment) = (backtest.environment, backtest.deployment);
        let runs =
            self.next_runs(&Scope { environment, deployment, made_at: backtest.created_at }, &request, next).await?;
        let Some(last) = runs.last().copied() else { return self.complete(backtest).await };
        let bench = self.bench(backtest, &request).await?;
        let replays = self.replay_all(&bench, runs).await?;
        self.storage.keep_replays(backtest.id, last, replays).await?;
        Ok(())
    }

    async fn complete(&self, backtest: &Backtest) -> Result<(), BacktestError> {
        let counts = self.storage.backtest_counts(backtest.id).await?;
        // Where nothing could be replayed, nothing is known of the version.
        let is_known = counts.total() > counts.of(Verdict::NotReplayable);
        let is_open = backtest.allowed.map(|allowed| is_known && counts.differences() <= allowed);
        let end = match (backtest.allowed, is_known) {
            (Some(_), false) => BacktestEnd::Failed("no run could be replayed, so that nothing is known".into()),
            _ => BacktestEnd::Completed { is_open },
        };
        self.storage.end_backtest(backtest, end, self.clock.now()).await?;
        Ok(())
    }

    /// The next runs, newest first, older than the last one that was looked at. Where no task is named, those of the
    /// component are meant: what the version has, and what its predecessor has and it may have lost.
    async fn next_runs(
        &self,
        scope: &Scope,
        request: &BacktestRequest,
        (last, most): (Option<RunId>, u32),
    ) -> Result<Vec<RunId>, BacktestError> {
        if let Some(ids) = &request.run_ids {
            let mut ids: Vec<RunId> = ids.iter().filter_map(|id| id.parse().ok()).collect();
            ids.retain(|id| last.is_none_or(|last| *id < last));
            ids.sort_unstable_by(|one, other| other.cmp(one));
            ids.truncate(most as usize);
            return Ok(ids);
        }
        let environment = scope.environment;
        let mut filter = match &request.filter {
            Some(filter) => selection::run_filter(&self.storage, environment, filter).await?,
            None => RunFilter { to: Some(scope.made_at), ..RunFilter::default() },
        };
        if filter.tasks.is_empty() {
            let deployment = self.deployment(scope.deployment).await?;
            let component = deployment.component.clone();
            filter.tasks = self.storage.component_tasks(environment, component, deployment.id).await?;
        }
        let filter = with_ended(filter);
        let mut found = Vec::new();
        let mut place = last.map_or(Place::Start, Place::After);
        while found.len() < most as usize {
            let limit = (most - u32::try_from(found.len()).unwrap_or(most)).min(limits::MAX_PAGE_RUNS);
            let page = self.storage.runs(environment, filter.clone(), place, limit).await?;
            found.extend(page.items.iter().map(|run| run.id));
            place = match (page.go_on, page.items.last()) {
                (Some(on), _) => on,
                (None, Some(oldest)) if page.has_older => Place::After(oldest.id),
                (None, _) => break,
            };
        }
        Ok(found)
    }
}

/// How one run is to be replayed.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Default: the current one.
    pub version: Option<String>,
    /// JSON text instead of that of the run.
    pub payload: Option<String>,
    /// `Sandbox` or `Shadow`.
    pub mode: Option<ReplayMode>,
    /// The rest.
    pub options: ReplayOptions,
}

/// Those whose code came to an end, unless statuses are named.
pub(super) fn with_ended(mut filter: RunFilter) -> RunFilter {
    if filter.statuses.is_empty() {
        filter.statuses = vec![Status::Completed, Status::Failed, Status::Crashed, Status::TimedOut];
    }
    filter
}
