//! Deployments: uploading, promoting, reading.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::auth::{Caller, Deployer};
use super::body::{Params, Raw, Segments, json};
use super::error::{ApiError, Result};
use super::list::{page_size, times};
use super::openapi::{ChangeErrors, Pages, ReadErrors};
use super::{Server, cursor};
use crate::api::{
    BacktestPolicy, DeployReceipt, DeploymentItem, DeploymentPage, Pagination, PromoteReceipt, RUNTIME, RUNTIME_VERSION,
};
use crate::backtest::policy::{self, Gating};
use crate::deploy::{Promote, Target, Upload};
use crate::model::id::EnvironmentId;
use crate::model::limits;
use crate::storage::{Deployed, Deployment, Place, Promotion};

/// The contract's words for where a deployment is in its life.
const STATUSES: [&str; 7] = ["PENDING", "BUILDING", "DEPLOYING", "DEPLOYED", "FAILED", "CANCELED", "TIMED_OUT"];

fn not_found() -> ApiError {
    ApiError::not_found("Deployment not found")
}

/// Uploads a component, and makes it current unless told otherwise.
///
/// Where the environment has a backtest policy, or one is given here, the version is stored, and made current at the end
/// of the backtest that decides over it. The bytes that were uploaded before are found again instead of stored twice. A
/// component that does not run here is refused with all that is wrong with it, and nothing changes.
#[utoipa::path(
    post, path = "/api/v1/deployments", tag = "Deployments",
    params(
        ("name" = String, Query,
            description = "What to call the component; a later upload of the same name takes its place"),
        ("skipPromotion" = Option<bool>, Query, description = "Whether to leave current what is"),
        ("externalId" = Option<String>, Query,
            description = "The caller's own name for the deployment, such as a commit"),
        ("backtest" = Option<String>, Query,
            description = "A backtest policy as JSON, such as `{\"last\":1000,\"allow\":0}`: the version is made current when its \
                           backtest is clean. Where the environment has one, too, the stricter counts in every point; `mode` \
                           and `options` are then those of the environment, but for `rules`, where it has none"),
    ),
    request_body(content_type = "application/wasm", description = "The component"),
    responses(
        (status = 200, body = DeployReceipt, description = "The deployment that has these bytes already"),
        (status = 201, body = DeployReceipt, description = "The new deployment"),
        ChangeErrors,
    ),
)]
pub(super) async fn deploy(
    State(server): State<Arc<Server>>,
    Deployer { target, hint }: Deployer,
    params: Params,
    Raw(component): Raw,
) -> Result<(StatusCode, Json<DeployReceipt>)> {
    params.only(&["name", "skipPromotion", "externalId", "backtest"])?;
    let name = params.get("name").ok_or_else(|| {
        ApiError::bad_request("name the component: `?name=…`. A later upload of the same name takes its place")
    })?;
    if component.is_empty() {
        return Err(ApiError::bad_request("Request body is empty: send the bytes of the component"));
    }
    let (policy, remark) = policy_for(&server, &target, &params).await?;
    let is_later = params.flag("skipPromotion")? || policy.is_some();
    let promote = if is_later { Promote::Later } else { Promote::Now };
    let external_id = params.get("externalId").map(Into::into);
    let deployed_by = Some(hint);
    let upload = Upload { name: name.into(), component, external_id, deployed_by, promote };
    let mut deployed = server.deploys.deploy(target, upload).await?;
    let (backtest_id, note) = match policy {
        Some(policy) => stand(&server, &mut deployed, policy).await?,
        None => (None, None),
    };
    let deployment = with_tasks(&server, &deployed.deployment).await?;
    let promotion = deployed.promotion.map(|promotion| receipt(&deployed.deployment, promotion));
    let status = if deployed.is_new { StatusCode::CREATED } else { StatusCode::OK };
    let (is_new, note) = (deployed.is_new, note.or(remark));
    Ok((status, Json(DeployReceipt { deployment, is_new, promotion, backtest_id, note })))
}

