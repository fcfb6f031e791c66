//! Reading runs, and canceling them.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::Server;
use super::auth::{Bearer, Caller};
use super::body::{Params, Segments, json};
use super::error::{ApiError, Result};
use super::list::ListQuery;
use super::openapi::{ChangeErrors, Pages, ReadErrors, RunConditions};
use super::trigger::result_in_time;
use super::{cursor, list, schedules};
use crate::api::{
    self, AwaitedItem, EnvironmentRef, EventItem, EventList, LogItem, LogPage, RelatedRun, RelatedRuns, RunCommon,
    RunCount, RunDetails, RunItem, RunList, RunResult, RunSchedule,
};
use crate::model::id::RunId;
use crate::model::limits;
use crate::model::run::{Run, Status};
use crate::model::scope::{Action, Resource};
use crate::storage::{Canceled, LogKind, LogRow, Place};

/// Log entries on a page when the caller does not say, and at most.
const LOG_PAGE: u64 = 1_000;
/// How long a page of logs waits for new entries before it looks again.
const LOG_LOOK: Duration = Duration::from_millis(250);

pub(super) fn not_found() -> ApiError {
    ApiError::not_found("Run not found")
}

pub(super) async fn find(server: &Server, caller: &Caller, run: &str) -> Result<Run> {
    let id: RunId = run.parse().map_err(|_| not_found())?;
    server.storage.run(caller.environment.id, id).await?.ok_or_else(not_found)
}

/// The run, if it is there and the bearer may look at it.
pub(super) async fn find_to_read(server: &Server, bearer: &Bearer, run: &str) -> Result<Run> {
    let run = find(server, &bearer.caller, run).await?;
    bearer.may_read(&run)?;
    Ok(run)
}

/// Everything about a run.
#[utoipa::path(
    get, path = "/api/v3/runs/{run}", tag = "Runs",
    security(("key" = []), ("publicToken" = [])),
    responses((status = 200, body = RunDetails, description = "The run"), ReadErrors),
)]
pub(super) async fn retrieve(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    Segments(run): Segments<String>,
) -> Result<Json<RunDetails>> {
    details(&server, find_to_read(&server, &bearer, &run).await?).await
}

/// Everything about a run.
pub(super) async fn details(server: &Server, run: Run) -> Result<Json<RunDetails>> {
    let payload = server.storage.payload(run.id).await?;
    let payload = payload.filter(|(packet, _)| packet.data.is_some());
    let payload = payload.and_then(|(packet, _)| api::plain_json(&packet).ok());
    let replays = server.storage.replays_of(run.id).await?;
    let related = related_runs(server, &run).await?;
    let waits = if run.status == Status::Waiting { server.storage.waits_of(run.id).await? } else { Vec::new() };
    json(RunDetails {
        common: RunCommon::from(&run),
        depth: run.origin.depth,
        trigger_function: trigger_function(&run).into(),
        schedule: schedule_of(server, &run).await?,
        batch_id: run.origin.batch.map(|batch| batch.to_string()),
        payload: payload.and_then(|text| RawValue::from_string(text).ok()),
        output: run.output.clone().and_then(|text| RawValue::from_string(text).ok()),
        error: run.error.as_ref().map(Into::into),
        related_runs: related,
        waits_for: AwaitedItem::list(&waits),
        attempt_count: run.attempt,
        replays: replays.iter().map(ToString::to_string).collect(),
        peak_memory_bytes: run.peak_memory_bytes,
        concurrency_key: run.concurrency_key,
        priority: run.priority_ms as f64 / 1_000.0,
        machine: run.machine.map(|machine| machine.name().into()),
        max_attempts: run.max_attempts,
        max_duration: run.max_duration_seconds,
        bulk_action_id: run.origin.bulk.map(|bulk| bulk.to_string()),
        queue: run.queue,
    })
}

/// The runs above a run, and the runs that it triggered.
async fn related_runs(server: &Server, run: &Run) -> Result<RelatedRuns> {
    let mut related = RelatedRuns::default();
    for (above, place) in [(run.origin.root, &mut related.root), (run.origin.parent, &mut related.parent)] {
        if let Some(id) = above {
            *place = server.storage.run(run.environment, id).await?.as_ref().map(related_run);
        }
    }
    related.children = server.storage.children_of(run.id).await?.iter().map(related_run).collect();
    Ok(related)
}

