//! Wait tokens: making, reading and completing them, with a key or by their callback address.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::value::RawValue;

use super::auth::{Bearer, Caller};
use super::body::{OptionalBody, Params, Raw, Segments, json};
use super::error::{ApiError, Result};
use super::openapi::{ChangeErrors, Pages, ReadErrors, WaitpointConditions};
use super::{Server, cursor, list, options, origin};
use crate::api::{
    CompleteWaitpointReceipt, CompleteWaitpointRequest, CreateWaitpointReceipt, CreateWaitpointRequest,
    WaitpointDetails, WaitpointItem, WaitpointList, WaitpointOutput, WaitpointStatus,
};
use crate::model::duration;
use crate::model::id::WaitpointId;
use crate::model::scope::{Action, Resource};
use crate::model::waitpoint;
use crate::storage::{Waitpoint, WaitpointFilter};
use crate::waitpoints::{WaitpointError, Wish};

const KNOWN: &[&str] = &[
    "page[size]",
    "page[after]",
    "page[before]",
    "filter[status]",
    "filter[idempotencyKey]",
    "filter[tags]",
    "filter[createdAt][from]",
    "filter[createdAt][to]",
    "filter[createdAt][period]",
];

fn not_found() -> ApiError {
    ApiError::not_found("Waitpoint not found")
}

fn id_of(text: &str) -> Result<WaitpointId> {
    text.parse().map_err(|_| not_found())
}

impl From<WaitpointError> for ApiError {
    fn from(error: WaitpointError) -> Self {
        let text = error.to_string();
        match error {
            WaitpointError::BadWish(_) | WaitpointError::TooMany => Self::unprocessable(text),
            WaitpointError::NoSuchWaitpoint => not_found(),
            WaitpointError::Storage(error) => error.into(),
        }
    }
}

/// Makes a wait token: something that somebody is to complete, once.
#[utoipa::path(
    post, path = "/api/v1/waitpoints/tokens", tag = "Wait tokens",
    security(("key" = []), ("publicToken" = [])),
    request_body = Option<CreateWaitpointRequest>,
    responses(
        (status = 200, body = CreateWaitpointReceipt, description = "The token", headers(
            ("x-trigger-jwt-claims" = Option<String>,
                description = "To a key: what a public access token for this claims"),
            ("x-trigger-jwt" = Option<String>,
                description = "To a token, or an additional key: a public access token for this"),
        )),
        ChangeErrors,
    ),
)]
pub(super) async fn create(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    headers: HeaderMap,
    OptionalBody(body): OptionalBody<CreateWaitpointRequest>,
) -> Result<Response> {
    bearer.may(Action::Write, &[Resource::all("waitpoints")])?;
    let origin = origin::of(&headers)?;
    let environment = bearer.caller.environment.id;
    let (waitpoint, is_new) = server.waitpoints.create(environment, wish(body)?).await?;
    let url = server.waitpoints.callback_url(&origin, waitpoint.id);
    let receipt = CreateWaitpointReceipt { id: waitpoint.id.to_string(), is_cached: !is_new, url };
    let scopes = vec![format!("write:waitpoints:{}", receipt.id)];
    Ok((bearer.pass(&server, scopes)?, Json(receipt)).into_response())
}

fn wish(body: CreateWaitpointRequest) -> Result<Wish> {
    let bad_timeout = |_| {
        let text = "`timeout` must be a duration such as `10m`, or a date such as `2026-11-21T12:00:00Z`";
        ApiError::bad_request(text)
    };
    let bad_ttl = |error| ApiError::bad_request(format!("`idempotencyKeyTTL`: {error}"));
    Ok(Wish {
        timeout: body.timeout.as_deref().map(options::delay).transpose().map_err(bad_timeout)?,
        idempotency_key: body.idempotency_key,
        idempotency_key_ttl: body.idempotency_key_ttl.as_deref().map(duration::parse).transpose().map_err(bad_ttl)?,
        tags: body.tags.map(|tags| tags.into_list()).unwrap_or_default(),
        call_key: None,
    })
}

