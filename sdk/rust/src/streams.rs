//! Streams of a run: chunks that others can read while it goes on, for example what a language model
//! says.
//!
//! ```
//! use dacapo::prelude::*;
//!
//! fn tell(_: &Context, words: Vec<String>) -> Result<()> {
//!     let mut story = streams::stream("story");
//!     for word in &words {
//!         story.write(word)?; // many chunks go to the server together
//!     }
//!     story.finish()?;
//!
//!     streams::pipe("squares", (0..100).map(|n| n * n))?;
//!     streams::append("events", json!({ "kind": "done" }))?;
//!     Ok(())
//! }
//! ```
//!
//! A stream begins with its first chunk. Outside a component, in a unit test for example, chunks go
//! nowhere.

use std::fmt;

use serde::Serialize;

use crate::Relative;
use crate::bindings::dacapo::task::streams as wit;

/// The most chunks that are kept back.
const MAX_CHUNKS: usize = 64;
/// The most bytes that are kept back.
const MAX_BYTES: usize = 16 * 1024;

/// Adds one chunk to the end of a stream of this run, at once.
pub fn append(name: &str, chunk: impl Serialize) -> Result<(), StreamError> {
    let mut stream = stream(name);
    stream.write(chunk)?;
    stream.finish()
}

/// Adds all that an iterator gives to the end of a stream of this run.
pub fn pipe<T: Serialize>(name: &str, chunks: impl IntoIterator<Item = T>) -> Result<(), StreamError> {
    let mut stream = stream(name);
    for chunk in chunks {
        stream.write(chunk)?;
    }
    stream.finish()
}

/// Opens a stream of this run, to add chunks one by one.
pub fn stream(name: &str) -> Stream {
    stream_of(Relative::ThisRun, name)
}

/// Opens a stream of this run, its parent, or the root.
pub fn stream_of(relative: Relative, name: &str) -> Stream {
    let name = name.to_owned();
    let send = move |chunks: &[String]| {
        if cfg!(target_arch = "wasm32") { wit::append(relative.into(), &name, chunks) } else { Ok(()) }
    };
    Stream::new(send)
}

/// A stream that is written to. Made by [`stream`].
///
/// Chunks are sent in groups, so that a chunk is no call of its own: the first at once, then two
/// together, then four, and so on, up to 64 chunks or 16 KiB. What is left is sent by
/// [`flush`](Self::flush), by [`finish`](Self::finish), and when the value is dropped. Flush before
/// something that takes long.
#[must_use = "a stream is sent when it is dropped"]
pub struct Stream {
    send: Send,
    /// JSON texts that were not sent.
    buffer: Vec<String>,
    /// Their length.
    bytes: usize,
    /// How many there may be.
    room: usize,
}

/// Gives chunks to the server.
type Send = Box<dyn FnMut(&[String]) -> Result<(), String>>;

impl Stream {
    fn new(send: impl FnMut(&[String]) -> Result<(), String> + 'static) -> Self {
        Self { send: Box::new(send), buffer: Vec::new(), bytes: 0, room: 1 }
    }

    /// Adds a chunk: what serde writes as JSON, so that a text comes out as a text, a number as a
    /// number.
    ///
    /// An error may also concern chunks of earlier calls, which were not sent.
    pub fn write(&mut self, chunk: impl Serialize) -> Result<(), StreamError> {
        let json =
            serde_json::to_string(&chunk).map_err(|error| StreamError(format!("the chunk is no JSON: {error}")))?;
        self.bytes += json.len();
        self.buffer.push(json);
        if self.buffer.len() >= self.room || self.bytes >= MAX_BYTES {
            self.room = (self.room * 2).min(MAX_CHUNKS);
            return self.flush();
        }
        Ok(())
    }

    /// Sends what is kept back. After an error those chunks are lost.
    pub fn flush(&mut self) -> Result<(), StreamError> {
        let chunks = std::mem::take(&mut self.buffer);
        self.bytes = 0;
        if chunks.is_empty() { Ok(()) } else { (self.send)(&chunks).map_err(StreamError) }
    }

    /// Sends what is kept back. To drop the value does the same, but tells errors only to the log.
    pub fn finish(mut self) -> Result<(), StreamError> {
        self.flush()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Err(error) = self.flush() {
            crate::warn!("the end of a stream was lost: {error}");
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("buffered", &self.buffer.len()).finish_non_exhaustive()
    }
}

/// Why chunks were not added; the text is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamError(String);

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StreamError {}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    /// A stream, and the groups of chunks that it sent.
    fn recorded() -> (Stream, Rc<RefCell<Vec<Vec<String>>>>) {
        let sent = Rc::new(RefCell::new(Vec::new()));
        let groups = Rc::clone(&sent);
        let send = move |chunks: &[String]| {
            groups.borrow_mut().push(chunks.to_vec());
            Ok(())
        };
        (Stream::new(send), sent)
    }

    #[test]
    fn the_first_chunk_is_sent_at_once_and_later_ones_in_growing_groups() {
        let (mut stream, sent) = recorded();
        for number in 0..300 {
            stream.write(number).expect("it is sent");
        }
        assert_eq!(sent.borrow().iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 64, 64, 64]);

        drop(stream);

        let all: Vec<String> = sent.borrow().concat();
        assert_eq!(all, (0..300).map(|number| number.to_string()).collect::<Vec<_>>());
        assert_eq!(sent.borrow().len(), 10);
    }

    #[test]
    fn long_chunks_are_sent_at_once() {
        let (mut stream, sent) = recorded();
        stream.write("a").expect("it is sent");
        stream.write("x".repeat(MAX_BYTES)).expect("it is sent");
        assert_eq!(sent.borrow().len(), 2);
        assert_eq!(sent.borrow()[0], ["\"a\""]);
        stream.finish().expect("nothing is left");
        assert_eq!(sent.borrow().len(), 2);
    }

    #[test]
    fn an_error_reaches_the_writer() {
        let refuse = |_: &[String]| Err("the stream is full".to_owned());
        let mut stream = Stream::new(refuse);
        let error = stream.write(1).expect_err("it is refused");
        assert_eq!(error.to_string(), "the stream is full");
        assert_eq!(stream.finish(), Ok(()));
    }
}
