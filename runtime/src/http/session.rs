//! Operators at the page: a session in place of the admin key.
//!
//! Whoever shows the admin key once gets a random token, in a cookie that no script can read and that
//! no other site can make a browser send. It opens what the admin key opens, until it is ended,
//! [`SESSION_LIFE`] is over, or the admin key is another one. A request that changes something also
//! carries a text in the header [`CSRF_HEADER`] that only scripts of this origin can ask for. What is
//! stored of a session is a hash.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRef, FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::IntoResponse;
use cookie::{Cookie, SameSite};
use jiff::Timestamp;

use super::Server;
use super::auth::Auth;
use super::body::{Body, json};
use super::error::{ApiError, Result};
use super::openapi::{ChangeErrors, ReadErrors};
use crate::api::{LoginRequest, SessionItem};
use crate::model::limits::SESSION_LIFE;
use crate::model::run::later;
use crate::secrets;

/// The cookie that holds the token.
pub(super) const COOKIE: &str = "dacapo_session";
/// The header of changes.
const CSRF_HEADER: &str = "x-csrf-token";
/// A longer token is none.
const MAX_TOKEN_CHARS: usize = 64;

/// Begins a session: the admin key for a cookie.
///
/// The cookie `dacapo_session` opens what the admin key opens, for seven days. With it, `x-dacapo-environment` names the
/// environment, and requests other than GET and HEAD carry `csrfToken` in the header `x-csrf-token`.
#[utoipa::path(
    post, path = "/api/v1/session", tag = "Sessions",
    security(()),
    request_body = LoginRequest,
    responses((status = 200, body = SessionItem, description = "The session; its cookie is set"), ChangeErrors),
)]
pub(super) async fn begin(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    Body(request): Body<LoginRequest>,
) -> Result<impl IntoResponse> {
    if !server.auth.is_admin_key(&request.admin_key) {
        let error = "that is not the admin key: it is in the file `admin.key` of the data directory";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", error));
    }
    let now = server.clock.now();
    let (token, expires_at) = (secrets::new_session_token(), later(now, SESSION_LIFE));
    let replaced = token_of(&headers).map(|token| server.auth.session_hash(&token));
    server.storage.begin_session(server.auth.session_hash(&token), replaced, now, expires_at).await?;
    let cookie = set_cookie(&server, &token, i64::try_from(SESSION_LIFE.as_secs()).unwrap_or(i64::MAX))?;
    let session = Session { token, expires_at };
    Ok(([(header::SET_COOKIE, cookie)], json(session.item())?))
}

/// The session of the cookie, with the text that changes need.
#[utoipa::path(
    get, path = "/api/v1/session", tag = "Sessions",
    security(("session" = [])),
    responses((status = 200, body = SessionItem, description = "The session"), ReadErrors),
)]
pub(super) async fn show(session: Session) -> Result<Json<SessionItem>> {
    json(session.item())
}

/// Ends the session of the cookie.
#[utoipa::path(
    delete, path = "/api/v1/session", tag = "Sessions",
    security(("session" = [])),
    responses((status = 204, description = "It is over"), ChangeErrors),
)]
pub(super) async fn end(State(server): State<Arc<Server>>, session: Session) -> Result<impl IntoResponse> {
    server.storage.end_session(server.auth.session_hash(&session.token)).await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, set_cookie(&server, "", 0)?)]))
}

/// The session that a request belongs to. A change has been checked for its header.
pub(super) struct Session {
    token: String,
    expires_at: Timestamp,
}

impl Session {
    fn item(&self) -> SessionItem {
        let (csrf_token, version) = (secrets::csrf_token(&self.token), env!("CARGO_PKG_VERSION").into());
        SessionItem { csrf_token, expires_at: self.expires_at, version }
    }

    /// The session of a request that shows no key. `None`: it shows one, or has no cookie.
    pub(super) async fn of(auth: &Auth, parts: &Parts) -> Result<Option<Self>> {
        if parts.headers.contains_key(header::AUTHORIZATION) {
            return Ok(None);
        }
        let Some(token) = token_of(&parts.headers) else { return Ok(None) };
        let expires_at = auth.session(&token).await?.ok_or_else(over)?;
        check_change(parts, &token)?;
        Ok(Some(Self { token, expires_at }))
    }
}

impl<S> FromRequestParts<S> for Session
where
    S: Send + Sync,
    Arc<Server>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        Self::of(&Arc::<Server>::from_ref(state).auth, parts).await?.ok_or_else(over)
    }
}

fn over() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", "there is no session, or it is over: log in")
}

fn token_of(headers: &HeaderMap) -> Option<String> {
    let headers = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let found = headers.flat_map(Cookie::split_parse).flatten().find(|cookie| cookie.name() == COOKIE)?;
    Some(found.value().to_owned()).filter(|token| token.len() <= MAX_TOKEN_CHARS)
}

/// A browser sends the cookie with whatever its user is made to click; only a script of this origin
/// knows what belongs in the header.
fn check_change(parts: &Parts, token: &str) -> Result<()> {
    if [Method::GET, Method::HEAD].contains(&parts.method) {
        return Ok(());
    }
    let shown = parts.headers.get(CSRF_HEADER).map_or(&[][..], HeaderValue::as_bytes);
    if secrets::same(shown, secrets::csrf_token(token).as_bytes()) {
        return Ok(());
    }
    let error = "a change in a session needs the header `x-csrf-token`: GET /api/v1/session has it as `csrfToken`";
    Err(ApiError::forbidden(error))
}

fn set_cookie(server: &Server, token: &str, seconds: i64) -> Result<HeaderValue> {
    let cookie = Cookie::build((COOKIE, token))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(server.is_https)
        .max_age(cookie::time::Duration::seconds(seconds));
    HeaderValue::from_str(&cookie.to_string()).map_err(ApiError::internal)
}
