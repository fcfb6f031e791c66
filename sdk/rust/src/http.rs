//! A small HTTP client, since Rust's standard library has none.
//!
//! ```no_run
//! use dacapo::prelude::*;
//! use std::time::Duration;
//!
//! fn rate(_: &Context, currency: String) -> Result<f64> {
//!     let response = http::get(format!("https://rates.example/{currency}"))
//!         .header("accept", "application/json")
//!         .timeout(Duration::from_secs(10))
//!         .send()?;
//!     Ok(response.error_for_status()?.json()?)
//! }
//! ```
//!
//! It waits for the whole response. It does not follow redirects, keep cookies or decompress.
//! Which hosts can be reached is the server's decision.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

mod exchange;
mod url;

/// How long an exchange may take unless [`Request::timeout`] says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// How large the body of a response may be unless [`Request::max_bytes`] says otherwise.
pub const DEFAULT_MAX_BYTES: usize = 10 * 1024 * 1024;

/// Begins a `GET` request.
pub fn get(url: impl Into<String>) -> Request {
    Request::new("GET", url)
}

/// Begins a `POST` request.
pub fn post(url: impl Into<String>) -> Request {
    Request::new("POST", url)
}

/// Begins a `PUT` request.
pub fn put(url: impl Into<String>) -> Request {
    Request::new("PUT", url)
}

/// Begins a `DELETE` request.
pub fn delete(url: impl Into<String>) -> Request {
    Request::new("DELETE", url)
}

/// A request that is being put together. [`send`](Self::send) sends it.
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    method: String,
    url: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Result<Option<Vec<u8>>, String>,
    timeout: Duration,
    max_bytes: usize,
}

impl Request {
    /// Begins a request with any method. The URL is absolute, with the scheme `http` or `https`.
    pub fn new(method: &str, url: impl Into<String>) -> Self {
        Self {
            method: method.to_owned(),
            url: url.into(),
            headers: Vec::new(),
            body: Ok(None),
            timeout: DEFAULT_TIMEOUT,
            max_bytes: DEFAULT_MAX_BYTES,
        }
    }

    /// Adds a header. One that may occur more than once can be added more than once.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Ok(Some(body.into()));
        self
    }

    /// Sets the body to a value as JSON, and the header `content-type` unless it is set.
    pub fn json(mut self, value: impl Serialize) -> Self {
        self.body = serde_json::to_vec(&value).map(Some).map_err(|error| error.to_string());
        if self.has_header("content-type") { self } else { self.header("content-type", "application/json") }
    }

    /// How long the whole exchange may take. Default: [`DEFAULT_TIMEOUT`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How large the body of the response may be. Default: [`DEFAULT_MAX_BYTES`].
    pub fn max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// Sends the request and waits for the whole response. A response with any status is `Ok`;
    /// see [`Response::error_for_status`].
    pub fn send(self) -> Result<Response, HttpError> {
        exchange::exchange(self)
    }

    fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
    }
}

/// A response, complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    url: String,
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Response {
    /// The status code, for example 200.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of this name, if it is text. Upper and lower case do not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// All headers, in the order in which they came.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// The body.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The body, without a copy.
    pub fn into_bytes(self) -> Vec<u8> {
        self.body
    }

    /// The body as text. What is not UTF-8 becomes `U+FFFD`.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Reads the body as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.body)
    }

    /// Turns a status of 400 and above into an error.
    pub fn error_for_status(self) -> Result<Self, HttpError> {
        if self.status < 400 {
            return Ok(self);
        }
        Err(HttpError::Status { status: self.status, url: self.url })
    }
}

/// Why there is no response, or not the one hoped for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpError {
    /// The request cannot be sent as it is.
    InvalidRequest(String),
    /// The server that runs this task does not allow it.
    Denied(String),
    /// No connection: the name is unknown, nobody listens, the certificate is wrong.
    Unreachable(String),
    /// The exchange took longer than this.
    TimedOut(Duration),
    /// The connection broke, or the other side does not speak HTTP.
    Interrupted(String),
    /// The body of the response is larger than this.
    TooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// The status was 400 or above, and [`Response::error_for_status`] was called.
    Status {
        /// The status code.
        status: u16,
        /// What was asked for, without the query.
        url: String,
    },
}

impl HttpError {
    /// Whether the same request may well succeed later: no connection, a broken one, a timeout,
    /// or a status of 408, 429 or 500 and above.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::TimedOut(_) | Self::Interrupted(_) => true,
            Self::InvalidRequest(_) | Self::Denied(_) | Self::TooLarge { .. } => false,
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500..),
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidRequest(reason) => write!(f, "the request is not valid: {reason}"),
            Self::Denied(reason) => write!(f, "the request was not allowed: {reason}"),
            Self::Unreachable(reason) => write!(f, "no connection: {reason}"),
            Self::TimedOut(timeout) => write!(f, "no complete response within {timeout:?}"),
            Self::Interrupted(reason) => write!(f, "the connection broke: {reason}"),
            Self::TooLarge { max_bytes } => {
                write!(f, "the response is larger than {max_bytes} bytes")
            }
            Self::Status { status, url } => write!(f, "status {status} from {url}"),
        }
    }
}

impl std::error::Error for HttpError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16) -> Response {
        Response {
            url: "http://a/b".into(),
            status,
            headers: vec![("Content-Type".into(), b"text/plain".to_vec())],
            body: b"{\"n\":1}".to_vec(),
        }
    }

    #[test]
    fn a_response_is_read_in_many_ways() {
        let response = response(201);

        assert!(response.is_success());
        assert_eq!(response.header("content-type"), Some("text/plain"));
        assert_eq!(response.text(), "{\"n\":1}");
        let json: serde_json::Value = response.json().expect("the body is JSON");
        assert_eq!(json["n"], 1);
    }

    #[test]
    fn only_what_may_pass_is_transient() {
        let status = |status| response(status).error_for_status().map_err(|error| error.is_transient());

        assert!(status(302).is_ok());
        assert_eq!(status(404), Err(false));
        assert_eq!(status(429), Err(true));
        assert_eq!(status(503), Err(true));
    }

    #[test]
    fn json_sets_the_content_type_once() {
        let request = post("http://a").header("Content-Type", "application/vnd.api+json").json(1);
        assert_eq!(request.headers.len(), 1);
        assert_eq!(post("http://a").json(1).headers.len(), 1);
    }

    #[test]
    fn there_is_no_network_outside_a_component() {
        let error = get("http://localhost/").send().expect_err("there is none");
        assert!(matches!(error, HttpError::Unreachable(_)), "{error}");
    }
}
