//! Building what the commands need: the server, the guests of the tests, the sample tasks.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::programs;
use crate::workspace::Workspace;

/// What guests are compiled for.
const GUEST_TARGET: &str = "wasm32-wasip2";

/// Builds the server, as quickly as it can be built, and says where it is. (What is not ours is
/// optimised in the dev profile too; see the root `Cargo.toml`.)
pub(crate) fn server(workspace: &Workspace) -> Result<PathBuf> {
    cargo_build(workspace, &["--package", "dacapo-runtime", "--bin", "dacapo"])?;
    Ok(binary(workspace, "debug", "dacapo"))
}

/// Builds the server and all tests, and says where the server is. One call: cargo chooses the
/// features of dependencies for all that it is told to build, and would build wasmtime again for a
/// server alone.
pub(crate) fn server_and_tests(workspace: &Workspace) -> Result<PathBuf> {
    cargo_build(workspace, &["--workspace", "--bins", "--tests"])?;
    Ok(binary(workspace, "debug", "dacapo"))
}

/// Builds the server and the program that measures it for release, and says where they are.
pub(crate) fn server_and_bench(workspace: &Workspace) -> Result<(PathBuf, PathBuf)> {
    let packages = ["--package", "dacapo-runtime", "--package", "dacapo-bench"];
    cargo_build(workspace, &[&["--release", "--bins"][..], &packages].concat())?;
    let release = |name: &str| binary(workspace, "release", name);
    Ok((release("dacapo"), release("dacapo-bench")))
}

fn cargo_build(workspace: &Workspace, what: &[&str]) -> Result<()> {
    programs::run(workspace.cargo(["build", "--locked"]).args(what))
}

fn binary(workspace: &Workspace, profile: &str, name: &str) -> PathBuf {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    workspace.target.join(profile).join(file)
}

/// Builds the sample tasks and says in which directory their components are.
pub(crate) fn samples(workspace: &Workspace) -> Result<PathBuf> {
    guest_workspace(workspace, "sample-tasks", &["--workspace"])
}

/// Builds the guests of the tests and says in which directory their components are.
pub(crate) fn guests(workspace: &Workspace) -> Result<PathBuf> {
    Ok(guest_workspace(workspace, "tests/guests", &["--examples"])?.join("examples"))
}

fn guest_workspace(workspace: &Workspace, folder: &str, what: &[&str]) -> Result<PathBuf> {
    ensure_guest_target()?;
    let target = workspace.target.join("guests");
    let mut command =
        workspace.cargo_at(folder, ["build", "--locked", "--release", "--target", GUEST_TARGET, "--target-dir"]);
    programs::run(command.arg(&target).args(what))?;
    Ok(target.join(GUEST_TARGET).join("release"))
}

/// Adds the guests' target to the toolchain where it is missing.
pub(crate) fn ensure_guest_target() -> Result<()> {
    let sysroot = programs::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot).trim());
    if sysroot.join("lib/rustlib").join(GUEST_TARGET).is_dir() {
        return Ok(());
    }
    if !programs::works(Command::new("rustup").arg("--version")) {
        bail!(
            "the Rust toolchain in {} cannot compile for {GUEST_TARGET}, and there is no rustup to add it.\n\
             Install the target the way your toolchain was installed (Debian: apt install \
             libstd-rust-dev-wasm32), or install rustup from https://rustup.rs and try again.",
            sysroot.display()
        );
    }
    println!("Adding {GUEST_TARGET} to the Rust toolchain");
    programs::run(Command::new("rustup").args(["target", "add", GUEST_TARGET]))
}
