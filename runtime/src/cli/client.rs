//! Talks to a server: JSON in and out, within time limits, with errors that say what to do.
//!
//! Never prints; never lets a key into an error. What went wrong becomes an [`Error`], whose
//! variant decides the exit code.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{Method, Request, Response, header};
use ureq::{Agent, Body, SendBody};

use crate::api::ErrorBody;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an ordinary answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an answer may take that waits for a run: 60 s at the server, and the way.
const WAIT_TIMEOUT: Duration = Duration::from_secs(75);
/// How long an upload may take; the server compiles meanwhile.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(600);
/// Names an environment beside an admin key.
const ENVIRONMENT_HEADER: &str = "x-dacapo-environment";
/// Names a branch beside a key of `preview` or `dev`.
const BRANCH_HEADER: &str = "x-trigger-branch";
/// Largest answer that is read.
const MAX_ANSWER_BYTES: u64 = 256 * 1024 * 1024;
/// Most of a body that is not the API's that an error quotes, in characters.
const MAX_QUOTED_CHARS: usize = 200;

/// Why there is no answer, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Nobody answered.
    #[error(
        "cannot reach the server at {url}: start one with `dacapo server` or `dacapo dev`, \
         or name another with --url or DACAPO_URL"
    )]
    Unreachable {
        /// Without credentials.
        url: String,
        /// The way it failed.
        source: Box<ureq::Error>,
    },
    /// The server answered 4xx.
    #[error("{}", .body.error)]
    Refused {
        /// 400 to 499.
        status: u16,
        /// What it said.
        body: ErrorBody,
    },
    /// The server answered 5xx.
    #[error("the server failed ({status}): {}", .body.error)]
    Failed {
        /// 500 to 599.
        status: u16,
        /// What it said.
        body: ErrorBody,
    },
    /// Something answered, but not as Dacapo's API does.
    #[error("{url} does not answer as a dacapo server does: {reason}")]
    Unexpected {
        /// Without credentials.
        url: String,
        /// What is odd about it.
        reason: String,
    },
    /// The URL cannot be used.
    #[error("`{url}` is not a base URL: {reason}; write for example http://127.0.0.1:3040")]
    BadUrl {
        /// Without credentials.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A server's answer.
#[derive(Debug)]
pub(super) struct Answer<T> {
    /// As it came.
    pub(super) text: String,
    /// As it was understood.
    pub(super) value: T,
}

/// A key and where it was found.
#[derive(Clone)]
pub(super) struct Key {
    secret: String,
    /// A file or a variable, for errors.
    source: String,
}

impl Key {
    /// A key found in `source`; `None` if it holds characters that no header may carry.
    pub(super) fn new(secret: &str, source: impl Into<String>) -> Option<Self> {
        let secret = secret.trim();
        let is_sendable = !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic());
        is_sendable.then(|| Self { secret: secret.into(), source: source.into() })
    }

    /// Whether it begins with `prefix`.
    pub(super) fn begins_with(&self, prefix: &str) -> bool {
        self.secret.starts_with(prefix)
    }

    /// Where it was found.
    pub(super) fn source(&self) -> &str {
        &self.source
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key(from {})", self.source)
    }
}

/// A path with its query; what is put in is escaped.
#[derive(Debug, Clone)]
pub(super) struct Route(String);

impl Route {
    /// A path that needs no escaping.
    pub(super) fn new(path: &str) -> Self {
        Self(path.into())
    }

    /// Adds one segment of the path.
    pub(super) fn segment(mut self, text: &str) -> Self {
        self.0.push('/');
        self.0.push_str(&escape(text));
        self
    }

    /// Adds to the path as it is.
    pub(super) fn path(mut self, path: &str) -> Self {
        self.0.push_str(path);
        self
    }

    /// Adds a parameter.
    pub(super) fn query(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        self.0.push_str(&escape(name));
        self.0.push('=');
        self.0.push_str(&escape(&value.to_string()));
        self
    }

