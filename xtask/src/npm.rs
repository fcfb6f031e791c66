//! npm: what is written in JavaScript installs, builds and is tried with it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::programs;

/// What is said where it is not there.
pub(crate) const MISSING: &str = "npm is missing; install Node.js 20 or newer";

/// Whether it can be called.
pub(crate) fn is_here() -> bool {
    programs::works(Command::new("npm").arg("--version"))
}

/// Installs the modules that a folder locks, where they are missing or another version is locked.
pub(crate) fn install(folder: &Path) -> Result<()> {
    let lock = folder.join("package-lock.json");
    let locked = fs::read(&lock).with_context(|| lock.display().to_string())?;
    // Our own record of what was installed; `npm ci` from scratch takes ten seconds.
    let installed = folder.join("node_modules/.dacapo-lock.json");
    if fs::read(&installed).ok().as_ref() != Some(&locked) {
        programs::run(Command::new("npm").arg("ci").current_dir(folder))?;
        fs::write(&installed, &locked)?;
    }
    Ok(())
}

/// A script of a folder's `package.json`.
pub(crate) fn script(folder: &Path, name: &str) -> Command {
    let mut command = Command::new("npm");
    command.args(["run", "--silent", name]).current_dir(folder);
    command
}

/// The first file that is not the same in two directories, or is in one of them only.
pub(crate) fn first_difference(one: &Path, other: &Path) -> Result<Option<String>> {
    let mut files = BTreeSet::new();
    for dir in [one, other] {
        list(dir, "", &mut files)?;
    }
    Ok(files.into_iter().find(|file| fs::read(one.join(file)).ok() != fs::read(other.join(file)).ok()))
}

/// Adds the files below `dir`, by their paths from there.
fn list(dir: &Path, below: &str, files: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(dir.join(below)).with_context(|| dir.join(below).display().to_string())? {
        let entry = entry?;
        let path = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list(dir, &format!("{path}/"), files)?;
        } else {
            files.insert(path);
        }
    }
    Ok(())
}
