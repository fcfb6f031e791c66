//! HTTP requests of a replay: answered by what was recorded, by canned answers, or by nobody.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
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
use crate::recording::{BodyEnd, Recording, Response as Recorded};
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
            let mut response = responses.remove(&call.exchange).unwrap_or_default();
            if call.text.starts_with("HEAD ") {
                response.end = BodyEnd::Whole;
            }
            shelf.put(call.key.to_string(), response.sent.digest(), response);
        }
        Ok(Self(shelf))
    }

    /// What came of the first request that is left with this method and URL.
    fn next(&mut self, key: u64) -> Option<&Recorded> {
        self.0.next(&key.to_string())
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

    /// Resolves when the guest wants the answer although it has not written all of the request.
    async fn is_wanted_before_its_body(&self, exchange: u32, was_then: bool) {
        if !was_then {
            self.0.pins.looked_at(exchange).await;
            self.0.options.session.late().await;
        }
    }

    async fn answer(&self, asked: Asked) -> Result<Response<Body>, HttpError> {
        let Asked { request, exchange, options, log } = asked;
        let key = Request::of(&request).key();
        let (head, body) = request.into_parts();
        let may_go_out = self.0.options.live.is_some() && is_read(&head.method);
        let is_early = self.state().exchanges.next(key).is_some_and(|next| next.is_early);
        // It is read on where the answer does not wait for it.
        let mut reading = tokio::spawn(digested(body, if may_go_out { MAX_LIVE_BODY_BYTES } else { 0 }));
        let mut wanted = pin!(self.is_wanted_before_its_body(exchange, is_early));
        let read = poll_fn(|context| match Pin::new(&mut reading).poll(context) {
            Poll::Ready(read) if !is_early => Poll::Ready(Some(read)),
            _ => wanted.as_mut().poll(context).map(|()| None),
        });
        let Digested { digest, kept } = match read.await {
            Some(read) => read.map_err(|_| HttpError::InternalError(None))??,
            None => Digested { digest: 0, kept: None },
        };
        let line = || format!("{} {}", head.method, super::shown_url(&head.uri.to_string()));
        let recorded = self.state().exchanges.take(key, digest);
        if let Some((recorded, by)) = recorded {
            self.answers(exchange, by);
            if recorded.got.is_some() {
                let missing = Missing { tape: self.clone(), exchange, line: line(), log };
                return again(recorded, missing);
            }
            // Nobody looked for what came. If somebody does so now, that is not in the recording.
            self.0.pins.arrives(exchange);
            self.0.pins.looked_at(exchange).await;
            if recorded.was_awaited {
                self.0.options.session.late().await;
            }
        }
        if let Some(stub) = self.stub(&head.method, &head.uri.to_string()) {
            self.answers(exchange, AnsweredBy::Stub);
            return stub;
        }
        match (&self.0.options.live, kept) {
            (Some(live), Some(body)) if may_go_out => {
                self.answers(exchange, AnsweredBy::Live);
                live.send(hyper::Request::from_parts(head, full(body)), options, log).await
            }
            (Some(_) | None, _) => {
                Missing { tape: self.clone(), exchange, line: line(), log }.miss();
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

/// Something that the recording does not have.
struct Missing {
    tape: Tape,
    exchange: u32,
    /// Of which request.
    line: String,
    log: Logger,
}

impl Missing {
    /// The guest wants it.
    fn miss(self) {
        let Self { tape, exchange, line, log } = self;
        tape.answers(exchange, AnsweredBy::Unmatched);
        log.host(Level::Warn, format!("not in the recording: {line}"));
        tape.unmatched(|| line);
    }
}

/// What a recorded request got; the rest of its body is `missing`, if nobody read it.
fn again(recorded: Recorded, missing: Missing) -> Result<Response<Body>, HttpError> {
    let Recorded { got, body, end, was_awaited, .. } = recorded;
    match got {
        Some(Got::Here(Head { status, headers })) => {
            let headers = header_map(headers).map_err(|fault| HttpError::InternalError(Some(fault.to_string())))?;
            let end: Option<BoxFuture> = match end {
                BodyEnd::Whole => None,
                BodyEnd::Broken => Some(Box::pin(async {})),
                BodyEnd::Unknown => Some(Box::pin(async move {
                    if was_awaited {
                        missing.tape.0.options.session.late().await;
                    }
                    missing.miss();
                })),
            };
            let mut response = Response::new(Again { pieces: body.into_iter(), end }.boxed_unsync());
            *response.status_mut() = hyper::StatusCode::from_u16(status).map_err(|_| HttpError::HttpProtocolError)?;
            *response.headers_mut() = headers;
            Ok(response)
        }
        Some(Got::Failed(Failed(code))) => Err(code.into()),
        Some(Got::NotYet | Got::Taken) | None => Err(HttpError::ConnectionTerminated),
    }
}

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A body, as far as the recorded attempt read it.
struct Again {
    pieces: std::vec::IntoIter<Bytes>,
    /// After which it is broken off; `None`: it ends well.
    end: Option<BoxFuture>,
}

impl hyper::body::Body for Again {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Some(piece) = self.pieces.next() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let Some(end) = &mut self.end else { return Poll::Ready(None) };
        std::task::ready!(end.as_mut().poll(context));
        self.end = None;
        Poll::Ready(Some(Err(HttpError::HttpResponseIncomplete)))
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
