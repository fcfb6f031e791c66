//! Queues: what is in them, pausing them, and their limits.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::Server;
use super::auth::Caller;
use super::body::{Body, Params, Segments, json};
use super::error::{ApiError, Result};
use super::openapi::{ChangeErrors, NumberedPages, ReadErrors};
use crate::api::{
    OverrideLimit, PageNumber, PauseAction, PauseQueue, QueueConcurrency, QueueItem, QueueKind, QueueList, ResetLimit,
};
use crate::model::admission::stored_queue_name;
use crate::model::limits;
use crate::storage::{Queue, QueueChange};

/// What the own queues of tasks are called inside.
const TASK_PREFIX: &str = "task/";

/// The queues of the environment by name, with what is in them now.
#[utoipa::path(
    get, path = "/api/v1/queues", tag = "Queues",
    params(NumberedPages),
    responses((status = 200, body = QueueList, description = "A page"), ReadErrors),
)]
pub(super) async fn list(State(server): State<Arc<Server>>, caller: Caller, params: Params) -> Result<Json<QueueList>> {
    params.only(&["page", "perPage"])?;
    let (page, per_page) = page_of(&params)?;
    let offset = (page - 1).saturating_mul(u64::from(per_page));
    let (queues, count) = server.storage.queues(caller.environment.id, offset, per_page).await?;
    json(QueueList { data: queues.into_iter().map(item).collect(), pagination: page_number(page, per_page, count) })
}

/// The page that is asked for, from 1, and its size.
pub(super) fn page_of(params: &Params) -> Result<(u64, u32)> {
    let page = params.number("page")?.unwrap_or(1).max(1);
    let per_page = params.number("perPage")?.unwrap_or(limits::DEFAULT_PAGE_ITEMS.into());
    let per_page = per_page.clamp(1, limits::MAX_PAGE_ITEMS.into());
    Ok((page, u32::try_from(per_page).unwrap_or(limits::MAX_PAGE_ITEMS)))
}

/// Where a page is among all.
pub(super) fn page_number(page: u64, per_page: u32, count: u64) -> PageNumber {
    PageNumber { current_page: page, total_pages: count.div_ceil(u64::from(per_page)).max(1), count }
}

/// A queue, with what is in it now.
#[utoipa::path(
    get, path = "/api/v1/queues/{queue}", tag = "Queues",
    params(("type" = Option<QueueKind>, Query, description = "How the path names the queue; default `id`")),
    responses(
        (status = 200, body = QueueItem, description = "The queue"),
        (status = 422, body = crate::api::ErrorBody, description = "No queue can have the name"),
        ReadErrors,
    ),
)]
pub(super) async fn retrieve(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(queue): Segments<String>,
    params: Params,
) -> Result<Json<QueueItem>> {
    params.only(&["type"])?;
    let kind = match params.get("type") {
        None | Some("id") => QueueKind::Id,
        Some("task") => QueueKind::Task,
        Some("custom") => QueueKind::Custom,
        Some(_) => return Err(ApiError::bad_request("`type` must be id, task or custom")),
    };
    show(&server, &caller, name_of(&server, &caller, kind, &queue).await?).await
}

/// Pauses a queue, or resumes it. Runs that execute are left alone.
#[utoipa::path(
    post, path = "/api/v1/queues/{queue}/pause", tag = "Queues",
    request_body = PauseQueue,
    responses((status = 200, body = QueueItem, description = "The queue"), ChangeErrors),
)]
pub(super) async fn pause(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(queue): Segments<String>,
    Body(body): Body<PauseQueue>,
) -> Result<Json<QueueItem>> {
    let change = match body.action {
        PauseAction::Pause => QueueChange::Pause,
        PauseAction::Resume => QueueChange::Resume,
    };
    let name = name_of(&server, &caller, body.kind, &queue).await?;
    changed(&server, &caller, name, change).await
}

/// Puts another concurrency limit in the place of the one that the deployment declares.
#[utoipa::path(
    post, path = "/api/v1/queues/{queue}/concurrency/override", tag = "Queues",
    request_body = OverrideLimit,
    responses((status = 200, body = QueueItem, description = "The queue"), ChangeErrors),
)]
pub(super) async fn override_limit(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(queue): Segments<String>,
    Body(body): Body<OverrideLimit>,
) -> Result<Json<QueueItem>> {
    if body.concurrency_limit > limits::MAX_CONCURRENCY_LIMIT {
        return Err(ApiError::bad_request("`concurrencyLimit` must be 0 to 100000"));
    }
    let name = name_of(&server, &caller, body.kind, &queue).await?;
    changed(&server, &caller, name, QueueChange::Limit(Some(body.concurrency_limit))).await
}

/// Goes back to the concurrency limit that the deployment declares.
#[utoipa::path(
    post, path = "/api/v1/queues/{queue}/concurrency/reset", tag = "Queues",
    request_body = ResetLimit,
    responses((status = 200, body = QueueItem, description = "The queue"), ChangeErrors),
)]
pub(super) async fn reset_limit(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(queue): Segments<String>,
    Body(body): Body<ResetLimit>,
) -> Result<Json<QueueItem>> {
    let name = name_of(&server, &caller, body.kind, &queue).await?;
    changed(&server, &caller, name, QueueChange::Limit(None)).await
}

fn no_such_queue() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "queue-not-found")
}

/// The queue's name inside. A slash in the name arrives encoded twice.
async fn name_of(server: &Server, caller: &Caller, kind: QueueKind, queue: &str) -> Result<String> {
    let name = queue.replace("%2F", "/");
    match kind {
        QueueKind::Custom => Ok(stored_queue_name(&name)?),
        QueueKind::Task => Ok(stored_queue_name(&format!("{TASK_PREFIX}{name}"))?),
        QueueKind::Id => {
            let id = queue.parse().map_err(|_| no_such_queue())?;
            server.storage.queue_name(caller.environment.id, id).await?.ok_or_else(no_such_queue)
        }
    }
}

async fn changed(server: &Server, caller: &Caller, name: String, change: QueueChange) -> Result<Json<QueueItem>> {
    let environment = caller.environment.id;
    if !server.storage.change_queue(environment, name.clone(), change, server.runs.now()).await? {
        return Err(no_such_queue());
    }
    show(server, caller, name).await
}

async fn show(server: &Server, caller: &Caller, name: String) -> Result<Json<QueueItem>> {
    let queue = server.storage.queue(caller.environment.id, name).await?.ok_or_else(no_such_queue)?;
    json(item(queue))
}

fn item(queue: Queue) -> QueueItem {
    let limit = queue.limit();
    let (kind, name) = match queue.name.strip_prefix(TASK_PREFIX) {
        Some(task) => (QueueKind::Task, task.to_owned()),
        None => (QueueKind::Custom, queue.name),
    };
    QueueItem {
        id: queue.id.to_string(),
        name,
        kind,
        running: queue.running,
        queued: queue.queued,
        paused: queue.paused_at.is_some(),
        concurrency_limit: limit,
        concurrency: QueueConcurrency {
            current: limit,
            base: queue.declared_limit,
            overriding: queue.override_limit,
            overridden_at: queue.overridden_at,
            overridden_by: None,
        },
    }
}
