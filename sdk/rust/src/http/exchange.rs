//! Sends a request through `wasi:http/outgoing-handler` and reads the response.
//!
//! Everything waits on two things at once: what is wanted next, and the deadline.

use std::time::Duration;

use super::url::Url;
use super::{HttpError, Request, Response};
use crate::bindings::wasi::clocks::monotonic_clock;
use crate::bindings::wasi::http::outgoing_handler;
use crate::bindings::wasi::http::types::{
    ErrorCode, Fields, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
};
use crate::bindings::wasi::io::poll::{self, Pollable};
use crate::bindings::wasi::io::streams::{OutputStream, StreamError};

const READ_BYTES: u64 = 64 * 1024;

pub(super) fn exchange(mut request: Request) -> Result<Response, HttpError> {
    let url = Url::parse(&request.url)?;
    let body = std::mem::replace(&mut request.body, Ok(None)).map_err(HttpError::InvalidRequest)?;
    if cfg!(not(target_arch = "wasm32")) {
        return Err(HttpError::Unreachable("there is no network outside a component".into()));
    }

    let deadline = Deadline::after(request.timeout);
    let outgoing = outgoing(&request, &url, body.as_deref())?;
    let outgoing_body = outgoing.body().map_err(|()| cannot("the body cannot be opened"))?;
    let pending = outgoing_handler::handle(outgoing, None).map_err(|code| error(code, &request))?;
    send_body(outgoing_body, body.as_deref().unwrap_or_default(), &deadline)?;

    deadline.wait(&pending.subscribe())?;
    let response = match pending.get() {
        Some(Ok(response)) => response.map_err(|code| error(code, &request))?,
        Some(Err(())) | None => return Err(HttpError::Interrupted("the response was lost".into())),
    };
    let status = response.status();
    let headers = response.headers().entries();
    let body = receive_body(&response, &request, &deadline)?;
    Ok(Response { url: request.url.split(['?', '#']).next().unwrap_or_default().to_owned(), status, headers, body })
}

