//! The table of routes: who may come, what a body may weigh, and who answers.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use axum::routing::{delete, get, post, put};
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

use super::{
    Server, admin, backtests, batches, bulk, changes, deployments, error, health, openapi, packets, queues, realtime,
    replay_rules, rerun, runs, schedules, session, statistics, streams, tokens, trace, trigger, variables, waitpoints,
};
use crate::model::limits;

/// All routes.
pub(super) fn all() -> Router<Arc<Server>> {
    let small = for_tokens().merge(for_keys()).merge(for_operators());
    let small = small.layer(DefaultBodyLimit::max(limits::MAX_BODY_BYTES));
    triggers().merge(batch_items()).merge(stream_chunks()).merge(objects()).merge(uploads()).merge(small)
}

/// What makes runs; a body holds a payload.
fn triggers() -> Router<Arc<Server>> {
    Router::new()
        .route("/api/v1/tasks/{task}/trigger", post(trigger::trigger))
        .route("/api/v1/runs/{run}/replay", post(trigger::replay))
        .route("/api/v1/runs/{run}/recording", get(rerun::recording))
        .route("/api/v1/runs/{run}/rerun", post(rerun::rerun))
        .layer(DefaultBodyLimit::max(limits::MAX_TRIGGER_BODY_BYTES))
        .method_not_allowed_fallback(error::no_such_method)
        .layer(browsers())
}

/// The items of a batch, read line by line.
fn batch_items() -> Router<Arc<Server>> {
    Router::new()
        .route("/api/v3/batches/{batch}/items", post(batches::items))
        .layer(DefaultBodyLimit::disable())
        .method_not_allowed_fallback(error::no_such_method)
        .layer(browsers())
}

/// What a run streams, read line by line.
fn stream_chunks() -> Router<Arc<Server>> {
    Router::new()
        .route(
            "/realtime/v1/streams/{run}/{target}/{stream}",
            put(streams::open).post(streams::write).head(streams::last),
        )
        .layer(DefaultBodyLimit::disable())
}

/// Uploaded payloads, for whoever has a link.
fn objects() -> Router<Arc<Server>> {
    Router::new()
        .route("/api/v1/objects/{environment}/{object}", get(packets::download).put(packets::upload))
        .layer(DefaultBodyLimit::max(limits::MAX_PAYLOAD_BYTES))
}

/// Components.
fn uploads() -> Router<Arc<Server>> {
    Router::new()
        .route("/api/v1/deployments", get(deployments::list).post(deployments::deploy))
        .layer(DefaultBodyLimit::max(limits::MAX_COMPONENT_BYTES))
}

/// Everything here looks at the scopes of public access tokens, which browsers hold.
fn for_tokens() -> Router<Arc<Server>> {
    Router::new()
        .route("/api/v1/runs", get(runs::list))
        .route("/api/v1/runs/count", get(runs::count))
        .route("/api/v3/runs/{run}", get(runs::retrieve))
        .route("/api/v1/runs/{run}/result", get(runs::result))
        .route("/api/v1/runs/{run}/events", get(runs::events))
        .route("/api/v1/runs/{run}/logs", get(runs::logs))
        .route("/api/v1/runs/{run}/trace", get(trace::trace))
        .route("/api/v1/runs/{run}/spans/{span}", get(trace::span))
        .route("/api/v2/runs/{run}/cancel", post(runs::cancel))
        .route("/api/v3/batches", post(batches::create))
        .route("/api/v2/batches/{batch}", get(batches::retrieve))
        .route("/api/v1/batches/{batch}", get(batches::retrieve))
        .route("/api/v1/batches/{batch}/results", get(batches::results))
        .route("/api/v1/waitpoints/tokens", get(waitpoints::list).post(waitpoints::create))
        .route("/api/v1/waitpoints/tokens/{token}/complete", post(waitpoints::complete))
        .route("/realtime/v1/runs", get(realtime::tags))
        .route("/realtime/v1/runs/{run}", get(realtime::run))
        .route("/realtime/v1/batches/{batch}", get(realtime::batch))
        .route("/realtime/v1/streams/{run}/{stream}", get(streams::read))
        .route("/realtime/v1/streams/{run}/input/{stream}", get(streams::read_input).post(streams::input))
        .method_not_allowed_fallback(error::no_such_method)
        .layer(browsers())
}

/// What takes a key.
fn for_keys() -> Router<Arc<Server>> {
    run_changes().merge(queues_and_bulk()).merge(settings())
}

/// Tokens, and changes of runs.
fn run_changes() -> Router<Arc<Server>> {
    Router::new()
        .route("/realtime/v1/streams/{run}/{target}/{stream}/append", post(streams::append))
        .route("/api/v1/auth/jwt/claims", post(tokens::claims))
        .route("/api/v1/auth/public-tokens", post(tokens::create))
        .route("/api/v1/runs/{run}/reschedule", post(changes::reschedule))
        .route("/api/v1/runs/{run}/tags", post(changes::add_tags))
        .route("/api/v1/runs/{run}/metadata", get(changes::metadata).put(changes::change_metadata))
        .route("/api/v1/runs/{run}/calls", get(rerun::calls))
        .route("/api/v1/runs/{run}/context", get(rerun::context))
        .route("/api/v1/runs/{run}/comparison", get(rerun::comparison))
        .route("/api/v1/idempotencyKeys/{key}/reset", post(changes::reset_key))
}

