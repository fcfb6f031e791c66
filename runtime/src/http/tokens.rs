//! Public access tokens: what a browser may hold.
//!
//! A token is a JWT (HS256), signed with the text of a key of the environment that it names: any
//! key that has not been revoked, so that revoking a key also ends the tokens it signed. Only the
//! algorithm HS256 is taken, whatever the head of the token says; issuer, audience and end must be
//! there and right. What its bearer may do is in its scopes (`model::scope`), and which routes look
//! at them is said by the extractor [`Bearer`](super::auth::Bearer).

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRef, FromRequestParts, State};
use axum::http::request::Parts;
use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::Server;
use super::auth::{Caller, bearer_text};
use super::body::{Body, json};
use super::error::{ApiError, Result};
use super::openapi::ChangeErrors;
use crate::api::{BaseClaims, CreateTokenRequest, CreatedToken, RealtimeClaims, TokenEnd};
use crate::model::id::EnvironmentId;
use crate::model::run::later;
use crate::model::scope::OneTimeToken;
use crate::model::{duration, limits};
use crate::secrets;

/// The issuer and the audience of every token: the client writes them, whatever the server.
const ISSUER: &str = "https://id.trigger.dev";
const AUDIENCE: &str = "https://api.trigger.dev";

/// What a good token says.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) scopes: Vec<String>,
    /// Where it may make one run or batch only.
    pub(super) one_time: Option<OneTimeToken>,
    pub(super) realtime: RealtimeClaims,
}

/// A token to be signed.
pub(super) struct NewToken {
    pub(super) environment: EnvironmentId,
    pub(super) scopes: Vec<String>,
    pub(super) expires_at: Timestamp,
    pub(super) is_one_time: bool,
    pub(super) realtime: RealtimeClaims,
}

/// What is read of a token whose signature is good; issuer and audience were looked at before.
#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "pub", default)]
    is_public: bool,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    exp: Option<f64>,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    otu: bool,
    #[serde(default)]
    realtime: Option<RealtimeClaims>,
}

/// The claims of a token that the server signs.
#[derive(Serialize)]
struct SignedClaims {
    sub: String,
    #[serde(rename = "pub")]
    is_public: bool,
    scopes: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    otu: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    realtime: Option<RealtimeClaims>,
    iss: &'static str,
    aud: &'static str,
    iat: i64,
    exp: i64,
}

fn refused(why: &str) -> ApiError {
    ApiError::unauthorized(format!("the public access token is not good: {why}"))
}

/// The answer to a token that no key of its environment signed.
pub(super) fn bad_signature() -> ApiError {
    refused("no key of the environment that `sub` names has signed it")
}

/// Whether a bearer has the form of a token. Keys have no dots.
pub(super) fn is_token(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// The environment that a token names. Nothing it says is true before [`verify`].
pub(super) fn environment_of(text: &str) -> Result<EnvironmentId> {
    #[derive(Deserialize)]
    struct Subject {
        sub: String,
    }
    let payload = text.split('.').nth(1).unwrap_or_default();
    let payload = BASE64URL_NOPAD.decode(payload.as_bytes()).map_err(|_| refused("it is not a JWT"))?;
    let subject: Subject = serde_json::from_slice(&payload).map_err(|_| refused("it names no environment in `sub`"))?;
    subject.sub.parse().map_err(|_| refused("`sub` is not the id of an environment"))
}

/// What a token says, with the key that signed it, if one of `keys` did and it is good at `now`.
pub(super) fn verify(text: &str, keys: &[Arc<str>], now: Timestamp) -> Result<(Token, Arc<str>)> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    // The server's own clock says what time it is.
    validation.validate_exp = false;
    for key in keys {
        match jsonwebtoken::decode::<Claims>(text, &DecodingKey::from_secret(key.as_bytes()), &validation) {
            Ok(decoded) => return Ok((checked(text, decoded.claims, now)?, key.clone())),
            Err(error) => match error.kind() {
                ErrorKind::InvalidSignature => {}
                ErrorKind::InvalidIssuer => return Err(refused(&format!("`iss` must be {ISSUER}"))),
                ErrorKind::InvalidAudience => return Err(refused(&format!("`aud` must be {AUDIENCE}"))),
                ErrorKind::MissingRequiredClaim(claim) => return Err(refused(&format!("it has no `{claim}`"))),
                ErrorKind::InvalidAlgorithm => return Err(refused("its algorithm must be HS256")),
                _ => return Err(refused("it is not a JWT of the algorithm HS256 with the claims it needs")),
            },
        }
    }
    Err(bad_signature())
}

