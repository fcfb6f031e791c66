//! Requests over a connection that is kept, one after the other.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::load::{ANSWER_TIMEOUT, address, find, read_answer};
use crate::options::Options;

/// Where the server is, and what opens it.
pub(crate) struct Target {
    pub(crate) address: String,
    key: String,
}

impl Target {
    /// `--url` and `--key`.
    pub(crate) fn of(options: &Options) -> Result<Self> {
        Ok(Self { address: address(options.text("url")?)?, key: options.text("key")?.into() })
    }
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body, read.
    pub(crate) fn json(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

/// Sends a request, and reads its answer, which must be a success.
pub(crate) async fn exchange(
    stream: &mut TcpStream,
    target: &Target,
    method: &str,
    path: &str,
    body: &str,
) -> Result<Answer> {
    let Target { address, key } = target;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::with_capacity(4 * 1024);
    // Longer than a request is held.
    let read = tokio::time::timeout(ANSWER_TIMEOUT, read_answer(stream, &mut bytes));
    read.await.context("no answer came in time")??;
    let end = find(&bytes, b"\r\n\r\n").context("the answer has no body")?;
    let body = bytes.split_off(end + 4);
    let answer = Answer { head: String::from_utf8_lossy(&bytes).into_owned(), body };
    ensure!(answer.head.starts_with("HTTP/1.1 2"), "{}: {}", answer.head, String::from_utf8_lossy(&answer.body));
    Ok(answer)
}
