//! Batches that a run makes: announced, filled and sealed in one transaction, whole or not at all.

use super::batches::{Announced, ItemInserted, NewBatch, NewBatchItem, insert_batch, insert_batch_item, seal};
use super::insert::{existing_run, parent_holds};
use super::sql::{Tx, values};
use super::{Error, Storage};
use crate::model::id::{BatchId, RunId};
use crate::model::run::NewRun;

/// A batch with all its runs.
#[derive(Debug, Clone)]
pub struct NewFamily {
    /// The batch; its `run_count` is the number of `runs`. It should have a `request_key`, by which a
    /// second call finds it, and takes no token.
    pub batch: NewBatch,
    /// The runs of its items, in order, 1000 at most.
    pub runs: Vec<NewRun>,
}

/// What became of a family that was to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FamilyInserted {
    /// It is stored, or was by an earlier call.
    Stored {
        /// The batch.
        batch: BatchId,
        /// The run of each item, and whether an idempotency key has found it, in order.
        runs: Vec<(RunId, bool)>,
    },
    /// With it, too many runs would wait to start in the environment; nothing was stored.
    QueueFull {
        /// Runs that have not started yet.
        waiting: u64,
    },
    /// The key of the request names a batch that another request announced; nothing was stored.
    OtherRequest,
    /// The attempt that triggers them is over; nothing was stored.
    ParentGone,
}

impl Storage {
    /// Stores a batch with all its runs, unless its request key names one, or with them more than
    /// `max_waiting` runs of the environment would wait to start.
    pub async fn insert_family(&self, new: NewFamily, max_waiting: u64) -> Result<FamilyInserted, Error> {
        let listeners = self.listeners.clone();
        self.writer
            .write(move |tx| {
                let waiting = listeners.waiting(new.batch.environment, &tx.effects);
                insert_family(tx, &new, waiting, max_waiting)
            })
            .await
    }
}

fn insert_family(tx: &mut Tx<'_>, new: &NewFamily, waiting: u64, max_waiting: u64) -> Result<FamilyInserted, Error> {
    let undo = "DELETE FROM batches WHERE id = ?1";
    let NewFamily { batch, runs } = new;
    // One attempt triggers all of them.
    if let Some(run) = runs.first()
        && !parent_holds(tx, run)?
    {
        return Ok(FamilyInserted::ParentGone);
    }
    match insert_batch(tx, batch)? {
        Announced::New(_) => {}
        Announced::Existing(older) => {
            let found = items(tx, older.id)?;
            let is_whole = older.sealed_at.is_some() && found.len() == runs.len();
            return Ok(if is_whole {
                FamilyInserted::Stored { batch: older.id, runs: found }
            } else {
                FamilyInserted::OtherRequest
            });
        }
        Announced::OtherRequest => return Ok(FamilyInserted::OtherRequest),
        Announced::TokenUsed => return Err(Error::Corrupt("a batch that a run makes takes no token".into())),
    }
    let mut needed = 0;
    for run in runs {
        needed += u64::from(existing_run(tx, run)?.is_none());
    }
    if waiting + needed > max_waiting {
        tx.execute(undo, values![batch.id])?;
        return Ok(FamilyInserted::QueueFull { waiting });
    }
    for (index, run) in (0..).zip(runs) {
        let task = run.task.clone();
        let item = NewBatchItem { batch: batch.id, index, task, run: Ok(Box::new(run.clone())) };
        let inserted = insert_batch_item(tx, &item, 0, u64::MAX)?;
        debug_assert_eq!(inserted, ItemInserted::New, "there is room, and nobody else knows the batch");
    }
    seal(tx, batch.id, batch.created_at)?;
    Ok(FamilyInserted::Stored { batch: batch.id, runs: items(tx, batch.id)? })
}

/// The runs of a batch all of whose items have one.
fn items(tx: &Tx<'_>, batch: BatchId) -> Result<Vec<(RunId, bool)>, Error> {
    let sql = "SELECT run_id, found FROM batch_items WHERE batch_id = ?1 AND run_id IS NOT NULL ORDER BY item";
    tx.rows(sql, values![batch], |row| Ok((row.column()?, row.column()?)))
}
