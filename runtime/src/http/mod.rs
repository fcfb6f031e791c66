//! The door: the HTTP API.
//!
//! Handlers decode a request, call one verb or one query, and encode the answer; they decide
//! nothing about runs. Every route is in [`routes`]; every error leaves through [`error::ApiError`].
//! Bodies have limits, unknown routes and methods get a JSON error, and a panic answers 500.

mod admin;
mod auth;
mod backtests;
mod batches;
mod body;
mod bulk;
mod changes;
mod cursor;
mod dashboard;
mod deployments;
mod drain;
mod error;
mod health;
mod list;
mod listen;
mod ndjson;
mod openapi;
mod options;
mod origin;
mod packets;
mod queues;
mod rate;
mod realtime;
mod replay_rules;
mod rerun;
mod routes;
mod runs;
mod schedules;
mod session;
mod statistics;
mod streams;
mod tokens;
mod trace;
mod trigger;
mod variables;
mod waitpoints;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use tokio::sync::watch;
use tower_http::catch_panic::CatchPanicLayer;

use crate::backtest::jobs::Backtests;
use crate::bulk::Bulks;
use crate::clock::Clock;
use crate::deploy::Deploys;
use crate::packets::Packets;
use crate::runs::Runs;
use crate::schedules::Schedules;
use crate::secrets::ServerKey;
use crate::storage::Storage;
use crate::waitpoints::Waitpoints;

pub use auth::Auth;
pub use listen::{ConnectionLimits, serve};
pub use rate::Rates;

/// What handlers use.
pub struct Server {
    /// What is remembered.
    pub storage: Storage,
    /// The verbs on runs.
    pub runs: Runs,
    /// The verbs on many runs.
    pub bulks: Bulks,
    /// Replays in the sandbox.
    pub backtests: Backtests,
    /// Large payloads.
    pub packets: Packets,
    /// The verbs on schedules.
    pub schedules: Schedules,
    /// The verbs on wait tokens.
    pub waitpoints: Arc<Waitpoints>,
    /// The verb on code.
    pub deploys: Deploys,
    /// Who may do what.
    pub auth: Auth,
    /// How often they may.
    pub rates: Rates,
    /// Encrypts what is stored secretly.
    pub server_key: Arc<ServerKey>,
    /// The time.
    pub clock: Clock,
    /// How long a realtime request is held while nothing changes.
    pub feed_hold: Duration,
    /// Whether browsers reach this server by TLS: then they keep its cookies to that.
    pub is_https: bool,
    /// Whether requests are welcome: false while the server shuts down.
    pub ready: Arc<AtomicBool>,
    /// Becomes true when the server stops: requests that are held are answered then.
    pub stopping: watch::Receiver<bool>,
}

/// What answers requests.
pub fn router(server: Arc<Server>) -> Router {
    let mut routes = routes::all();
    if server.rates.is_limited() {
        routes = routes.route_layer(from_fn_with_state(server.clone(), rate::count));
    }
    routes
        .merge(dashboard::routes())
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn(drain::drain))
        .with_state(server)
}
