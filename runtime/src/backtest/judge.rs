//! One run after the other: what is needed to replay it on a version, and what comes of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::compare::compare;
use super::jobs::{BacktestError, Backtests};
use super::replay::{Options, ReplayError, Replayer, Target};
use super::rules::Rules;
use super::source::{Source, Sources};
use super::stored::{NotReplayable, OfEnvironment};
use super::{MAX_CONCURRENT_REPLAYS, stubs};
use crate::api::{BacktestRequest, Both, Comparison, ReplayMode, ReplayOptions};
use crate::model::id::{BacktestId, DeploymentId, EnvironmentId, RunId};
use crate::model::mask::Mask;
use crate::model::replay::{Children, Observed, Unmatched, Variables};
use crate::model::task::TaskDefinition;
use crate::model::verdict::Verdict;
use crate::runs::TriggerError;
use crate::sandbox::context::Deployment as DeploymentContext;
use crate::sandbox::tape;
use crate::storage::{self, Deployment, PendingBacktest, StoredReplay};

/// How often the replay of a run is tried alone for which its neighbours left too little.
const TRIES_ALONE: u32 = 2;
/// No more runs are taken into a step after so long, so that others have their turn.
const STEP_TIME: Duration = Duration::from_secs(2);

/// What came of one run.
#[derive(Debug, Clone)]
pub struct Judged {
    /// Its task; empty if there is no such run.
    pub task: String,
    /// In a word.
    pub verdict: Verdict,
    /// What differs.
    pub comparison: Option<Comparison>,
    /// Why there is no comparison.
    pub note: Option<String>,
    /// Whether there is none because the server could not execute the version.
    pub is_troubled: bool,
    /// Whether that was for want of what others had at the time.
    pub is_crowded_out: bool,
    /// What was compared, where a replay was executed.
    pub observed: Option<Box<Both<Observed>>>,
}

/// A version, ready to be replayed on.
#[derive(Clone)]
pub(super) struct Version {
    pub(super) deployment: Arc<Deployment>,
    /// Its tasks.
    pub(super) tasks: Arc<HashMap<String, Arc<TaskDefinition>>>,
    pub(super) replayer: Replayer,
    /// What its environment knows that nobody is to read, where that is another than the runs'.
    pub(super) secrets: Mask,
}

/// What replays of an environment are done with.
#[derive(Clone)]
pub(super) struct Bench {
    /// That of the runs.
    pub(super) environment: EnvironmentId,
    pub(super) version: Version,
    /// What the version is compared with; `None`: what was recorded.
    pub(super) against: Option<Version>,
    pub(super) rules: Arc<Rules>,
}

impl Backtests {
    /// Replays runs, a few at a time, until the time of a step is over: so many of the first, one at least. Those for which
    /// the others left too little are tried again afterwards, each alone.
    pub(super) async fn replay_all(
        &self,
        bench: &Bench,
        backtest: BacktestId,
        runs: Vec<RunId>,
    ) -> Result<Vec<StoredReplay>, BacktestError> {
        let (mut waiting, mut under_way) = (runs.into_iter(), JoinSet::new());
        let (mut replays, mut crowded_out) = (Vec::new(), Vec::new());
        let began = Instant::now();
        loop {
            // Whatever was begun is waited for, so that what is known has no gaps.
            while under_way.len() < MAX_CONCURRENT_REPLAYS as usize
                && began.elapsed() < STEP_TIME
                && let Some(run) = waiting.next()
            {
                let (backtests, bench) = (self.clone(), bench.clone());
                under_way.spawn(async move {
                    let _inside = backtests.door.enter().await;
                    backtests.judge(&bench, run, None).await.map(|judged| (run, judged))
                });
            }
            let Some(judged) = under_way.join_next().await else { break };
            let (source, judged) = judged.map_err(|error| BacktestError::Host(error.to_string()))??;
            match judged.is_crowded_out {
                true => crowded_out.push((source, judged)),
                false => replays.push(self.stored(backtest, source, judged)),
            }
        }
        for (source, mut judged) in crowded_out {
            for _ in 0..TRIES_ALONE {
                if judged.is_crowded_out {
                    let _alone = self.door.enter_alone().await;
                    judged = self.judge(bench, source, None).await?;
                }
            }
            replays.push(self.stored(backtest, source, judged));
        }
        Ok(replays)
    }

    fn stored(&self, backtest: BacktestId, source: RunId, judged: Judged) -> StoredReplay {
        let Judged { task, verdict, comparison, note, is_troubled, is_crowded_out: _, observed: _ } = judged;
        let sealed = |comparison| self.sources.sealed_comparison(backtest, source, comparison);
        StoredReplay { source, task, verdict, is_troubled, comparison: comparison.as_ref().map(sealed), note }
    }

