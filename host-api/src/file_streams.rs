//! The streams of files. They never make a guest wait: what they say depends on the file alone, so
//! that a guest that is brought back sees the same without a journal. The files are small, in the
//! cache of the operating system as a rule, and have been made by the guest itself; calls that may
//! block are still made off the threads that run guests.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi::runtime::spawn_blocking;

use crate::quota::Quota;

/// Most bytes that are read or written at once.
const MAX_BYTES: usize = 64 * 1024;
/// The number by which `wasmtime-wasi` recognises `insufficient-space` in an error of a stream.
const ENOSPC: i32 = 28;

fn failed(error: io::Error) -> StreamError {
    StreamError::LastOperationFailed(error.into())
}

/// Reads a file from a place on.
pub(crate) struct Reader {
    file: Arc<File>,
    position: u64,
    is_at_end: bool,
}

impl Reader {
    pub(crate) fn new(file: Arc<File>, position: u64) -> Self {
        Self { file, position, is_at_end: false }
    }

    fn took(&mut self, read: io::Result<Vec<u8>>) -> StreamResult<Bytes> {
        let bytes = read.map_err(|error| {
            self.is_at_end = true;
            failed(error)
        })?;
        if bytes.is_empty() {
            self.is_at_end = true;
            return Err(StreamError::Closed);
        }
        self.position += bytes.len() as u64;
        Ok(bytes.into())
    }
}

/// Fills a buffer, as far as the file goes.
fn read_at(file: &File, position: u64, size: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; size.min(MAX_BYTES)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], position.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if self.is_at_end {
            return Err(StreamError::Closed);
        }
        if size == 0 {
            return Ok(Bytes::new());
        }
        let read = read_at(&self.file, self.position, size);
        self.took(read)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        if self.is_at_end || size == 0 {
            return self.read(size);
        }
        let (file, position) = (Arc::clone(&self.file), self.position);
        let read = spawn_blocking(move || read_at(&file, position, size)).await;
        self.took(read)
    }
}

#[async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {}
}

/// Writes to a file, and charges its growth before.
pub(crate) struct Writer {
    file: Arc<File>,
    /// Where the next write goes; `None`: to the end.
    position: Option<u64>,
    quota: Quota,
    is_closed: bool,
}

impl Writer {
    pub(crate) fn new(file: Arc<File>, position: Option<u64>, quota: Quota) -> Self {
        Self { file, position, quota, is_closed: false }
    }

    /// Takes what this many bytes will need. Says where they go.
    fn charge(&mut self, bytes: usize) -> StreamResult<u64> {
        if self.is_closed {
            return Err(StreamError::Closed);
        }
        if bytes > MAX_BYTES {
            return Err(StreamError::trap("wrote more than `check-write` allows"));
        }
        let length = self.file.metadata().map_err(failed)?.len();
        let position = self.position.unwrap_or(length);
        let growth = position.saturating_add(bytes as u64).saturating_sub(length);
        self.quota.charge(growth).map_err(|_| failed(io::Error::from_raw_os_error(ENOSPC)))?;
        Ok(position)
    }

    fn wrote(&mut self, bytes: usize, written: io::Result<()>) -> StreamResult<()> {
        written.map_err(|error| {
            self.is_closed = true;
            failed(error)
        })?;
        if let Some(position) = &mut self.position {
            *position = position.saturating_add(bytes as u64);
        }
        Ok(())
    }
}

#[async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let position = self.charge(bytes.len())?;
        let written = self.file.write_all_at(&bytes, position);
        self.wrote(bytes.len(), written)
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        let (position, length, file) = (self.charge(bytes.len())?, bytes.len(), Arc::clone(&self.file));
        let written = spawn_blocking(move || file.write_all_at(&bytes, position)).await;
        self.wrote(length, written)
    }

    fn flush(&mut self) -> StreamResult<()> {
        if self.is_closed { Err(StreamError::Closed) } else { Ok(()) }
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if self.is_closed { Err(StreamError::Closed) } else { Ok(MAX_BYTES) }
    }
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {}
}
