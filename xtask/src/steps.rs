//! The steps of `cargo xtask test`, in the order in which they run: what is quick and fails often
//! comes first.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::build;
use crate::npm;
use crate::programs;
use crate::workspace::Workspace;

/// The browser of Debian's package.
pub(crate) const CHROMIUM: &str = "/usr/bin/chromium";

/// One thing that must hold.
pub(crate) struct Step {
    /// For `--only`.
    pub(crate) name: &'static str,
    /// What it makes sure of.
    pub(crate) title: &'static str,
    /// Makes sure of it.
    pub(crate) run: fn(&Workspace) -> Result<Passed>,
}

/// How a step that did not fail ended.
pub(crate) enum Passed {
    /// It held.
    Yes,
    /// It could not be tried here, and why.
    Skipped(String),
}

/// All of them.
pub(crate) static STEPS: [Step; 15] = [
    Step { name: "fmt", title: "the code is formatted", run: fmt },
    Step { name: "dashboard", title: "the page in the binary is what its sources make", run: dashboard },
    Step { name: "clippy", title: "clippy has nothing to say", run: clippy },
    Step { name: "doc", title: "the documentation builds without a warning", run: doc },
    Step { name: "build", title: "the server and all tests build", run: build_server },
    Step { name: "guests", title: "the tests' guests build", run: build_guests },
    Step { name: "samples", title: "the sample tasks build", run: build_samples },
    Step { name: "guests-fmt", title: "guests and sample tasks are formatted", run: guests_fmt },
    Step { name: "rust", title: "the Rust tests pass", run: rust_tests },
    Step { name: "doctest", title: "the examples in the documentation run", run: doc_tests },
    Step { name: "sdk", title: "the official client works against a real server", run: sdk },
    Step { name: "page", title: "the page works in a browser, for everybody", run: page },
    Step { name: "fuzz", title: "random requests get answers that the OpenAPI document describes", run: fuzz },
    Step { name: "demo", title: "the demo tells its story", run: demo },
    Step { name: "deny", title: "licences, sources and advisories of dependencies", run: deny },
];

fn fmt(workspace: &Workspace) -> Result<Passed> {
    passed(&mut workspace.cargo(["fmt", "--all", "--check"]))
}