/// Numbers, queues, actions on many runs, large payloads.
fn queues_and_bulk() -> Router<Arc<Server>> {
    Router::new()
        .route("/api/v1/overview", get(statistics::overview))
        .route("/api/v1/tasks/{task}/statistics", get(statistics::of_task))
        .route("/api/v1/errors", get(statistics::errors))
        .route("/api/v1/batches", get(batches::list))
        .route("/api/v1/queues", get(queues::list))
        .route("/api/v1/queues/{queue}", get(queues::retrieve))
        .route("/api/v1/queues/{queue}/pause", post(queues::pause))
        .route("/api/v1/queues/{queue}/concurrency/override", post(queues::override_limit))
        .route("/api/v1/queues/{queue}/concurrency/reset", post(queues::reset_limit))
        .route("/api/v1/replay-rules", get(replay_rules::show).put(replay_rules::put))
        .route("/api/v1/backtests", get(backtests::list).post(backtests::create))
        .route("/api/v1/backtests/{backtest}", get(backtests::retrieve).delete(backtests::delete))
        .route("/api/v1/backtests/{backtest}/abort", post(backtests::abort))
        .route("/api/v1/backtests/{backtest}/replays", get(backtests::replays))
        .route("/api/v1/backtests/{backtest}/report", get(backtests::report))
        .route("/api/v1/bulk-actions", get(bulk::list).post(bulk::create))
        .route("/api/v1/bulk-actions/{bulk}", get(bulk::retrieve))
        .route("/api/v1/bulk-actions/{bulk}/members", get(bulk::members))
        .route("/api/v1/bulk-actions/{bulk}/abort", post(bulk::abort))
        .route("/api/v2/packets/{path}", put(packets::upload_link))
        .route("/api/v1/packets/{path}", get(packets::download_link))
        .route("/api/v1/runs/{run}/packets/{field}", get(packets::of_run))
}

/// Schedules, wait tokens, deployments, variables.
fn settings() -> Router<Arc<Server>> {
    Router::new()
        .route("/api/v1/schedules", get(schedules::list).post(schedules::create))
        .route(
            "/api/v1/schedules/{schedule}",
            get(schedules::retrieve).put(schedules::update).delete(schedules::delete),
        )
        .route("/api/v1/schedules/{schedule}/activate", post(schedules::activate))
        .route("/api/v1/schedules/{schedule}/deactivate", post(schedules::deactivate))
        .route("/api/v1/timezones", get(schedules::timezones))
        .route("/api/v1/waitpoints/tokens/{token}", get(waitpoints::retrieve))
        .route("/api/v1/waitpoints/tokens/{token}/callback/{code}", post(waitpoints::callback))
        .route("/api/v1/deployments/current", get(deployments::current))
        .route("/api/v1/deployments/latest", get(deployments::latest))
        .route("/api/v1/deployments/rollback", post(deployments::rollback))
        .route("/api/v1/deployments/{deployment}", get(deployments::retrieve))
        .route("/api/v1/deployments/{deployment}/promote", post(deployments::promote))
        .route("/api/v1/projects/{project}/envvars/{environment}", get(variables::list).post(variables::create))
        .route("/api/v1/projects/{project}/envvars/{environment}/import", post(variables::import))
        .route(
            "/api/v1/projects/{project}/envvars/{environment}/{name}",
            get(variables::retrieve).put(variables::update).delete(variables::delete),
        )
}

/// What takes the admin key or a session, and what takes nothing.
fn for_operators() -> Router<Arc<Server>> {
    Router::new()
        .route("/admin/v1/environments", get(admin::environments))
        .route("/admin/v1/environments/{environment}/egress", put(admin::set_egress))
        .route("/admin/v1/environments/{environment}/concurrency", put(admin::set_concurrency))
        .route("/admin/v1/environments/{environment}/backtest-policy", put(admin::set_backtest_policy))
        .route("/admin/v1/keys", get(admin::keys).post(admin::create_key))
        .route("/admin/v1/keys/{key}", delete(admin::revoke_key))
        .route("/api/v1/session", get(session::show).post(session::begin).delete(session::end))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/openapi.json", get(openapi::document))
}

/// Lets pages of any origin ask, and read all of the answer. They have no cookies here: what they
/// may do is in the token that they show. A router has its answer to other methods before it gets
/// this layer: one that comes later would answer OPTIONS in its place.
fn browsers() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::HEAD])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(Any)
        .max_age(limits::MAX_PREFLIGHT_AGE)
}
