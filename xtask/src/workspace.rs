//! Where the project and its target directory are, and how cargo is called in it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::programs;

/// The project on this machine.
pub(crate) struct Workspace {
    /// The directory of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target directory, wherever environment and configuration put it.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Finds it from where cargo says that this package is: not from where it was compiled, since
    /// two checkouts may share a target directory.
    pub(crate) fn find() -> Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .context("start me with `cargo xtask`, which says where the project is")?;
        let root = Path::new(&manifest).parent().context("xtask is a folder of the project")?.to_owned();
        let mut metadata = cargo_in(&root);
        metadata.args(["metadata", "--no-deps", "--format-version", "1"]);
        let metadata: serde_json::Value =
            serde_json::from_slice(&programs::output(&mut metadata)?).context("cargo metadata")?;
        let target = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?.into();
        Ok(Self { root, target })
    }

    /// Cargo, in the project's root.
    pub(crate) fn cargo<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = cargo_in(&self.root);
        command.args(arguments);
        command
    }

    /// Cargo, in another folder of the project.
    pub(crate) fn cargo_at<S: AsRef<OsStr>>(&self, folder: &str, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = cargo_in(&self.root.join(folder));
        command.args(arguments);
        command
    }
}

/// Cargo as a shell would call it. `cargo xtask` was started by cargo, which leaves variables about
/// this package behind; build scripts that watch them would build anew each time.
fn cargo_in(folder: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(folder);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let about_this_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
        if about_this_package.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command.env_remove("CARGO_PRIMARY_PACKAGE").env_remove("OUT_DIR");
    command
}
