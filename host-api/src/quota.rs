//! How much disk an attempt has taken: an account that may be too high, never too low.
//!
//! Charged before it happens: growth of a file's length (holes included), and [`ENTRY_BYTES`] for
//! each file, directory and link, which also covers the last, partly filled block of a file.
//! Given back: what a truncation frees, unless an unlinked file is still open, and what an unlinked file takes, once nothing holds it open.

use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use wasmtime_wasi::p2::bindings::filesystem::types::{ErrorCode, MetadataHashValue};

use crate::files::GUEST_PATH;
use crate::logger::Logger;
use crate::services::Level;

/// What a name in a directory costs.
const ENTRY_BYTES: u64 = 4_096;
/// Most names: a listing of them is held in memory.
const MAX_ENTRIES: u64 = 20_000;
/// Most files and directories that an attempt may hold open.
const MAX_OPEN_FILES: usize = 256;

/// Which file it is, whatever its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId(u64, u64);

impl From<MetadataHashValue> for FileId {
    fn from(hash: MetadataHashValue) -> Self {
        Self(hash.lower, hash.upper)
    }
}

/// The account of one attempt.
#[derive(Clone)]
pub(crate) struct Quota(Arc<Mutex<Account>>);

struct Account {
    /// `None` once the author has been told that the quota is used up. C libraries turn an error
    /// of a stream into "I/O error", which says nothing.
    logger: Option<Logger>,
    limit: u64,
    used: u64,
    entries: u64,
    open: Vec<(Weak<File>, Option<FileId>)>,
    unlinked: Vec<(FileId, u64)>,
}

impl Quota {
    pub(crate) fn new(limit: u64, logger: Logger) -> Self {
        Self(Arc::new(Mutex::new(Account {
            logger: Some(logger),
            limit,
            used: 0,
            entries: 0,
            open: Vec::new(),
            unlinked: Vec::new(),
        })))
    }

    /// Takes `bytes`, or says that there is no space.
    pub(crate) fn charge(&self, bytes: u64) -> Result<(), ErrorCode> {
        self.account().charge(bytes)
    }

    /// Takes what a new name costs, or says that there is no space.
    pub(crate) fn charge_entry(&self) -> Result<(), ErrorCode> {
        let mut account = self.account();
        if account.entries >= MAX_ENTRIES {
            return Err(account.refuse(format!("no more names in {GUEST_PATH}: the most is {MAX_ENTRIES}")));
        }
        account.charge(ENTRY_BYTES)?;
        account.entries += 1;
        Ok(())
    }

    /// A name was not made after all, or a directory's is gone.
    pub(crate) fn undo_entry(&self) {
        let mut account = self.account();
        account.used = account.used.saturating_sub(ENTRY_BYTES);
        account.entries = account.entries.saturating_sub(1);
    }

    /// Gives back what was charged for something that did not happen.
    pub(crate) fn undo(&self, bytes: u64) {
        let mut account = self.account();
        account.used = account.used.saturating_sub(bytes);
    }

    /// A file has become shorter.
    pub(crate) fn truncated(&self, bytes: u64) {
        let mut account = self.account();
        account.sweep();
        // It may be one of the unlinked files, whose length is given back when it is closed.
        if account.unlinked.is_empty() {
            account.used = account.used.saturating_sub(bytes);
        }
    }

    /// A name of a file is gone; if it was the last, `bytes` is the file's length.
    pub(crate) fn unlinked(&self, file: FileId, bytes: u64) {
        let mut account = self.account();
        account.entries = account.entries.saturating_sub(1);
        account.unlinked.push((file, bytes + ENTRY_BYTES));
        account.sweep();
    }

    /// Whether another file may be opened.
    pub(crate) fn check_open_files(&self) -> Result<(), ErrorCode> {
        let mut account = self.account();
        account.open.retain(|(file, _)| file.strong_count() > 0);
        if account.open.len() >= MAX_OPEN_FILES { Err(ErrorCode::InsufficientMemory) } else { Ok(()) }
    }

    /// A file, or a directory (no id), has been opened.
    pub(crate) fn opened(&self, file: &Arc<File>, id: Option<FileId>) {
        self.account().open.push((Arc::downgrade(file), id));
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn charge(&mut self, bytes: u64) -> Result<(), ErrorCode> {
        if bytes > self.limit - self.used {
            self.sweep();
        }
        if bytes > self.limit - self.used {
            return Err(self.refuse(format!("no space left in {GUEST_PATH}: its quota is {} bytes", self.limit)));
        }
        self.used += bytes;
        Ok(())
    }

    /// Tells the author, once.
    fn refuse(&mut self, why: String) -> ErrorCode {
        if let Some(logger) = self.logger.take() {
            logger.host(Level::Warn, why);
        }
        ErrorCode::InsufficientSpace
    }

    /// Gives back what unlinked files took that nothing holds open any more.
    fn sweep(&mut self) {
        self.open.retain(|(file, _)| file.strong_count() > 0);
        let open = &self.open;
        let mut freed = 0;
        self.unlinked.retain(|(file, bytes)| {
            let held = open.iter().any(|(_, id)| *id == Some(*file));
            if !held {
                freed += bytes;
            }
            held
        });
        self.used = self.used.saturating_sub(freed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(limit: u64) -> Quota {
        Quota::new(limit, crate::logger::tests::logger(10, 1_000).0)
    }

    fn used(quota: &Quota) -> u64 {
        quota.account().used
    }

    #[test]
    fn the_limit_holds_exactly() {
        let quota = quota(100);
        assert!(quota.charge(100).is_ok());
        assert!(matches!(quota.charge(1), Err(ErrorCode::InsufficientSpace)));
        assert!(matches!(quota.charge(u64::MAX), Err(ErrorCode::InsufficientSpace)));
        quota.truncated(40);
        assert!(quota.charge(40).is_ok());
    }

    #[test]
    fn an_unlinked_file_counts_until_it_is_closed() {
        let (quota, id) = (quota(ENTRY_BYTES + 100), FileId(1, 1));
        let file = Arc::new(File::open("/dev/null").expect("a file"));
        quota.charge_entry().expect("room");
        quota.charge(60).expect("room");
        quota.opened(&file, Some(id));
        quota.unlinked(id, 60);
        assert_eq!(used(&quota), ENTRY_BYTES + 60);
        drop(file);
        assert!(quota.charge(ENTRY_BYTES + 60).is_ok());
        assert_eq!(used(&quota), ENTRY_BYTES + 60);
    }

    #[test]
    fn a_file_is_given_back_once() {
        let (quota, id) = (quota(ENTRY_BYTES + 100), FileId(1, 1));
        let file = Arc::new(File::open("/dev/null").expect("a file"));
        quota.charge_entry().expect("room");
        quota.charge(100).expect("room");
        quota.opened(&file, Some(id));
        quota.unlinked(id, 100);
        quota.truncated(100);
        assert_eq!(used(&quota), ENTRY_BYTES + 100);
        drop(file);
        assert!(quota.charge(ENTRY_BYTES + 101).is_err());
    }
}
