//! Batches: what was announced, and what became of each item.
//!
//! An item is recorded once, under its number, and in the transaction that stores its run: whatever
//! breaks off, an item that is sent again makes no second run. A batch is sealed when as many items
//! are recorded as were announced. Nothing is counted beside the items: see `model::batch`.

use jiff::Timestamp;

use super::insert::{Inserted, insert_run};
use super::page::{Page, Place};
use super::sql::{Row, Tx, values};
use super::tokens::use_token;
use super::{Error, Storage};
use crate::model::batch::{ItemError, ItemErrorCode};
use crate::model::id::{BatchId, EnvironmentId, RunId};
use crate::model::run::{NewRun, Status};
use crate::model::scope::OneTimeToken;

/// A batch that is announced.
#[derive(Debug, Clone)]
pub struct NewBatch {
    /// Its name.
    pub id: BatchId,
    /// Where its runs are to run.
    pub environment: EnvironmentId,
    /// How many items will be sent.
    pub run_count: u32,
    /// A second announcement with the same key finds the first one's batch.
    pub idempotency_key: Option<String>,
    /// A batch that was announced before then is no longer found by its key.
    pub keys_count_since: Timestamp,
    /// The same on all tries of one request: a second try finds the batch of the first.
    pub request_key: Option<String>,
    /// A batch that was announced before then is no longer found by its request.
    pub requests_count_since: Timestamp,
    /// The run that triggers it.
    pub parent: Option<RunId>,
    /// When it is announced.
    pub created_at: Timestamp,
    /// Is used up by it.
    pub one_time_token: Option<OneTimeToken>,
}

/// What became of a batch that was to be announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announced {
    /// It is stored.
    New(Batch),
    /// One of its keys names this older batch, which stands for it; nothing was stored.
    Existing(Batch),
    /// The key of its request names a batch that another request announced; nothing was stored.
    OtherRequest,
    /// The token that it takes was used before; nothing was stored.
    TokenUsed,
}

/// A batch as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its name.
    pub id: BatchId,
    /// How many items were announced.
    pub run_count: u32,
    /// See [`NewBatch::idempotency_key`].
    pub idempotency_key: Option<String>,
    /// The run that triggered it.
    pub parent: Option<RunId>,
    /// When it was announced.
    pub created_at: Timestamp,
    /// When the last announced item had arrived.
    pub sealed_at: Option<Timestamp>,
}

/// An item that arrives.
#[derive(Debug, Clone)]
pub struct NewBatchItem {
    /// Its batch.
    pub batch: BatchId,
    /// Its number in the batch, from 0.
    pub index: u32,
    /// What it runs.
    pub task: String,
    /// Its run, or why there cannot be one.
    pub run: Result<Box<NewRun>, ItemError>,
}

/// Whether an item that arrived is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemInserted {
    /// It is, and its run is stored, or was found by a key.
    New,
    /// It was before, and stays as it was.
    WasThere,
    /// So many runs are waiting in the environment already; nothing was stored.
    QueueFull {
        /// Runs that have not started yet.
        waiting: u64,
    },
}

/// What became of an item that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchItem {
    /// Its number in the batch, from 0.
    pub index: u32,
    /// What it runs.
    pub task: String,
    /// Its run: made for it, or found by its idempotency key.
    pub run: Option<RunId>,
    /// That run's status.
    pub status: Option<Status>,
    /// When that run ended.
    pub finished_at: Option<Timestamp>,
    /// Why there is no run.
    pub error: Option<ItemError>,
}

/// How far a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// Items that are recorded.
    pub items: u32,
    /// Whether these are all.
    pub is_sealed: bool,
}

/// What became of the items of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchCounts {
    /// Items whose run completed.
    pub succeeded: u64,
    /// Items whose run ended otherwise.
    pub failed: u64,
    /// Items whose run has not ended.
    pub unfinished: u64,
    /// Items that have no run, because it could not be made.
    pub without_run: u64,
}

/// The columns that [`read_batch`] reads.
macro_rules! batch_columns {
    () => {
        "id, run_count, idempotency_key, parent_id, created_at, sealed_at"
    };
}

impl Storage {
    /// Stores a batch, unless one of its keys names an older one.
    pub async fn insert_batch(&self, batch: NewBatch) -> Result<Announced, Error> {
        self.writer.write(move |tx| insert_batch(tx, &batch)).await
    }

    /// A batch of an environment.
    pub async fn batch(&self, environment: EnvironmentId, batch: BatchId) -> Result<Option<Batch>, Error> {
        let sql = concat!("SELECT ", batch_columns!(), " FROM batches WHERE id = ?1 AND environment_id = ?2");
        self.read(move |tx| tx.row(sql, values![batch, environment], read_batch)).await
    }

