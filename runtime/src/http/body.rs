//! Bodies and parameters, read with errors that say what was wrong.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::error::{ApiError, Result};
use crate::api::is_array;
use crate::model::duration;

/// A body as bytes.
pub(super) struct Raw(pub(super) Bytes);

/// A JSON body. An empty body is refused.
pub(super) struct Body<T>(pub(super) T);

/// A JSON body that may be left out.
pub(super) struct OptionalBody<T>(pub(super) T);

/// The parameters of a path.
pub(super) struct Segments<T>(pub(super) T);

/// The query, in the order in which it was sent.
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Request body too large")
            }
            _ => ApiError::bad_request("the request body could not be read"),
        })?;
        Ok(Self(bytes))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let Raw(bytes) = Raw::from_request(request, state).await?;
        if bytes.is_empty() {
            return Err(ApiError::bad_request("Request body is empty"));
        }
        parse(&bytes).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self> {
        let Raw(bytes) = Raw::from_request(request, state).await?;
        if bytes.is_empty() { Ok(Self(T::default())) } else { parse(&bytes).map(Self) }
    }
}

/// Every body is an object.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    if is_array(bytes) {
        return Err(ApiError::bad_request("Invalid body: it must be a JSON object, not an array"));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        use serde_json::error::Category;
        match error.classify() {
            Category::Data if bytes.trim_ascii_start().first() != Some(&b'{') => {
                ApiError::bad_request("Invalid body: it must be a JSON object")
            }
            Category::Data => ApiError::bad_request(format!("Invalid body: {}", for_callers(&error.to_string()))),
            Category::Syntax | Category::Eof | Category::Io => ApiError::bad_request(format!("Invalid JSON: {error}")),
        }
    })
}

/// Without the names that this program has for objects.
fn for_callers(error: &str) -> String {
    let Some((before, after)) = error.split_once("expected struct ") else { return error.to_owned() };
    let after = after.trim_start_matches(|letter: char| letter.is_ascii_alphanumeric());
    format!("{before}expected an object{after}")
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let segments = Path::<T>::from_request_parts(parts, state).await;
        segments.map(|Path(segments)| Self(segments)).map_err(|_| ApiError::bad_request("the path is not valid UTF-8"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let query = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        query.map(|Query(pairs)| Self(pairs)).map_err(|_| ApiError::bad_request("the query cannot be read"))
    }
}

impl Params {
    /// The last value of a name; empty values count as missing.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The values of a name that is a list separated by commas.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        self.get(name).map(|values| values.split(',').filter(|value| !value.is_empty()).collect()).unwrap_or_default()
    }

    /// A whole number.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>> {
        let bad = |_| ApiError::bad_request(format!("`{name}` must be a whole number"));
        self.get(name).map(str::parse).transpose().map_err(bad)
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(ApiError::bad_request(format!("`{name}` must be true or false"))),
        }
    }

    /// A duration such as `30s`.
    pub(super) fn duration(&self, name: &str) -> Result<Option<std::time::Duration>> {
        let bad = |error| ApiError::bad_request(format!("`{name}`: {error}"));
        self.get(name).map(duration::parse).transpose().map_err(bad)
    }

    /// Refuses names that are not in `known`.
    pub(super) fn only(&self, known: &[&str]) -> Result<()> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) => {
                let name: String = name.chars().take(100).collect();
                Err(ApiError::bad_request(format!(
                    "Query Error: `{name}` is not offered here; known: {}",
                    known.join(", ")
                )))
            }
        }
    }
}

/// A JSON answer.
pub(super) fn json<T>(value: T) -> Result<Json<T>> {
    Ok(Json(value))
}
