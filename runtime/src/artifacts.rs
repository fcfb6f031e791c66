//! Bytes by digest: the components that were uploaded. Content never changes under its name, so a
//! file is written once, and what is read is checked against its name.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::model::digest::Digest;

/// What the names of files end with while they are written.
const PART: &str = "part";

/// A directory of files named by their digests. Clones share it.
#[derive(Debug, Clone)]
pub struct Artifacts {
    dir: Arc<Path>,
}

impl Artifacts {
    /// The artifacts in `dir`, which is made if it is missing. No other process may use it.
    pub fn open(dir: &Path) -> std::io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        remove_parts(dir)?;
        Ok(Self { dir: dir.into() })
    }

    /// Stores `bytes`; when the future resolves they are on disk.
    pub async fn put(&self, bytes: Bytes) -> std::io::Result<Digest> {
        let dir = self.dir.clone();
        blocking(move || {
            let digest = Digest::of(&bytes);
            let path = file(&dir, digest);
            if !path.is_file() {
                write_durably(&dir, &path, &bytes)?;
            }
            Ok(digest)
        })
        .await
    }

    /// The bytes with this digest; an error of kind `InvalidData` where the file has others.
    pub async fn get(&self, digest: Digest) -> std::io::Result<Bytes> {
        let path = file(&self.dir, digest);
        blocking(move || {
            let bytes = std::fs::read(&path)?;
            if Digest::of(&bytes) != digest {
                let text = format!("{} was changed: its digest is another one", path.display());
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, text));
            }
            Ok(Bytes::from(bytes))
        })
        .await
    }
}

fn file(dir: &Path, digest: Digest) -> PathBuf {
    dir.join(digest.to_string())
}

/// Writes beside the target and renames, so that the name never shows half a file. Two that write
/// the same bytes at once do not meet: each has a file of its own until the rename.
fn write_durably(dir: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let temporary = path.with_extension(format!("{}.{PART}", WRITES.fetch_add(1, Ordering::Relaxed)));
    let mut file = std::fs::File::create(&temporary)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    std::fs::File::open(dir)?.sync_all()
}

/// Removes what a crash left behind in the middle of a write.
fn remove_parts(dir: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == PART) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}
