//! Random requests against a real server, made by schemathesis from the OpenAPI document that the
//! server serves: no request may be answered with a 5xx or with anything that the document does not
//! say. The run is bounded, and its seed fixed: `SEED=…` and `EXAMPLES=…` try others.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::client::Client;
use crate::server::{self, Server};
use crate::workspace::Workspace;
use crate::{build, programs};

/// Requests that are drawn for each operation, besides those that go through its limits one by one.
const EXAMPLES: &str = "12";
/// What the requests are drawn from.
const SEED: &str = "20261121";
/// What must hold of every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";

/// Whether Python can make a place for packages.
pub(crate) fn has_venv() -> bool {
    programs::works(Command::new("python3").args(["-c", "import ensurepip, venv"]))
}

/// Runs it on a new server.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let folder = workspace.root.join("tests/fuzz");
    let schemathesis = installed(&folder)?;
    let binary = build::server_and_tests(workspace)?;
    let component = build::guests(workspace)?.join("echo_v1.wasm");
    let data_dir = workspace.target.join("fuzz/data");
    server::fresh_dir(&data_dir)?;
    let server = Server::start(&binary, &data_dir, None)?;
    Client::new(&server.url, &server.key("dev")?).deploy("echo", &fs::read(&component)?)?;
    programs::run(
        Command::new(schemathesis)
            .args(["run", &format!("{}/openapi.json", server.url)])
            .args(["--phases", "coverage,fuzzing", "--checks", CHECKS])
            .args(["--max-examples", &setting("EXAMPLES", EXAMPLES), "--seed", &setting("SEED", SEED)])
            .args(["--request-timeout", "30", "--generation-database", "none", "--suppress-health-check", "all"])
            .args(["--generation-with-security-parameters", "false", "--warnings", "off", "--no-color"])
            .args(["--continue-on-failure", "--report", "vcr", "--report-vcr-path"])
            .arg(data_dir.with_file_name("requests.yaml"))
            .current_dir(&folder)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("HYPOTHESIS_STORAGE_DIRECTORY", data_dir.with_file_name("hypothesis"))
            .env("SCHEMATHESIS_HOOKS", "hooks")
            .env("DACAPO_URL", &server.url)
            .env("DACAPO_KEY", server.key("dev")?)
            .env("DACAPO_ADMIN_KEY", server.key("admin")?)
            .env("DACAPO_COMPONENT", component),
    )?;
    server.stop()
}

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// The program, installed once for each list of packages.
fn installed(folder: &Path) -> Result<PathBuf> {
    let wanted = folder.join("requirements.txt");
    let venv = programs::tools_dir().context("HOME is not set")?.join("fuzz");
    let (program, done) = (venv.join("bin/schemathesis"), venv.join("requirements.txt"));
    let packages = fs::read(&wanted)?;
    if fs::read(&done).ok().as_ref() == Some(&packages) {
        return Ok(program);
    }
    programs::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    let mut install = Command::new(venv.join("bin/pip"));
    programs::run(install.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&wanted))?;
    fs::write(&done, packages)?;
    Ok(program)
}