fn trigger_function(run: &Run) -> &'static str {
    match (run.origin.batch, run.origin.awaited) {
        (Some(_), true) => "batchTriggerAndWait",
        (Some(_), false) => "batchTrigger",
        (None, true) => "triggerAndWait",
        (None, false) => "trigger",
    }
}

/// The schedule that fired a run, where it still exists.
async fn schedule_of(server: &Server, run: &Run) -> Result<Option<RunSchedule>> {
    let Some(id) = run.origin.schedule else { return Ok(None) };
    let schedule = server.storage.schedule(run.environment, id).await?;
    Ok(schedule.as_ref().map(schedules::of_run))
}

fn related_run(run: &Run) -> RelatedRun {
    RelatedRun {
        common: RunCommon::from(run),
        depth: run.origin.depth,
        trigger_function: trigger_function(run).into(),
        batch_id: run.origin.batch.map(|batch| batch.to_string()),
    }
}

/// The runs of the environment, newest first: of all times, unless the filter says otherwise.
#[utoipa::path(
    get, path = "/api/v1/runs", tag = "Runs",
    security(("key" = []), ("publicToken" = [])),
    params(Pages, RunConditions),
    responses(
        (status = 200, body = RunList, description = "A page"),
        (status = 422, body = crate::api::ErrorBody, description = "No queue can have a name of `filter[queue]`"),
        ReadErrors,
    ),
)]
pub(super) async fn list(State(server): State<Arc<Server>>, bearer: Bearer, params: Params) -> Result<Json<RunList>> {
    let now = server.runs.now();
    let query = list_query(&server, &bearer, &params, now).await?;
    let environment = &bearer.caller.environment;
    let page = server.storage.runs(environment.id, query.filter, query.place, query.limit).await?;
    let pagination = cursor::around(&page, now, |run| run.id);
    let env = EnvironmentRef { id: environment.id.to_string(), name: environment.slug.clone() };
    let item = |run: &Run| RunItem {
        common: run.into(),
        env: env.clone(),
        queue: run.queue.clone(),
        attempt_count: run.attempt,
        error: run.error.as_ref().map(Into::into),
    };
    json(RunList { data: page.items.iter().map(item).collect(), pagination })
}

/// How many runs a list has, as far as 10,000.
#[utoipa::path(
    get, path = "/api/v1/runs/count", tag = "Runs",
    security(("key" = []), ("publicToken" = [])),
    params(RunConditions),
    responses(
        (status = 200, body = RunCount, description = "The number"),
        (status = 422, body = crate::api::ErrorBody, description = "No queue can have a name of `filter[queue]`"),
        ReadErrors,
    ),
)]
pub(super) async fn count(State(server): State<Arc<Server>>, bearer: Bearer, params: Params) -> Result<Json<RunCount>> {
    let query = list_query(&server, &bearer, &params, server.runs.now()).await?;
    let (environment, most) = (bearer.caller.environment.id, limits::MAX_RUNS_COUNTED);
    let found = server.storage.run_ids(environment, query.filter, Place::Start, most).await?;
    json(RunCount { count: found.items.len() as u64, is_more: found.has_older })
}

/// What a list of runs asks for, where its bearer may.
async fn list_query(server: &Server, bearer: &Bearer, params: &Params, now: Timestamp) -> Result<ListQuery> {
    let mut query = list::parse(params, now)?;
    may_list(bearer, &query.filter.tasks)?;
    let environment = bearer.caller.environment.id;
    query.filter.deployments = server.storage.deployments_of_versions(environment, &query.versions).await?;
    Ok(query)
}

/// A list takes a scope for all runs, or for every task that it names.
fn may_list(bearer: &Bearer, tasks: &[String]) -> Result<()> {
    let all = bearer.may(Action::Read, &[Resource::all("runs"), Resource::all("tasks")]);
    if all.is_ok() || tasks.is_empty() {
        return all;
    }
    tasks.iter().try_for_each(|task| bearer.may(Action::Read, &[Resource::one("tasks", task)]))
}

