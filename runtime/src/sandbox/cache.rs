//! Compiled components: in memory by digest, on disk by digest and engine.
//!
//! Compiled code is run as it is, so a file counts only if it carries our MAC: anything that does
//! not verify is deleted, and the component compiled again. Files are made of components that were
//! accepted only; at a start those of other engines go, and the least recently used beyond
//! [`MAX_CODE_BYTES`].

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dacapo_host_api::TaskPre;
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens};
use tokio::sync::{OnceCell, Semaphore};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use super::ComponentSource;
use super::state::State;
use crate::model::digest::Digest;

/// Bytes of the MAC at the beginning of a file.
const MAC_BYTES: usize = 32;
/// Bytes of compiled code that a start leaves on disk.
const MAX_CODE_BYTES: u64 = 4 << 30;

/// The system's own time: this program's clock is for runs.
const MODIFIED_NOW: Timestamps = Timestamps {
    last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
    last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
};

/// Components that are ready to be instantiated.
pub(super) struct Cache {
    linker: Linker<State>,
    source: Arc<dyn ComponentSource>,
    files: Option<Files>,
    /// Compiling uses all cores by itself.
    compiling: Arc<Semaphore>,
    ready: Mutex<Ready>,
}

struct Ready {
    entries: HashMap<Digest, Entry>,
    max_entries: usize,
    uses: u64,
}

struct Entry {
    cell: Arc<OnceCell<TaskPre<State>>>,
    last_use: u64,
}

impl Ready {
    /// The cell of a component; makes room by forgetting the one that was used least recently.
    fn cell(&mut self, digest: Digest) -> Arc<OnceCell<TaskPre<State>>> {
        self.uses += 1;
        if !self.entries.contains_key(&digest) && self.entries.len() >= self.max_entries {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.last_use).map(|(digest, _)| *digest);
            if let Some(oldest) = oldest {
                self.entries.remove(&oldest);
            }
        }
        let entry = self.entries.entry(digest).or_insert_with(|| Entry { cell: Arc::default(), last_use: 0 });
        entry.last_use = self.uses;
        Arc::clone(&entry.cell)
    }
}

impl Cache {
    pub(super) fn new(
        linker: Linker<State>,
        source: Arc<dyn ComponentSource>,
        files: Option<Files>,
        max_entries: usize,
    ) -> Self {
        Self {
            linker,
            source,
            files,
            compiling: Arc::new(Semaphore::new(1)),
            ready: Mutex::new(Ready { entries: HashMap::new(), max_entries: max_entries.max(1), uses: 0 }),
        }
    }

    pub(super) fn linker(&self) -> &Linker<State> {
        &self.linker
    }

    /// The component of this digest. Calls that want the same one wait for a single compilation.
    pub(super) async fn get(&self, digest: Digest) -> Result<TaskPre<State>, String> {
        let cell = self.ready.lock().unwrap_or_else(PoisonError::into_inner).cell(digest);
        cell.get_or_try_init(|| self.load(digest)).await.cloned()
    }

    /// Keeps a component that has just been inspected.
    pub(super) fn put(&self, digest: Digest, pre: TaskPre<State>) {
        let cell = self.ready.lock().unwrap_or_else(PoisonError::into_inner).cell(digest);
        // Somebody else may have been faster, with the same result.
        drop(cell.set(pre));
    }

    /// Stores the code of a component that was inspected and is to stay, unless it is stored already.
    pub(super) async fn keep(&self, digest: Digest) {
        let (engine, files) = (self.linker.engine().clone(), self.files.clone());
        let (Some(files), Ok(pre)) = (files, self.get(digest).await) else { return };
        let component = pre.instance_pre().component().clone();
        let stored = blocking(move || {
            if !files.dir.join(file_name(&engine, digest)).exists() {
                files.store(&engine, digest, &component);
            }
        });
        if let Err(error) = stored.await {
            tracing::warn!(error, "compiled code could not be stored");
        }
    }

