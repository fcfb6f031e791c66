//! What a version must stand before it is made current: a backtest with a gate on the newest runs of its tasks.

use jiff::Timestamp;

use super::jobs::{BacktestError, Backtests};
use super::plan::{Amount, check_how, check_min_known, with_ended};
use crate::api::{BacktestPolicy, BacktestRequest, BulkFilter, Gate, StringOrList};
use crate::model::id::{BacktestId, EnvironmentId};
use crate::model::limits;
use crate::storage::{self, Deployment, Place, RunFilter, Storage};

/// What becomes of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gating {
    /// This backtest decides.
    Backtest(BacktestId),
    /// There is nothing to compare it with; the text says why, for people.
    Nothing(String),
}

/// Checks a policy.
///
/// # Errors
///
/// If no backtest can be done as it says.
pub fn check(policy: &BacktestPolicy) -> Result<(), BacktestError> {
    let refuse = |text: &str| Err(BacktestError::Refused(text.into()));
    Amount::check(policy.last, policy.sample)?;
    check_min_known(policy.min_known)?;
    check_how(policy.mode, &policy.options)?;
    let is_name = |task: &String| (1..=limits::MAX_TASK_ID_CHARS).contains(&task.chars().count());
    if policy.tasks.len() > limits::MAX_FILTER_VALUES || !policy.tasks.iter().all(is_name) {
        return refuse("`tasks` can name 20 tasks at most");
    }
    Ok(())
}

/// The policy of an environment, if it has one.
///
/// # Errors
///
/// If storage fails.
pub async fn of_environment(
    storage: &Storage,
    environment: EnvironmentId,
) -> Result<Option<BacktestPolicy>, storage::Error> {
    let found = storage.environment(environment).await?;
    found.and_then(|environment| environment.backtest_policy).map(|text| read(&text)).transpose()
}

/// A policy as it is stored.
///
/// # Errors
///
/// If it is none.
pub fn read(text: &str) -> Result<BacktestPolicy, storage::Error> {
    serde_json::from_str(text).map_err(|error| storage::Error::Corrupt(format!("a backtest policy: {error}")))
}

/// A policy as it will be stored.
pub fn write(policy: &BacktestPolicy) -> String {
    serde_json::to_string(policy).expect("texts and numbers can be written as JSON")
}

/// Begins the backtest that a version must stand, if there is something to compare it with.
///
/// # Errors
///
/// If the backtest cannot be done as the policy says, or storage fails.
pub async fn gate(
    storage: &Storage,
    backtests: &Backtests,
    deployment: &Deployment,
    policy: BacktestPolicy,
) -> Result<Gating, BacktestError> {
    let (environment, version) = (deployment.environment, deployment.version);
    if deployment.current_tasks > 0 {
        return Ok(Gating::Nothing(format!("no backtest: {version} is current already")));
    }
    let mut tasks = storage.component_tasks(environment, deployment.component.clone(), deployment.id).await?;
    if !policy.tasks.is_empty() {
        tasks.retain(|task| policy.tasks.contains(task));
        if tasks.is_empty() {
            return Ok(Gating::Nothing(format!("no backtest: {version} has none of the tasks that are tested")));
        }
    }
    if !has_ended_runs(storage, environment, &tasks).await? {
        let text = format!(
            "no backtest: no run of its tasks has ended yet, so that there is nothing to compare {version} with"
        );
        return Ok(Gating::Nothing(text));
    }
    let tasks = (!policy.tasks.is_empty()).then_some(StringOrList::List(tasks));
    // Without a task, those of the component are meant; however old a run is, it counts.
    let filter = BulkFilter { task_identifier: tasks, from: Some(Timestamp::UNIX_EPOCH), ..BulkFilter::default() };
    let request = BacktestRequest {
        version: version.to_string(),
        against: None,
        filter: Some(filter),
        run_ids: None,
        last: policy.last,
        sample: policy.sample,
        mode: policy.mode,
        options: policy.options,
        gate: Some(Gate { allow: policy.allow, min_known: policy.min_known }),
    };
    Ok(Gating::Backtest(backtests.create(environment, request).await?))
}

/// Whether a run of one of the tasks has come to an end.
async fn has_ended_runs(
    storage: &Storage,
    environment: EnvironmentId,
    tasks: &[String],
) -> Result<bool, storage::Error> {
    let filter = with_ended(RunFilter { tasks: tasks.to_vec(), ..RunFilter::default() });
    let mut place = Place::Start;
    loop {
        let page = storage.runs(environment, filter.clone(), place, 1).await?;
        match page.go_on {
            _ if !page.items.is_empty() => return Ok(true),
            Some(on) => place = on,
            None => return Ok(false),
        }
    }
}
