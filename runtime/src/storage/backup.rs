//! Copies of the database, made while it is in use.

use std::path::Path;

use rusqlite::backup::{Backup, StepResult};

use super::{Error, schema};

/// Copies everything in one step.
const ALL_PAGES: i32 = -1;

/// Writes a copy of the database of `data_dir` into the directory `target`: everything that was
/// committed before the copy began, and nothing by halves. A server may be using `data_dir`; it goes
/// on meanwhile, and its WAL grows until the copy is made. Blocks until the copy is on disk.
pub fn backup(data_dir: &Path, target: &Path) -> Result<(), Error> {
    let source = data_dir.join(schema::DATABASE_FILE);
    if !source.is_file() {
        let missing = format!("there is no {} in {}", schema::DATABASE_FILE, data_dir.display());
        return Err(std::io::Error::new(std::io::ErrorKind::NotFound, missing).into());
    }
    let copy_path = target.join(schema::DATABASE_FILE);
    let source = schema::open_for_reading(data_dir)?;
    let mut copy = rusqlite::Connection::open(&copy_path)?;
    // One step is one read transaction: in a WAL it sees one state for as long as it reads, and keeps
    // no writer waiting. Between several steps, every commit of others would begin the copy anew.
    let step = Backup::new(&source, &mut copy)?.step(ALL_PAGES)?;
    if step != StepResult::Done {
        return Err(std::io::Error::other("another program uses the copy of the database").into());
    }
    copy.close().map_err(|(_, error)| error)?;
    std::fs::File::open(copy_path)?.sync_all()?;
    Ok(())
}
