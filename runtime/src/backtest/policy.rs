//! What a version must stand before it is made current: a backtest with a gate on the newest runs of its tasks.

use jiff::Timestamp;

use super::jobs::{BacktestError, Backtests};
use super::plan::{Amount, check_how, check_min_known, since, with_ended};
use crate::api::{BacktestPolicy, BacktestRequest, BulkFilter, Gate, ReplayMode, ReplayOptions, StringOrList};
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

/// The policy that holds where an environment has one and a deployment brings another: in every point the stricter. What
/// comparisons overlook is kept with the source of the tasks: the rules of the deployment count, unless the policy of the
/// environment has some of its own, be they empty.
///
/// # Errors
///
/// If the deployment says how replays are to be done otherwise than the environment does.
pub fn stricter(of_environment: &BacktestPolicy, given: &BacktestPolicy) -> Result<BacktestPolicy, BacktestError> {
    let BacktestPolicy { mode, options, .. } = of_environment;
    let without_rules = |options: &ReplayOptions| ReplayOptions { rules: None, ..options.clone() };
    let how = without_rules(&given.options);
    if given.mode.is_some_and(|given| mode.unwrap_or(ReplayMode::Sandbox) != given)
        || (how != ReplayOptions::default() && how != without_rules(options))
    {
        let text = "the environment has a policy, which says how replays are done: leave out `mode`, and of `options` all \
                    but the rules, or have the operator put them into the policy";
        return Err(BacktestError::Refused(text.into()));
    }
    let rules = options.rules.clone().or_else(|| given.options.rules.clone());
    let (one, other) = (of_environment, given);
    let last = |policy: &BacktestPolicy| policy.last.unwrap_or(limits::DEFAULT_BACKTEST_RUNS);
    let min_known = |policy: &BacktestPolicy| policy.min_known.unwrap_or(limits::DEFAULT_MIN_KNOWN);
    let mut tasks = [one.tasks.as_slice(), other.tasks.as_slice()].concat();
    tasks.sort();
    tasks.dedup();
    if one.tasks.is_empty() || other.tasks.is_empty() || tasks.len() > limits::MAX_FILTER_VALUES {
        // All of them.
        tasks.clear();
    }
    Ok(BacktestPolicy {
        last: Some(last(one).max(last(other))),
        allow: one.allow.min(other.allow),
        min_known: Some(min_known(one).max(min_known(other))),
        // Without a sample it is all runs.
        sample: one.sample.zip(other.sample).map(|(one, other)| one.max(other)),
        tasks,
        mode: *mode,
        options: ReplayOptions { rules, ..options.clone() },
    })
}