    /// Replays a run and compares. Who calls this is inside the door.
    pub(super) async fn judge(
        &self,
        bench: &Bench,
        run: RunId,
        payload: Option<Arc<String>>,
    ) -> Result<Judged, BacktestError> {
        let mut source = match self.sources.load(bench.environment, run).await {
            Ok(source) => source,
            Err(NotReplayable::Storage(storage::Error::Corrupt(problem))) => {
                tracing::error!(run.id = %run, problem, "a run cannot be replayed");
                let text = "what is stored of it cannot be read; the log of the server says why";
                return Ok(Judged::without(String::new(), Verdict::NotReplayable, text.into()));
            }
            // It says nothing of the run: another time it may be read.
            Err(NotReplayable::Host(error)) => return Err(BacktestError::Host(error)),
            Err(NotReplayable::Storage(error)) => return Err(error.into()),
            Err(error @ (NotReplayable::NoSuchRun | NotReplayable::NoRecording(_))) => {
                let task = self.storage.run(bench.environment, run).await?.map(|run| run.task).unwrap_or_default();
                return Ok(Judged::without(task, Verdict::NotReplayable, error.to_string()));
            }
        };
        source.observed.secrets = source.observed.secrets.and(&bench.version.secrets);
        let task = source.context.task.id.clone();
        if let Some(problem) = self.payload_problem(bench, &source, payload.as_deref()).await? {
            return Ok(Judged::without(
                task,
                Verdict::PayloadRejected,
                source.observed.secrets.apply(&problem).into_owned(),
            ));
        }
        let then = match bench.then(&source, payload.clone()).await {
            Ok(then) => then,
            Err(judged) => return Ok(*judged),
        };
        let now = match bench.now(&source, payload).await {
            Ok(now) => now,
            Err(judged) => return Ok(*judged),
        };
        let comparison = compare(&then, &now, bench.rules.task(&task));
        let observed = Some(Box::new(Both { then, now }));
        let (verdict, comparison) = (comparison.verdict, Some(comparison));
        Ok(Judged { task, verdict, comparison, note: None, is_troubled: false, is_crowded_out: false, observed })
    }

    /// Why the version does not take the payload.
    async fn payload_problem(
        &self,
        bench: &Bench,
        source: &Source,
        payload: Option<&String>,
    ) -> Result<Option<String>, BacktestError> {
        let Version { deployment, tasks, .. } = &bench.version;
        let Some(definition) = tasks.get(&source.context.task.id) else { return Ok(None) };
        let payload = payload.unwrap_or(&source.payload).clone();
        match self.runs.payload_problems(deployment.id, definition, payload).await {
            Ok(problems) if problems.is_empty() => Ok(None),
            Ok(problems) => Ok(Some(problems.join("; "))),
            Err(TriggerError::Storage(error)) => Err(error.into()),
            Err(error) => Ok(Some(error.to_string())),
        }
    }

    pub(super) async fn bench(
        &self,
        pending: &PendingBacktest,
        request: &BacktestRequest,
    ) -> Result<Bench, BacktestError> {
        let backtest = &pending.backtest;
        let environment = backtest.environment;
        let how = (request.mode, &request.options);
        let version = self.version(environment, self.deployment(backtest.deployment).await?, how).await?;
        let against = match backtest.against {
            Some(against) => Some(self.version(environment, self.deployment(against).await?, how).await?),
            None => None,
        };
        let rules = Arc::new(self.rules(environment, pending.rules.as_deref(), &request.options).await?);
        Ok(Bench { environment, version, against, rules })
    }

