//! What the operator does: environments and keys. All of it takes the admin key.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::Server;
use super::auth::Admin;
use super::body::{Body, Segments, json};
use super::error::{ApiError, Result};
use super::openapi::{ChangeErrors, ReadErrors};
use crate::api::{
    ApiKeyItem, ApiKeyList, ChangeReceipt, CreateKeyRequest, CreatedKey, Egress, EnvironmentConcurrency,
    EnvironmentItem, EnvironmentList, EnvironmentPolicy,
};
use crate::backtest::policy;
use crate::keys::{self, KeyKind};
use crate::model::egress::Rule;
use crate::model::limits::{MAX_CONCURRENCY_LIMIT, MAX_EGRESS_RULES};
use crate::storage::{Environment, EnvironmentKind};

/// All environments, oldest first.
#[utoipa::path(
    get, path = "/admin/v1/environments", tag = "Administration",
    security(("adminKey" = [])),
    responses((status = 200, body = EnvironmentList, description = "The environments"), ReadErrors),
)]
pub(super) async fn environments(State(server): State<Arc<Server>>, _: Admin) -> Result<Json<EnvironmentList>> {
    let environments = server.storage.environments().await?;
    let items: Result<_> = environments.into_iter().map(|environment| item(&server, environment)).collect();
    json(EnvironmentList { data: items? })
}

/// Says which hosts the tasks of an environment may talk to.
///
/// The rules take the place of the former ones; they count from the next connection on.
#[utoipa::path(
    put, path = "/admin/v1/environments/{environment}/egress", tag = "Administration",
    security(("adminKey" = [])),
    request_body = Egress,
    responses((status = 200, body = EnvironmentItem, description = "The environment"), ChangeErrors),
)]
pub(super) async fn set_egress(
    State(server): State<Arc<Server>>,
    _: Admin,
    Segments(slug): Segments<String>,
    Body(body): Body<Egress>,
) -> Result<Json<EnvironmentItem>> {
    let mut environment = server.auth.environment(&slug).await?;
    if body.rules.len() > MAX_EGRESS_RULES {
        return Err(ApiError::unprocessable("an environment can have 500 egress rules at most"));
    }
    let rules: std::result::Result<Vec<Rule>, _> = body.rules.iter().map(|rule| rule.trim().parse()).collect();
    let rules = rules.map_err(|error| ApiError::bad_request(error.to_string()))?;
    environment.egress = rules.iter().map(ToString::to_string).collect();
    server.storage.set_egress(environment.id, environment.egress.clone()).await?;
    json(item(&server, environment)?)
}

/// Says how many runs of an environment execute at a time.
#[utoipa::path(
    put, path = "/admin/v1/environments/{environment}/concurrency", tag = "Administration",
    security(("adminKey" = [])),
    request_body = EnvironmentConcurrency,
    responses((status = 200, body = EnvironmentItem, description = "The environment"), ChangeErrors),
)]
pub(super) async fn set_concurrency(
    State(server): State<Arc<Server>>,
    _: Admin,
    Segments(slug): Segments<String>,
    Body(body): Body<EnvironmentConcurrency>,
) -> Result<Json<EnvironmentItem>> {
    let mut environment = server.auth.environment(&slug).await?;
    if body.limit.is_some_and(|limit| !(1..=MAX_CONCURRENCY_LIMIT).contains(&limit)) {
        return Err(ApiError::bad_request("`limit` must be 1 to 100000; leave it out for no limit"));
    }
    environment.concurrency_limit = body.limit;
    server.storage.limit_environment(environment.id, body.limit).await?;
    json(item(&server, environment)?)
}

/// Says what a version must stand before it is made current.
///
/// Deployments that ask to be made current are then stored, and a backtest on the newest runs of their tasks decides.
/// A deployment that brings a policy of its own is held to the stricter of both. To promote a version by hand that was
/// never current takes the admin key then; rolling back goes on as ever.
#[utoipa::path(
    put, path = "/admin/v1/environments/{environment}/backtest-policy", tag = "Administration",
    security(("adminKey" = [])),
    request_body = EnvironmentPolicy,
    responses((status = 200, body = EnvironmentItem, description = "The environment"), ChangeErrors),
)]
pub(super) async fn set_backtest_policy(
    State(server): State<Arc<Server>>,
    _: Admin,
    Segments(slug): Segments<String>,
    Body(body): Body<EnvironmentPolicy>,
) -> Result<Json<EnvironmentItem>> {
    let mut environment = server.auth.environment(&slug).await?;
    body.policy.as_ref().map(policy::check).transpose()?;
    environment.backtest_policy = body.policy.as_ref().map(policy::write);
    server.storage.set_backtest_policy(environment.id, environment.backtest_policy.clone()).await?;
    json(item(&server, environment)?)
}

