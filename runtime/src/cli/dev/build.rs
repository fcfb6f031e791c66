//! Builds task crates with cargo, whose messages go to the terminal as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use serde::Deserialize;
use tokio::process::Command;

use super::crates::TaskCrate;
use crate::cli::toolchain::TARGET;

/// How much cargo tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// What it compiles: the first time, which takes long.
    Shown,
    /// Warnings and errors.
    Quiet,
}

/// What cargo made.
#[derive(Debug, Default)]
pub(super) struct Built {
    /// Components by the manifest of their crate; crates that failed are missing.
    pub(super) components: BTreeMap<PathBuf, PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// Builds all crates of one workspace; one that fails does not keep the others from being built.
pub(super) async fn build(workspace: &Path, crates: &[&TaskCrate], progress: Progress) -> anyhow::Result<Built> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "--target", TARGET, "--keep-going", "--message-format"])
        .arg("json-render-diagnostics")
        .arg("--manifest-path")
        .arg(workspace.join("Cargo.toml"))
        .current_dir(workspace);
    if progress == Progress::Quiet {
        cargo.arg("--quiet");
    }
    for task in crates {
        cargo.arg("--package").arg(&task.package);
    }
    let child = cargo.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true).spawn();
    let child = child.context("cargo cannot be started: install Rust from https://rustup.rs")?;
    let output = child.wait_with_output().await.context("cargo was lost")?;
    Ok(Built { components: components(&String::from_utf8_lossy(&output.stdout)) })
}

fn components(messages: &str) -> BTreeMap<PathBuf, PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let artifacts = messages.filter(|message| message.reason == "compiler-artifact");
    artifacts
        .filter_map(|artifact| {
            let is_component = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "wasm");
            Some((artifact.manifest_path, artifact.filenames.into_iter().find(is_component)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_found_among_cargos_messages() {
        let messages = r#"
{"reason":"compiler-artifact","manifest_path":"/sdk/Cargo.toml","filenames":["/t/libsdk.rlib"]}
{"reason":"compiler-artifact","manifest_path":"/a/Cargo.toml","filenames":["/t/liba.rlib","/t/a.wasm"]}
{"reason":"build-finished","success":true}
not JSON"#;
        let expected = [(PathBuf::from("/a/Cargo.toml"), PathBuf::from("/t/a.wasm"))];
        assert_eq!(components(messages), expected.into());
    }
}
