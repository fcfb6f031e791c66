//! What a guest sends: what a replay finds a request by, and what people are shown of it.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Body;
use crate::journal::{PieceDigest, digest_of};

/// Headers of requests and responses, and parameters of URLs, whose values are nobody's business, by
/// parts of their names.
const SECRETS: [&str; 13] = [
    "auth",
    "cookie",
    "credential",
    "hmac",
    "jwt",
    "key",
    "passwd",
    "password",
    "pwd",
    "secret",
    "session",
    "signature",
    "token",
];
/// The same, by whole names: as parts they are too common.
const SECRET_NAMES: [&str; 7] = ["code", "otp", "pass", "passphrase", "pin", "sid", "sig"];
/// Parts of names in which one of the above says nothing.
const HARMLESS: [&str; 11] = [
    "www-authenticate",
    "proxy-authenticate",
    "authority",
    "author",
    "idempotency-key",
    "surrogate-key",
    "cache-key",
    "remaining-tokens",
    "max-tokens",
    "keyword",
    "keyboard",
];
/// Headers whose values are URLs.
const LINKS: [&str; 3] = ["location", "content-location", "referer"];
/// Stands for such a value.
pub(crate) const REDACTED: &str = "[redacted]";

/// Whether what has this name is not shown.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-").replace("authoriz", "auth-");
    let telling = HARMLESS.iter().fold(name, |name, harmless| name.replace(harmless, ""));
    SECRETS.iter().any(|part| telling.contains(part)) || SECRET_NAMES.contains(&&*telling)
}

/// The value of a header, without secrets.
pub(crate) fn shown_header<'v>(name: &str, value: &'v [u8]) -> Cow<'v, str> {
    if is_secret(name) {
        return REDACTED.into();
    }
    let value = String::from_utf8_lossy(value);
    if LINKS.iter().any(|link| name.eq_ignore_ascii_case(link)) { shown_url(&value).into() } else { value }
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
            shown.push_str(&format!("\n{name}: {}", shown_header(name, value)));
        }
        shown
    }
}

/// A URL without the values of secret parameters, in its query and in its fragment, and without a password.
pub(crate) fn shown_url(url: &str) -> String {
    let (url, fragment) = url.split_once('#').map_or((url, None), |(url, fragment)| (url, Some(fragment)));
    let (before, query) = url.split_once('?').unwrap_or((url, ""));
    let mut shown =
        match before.split_once("://").map(|(scheme, rest)| (scheme, rest.split_once('/').unwrap_or((rest, "")))) {
            Some((scheme, (authority, path))) if authority.contains('@') => {
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                format!("{scheme}://{REDACTED}@{host}/{path}")
            }
            _ => before.to_owned(),
        };
    add_parameters(&mut shown, '?', query);
    add_parameters(&mut shown, '#', fragment.unwrap_or_default());
    shown
}

/// Adds the parameters after this character, if there are any.
fn add_parameters(shown: &mut String, begin: char, parameters: &str) {
    for (place, parameter) in parameters.split('&').filter(|parameter| !parameter.is_empty()).enumerate() {
        shown.push(if place == 0 { begin } else { '&' });
        match parameter.split_once('=') {
            Some((name, _)) if is_secret(&decoded(name)) => shown.push_str(&format!("{name}={REDACTED}")),
            _ => shown.push_str(parameter),
        }
    }
}

/// The name of a parameter, in which letters may be written as `%6b`.
fn decoded(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [byte, after @ ..] = rest {
        let written = after.first_chunk::<2>().and_then(|digits| std::str::from_utf8(digits).ok());
        match written.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *byte == b'%') {
            Some(meant) => {
                bytes.push(meant);
                rest = &after[2..];
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The body of a request, as the guest writes it. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Sending(Arc<Mutex<Progress>>);

#[derive(Default)]
struct Progress {
    digest: PieceDigest,
    /// Whether some of what the guest wrote was not taken: then nobody knows what a whole body would have been.
    is_broken: bool,
    finished: Option<u64>,
    bytes: u64,
    exchange: u32,
}

impl Sending {
    /// The guest has written this.
    pub(super) fn add(&self, piece: &[u8]) {
        let mut progress = self.lock();
        progress.digest.add(piece);
        progress.bytes += piece.len() as u64;
    }

    /// The guest could not write.
    pub(super) fn breaks(&self) {
        self.lock().is_broken = true;
    }

    /// The guest says that this was all. Tells whole bodies apart; 0: it is not known as a whole.
    pub(super) fn finish(&self) -> u64 {
        let mut progress = self.lock();
        let digest = std::mem::take(&mut progress.digest);
        let digest = if progress.is_broken { 0 } else { body_digest(digest) };
        *progress.finished.get_or_insert(digest)
    }

    /// Bytes that the guest has written, for people.
    pub(super) fn shown_bytes(&self) -> String {
        self.lock().bytes.to_string()
    }

    /// It belongs to this request, which is sent now. The same digest, if the guest has finished it before.
    pub(super) fn sets_out(&self, exchange: u32) -> u64 {
        let mut progress = self.lock();
        progress.exchange = exchange;
        progress.finished.unwrap_or_default()
    }

    /// The request to which it belongs, from 1; 0: it has not been sent.
    pub(super) fn exchange(&self) -> u32 {
        self.lock().exchange
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells bodies of requests apart; never 0.
pub(crate) fn body_digest(pieces: PieceDigest) -> u64 {
    pieces.finish().max(1)
}

#[cfg(test)]
mod tests {
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
        check("https://a.example/b#access_token=x&state=y", "https://a.example/b#access_token=[redacted]&state=y");
        check("https://a.example/b?%61pi%4bey=x%zz#top", "https://a.example/b?%61pi%4bey=[redacted]#top");
    }

    #[test]
    fn names_tell_what_is_secret() {
        for name in ["X-Auth-Key", "x-auth", "aws-access-key-id", "Ocp-Apim-Subscription-Key", "jwt", "db_pwd"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["Set-Cookie", "proxy-authorization", "x-session-id", "code", "x-hub-signature-256", "api_key"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["Idempotency-Key", "authority", "x-author", "keywords", "www-authenticate", "encoding", "page"] {
            assert!(!is_secret(name), "{name}");
        }
        assert_eq!(shown_header("Location", b"/?token=x"), "/?token=[redacted]");
    }

    #[test]
    fn bodies_are_told_apart_however_they_are_cut() {
        let sent = |pieces: &[&[u8]]| {
            let sending = Sending::default();
            pieces.iter().for_each(|piece| sending.add(piece));
            sending.finish()
        };
        let one = sent(&[b"twelve bytes"]);
        assert_eq!(sent(&[b"twe", b"lve byt", b"", b"es"]), one);
        assert_ne!(sent(&[b"twelve byte"]), one);
        assert_ne!(sent(&[]), sent(&[b"\0"]));
        assert_eq!(sent(&[]), body_digest(PieceDigest::default()));
    }

    #[test]
    fn a_body_that_could_not_be_written_is_not_known() {
        let sending = Sending::default();
        sending.add(b"half");
        assert_eq!(sending.sets_out(3), 0, "it goes on");
        sending.breaks();
        assert_eq!((sending.finish(), sending.exchange()), (0, 3));
    }
}
