//! The rest of a body that nobody read: of a request that was refused before.
//!
//! A client that is still sending when the connection closes sees a broken pipe, not the answer. So
//! what is left is read and dropped before the answer goes out, as far as that is not too much.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Most bytes that are read for nothing. Whoever sends more may see the connection close.
const MAX_DRAINED_BYTES: usize = 16 << 20;
/// How long that may last.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Answers when the body was read, or dropped.
pub(super) async fn drain(request: Request, next: Next) -> Response {
    // Who asks before sending sends nothing after a refusal.
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return next.run(request).await;
    }
    let (back, mut rest) = oneshot::channel();
    let lend = |body| Body::new(Lent { body: Some(body), back: Some(back) });
    let response = next.run(request.map(lend)).await;
    if let Ok(rest) = rest.try_recv() {
        let _ = timeout(MAX_WAIT, drop_frames(rest)).await;
    }
    response
}

async fn drop_frames(mut body: Body) {
    let mut dropped = 0;
    while dropped <= MAX_DRAINED_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        dropped += frame.data_ref().map_or(0, Bytes::len);
    }
}

/// A body that goes back when it is dropped before its end.
struct Lent {
    body: Option<Body>,
    back: Option<oneshot::Sender<Body>>,
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take())
            && !body.is_end_stream()
        {
            // Where nobody takes it any more, the connection closes.
            let _ = back.send(body);
        }
    }
}