/// The wait tokens of the environment, newest first, without their outputs.
#[utoipa::path(
    get, path = "/api/v1/waitpoints/tokens", tag = "Wait tokens",
    params(Pages, WaitpointConditions),
    responses((status = 200, body = WaitpointList, description = "A page"), ReadErrors),
)]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    headers: HeaderMap,
    params: Params,
) -> Result<Json<WaitpointList>> {
    params.only(KNOWN)?;
    let now = server.clock.now();
    let mut filter = WaitpointFilter {
        idempotency_key: params.get("filter[idempotencyKey]").map(Into::into),
        tags: list::words(&params, "filter[tags]")?,
        ..WaitpointFilter::default()
    };
    for word in list::words(&params, "filter[status]")? {
        filter.statuses.push(list::status::<WaitpointStatus>(&word, "WAITING, COMPLETED or TIMED_OUT")?.stored());
    }
    (filter.from, filter.to) = list::created_at(&params, now)?;
    let place = cursor::place_of(&params)?;
    let limit = list::page_size(&params)?;
    let origin = origin::of(&headers)?;
    let page = server.storage.waitpoints(caller.environment.id, filter, place, limit).await?;
    let pagination = cursor::around(&page, now, |waitpoint| waitpoint.id);
    let item = |waitpoint| item(&server, &origin, waitpoint);
    json(WaitpointList { data: page.items.into_iter().map(item).collect(), pagination })
}

/// A wait token, and with what it has ended.
#[utoipa::path(
    get, path = "/api/v1/waitpoints/tokens/{token}", tag = "Wait tokens",
    responses((status = 200, body = WaitpointDetails, description = "The token"), ReadErrors),
)]
pub(super) async fn retrieve(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(token): Segments<String>,
    headers: HeaderMap,
) -> Result<Json<WaitpointDetails>> {
    let found = server.storage.waitpoint(id_of(&token)?).await?;
    let found = found.filter(|found| found.environment == caller.environment.id);
    let mut waitpoint = found.ok_or_else(not_found)?;
    let output = match waitpoint.status {
        waitpoint::WaitpointStatus::Waiting => None,
        waitpoint::WaitpointStatus::Completed => waitpoint.output.take().map(WaitpointOutput::of),
        waitpoint::WaitpointStatus::TimedOut => waitpoint.timeout_at.map(WaitpointOutput::timed_out),
    };
    json(WaitpointDetails { item: item(&server, &origin::of(&headers)?, waitpoint), output })
}

/// Completes a wait token. The first output counts; to complete one that has ended changes nothing and is no error.
#[utoipa::path(
    post, path = "/api/v1/waitpoints/tokens/{token}/complete", tag = "Wait tokens",
    security(("key" = []), ("publicToken" = [])),
    request_body = Option<CompleteWaitpointRequest>,
    responses((status = 200, body = CompleteWaitpointReceipt, description = "It has ended"), ChangeErrors),
)]
pub(super) async fn complete(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    Segments(token): Segments<String>,
    OptionalBody(body): OptionalBody<CompleteWaitpointRequest>,
) -> Result<Json<CompleteWaitpointReceipt>> {
    bearer.may(Action::Write, &[Resource::one("waitpoints", &token)])?;
    let output = body.data.map(|data| Box::<str>::from(data).into_string());
    server.waitpoints.complete(bearer.caller.environment.id, id_of(&token)?, output).await?;
    json(CompleteWaitpointReceipt { success: true })
}

/// Completes a wait token, for whoever knows its address. The body, any JSON, is the output.
#[utoipa::path(
    post, path = "/api/v1/waitpoints/tokens/{token}/callback/{code}", tag = "Wait tokens",
    security(()),
    request_body = Option<Value>,
    responses((status = 200, body = CompleteWaitpointReceipt, description = "It has ended"), ChangeErrors),
)]
pub(super) async fn callback(
    State(server): State<Arc<Server>>,
    Segments((token, code)): Segments<(String, String)>,
    request: Request,
) -> Result<Json<CompleteWaitpointReceipt>> {
    let id = id_of(&token)?;
    // Whoever has no good code is answered before their bytes are read.
    if !server.waitpoints.is_callback_code(id, &code) {
        return Err(ApiError::unauthorized("Invalid callback hash"));
    }
    let Raw(bytes) = Raw::from_request(request, &()).await?;
    let output = match bytes.trim_ascii() {
        [] => None,
        text => {
            let bad = |error| ApiError::bad_request(format!("Invalid JSON: {error}"));
            let json: Box<RawValue> = serde_json::from_slice(text).map_err(bad)?;
            Some(Box::<str>::from(json).into_string())
        }
    };
    server.waitpoints.complete_by_callback(id, output).await?;
    json(CompleteWaitpointReceipt { success: true })
}

fn item(server: &Server, origin: &str, waitpoint: Waitpoint) -> WaitpointItem {
    WaitpointItem {
        id: waitpoint.id.to_string(),
        url: server.waitpoints.callback_url(origin, waitpoint.id),
        status: waitpoint.status.into(),
        tags: waitpoint.tags,
        created_at: waitpoint.created_at,
        completed_at: waitpoint.completed_at,
        timeout_at: waitpoint.timeout_at,
        idempotency_key: waitpoint.idempotency_key,
        idempotency_key_expires_at: waitpoint.key_expires_at,
    }
}