    async fn load(&self, digest: Digest) -> Result<TaskPre<State>, String> {
        let engine = self.linker.engine().clone();
        let files = self.files.clone();
        let stored = blocking(move || files.and_then(|files| files.load(&engine, digest))).await?;
        let component = match stored {
            Some(component) => component,
            None => {
                let bytes =
                    self.source.component(digest).await.map_err(|error| format!("component {digest}: {error}"))?;
                let compiled = self.compile(digest, bytes).await?;
                let component = compiled.map_err(|error| format!("component {digest}: {error:#}"))?;
                if let Some(files) = self.files.clone() {
                    let (engine, component) = (self.linker.engine().clone(), component.clone());
                    blocking(move || files.store(&engine, digest, &component)).await?;
                }
                component
            }
        };
        let pre = self.linker.instantiate_pre(&component).and_then(TaskPre::new);
        pre.map_err(|error| format!("component {digest}: {error:#}"))
    }

    /// Compiles a component, unless its code is stored. `digest` must be that of `bytes`. The outer error is the host's, the inner one the author's.
    pub(super) async fn compile(&self, digest: Digest, bytes: Bytes) -> Result<wasmtime::Result<Component>, String> {
        let _permit = self.compiling.acquire().await.map_err(|error| error.to_string())?;
        let (engine, files) = (self.linker.engine().clone(), self.files.clone());
        blocking(move || {
            // Somebody may have been faster.
            if let Some(component) = files.as_ref().and_then(|files| files.load(&engine, digest)) {
                return Ok(component);
            }
            Component::from_binary(&engine, &bytes)
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| format!("compiling failed: {error}"))
}

/// Compiled code on disk.
#[derive(Clone)]
pub(super) struct Files {
    dir: PathBuf,
    key: [u8; 32],
}

impl Files {
    /// Opens a directory, and removes from it what `engine` has no use for.
    pub(super) fn open(dir: PathBuf, key: [u8; 32], engine: &Engine) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        if let Err(error) = prune(&dir, &ending(engine), MAX_CODE_BYTES) {
            tracing::warn!(%error, "compiled code of no use could not be removed");
        }
        Ok(Self { dir, key })
    }

    fn load(&self, engine: &Engine, digest: Digest) -> Option<Component> {
        let name = file_name(engine, digest);
        let path = self.dir.join(&name);
        let file = std::fs::read(&path).ok()?;
        let component = self.verified(&name, &file).and_then(|code| deserialize(engine, code));
        if component.is_none() {
            tracing::warn!(path = %path.display(), "cached code does not verify and is compiled again");
            // If it cannot be deleted it is overwritten, or refused again.
            let _ = std::fs::remove_file(&path);
        } else if let Ok(file) = std::fs::File::open(&path) {
            // For the next start, which removes what was not used for longest. That is no promise.
            let _ = futimens(&file, &MODIFIED_NOW);
        }
        component
    }

    fn verified<'a>(&self, name: &str, file: &'a [u8]) -> Option<Verified<'a>> {
        let (mac, code) = file.split_at_checked(MAC_BYTES)?;
        // Comparison of `blake3::Hash` takes constant time.
        let valid = self.mac(name, code) == blake3::Hash::from_slice(mac).ok()?;
        valid.then_some(Verified(code))
    }

    /// A failure costs the next start a compilation, nothing else.
    fn store(&self, engine: &Engine, digest: Digest, component: &Component) {
        let name = file_name(engine, digest);
        let stored = component.serialize().map_err(io::Error::other).and_then(|code| self.write(&name, &code));
        if let Err(error) = stored {
            tracing::warn!(%error, "compiled code could not be stored");
        }
    }

    fn write(&self, name: &str, code: &[u8]) -> io::Result<()> {
        let temporary = self.dir.join(format!("{name}.{}.tmp", std::process::id()));
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(self.mac(name, code).as_bytes())?;
        file.write_all(code)?;
        std::fs::rename(temporary, self.dir.join(name))
    }

    /// Covers the name, so that no file can stand in for another.
    fn mac(&self, name: &str, code: &[u8]) -> blake3::Hash {
        let mut mac = blake3::Hasher::new_keyed(&self.key);
        mac.update(name.as_bytes()).update(&[0]).update(code);
        mac.finalize()
    }
}