/// All API keys, oldest first. The keys themselves are not shown.
#[utoipa::path(
    get, path = "/admin/v1/keys", tag = "Administration",
    security(("adminKey" = [])),
    responses((status = 200, body = ApiKeyList, description = "The keys"), ReadErrors),
)]
pub(super) async fn keys(State(server): State<Arc<Server>>, _: Admin) -> Result<Json<ApiKeyList>> {
    let environments = server.storage.environments().await?;
    let slugs: HashMap<_, _> = environments.into_iter().map(|environment| (environment.id, environment.slug)).collect();
    let item = |key: crate::storage::ApiKey| {
        let environment = slugs.get(&key.environment).cloned().unwrap_or_default();
        ApiKeyItem {
            id: key.id.to_string(),
            hint: keys::hint(&server.server_key, &environment, &key),
            environment,
            created_at: key.created_at,
            revoked_at: key.revoked_at,
        }
    };
    json(ApiKeyList { data: server.storage.keys().await?.into_iter().map(item).collect() })
}

/// Makes another API key of an environment. This answer is the only one that shows it.
#[utoipa::path(
    post, path = "/admin/v1/keys", tag = "Administration",
    security(("adminKey" = [])),
    request_body = CreateKeyRequest,
    responses((status = 201, body = CreatedKey, description = "The key"), ChangeErrors),
)]
pub(super) async fn create_key(
    State(server): State<Arc<Server>>,
    _: Admin,
    Body(body): Body<CreateKeyRequest>,
) -> Result<(StatusCode, Json<CreatedKey>)> {
    let environment = server.auth.environment(&body.environment).await?;
    if let Some(branch) = &environment.branch {
        let name = &branch.name;
        let text =
            format!("a branch has no keys of its own: those of its parent open it, with x-trigger-branch: {name}");
        return Err(ApiError::unprocessable(text));
    }
    let kind = if body.additional { KeyKind::Additional } else { KeyKind::Root };
    let (id, key) = keys::create(&server.storage, &server.server_key, &environment, kind, server.clock.now()).await?;
    let created = CreatedKey { id: id.to_string(), environment: environment.slug, key };
    Ok((StatusCode::CREATED, Json(created)))
}

/// Revokes an API key, and with it the public access tokens that it has signed.
#[utoipa::path(
    delete, path = "/admin/v1/keys/{key}", tag = "Administration",
    security(("adminKey" = [])),
    responses((status = 200, body = ChangeReceipt, description = "It opens nothing any more"), ChangeErrors),
)]
pub(super) async fn revoke_key(
    State(server): State<Arc<Server>>,
    _: Admin,
    Segments(key): Segments<String>,
) -> Result<Json<ChangeReceipt>> {
    let not_found = || ApiError::not_found("there is no such key, or it was revoked before");
    let id = key.parse().map_err(|_| not_found())?;
    if !server.storage.revoke_key(id, server.clock.now()).await? {
        return Err(not_found());
    }
    json(ChangeReceipt { success: true })
}

fn item(server: &Server, environment: Environment) -> Result<EnvironmentItem> {
    Ok(EnvironmentItem {
        id: environment.id.to_string(),
        slug: environment.slug,
        kind: kind_name(environment.kind).into(),
        egress: environment.egress,
        concurrency_limit: environment.concurrency_limit,
        backtest_policy: environment.backtest_policy.as_deref().map(policy::read).transpose()?,
        branch: environment.branch.map(|branch| branch.name),
        waiting_runs: server.storage.waiting_runs(environment.id),
    })
}

/// What the API calls the kind of an environment.
pub(super) fn kind_name(kind: EnvironmentKind) -> &'static str {
    match kind {
        EnvironmentKind::Development => "DEVELOPMENT",
        EnvironmentKind::Staging => "STAGING",
        EnvironmentKind::Production => "PRODUCTION",
        EnvironmentKind::Preview => "PREVIEW",
    }
}
