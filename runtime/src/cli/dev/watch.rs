//! Watches a folder for changes of sources.
//!
//! Each folder is watched by itself, so that the thousands below `target/` cost nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::crates::is_ignored;

/// A change counts once nothing else has changed for so long: editors write in several steps.
const QUIET: Duration = Duration::from_millis(80);
/// The longest that a change is held back while others come.
const MAX_HOLD: Duration = Duration::from_secs(1);
/// Folders that are watched at most.
const MAX_FOLDERS: usize = 8_192;

/// Sees changes of sources in a folder, from its making on.
pub(super) struct Changes {
    root: PathBuf,
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    paths: Mutex<BTreeSet<PathBuf>>,
    changed: Notify,
}

impl Seen {
    fn take(&self) -> BTreeSet<PathBuf> {
        std::mem::take(&mut *self.paths.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Changes {
    /// Begins to watch `root`, which must be absolute.
    pub(super) fn watch(root: &Path) -> anyhow::Result<Self> {
        let seen = Arc::new(Seen::default());
        let sink = seen.clone();
        let base = root.to_owned();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // What the system dropped may have been anything: look at everything again.
            let paths = match event {
                Ok(event) if event.need_rescan() => vec![base.clone()],
                Ok(event) if is_change(event.kind) => event.paths,
                Ok(_) => return,
                Err(_) => vec![base.clone()],
            };
            let mut relevant = paths.into_iter().filter(|path| is_source(&base, path)).peekable();
            if relevant.peek().is_some() {
                sink.paths.lock().unwrap_or_else(PoisonError::into_inner).extend(relevant);
                sink.changed.notify_one();
            }
        })
        .context("files cannot be watched")?;
        let mut changes = Self { root: root.into(), watcher, watched: BTreeSet::new(), seen };
        changes.watch_new_folders()?;
        Ok(changes)
    }

    /// The paths that changed, once things are quiet again. May be dropped at any time without
    /// losing a change.
    pub(super) async fn next(&mut self) -> anyhow::Result<BTreeSet<PathBuf>> {
        self.seen.changed.notified().await;
        let latest = Instant::now() + MAX_HOLD;
        loop {
            let quiet_at = (Instant::now() + QUIET).min(latest);
            if timeout_at(quiet_at, self.seen.changed.notified()).await.is_err() {
                break;
            }
            if Instant::now() >= latest {
                break;
            }
        }
        self.watch_new_folders()?;
        Ok(self.seen.take())
    }

    fn watch_new_folders(&mut self) -> anyhow::Result<()> {
        self.watched.retain(|folder| folder.is_dir());
        let mut pending = vec![self.root.clone()];
        while let Some(folder) = pending.pop() {
            if self.watched.len() < MAX_FOLDERS && !self.watched.contains(&folder) {
                let watched = self.watcher.watch(&folder, RecursiveMode::NonRecursive);
                watched.with_context(|| format!("{} cannot be watched", folder.display()))?;
                self.watched.insert(folder.clone());
            }
            let entries = folder.read_dir().into_iter().flatten().flatten();
            let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            pending.extend(folders.map(|entry| entry.path()).filter(|folder| !is_ignored(folder)));
        }
        Ok(())
    }
}

/// Whether an event may have changed what cargo reads. Reading a file is an event too.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Any => true,
        EventKind::Modify(ModifyKind::Metadata(_)) => false,
        EventKind::Modify(_) => true,
        EventKind::Access(_) | EventKind::Other => false,
    }
}

/// Whether a path within `root` is a source: neither in a folder that is ignored, nor hidden, nor
/// a draft of an editor, nor written by cargo.
fn is_source(root: &Path, path: &Path) -> bool {
    let Ok(inside) = path.strip_prefix(root) else { return false };
    if inside.components().any(|part| is_ignored(Path::new(part.as_os_str()))) {
        return false;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !name.ends_with('~') && !name.ends_with(".swp") && name != "Cargo.lock" && name != "4913"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sources_count() {
        let is_source = |path: &str| is_source(Path::new("/w/.x"), Path::new(path));
        for path in ["/w/.x", "/w/.x/a/src/lib.rs", "/w/.x/a/Cargo.toml", "/w/.x/data.json"] {
            assert!(is_source(path), "{path}");
        }
        for path in [
            "/w/y",
            "/w/.x/target/a",
            "/w/.x/a/target/b/c.rs",
            "/w/.x/.dacapo/dacapo.db",
            "/w/.x/a/.lib.rs.swx",
            "/w/.x/a/lib.rs~",
            "/w/.x/Cargo.lock",
        ] {
            assert!(!is_source(path), "{path}");
        }
    }

    #[tokio::test]
    async fn a_change_in_a_new_folder_is_seen() {
        let root = std::env::temp_dir().join(format!("dacapo-watch-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        let mut changes = Changes::watch(&root).unwrap();
        std::fs::create_dir(root.join("new")).unwrap();
        assert!(changes.next().await.unwrap().contains(&root.join("new")));
        std::fs::write(root.join("new/lib.rs"), "").unwrap();
        assert!(changes.next().await.unwrap().contains(&root.join("new/lib.rs")));
        std::fs::remove_dir_all(&root).unwrap();
    }
}