    /// Batches of an environment with what became of their items, newest first.
    pub async fn batches(
        &self,
        environment: EnvironmentId,
        place: Place<BatchId>,
        limit: u32,
    ) -> Result<Page<(Batch, BatchCounts), BatchId>, Error> {
        let newest_first = concat!(
            "SELECT ",
            batch_columns!(),
            " FROM batches WHERE environment_id = ?1 AND id > ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4"
        );
        let oldest_first = concat!(
            "SELECT ",
            batch_columns!(),
            " FROM batches WHERE environment_id = ?1 AND id > ?2 AND id < ?3 ORDER BY id LIMIT ?4"
        );
        let sql = if place.is_backward() { oldest_first } else { newest_first };
        let (above, below) = place.range(None, None);
        self.read(move |tx| {
            let found = tx.rows(sql, values![environment, above, below, limit + 1], read_batch)?;
            Page::found(found, place, limit).read(|batch| {
                let counts = count(tx, batch.id)?;
                Ok(Some((batch, counts)))
            })
        })
        .await
    }

    /// The items that have arrived, in the order of their numbers.
    pub async fn batch_items(&self, batch: BatchId) -> Result<Vec<BatchItem>, Error> {
        let sql = "SELECT i.item, i.task_id, i.run_id, r.status, r.finished_at, i.error
                   FROM   batch_items i LEFT JOIN runs r ON r.id = i.run_id
                   WHERE  i.batch_id = ?1
                   ORDER  BY i.item";
        self.read(move |tx| tx.rows(sql, values![batch], read_item)).await
    }

    /// Records an item with its run, unless `max_waiting` runs of its environment are waiting to
    /// start; the future resolves when it is on disk. Runs are stored in the order of these calls.
    pub fn insert_batch_item(
        &self,
        item: NewBatchItem,
        max_waiting: u64,
    ) -> Result<impl Future<Output = Result<ItemInserted, Error>> + Send + 'static, Error> {
        let listeners = self.listeners.clone();
        self.writer.post(move |tx| {
            let waiting = item.run.as_ref().map_or(0, |run| listeners.waiting(run.environment, &tx.effects));
            insert_batch_item(tx, &item, waiting, max_waiting)
        })
    }

    /// Seals a batch if all its items have arrived.
    pub async fn seal_batch(&self, batch: BatchId, now: Timestamp) -> Result<Arrived, Error> {
        let look = "SELECT sealed_at, (SELECT COUNT(*) FROM batch_items WHERE batch_id = ?1)
                    FROM   batches
                    WHERE  id = ?1";
        self.writer
            .write(move |tx| {
                seal(tx, batch, now)?;
                let arrived = tx.row(look, values![batch], |row| {
                    let sealed_at: Option<Timestamp> = row.column()?;
                    Ok(Arrived { is_sealed: sealed_at.is_some(), items: row.column()? })
                })?;
                arrived.ok_or_else(|| Error::Corrupt(format!("{batch} is gone")))
            })
            .await
    }
}

/// Seals a batch if all its items have arrived.
pub(super) fn seal(tx: &Tx<'_>, batch: BatchId, now: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE batches
               SET    sealed_at = ?2
               WHERE  id = ?1 AND sealed_at IS NULL
               AND    run_count = (SELECT COUNT(*) FROM batch_items WHERE batch_id = ?1)";
    tx.execute(sql, values![batch, now]).map(drop)
}

