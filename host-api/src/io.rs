//! `wasi:io/poll` and `wasi:io/error`: wasmtime-wasi's, but for what a hostile guest could make of
//! them, and through the journal.

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::io::error::{self, HostError};
use wasmtime_wasi::p2::bindings::io::poll::{self, HostPollable};
use wasmtime_wasi::p2::{DynPollable, IoError};

use crate::journal::{Kind, Question};
use crate::{MAX_RESOURCES, TaskCtx};

impl poll::Host for TaskCtx {
    async fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        // A guest has no more of them, but could name one again and again to keep the thread busy.
        if pollables.len() > MAX_RESOURCES {
            wasmtime::bail!("waited for more than {MAX_RESOURCES} things at once");
        }
        let question = || Question::new(Kind::Poll).about(&pollables.len());
        if let Some(ready) = self.journal.past(question)? {
            return Ok(ready);
        }
        let ready = poll::Host::poll(&mut self.table, pollables).await?;
        self.journal.keep(&ready);
        Ok(ready)
    }
}

impl HostPollable for TaskCtx {
    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        // It was ready then, and says nothing more.
        if self.journal.is_resuming() { Ok(()) } else { self.table.block(pollable).await }
    }

    async fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        let Self { journal, table, .. } = self;
        journal.ask(|| Question::new(Kind::Ready), table.ready(pollable)).await
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        HostPollable::drop(&mut self.table, pollable)
    }
}

impl error::Host for TaskCtx {}

impl HostError for TaskCtx {
    fn to_debug_string(&mut self, error: Resource<IoError>) -> wasmtime::Result<String> {
        // The text for debugging could hold a backtrace of the host: none of the guest's business,
        // and slow to make.
        Ok(format!("{:#}", self.table.get(&error)?))
    }

    fn drop(&mut self, error: Resource<IoError>) -> wasmtime::Result<()> {
        HostError::drop(&mut self.table, error)
    }
}
