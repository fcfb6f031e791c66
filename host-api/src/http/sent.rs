//! What a guest sends: what a replay finds a request by, and what people are shown of it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http_body_util::BodyExt;
use hyper::body::{Bytes, Frame, SizeHint};
use serde::{Deserialize, Serialize};

use super::{Body, HttpError};
use crate::journal::{PieceDigest, digest_of};

/// Headers of requests and responses, and parameters of URLs, whose values are nobody's business, by
/// parts of their names.
const SECRETS: [&str; 12] = [
    "authorization",
    "cookie",
    "token",
    "secret",
    "password",
    "passwd",
    "api-key",
    "apikey",
    "api_key",
    "signature",
    "credential",
    "session",
];
/// Stands for such a value.
const REDACTED: &str = "[redacted]";

/// Whether what has this name is not shown.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRETS.iter().any(|part| name.contains(part)) || matches!(&*name, "key" | "sig" | "code" | "auth")
}

/// The head of a request.
pub(crate) struct Request<'r> {
    method: &'r str,
    url: String,
    headers: Vec<(&'r str, &'r [u8])>,
}

impl<'r> Request<'r> {
    /// What is to be sent.
    pub(crate) fn of(request: &'r hyper::Request<Body>) -> Self {
        let headers = request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        Self { method: request.method().as_str(), url: request.uri().to_string(), headers }
    }

    /// Tells requests with another method or URL apart.
    pub(crate) fn key(&self) -> u64 {
        digest_of(&(self.method, &self.url)).max(1)
    }

    /// Method and URL, and a header on each further line, without secrets.
    pub(crate) fn shown(&self) -> String {
        let mut shown = format!("{} {}", self.method, shown_url(&self.url));
        for (name, value) in &self.headers {
            let value = if is_secret(name) { REDACTED.into() } else { String::from_utf8_lossy(value) };
            shown.push_str(&format!("\n{name}: {value}"));
        }
        shown
    }
}

/// A URL without the values of secret parameters, and without a password.
pub(crate) fn shown_url(url: &str) -> String {
    let (before, query) = url.split_once('?').unwrap_or((url, ""));
    let mut shown =
        match before.split_once("://").map(|(scheme, rest)| (scheme, rest.split_once('/').unwrap_or((rest, "")))) {
            Some((scheme, (authority, path))) if authority.contains('@') => {
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                format!("{scheme}://{REDACTED}@{host}/{path}")
            }
            _ => before.to_owned(),
        };
    for (place, parameter) in query.split('&').filter(|parameter| !parameter.is_empty()).enumerate() {
        shown.push(if place == 0 { '?' } else { '&' });
        match parameter.split_once('=') {
            Some((name, _)) if is_secret(name) => shown.push_str(&format!("{name}={REDACTED}")),
            _ => shown.push_str(parameter),
        }
    }
    shown
}

/// The body of a request, once it was sent as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// Tells bodies apart.
    pub(crate) digest: u64,
    pub(crate) bytes: u64,
}

/// The body of a request that is being sent. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Sending(Arc<Mutex<Progress>>);

#[derive(Default)]
struct Progress {
    digest: PieceDigest,
    bytes: u64,
    sent: Option<Sent>,
}

impl Sending {
    /// What was sent, if that was all. Nothing at all is all: who sends a request does not look for the end
    /// of a body that is known to be empty.
    pub(crate) fn sent(&self) -> Option<Sent> {
        let progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing = || Sent { digest: PieceDigest::default().finish(), bytes: 0 };
        progress.sent.or_else(|| (progress.bytes == 0).then(nothing))
    }

    /// The body, whose bytes are counted as they leave.
    pub(crate) fn watch(&self, body: Body) -> Body {
        if body.is_end_stream() {
            self.end();
            return body;
        }
        Watched { body, sending: self.clone() }.boxed_unsync()
    }

    fn add(&self, piece: &[u8]) {
        let mut progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        progress.bytes += piece.len() as u64;
        progress.digest.add(piece);
    }

    fn end(&self) {
        let mut progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.sent.is_none() {
            let digest = std::mem::take(&mut progress.digest).finish();
            progress.sent = Some(Sent { digest, bytes: progress.bytes });
        }
    }
}

use hyper::body::Body as _;

struct Watched {
    body: Body,
    sending: Sending,
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(piece) = frame.data_ref() {
                    self.sending.add(piece);
                }
                // A client that knows the length does not ask for the end.
                if self.body.is_end_stream() {
                    self.sending.end();
                }
            }
            Poll::Ready(None) => self.sending.end(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    #[track_caller]
    fn check(url: &str, expected: &str) {
        assert_eq!(shown_url(url), expected);
    }

    #[test]
    fn urls_are_shown_without_secrets() {
        check("https://a.example/b?c=d&e", "https://a.example/b?c=d&e");
        check(
            "https://a.example/b?access_token=x&page=2&key=y",
            "https://a.example/b?access_token=[redacted]&page=2&key=[redacted]",
        );
        check("https://me:pw@a.example:8443/b", "https://[redacted]@a.example:8443/b");
        check("http://a.example/x@y", "http://a.example/x@y");
    }

    #[tokio::test]
    async fn bodies_are_told_apart_however_they_are_cut() {
        let sent = async |body: &[u8]| {
            let sending = Sending::default();
            let body = Full::new(Bytes::copy_from_slice(body)).map_err(|never| match never {}).boxed_unsync();
            sending.watch(body).collect().await.expect("a body");
            sending.sent().expect("all of it")
        };
        let one = sent(b"twelve bytes").await;
        assert_eq!(one.bytes, 12);
        assert_ne!(sent(b"twelve byte").await.digest, one.digest);
        assert_ne!(sent(b"").await, sent(b"\0").await);
        let mut pieces = PieceDigest::default();
        for piece in [&b"twe"[..], b"lve byt", b"", b"es"] {
            pieces.add(piece);
        }
        assert_eq!(pieces.finish(), one.digest);
    }
}
