//! The one binary. What it does is decided in [`dacapo::cli`].

use std::process::ExitCode;

/// Threads hand buffers to each other all the time, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    dacapo::cli::run().into()
}
