//! Bulk actions: asking for one, and how far it has come.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::auth::Caller;
use super::body::{Body, Params, Segments, json};
use super::error::{ApiError, Result};
use super::list::{behind_run, cut, page_size};
use super::openapi::{ChangeErrors, Pages, ReadErrors};
use super::{Server, cursor};
use crate::api::{self, BulkCounts, BulkItem, BulkList, BulkMember, BulkMembers, BulkRequest, RunStatus};
use crate::bulk::BulkError;
use crate::model::bulk::BulkKind;
use crate::model::id::BulkId;
use crate::selection::SelectionError;
use crate::storage::{Bulk, Member};

fn not_found() -> ApiError {
    ApiError::not_found("Bulk action not found")
}

impl From<SelectionError> for ApiError {
    fn from(error: SelectionError) -> Self {
        match error {
            SelectionError::Refused(text) => Self::bad_request(text),
            SelectionError::BadQueue(_) => Self::unprocessable(error.to_string()),
            SelectionError::Storage(error) => error.into(),
        }
    }
}

impl From<BulkError> for ApiError {
    fn from(error: BulkError) -> Self {
        match error {
            BulkError::Refused(text) => Self::bad_request(text),
            BulkError::Selection(error) => error.into(),
            BulkError::NoSuchBulk => not_found(),
            BulkError::Over => Self::conflict(error.to_string()),
            BulkError::Storage(error) => error.into(),
        }
    }
}

/// Cancels or replays many runs: those that a filter finds, or those that are named.
///
/// The action is done in the background, once to each run.
#[utoipa::path(
    post, path = "/api/v1/bulk-actions", tag = "Bulk actions",
    request_body = BulkRequest,
    responses((status = 202, body = api::BulkId, description = "The action was recorded"), ChangeErrors),
)]
pub(super) async fn create(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Body(body): Body<BulkRequest>,
) -> Result<(StatusCode, Json<api::BulkId>)> {
    let id = server.bulks.create(caller.environment.id, body).await?;
    Ok((StatusCode::ACCEPTED, Json(api::BulkId { id: id.to_string() })))
}

/// The bulk actions of the environment, newest first.
#[utoipa::path(
    get, path = "/api/v1/bulk-actions", tag = "Bulk actions",
    params(Pages),
    responses((status = 200, body = BulkList, description = "A page"), ReadErrors),
)]
pub(super) async fn list(State(server): State<Arc<Server>>, caller: Caller, params: Params) -> Result<Json<BulkList>> {
    params.only(&["page[size]", "page[after]", "page[before]"])?;
    let (limit, place) = (page_size(&params)?, cursor::place_of(&params)?);
    let page = server.storage.bulks(caller.environment.id, place, limit).await?;
    let pagination = cursor::around(&page, server.runs.now(), |bulk| bulk.id);
    json(BulkList { data: page.items.into_iter().map(item).collect(), pagination })
}

/// How far a bulk action has come, and what became of the runs that it has made.
#[utoipa::path(
    get, path = "/api/v1/bulk-actions/{bulk}", tag = "Bulk actions",
    responses((status = 200, body = BulkItem, description = "The action"), ReadErrors),
)]
pub(super) async fn retrieve(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(bulk): Segments<String>,
) -> Result<Json<BulkItem>> {
    let bulk = find(&server, &caller, &bulk).await?;
    let outcomes = match bulk.kind {
        BulkKind::Cancel => None,
        BulkKind::Replay => {
            let counts = server.storage.bulk_outcomes(bulk.id).await?;
            let named = |(status, count)| (RunStatus::from(status).as_str().to_owned(), count);
            Some(counts.into_iter().map(named).collect())
        }
    };
    json(BulkItem { outcomes, ..item(bulk) })
}

/// Stops a bulk action. What it has done stays done.
#[utoipa::path(
    post, path = "/api/v1/bulk-actions/{bulk}/abort", tag = "Bulk actions",
    responses((status = 200, body = api::BulkId, description = "It goes no further"), ChangeErrors),
)]
pub(super) async fn abort(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(bulk): Segments<String>,
) -> Result<Json<api::BulkId>> {
    let id: BulkId = bulk.parse().map_err(|_| not_found())?;
    server.bulks.abort(caller.environment.id, id).await?;
    json(api::BulkId { id: id.to_string() })
}

/// What became of each run that a bulk action has looked at.
#[utoipa::path(
    get, path = "/api/v1/bulk-actions/{bulk}/members", tag = "Bulk actions",
    params(
        ("page[size]" = Option<u32>, Query, description = "Items on a page, 1 to 100; default 25"),
        ("page[after]" = Option<String>, Query, description = "The `next` of the page before"),
    ),
    responses((status = 200, body = BulkMembers, description = "A page"), ReadErrors),
)]
pub(super) async fn members(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(bulk): Segments<String>,
    params: Params,
) -> Result<Json<BulkMembers>> {
    params.only(&["page[size]", "page[after]"])?;
    let bulk = find(&server, &caller, &bulk).await?;
    let (limit, after) = behind_run(&params)?;
    let mut members = server.storage.members(bulk.id, after, limit + 1).await?;
    let pagination = cut(&mut members, limit, |member| member.source);
    let data = members.into_iter().map(member).collect();
    json(BulkMembers { data, pagination })
}

async fn find(server: &Server, caller: &Caller, bulk: &str) -> Result<Bulk> {
    let id: BulkId = bulk.parse().map_err(|_| not_found())?;
    server.storage.bulk(caller.environment.id, id).await?.ok_or_else(not_found)
}

fn item(bulk: Bulk) -> BulkItem {
    BulkItem {
        id: bulk.id.to_string(),
        kind: bulk.kind.as_str().to_uppercase(),
        status: bulk.status.into(),
        name: bulk.name,
        counts: BulkCounts { total: bulk.done + bulk.not_done, success: bulk.done, failure: bulk.not_done },
        created_at: bulk.created_at,
        completed_at: bulk.completed_at,
        outcomes: None,
    }
}

fn member(member: Member) -> BulkMember {
    let (new_run, status) = member.new_run.unzip();
    BulkMember {
        run_id: member.source.to_string(),
        outcome: member.outcome.as_str().into(),
        reason: member.reason,
        new_run_id: new_run.map(|run| run.to_string()),
        new_run_status: status.map(Into::into),
    }
}
