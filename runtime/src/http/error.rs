//! Errors as clients see them. What went wrong inside goes to the log, never to the client.

use std::any::Any;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use crate::api::ErrorBody;
use crate::deploy::DeployError;
use crate::model::admission::Refusal;
use crate::runs::TriggerError;
use crate::sandbox::InspectError;
use crate::{secrets, storage};

/// Whether a client should try again, whatever the status says.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// An answer that is not 2xx.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    status: StatusCode,
    body: Box<ErrorBody>,
    /// Seconds after which it may be otherwise.
    retry_after: Option<u32>,
}

/// The answer of every handler.
pub(super) type Result<T> = std::result::Result<T, ApiError>;

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &str, error: impl Into<String>) -> Self {
        let body = ErrorBody { error: error.into(), code: Some(code.into()), ..ErrorBody::default() };
        Self { status, body: Box::new(body), retry_after: None }
    }

    /// 400: the request cannot be understood.
    pub(super) fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", error)
    }

    /// 403 to the bearer of a token whose scopes do not open this.
    pub(super) fn out_of_scope() -> Self {
        let mut error = Self::new(StatusCode::FORBIDDEN, "unauthorized", "Unauthorized");
        error.body.param = Some("access_token".into());
        error.body.kind = Some("authorization".into());
        error
    }

    /// 404.
    pub(super) fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", error)
    }

    /// 401.
    pub(super) fn unauthorized(error: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", error)
    }

    pub(super) fn conflict(error: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", error)
    }

    pub(super) fn too_large(error: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error)
    }

    pub(super) fn forbidden(error: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", error)
    }

    /// 429: not now; perhaps in a second.
    pub(super) fn busy(code: &str, error: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(StatusCode::TOO_MANY_REQUESTS, code, error) }
    }

    /// 422: the request is understood and cannot be done.
    pub(super) fn unprocessable(error: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unprocessable", error)
    }

    /// 500. `source` goes to the log.
    pub(super) fn internal(source: impl std::error::Error) -> Self {
        let causes: Vec<String> =
            std::iter::successors(source.source(), |error| error.source()).map(ToString::to_string).collect();
        tracing::error!(error = %source, ?causes, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong")
    }

    /// The text of a refusal that stays one, however often it is tried; another error is itself.
    pub(super) fn into_refusal(self) -> Result<String> {
        let stays = self.status.is_client_error()
            && ![StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&self.status);
        if stays { Ok(self.body.error) } else { Err(self) }
    }

    fn with_details(mut self, details: Vec<String>) -> Self {
        self.body.details = details;
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::CONFLICT {
            // The client would try four times more, with what does not change.
            response.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        response
    }
}

impl From<storage::Error> for ApiError {
    fn from(error: storage::Error) -> Self {
        let unavailable = |text: &str| Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", text);
        match error {
            storage::Error::Busy => unavailable("the server is overloaded: too many writes are waiting; try again"),
            storage::Error::Closed => unavailable("the server is shutting down; try again"),
            error => Self::internal(error),
        }
    }
}

impl From<secrets::Error> for ApiError {
    fn from(error: secrets::Error) -> Self {
        Self::internal(error)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Self::unprocessable(refusal.0)
    }
}

impl From<TriggerError> for ApiError {
    fn from(error: TriggerError) -> Self {
        let text = error.to_string();
        match error {
            TriggerError::Refused(refusal) => refusal.into(),
            TriggerError::BadPayload(_) => Self::bad_request(text),
            TriggerError::PayloadRejected { problems, .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "payload_rejected",
                format!("{text}: {}", problems.join("; ")),
            )
            .with_details(problems),
            TriggerError::NoSuchRun(_) => Self::not_found("Run not found"),
            TriggerError::NoSuchTask(..) | TriggerError::NoSuchParent(_) => Self::unprocessable(text),
            TriggerError::TokenUsed | TriggerError::ParentGone => Self::unprocessable(text),
            TriggerError::QueueFull { .. } => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "queue_full",
                format!("{text}; try again when some have started"),
            ),
            TriggerError::Storage(error) => error.into(),
        }
    }
}

impl From<DeployError> for ApiError {
    fn from(error: DeployError) -> Self {
        let text = error.to_string();
        match error {
            DeployError::BadName(_) | DeployError::BadExternalId | DeployError::TooManyBranches(_) => {
                Self::unprocessable(text)
            }
            DeployError::Inspect(InspectError::HostFault(fault)) => {
                tracing::error!(error = %fault, "a component could not be inspected");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong")
            }
            DeployError::Inspect(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "component_refused", text),
            DeployError::BadDefinitions(problems) => {
                let details: Vec<String> = problems.iter().map(ToString::to_string).collect();
                let text = format!("{text}: {}", details.join("; "));
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "component_refused", text).with_details(details)
            }
            DeployError::Artifacts(error) => Self::internal(error),
            DeployError::Storage(error) => error.into(),
        }
    }
}

/// The answer to a path that is not in the table.
pub(super) async fn no_such_route(method: Method, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(200).collect();
    ApiError::not_found(format!("there is no {method} {path}"))
}

/// The answer to a path that is, with another method.
pub(super) async fn no_such_method() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed")
}

/// The answer when a handler panicked.
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a text");
    tracing::error!(error = text, "a handler panicked");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong").into_response()
}
