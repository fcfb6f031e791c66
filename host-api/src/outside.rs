//! Attempts of a guest to reach files outside its directory. All of them fail; here they are put on record, so that a
//! replay lists them, and a comparison tells which are new.
//!
//! What leads out by `..`, by an absolute path or by a link comes to the host as such. But C libraries look an absolute
//! path up among the directories that they were given, and ask for `etc/passwd` in the working directory where the guest
//! says `/etc/passwd`: nobody sees the slash, and nothing outside was named. Such an attempt is told by the place that its
//! path begins with, if there is no such file.

use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::p2::{FsError, FsResult};

use crate::TaskCtx;
use crate::journal::{Kind, Question};

/// Where a machine keeps what is its own.
const PLACES: [&str; 18] = [
    "bin", "boot", "dev", "etc", "home", "lib", "lib64", "mnt", "opt", "proc", "root", "run", "sbin", "srv", "sys",
    "tmp", "usr", "var",
];

impl TaskCtx {
    /// Puts it on record if the path leads out of the directory to which it belongs: whatever is asked of it is refused.
    pub(crate) fn note_way_out(&self, path: &str) -> FsResult<()> {
        if leads_out(path) { self.note_outside(path) } else { Ok(()) }
    }

    /// The same once a file was opened, or was not: also where a link leads out, or the path begins with a place of the
    /// machine.
    pub(crate) fn note_opened<T>(&self, fd: &Resource<Descriptor>, path: &str, opened: FsResult<T>) -> FsResult<T> {
        let is_outside = match opened.as_ref().err().and_then(FsError::downcast_ref) {
            Some(ErrorCode::NotPermitted) => true,
            Some(ErrorCode::NoEntry) => leads_out(path) || is_place(path) && self.is_working_directory(fd)?,
            Some(_) => leads_out(path),
            None => false,
        };
        if is_outside {
            self.note_outside(path)?;
        }
        opened
    }

    fn note_outside(&self, path: &str) -> FsResult<()> {
        self.journal.ask_now(|| Question::new(Kind::Outside).text(path), || Ok(())).map_err(FsError::trap)
    }
}

/// Whether a path leads out of its directory, whatever is in it.
fn leads_out(path: &str) -> bool {
    let mut depth = 0_i32;
    let goes_out = |part: &str| {
        depth += match part {
            "" | "." => 0,
            ".." => -1,
            _ => 1,
        };
        depth < 0
    };
    path.starts_with('/') || path.split('/').any(goes_out)
}

/// Whether a path begins with a place of the machine.
fn is_place(path: &str) -> bool {
    let first = path.split('/').find(|part| !matches!(*part, "" | "."));
    first.is_some_and(|first| PLACES.contains(&first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_out_are_told_by_their_parts() {
        for out in ["/etc/passwd", "..", "../x", "a/../..", "./../a", "a/b/../../../c"] {
            assert!(leads_out(out), "{out}");
        }
        for within in ["", ".", "a", "a/..", "a/../b", "...", "..a/b", "a//../b"] {
            assert!(!leads_out(within), "{within}");
        }
    }

    #[test]
    fn places_are_the_first_part_of_a_path() {
        assert!(["etc", "etc/passwd", "./proc/self/environ", "tmp/x"].into_iter().all(is_place));
        assert!(["etcetera", "a/etc", "", "data.json"].into_iter().all(|path| !is_place(path)));
    }
}
