//! The journals of attempts: what brings a run back that waits, and what repeats one that has ended.
//!
//! A journal is stored in segments, each in the transaction that it belongs to: the one that lets
//! the run wait, or the one that ends it. What is in them only the worker knows.

use super::sql::{Tx, values};
use super::{Error, Storage};
use crate::model::id::RunId;

impl Storage {
    /// What is stored of the journal of an attempt: its segments, in order, as they were given.
    pub async fn journal(&self, run: RunId, attempt: u32) -> Result<Vec<Vec<u8>>, Error> {
        let sql = "SELECT data FROM run_journals WHERE run_id = ?1 AND attempt = ?2 ORDER BY seq";
        self.read(move |tx| tx.rows(sql, values![run, attempt], |row| row.column())).await
    }
}

/// Adds what was recorded to the journal of an attempt, which is complete with it; forgets one that is
/// not, since nothing can be done with a part. Whoever calls this says the same in `runs`.
pub(super) fn keep_journal(
    tx: &Tx<'_>,
    run: RunId,
    attempt: u32,
    (segment, is_complete): (Option<&[u8]>, bool),
) -> Result<(), Error> {
    let add = "INSERT INTO run_journals (run_id, attempt, seq, data)
               VALUES (?1, ?2, COALESCE((SELECT MAX(seq) FROM run_journals WHERE run_id = ?1 AND attempt = ?2), 0) + 1,
                       ?3)";
    match segment {
        _ if !is_complete => forget_journal(tx, run, attempt),
        Some(segment) => tx.execute(add, values![run, attempt, segment]).map(drop),
        None => Ok(()),
    }
}

/// Forgets the journals of a run.
pub(super) fn forget_journals(tx: &Tx<'_>, run: RunId) -> Result<(), Error> {
    tx.execute("DELETE FROM run_journals WHERE run_id = ?1", values![run]).map(drop)
}

/// Forgets the journal of an attempt. Whoever calls this says the same in `runs`.
pub(super) fn forget_journal(tx: &Tx<'_>, run: RunId, attempt: u32) -> Result<(), Error> {
    let sql = "DELETE FROM run_journals WHERE run_id = ?1 AND attempt = ?2";
    tx.execute(sql, values![run, attempt]).map(drop)
}
