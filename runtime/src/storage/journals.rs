//! The journals of attempts: what brings a run back that waits, and what repeats one that has ended.
//!
//! A journal is stored in segments, each in the transaction that it belongs to: the one that lets
//! the run wait, or the one that ends it. What is in them only the worker knows.
//!
//! Of a run that has not ended, what is stored brings it back. Of one that an attempt has ended
//! (completed, failed, crashed, timed out), the journal of that attempt is kept, and no other, until it
//! is too old ([`Storage::forget_old_journals`]), unless its task or the server wants none. Of one that
//! ended otherwise none is kept: it would break off somewhere.

use jiff::Timestamp;

use super::sql::{Tx, values};
use super::{Error, Storage};
use crate::model::id::RunId;

/// Runs whose journals one transaction forgets at most. A journal may have many megabytes.
const MAX_FORGOTTEN: u32 = 50;

impl Storage {
    /// What is stored of the journal of an attempt: its segments, in order, as they were given.
    pub async fn journal(&self, run: RunId, attempt: u32) -> Result<Vec<Vec<u8>>, Error> {
        self.read(move |tx| segments(tx, run, attempt)).await
    }

    /// Forgets the journals of runs that ended at `ended_by` or before, the oldest first, a bounded
    /// number at a time. Answers whether there may be more of them.
    pub async fn forget_old_journals(&self, ended_by: Timestamp) -> Result<bool, Error> {
        let sql = "SELECT id FROM runs
                   WHERE  journaled_attempt > 0 AND finished_at <= ?1
                   ORDER BY finished_at
                   LIMIT  ?2";
        // A look costs no writer its turn. What has ended does not begin again.
        let find = move |tx: &Tx<'_>| tx.rows(sql, values![ended_by, MAX_FORGOTTEN], |row| row.column());
        let old: Vec<RunId> = self.read(find).await?;
        if old.is_empty() {
            return Ok(false);
        }
        let is_full = old.len() == MAX_FORGOTTEN as usize;
        self.writer.write(move |tx| old.iter().try_for_each(|run| forget_journals(tx, *run))).await?;
        Ok(is_full)
    }
}

/// The segments of a journal, in order.
pub(super) fn segments(tx: &Tx<'_>, run: RunId, attempt: u32) -> Result<Vec<Vec<u8>>, Error> {
    let sql = "SELECT data FROM run_journals WHERE run_id = ?1 AND attempt = ?2 ORDER BY seq";
    tx.rows(sql, values![run, attempt], |row| row.column())
}

/// Adds what was recorded to the journal of an attempt, which is complete with it; forgets one that is
/// not to be kept: it is not whole, and nothing can be done with a part, or nobody wants it. Whoever
/// calls this says the same in `runs`.
pub(super) fn keep_journal(
    tx: &Tx<'_>,
    run: RunId,
    attempt: u32,
    (segment, is_kept): (Option<&[u8]>, bool),
) -> Result<(), Error> {
    let add = "INSERT INTO run_journals (run_id, attempt, seq, data)
               VALUES (?1, ?2, COALESCE((SELECT MAX(seq) FROM run_journals WHERE run_id = ?1 AND attempt = ?2), 0) + 1,
                       ?3)";
    match segment {
        _ if !is_kept => forget_journal(tx, run, attempt),
        Some(segment) => tx.execute(add, values![run, attempt, segment]).map(drop),
        None => Ok(()),
    }
}

/// Forgets the journals of a run that has ended.
pub(super) fn forget_journals(tx: &Tx<'_>, run: RunId) -> Result<(), Error> {
    tx.execute("UPDATE runs SET journaled_attempt = 0 WHERE id = ?1 AND finished_at IS NOT NULL", values![run])?;
    tx.execute("DELETE FROM run_journals WHERE run_id = ?1", values![run]).map(drop)
}

/// Forgets the journal of an attempt. Whoever calls this says the same in `runs`.
pub(super) fn forget_journal(tx: &Tx<'_>, run: RunId, attempt: u32) -> Result<(), Error> {
    let sql = "DELETE FROM run_journals WHERE run_id = ?1 AND attempt = ?2";
    tx.execute(sql, values![run, attempt]).map(drop)
}