pub(super) fn insert_batch(tx: &Tx<'_>, batch: &NewBatch) -> Result<Announced, Error> {
    let insert =
        "INSERT INTO batches (id, environment_id, run_count, idempotency_key, request_key, parent_id, created_at)
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                  ON CONFLICT (environment_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING";
    let by_key =
        concat!("SELECT ", batch_columns!(), " FROM batches WHERE environment_id = ?1 AND idempotency_key = ?2");
    let (environment, key) = (batch.environment, batch.idempotency_key.as_ref());
    forget_old_keys(tx, batch)?;
    // A try that comes again has used up its token.
    if let Some(older) = batch_of_request(tx, batch)? {
        let is_same = older.run_count == batch.run_count
            && older.idempotency_key == batch.idempotency_key
            && older.parent == batch.parent;
        return Ok(if is_same { Announced::Existing(older) } else { Announced::OtherRequest });
    }
    let request = batch.request_key.as_ref();
    let values = values![batch.id, environment, batch.run_count, key, request, batch.parent, batch.created_at];
    if tx.execute(insert, values)? == 0 {
        let older = tx.row(by_key, values![environment, key], read_batch)?;
        return older
            .map(Announced::Existing)
            .ok_or_else(|| Error::Corrupt("a batch that is in the way is gone".into()));
    }
    if let Some(token) = &batch.one_time_token
        && !use_token(tx, token, batch.created_at)?
    {
        let undo = "DELETE FROM batches WHERE id = ?1";
        tx.execute(undo, values![batch.id])?;
        return Ok(Announced::TokenUsed);
    }
    Ok(Announced::New(Batch {
        id: batch.id,
        run_count: batch.run_count,
        idempotency_key: batch.idempotency_key.clone(),
        parent: batch.parent,
        created_at: batch.created_at,
        sealed_at: None,
    }))
}

/// Frees the keys of a batch where what they name is too old.
fn forget_old_keys(tx: &Tx<'_>, batch: &NewBatch) -> Result<(), Error> {
    let keys = "UPDATE batches
                SET    idempotency_key = NULL
                WHERE  environment_id = ?1 AND idempotency_key = ?2 AND created_at < ?3";
    let requests = "UPDATE batches
                    SET    request_key = NULL
                    WHERE  environment_id = ?1 AND request_key = ?2 AND created_at < ?3";
    for (sql, key, since) in [
        (keys, &batch.idempotency_key, batch.keys_count_since),
        (requests, &batch.request_key, batch.requests_count_since),
    ] {
        if let Some(key) = key {
            tx.execute(sql, values![batch.environment, key, since])?;
        }
    }
    Ok(())
}

/// The batch that an earlier try of the same request announced.
fn batch_of_request(tx: &Tx<'_>, batch: &NewBatch) -> Result<Option<Batch>, Error> {
    let sql = concat!("SELECT ", batch_columns!(), " FROM batches WHERE environment_id = ?1 AND request_key = ?2");
    let Some(key) = &batch.request_key else { return Ok(None) };
    tx.row(sql, values![batch.environment, key], read_batch)
}

pub(super) fn insert_batch_item(
    tx: &mut Tx<'_>,
    item: &NewBatchItem,
    waiting: u64,
    max_waiting: u64,
) -> Result<ItemInserted, Error> {
    let record = "INSERT INTO batch_items (batch_id, item, task_id, run_id, error) VALUES (?1, ?2, ?3, ?4, ?5)
                  ON CONFLICT (batch_id, item) DO NOTHING";
    let point_to = "UPDATE batch_items SET run_id = ?3, found = 1 WHERE batch_id = ?1 AND item = ?2";
    let forget = "DELETE FROM batch_items WHERE batch_id = ?1 AND item = ?2";
    let NewBatchItem { batch, index, task, run } = item;
    let (id, error) = match run {
        Ok(run) => (Some(run.id), None),
        Err(ItemError { code, message }) => (None, Some(format!("{} {message}", code.as_str()))),
    };
    // First: of two that send an item at once, one makes its run.
    if tx.execute(record, values![*batch, *index, task, id, error.as_ref()])? == 0 {
        return Ok(ItemInserted::WasThere);
    }
    let Ok(run) = run else { return Ok(ItemInserted::New) };
    match insert_run(tx, run, waiting, max_waiting)? {
        Inserted::New => {}
        Inserted::Existing { run, .. } => {
            tx.execute(point_to, values![*batch, *index, run])?;
            // The feed of the batch is to show it.
            tx.effects.run_changed(run);
        }
        Inserted::QueueFull { waiting } => {
            tx.execute(forget, values![*batch, *index])?;
            return Ok(ItemInserted::QueueFull { waiting });
        }
        Inserted::TokenUsed | Inserted::ParentGone => {
            return Err(Error::Corrupt("an item of a batch takes no token, and no lease of its own".into()));
        }
    }
    Ok(ItemInserted::New)
}

/// What became of the items of a batch: a thousand at most.
fn count(tx: &Tx<'_>, batch: BatchId) -> Result<BatchCounts, Error> {
    let sql = "SELECT COUNT(CASE WHEN r.status = 'completed' THEN 1 END),
                      COUNT(CASE WHEN r.status <> 'completed' AND r.finished_at IS NOT NULL THEN 1 END),
                      COUNT(CASE WHEN r.id IS NOT NULL AND r.finished_at IS NULL THEN 1 END),
                      COUNT(CASE WHEN r.id IS NULL THEN 1 END)
               FROM   batch_items i LEFT JOIN runs r ON r.id = i.run_id
               WHERE  i.batch_id = ?1";
    let counts = tx.row(sql, values![batch], |row| {
        let (succeeded, failed) = (row.column()?, row.column()?);
        Ok(BatchCounts { succeeded, failed, unfinished: row.column()?, without_run: row.column()? })
    })?;
    Ok(counts.unwrap_or_default())
}

fn read_batch(row: &mut Row<'_>) -> Result<Batch, Error> {
    Ok(Batch {
        id: row.column()?,
        run_count: row.column()?,
        idempotency_key: row.column()?,
        parent: row.column()?,
        created_at: row.column()?,
        sealed_at: row.column()?,
    })
}

fn read_item(row: &mut Row<'_>) -> Result<BatchItem, Error> {
    Ok(BatchItem {
        index: row.column()?,
        task: row.column()?,
        run: row.column()?,
        status: row.parsed_option(Status::parse)?,
        finished_at: row.column()?,
        error: row.parsed_option(|text| {
            let (code, message) = text.split_once(' ')?;
            Some(ItemError { code: ItemErrorCode::parse(code)?, message: message.into() })
        })?,
    })
}