    /// A version of some environment, on which runs of `environment` are to be replayed: with the settings of its own.
    pub(super) async fn version(
        &self,
        environment: EnvironmentId,
        deployment: Arc<Deployment>,
        (mode, options): (Option<ReplayMode>, &ReplayOptions),
    ) -> Result<Version, BacktestError> {
        let target = self.target(&deployment).await?;
        let settings = self.sources.settings().of(deployment.environment).await.map_err(BacktestError::Host)?;
        let values = settings.variables.iter().filter(|_| deployment.environment != environment);
        let secrets = Mask::new(values.map(|(_, value)| value.as_str()));
        let children = match options.children.map(Children::from).unwrap_or_default() {
            Children::Recorded => None,
            Children::Execute => {
                let sources: Arc<dyn Sources> = Arc::new(OfEnvironment { runs: self.sources.clone(), environment });
                Some(sources)
            }
        };
        let unmatched = options.unmatched.map(Unmatched::from).unwrap_or_default();
        let stubs = match unmatched {
            Unmatched::Stub => stubs::read(options.stubs.as_ref()).map_err(BacktestError::Refused)?,
            Unmatched::Block | Unmatched::Fail => Vec::new(),
        };
        let live = || self.sandbox.outbound(&settings.environment.id, settings.egress.clone());
        let options = Options {
            live: (mode == Some(ReplayMode::Shadow)).then(live),
            unmatched,
            stubs: Arc::new(stubs),
            children,
            variables: tape::Variables {
                current: settings.variables.clone(),
                are_offered: options.variables.map(Variables::from).unwrap_or_default() == Variables::Current,
            },
        };
        let tasks = target.tasks.clone();
        Ok(Version { deployment, tasks, replayer: Replayer::new(self.sandbox.clone(), target, options), secrets })
    }

    /// What is executed of a version.
    pub(super) async fn target(&self, deployment: &Deployment) -> Result<Target, BacktestError> {
        let tasks = self.storage.tasks(deployment.id).await?;
        Ok(Target {
            component: deployment.digest,
            deployment: DeploymentContext {
                id: deployment.id.to_string(),
                short_code: deployment.short_code(),
                version: deployment.version.to_string(),
            },
            tasks: Arc::new(tasks.into_iter().map(|task| (task.id.clone(), Arc::new(task))).collect()),
            limits: self.limits,
        })
    }

    pub(super) async fn deployment_of(
        &self,
        environment: EnvironmentId,
        version: &str,
    ) -> Result<Arc<Deployment>, BacktestError> {
        let wanted = version
            .parse()
            .map_err(|_| BacktestError::Refused("`version` must be a version such as 20261121.3".into()))?;
        let found = self.storage.deployment_of_version(environment, wanted).await?;
        let missing = || BacktestError::Refused(format!("there is no version {wanted} in this environment"));
        found.map(Arc::new).ok_or_else(missing)
    }

    /// A deployment that is named, or else the one on which a task runs now.
    pub(super) async fn named_or_current(
        &self,
        environment: EnvironmentId,
        named: Option<DeploymentId>,
        task: &str,
    ) -> Result<Arc<Deployment>, BacktestError> {
        let found = match named {
            Some(named) => Some(named),
            None => self.storage.current_deployment_of(environment, task).await?,
        };
        let missing = || BacktestError::Refused(format!("no current version has the task `{task}`"));
        self.deployment(found.ok_or_else(missing)?).await
    }

    pub(super) async fn deployment(&self, id: DeploymentId) -> Result<Arc<Deployment>, BacktestError> {
        let found = self.sources.settings().deployment(id).await?;
        found.ok_or_else(|| BacktestError::Host("the version is gone".into()))
    }
}

impl Bench {
    /// What the version is compared with: what the run did, or what the other version does.
    async fn then(&self, source: &Source, payload: Option<Arc<String>>) -> Result<Observed, Box<Judged>> {
        let Some(version) = &self.against else { return Ok(source.observed.clone()) };
        version.replayer.replay(source, payload).await.map_err(|error| {
            // What the other version does not do says nothing about this one.
            let text = format!("there is nothing to compare with on {}: {error}", version.deployment.version);
            Box::new(Judged::without(source.context.task.id.clone(), Verdict::NotReplayable, text))
        })
    }

    /// What the version does.
    async fn now(&self, source: &Source, payload: Option<Arc<String>>) -> Result<Observed, Box<Judged>> {
        self.version.replayer.replay(source, payload).await.map_err(|error| {
            let without = |verdict| Judged::without(source.context.task.id.clone(), verdict, error.to_string());
            Box::new(match error {
                ReplayError::NoSuchTask { .. } => without(Verdict::PayloadRejected),
                ReplayError::Recording(_) => without(Verdict::NotReplayable),
                ReplayError::Limit(_) | ReplayError::Host(_) | ReplayError::Full(_) => {
                    let is_crowded_out = matches!(error, ReplayError::Full(_));
                    Judged { is_troubled: true, is_crowded_out, ..without(Verdict::NotReplayable) }
                }
            })
        })
    }
}

impl Judged {
    fn without(task: String, verdict: Verdict, note: String) -> Self {
        let (is_troubled, is_crowded_out) = (false, false);
        Self { task, verdict, comparison: None, note: Some(note), is_troubled, is_crowded_out, observed: None }
    }
}
