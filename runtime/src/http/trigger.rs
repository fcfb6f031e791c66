//! Making runs: triggering and replaying.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use super::Server;
use super::auth::{Bearer, Caller};
use super::body::{Body, OptionalBody, Params, Segments};
use super::error::{ApiError, Result};
use super::openapi::ChangeErrors;
use super::runs::find;
use super::{backtests, options, packets};
use crate::api::{
    ReplayAnswer, ReplayMode, ReplayReceipt, ReplayRequest, RunResult, TriggerReceipt, TriggerRequest, plain_json,
};
use crate::backtest::jobs::Wanted;
use crate::model::admission::Request;
use crate::model::id::{DeploymentId, EnvironmentId, RunId};
use crate::model::limits::{MAX_IDEMPOTENCY_KEY_CHARS, MAX_RESULT_WAIT};
use crate::model::run::End;
use crate::model::scope::{Action, Resource};
use crate::model::version::Version;
use crate::storage::RunEnd;

/// The same on all tries of one request.
const REQUEST_KEY_HEADER: &str = "x-trigger-request-idempotency-key";

/// Triggers a task: makes a run.
///
/// The run exists when this is answered, and survives a crash of the server. A second request with the same idempotency
/// key finds the run of the first.
#[utoipa::path(
    post, path = "/api/v1/tasks/{task}/trigger", tag = "Runs",
    security(("key" = []), ("publicToken" = [])),
    params(
        ("wait" = Option<String>, Query,
            description = "Answer when the run has ended, after this long at the latest: a duration such as `30s`"),
        ("x-trigger-request-idempotency-key" = Option<String>, Header,
            description = "The same on all tries of one request"),
    ),
    request_body = TriggerRequest,
    responses(
        (status = 200, body = TriggerReceipt, description = "The run", headers(
            ("x-trigger-jwt-claims" = Option<String>,
                description = "To a key: what a public access token for this claims"),
            ("x-trigger-jwt" = Option<String>,
                description = "To a token, or an additional key: a public access token for this"),
        )),
        ChangeErrors,
    ),
)]
pub(super) async fn trigger(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    Segments(task): Segments<String>,
    (params, headers): (Params, HeaderMap),
    Body(body): Body<TriggerRequest>,
) -> Result<Response> {
    params.only(&["wait"])?;
    let wait = params.duration("wait")?;
    bearer.may(Action::Trigger, &[Resource::one("tasks", &task)])?;
    let environment = bearer.caller.environment.id;
    let mut request = request(&server, environment, task.clone(), body).await?;
    request.request_key = request_key(&headers);
    request.one_time_token = bearer.one_time_token();
    let id = server.runs.new_id();
    // Ask for the end before the run begins: it may be over before this returns.
    let awaited = wait.map(|wait| (wait, server.storage.end_of(id)));
    let triggered = server.runs.trigger(id, environment, request).await?;
    let result = match awaited {
        Some((wait, end)) if triggered.is_new => {
            in_time(end, wait).await.map(|ended| RunResult::new(triggered.run, task, ended))
        }
        Some((wait, _)) => result_in_time(&server, environment, triggered.run, wait).await?,
        None => None,
    };
    let receipt = TriggerReceipt { id: triggered.run.to_string(), is_cached: triggered.is_cached, result };
    let scopes = vec![format!("read:runs:{}", triggered.run), format!("write:inputStreams:{}", triggered.run)];
    Ok((bearer.pass(&server, scopes)?, Json(receipt)).into_response())
}

/// The request that a trigger's body, or a batch's item, makes.
pub(super) async fn request(
    server: &Server,
    environment: EnvironmentId,
    task: String,
    body: TriggerRequest,
) -> Result<Request> {
    let payload_type = body.options.payload_type.as_deref();
    let stored = packets::stored(server, environment, body.payload.as_deref(), payload_type).await?;
    let (mut request, version) = options::request(task, body, stored, server.runs.now())?;
    request.locked = match version {
        Some(version) => Some(locked(server, environment, &version).await?),
        None => None,
    };
    Ok(request)
}

