//! `wasi:cli/environment`: the variables of the run's environment, no arguments, and `/scratch`.

use std::sync::Arc;

use wasmtime_wasi::p2::bindings::cli::environment;

use crate::TaskCtx;
use crate::files::GUEST_PATH;
use crate::journal::{Kind, Question};
use crate::tape::Pins;

impl environment::Host for TaskCtx {
    fn get_environment(&mut self) -> wasmtime::Result<Vec<(String, String)>> {
        if !std::mem::replace(&mut self.variables_are_known, true) {
            let Self { journal, variables, pins, .. } = self;
            let live = || Ok(pins.as_ref().map_or_else(|| variables.to_vec(), Pins::variables));
            let known = journal.ask_now(|| Question::new(Kind::Environment), live)?;
            if known != **variables {
                // They were changed while the attempt waited: it goes on with those that it has seen.
                *variables = Arc::new(known);
            }
        }
        Ok(self.variables.to_vec())
    }

    fn get_arguments(&mut self) -> wasmtime::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(Some(GUEST_PATH.into()))
    }
}