/// How a run ended. 404 as long as it has not.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/result", tag = "Runs",
    security(("key" = []), ("publicToken" = [])),
    params(
        ("wait" = Option<String>, Query,
            description = "Answer when the run has ended, after this long at the latest: a duration such as `30s`"),
    ),
    responses((status = 200, body = RunResult, description = "How it ended"), ReadErrors),
)]
pub(super) async fn result(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    Segments(run): Segments<String>,
    params: Params,
) -> Result<Json<RunResult>> {
    params.only(&["wait"])?;
    let id = find_to_read(&server, &bearer, &run).await?.id;
    let wait = params.duration("wait")?.unwrap_or_default();
    let result = result_in_time(&server, bearer.caller.environment.id, id, wait).await?;
    json(result.ok_or_else(|| ApiError::not_found("the run has not ended yet"))?)
}

/// Every change of a run's status, in order.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/events", tag = "Runs",
    security(("key" = []), ("publicToken" = [])),
    responses((status = 200, body = EventList, description = "The changes"), ReadErrors),
)]
pub(super) async fn events(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    Segments(run): Segments<String>,
) -> Result<Json<EventList>> {
    let run = find_to_read(&server, &bearer, &run).await?;
    let events = server.storage.events(run.id).await?;
    let item = |event: crate::storage::RunEvent| EventItem {
        seq: event.seq,
        at: event.at,
        status: event.status.into(),
        attempt: event.attempt,
        detail: event.detail,
    };
    json(EventList { events: events.into_iter().map(item).collect() })
}

/// What a run has logged, in order.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/logs", tag = "Runs",
    security(("key" = []), ("publicToken" = [])),
    params(
        ("after" = Option<u64>, Query,
            description = "Only what comes after this number: the `next` of the page before"),
        ("limit" = Option<u64>, Query, description = "Entries on the page, 1 to 1,000; default 1,000"),
        ("wait" = Option<String>, Query,
            description = "Where there is nothing new, wait for it this long at most: a duration such as `10s`"),
    ),
    responses((status = 200, body = LogPage, description = "A page"), ReadErrors),
)]
pub(super) async fn logs(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    Segments(run): Segments<String>,
    params: Params,
) -> Result<Json<LogPage>> {
    params.only(&["after", "limit", "wait"])?;
    let after = params.number("after")?.unwrap_or(0);
    let limit = params.number("limit")?.unwrap_or(LOG_PAGE).clamp(1, LOG_PAGE);
    let limit = u32::try_from(limit).unwrap_or(1);
    let wait = params.duration("wait")?.unwrap_or_default().min(crate::model::limits::MAX_RESULT_WAIT);
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        // The status first: what a run has logged is written before it ends.
        let found = find_to_read(&server, &bearer, &run).await?;
        let rows = server.storage.logs(found.id, after, limit).await?;
        let is_last = rows.len() < limit as usize;
        if !rows.is_empty() || found.status.is_final() || tokio::time::Instant::now() >= deadline {
            let next = rows.last().map_or(after, |(seq, _)| *seq);
            let logs = rows.into_iter().map(log_item).collect();
            return json(LogPage { logs, next, is_complete: is_last && found.status.is_final() });
        }
        let _ = tokio::time::timeout(LOG_LOOK, server.storage.end_of(found.id)).await;
    }
}

fn log_item((seq, row): (u64, LogRow)) -> LogItem {
    LogItem {
        seq,
        at: row.at,
        attempt: row.attempt,
        kind: match row.kind {
            LogKind::Line => "line".into(),
            LogKind::Span => "span".into(),
        },
        level: row.level,
        source: row.source,
        message: row.message,
        attributes: row.attributes.and_then(|text| serde_json::from_str(&text).ok()),
        span_id: row.span,
        parent_span_id: row.parent_span,
        duration_ms: row.duration_us.map(|us| us as f64 / 1_000.0),
    }
}

/// Cancels a run and the runs it has triggered. To cancel a run that has ended changes nothing and is no error.
#[utoipa::path(
    post, path = "/api/v2/runs/{run}/cancel", tag = "Runs",
    security(("key" = []), ("publicToken" = [])),
    responses((status = 200, body = api::RunId, description = "It is canceled, or had ended"), ChangeErrors),
)]
pub(super) async fn cancel(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    Segments(run): Segments<String>,
) -> Result<Json<api::RunId>> {
    let found = find(&server, &bearer.caller, &run).await?;
    bearer.may_write(&found)?;
    let id = found.id;
    match server.runs.cancel(found.environment, id).await? {
        Canceled::Now | Canceled::HadEnded => json(api::RunId { id: id.to_string() }),
        Canceled::NoSuchRun => Err(not_found()),
    }
}
