//! Looks at the Rust toolchain: can it build tasks?

use std::path::Path;
use std::process::{Command, Stdio};

/// What tasks are compiled for.
pub(super) const TARGET: &str = "wasm32-wasip2";

/// Why tasks cannot be built here; the text says what to do.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Missing {
    /// No `rustc`.
    #[error("there is no Rust toolchain: install one from https://rustup.rs, then run `rustup target add {TARGET}`")]
    Toolchain,
    /// No standard library for the target, but rustup.
    #[error("the target {TARGET} is not installed: run `rustup target add {TARGET}`")]
    Target,
    /// No standard library for the target, and no rustup to get it with.
    #[error(
        "the target {TARGET} is not installed, and this Rust ({0}) does not come from rustup: unpack \
         rust-std-VERSION-{TARGET} of exactly this version from https://static.rust-lang.org/dist into its sysroot \
         (`rustc --print sysroot`), or install rustup from https://rustup.rs and run `rustup target add {TARGET}`"
    )]
    TargetWithoutRustup(String),
}

/// The version of the toolchain in force in `dir`, which can build tasks.
pub(super) fn check(dir: &Path) -> Result<String, Missing> {
    let version = text_of("rustc", &["--version"], dir).ok_or(Missing::Toolchain)?;
    let libdir = text_of("rustc", &["--print", "target-libdir", "--target", TARGET], dir);
    if libdir.is_some_and(|path| Path::new(&path).is_dir()) {
        return Ok(version);
    }
    match text_of("rustup", &["--version"], dir) {
        Some(_) => Err(Missing::Target),
        None => Err(Missing::TargetWithoutRustup(version)),
    }
}

fn text_of(program: &str, arguments: &[&str], dir: &Path) -> Option<String> {
    let run = Command::new(program).args(arguments).current_dir(dir).stdin(Stdio::null()).output().ok()?;
    run.status.success().then(|| String::from_utf8_lossy(&run.stdout).trim().to_owned())
}
