//! Outgoing HTTP: every connection of a guest is made here, after its environment's policy has
//! said yes twice, to the name and to the address.
//!
//! Each environment has connections of its own, thrown away when its policy changes. There are no
//! redirects, no proxies and no cookies: what is sent is what the guest wrote.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use dacapo_host_api::{Body, HttpError, Level, Logger, Outbound, RequestOptions, ResponseFuture};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::{Method, Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, timeout};

use crate::model::egress::{Blocked, EgressPolicy};

/// Longest time to make a connection, TLS included; a guest may ask for less.
const MAX_CONNECT: Duration = Duration::from_secs(30);
/// Longest time to one address of a name, where it has several.
const MAX_CONNECT_TO_ADDRESS: Duration = Duration::from_secs(5);
/// Longest time to the head of a response; a guest may ask for less.
const MAX_FIRST_BYTE: Duration = Duration::from_secs(600);
/// Longest silence within a body; a guest may ask for less.
const MAX_BETWEEN_BYTES: Duration = Duration::from_secs(600);
/// How long an unused connection is kept, and how many to one host.
const IDLE: Duration = Duration::from_secs(30);
const MAX_IDLE_PER_HOST: usize = 16;
/// Most bytes and fields of the head of a response.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_HEAD_FIELDS: usize = 128;
/// Most environments whose connections are kept.
const MAX_CLIENTS: usize = 256;

type HttpClient = Client<HttpsConnector<Connector>, Body>;

/// The HTTP clients of all environments.
pub(super) struct Egress {
    clients: Mutex<HashMap<String, (Arc<EgressPolicy>, HttpClient)>>,
}

impl Egress {
    pub(super) fn new() -> Self {
        Self { clients: Mutex::default() }
    }

    /// What a call of this environment sends its requests with.
    pub(super) fn for_call(self: &Arc<Self>, environment: &str, rules: EgressRules) -> Arc<dyn Outbound> {
        Arc::new(Gate { egress: Arc::clone(self), environment: environment.into(), rules })
    }

    fn client(&self, environment: &str, policy: &Arc<EgressPolicy>) -> HttpClient {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((own, client)) = clients.get(environment)
            && (Arc::ptr_eq(own, policy) || own == policy)
        {
            return client.clone();
        }
        if clients.len() >= MAX_CLIENTS {
            // Rare, and costs only connections that have to be made anew.
            clients.clear();
        }
        let client = client(Arc::clone(policy));
        clients.insert(environment.into(), (Arc::clone(policy), client.clone()));
        client
    }
}

fn client(policy: Arc<EgressPolicy>) -> HttpClient {
    let connector = HttpsConnectorBuilder::new()
        .with_webpki_roots()
        .https_or_http()
        .enable_http1()
        .wrap_connector(Connector { policy });
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
        .http1_max_buf_size(MAX_HEAD_BYTES)
        .http1_max_headers(MAX_HEAD_FIELDS)
        .set_host(false)
        .build(connector)
}

/// The policy that a guest is held to. Clones are the same: what is set in one holds for all, from
/// their next request on.
#[derive(Clone)]
pub struct EgressRules(Arc<Mutex<Arc<EgressPolicy>>>);