/// What the deployment must stand before it is made current, where that is asked for; and what is to be said of it.
async fn policy_for(
    server: &Server,
    target: &Target,
    params: &Params,
) -> Result<(Option<BacktestPolicy>, Option<String>)> {
    let skips = params.flag("skipPromotion")?;
    let given = params.get("backtest").map(read_policy).transpose()?;
    if skips && given.is_some() {
        return Err(ApiError::bad_request("`backtest` is for a promotion, and `skipPromotion` asks for none"));
    }
    let of_environment = match target {
        _ if skips => None,
        Target::There(environment) => policy::of_environment(&server.storage, *environment).await?,
        // There is nothing in it yet.
        Target::NewBranch { .. } => None,
    };
    match (of_environment, given) {
        (Some(own), Some(given)) => {
            let both = policy::stricter(&own, &given)?;
            let last = |policy: &BacktestPolicy| policy.last.unwrap_or(limits::DEFAULT_BACKTEST_RUNS);
            let is_stricter = both.allow < given.allow || last(&both) > last(&given);
            let has_other_rules = given.options.rules.is_some() && given.options.rules != both.options.rules;
            let remarks = [
                (is_stricter, "the policy of the environment counts where it is stricter than `backtest`"),
                (
                    has_other_rules,
                    "the policy of the environment has rules of its own: those of `backtest` do not count",
                ),
            ];
            let remarks: Vec<&str> = remarks.into_iter().filter(|(holds, _)| *holds).map(|(_, text)| text).collect();
            Ok((Some(both), (!remarks.is_empty()).then(|| remarks.join("; "))))
        }
        (own, given) => Ok((given.or(own), None)),
    }
}

fn read_policy(text: &str) -> Result<BacktestPolicy> {
    let given = serde_json::from_str(text);
    let given = given.map_err(|error| ApiError::bad_request(format!("`backtest` is no policy: {error}")))?;
    policy::check(&given)?;
    Ok(given)
}

/// Begins the backtest that decides over a deployment; where there is nothing to compare it with, makes it current and
/// says why.
async fn stand(
    server: &Server,
    deployed: &mut Deployed,
    policy: BacktestPolicy,
) -> Result<(Option<String>, Option<String>)> {
    let deployment = &deployed.deployment;
    match policy::gate(&server.backtests, deployment, policy).await? {
        Gating::Backtest(id) => Ok((Some(id.to_string()), None)),
        Gating::Nothing(why) => {
            deployed.promotion = server.deploys.promote(deployment, false).await?;
            if let Some(current) = server.storage.deployment(deployment.id).await? {
                deployed.deployment = current;
            }
            Ok((None, Some(why)))
        }
    }
}

/// The deployments of the environment, newest first.
#[utoipa::path(
    get, path = "/api/v1/deployments", tag = "Deployments",
    params(
        Pages,
        ("status" = Option<String>, Query,
            description = "Statuses, separated by commas; every deployment here is `DEPLOYED`"),
        ("period" = Option<String>, Query, description = "Only what was uploaded in this time until now, such as `7d`"),
        ("from" = Option<String>, Query,
            description = "Only what was uploaded from then on: a date, or milliseconds since 1970"),
        ("to" = Option<String>, Query, description = "Only what was uploaded until then"),
    ),
    responses((status = 200, body = DeploymentPage, description = "A page"), ReadErrors),
)]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    params: Params,
) -> Result<Json<DeploymentPage>> {
    params.only(&["page[size]", "page[after]", "page[before]", "status", "period", "from", "to"])?;
    let now = server.runs.now();
    let (limit, place) = (page_size(&params)?, cursor::place_of(&params)?);
    let times = times(&params, ["from", "to", "period"], now)?;
    if !asks_for_deployed(&params)? {
        return json(DeploymentPage { data: Vec::new(), pagination: Pagination::default() });
    }
    let page = server.storage.deployments(caller.environment.id, times, place, limit).await?;
    let pagination = cursor::around(&page, now, |deployment| deployment.id);
    json(DeploymentPage { data: page.items.iter().map(item).collect(), pagination })
}

/// Every deployment here is deployed: what fails is refused and not stored.
fn asks_for_deployed(params: &Params) -> Result<bool> {
    let statuses = params.list("status");
    match statuses.iter().find(|status| !STATUSES.contains(status)) {
        Some(_) => Err(ApiError::bad_request(format!("Query Error: status: choose among {}", STATUSES.join(", ")))),
        None => Ok(statuses.is_empty() || statuses.contains(&"DEPLOYED")),
    }
}

/// The deployment that was made current last.
#[utoipa::path(
    get, path = "/api/v1/deployments/current", tag = "Deployments",
    responses((status = 200, body = DeploymentItem, description = "The deployment, with its tasks"), ReadErrors),
)]
pub(super) async fn current(State(server): State<Arc<Server>>, caller: Caller) -> Result<Json<DeploymentItem>> {
    let current = server.storage.current_deployment(caller.environment.id).await?;
    let (current, _) = current.ok_or_else(not_found)?;
    json(with_tasks(&server, &current).await?)
}

/// The deployment that was uploaded last, current or not, with its tasks.
#[utoipa::path(
    get, path = "/api/v1/deployments/latest", tag = "Deployments",
    responses((status = 200, body = DeploymentItem, description = "The deployment, with its tasks"), ReadErrors),
)]
pub(super) async fn latest(State(server): State<Arc<Server>>, caller: Caller) -> Result<Json<DeploymentItem>> {
    let newest = server.storage.deployments(caller.environment.id, (None, None), Place::Start, 1).await?;
    let latest = newest.items.first().ok_or_else(not_found)?;
    json(with_tasks(&server, latest).await?)
}

