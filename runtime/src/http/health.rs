//! Whether the server lives, and whether it wants work.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Server;
use super::error::{ApiError, Result};

/// Whether the process answers.
#[utoipa::path(
    get, path = "/healthz", tag = "Health",
    security(()),
    responses(
        (status = 200, body = Value, description = "It does: `status` is `ok`, and `version` is that of the server"),
    ),
)]
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// Whether the server wants work: the database answers, too, and the server is not shutting down.
#[utoipa::path(
    get, path = "/readyz", tag = "Health",
    security(()),
    responses(
        (status = 200, body = Value, description = "It does: `status` is `ready`"),
        (status = 500, body = crate::api::ErrorBody, description = "The database does not answer"),
        (status = 503, body = crate::api::ErrorBody, description = "The server is shutting down, or overloaded"),
    ),
)]
pub(super) async fn ready(State(server): State<Arc<Server>>) -> Result<Json<Value>> {
    if !server.ready.load(Ordering::Acquire) {
        let text = "the server is shutting down";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", text));
    }
    server.storage.environments().await?;
    Ok(Json(json!({ "status": "ready" })))
}