/// Begins the backtest that a version must stand, if there is something to compare it with.
///
/// # Errors
///
/// If the backtest cannot be done as the policy says, or storage fails.
pub async fn gate(
    backtests: &Backtests,
    deployment: &Deployment,
    policy: BacktestPolicy,
) -> Result<Gating, BacktestError> {
    let (environment, version) = (deployment.environment, deployment.version);
    let tasks = match tested(backtests, deployment, &policy).await? {
        Ok(tasks) => tasks,
        Err(why) => return Ok(Gating::Nothing(why)),
    };
    let tasks = (!policy.tasks.is_empty()).then_some(StringOrList::List(tasks));
    // Without a task, those of the component are meant; however old a run is, it counts as long as its recording is kept.
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

/// Whether a version may be made current by hand only past the policy of its environment: it has never been current, and
/// there is something to compare it with.
///
/// # Errors
///
/// If storage fails.
pub async fn is_in_the_way(backtests: &Backtests, deployment: &Deployment) -> Result<bool, storage::Error> {
    if deployment.promoted_at.is_some() {
        return Ok(false);
    }
    match of_environment(&backtests.storage, deployment.environment).await? {
        Some(policy) => Ok(tested(backtests, deployment, &policy).await?.is_ok()),
        None => Ok(false),
    }
}

/// The tasks of which a version is tested as a policy says; or why it is not, for people.
async fn tested(
    backtests: &Backtests,
    deployment: &Deployment,
    policy: &BacktestPolicy,
) -> Result<Result<Vec<String>, String>, storage::Error> {
    let (storage, environment, version) = (&backtests.storage, deployment.environment, deployment.version);
    if deployment.current_tasks > 0 {
        return Ok(Err(format!("no backtest: {version} is current already")));
    }
    let mut tasks = storage.component_tasks(environment, deployment.component.clone(), deployment.id).await?;
    if !policy.tasks.is_empty() {
        tasks.retain(|task| policy.tasks.contains(task));
        if tasks.is_empty() {
            return Ok(Err(format!("no backtest: {version} has none of the tasks that are tested")));
        }
    }
    let unrecorded = backtests.unrecorded(environment, deployment.id, &tasks).await?;
    let recorded = tasks.iter().filter(|task| !unrecorded.contains(*task)).cloned().collect();
    // As far back as the gate would look.
    let from = since(backtests.clock.now(), backtests.recordings_kept);
    if !has_ended_runs(backtests, environment, recorded, from).await? {
        let text = format!(
            "no backtest: no run of its tasks has ended yet, or none of which a recording is kept, so that there is \
             nothing to compare {version} with, and nothing was tested"
        );
        return Ok(Err(text));
    }
    Ok(Ok(tasks))
}

/// Whether a run of one of the tasks that was triggered at `from` or later has come to an end.
async fn has_ended_runs(
    backtests: &Backtests,
    environment: EnvironmentId,
    tasks: Vec<String>,
    from: Timestamp,
) -> Result<bool, storage::Error> {
    if tasks.is_empty() {
        // No names would mean all.
        return Ok(false);
    }
    let filter = with_ended(RunFilter { tasks, from: Some(from), ..RunFilter::default() });
    Ok(!backtests.newest(environment, &filter, (Place::Start, 1)).await?.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_policies_the_stricter_counts_in_every_point() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let own = BacktestPolicy { last: Some(500), allow: 2, tasks: names(&["a"]), ..BacktestPolicy::default() };
        let loose = BacktestPolicy {
            last: Some(1),
            allow: 1_000_000,
            min_known: Some(0),
            sample: Some(1),
            tasks: names(&["b"]),
            ..BacktestPolicy::default()
        };
        let both = stricter(&own, &loose).unwrap();
        assert_eq!((both.last, both.allow, both.min_known, both.sample), (Some(500), 2, Some(50), None));
        assert_eq!(both.tasks, ["a", "b"]);
        let strict = BacktestPolicy { last: Some(9_000), min_known: Some(90), ..BacktestPolicy::default() };
        let both = stricter(&own, &strict).unwrap();
        assert_eq!((both.last, both.allow, both.min_known), (Some(9_000), 0, Some(90)));
        assert!(both.tasks.is_empty(), "all");
        let sampled = |sample| BacktestPolicy { sample: Some(sample), ..BacktestPolicy::default() };
        assert_eq!(stricter(&sampled(7), &sampled(3)).unwrap().sample, Some(7));
    }

    #[test]
    fn how_replays_are_done_is_not_for_a_deployment_to_say_but_for_the_rules() {
        let with = |options: &str| BacktestPolicy {
            options: serde_json::from_str(options).unwrap(),
            ..BacktestPolicy::default()
        };
        let own = BacktestPolicy::default();
        let (blind, strict) = (with(r#"{ "rules": { "*": { "ignore-output": ["$"] } } }"#), with(r#"{ "rules": {} }"#));
        assert_eq!(stricter(&own, &blind).unwrap().options, blind.options);
        assert_eq!(stricter(&blind, &own).unwrap().options, blind.options);
        assert_eq!(stricter(&strict, &blind).unwrap().options, strict.options);
        let execute = with(r#"{ "children": "execute" }"#);
        assert!(stricter(&own, &execute).is_err());
        assert_eq!(stricter(&execute, &execute).unwrap().options, execute.options);
        let shadow = BacktestPolicy { mode: Some(ReplayMode::Shadow), ..BacktestPolicy::default() };
        assert!(stricter(&own, &shadow).is_err());
    }
}
