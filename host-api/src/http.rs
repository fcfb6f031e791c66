//! `wasi:http/outgoing-handler`: every request leaves through [`Outbound`], never otherwise.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use wasmtime_wasi_http::WasiHttpHooks;

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
    /// Made with the first request.
    permits: Option<Arc<Semaphore>>,
}

impl Hooks {
    pub(crate) fn new(outbound: Arc<dyn Outbound>, logger: Logger) -> Self {
        Self { outbound, logger, permits: None }
    }
}

type Sent = Result<(hyper::Response<Body>, Box<dyn Future<Output = Result<(), HttpError>> + Send>), HttpError>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: hyper::Request<Body>,
        options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let permits = self.permits.get_or_insert_with(|| Arc::new(Semaphore::new(MAX_CONCURRENT_REQUESTS)));
        let Ok(permit) = Arc::clone(permits).try_acquire_owned() else {
            return Box::new(async { Err(HttpError::ConnectionLimitReached) });
        };
        let response = self.outbound.send(request, options.unwrap_or_default(), self.logger.clone());
        Box::new(async move {
            let response = response.await?.map(|body| {
                body.map_frame(move |frame| {
                    // The permit lives as long as the body.
                    let _ = &permit;
                    frame
                })
                .boxed_unsync()
            });
            Ok((response, Box::new(async { Ok(()) }) as _))
        })
    }
}
