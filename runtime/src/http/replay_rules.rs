//! What comparisons of replays overlook in an environment: reading and changing it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::Server;
use super::auth::Caller;
use super::body::{Body, Params, json};
use super::error::{ApiError, Result};
use super::openapi::{ChangeErrors, ReadErrors};
use crate::api::{ReplayRulesItem, ReplayRulesRequest};
use crate::backtest::{noise, policy};

/// What comparisons overlook and allow in the environment.
#[utoipa::path(
    get, path = "/api/v1/replay-rules", tag = "Backtests",
    responses((status = 200, body = ReplayRulesItem, description = "The rules"), ReadErrors),
)]
pub(super) async fn show(
    State(server): State<Arc<Server>>,
    caller: Caller,
    params: Params,
) -> Result<Json<ReplayRulesItem>> {
    params.only(&[])?;
    let (rules, stored) = noise::of_environment(&server.storage, caller.environment.id).await?;
    json(ReplayRulesItem { rules, updated_at: stored.map(|stored| stored.updated_at) })
}

/// Puts these rules in the place of those of the environment; none at all delete them.
///
/// They hold under those of a request, of replays in the sandbox, backtests, gates and comparisons of runs: lists are
/// joined, and a single value of the request counts before the stored one. A backtest keeps those of the moment at which it
/// was asked for. Where the environment has a backtest policy, this takes the admin key: rules decide what its gate sees.
#[utoipa::path(
    put, path = "/api/v1/replay-rules", tag = "Backtests",
    request_body = ReplayRulesRequest,
    responses((status = 200, body = ReplayRulesItem, description = "The rules"), ChangeErrors),
)]
pub(super) async fn put(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Body(body): Body<ReplayRulesRequest>,
) -> Result<Json<ReplayRulesItem>> {
    let environment = caller.environment.id;
    if !caller.is_admin && policy::of_environment(&server.storage, environment).await?.is_some() {
        let text =
            "the environment has a backtest policy, and rules decide what its gate sees: this takes the admin key";
        return Err(ApiError::forbidden(text));
    }
    let text = noise::write(&body.rules).map_err(|error| ApiError::bad_request(format!("`rules`: {error}")))?;
    let now = server.clock.now();
    let updated_at = text.as_ref().map(|_| now);
    server.storage.set_replay_rules(environment, text, now).await?;
    json(ReplayRulesItem { rules: body.rules, updated_at })
}
