//! Finds the task crates of a folder.
//!
//! Asks cargo, which knows workspaces, and keeps what lies in the folder and is built as a
//! `cdylib`. What such a crate really is, the server says when it is deployed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use tokio::process::Command;

use crate::cli::deploy::component_name;

/// How deep below the folder a `Cargo.toml` is looked for.
const MAX_DEPTH: usize = 3;

/// A crate that is built into a component.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TaskCrate {
    /// The name in its `Cargo.toml`.
    pub(super) package: String,
    /// Under which it is deployed.
    pub(super) component: String,
    /// Its `Cargo.toml`.
    pub(super) manifest: PathBuf,
    /// The directory of its workspace: crates with the same one are built together.
    pub(super) workspace: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Debug, Deserialize)]
struct Target {
    kind: Vec<String>,
}

/// The task crates in `dir`, which must be absolute, by their manifests.
pub(super) async fn discover(dir: &Path) -> anyhow::Result<Vec<TaskCrate>> {
    let mut crates: BTreeMap<PathBuf, Option<TaskCrate>> = BTreeMap::new();
    for manifest in manifests(dir, MAX_DEPTH) {
        if crates.contains_key(&manifest) {
            continue;
        }
        crates.extend(packages(&metadata(&manifest).await?, dir));
        // A workspace without a package of its own is not asked again either.
        crates.entry(manifest).or_insert(None);
    }
    Ok(crates.into_values().flatten().collect())
}

async fn metadata(manifest: &Path) -> anyhow::Result<Metadata> {
    let asked = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"])
        .arg(manifest)
        .kill_on_drop(true)
        .output()
        .await
        .context("cargo cannot be started: install Rust from https://rustup.rs")?;
    if !asked.status.success() {
        anyhow::bail!("{}", String::from_utf8_lossy(&asked.stderr).trim().trim_start_matches("error: "));
    }
    serde_json::from_slice(&asked.stdout).context("the answer of `cargo metadata` cannot be read")
}

/// The packages of an answer by their manifests; `None` for those that are no tasks of `dir`.
fn packages(metadata: &Metadata, dir: &Path) -> Vec<(PathBuf, Option<TaskCrate>)> {
    let is_task = |package: &Package| {
        let is_cdylib = package.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "cdylib"));
        is_cdylib && package.manifest_path.starts_with(dir)
    };
    let task = |package: &Package| TaskCrate {
        package: package.name.clone(),
        component: component_name(Path::new(&package.name)).unwrap_or_else(|| package.name.clone()),
        manifest: package.manifest_path.clone(),
        workspace: metadata.workspace_root.clone(),
    };
    let each = metadata.packages.iter();
    each.map(|package| (package.manifest_path.clone(), is_task(package).then(|| task(package)))).collect()
}

/// Every `Cargo.toml` in `dir` and in at most `depth` levels of folders below, outermost first.
fn manifests(dir: &Path, depth: usize) -> Vec<PathBuf> {
    let own = dir.join("Cargo.toml");
    let mut found: Vec<PathBuf> = own.is_file().then_some(own).into_iter().collect();
    if depth == 0 {
        return found;
    }
    let entries = dir.read_dir().into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> =
        entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect();
    folders.sort();
    folders.retain(|folder| !is_ignored(folder));
    found.extend(folders.iter().flat_map(|folder| manifests(folder, depth - 1)));
    found
}

/// Whether nothing in a folder of this name is ours: built, fetched or hidden.
pub(super) fn is_ignored(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') || name == "target" || name == "node_modules"
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"workspace_root":"/w","packages":[
        {"name":"a_task","manifest_path":"/w/a/Cargo.toml","targets":[{"kind":["cdylib","rlib"]}]},
        {"name":"sdk","manifest_path":"/w/sdk/Cargo.toml","targets":[{"kind":["lib"]}]},
        {"name":"odd","manifest_path":"/w/odd/Cargo.toml","targets":[{"kind":["example"],"crate_types":["cdylib"]}]},
        {"name":"far","manifest_path":"/elsewhere/Cargo.toml","targets":[{"kind":["cdylib"]}]}]}"#;

    fn names(dir: &str) -> Vec<String> {
        let metadata: Metadata = serde_json::from_str(ANSWER).unwrap();
        packages(&metadata, Path::new(dir)).into_iter().filter_map(|(_, found)| Some(found?.component)).collect()
    }

    #[test]
    fn tasks_are_the_cdylibs_in_the_folder() {
        assert_eq!(names("/w"), ["a-task"]);
        assert_eq!(names("/w/a"), ["a-task"]);
        assert!(names("/w/sdk").is_empty());
        assert_eq!(names("/"), ["a-task", "far"]);
    }

    #[test]
    fn manifests_are_found_below_but_not_among_built_files() {
        let dir = std::env::temp_dir().join(format!("dacapo-crates-{}", std::process::id()));
        for folder in ["a", "b/c", "target/d", ".hidden/e", "1/2/3", "1/2/3/4"] {
            std::fs::create_dir_all(dir.join(folder)).unwrap();
            std::fs::write(dir.join(folder).join("Cargo.toml"), "").unwrap();
        }
        let found = manifests(&dir, MAX_DEPTH);
        let shown: Vec<_> = found.iter().map(|path| path.strip_prefix(&dir).unwrap().display().to_string()).collect();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(shown, ["1/2/3/Cargo.toml", "a/Cargo.toml", "b/c/Cargo.toml"]);
    }
}