/// A deployment, with its tasks.
#[utoipa::path(
    get, path = "/api/v1/deployments/{deployment}", tag = "Deployments",
    responses((status = 200, body = DeploymentItem, description = "The deployment"), ReadErrors),
)]
pub(super) async fn retrieve(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(name): Segments<String>,
) -> Result<Json<DeploymentItem>> {
    let deployment = find(&server, caller.environment.id, &name).await?;
    json(with_tasks(&server, &deployment).await?)
}

/// Makes a deployment current: its tasks run on it from now on. Runs that have started stay where they are.
///
/// Where the environment has a backtest policy, a version that was never current takes the admin key (with the header
/// `x-dacapo-environment`), and it stays on record that the policy was passed by; or it is uploaded again, and its
/// backtest decides.
#[utoipa::path(
    post, path = "/api/v1/deployments/{deployment}/promote", tag = "Deployments",
    responses((status = 200, body = PromoteReceipt, description = "What has changed"), ChangeErrors),
)]
pub(super) async fn promote(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(name): Segments<String>,
) -> Result<Json<PromoteReceipt>> {
    let deployment = find(&server, caller.environment.id, &name).await?;
    let is_past_policy = policy::is_in_the_way(&server.backtests, &deployment).await?;
    if is_past_policy && !caller.is_admin {
        let text = format!(
            "the environment has a backtest policy: upload {} again, and its backtest decides; to pass the policy by takes \
             the admin key",
            deployment.version
        );
        return Err(ApiError::forbidden(text));
    }
    promote_it(&server, &deployment, is_past_policy).await
}

/// Makes the deployment current that was current before the last promotion, of the same component.
#[utoipa::path(
    post, path = "/api/v1/deployments/rollback", tag = "Deployments",
    responses((status = 200, body = PromoteReceipt, description = "What has changed"), ChangeErrors),
)]
pub(super) async fn rollback(State(server): State<Arc<Server>>, caller: Caller) -> Result<Json<PromoteReceipt>> {
    let current = server.storage.current_deployment(caller.environment.id).await?;
    let (current, before) = current.ok_or_else(not_found)?;
    let before = before.ok_or_else(|| {
        let text = format!("version {} is the first of `{}` that was current", current.version, current.component);
        ApiError::unprocessable(text)
    })?;
    // Going back is never in anybody's way.
    promote_it(&server, &before, false).await
}

async fn promote_it(server: &Server, deployment: &Deployment, is_past_policy: bool) -> Result<Json<PromoteReceipt>> {
    let promotion = server.deploys.promote(deployment, is_past_policy).await?;
    json(receipt(deployment, promotion.ok_or_else(not_found)?))
}

async fn find(server: &Server, environment: EnvironmentId, name: &str) -> Result<Deployment> {
    let found = match (name.parse(), name.parse()) {
        (Ok(version), _) => server.storage.deployment_of_version(environment, version).await?,
        (_, Ok(id)) => server.storage.deployment(id).await?,
        _ => None,
    };
    found.filter(|deployment| deployment.environment == environment).ok_or_else(not_found)
}

async fn with_tasks(server: &Server, deployment: &Deployment) -> Result<DeploymentItem> {
    let tasks = server.storage.tasks(deployment.id).await?;
    Ok(DeploymentItem { tasks: Some(tasks.iter().map(Into::into).collect()), ..item(deployment) })
}

fn item(deployment: &Deployment) -> DeploymentItem {
    DeploymentItem {
        id: deployment.id.to_string(),
        created_at: deployment.created_at,
        deployed_at: deployment.promoted_at,
        short_code: deployment.short_code(),
        version: deployment.version.to_string(),
        status: "DEPLOYED".into(),
        runtime: Some(RUNTIME.into()),
        runtime_version: Some(RUNTIME_VERSION.into()),
        external_id: deployment.external_id.clone(),
        component: deployment.component.clone(),
        digest: deployment.digest.to_string(),
        size_bytes: deployment.size_bytes,
        is_current: deployment.current_tasks > 0,
        past_policy_at: deployment.past_policy_at,
        deployed_by: deployment.deployed_by.clone(),
        imports: deployment.imports.clone(),
        tasks: None,
    }
}

fn receipt(deployment: &Deployment, promotion: Promotion) -> PromoteReceipt {
    PromoteReceipt {
        id: deployment.id.to_string(),
        version: deployment.version.to_string(),
        short_code: deployment.short_code(),
        tasks: promotion.tasks,
        retired: promotion.retired,
        released_runs: promotion.released_runs as u64,
    }
}
