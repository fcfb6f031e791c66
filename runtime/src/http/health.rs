//! Whether the server lives, and whether it wants work.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Server;
use super::error::{ApiError, Result};

/// `GET /healthz`: the process answers.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// `GET /readyz`: the database answers, too, and the server is not shutting down.
pub(super) async fn ready(State(server): State<Arc<Server>>) -> Result<Json<Value>> {
    if !server.ready.load(Ordering::Acquire) {
        let text = "the server is shutting down";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", text));
    }
    server.storage.environments().await?;
    Ok(Json(json!({ "status": "ready" })))
}
