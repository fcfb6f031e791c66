//! `wasi:random`: wasmtime-wasi's generators, through the journal.

use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use crate::TaskCtx;
use crate::journal::{Blob, Kind, Question};

impl random::Host for TaskCtx {
    fn get_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        let Self { journal, wasi, .. } = self;
        let question = || Question::new(Kind::RandomBytes).about(&length);
        let live = || Ok(Blob(random::Host::get_random_bytes(wasi.random(), length)?.into()));
        Ok(journal.ask_now(question, live)?.0.into())
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        let Self { journal, wasi, .. } = self;
        journal.ask_now(|| Question::new(Kind::RandomNumber), || random::Host::get_random_u64(wasi.random()))
    }
}

impl insecure::Host for TaskCtx {
    fn get_insecure_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        let Self { journal, wasi, .. } = self;
        let question = || Question::new(Kind::InsecureBytes).about(&length);
        let live = || Ok(Blob(insecure::Host::get_insecure_random_bytes(wasi.random(), length)?.into()));
        Ok(journal.ask_now(question, live)?.0.into())
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        let Self { journal, wasi, .. } = self;
        let live = || insecure::Host::get_insecure_random_u64(wasi.random());
        journal.ask_now(|| Question::new(Kind::InsecureNumber), live)
    }
}

impl insecure_seed::Host for TaskCtx {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        let Self { journal, wasi, .. } = self;
        let live = || insecure_seed::Host::insecure_seed(wasi.random());
        journal.ask_now(|| Question::new(Kind::InsecureSeed), live)
    }
}