/// Compiled code that carries our MAC.
struct Verified<'a>(&'a [u8]);

fn file_name(engine: &Engine, digest: Digest) -> String {
    format!("{digest}{}", ending(engine))
}

/// How the names of all files of an engine end.
fn ending(engine: &Engine) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("-{:016x}.cwasm", hasher.finish())
}

/// Removes code of other engines, files that were never finished, and of the rest what was not used
/// for longest until `max_bytes` are left.
fn prune(dir: &Path, ending: &str, max_bytes: u64) -> io::Result<()> {
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(ending) {
            let file = entry.metadata()?;
            kept.push((file.modified()?, file.len(), entry.path()));
        } else if name.ends_with(".cwasm") || name.ends_with(".tmp") {
            std::fs::remove_file(entry.path())?;
        }
    }
    kept.sort();
    let mut bytes: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, size, path) in kept {
        if bytes <= max_bytes {
            break;
        }
        std::fs::remove_file(path)?;
        bytes -= size;
    }
    Ok(())
}

#[expect(
    unsafe_code,
    reason = "wasmtime cannot check compiled code, and compiling each component at every start takes seconds"
)]
fn deserialize(engine: &Engine, code: Verified<'_>) -> Option<Component> {
    // SAFETY: `deserialize` asks for bytes that `Component::serialize` made. A `Verified` exists
    // only for bytes whose MAC under our key is right. That key is given to `Files::open` and used
    // in `Files::mac` alone, and `Files::write`, its only caller that publishes a MAC, is called by
    // `Files::store` alone, with what `Component::serialize` returned. Whoever can read the key
    // could forge a MAC, but it lies with the server's other secrets. The MAC also covers the name,
    // which holds the engine's compatibility hash; a version that does not fit is an error besides.
    unsafe { Component::deserialize(engine, code.0) }.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::engine::engine;

    #[test]
    fn only_untouched_code_is_loaded() {
        let engine = engine(1, false).expect("an engine");
        let dir = std::env::temp_dir().join(format!("dacapo-code-{}", std::process::id()));
        let files = Files::open(dir, [7; 32], &engine).expect("a directory");
        // The smallest component: a header and nothing else.
        let bytes = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];
        let digest = Digest::of(&bytes);
        let component = Component::from_binary(&engine, &bytes).expect("a component");
        let path = files.dir.join(file_name(&engine, digest));

        files.store(&engine, digest, &component);
        assert!(files.load(&engine, digest).is_some());

        let other_key = Files { key: [8; 32], ..files.clone() };
        let mut code = std::fs::read(&path).expect("a file");
        assert!(other_key.load(&engine, digest).is_none());
        assert!(!path.exists());

        *code.last_mut().expect("a byte") ^= 1;
        std::fs::write(&path, &code).expect("a file");
        assert!(files.load(&engine, digest).is_none());
        std::fs::remove_dir_all(&files.dir).expect("a directory");
    }

    #[test]
    fn a_start_removes_what_is_of_no_use_and_what_was_not_used_for_longest() {
        let dir = std::env::temp_dir().join(format!("dacapo-prune-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let begin = std::time::SystemTime::UNIX_EPOCH;
        for (name, age) in [("c-1.cwasm", 1), ("a-1.cwasm", 2), ("b-1.cwasm", 3), ("d-2.cwasm", 0), ("e.tmp", 0)] {
            std::fs::write(dir.join(name), [0; 10]).expect("a file");
            let used = begin + std::time::Duration::from_secs(100 - age);
            std::fs::File::open(dir.join(name)).and_then(|file| file.set_modified(used)).expect("a file");
        }

        prune(&dir, "-1.cwasm", 20).expect("a directory");

        let entries = std::fs::read_dir(&dir).expect("a directory");
        let mut left: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        left.sort();
        assert_eq!(left, ["a-1.cwasm", "c-1.cwasm"]);
        std::fs::remove_dir_all(&dir).expect("a directory");
    }
}
