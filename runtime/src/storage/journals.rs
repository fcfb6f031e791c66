//! The journals of attempts: what brings a run back that waits, and what repeats one that has ended.
//!
//! A journal is stored in segments, each in the transaction that it belongs to: the one that lets
//! the run wait, or the one that ends it. What is in them only the worker knows.

use super::sql::{Tx, values};
use super::{Error, Storage};
use crate::model::id::RunId;

/// The next segment of a journal.
pub(super) struct Segment<'d> {
    pub(super) run: RunId,
    pub(super) attempt: u32,
    /// `None`: nothing was recorded since the last one.
    pub(super) data: Option<&'d [u8]>,
    /// Whether the journal, with this, is the whole of it.
    pub(super) is_complete: bool,
}

impl Storage {
    /// What is stored of the journal of an attempt: its segments, in order, as they were given.
    pub async fn journal(&self, run: RunId, attempt: u32) -> Result<Vec<Vec<u8>>, Error> {
        let sql = "SELECT data FROM run_journals WHERE run_id = ?1 AND attempt = ?2 ORDER BY seq";
        self.read(move |tx| tx.rows(sql, values![run, attempt], |row| row.column())).await
    }
}

/// Adds a segment to a journal; one that is not complete is forgotten, since nothing can be done
/// with a part.
pub(super) fn keep_segment(tx: &Tx<'_>, segment: Segment<'_>) -> Result<(), Error> {
    let known = "UPDATE runs SET journaled_attempt = ?2 WHERE id = ?1 AND journaled_attempt <> ?2";
    let add = "INSERT INTO run_journals (run_id, attempt, seq, data)
               VALUES (?1, ?2, COALESCE((SELECT MAX(seq) FROM run_journals WHERE run_id = ?1 AND attempt = ?2), 0) + 1,
                       ?3)";
    let Segment { run, attempt, data, is_complete } = segment;
    if !is_complete {
        return forget_journal(tx, run, attempt);
    }
    tx.execute(known, values![run, attempt])?;
    match data {
        Some(data) => tx.execute(add, values![run, attempt, data]).map(drop),
        None => Ok(()),
    }
}

/// Forgets the journal of an attempt.
pub(super) fn forget_journal(tx: &Tx<'_>, run: RunId, attempt: u32) -> Result<(), Error> {
    let unknown = "UPDATE runs SET journaled_attempt = 0 WHERE id = ?1 AND journaled_attempt = ?2";
    let forget = "DELETE FROM run_journals WHERE run_id = ?1 AND attempt = ?2";
    if tx.execute(unknown, values![run, attempt])? == 1 {
        tx.execute(forget, values![run, attempt])?;
    }
    Ok(())
}