fn clippy(workspace: &Workspace) -> Result<Passed> {
    passed(&mut workspace.cargo(["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// In two calls: the server's library and the task authors' are both called `dacapo`, and cargo
/// documents only one of them at a time.
fn doc(workspace: &Workspace) -> Result<Passed> {
    for what in [&["--workspace", "--exclude", "dacapo"][..], &["--package", "dacapo"]] {
        let mut command = workspace.cargo(["doc", "--locked", "--no-deps", "--document-private-items"]);
        programs::run(command.args(what).env("RUSTDOCFLAGS", "-D warnings"))?;
    }
    Ok(Passed::Yes)
}

fn build_server(workspace: &Workspace) -> Result<Passed> {
    build::server_and_tests(workspace).map(|_| Passed::Yes)
}

fn build_guests(workspace: &Workspace) -> Result<Passed> {
    build::guests(workspace).map(|_| Passed::Yes)
}

fn build_samples(workspace: &Workspace) -> Result<Passed> {
    build::samples(workspace).map(|_| Passed::Yes)
}

fn guests_fmt(workspace: &Workspace) -> Result<Passed> {
    for folder in ["sample-tasks", "tests/guests"] {
        programs::run(&mut workspace.cargo_at(folder, ["fmt", "--all", "--check"]))?;
    }
    Ok(Passed::Yes)
}

fn rust_tests(workspace: &Workspace) -> Result<Passed> {
    let has_nextest = programs::works(Command::new("cargo").args(["nextest", "--version"]));
    let mut command = if has_nextest {
        workspace.cargo(["nextest", "run", "--locked", "--workspace"])
    } else {
        workspace.cargo(["test", "--locked", "--workspace", "--all-targets"])
    };
    passed(with_artifacts(workspace, &mut command)?)
}

fn doc_tests(workspace: &Workspace) -> Result<Passed> {
    passed(&mut workspace.cargo(["test", "--locked", "--workspace", "--doc"]))
}

/// Tells a test program where the built things are.
fn with_artifacts<'a>(workspace: &Workspace, command: &'a mut Command) -> Result<&'a mut Command> {
    Ok(command
        .env("DACAPO_BIN", build::server_and_tests(workspace)?)
        .env("DACAPO_GUESTS_DIR", build::guests(workspace)?)
        .env("DACAPO_SAMPLES_DIR", build::samples(workspace)?))
}

/// `cargo build` alone gives a binary with the page: what is built is kept beside its sources, and made
/// anew here.
fn dashboard(workspace: &Workspace) -> Result<Passed> {
    if !npm::is_here() {
        return Ok(Passed::Skipped(npm::MISSING.into()));
    }
    let folder = workspace.root.join("runtime/dashboard");
    let built = workspace.target.join("dashboard");
    npm::install(&folder)?;
    programs::run(npm::script(&folder, "build").arg("--").arg("--outDir").arg(&built).arg("--emptyOutDir"))?;
    if let Some(file) = npm::first_difference(&folder.join("dist"), &built)? {
        bail!("{file} in runtime/dashboard/dist is not what the sources make: `npm run build` there, and commit it");
    }
    Ok(Passed::Yes)
}

/// The lock file pins the client.
fn sdk(workspace: &Workspace) -> Result<Passed> {
    npm_tests(workspace, "tests/sdk")
}

/// The tests of a folder in JavaScript. Pictures that they take are left in the target directory, for
/// people to look at.
fn npm_tests(workspace: &Workspace, folder: &str) -> Result<Passed> {
    if !npm::is_here() {
        return Ok(Passed::Skipped(npm::MISSING.into()));
    }
    let folder = workspace.root.join(folder);
    npm::install(&folder)?;
    let mut command = npm::script(&folder, "test");
    passed(with_artifacts(workspace, &mut command)?.env("DACAPO_PICTURES_DIR", workspace.target.join("page")))
}

fn page(workspace: &Workspace) -> Result<Passed> {
    if !Path::new(CHROMIUM).is_file() {
        return Ok(Passed::Skipped("chromium is missing; `cargo xtask ci` installs it".into()));
    }
    npm_tests(workspace, "tests/page")
}

fn fuzz(workspace: &Workspace) -> Result<Passed> {
    if !crate::fuzz::has_venv() {
        return Ok(Passed::Skipped("python3-venv is missing; `cargo xtask ci` installs it".into()));
    }
    crate::fuzz::run(workspace).map(|()| Passed::Yes)
}

fn demo(workspace: &Workspace) -> Result<Passed> {
    let binary = build::server_and_tests(workspace)?;
    crate::demo::check(workspace, &binary, &build::samples(workspace)?)?;
    Ok(Passed::Yes)
}

/// Licences, bans and sources need no network. The advisories are a repository on GitHub: where
/// that cannot be reached they are left out, and it is said.
fn deny(workspace: &Workspace) -> Result<Passed> {
    if !programs::works(&mut deny_command(workspace, &["--version"])) {
        let how = "cargo-deny is missing; `cargo xtask ci` installs it";
        return Ok(Passed::Skipped(how.into()));
    }
    programs::run(&mut deny_command(workspace, &["check", "bans", "licenses", "sources"]))?;
    println!("Fetching the advisory database");
    if programs::works(&mut deny_command(workspace, &["fetch", "db"])) {
        return passed(&mut deny_command(workspace, &["check", "advisories"]));
    }
    println!("ADVISORIES NOT CHECKED: their database could not be fetched from here");
    Ok(Passed::Yes)
}

/// `cargo deny`, with the tools that `ci` installs in reach.
fn deny_command(workspace: &Workspace, arguments: &[&str]) -> Command {
    let mut command = workspace.cargo(std::iter::once(&"deny").chain(arguments));
    if let Some(tools) = programs::tools_dir() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let paths = std::env::split_paths(&path).chain([tools.join("bin")]);
        if let Ok(path) = std::env::join_paths(paths) {
            command.env("PATH", path);
        }
    }
    command
}

/// Whether cargo-deny can be called.
pub(crate) fn has_deny(workspace: &Workspace) -> bool {
    programs::works(&mut deny_command(workspace, &["--version"]))
}

/// The steps of these names, in the order of the table; all of them if none is named.
pub(crate) fn named(names: Option<&[String]>) -> Result<Vec<&'static Step>> {
    let Some(names) = names else {
        return Ok(STEPS.iter().collect());
    };
    for name in names {
        if !STEPS.iter().any(|step| step.name == name) {
            let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
            bail!("there is no step `{name}`; there are: {}", known.join(", "));
        }
    }
    Ok(STEPS.iter().filter(|step| names.iter().any(|name| name == step.name)).collect())
}

fn passed(command: &mut Command) -> Result<Passed> {
    programs::run(command).map(|()| Passed::Yes)
}