fn checked(text: &str, claims: Claims, now: Timestamp) -> Result<Token> {
    let now_seconds = now.as_millisecond() as f64 / 1e3;
    let end = claims.exp.ok_or_else(|| refused("it has no `exp`"))?;
    if end <= now_seconds {
        return Err(refused("it has expired"));
    }
    if claims.nbf.is_some_and(|from| from > now_seconds) {
        return Err(refused("it is not good yet"));
    }
    if !claims.is_public {
        return Err(refused("it does not claim `pub`"));
    }
    let one_time = claims.otu.then(|| OneTimeToken { hash: secrets::hash(text), expires_at: at(end) });
    Ok(Token { scopes: claims.scopes, one_time, realtime: claims.realtime.unwrap_or_default() })
}

/// A moment in seconds since 1970.
fn at(seconds: f64) -> Timestamp {
    Timestamp::from_millisecond((seconds * 1e3) as i64).unwrap_or(Timestamp::MAX)
}

/// Signs a token with the text of a key.
pub(super) fn sign(token: NewToken, key: &str, now: Timestamp) -> Result<String> {
    let claims = SignedClaims {
        sub: token.environment.to_string(),
        is_public: true,
        scopes: token.scopes,
        otu: token.is_one_time,
        realtime: Some(token.realtime).filter(|realtime| *realtime != RealtimeClaims::default()),
        iss: ISSUER,
        aud: AUDIENCE,
        iat: now.as_second(),
        exp: token.expires_at.as_second(),
    };
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(key.as_bytes()))
        .map_err(ApiError::internal)
}

/// What every public access token of the environment claims, for backends that sign tokens themselves.
#[utoipa::path(
    post, path = "/api/v1/auth/jwt/claims", tag = "Tokens",
    responses((status = 200, body = BaseClaims, description = "The claims"), ChangeErrors),
)]
pub(super) async fn claims(caller: Caller) -> Result<Json<BaseClaims>> {
    json(BaseClaims { sub: caller.environment.id.to_string(), is_public: true })
}

/// The text of the key that was shown.
pub(super) struct KeyText(String);

impl<S> FromRequestParts<S> for KeyText
where
    S: Send + Sync,
    Arc<Server>: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        bearer_text(parts).map(|text| Self(text.into()))
    }
}

/// Makes a public access token, signed with the key that was shown.
#[utoipa::path(
    post, path = "/api/v1/auth/public-tokens", tag = "Tokens",
    request_body = CreateTokenRequest,
    responses((status = 200, body = CreatedToken, description = "The token"), ChangeErrors),
)]
pub(super) async fn create(
    State(server): State<Arc<Server>>,
    caller: Caller,
    KeyText(key): KeyText,
    Body(body): Body<CreateTokenRequest>,
) -> Result<Json<CreatedToken>> {
    if caller.is_admin {
        return Err(ApiError::forbidden(
            "a token is signed with the key of an environment: use one, not the admin key",
        ));
    }
    if !(1..=limits::MAX_TOKEN_SCOPES).contains(&body.scopes.len()) {
        return Err(ApiError::bad_request("`scopes` must name 1 to 100 scopes"));
    }
    let has_form = |scope: &String| {
        let is_whole = scope.contains(':') && scope.splitn(3, ':').all(|part| !part.is_empty());
        scope.chars().count() <= limits::MAX_SCOPE_CHARS && (scope == "admin" || is_whole)
    };
    if !body.scopes.iter().all(has_form) {
        let text = "a scope is `action:type` or `action:type:id`, such as read:runs:run_…, of 512 characters at most";
        return Err(ApiError::bad_request(text));
    }
    let realtime = body.realtime.unwrap_or_default();
    if realtime.skip_columns.iter().map(String::len).sum::<usize>() > limits::MAX_SCOPE_CHARS {
        return Err(ApiError::bad_request("`realtime.skipColumns` names columns of 512 characters together at most"));
    }
    let now = server.clock.now();
    let token = NewToken {
        environment: caller.environment.id,
        scopes: body.scopes,
        expires_at: end(body.expiration_time, now)?,
        is_one_time: body.one_time_use,
        realtime,
    };
    let token = sign(token, &key, now)?;
    if token.len() > limits::MAX_TOKEN_CHARS {
        return Err(ApiError::bad_request("the token would be longer than 8192 characters: name fewer scopes"));
    }
    json(CreatedToken { token })
}

/// When a token is to end that was asked for at `now`.
fn end(wanted: Option<TokenEnd>, now: Timestamp) -> Result<Timestamp> {
    let end = match wanted {
        None => later(now, limits::DEFAULT_TOKEN_LIFE),
        Some(TokenEnd::At(seconds)) => at(seconds),
        Some(TokenEnd::After(text)) => {
            let life = duration::parse(&text)
                .map_err(|error| ApiError::bad_request(format!("`expirationTime`: {error}, or a second since 1970")))?;
            later(now, life)
        }
    };
    if end < later(now, Duration::from_secs(1)) || end > later(now, limits::MAX_TOKEN_LIFE) {
        return Err(ApiError::bad_request("`expirationTime` must be in the future, within 366 days"));
    }
    Ok(end)
}