/// Runs the payload of a run again, as a new run on the version that is current.
///
/// What the body does not name is taken from the source, but for its idempotency key. In the modes `sandbox` and `shadow` no
/// run is made and no effect leaves the server: the answer says what a version does with the input, and how that differs from
/// what was done then. These modes take a key: public access tokens do not open them.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/replay", tag = "Runs",
    security(("key" = []), ("publicToken" = [])),
    params(
        ("environment" = Option<String>, Query,
            description = "Where the new run is to be: another environment takes the admin key. A queue of the source that is \
                           not known there is left to the task, as is the version; a queue that the body names is made. In \
                           the modes `sandbox` and `shadow`: whose version is to be tried, with its egress rules and \
                           variables of now"),
        ("x-trigger-request-idempotency-key" = Option<String>, Header,
            description = "The same on all tries of one request"),
    ),
    request_body = Option<ReplayRequest>,
    responses(
        (status = 200, body = inline(ReplayAnswer), description = "The new run; in the sandbox, what came of it"),
        ChangeErrors,
    ),
)]
pub(super) async fn replay(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    Segments(run): Segments<String>,
    (params, headers): (Params, HeaderMap),
    OptionalBody(body): OptionalBody<ReplayRequest>,
) -> Result<Response> {
    params.only(&["environment"])?;
    let caller = &bearer.caller;
    let source = find(&server, caller, &run).await?;
    bearer.may_write(&source)?;
    let target = target(&server, caller, params.get("environment")).await?;
    let (from_failure, force) = (body.from_failure.unwrap_or(false), body.force.unwrap_or(false));
    let (mode, sandboxed) = (body.mode.unwrap_or(ReplayMode::Live), body.options.clone());
    let (mut overrides, version) = options::overrides(body, server.runs.now())?;
    if from_failure && (mode != ReplayMode::Live || target != caller.environment.id) {
        return Err(ApiError::bad_request("`fromFailure` is for the mode `live`, in the environment of the run"));
    }
    if force && !from_failure {
        return Err(ApiError::bad_request("`force` is for `fromFailure`"));
    }
    if mode != ReplayMode::Live {
        // It makes no run that would use up a one-time token, and its answer shows what the run did.
        bearer.must_be_key("the modes `sandbox` and `shadow`")?;
        let payload = overrides.payload.as_ref().map(plain_json).transpose();
        let payload = payload.map_err(|error| ApiError::bad_request(format!("`payload`: {error}")))?;
        let options = sandboxed.unwrap_or_default();
        let wanted = Wanted { target, version, payload, mode: Some(mode), options };
        return Ok(Json(backtests::replay_one(&server, caller, source.id, wanted).await?).into_response());
    }
    if sandboxed.is_some() {
        return Err(ApiError::bad_request("`options` are for the modes `sandbox` and `shadow`: leave them out"));
    }
    overrides.request_key = request_key(&headers);
    overrides.one_time_token = bearer.one_time_token();
    overrides.locked = match version {
        Some(version) => Some(locked(&server, target, &version).await?),
        None => None,
    };
    let (replay, goes_on) = match from_failure {
        true => {
            let (replay, goes_on) = server.backtests.go_on(target, source.id, overrides, force).await?;
            (replay, Some(goes_on))
        }
        false => (server.runs.replay(caller.environment.id, source.id, target, overrides).await?, None),
    };
    Ok(Json(ReplayReceipt { id: replay.run.to_string(), is_cached: replay.is_cached, goes_on }).into_response())
}

/// Where a replay goes. Another environment has other secrets and other data, so that the key of
/// one does not open it.
async fn target(server: &Server, caller: &Caller, slug: Option<&str>) -> Result<EnvironmentId> {
    let Some(slug) = slug else { return Ok(caller.environment.id) };
    let target = server.auth.environment(slug).await?;
    if target.id != caller.environment.id && !caller.is_admin {
        let text = "a replay into another environment takes the admin key (and the header x-dacapo-environment for the \
                    environment of the run)";
        return Err(ApiError::forbidden(text));
    }
    Ok(target.id)
}

/// What the tries of a request have in common.
pub(super) fn request_key(headers: &HeaderMap) -> Option<String> {
    let key = headers.get(REQUEST_KEY_HEADER)?.to_str().ok()?;
    (1..=MAX_IDEMPOTENCY_KEY_CHARS).contains(&key.len()).then(|| key.to_owned())
}

async fn locked(server: &Server, environment: EnvironmentId, version: &str) -> Result<DeploymentId> {
    let unknown =
        || ApiError::unprocessable(format!("version `{}` does not exist in this environment", shown(version)));
    let version: Version = version.parse().map_err(|_| unknown())?;
    let deployment = server.storage.deployment_of_version(environment, version).await?;
    deployment.map(|deployment| deployment.id).ok_or_else(unknown)
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

/// How `run` ended, if it ends within `wait`.
pub(super) async fn result_in_time(
    server: &Server,
    environment: EnvironmentId,
    run: RunId,
    wait: Duration,
) -> Result<Option<RunResult>> {
    let end = server.storage.end_of(run);
    let found = server.storage.run(environment, run).await?;
    let found = found.ok_or_else(|| ApiError::not_found("Run not found"))?;
    let ended = match found.end() {
        Some(ended) => Some(ended),
        None => in_time(end, wait).await,
    };
    Ok(ended.map(|ended| RunResult::new(run, found.task, ended)))
}

async fn in_time(end: RunEnd, wait: Duration) -> Option<End> {
    tokio::time::timeout(wait.min(MAX_RESULT_WAIT), end).await.ok().flatten()
}