fn outgoing(request: &Request, url: &Url, body: Option<&[u8]>) -> Result<OutgoingRequest, HttpError> {
    let mut headers = request.headers.clone();
    if !request.has_header("user-agent") {
        let agent = concat!("dacapo/", env!("CARGO_PKG_VERSION"));
        headers.push(("user-agent".into(), agent.into()));
    }
    if let Some(body) = body
        && !request.has_header("content-length")
    {
        headers.push(("content-length".into(), body.len().to_string().into_bytes()));
    }
    let headers = Fields::from_list(&headers)
        .map_err(|reason| HttpError::InvalidRequest(format!("a header was refused: {reason}")))?;

    let outgoing = OutgoingRequest::new(headers);
    let scheme = if url.is_https { Scheme::Https } else { Scheme::Http };
    outgoing.set_method(&method(&request.method)).map_err(|()| cannot("the method is no HTTP token"))?;
    outgoing.set_scheme(Some(&scheme)).map_err(|()| cannot("the scheme was refused"))?;
    outgoing.set_authority(Some(&url.authority)).map_err(|()| cannot("the host in the URL is not valid"))?;
    outgoing
        .set_path_with_query(Some(&url.path_with_query))
        .map_err(|()| cannot("the path in the URL is not valid"))?;
    Ok(outgoing)
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

/// Sends what the other side takes. One that has enough may answer early, so that a closed stream
/// is no error here: the response, or its absence, says what happened.
fn send_body(body: OutgoingBody, bytes: &[u8], deadline: &Deadline) -> Result<(), HttpError> {
    let stream = body.write().map_err(|()| cannot("the body cannot be written"))?;
    let is_complete = send_bytes(&stream, bytes, deadline)?;
    drop(stream);
    if is_complete {
        // What fails here fails the response as well.
        let _ = OutgoingBody::finish(body, None);
    }
    Ok(())
}

fn send_bytes(stream: &OutputStream, mut bytes: &[u8], deadline: &Deadline) -> Result<bool, HttpError> {
    let writable = stream.subscribe();
    while !bytes.is_empty() {
        deadline.wait(&writable)?;
        let Ok(room) = stream.check_write() else {
            return Ok(false);
        };
        let (now, later) = bytes.split_at(bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
        if stream.write(now).is_err() {
            return Ok(false);
        }
        bytes = later;
    }
    Ok(true)
}

fn receive_body(response: &IncomingResponse, request: &Request, deadline: &Deadline) -> Result<Vec<u8>, HttpError> {
    let lost = |()| HttpError::Interrupted("the body of the response was lost".into());
    let incoming = response.consume().map_err(lost)?;
    let stream = incoming.stream().map_err(lost)?;
    let readable = stream.subscribe();
    let mut body = Vec::new();
    loop {
        deadline.wait(&readable)?;
        match stream.read(READ_BYTES) {
            Ok(bytes) if body.len() + bytes.len() > request.max_bytes => {
                return Err(HttpError::TooLarge { max_bytes: request.max_bytes });
            }
            Ok(bytes) => body.extend_from_slice(&bytes),
            Err(StreamError::Closed) => return Ok(body),
            Err(StreamError::LastOperationFailed(reason)) => {
                return Err(HttpError::Interrupted(reason.to_debug_string()));
            }
        }
    }
}

struct Deadline {
    timer: Pollable,
    timeout: Duration,
}

impl Deadline {
    fn after(timeout: Duration) -> Self {
        let nanoseconds = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        Self { timer: monotonic_clock::subscribe_duration(nanoseconds), timeout }
    }

    /// Waits until something is ready; fails when the time is up before.
    fn wait(&self, wanted: &Pollable) -> Result<(), HttpError> {
        if poll::poll(&[wanted, &self.timer]).contains(&0) { Ok(()) } else { Err(HttpError::TimedOut(self.timeout)) }
    }
}

fn cannot(reason: &str) -> HttpError {
    HttpError::InvalidRequest(reason.to_owned())
}

/// Sorts WASI's many codes by what the task can do about them.
fn error(code: ErrorCode, request: &Request) -> HttpError {
    use ErrorCode as E;
    let reason = match &code {
        E::InternalError(Some(reason)) => reason.clone(),
        code => format!("{code:?}").replace("ErrorCode::", ""),
    };
    match code {
        E::HttpRequestDenied | E::DestinationIpProhibited => HttpError::Denied(reason),
        E::ConnectionTimeout | E::ConnectionReadTimeout | E::ConnectionWriteTimeout | E::HttpResponseTimeout => {
            HttpError::TimedOut(request.timeout)
        }
        E::HttpRequestLengthRequired
        | E::HttpRequestBodySize(_)
        | E::HttpRequestMethodInvalid
        | E::HttpRequestUriInvalid
        | E::HttpRequestUriTooLong
        | E::HttpRequestHeaderSectionSize(_)
        | E::HttpRequestHeaderSize(_)
        | E::HttpRequestTrailerSectionSize(_)
        | E::HttpRequestTrailerSize(_) => HttpError::InvalidRequest(reason),
        E::DnsTimeout
        | E::DnsError(_)
        | E::DestinationNotFound
        | E::DestinationUnavailable
        | E::DestinationIpUnroutable
        | E::ConnectionRefused
        | E::ConnectionLimitReached
        | E::TlsProtocolError
        | E::TlsCertificateError
        | E::TlsAlertReceived(_)
        | E::ConfigurationError => HttpError::Unreachable(reason),
        E::ConnectionTerminated
        | E::HttpResponseIncomplete
        | E::HttpResponseHeaderSectionSize(_)
        | E::HttpResponseHeaderSize(_)
        | E::HttpResponseBodySize(_)
        | E::HttpResponseTrailerSectionSize(_)
        | E::HttpResponseTrailerSize(_)
        | E::HttpResponseTransferCoding(_)
        | E::HttpResponseContentCoding(_)
        | E::HttpUpgradeFailed
        | E::HttpProtocolError
        | E::LoopDetected
        | E::InternalError(_) => HttpError::Interrupted(reason),
    }
}
