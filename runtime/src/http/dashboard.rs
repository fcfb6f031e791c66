//! The page: files that are built into the program, for browsers.
//!
//! The page is a client of the API like any other, with a [`session`](super::session) in place of a
//! key. What lies below `/dashboard/` is one of its files, or else a place in it, for which it is sent
//! itself. It may load nothing from elsewhere, and no script but its own files.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use rust_embed::{EmbeddedFile, RustEmbed};
use tower_http::compression::CompressionLayer;

use super::Server;
use super::error::ApiError;

/// Where the page is.
const HOME: &str = "/dashboard/";
/// What is sent for places in the page.
const INDEX: &str = "index.html";
/// Files whose names change with their content.
const ASSETS: &str = "assets/";

const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
             connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
];

#[derive(RustEmbed)]
#[folder = "dashboard/dist"]
struct Files;

/// The routes of the page. They are for people, and no part of the API's document.
pub(super) fn routes() -> Router<Arc<Server>> {
    let home = || async { Redirect::temporary(HOME) };
    Router::new()
        .route("/", get(home))
        .route("/dashboard", get(home))
        .route(HOME, get(|headers: HeaderMap| async move { page(&headers) }))
        .route("/dashboard/{*path}", get(file))
        .method_not_allowed_fallback(super::error::no_such_method)
        .layer(CompressionLayer::new())
        .layer(from_fn(with_headers))
}

async fn file(Path(path): Path<String>, headers: HeaderMap) -> Response {
    match Files::get(&path) {
        Some(found) => send(&path, found, &headers),
        // A file of another version: the page itself would only confuse.
        None if path.starts_with(ASSETS) => ApiError::not_found("there is no such file").into_response(),
        None => page(&headers),
    }
}

fn page(headers: &HeaderMap) -> Response {
    match Files::get(INDEX) {
        Some(found) => send(INDEX, found, headers),
        None => ApiError::not_found("the page was not built into this program").into_response(),
    }
}

fn send(path: &str, file: EmbeddedFile, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", data_encoding::HEXLOWER.encode(&file.metadata.sha256_hash()[..16]));
    let caching = if path.starts_with(ASSETS) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let answer = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, caching.to_owned())];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, answer).into_response();
    }
    let kind = [(header::CONTENT_TYPE, file.metadata.mimetype().to_owned())];
    (answer, kind, file.data).into_response()
}

async fn with_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().extend(HEADERS);
    response
}
