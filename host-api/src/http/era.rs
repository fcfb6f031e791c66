//! What a wait does to the exchanges that have begun: it ends them.
//!
//! A guest that waits may be dropped, and its connections with it. One that stays in memory keeps them
//! no longer, so that a task does not behave otherwise by how long it waits, or how much memory there
//! is; and a run that waits holds no socket.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};

use super::{Body, HttpError, lost};

/// The time from one wait to the next. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Era(Arc<State>);

#[derive(Default)]
struct State {
    is_over: AtomicBool,
    /// The bodies of its exchanges.
    bodies: Mutex<Vec<Weak<Shared>>>,
}

/// A body; `None`: it was lost.
type Shared = Mutex<Option<Body>>;

impl Era {
    pub(super) fn is_over(&self) -> bool {
        self.0.is_over.load(Ordering::Acquire)
    }

    /// The same body, as long as the era lasts.
    pub(super) fn hold(&self, body: Body) -> Body {
        let body = Arc::new(Mutex::new(Some(body)));
        let mut bodies = locked(&self.0.bodies);
        bodies.retain(|body| body.strong_count() > 0);
        bodies.push(Arc::downgrade(&body));
        Held(body).boxed_unsync()
    }

    /// Nothing more comes of what has begun. Another era begins.
    pub(super) fn end(&mut self) {
        let Self(over) = std::mem::take(self);
        over.is_over.store(true, Ordering::Release);
        for body in locked(&over.bodies).drain(..).filter_map(|body| body.upgrade()) {
            *locked(&body) = None;
        }
    }
}

/// What a panic could leave behind is a body that has failed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Held(Arc<Shared>);

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        match &mut *locked(&self.0) {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(Some(Err(lost()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        locked(&self.0).as_ref().is_some_and(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        locked(&self.0).as_ref().map(|body| body.size_hint()).unwrap_or_default()
    }
}
