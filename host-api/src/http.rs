//! `wasi:http/outgoing-handler`: every request leaves through [`Outbound`], never otherwise, and once:
//! not again when the attempt is brought back.

mod bodies;
mod code;
mod era;
pub(crate) mod gate;
mod sent;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use wasmtime_wasi_http::WasiHttpHooks;

pub(crate) use self::bodies::Answer as StreamAnswer;
pub(crate) use self::code::Failed;
use self::era::Era;
pub(crate) use self::gate::{Fields, Got, Head, header_map};
use self::sent::Sending;
pub(crate) use self::sent::{REDACTED, Request, body_digest, shown_header, shown_url};
use crate::journal::{Journal, Kind, Question};
use crate::logger::Logger;

/// What a guest can be told about a failed request.
pub use wasmtime_wasi_http::Error as HttpError;
/// The timeouts that a guest asks for.
pub use wasmtime_wasi_http::RequestOptions;
/// The body of a request or a response.
pub use wasmtime_wasi_http::WasiBody as Body;

/// The head of a response, with its body still to come.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Result<hyper::Response<Body>, HttpError>> + Send>>;

/// Sends a guest's requests, or refuses to.
pub trait Outbound: Send + Sync {
    /// Sends a request. `log` is for what the author should know, for example why it was refused.
    fn send(&self, request: hyper::Request<Body>, options: RequestOptions, log: Logger) -> ResponseFuture;
}

/// Refuses every request.
pub struct NoNetwork;

impl Outbound for NoNetwork {
    fn send(&self, _: hyper::Request<Body>, _: RequestOptions, _: Logger) -> ResponseFuture {
        Box::pin(async { Err(HttpError::HttpRequestDenied) })
    }
}

/// Most requests of one attempt whose response has not been read to its end.
const MAX_CONCURRENT_REQUESTS: usize = 64;

pub(crate) struct Hooks {
    outbound: Arc<dyn Outbound>,
    logger: Logger,
    journal: Journal,
    /// Why the guest is to be stopped, where a hook found that out.
    fault: Option<wasmtime::Error>,
    /// Made with the first request.
    permits: Option<Arc<Semaphore>>,
    /// Requests so far.
    exchanges: u32,
    /// The resources that belong to a request: futures, responses and bodies, by their numbers in the
    /// table. A number that is used again was named here again.
    parts: HashMap<u32, Part>,
    /// Since the last wait.
    era: Era,
}

/// The number of a request, from 1, for whoever sends it.
#[derive(Clone, Copy)]
pub(crate) struct Exchange(pub(crate) u32);

/// Of which request something is a part.
#[derive(Clone, Default)]
pub(crate) struct Part {
    /// The number of the request, from 1.
    pub(crate) exchange: u32,
    /// What the guest writes of its body.
    sending: Sending,
}

impl Hooks {
    pub(crate) fn new(outbound: Arc<dyn Outbound>, logger: Logger, journal: Journal) -> Self {
        Self {
            outbound,
            logger,
            journal,
            fault: None,
            permits: None,
            exchanges: 0,
            parts: HashMap::new(),
            era: Era::default(),
        }
    }

    /// The guest waits: nothing more comes of the exchanges that it has begun.
    fn end_exchanges(&mut self) {
        self.era.end();
        self.permits = None;
    }

    /// Whether this request was sent before.
    fn was_sent(&mut self, request: &hyper::Request<Body>) -> bool {
        self.exchanges += 1;
        match self.journal.past::<()>(|| question(request).exchange(self.exchanges)) {
            Ok(sent) => sent.is_some(),
            Err(error) => {
                self.fault = Some(error);
                true
            }
        }
    }
}

/// The connection of a request that was sent before a wait is gone. What the guest had read of the
/// response by then is in the journal; the rest will never come.
fn lost() -> HttpError {
    HttpError::InternalError(Some("the connection was lost while the run waited".into()))
}

/// The text says which host, and nothing that may be secret: no path, no query, no password. All of
/// them count.
fn question(request: &hyper::Request<Body>) -> Question {
    let uri = request.uri();
    let port = uri.port().map_or(String::new(), |port| format!(":{port}"));
    let (scheme, host) = (uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default());
    let text = format!("{} {scheme}://{host}{port}", request.method());
    let headers: Vec<_> = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let shown = Request::of(request);
    Question::new(Kind::Http).text(text).found_by(shown.key(), shown.shown()).about(&(uri.to_string(), headers))
}

type Answered = Result<(hyper::Response<Body>, Box<dyn Future<Output = Result<(), HttpError>> + Send>), HttpError>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        mut request: hyper::Request<Body>,
        options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = Answered> + Send> {
        if self.was_sent(&request) {
            return Box::new(async { Err(lost()) });
        }
        self.journal.keep(&());
        let permits = self.permits.get_or_insert_with(|| Arc::new(Semaphore::new(MAX_CONCURRENT_REQUESTS)));
        let Ok(permit) = Arc::clone(permits).try_acquire_owned() else {
            return Box::new(async { Err(HttpError::ConnectionLimitReached) });
        };
        request.extensions_mut().insert(Exchange(self.exchanges));
        let era = self.era.clone();
        let request = request.map(|body| era.hold(body));
        let response = self.outbound.send(request, options.unwrap_or_default(), self.logger.clone());
        Box::new(async move {
            let response = response.await?.map(|body| {
                let body = body.map_frame(move |frame| {
                    // The permit lives as long as the body.
                    let _ = &permit;
                    frame
                });
                era.hold(body.boxed_unsync())
            });
            Ok((response, Box::new(async { Ok(()) }) as _))
        })
    }
}
