//! `cargo xtask ci`: installs what the checks need and this machine lacks, then checks everything.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::terminal::heading;
use crate::workspace::Workspace;
use crate::{build, fuzz, programs, steps, test};

/// The version that the checks were written for.
const CARGO_DENY_VERSION: &str = "0.20.2";
/// A program of Debian's package of the PostgreSQL that has to understand our SQL (`tests/it/dialect.rs`).
const POSTGRES_PROGRAM: &str = "/usr/lib/postgresql/15/bin/initdb";

/// Runs the command.
pub(crate) fn run(workspace: &Workspace, options: &[String]) -> Result<ExitCode> {
    if !options.is_empty() {
        bail!("ci knows no options");
    }
    heading("Installing what is missing");
    build::ensure_guest_target()?;
    for component in ["rustfmt", "clippy"] {
        ensure_component(component)?;
    }
    ensure_cargo_deny(workspace)?;
    ensure_debian("postgresql-15", Path::new(POSTGRES_PROGRAM).is_file())?;
    ensure_debian("python3-venv", fuzz::has_venv())?;
    ensure_debian("chromium", Path::new(steps::CHROMIUM).is_file())?;
    println!("Everything is here.");
    test::run(workspace, &[])
}

fn ensure_component(name: &str) -> Result<()> {
    let subcommand = name.trim_start_matches("rust");
    if programs::works(Command::new("cargo").args([subcommand, "--version"])) {
        return Ok(());
    }
    programs::run(Command::new("rustup").args(["component", "add", name]))
}

/// Built once a machine, without optimisations: it takes minutes to build well and a second to run.
fn ensure_cargo_deny(workspace: &Workspace) -> Result<()> {
    if steps::has_deny(workspace) {
        return Ok(());
    }
    let tools = programs::tools_dir().context("HOME is not set, so there is no place for tools")?;
    println!("Building cargo-deny {CARGO_DENY_VERSION} into {}", tools.display());
    let mut command = workspace.cargo(["install", "--locked", "--profile", "dev", "--root"]);
    command.arg(&tools).args(["--version", CARGO_DENY_VERSION, "cargo-deny"]);
    // Not into a shared target directory: its artifacts are of no use to anything else.
    command.env_remove("CARGO_TARGET_DIR").env("CARGO_PROFILE_DEV_DEBUG", "false");
    programs::run(&mut command)
}

/// Installs a package of Debian unless what is needed of it is there.
fn ensure_debian(package: &str, is_there: bool) -> Result<()> {
    if is_there {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        bail!("{package} is missing. Install it with `sudo apt-get install {package}`");
    }
    println!("Installing {package}");
    let apt_get = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    programs::run(apt_get().arg("update"))?;
    programs::run(apt_get().args(["install", "--yes", "--no-install-recommends", package]))
}
