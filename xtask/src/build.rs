//! Building what the commands need: the server, the guests of the tests, the sample tasks.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::programs;
use crate::workspace::Workspace;

/// What guests are compiled for.
const GUEST_TARGET: &str = "wasm32-wasip2";

/// How the server is compiled.
#[derive(Clone, Copy)]
pub(crate) enum Profile {
    /// Quick to build. What is not ours is optimised all the same; see the root `Cargo.toml`.
    Dev,
    /// What is shipped and measured.
    Release,
}

impl Profile {
    fn directory(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// Builds the server and says where it is.
pub(crate) fn server(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    package(workspace, "dacapo-runtime", "dacapo", profile)
}

/// Builds the program that measures and says where it is.
pub(crate) fn bench(workspace: &Workspace) -> Result<PathBuf> {
    package(workspace, "dacapo-bench", "dacapo-bench", Profile::Release)
}

fn package(workspace: &Workspace, name: &str, binary: &str, profile: Profile) -> Result<PathBuf> {
    let mut command = workspace.cargo(["build", "--locked", "--package", name, "--bin", binary]);
    match profile {
        Profile::Dev => {}
        Profile::Release => {
            command.arg("--release");
        }
    }
    programs::run(&mut command)?;
    let file = format!("{binary}{}", std::env::consts::EXE_SUFFIX);
    Ok(workspace.target.join(profile.directory()).join(file))
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
    let mut command = workspace.cargo_at(
        folder,
        [
            "build",
            "--locked",
            "--release",
            "--target",
            GUEST_TARGET,
            "--target-dir",
        ],
    );
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
