//! HTTP requests of a replay: answered by what was recorded, by canned answers, or by nobody.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use hyper::{Method, Response};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{AnsweredBy, Shelf, Stub, Tape};
use crate::http::{
    Body, Exchange, Failed, Got, Head, HttpError, Outbound, Request, RequestOptions, ResponseFuture, header_map,
};
use crate::journal::PieceDigest;
use crate::logger::Logger;
use crate::recording::{Recording, Response as Recorded};
use crate::services::Level;
use crate::world::HostFault;

/// Most bytes of the body of a request that is looked at; what is longer fits none that was recorded.
const MAX_BODY_BYTES: usize = 64 << 20;

/// The responses of a recording. The text is the key of method and URL, the key that of the body.
#[derive(Default)]
pub(super) struct Exchanges(Shelf<Recorded>);

impl Exchanges {
    pub(super) fn new(recording: &Recording) -> Result<Self, HostFault> {
        let mut shelf = Shelf::default();
        let mut responses = recording.responses()?;
        for call in recording.requests() {
            let response = responses.remove(&call.exchange).unwrap_or_default();
            let body = response.sent.map_or(0, |sent| sent.digest);
            shelf.put(call.key.to_string(), body, response);
        }
        Ok(Self(shelf))
    }
}

/// What is answered.
struct Found {
    by: AnsweredBy,
    answer: Result<Response<Body>, HttpError>,
}

impl Outbound for Tape {
    fn send(&self, request: hyper::Request<Body>, options: RequestOptions, log: Logger) -> ResponseFuture {
        let exchange = request.extensions().get().map_or(0, |Exchange(exchange)| *exchange);
        self.0.pins.sets_out(exchange);
        let awaited = Awaited { tape: self.clone(), exchange, is_answered: false };
        Box::pin(async move {
            let mut awaited = awaited;
            let (head, body) = request.into_parts();
            let body = read(body).await?;
            let request = hyper::Request::from_parts(head, full(body.clone()));
            let Found { by, answer } = awaited.tape.answer(request, &body, options, log).await;
            awaited.tape.state().requests.insert(exchange, by);
            awaited.is_answered = true;
            answer
        })
    }
}

/// A request that the guest waits for, until it is answered; or until the guest gives it up.
struct Awaited {
    tape: Tape,
    exchange: u32,
    is_answered: bool,
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if !self.is_answered {
            self.tape.0.pins.arrives(self.exchange);
        }
    }
}

impl Tape {
    async fn answer(&self, request: hyper::Request<Body>, body: &Bytes, options: RequestOptions, log: Logger) -> Found {
        let shown = Request::of(&request);
        let key = shown.key().to_string();
        let mut digest = PieceDigest::default();
        digest.add(body);
        if let Some((recorded, by)) = self.state().exchanges.0.take(&key, digest.finish()) {
            return Found { by, answer: again(recorded) };
        }
        let uri = request.uri().to_string();
        if let Some(answer) = self.stub(request.method(), &uri) {
            return Found { by: AnsweredBy::Stub, answer };
        }
        match &self.0.options.live {
            Some(live) if [Method::GET, Method::HEAD].contains(request.method()) => {
                Found { by: AnsweredBy::Live, answer: live.send(request, options, log).await }
            }
            Some(_) | None => {
                let line = format!("{} {}", request.method(), super::shown_url(&uri));
                log.host(Level::Warn, format!("not in the recording: {line}"));
                self.unmatched(|| line);
                Found { by: AnsweredBy::Unmatched, answer: Err(HttpError::ConnectionRefused) }
            }
        }
    }

    fn stub(&self, asked: &Method, uri: &str) -> Option<Result<Response<Body>, HttpError>> {
        self.0.options.stubs.iter().find_map(|stub| {
            let Stub::Http { method, url, status, headers, body } = stub else { return None };
            let fits = match url.strip_suffix('*') {
                Some(beginning) => uri.starts_with(beginning),
                None => uri == url,
            };
            if !fits || method.as_ref().is_some_and(|method| method != asked.as_str()) {
                return None;
            }
            let mut response = Response::builder().status(*status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Some(response.body(full(body.clone())).map_err(|_| HttpError::ConfigurationError))
        })
    }
}

/// What a recorded request got.
fn again(recorded: &Recorded) -> Result<Response<Body>, HttpError> {
    match &recorded.got {
        Some(Got::Here(Head { status, headers })) => {
            let headers =
                header_map(headers.clone()).map_err(|fault| HttpError::InternalError(Some(fault.to_string())))?;
            let mut response = Response::new(again_body(recorded));
            *response.status_mut() = hyper::StatusCode::from_u16(*status).map_err(|_| HttpError::HttpProtocolError)?;
            *response.headers_mut() = headers;
            Ok(response)
        }
        Some(Got::Failed(Failed(code))) => Err(code.clone().into()),
        // The recorded attempt did not look at what came.
        Some(Got::NotYet | Got::Taken) | None => Err(HttpError::ConnectionTerminated),
    }
}

/// The body, as far as the recorded attempt read it.
fn again_body(recorded: &Recorded) -> Body {
    let pieces = recorded.body.clone().into_iter().map(|piece| Ok(Frame::data(piece)));
    let cut = (!recorded.is_whole).then_some(Err(HttpError::HttpResponseIncomplete));
    let frames: Vec<Result<Frame<Bytes>, HttpError>> = pieces.chain(cut).collect();
    Frames(frames.into_iter()).boxed_unsync()
}

struct Frames(std::vec::IntoIter<Result<Frame<Bytes>, HttpError>>);

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        Poll::Ready(self.0.next())
    }
}

/// The whole body of a request.
async fn read(body: Body) -> Result<Bytes, HttpError> {
    let limited = http_body_util::Limited::new(body, MAX_BODY_BYTES);
    let collected = limited.collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|_| HttpError::HttpRequestBodySize(None))
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync()
}
