//! `wasi:cli/environment`: the variables of the run's environment, no arguments, and `/scratch`.

use wasmtime_wasi::p2::bindings::cli::environment;

use crate::TaskCtx;
use crate::files::GUEST_PATH;

impl environment::Host for TaskCtx {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        Ok(self.variables.to_vec())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(Some(GUEST_PATH.into()))
    }
}
