//! The streams of runs: what a run says bit by bit, and what is said to it.
//!
//! A stream is a sequence of texts under a name, numbered from 0. It begins with its first chunk, and
//! chunks are never changed. Who reads one watches [`Topic::Streams`](super::Topic::Streams).

use jiff::Timestamp;

use super::sql::{Tx, values};
use super::{Error, Storage};
use crate::model::id::RunId;
use crate::model::limits::{MAX_STREAM_BYTES, MAX_STREAM_CHUNKS, MAX_STREAMS};

/// The bytes of a stream are counted with every so many chunks.
const CHUNKS_BETWEEN_COUNTS: u64 = 64;

/// A chunk of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its number.
    pub seq: u64,
    /// When it arrived.
    pub at: Timestamp,
    /// What it says.
    pub data: String,
}

/// Chunks that arrive together.
#[derive(Debug, Clone)]
pub struct NewChunks {
    /// The name of the stream.
    pub stream: String,
    /// The number of the first of them, where the sender counts: those that are there already are
    /// left out then.
    pub first: Option<u64>,
    /// What they say.
    pub data: Vec<String>,
    /// When they arrive.
    pub at: Timestamp,
}

/// What became of chunks that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// They are stored, as far as they were not before.
    Now,
    /// The stream, or the run's number of streams, would be too long: none is stored.
    TooMany,
}

impl Storage {
    /// Appends chunks to a stream of a run that exists, all or none.
    pub async fn append_chunks(&self, run: RunId, chunks: NewChunks) -> Result<Appended, Error> {
        self.writer.write(move |tx| append(tx, run, &chunks)).await
    }

    /// The chunks of a stream after the one with the number `after`, `limit` at most.
    pub async fn chunks(
        &self,
        run: RunId,
        stream: String,
        after: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Chunk>, Error> {
        let sql = "SELECT seq, at, data FROM stream_chunks
                   WHERE  run_id = ?1 AND stream = ?2 AND seq > ?3 ORDER BY seq LIMIT ?4";
        let after = after.map_or(-1, |after| i64::try_from(after).unwrap_or(i64::MAX));
        self.read(move |tx| {
            tx.rows(sql, values![run, &stream, after, limit], |row| {
                Ok(Chunk { seq: row.column()?, at: row.column()?, data: row.column()? })
            })
        })
        .await
    }

    /// The number of the last chunk of a stream, where there is any.
    pub async fn last_chunk(&self, run: RunId, stream: String) -> Result<Option<u64>, Error> {
        self.read(move |tx| last(tx, run, &stream)).await
    }
}

fn append(tx: &mut Tx<'_>, run: RunId, chunks: &NewChunks) -> Result<Appended, Error> {
    let NewChunks { stream, first, data: chunks, at } = chunks;
    let insert = "INSERT INTO stream_chunks (run_id, stream, seq, at, data) VALUES (?1, ?2, ?3, ?4, ?5)";
    let count = "SELECT COALESCE(SUM(OCTET_LENGTH(data)), 0) FROM stream_chunks WHERE run_id = ?1 AND stream = ?2";
    let known = last(tx, run, stream)?;
    let next = known.map_or(0, |last| last + 1);
    let there = first.map_or(0, |first: u64| usize::try_from(next.saturating_sub(first)).unwrap_or(usize::MAX));
    let new = chunks.get(there..).unwrap_or_default();
    let end = next + new.len() as u64;
    if new.is_empty() {
        return Ok(Appended::Now);
    }
    if end > MAX_STREAM_CHUNKS || (known.is_none() && stream_names(tx, run)?.len() >= MAX_STREAMS) {
        return Ok(Appended::TooMany);
    }
    if next / CHUNKS_BETWEEN_COUNTS != end / CHUNKS_BETWEEN_COUNTS {
        let bytes: Option<u64> = tx.row(count, values![run, stream], |row| row.column())?;
        if bytes.is_some_and(|bytes| bytes > MAX_STREAM_BYTES) {
            return Ok(Appended::TooMany);
        }
    }
    for (seq, data) in (next..).zip(new) {
        tx.execute(insert, values![run, stream, seq, *at, data])?;
    }
    if known.is_none() {
        // The run shows the names of its streams.
        tx.effects.run_changed(run);
    }
    tx.effects.stream_changed(run);
    Ok(Appended::Now)
}

fn last(tx: &Tx<'_>, run: RunId, stream: &str) -> Result<Option<u64>, Error> {
    let sql = "SELECT seq FROM stream_chunks WHERE run_id = ?1 AND stream = ?2 ORDER BY seq DESC LIMIT 1";
    tx.row(sql, values![run, stream], |row| row.column())
}

/// The names of a run's streams: one look at the index each, however long they are.
pub(super) fn stream_names(tx: &Tx<'_>, run: RunId) -> Result<Vec<String>, Error> {
    let next = "SELECT stream FROM stream_chunks WHERE run_id = ?1 AND stream > ?2 ORDER BY stream LIMIT 1";
    let mut names: Vec<String> = Vec::new();
    loop {
        let last = names.last().map_or("", String::as_str);
        match tx.row(next, values![run, last], |row| row.column())? {
            Some(name) => names.push(name),
            None => return Ok(names),
        }
    }
}
