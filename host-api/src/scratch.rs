//! Scratch directories: one for each attempt that touches a file, gone when the attempt ends.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::ambient_authority;
use cap_std::fs::Dir as CapDir;
use wasmtime_wasi::filesystem::Dir;
use wasmtime_wasi::{FsPerms, OpenMode};

/// The directory below which scratch directories are made. Belongs to one process at a time.
pub struct ScratchRoot {
    dir: Arc<CapDir>,
    next: AtomicU64,
    /// Stands for a directory that has not been made yet. It is no directory (`/dev/null`), so
    /// that nothing could be reached through it even if a check were forgotten.
    placeholder: Dir,
}

/// The host could not make a scratch directory: no fault of the guest.
#[derive(Debug, thiserror::Error)]
#[error("no scratch directory")]
pub struct ScratchUnavailable(#[source] io::Error);

impl ScratchRoot {
    /// Makes the directory if it is missing, and removes everything in it: what an earlier process
    /// left behind.
    ///
    /// # Errors
    ///
    /// If it cannot be made, read or emptied.
    pub fn open(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        let dir = CapDir::open_ambient_dir(path, ambient_authority())?;
        for entry in dir.entries()? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dir.remove_dir_all(entry.file_name())?;
            } else {
                dir.remove_file(entry.file_name())?;
            }
        }
        let placeholder = guest_dir(File::open("/dev/null")?);
        Ok(Self { dir: Arc::new(dir), next: AtomicU64::new(0), placeholder })
    }

    pub(crate) fn placeholder(&self) -> Dir {
        self.placeholder.clone()
    }

    pub(crate) fn is_placeholder(&self, dir: &Dir) -> bool {
        Arc::ptr_eq(&self.placeholder.dir, &dir.dir)
    }

    /// Makes a directory. Off the threads that run guests, because the disk may be slow.
    pub(crate) async fn create(&self) -> Result<Scratch, ScratchUnavailable> {
        let root = Arc::clone(&self.dir);
        let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        wasmtime_wasi::runtime::spawn_blocking(move || {
            root.create_dir(&name)?;
            let scratch = Removal { root, name };
            let dir = scratch.root.open_dir(&scratch.name)?;
            Ok(Scratch { dir: guest_dir(dir.into_std_file()), _removal: scratch })
        })
        .await
        .map_err(ScratchUnavailable)
    }
}

fn guest_dir(dir: File) -> Dir {
    Dir::new(dir, FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE, false)
}

/// One attempt's directory. Removed when this is dropped.
pub(crate) struct Scratch {
    pub(crate) dir: Dir,
    _removal: Removal,
}

impl Scratch {
    /// Whether a handle is one on it.
    pub(crate) fn is(&self, dir: &Dir) -> bool {
        Arc::ptr_eq(&self.dir.dir, &dir.dir)
    }
}

struct Removal {
    root: Arc<CapDir>,
    name: String,
}

impl Drop for Removal {
    fn drop(&mut self) {
        let (root, name) = (Arc::clone(&self.root), std::mem::take(&mut self.name));
        // What cannot be removed now is removed when the root is opened the next time.
        let remove = move || drop(root.remove_dir_all(name));
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}