impl EgressRules {
    /// Replaces the policy: that of the environment can change while a guest waits.
    pub fn set(&self, policy: Arc<EgressPolicy>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    fn get(&self) -> Arc<EgressPolicy> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl From<Arc<EgressPolicy>> for EgressRules {
    fn from(policy: Arc<EgressPolicy>) -> Self {
        Self(Arc::new(Mutex::new(policy)))
    }
}

struct Gate {
    egress: Arc<Egress>,
    environment: String,
    rules: EgressRules,
}

impl Outbound for Gate {
    fn send(&self, request: Request<Body>, options: RequestOptions, log: Logger) -> ResponseFuture {
        let policy = self.rules.get();
        if let Err(error) = admit(&policy, &request, &log) {
            return Box::pin(async { Err(error) });
        }
        let client = self.egress.client(&self.environment, &policy);
        Box::pin(async move {
            let result = exchange(&client, request, options).await;
            if let Err(Failure::Blocked(blocked)) = &result {
                warn(&log, blocked);
            }
            result.map_err(HttpError::from)
        })
    }
}

fn admit(policy: &EgressPolicy, request: &Request<Body>, log: &Logger) -> Result<(), HttpError> {
    if *request.method() == Method::CONNECT {
        return Err(HttpError::HttpRequestMethodInvalid);
    }
    let (host, port) = host_and_port(request.uri()).ok_or(HttpError::HttpRequestUriInvalid)?;
    policy.check_host(host, port).map_err(|blocked| {
        warn(log, &blocked);
        HttpError::HttpRequestDenied
    })
}

/// Tells the author why; the guest itself only sees that the request was denied.
fn warn(log: &Logger, blocked: &Blocked) {
    log.host(Level::Warn, format!("request blocked: {blocked}"));
}

/// The host without brackets.
fn host_and_port(uri: &Uri) -> Option<(&str, u16)> {
    let host = uri.host()?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    (!host.is_empty()).then(|| (host, uri.port_u16().unwrap_or(default)))
}

async fn exchange(
    client: &HttpClient,
    mut request: Request<Body>,
    options: RequestOptions,
) -> Result<Response<Body>, Failure> {
    let connect = options.connect_timeout.unwrap_or(MAX_CONNECT).min(MAX_CONNECT);
    let first_byte = options.first_byte_timeout.unwrap_or(MAX_FIRST_BYTE).min(MAX_FIRST_BYTE);
    let between_bytes = options.between_bytes_timeout.unwrap_or(MAX_BETWEEN_BYTES).min(MAX_BETWEEN_BYTES);

    let mut captured = capture_connection(&mut request);
    let mut response = std::pin::pin!(client.request(request));
    let connected = async { captured.wait_for_connection_metadata().await.is_some() };
    let early = tokio::select! {
        biased;
        response = &mut response => Some(response),
        connected = timeout(connect, connected) => match connected {
            Ok(_) => None,
            Err(_) => return Err(Failure::ConnectTimeout),
        },
    };
    let response = match early {
        Some(response) => response,
        None => timeout(first_byte, response).await.map_err(|_| Failure::FirstByteTimeout)?,
    };
    let response = response.map_err(|error| Failure::from_client(&error))?;
    Ok(response.map(|inner| Timed { inner, between_bytes, deadline: None }.boxed_unsync()))
}

/// Makes connections, to addresses that the policy allows.
#[derive(Clone)]
struct Connector {
    policy: Arc<EgressPolicy>,
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let policy = Arc::clone(&self.policy);
        Box::pin(async move { connect(&policy, &uri).await.map(TokioIo::new) })
    }
}

async fn connect(policy: &EgressPolicy, uri: &Uri) -> Result<TcpStream, Failure> {
    let (host, port) = host_and_port(uri).ok_or(Failure::Uri)?;
    policy.check_host(host, port)?;
    let addresses = resolve(host, port).await?;
    let mut failure = Failure::NoAddress;
    for address in addresses {
        if let Err(blocked) = policy.check_address(host, address.ip(), port) {
            failure = blocked.into();
            continue;
        }
        match timeout(MAX_CONNECT_TO_ADDRESS, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Guests write whole requests; waiting for more to send would only delay them.
                stream.set_nodelay(true).map_err(|error| Failure::Connect(error.kind()))?;
                return Ok(stream);
            }
            Ok(Err(error)) => failure = Failure::Connect(error.kind()),
            Err(_) => failure = Failure::ConnectTimeout,
        }
    }
    Err(failure)
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let addresses = tokio::net::lookup_host((host, port)).await.map_err(|_| Failure::NoAddress)?;
    Ok(addresses.collect())
}