    /// Adds a parameter where it has a value.
    pub(super) fn query_if(self, name: &str, value: Option<impl std::fmt::Display>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }
}

fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            _ => {
                // Writing to a `String` cannot fail.
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}

/// A connection to one server with one key.
#[derive(Debug, Clone)]
pub(super) struct Client {
    agent: Agent,
    base: String,
    key: Option<Key>,
    /// Which environment is meant, where the key is the admin's and opens all.
    environment: Option<&'static str>,
    /// Which branch of the environment is meant.
    branch: Option<String>,
}

impl Client {
    /// A client of the server at `url`. Nothing is sent yet.
    pub(super) fn new(url: &str, key: Option<Key>) -> Result<Self, Error> {
        let base = url.trim().trim_end_matches('/').to_owned();
        let bad = |reason: &str| Error::BadUrl { url: without_credentials(&base), reason: reason.into() };
        let uri: ureq::http::Uri = base.parse().map_err(|_| bad("it cannot be read"))?;
        let Some(host) = uri.host().filter(|_| matches!(uri.scheme_str(), Some("http" | "https"))) else {
            return Err(bad("it must begin with http:// or https:// and name a host"));
        };
        if uri.query().is_some() {
            return Err(bad("it must not have a query"));
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .user_agent(concat!("dacapo/", env!("CARGO_PKG_VERSION")));
        if is_local(host) {
            config = config.proxy(None);
        }
        Ok(Self { agent: config.build().new_agent(), base, key, environment: None, branch: None })
    }

    /// The same client, with an admin key, for what lies in the environment `slug`.
    pub(super) fn within(self, slug: &'static str) -> Self {
        Self { environment: Some(slug), ..self }
    }

    /// The same client, for what lies in a branch.
    pub(super) fn on_branch(self, branch: Option<String>) -> Self {
        Self { branch, ..self }
    }

    /// Where the server is, without credentials.
    pub(super) fn url(&self) -> String {
        without_credentials(&self.base)
    }

    /// Whether there is a key to show.
    pub(super) fn key(&self) -> Option<&Key> {
        self.key.as_ref()
    }

    /// Asks for something.
    pub(super) fn get<T: DeserializeOwned>(&self, route: Route) -> Result<Answer<T>, Error> {
        self.exchange(Method::GET, &route, Vec::new(), ANSWER_TIMEOUT)
    }

    /// Asks for something that may take up to a minute to come.
    pub(super) fn get_waiting<T: DeserializeOwned>(&self, route: Route) -> Result<Answer<T>, Error> {
        self.exchange(Method::GET, &route, Vec::new(), WAIT_TIMEOUT)
    }

    /// Sends `body` as JSON; the answer may take up to a minute.
    pub(super) fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        route: Route,
        body: &impl Serialize,
    ) -> Result<Answer<T>, Error> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Error::Unexpected { url: self.url(), reason: error.to_string() })?;
        self.exchange(method, &route, body, WAIT_TIMEOUT)
    }

    /// Sends a request without a body that changes something.
    pub(super) fn send_empty<T: DeserializeOwned>(&self, method: Method, route: Route) -> Result<Answer<T>, Error> {
        self.exchange(method, &route, Vec::new(), ANSWER_TIMEOUT)
    }

    /// Uploads `size` bytes from `body`.
    pub(super) fn upload<T: DeserializeOwned>(
        &self,
        route: Route,
        size: u64,
        body: &mut dyn Read,
    ) -> Result<Answer<T>, Error> {
        let request = self
            .request(Method::POST, &route)
            .header(header::CONTENT_TYPE, "application/wasm")
            .header(header::CONTENT_LENGTH, size);
        self.answer(request, SendBody::from_reader(body), UPLOAD_TIMEOUT)
    }

    /// Downloads into `out`; the bytes that have come.
    pub(super) fn download(&self, route: Route, out: &mut dyn Write) -> anyhow::Result<u64> {
        let mut response = self.response(self.request(Method::GET, &route), SendBody::none(), UPLOAD_TIMEOUT)?;
        let status = response.status().as_u16();
        match status {
            200..300 => Ok(std::io::copy(&mut response.body_mut().as_reader(), out)?),
            400..500 => {
                let text = self.text(&mut response)?;
                Err(Error::Refused { status, body: self.explained(status, error_body(status, &text)) }.into())
            }
            500..600 => {
                let text = self.text(&mut response)?;
                Err(Error::Failed { status, body: error_body(status, &text) }.into())
            }
            _ => Err(self.unexpected(format!("it answers {status}")).into()),
        }
    }

    /// The `Date` of the server and the body of an answer of any status, for `doctor`.
    pub(super) fn probe(&self, route: &Route) -> Result<Probe, Error> {
        let mut response = self.response(self.request(Method::GET, route), SendBody::none(), CONNECT_TIMEOUT)?;
        let date = response.headers().get(header::DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
        let body = self.text(&mut response)?;
        Ok(Probe { status: response.status().as_u16(), date, body })
    }

    fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        route: &Route,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<Answer<T>, Error> {
        let mut request = self.request(method, route);
        let body = if body.is_empty() {
            SendBody::none()
        } else {
            request =
                request.header(header::CONTENT_TYPE, "application/json").header(header::CONTENT_LENGTH, body.len());
            SendBody::from_owned_reader(std::io::Cursor::new(body))
        };
        self.answer(request, body, timeout)
    }

    fn request(&self, method: Method, route: &Route) -> ureq::http::request::Builder {
        let request = Request::builder().method(method).uri(format!("{}{}", self.base, route.0));
        let request = match self.environment {
            Some(slug) => request.header(ENVIRONMENT_HEADER, slug),
            None => request,
        };
        let request = match &self.branch {
            Some(branch) => request.header(BRANCH_HEADER, branch.as_bytes()),
            None => request,
        };
        match &self.key {
            Some(key) => request.header(header::AUTHORIZATION, format!("Bearer {}", key.secret)),
            None => request,
        }
    }

    fn response(
        &self,
        request: ureq::http::request::Builder,
        body: SendBody<'_>,
        timeout: Duration,
    ) -> Result<Response<Body>, Error> {
        let request =
            request.body(body).map_err(|error| Error::BadUrl { url: self.url(), reason: error.to_string() })?;
        let request = self.agent.configure_request(request).timeout_global(Some(timeout)).build();
        self.agent.run(request).map_err(|error| self.transport_error(error))
    }

    fn answer<T: DeserializeOwned>(
        &self,
        request: ureq::http::request::Builder,
        body: SendBody<'_>,
        timeout: Duration,
    ) -> Result<Answer<T>, Error> {
        let mut response = self.response(request, body, timeout)?;
        let status = response.status().as_u16();
        let text = self.text(&mut response)?;
        match status {
            200..300 => match serde_json::from_str(&text) {
                Ok(value) => Ok(Answer { text, value }),
                Err(error) => Err(self.unexpected(format!("{error}: {}", quote(&text)))),
            },
            400..500 => Err(Error::Refused { status, body: self.explained(status, error_body(status, &text)) }),
            500..600 => Err(Error::Failed { status, body: error_body(status, &text) }),
            300..400 => Err(self.unexpected(format!("it answers {status} and sends us elsewhere; give the final URL"))),
            _ => Err(self.unexpected(format!("it answers {status}"))),
        }
    }

    fn text(&self, response: &mut Response<Body>) -> Result<String, Error> {
        let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES);
        body.read_to_string().map_err(|error| self.transport_error(error))
    }

    /// Adds to a refusal what only we know: which key was shown.
    fn explained(&self, status: u16, mut body: ErrorBody) -> ErrorBody {
        if status == 401 {
            body.details.push(match &self.key {
                Some(key) => format!("the key came from {}", key.source),
                None => "no key was given: set DACAPO_KEY, or use --key-file or --data-dir".into(),
            });
        }
        body
    }

    fn unexpected(&self, reason: String) -> Error {
        Error::Unexpected { url: self.url(), reason }
    }

    fn transport_error(&self, error: ureq::Error) -> Error {
        match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
                Error::BadUrl { url: self.url(), reason: "it cannot be read".into() }
            }
            ureq::Error::Protocol(_) | ureq::Error::BodyExceedsLimit(_) => self.unexpected(error.to_string()),
            error => Error::Unreachable { url: self.url(), source: Box::new(error) },
        }
    }
}

