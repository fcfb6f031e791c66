//! Copies of the database, made while it is in use.

use std::path::Path;
use std::time::Duration;

use rusqlite::backup::Backup;

use super::{Error, schema};

/// Pages that are copied before others may write.
const PAGES_PER_STEP: i32 = 1_000;

/// Writes a copy of the database of `data_dir` into the directory `target`: everything that was
/// committed before the copy began, and nothing by halves. A server may be using `data_dir`; it goes
/// on meanwhile. Blocks until the copy is on disk.
pub fn backup(data_dir: &Path, target: &Path) -> Result<(), Error> {
    let source = data_dir.join(schema::DATABASE_FILE);
    if !source.is_file() {
        let missing = format!("there is no {} in {}", schema::DATABASE_FILE, data_dir.display());
        return Err(std::io::Error::new(std::io::ErrorKind::NotFound, missing).into());
    }
    let copy_path = target.join(schema::DATABASE_FILE);
    let source = schema::open_for_reading(data_dir)?;
    // One read transaction: readers of a WAL see one state for as long as they read.
    source.execute_batch("BEGIN")?;
    let mut copy = rusqlite::Connection::open(&copy_path)?;
    Backup::new(&source, &mut copy)?.run_to_completion(PAGES_PER_STEP, Duration::ZERO, None)?;
    source.execute_batch("COMMIT")?;
    copy.close().map_err(|(_, error)| error)?;
    std::fs::File::open(copy_path)?.sync_all()?;
    Ok(())
}