/// Why there is no response.
#[derive(Debug, Clone, thiserror::Error)]
enum Failure {
    #[error("the URI has no host")]
    Uri,
    #[error("{0}")]
    Blocked(Arc<Blocked>),
    #[error("the name does not resolve")]
    NoAddress,
    #[error("no connection: {0}")]
    Connect(std::io::ErrorKind),
    #[error("no connection in time")]
    ConnectTimeout,
    #[error("no response in time")]
    FirstByteTimeout,
    #[error("no TLS connection: {0}")]
    Tls(String),
    #[error("not HTTP/1.1, or cut off: {0}")]
    Protocol(String),
}

impl From<Blocked> for Failure {
    fn from(blocked: Blocked) -> Self {
        Self::Blocked(Arc::new(blocked))
    }
}

impl Failure {
    /// Finds out what is behind an error of the client.
    fn from_client(error: &ClientError) -> Self {
        let causes = || std::iter::successors(error.source(), |cause| (*cause).source());
        if let Some(own) = causes().find_map(|cause| cause.downcast_ref::<Self>()) {
            return own.clone();
        }
        let cause = causes().last().map_or_else(|| error.to_string(), ToString::to_string);
        if error.is_connect() { Self::Tls(cause) } else { Self::Protocol(cause) }
    }
}

impl From<Failure> for HttpError {
    fn from(failure: Failure) -> Self {
        use std::io::ErrorKind;
        match failure {
            Failure::Uri => Self::HttpRequestUriInvalid,
            Failure::Blocked(_) => Self::HttpRequestDenied,
            Failure::NoAddress => Self::DnsError { rcode: Some("the name does not resolve".into()), info_code: None },
            Failure::Connect(ErrorKind::ConnectionRefused) => Self::ConnectionRefused,
            Failure::Connect(ErrorKind::TimedOut) | Failure::ConnectTimeout => Self::ConnectionTimeout,
            Failure::Connect(ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable) => {
                Self::DestinationIpUnroutable
            }
            Failure::Connect(_) => Self::DestinationUnavailable,
            Failure::FirstByteTimeout => Self::ConnectionReadTimeout,
            Failure::Tls(cause) if cause.contains("certificate") => Self::TlsCertificateError,
            Failure::Tls(_) => Self::TlsProtocolError,
            // hyper says so where a connection ends before the head of the response.
            Failure::Protocol(cause) if cause.contains("closed before") => Self::ConnectionTerminated,
            Failure::Protocol(_) => Self::HttpProtocolError,
        }
    }
}

/// A body that ends with an error after too long a silence.
struct Timed {
    inner: Incoming,
    between_bytes: Duration,
    /// Runs while the guest waits for the next frame.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl hyper::body::Body for Timed {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) {
            self.deadline = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|_| HttpError::HttpResponseIncomplete)));
        }
        let between_bytes = self.between_bytes;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(between_bytes)));
        match deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err(HttpError::ConnectionReadTimeout))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uri: &str, expected: Option<(&str, u16)>) {
        assert_eq!(host_and_port(&uri.parse().expect("a URI")), expected);
    }

    #[test]
    fn the_host_that_is_checked_is_the_host_that_is_connected_to() {
        check("http://example.com/x", Some(("example.com", 80)));
        check("https://example.com", Some(("example.com", 443)));
        check("https://user:secret@example.com:8443/", Some(("example.com", 8443)));
        check("http://[::1]:3000/", Some(("::1", 3000)));
        check("/only-a-path", None);
    }

    #[tokio::test]
    async fn names_that_lead_inside_are_blocked() {
        let policy = EgressPolicy::default();
        let failure = connect(&policy, &"http://localhost:9/".parse().expect("a URI")).await.err();
        assert!(matches!(failure, Some(Failure::Blocked(_))), "{failure:?}");
        let failure = connect(&policy, &"http://127.0.0.1:9/".parse().expect("a URI")).await.err();
        assert!(matches!(failure, Some(Failure::Blocked(_))), "{failure:?}");
    }
}
