//! HTTP requests of a replay: answered by what was recorded, by canned answers, or by nobody.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use hyper::{Method, Response};

use super::{AnsweredBy, Shelf, Stub, Tape};
use crate::http::{
    Body, Exchange, Failed, Got, Head, HttpError, Outbound, Request, RequestOptions, ResponseFuture, body_digest,
    header_map,
};
use crate::journal::PieceDigest;
use crate::logger::Logger;
use crate::recording::{Recording, Response as Recorded};
use crate::services::Level;
use crate::world::HostFault;

/// Most bytes of the body of a `GET` or `HEAD` request that may go out. Others are read, and nothing of them is kept.
const MAX_LIVE_BODY_BYTES: usize = 64 << 10;

/// The responses of a recording. The text is the key of method and URL, the key that of the body.
#[derive(Default)]
pub(super) struct Exchanges(Shelf<Recorded>);

impl Exchanges {
    pub(super) fn new(recording: &Recording) -> Result<Self, HostFault> {
        let mut shelf = Shelf::default();
        let mut responses = recording.responses()?;
        for call in recording.requests() {
            let response = responses.remove(&call.exchange).unwrap_or_default();
            shelf.put(call.key.to_string(), response.sent.digest(), response);
        }
        Ok(Self(shelf))
    }

    /// What came of a request with this method and URL, and this body if there is one.
    pub(super) fn take(&mut self, key: u64, body: u64) -> Option<(Recorded, AnsweredBy)> {
        self.0.take(&key.to_string(), body)
    }
}

impl Outbound for Tape {
    fn send(&self, request: hyper::Request<Body>, options: RequestOptions, log: Logger) -> ResponseFuture {
        let exchange = request.extensions().get().map_or(0, |Exchange(exchange)| *exchange);
        self.0.pins.sets_out(exchange);
        let otherwise = self.otherwise(request.method(), &request.uri().to_string());
        self.state().otherwise.insert(exchange, otherwise);
        let under_way = UnderWay { tape: self.clone(), exchange, is_answered: false };
        Box::pin(async move {
            let mut under_way = under_way;
            let asked = Asked { request, exchange, options, log };
            let answer = under_way.tape.answer(asked).await;
            under_way.is_answered = true;
            answer
        })
    }
}

/// A request, on its way.
struct Asked {
    request: hyper::Request<Body>,
    exchange: u32,
    options: RequestOptions,
    log: Logger,
}

/// A request that the guest waits for, until it is answered; or until the guest gives it up.
struct UnderWay {
    tape: Tape,
    exchange: u32,
    is_answered: bool,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        match self.is_answered {
            true => self.tape.0.pins.is_answered(self.exchange),
            false => self.tape.0.pins.arrives(self.exchange),
        }
    }
}

impl Tape {
    /// Who answers a request that the recording does not answer.
    fn otherwise(&self, method: &Method, uri: &str) -> AnsweredBy {
        if self.stub(method, uri).is_some() {
            AnsweredBy::Stub
        } else if self.0.options.live.is_some() && is_read(method) {
            AnsweredBy::Live
        } else {
            AnsweredBy::Unmatched
        }
    }

    fn answers(&self, exchange: u32, by: AnsweredBy) {
        self.state().requests.insert(exchange, by);
    }

    async fn answer(&self, asked: Asked) -> Result<Response<Body>, HttpError> {
        let Asked { request, exchange, options, log } = asked;
        let key = Request::of(&request).key();
        let (head, body) = request.into_parts();
        let may_go_out = self.0.options.live.is_some() && is_read(&head.method);
        let Digested { digest, kept } = digested(body, if may_go_out { MAX_LIVE_BODY_BYTES } else { 0 }).await?;
        let recorded = self.state().exchanges.take(key, digest);
        if let Some((recorded, by)) = recorded {
            self.answers(exchange, by);
            return again(recorded);
        }
        let request = kept.map(|body| hyper::Request::from_parts(head.clone(), full(body)));
        let uri = head.uri.to_string();
        if let Some(stub) = self.stub(&head.method, &uri) {
            self.answers(exchange, AnsweredBy::Stub);
            return stub;
        }
        match (&self.0.options.live, request) {
            (Some(live), Some(request)) if may_go_out => {
                self.answers(exchange, AnsweredBy::Live);
                live.send(request, options, log).await
            }
            (Some(_) | None, _) => {
                self.answers(exchange, AnsweredBy::Unmatched);
                let line = format!("{} {}", head.method, super::shown_url(&uri));
                log.host(Level::Warn, format!("not in the recording: {line}"));
                self.unmatched(|| line);
                Err(HttpError::ConnectionRefused)
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
fn again(recorded: Recorded) -> Result<Response<Body>, HttpError> {
    let Recorded { got, body, is_whole, .. } = recorded;
    match got {
        Some(Got::Here(Head { status, headers })) => {
            let headers = header_map(headers).map_err(|fault| HttpError::InternalError(Some(fault.to_string())))?;
            let mut response = Response::new(again_body(body, is_whole));
            *response.status_mut() = hyper::StatusCode::from_u16(status).map_err(|_| HttpError::HttpProtocolError)?;
            *response.headers_mut() = headers;
            Ok(response)
        }
        Some(Got::Failed(Failed(code))) => Err(code.into()),
        // The recorded attempt did not look at what came.
        Some(Got::NotYet | Got::Taken) | None => Err(HttpError::ConnectionTerminated),
    }
}

/// The body, as far as the recorded attempt read it.
fn again_body(pieces: Vec<Bytes>, is_whole: bool) -> Body {
    let pieces = pieces.into_iter().map(|piece| Ok(Frame::data(piece)));
    let cut = (!is_whole).then_some(Err(HttpError::HttpResponseIncomplete));
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

fn is_read(method: &Method) -> bool {
    [Method::GET, Method::HEAD].contains(method)
}

/// The body of a request.
struct Digested {
    digest: u64,
    /// All of it; `None`: it is too long.
    kept: Option<Bytes>,
}

/// Reads a body to its end, and keeps it if it is no longer than `most` bytes.
async fn digested(mut body: Body, most: usize) -> Result<Digested, HttpError> {
    let (mut digest, mut kept) = (PieceDigest::default(), Some(BytesMut::new()));
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else { continue };
        digest.add(&piece);
        match &mut kept {
            Some(bytes) if bytes.len() + piece.len() <= most => bytes.extend_from_slice(&piece),
            _ => kept = None,
        }
    }
    Ok(Digested { digest: body_digest(digest), kept: kept.map(BytesMut::freeze) })
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync()
}
