//! `wasi:random`: wasmtime-wasi's generators, through the journal.

use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use crate::TaskCtx;
use crate::journal::{Blob, Kind, Question};

impl TaskCtx {
    fn random_bytes(&mut self, kind: Kind, length: u64) -> wasmtime::Result<Vec<u8>> {
        let Self { journal, wasi, pins, .. } = self;
        let live = || {
            Ok(Blob(match pins {
                Some(pins) => pins.random_bytes(kind, length)?,
                None if kind == Kind::RandomBytes => random::Host::get_random_bytes(wasi.random(), length)?.into(),
                None => insecure::Host::get_insecure_random_bytes(wasi.random(), length)?.into(),
            }))
        };
        Ok(journal.ask_now(|| Question::new(kind).about(&length), live)?.0.into())
    }

    fn random_number(&mut self, kind: Kind) -> wasmtime::Result<u64> {
        let Self { journal, wasi, pins, .. } = self;
        let live = || match pins {
            Some(pins) => Ok(pins.random_number(kind)),
            None if kind == Kind::RandomNumber => random::Host::get_random_u64(wasi.random()),
            None => insecure::Host::get_insecure_random_u64(wasi.random()),
        };
        journal.ask_now(|| Question::new(kind), live)
    }
}

impl random::Host for TaskCtx {
    fn get_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        self.random_bytes(Kind::RandomBytes, length)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.random_number(Kind::RandomNumber)
    }
}

impl insecure::Host for TaskCtx {
    fn get_insecure_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        self.random_bytes(Kind::InsecureBytes, length)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.random_number(Kind::InsecureNumber)
    }
}

impl insecure_seed::Host for TaskCtx {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        let Self { journal, wasi, pins, .. } = self;
        let live = || match pins {
            Some(pins) => Ok(pins.seed()),
            None => insecure_seed::Host::insecure_seed(wasi.random()),
        };
        journal.ask_now(|| Question::new(Kind::InsecureSeed), live)
    }
}
