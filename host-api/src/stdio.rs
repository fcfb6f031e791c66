//! Standard output and error: every line becomes a line of the log.

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::logger::Logger;
use crate::services::LogSource;

/// Most bytes that a guest may write at once; it asks before it writes.
const MAX_WRITE_BYTES: usize = 64 * 1024;

/// A stream whose lines go to the log. All handles that a guest opens share one line.
#[derive(Clone)]
pub(crate) struct Lines {
    logger: Logger,
    source: LogSource,
}

impl Lines {
    pub(crate) fn new(logger: Logger, source: LogSource) -> Self {
        Self { logger, source }
    }
}

impl IsTerminal for Lines {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Lines {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // WASI 0.2 takes `p2_stream`; nothing that is linked asks for this one.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.logger.write_bytes(self.source, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_WRITE_BYTES)
    }
}

#[async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}
