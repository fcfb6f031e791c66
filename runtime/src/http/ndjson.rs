//! The lines of a body, one by one as they arrive: no more than one of them is kept.

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use http_body_util::BodyExt;

use super::error::{ApiError, Result};
use crate::model::limits;

/// What is kept of a line that is too long.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// A body that is read line by line.
pub(super) struct Lines {
    body: Body,
    /// What has arrived and was not looked at.
    rest: Bytes,
    /// The longest line that is kept whole.
    max_bytes: usize,
    has_ended: bool,
}

/// A line that is not blank.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// All of it.
    Whole(Vec<u8>),
    /// The beginning of one that is too long.
    TooLong(Vec<u8>),
}

impl Lines {
    /// Lines of `max_bytes` at most are kept whole.
    pub(super) fn new(body: Body, max_bytes: usize) -> Self {
        Self { body, rest: Bytes::new(), max_bytes, has_ended: false }
    }

    /// The next line that is not blank, if all of it has arrived.
    pub(super) fn next_in_hand(&mut self) -> Option<Line> {
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line = self.rest.split_to(end);
            self.rest = self.rest.slice(1..);
            if line.len() > self.max_bytes {
                return Some(Line::TooLong(line[..line.len().min(MAX_HEAD_BYTES)].to_vec()));
            }
            if !line.trim_ascii().is_empty() {
                return Some(Line::Whole(line.to_vec()));
            }
        }
        None
    }

    /// The next line that is not blank.
    pub(super) async fn next(&mut self) -> Result<Option<Line>> {
        loop {
            let line = self.next_of_any_kind().await?;
            match line {
                Some(Line::Whole(text)) if text.trim_ascii().is_empty() => {}
                line => return Ok(line),
            }
        }
    }

    /// Reads to the end, so that the sender is there to hear the answer.
    pub(super) async fn drain(&mut self) {
        let to_the_end = async { while self.more().await.is_ok_and(|more| more) {} };
        // Whoever goes on sending for longer does not listen.
        let _ = tokio::time::timeout(limits::MAX_BODY_WAIT, to_the_end).await;
    }

    async fn next_of_any_kind(&mut self) -> Result<Option<Line>> {
        let mut line = Vec::new();
        let mut is_too_long = false;
        loop {
            let end = self.rest.iter().position(|byte| *byte == b'\n');
            let part = self.rest.split_to(end.unwrap_or(self.rest.len()));
            if is_too_long || line.len() + part.len() > self.max_bytes {
                is_too_long = true;
                line.extend_from_slice(&part[..part.len().min(MAX_HEAD_BYTES.saturating_sub(line.len()))]);
                line.truncate(MAX_HEAD_BYTES);
            } else {
                line.extend_from_slice(&part);
            }
            let has_ended = if end.is_some() {
                self.rest = self.rest.slice(1..);
                true
            } else {
                !self.more().await?
            };
            if has_ended {
                let was_last = end.is_none() && line.is_empty() && !is_too_long;
                let line = if is_too_long { Line::TooLong(line) } else { Line::Whole(line) };
                return Ok(Some(line).filter(|_| !was_last));
            }
        }
    }

    /// Replaces `rest` by what arrives next; `false`: nothing more comes.
    async fn more(&mut self) -> Result<bool> {
        self.rest = Bytes::new();
        while !self.has_ended && self.rest.is_empty() {
            let frame = tokio::time::timeout(limits::MAX_BODY_WAIT, self.body.frame()).await.map_err(|_| {
                ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the request body has not arrived in time")
            })?;
            match frame {
                Some(Ok(frame)) => self.rest = frame.into_data().unwrap_or_default(),
                Some(Err(_)) => return Err(ApiError::bad_request("the request body could not be read")),
                None => self.has_ended = true,
            }
        }
        Ok(!self.rest.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a body that arrives in parts of each size.
    async fn check(text: &str, max_bytes: usize, expected: &[(&str, bool)]) {
        for size in 1..=text.len().max(1) {
            let parts: Vec<Bytes> = text.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
            let mut lines = Lines::new(body(parts), max_bytes);
            let mut found = Vec::new();
            while let Some(line) = lines.next().await.unwrap() {
                let (text, is_whole) = match line {
                    Line::Whole(text) => (text, true),
                    Line::TooLong(head) => (head, false),
                };
                found.push((String::from_utf8(text).unwrap(), is_whole));
            }
            let found: Vec<(&str, bool)> = found.iter().map(|(text, is_whole)| (text.as_str(), *is_whole)).collect();
            assert_eq!(found, expected, "in parts of {size}");
            assert_eq!(lines.next().await.unwrap(), None, "the end stays the end");
        }
    }

    /// A body of one frame a part.
    fn body(parts: Vec<Bytes>) -> Body {
        struct Parts(std::vec::IntoIter<Bytes>);
        impl hyper::body::Body for Parts {
            type Data = Bytes;
            type Error = std::convert::Infallible;
            fn poll_frame(
                mut self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<std::result::Result<hyper::body::Frame<Bytes>, Self::Error>>> {
                std::task::Poll::Ready(self.0.next().map(|part| Ok(hyper::body::Frame::data(part))))
            }
        }
        Body::new(Parts(parts.into_iter()))
    }

    #[tokio::test]
    async fn lines_are_found_however_they_arrive() {
        check("", 9, &[]).await;
        check("\n\n  \n", 9, &[]).await;
        check("one", 9, &[("one", true)]).await;
        check("one\ntwo\n", 9, &[("one", true), ("two", true)]).await;
        check("one\n\ntwo\r\nthree", 9, &[("one", true), ("two\r", true), ("three", true)]).await;
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_does_not_touch_its_neighbours() {
        check("one\nlonger\ntwo\n", 3, &[("one", true), ("longer", false), ("two", true)]).await;
        check("longer", 3, &[("longer", false)]).await;
        let text = "x".repeat(MAX_HEAD_BYTES + 7);
        let mut lines = Lines::new(Body::from(text), 3);
        assert_eq!(lines.next().await.unwrap(), Some(Line::TooLong(vec![b'x'; MAX_HEAD_BYTES])));
    }
}
