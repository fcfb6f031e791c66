//! Pages of runs.
//!
//! A page merges ranges of one index: of the filter's most selective kind of condition, each value
//! is a range, newest first; the other conditions are looked at row by row.

use super::Error;
use super::page::{Page, Place};
use super::runs::{RunFilter, read_run, run_columns};
use super::sql::{Tx, Value};
use crate::model::id::{EnvironmentId, Id, RunId};
use crate::model::run::Run;

/// A filter's condition on one column: any of these values.
type Condition = (&'static str, Vec<String>);

/// The newest runs that fit, up to `limit`, from a place in the list.
pub(super) fn list(
    tx: &Tx<'_>,
    environment: EnvironmentId,
    filter: &RunFilter,
    place: Place,
    limit: u32,
) -> Result<Page<Run>, Error> {
    let mut conditions = conditions(filter);
    let ranges: Vec<Option<(&str, String)>> = match conditions.first() {
        None => vec![None],
        Some((column, values)) => values.iter().map(|value| Some((*column, value.clone()))).collect(),
    };
    if !conditions.is_empty() {
        conditions.remove(0);
    }
    let mut runs: Vec<Run> = Vec::new();
    for range in ranges {
        let (sql, bound) = statement(environment, filter, range, &conditions, (place, limit));
        runs.extend(tx.rows(&sql, &bound, read_run)?);
    }
    runs.sort_by_key(|run| std::cmp::Reverse(run.id));
    // A run with two of the wanted tags is in two ranges.
    runs.dedup_by_key(|run| run.id);
    Ok(Page::cut(runs, place, limit as usize))
}

/// The conditions of a filter, the most selective kind first; each has an index.
fn conditions(filter: &RunFilter) -> Vec<Condition> {
    let one = |value: Option<String>| value.into_iter().collect::<Vec<_>>();
    let mut conditions = vec![
        ("batch_id", one(filter.batch.map(|id| id.to_string()))),
        ("bulk_id", one(filter.bulk.map(|id| id.to_string()))),
        ("schedule_id", one(filter.schedule.map(|id| id.to_string()))),
        ("root_id", one(filter.root.map(|id| id.to_string()))),
        ("tag", filter.tags.clone()),
        ("deployment_id", filter.deployments.iter().map(ToString::to_string).collect()),
        ("machine", filter.machines.clone()),
        ("task_id", filter.tasks.clone()),
        ("queue", filter.queues.clone()),
        ("status", filter.statuses.iter().map(|status| status.as_str().to_owned()).collect()),
    ];
    conditions.retain(|(_, values)| !values.is_empty());
    conditions
}

/// One range: its statement, and what is bound to it.
fn statement(
    environment: EnvironmentId,
    filter: &RunFilter,
    range: Option<(&str, String)>,
    conditions: &[Condition],
    (place, limit): (Place, u32),
) -> (String, Vec<Value<'static>>) {
    let mut query = Query { sql: String::new(), bound: vec![environment.into()] };
    let columns = run_columns!(without_output);
    let is_tag = matches!(range, Some(("tag", _)));
    let id = if is_tag { "run_id" } else { "id" };
    match range {
        Some(("tag", tag)) => {
            let tag = query.bind(tag.into());
            query.sql = format!(
                "SELECT {columns} FROM (SELECT run_id FROM run_tags WHERE environment_id = ?1 AND tag = {tag}) AS t
                 JOIN runs ON runs.id = t.run_id WHERE environment_id = ?1"
            );
        }
        Some((column, value)) => {
            query.sql = format!("SELECT {columns} FROM runs WHERE environment_id = ?1");
            query.and(&format!("{column} ="), value.into());
        }
        None => query.sql = format!("SELECT {columns} FROM runs WHERE environment_id = ?1"),
    }
    for (column, values) in conditions {
        query.any_of(column, values);
    }
    match filter.is_test {
        Some(true) => query.sql.push_str(" AND is_test = 1"),
        Some(false) => query.sql.push_str(" AND is_test = 0"),
        None => {}
    }
    match place {
        Place::Start => {}
        Place::After(run) => query.and(&format!("{id} <"), run.into()),
        Place::Before(run) => query.and(&format!("{id} >"), run.into()),
    }
    // Ids are ordered by time, so limits of time are ranges of the same index.
    if let Some(from) = filter.from {
        query.and(&format!("{id} >="), RunId::before(from).into());
    }
    if let Some(to) = filter.to {
        query.and(&format!("{id} <="), RunId::after(to).into());
    }
    let order = if matches!(place, Place::Before(_)) { "ASC" } else { "DESC" };
    query.sql.push_str(&format!(" ORDER BY {id} {order} LIMIT {}", limit + 1));
    (query.sql, query.bound)
}

/// A statement that grows.
pub(super) struct Query {
    pub(super) sql: String,
    pub(super) bound: Vec<Value<'static>>,
}

impl Query {
    fn bind(&mut self, value: Value<'static>) -> String {
        self.bound.push(value);
        format!("?{}", self.bound.len())
    }

    pub(super) fn and(&mut self, condition: &str, value: Value<'static>) {
        let placeholder = self.bind(value);
        self.sql.push_str(&format!(" AND {condition} {placeholder}"));
    }

    pub(super) fn any_of(&mut self, column: &str, values: &[String]) {
        let any: Vec<String> = values
            .iter()
            .map(|value| {
                let placeholder = self.bind(value.clone().into());
                if column == "tag" {
                    return format!(
                        "EXISTS (SELECT 1 FROM run_tags g WHERE g.environment_id = ?1 AND g.tag = {placeholder}
                 AND g.run_id = runs.id)"
                    );
                }
                format!("{column} = {placeholder}")
            })
            .collect();
        self.sql.push_str(&format!(" AND ({})", any.join(" OR ")));
    }
}
