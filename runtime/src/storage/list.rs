//! Pages of runs: the ids by [`Search`], then the rows of those that are on the page.

use super::Error;
use super::page::{Page, Place};
use super::runs::{RunFilter, read_run, run_columns};
use super::search::{Condition, Search, Things};
use super::sql::{Tx, values};
use crate::model::id::{EnvironmentId, RunId};
use crate::model::run::Run;

const RUNS: Things = Things { table: "runs", tags: "run_tags", tagged: "run_id" };

/// The newest runs that fit, up to `limit`, from a place in the list.
pub(super) fn list(
    tx: &Tx<'_>,
    environment: EnvironmentId,
    filter: &RunFilter,
    place: Place,
    limit: u32,
) -> Result<Page<Run>, Error> {
    let sql = concat!("SELECT ", run_columns!(without_output), " FROM runs WHERE id = ?1 AND environment_id = ?2");
    let page = ids(tx, environment, filter, place, limit)?;
    page.read(|id| tx.row(sql, values![id, environment], read_run))
}

/// The same, their names only.
pub(super) fn ids(
    tx: &Tx<'_>,
    environment: EnvironmentId,
    filter: &RunFilter,
    place: Place,
    limit: u32,
) -> Result<Page<RunId>, Error> {
    let between = place.range(filter.from, filter.to);
    let conditions = conditions(filter);
    Search { things: &RUNS, environment, conditions: &conditions, place, between }.find(tx, limit)
}

/// The conditions of a filter; first the one that is most likely to be selective.
fn conditions(filter: &RunFilter) -> Vec<Condition> {
    let text = |id: Option<String>| id.into_iter().collect::<Vec<_>>();
    let columns = |columns: Vec<(&'static str, Vec<String>)>| {
        let given = columns.into_iter().filter(|(_, values)| !values.is_empty());
        given.map(|(column, values)| Condition::Column(column, values))
    };
    let origins = vec![
        ("replay_of", text(filter.replay_of.map(|id| id.to_string()))),
        ("bulk_id", text(filter.bulk.map(|id| id.to_string()))),
        ("schedule_id", text(filter.schedule.map(|id| id.to_string()))),
    ];
    let properties = vec![
        ("error_group", filter.errors.clone()),
        ("deployment_id", filter.deployments.iter().map(ToString::to_string).collect()),
        ("machine", filter.machines.clone()),
        ("task_id", filter.tasks.clone()),
        ("queue", filter.queues.clone()),
        ("status", filter.statuses.iter().map(|status| status.as_str().to_owned()).collect()),
    ];
    let tags = Some(filter.tags.clone()).filter(|tags| !tags.is_empty());
    let mut conditions: Vec<Condition> = filter.batch.map(Condition::Batch).into_iter().collect();
    conditions.extend(columns(origins));
    conditions.extend(tags.map(Condition::Tag));
    conditions.extend(columns(properties));
    conditions.extend(filter.is_test.map(|is_test| Condition::Flag("is_test", is_test)));
    conditions.extend(filter.is_replay.map(|is_replay| Condition::Flag("is_replay", is_replay)));
    conditions
}