/// What [`Client::probe`] saw.
#[derive(Debug)]
pub(super) struct Probe {
    /// Any status.
    pub(super) status: u16,
    /// The header `Date`.
    pub(super) date: Option<String>,
    /// The body.
    pub(super) body: String,
}

/// Whether `host` of a URL is this machine.
pub(super) fn is_local(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether `url` leads to this machine.
pub(super) fn is_local_url(url: &str) -> bool {
    url.parse::<ureq::http::Uri>().is_ok_and(|uri| uri.host().is_some_and(is_local))
}

fn without_credentials(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            let host = authority.rsplit('@').next().unwrap_or(authority);
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

fn error_body(status: u16, text: &str) -> ErrorBody {
    serde_json::from_str(text).unwrap_or_else(|_| ErrorBody {
        error: format!("the server answered {status}: {}", quote(text)),
        ..ErrorBody::default()
    })
}

fn quote(text: &str) -> String {
    match text.trim() {
        "" => "(nothing)".into(),
        text if text.chars().count() <= MAX_QUOTED_CHARS => text.into(),
        text => text.chars().take(MAX_QUOTED_CHARS).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_a_route_is_escaped() {
        let route = Route::new("/api/v1/tasks").segment("a/b c").path("/trigger").query("page[size]", 5);
        assert_eq!(route.query_if("x", Some("é&")).0, "/api/v1/tasks/a%2Fb%20c/trigger?page%5Bsize%5D=5&x=%C3%A9%26");
    }

    #[test]
    fn only_urls_with_a_scheme_and_a_host_are_taken() {
        for bad in ["", "localhost:3040", "ftp://a", "http://", "http://a/?b=c", "unix:///x"] {
            assert!(matches!(Client::new(bad, None), Err(Error::BadUrl { .. })), "{bad}");
        }
        assert_eq!(Client::new("http://a:3040/", None).unwrap().url(), "http://a:3040");
    }

    #[test]
    fn credentials_of_a_url_and_keys_are_not_shown() {
        assert_eq!(without_credentials("https://me:secret@host:1/p"), "https://host:1/p");
        let key = Key::new("tr_dev_secret\n", "a file").unwrap();
        assert_eq!(format!("{key:?}"), "Key(from a file)");
    }

    #[test]
    fn keys_that_no_header_may_carry_are_refused() {
        for bad in ["", " ", "a b", "a\nb", "é"] {
            assert!(Key::new(bad, "x").is_none(), "{bad:?}");
        }
    }

    #[test]
    fn this_machine_has_many_names() {
        for url in ["http://127.0.0.1:1", "http://localhost", "http://[::1]:3", "http://127.9.9.9"] {
            assert!(is_local_url(url), "{url}");
        }
        for url in ["http://example.com", "http://10.0.0.1", "http://localhost.example.com", "nonsense"] {
            assert!(!is_local_url(url), "{url}");
        }
    }

    #[test]
    fn bodies_that_are_not_errors_of_the_api_are_quoted() {
        assert_eq!(error_body(502, "<html>").error, "the server answered 502: <html>");
        assert_eq!(error_body(404, r#"{"error":"Run not found"}"#).error, "Run not found");
        assert!(error_body(500, &"x".repeat(1_000)).error.chars().count() < 300);
    }
}
