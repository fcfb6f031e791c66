//! The streams of bodies: each records what the guest got from it, and gives that again.
//!
//! A response that came before a wait, or that an earlier instance received, has a body that fails at
//! once: whatever the guest had not read by then is lost.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError, StreamResult,
};

use super::era::Era;
use super::lost;
use super::sent::Sending;
use crate::journal::{Blob, Journal, Kind, Question};

/// What a call of a stream answered, but for traps.
#[derive(Serialize, Deserialize)]
pub(crate) enum Answer<T> {
    Done(T),
    Closed,
    Failed(String),
}

impl<T> Answer<T> {
    fn of(result: StreamResult<T>) -> wasmtime::Result<Self> {
        match result {
            Ok(done) => Ok(Self::Done(done)),
            Err(StreamError::Closed) => Ok(Self::Closed),
            Err(StreamError::LastOperationFailed(error)) => Ok(Self::Failed(format!("{error:#}"))),
            Err(StreamError::Trap(error)) => Err(error),
        }
    }

    fn result(self) -> StreamResult<T> {
        match self {
            Self::Done(done) => Ok(done),
            Self::Closed => Err(StreamError::Closed),
            Self::Failed(why) => Err(StreamError::LastOperationFailed(wasmtime::Error::msg(why))),
        }
    }
}

/// The body of a response.
pub(super) struct Incoming {
    inner: DynInputStream,
    journal: Journal,
    /// The request that this answers.
    exchange: u32,
    /// When the guest began to read.
    era: Era,
    /// Whether the guest knows its end.
    has_ended: bool,
}

impl Incoming {
    pub(super) fn new(inner: DynInputStream, journal: Journal, exchange: u32, era: Era) -> Self {
        Self { inner, journal, exchange, era, has_ended: false }
    }

    /// What is read after a wait: nothing, although some bytes may have come before it.
    fn after_wait(&self) -> Option<StreamResult<Bytes>> {
        let end = || if self.has_ended { StreamError::Closed } else { StreamError::LastOperationFailed(lost().into()) };
        self.era.is_over().then(|| Err(end()))
    }

    fn past(&mut self, size: usize) -> StreamResult<Option<StreamResult<Bytes>>> {
        let question = || Question::new(Kind::ReadBody).exchange(self.exchange).about(&size);
        let past: Option<Answer<Blob>> = self.journal.past(question).map_err(StreamError::Trap)?;
        if matches!(past, Some(Answer::Closed | Answer::Failed(_))) {
            self.has_ended = true;
            // The guest knows the end. The lost body behind this has another, which nobody shall see.
            let _ = self.inner.read(1);
        }
        Ok(past.map(|answer| answer.result().map(|Blob(bytes)| bytes)))
    }

    fn keep(&mut self, read: StreamResult<Bytes>) -> StreamResult<Bytes> {
        let answer = Answer::of(read.map(Blob)).map_err(StreamError::Trap)?;
        self.has_ended |= !matches!(answer, Answer::Done(_));
        self.journal.keep(&answer);
        answer.result().map(|Blob(bytes)| bytes)
    }
}

#[async_trait]
impl InputStream for Incoming {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if let Some(past) = self.past(size)? {
            return past;
        }
        let read = self.after_wait().unwrap_or_else(|| self.inner.read(size));
        self.keep(read)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        if let Some(past) = self.past(size)? {
            return past;
        }
        let read = match self.after_wait() {
            Some(lost) => lost,
            None => self.inner.blocking_read(size).await,
        };
        self.keep(read)
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

#[async_trait]
impl Pollable for Incoming {
    async fn ready(&mut self) {
        if !self.journal.is_resuming() && !self.era.is_over() {
            self.inner.ready().await;
        }
    }
}

/// The body of a request.
pub(super) struct Outgoing {
    inner: DynOutputStream,
    journal: Journal,
    sending: Sending,
}

impl Outgoing {
    pub(super) fn new(inner: DynOutputStream, journal: Journal, sending: Sending) -> Self {
        Self { inner, journal, sending }
    }

    /// What the guest is told of these bytes, or of others before them.
    fn told<T>(&self, result: StreamResult<T>, bytes: &[u8]) -> StreamResult<T> {
        match &result {
            Ok(_) => self.sending.add(bytes),
            Err(_) => self.sending.breaks(),
        }
        result
    }

    /// The answer to an earlier write. The bytes are written again: if the request itself is not sent
    /// before the attempt goes on, they are needed; if it was, nobody takes them.
    fn written(&mut self, bytes: &Bytes) -> StreamResult<Option<StreamResult<()>>> {
        let question = || Question::new(Kind::WriteBody).about(&Blob(bytes.clone()));
        let past: Option<Answer<()>> = self.journal.past(question).map_err(StreamError::Trap)?;
        if past.is_some() && self.inner.check_write().is_ok_and(|room| room >= bytes.len()) {
            let _ = self.inner.write(bytes.clone());
        }
        Ok(past.map(Answer::result))
    }

    fn keep<T: Serialize>(&self, result: StreamResult<T>) -> StreamResult<T> {
        let answer = Answer::of(result).map_err(StreamError::Trap)?;
        self.journal.keep(&answer);
        answer.result()
    }
}

#[async_trait]
impl OutputStream for Outgoing {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if let Some(past) = self.written(&bytes)? {
            return self.told(past, &bytes);
        }
        let written = self.inner.write(bytes.clone());
        self.told(self.keep(written), &bytes)
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        if let Some(past) = self.written(&bytes)? {
            return self.told(past, &bytes);
        }
        let written = self.inner.blocking_write_and_flush(bytes.clone()).await;
        self.told(self.keep(written), &bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        let past: Option<Answer<()>> =
            self.journal.past(|| Question::new(Kind::FlushBody)).map_err(StreamError::Trap)?;
        if let Some(past) = past {
            return self.told(past.result(), &[]);
        }
        let flushed = self.inner.flush();
        self.told(self.keep(flushed), &[])
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let past: Option<Answer<usize>> =
            self.journal.past(|| Question::new(Kind::RoomInBody)).map_err(StreamError::Trap)?;
        if let Some(past) = past {
            return self.told(past.result(), &[]);
        }
        let room = self.inner.check_write();
        self.told(self.keep(room), &[])
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

#[async_trait]
impl Pollable for Outgoing {
    async fn ready(&mut self) {
        if !self.journal.is_resuming() {
            self.inner.ready().await;
        }
    }
}
