//! The door: the HTTP API.
//!
//! Handlers decode a request, call one verb or one query, and encode the answer; they decide
//! nothing about runs. Every route is in [`router`]; every error leaves through [`error::ApiError`].
//! Bodies have limits, unknown routes and methods get a JSON error, and a panic answers 500.

mod admin;
mod auth;
mod batches;
mod body;
mod bulk;
mod changes;
mod cursor;
mod deployments;
mod error;
mod health;
mod list;
mod listen;
mod ndjson;
mod options;
mod origin;
mod packets;
mod queues;
mod realtime;
mod runs;
mod schedules;
mod streams;
mod tokens;
mod trigger;
mod variables;
mod waitpoints;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Method;
use axum::routing::{delete, get, post, put};
use tokio::sync::watch;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

use crate::bulk::Bulks;
use crate::clock::Clock;
use crate::deploy::Deploys;
use crate::model::limits;
use crate::packets::Packets;
use crate::runs::Runs;
use crate::schedules::Schedules;
use crate::secrets::ServerKey;
use crate::storage::Storage;
use crate::waitpoints::Waitpoints;

pub use auth::Auth;
pub use listen::{ConnectionLimits, serve};

/// What handlers use.
pub struct Server {
    /// What is remembered.
    pub storage: Storage,
    /// The verbs on runs.
    pub runs: Runs,
    /// The verbs on many runs.
    pub bulks: Bulks,
    /// Large payloads.
    pub packets: Packets,
    /// The verbs on schedules.
    pub schedules: Schedules,
    /// The verbs on wait tokens.
    pub waitpoints: Waitpoints,
    /// The verb on code.
    pub deploys: Deploys,
    /// Who may do what.
    pub auth: Auth,
    /// Encrypts what is stored secretly.
    pub server_key: Arc<ServerKey>,
    /// The time.
    pub clock: Clock,
    /// Whether requests are welcome: false while the server shuts down.
    pub ready: Arc<AtomicBool>,
    /// Becomes true when the server stops: requests that are held are answered then.
    pub stopping: watch::Receiver<bool>,
}

/// The table of routes.
pub fn router(server: Arc<Server>) -> Router {
    let runs = Router::new()
        .route("/api/v1/tasks/{task}/trigger", post(trigger::trigger))
        .route("/api/v1/runs/{run}/replay", post(trigger::replay))
        .layer(DefaultBodyLimit::max(limits::MAX_TRIGGER_BODY_BYTES))
        .method_not_allowed_fallback(error::no_such_method)
        .layer(browsers());
    let streamed = Router::new()
        .route("/api/v3/batches/{batch}/items", post(batches::items))
        .layer(DefaultBodyLimit::disable())
        .method_not_allowed_fallback(error::no_such_method)
        .layer(browsers());
    let written = Router::new()
        .route(
            "/realtime/v1/streams/{run}/{target}/{stream}",
            put(streams::open).post(streams::write).head(streams::last),
        )
        .layer(DefaultBodyLimit::disable());
    let objects = Router::new()
        .route("/api/v1/objects/{environment}/{object}", get(packets::download).put(packets::upload))
        .layer(DefaultBodyLimit::max(limits::MAX_PAYLOAD_BYTES));
    let upload = Router::new()
        .route("/api/v1/deployments", get(deployments::list).post(deployments::deploy))
        .layer(DefaultBodyLimit::max(limits::MAX_COMPONENT_BYTES));
    // Everything here looks at the scopes of public access tokens, which browsers hold.
    let tokens = Router::new()
        .route("/api/v1/runs", get(runs::list))
        .route("/api/v3/runs/{run}", get(runs::retrieve))
        .route("/api/v1/runs/{run}/result", get(runs::result))
        .route("/api/v1/runs/{run}/events", get(runs::events))
        .route("/api/v1/runs/{run}/logs", get(runs::logs))
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
        .layer(DefaultBodyLimit::max(limits::MAX_BODY_BYTES))
        .method_not_allowed_fallback(error::no_such_method)
        .layer(browsers());
    let rest = Router::new()
        .route("/realtime/v1/streams/{run}/{target}/{stream}/append", post(streams::append))
        .route("/api/v1/auth/jwt/claims", post(tokens::claims))
        .route("/api/v1/auth/public-tokens", post(tokens::create))
        .route("/api/v1/runs/{run}/reschedule", post(changes::reschedule))
        .route("/api/v1/runs/{run}/tags", post(changes::add_tags))
        .route("/api/v1/runs/{run}/metadata", get(changes::metadata).put(changes::change_metadata))
        .route("/api/v1/idempotencyKeys/{key}/reset", post(changes::reset_key))
        .route("/api/v1/queues", get(queues::list))
        .route("/api/v1/queues/{queue}", get(queues::retrieve))
        .route("/api/v1/queues/{queue}/pause", post(queues::pause))
        .route("/api/v1/queues/{queue}/concurrency/override", post(queues::override_limit))
        .route("/api/v1/queues/{queue}/concurrency/reset", post(queues::reset_limit))
        .route("/api/v1/bulk-actions", get(bulk::list).post(bulk::create))
        .route("/api/v1/bulk-actions/{bulk}", get(bulk::retrieve))
        .route("/api/v1/bulk-actions/{bulk}/members", get(bulk::members))
        .route("/api/v1/bulk-actions/{bulk}/abort", post(bulk::abort))
        .route("/api/v2/packets/{path}", put(packets::upload_link))
        .route("/api/v1/packets/{path}", get(packets::download_link))
        .route("/api/v1/runs/{run}/packets/{field}", get(packets::of_run))
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
        .route("/api/v1/deployments/rollback", post(deployments::rollback))
        .route("/api/v1/deployments/{deployment}", get(deployments::retrieve))
        .route("/api/v1/deployments/{deployment}/promote", post(deployments::promote))
        .route("/api/v1/projects/{project}/envvars/{environment}", get(variables::list).post(variables::create))
        .route("/api/v1/projects/{project}/envvars/{environment}/import", post(variables::import))
        .route(
            "/api/v1/projects/{project}/envvars/{environment}/{name}",
            get(variables::retrieve).put(variables::update).delete(variables::delete),
        )
        .route("/admin/v1/environments", get(admin::environments))
        .route("/admin/v1/environments/{environment}/egress", put(admin::set_egress))
        .route("/admin/v1/environments/{environment}/concurrency", put(admin::set_concurrency))
        .route("/admin/v1/keys", get(admin::keys).post(admin::create_key))
        .route("/admin/v1/keys/{key}", delete(admin::revoke_key))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .layer(DefaultBodyLimit::max(limits::MAX_BODY_BYTES));
    runs.merge(streamed)
        .merge(written)
        .merge(tokens)
        .merge(objects)
        .merge(upload)
        .merge(rest)
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(CatchPanicLayer::custom(error::panicked))
        .with_state(server)
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
