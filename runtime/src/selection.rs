//! Which runs somebody means: a filter or a list, checked, for bulk actions and backtests.

use jiff::Timestamp;

use crate::api::{BulkFilter, QueueKind, StringOrList};
use crate::model::admission::{Refusal, stored_queue_name};
use crate::model::id::{EnvironmentId, RunId};
use crate::model::version::Version;
use crate::model::{duration, limits};
use crate::storage::{self, RunFilter, Storage};

/// Why runs cannot be meant so.
#[derive(Debug, thiserror::Error)]
pub enum SelectionError {
    /// It asks for something that cannot be.
    #[error("{0}")]
    Refused(String),
    /// It names a queue that cannot be.
    #[error("`filter.queue`: {0}")]
    BadQueue(#[from] Refusal),
    /// Storage failed.
    #[error("storage failed")]
    Storage(#[from] storage::Error),
}

/// A filter whose times do not move: without one, it is of the last 7 days.
///
/// # Errors
///
/// If it has no condition, or a period that is none.
pub fn fixed(filter: BulkFilter, now: Timestamp) -> Result<BulkFilter, SelectionError> {
    if filter.is_empty() {
        return Err(SelectionError::Refused("`filter` must have at least one condition".into()));
    }
    let period = match filter.period.as_deref() {
        Some(text) => {
            Some(duration::parse(text).map_err(|error| SelectionError::Refused(format!("`filter.period`: {error}")))?)
        }
        None if filter.from.is_none() => Some(limits::DEFAULT_BULK_WINDOW),
        None => None,
    };
    let since = period.map(|period| now.checked_sub(period).unwrap_or(Timestamp::MIN));
    let to = filter.to.map_or(now, |to| to.min(now));
    Ok(BulkFilter { from: filter.from.max(since), to: Some(to), period: None, ..filter })
}

/// The conditions of a filter, as storage knows them.
///
/// # Errors
///
/// If one of them cannot be, or storage fails.
pub async fn run_filter(
    storage: &Storage,
    environment: EnvironmentId,
    wanted: &BulkFilter,
) -> Result<RunFilter, SelectionError> {
    let names_nothing = |is_given: bool, count: usize| is_given && count == 0;
    if names_nothing(wanted.status.is_some(), wanted.status.iter().flatten().count())
        || names_nothing(wanted.queue.is_some(), wanted.queue.iter().flatten().count())
    {
        return Err(SelectionError::Refused("`filter.status` or `filter.queue` names nothing: leave it out".into()));
    }
    let mut filter = RunFilter {
        statuses: wanted.status.iter().flatten().map(|status| status.stored()).collect(),
        tasks: words("taskIdentifier", wanted.task_identifier.as_ref())?,
        tags: words("tag", wanted.tag.as_ref())?,
        machines: words("machine", wanted.machine.as_ref())?,
        batch: id("batch", wanted.batch.as_deref())?,
        schedule: id("schedule", wanted.schedule.as_deref())?,
        bulk: id("bulkAction", wanted.bulk_action.as_deref())?,
        errors: words("error", wanted.error.as_ref())?,
        is_test: wanted.is_test,
        is_replay: wanted.is_replay,
        replay_of: id("replayedFrom", wanted.replayed_from.as_deref())?,
        from: wanted.from,
        to: wanted.to,
        ..RunFilter::default()
    };
    for queue in wanted.queue.iter().flatten() {
        filter.queues.push(match queue.kind {
            QueueKind::Task => stored_queue_name(&format!("task/{}", queue.name))?,
            QueueKind::Custom => stored_queue_name(&queue.name)?,
            QueueKind::Id => {
                let text = "`filter.queue.type` must be `task` or `custom`";
                return Err(SelectionError::Refused(text.into()));
            }
        });
    }
    let bad = |_| SelectionError::Refused("`filter.version` must be a version such as 20261121.3".into());
    let versions = words("version", wanted.version.as_ref())?;
    let versions: Vec<Version> =
        versions.iter().map(|version| version.parse().map_err(bad)).collect::<Result<_, _>>()?;
    filter.deployments = storage.deployments_of_versions(environment, &versions).await?;
    Ok(filter)
}

/// These runs, each once.
///
/// # Errors
///
/// If they are none or too many, or not the ids of runs.
pub fn run_ids(mut ids: Vec<String>) -> Result<Vec<String>, SelectionError> {
    ids.sort();
    ids.dedup();
    if !(1..=limits::MAX_BULK_IDS).contains(&ids.len()) {
        return Err(SelectionError::Refused("`runIds` must name 1 to 500 runs".into()));
    }
    match ids.iter().find(|id| id.parse::<RunId>().is_err()) {
        Some(bad) => {
            let bad: String = bad.chars().take(64).collect();
            Err(SelectionError::Refused(format!("`runIds`: `{bad}` is not the id of a run")))
        }
        None => Ok(ids),
    }
}

/// The values of a condition; one that names nothing would mean everything.
fn words(name: &str, given: Option<&StringOrList>) -> Result<Vec<String>, SelectionError> {
    let Some(given) = given else { return Ok(Vec::new()) };
    let words = given.clone().into_list();
    if words.is_empty() {
        return Err(SelectionError::Refused(format!("`filter.{name}` names nothing: leave it out")));
    }
    if words.len() > limits::MAX_FILTER_VALUES {
        return Err(SelectionError::Refused(format!("`filter.{name}` can name 20 at most")));
    }
    Ok(words)
}

fn id<T: std::str::FromStr>(name: &str, given: Option<&str>) -> Result<Option<T>, SelectionError> {
    let bad = |_| SelectionError::Refused(format!("`filter.{name}` is not an id of its kind"));
    given.map(str::parse).transpose().map_err(bad)
}
