//! Wait tokens, which somebody outside completes.
//!
//! A token ends once: one statement, which expects it to wait, makes it completed or timed out.
//! Its time is over at its own moment and not when upkeep looks, so that nobody can complete it
//! after that. [`end`] is where both ends pass, and where the runs are woken that wait for it.

use std::collections::HashMap;

use jiff::Timestamp;

use super::page::{Page, Place};
use super::runs::{parse_tags, tags_text};
use super::search::{Condition, Search, Things};
use super::sql::{Row, Tx, values};
use super::upkeep::MAX_UPKEEP_RUNS;
use super::wakes::wake_waiters_of_token;
use super::{Error, Storage};
use crate::model::id::{EnvironmentId, WaitpointId};
use crate::model::waitpoint::WaitpointStatus;

const WAITPOINTS: Things = Things { table: "waitpoints", tags: "waitpoint_tags", tagged: "waitpoint_id" };

/// A wait token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waitpoint {
    /// Its name.
    pub id: WaitpointId,
    /// Where it belongs.
    pub environment: EnvironmentId,
    /// How far it is.
    pub status: WaitpointStatus,
    /// What it is found by.
    pub tags: Vec<String>,
    /// The caller's key, until a younger token has it.
    pub idempotency_key: Option<String>,
    /// From then on the key makes another token.
    pub key_expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its time is over. `None`: never.
    pub timeout_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// What it was completed with, as JSON text. `None`: nothing, or it is not completed.
    pub output: Option<String>,
}

/// A token that is to be stored.
#[derive(Debug, Clone)]
pub struct NewWaitpoint {
    /// Its name.
    pub id: WaitpointId,
    /// Where it belongs.
    pub environment: EnvironmentId,
    /// What it is found by.
    pub tags: Vec<String>,
    /// Names the call that makes it: when that is done again, it finds the token.
    pub call_key: Option<String>,
    /// A key that finds this token instead of making another, until that moment.
    pub idempotency: Option<(String, Timestamp)>,
    /// Now.
    pub created_at: Timestamp,
    /// When its time is over.
    pub timeout_at: Option<Timestamp>,
}

/// Which tokens a list shows; what is empty restricts nothing.
#[derive(Debug, Clone, Default)]
pub struct WaitpointFilter {
    /// One of these.
    pub statuses: Vec<WaitpointStatus>,
    /// The one with this key.
    pub idempotency_key: Option<String>,
    /// With one of these tags.
    pub tags: Vec<String>,
    /// Made at this moment or later.
    pub from: Option<Timestamp>,
    /// Made at this moment or earlier.
    pub to: Option<Timestamp>,
}

/// What became of a wish to store a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// It is stored.
    New(Waitpoint),
    /// Its key has found this one.
    Existing(Waitpoint),
    /// As many tokens of the environment wait as may.
    TooMany,
}

/// What became of a wish to complete a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completed {
    /// It is completed now.
    Now,
    /// It had ended before, and stays as it was.
    Before,
    /// There is no such token.
    NoSuchWaitpoint,
}

macro_rules! waitpoint_columns {
    () => {
        waitpoint_columns!("output")
    };
    (without_output) => {
        waitpoint_columns!("NULL")
    };
    ($output:literal) => {
        concat!(
            "id, environment_id, status, tags, idempotency_key, key_expires_at, created_at, timeout_at, completed_at, ",
            $output
        )
    };
}

impl Storage {
    /// Stores a token, unless its key finds one. At most `max_waiting` of an environment may wait.
    pub async fn insert_waitpoint(&self, new: NewWaitpoint, max_waiting: u64) -> Result<Stored, Error> {
        let listeners = self.listeners.clone();
        self.writer
            .write(move |tx| {
                let has_room = listeners.waiting_tokens(new.environment, &tx.effects) < max_waiting;
                insert(tx, &new, has_room)
            })
            .await
    }

    /// A token.
    pub async fn waitpoint(&self, id: WaitpointId) -> Result<Option<Waitpoint>, Error> {
        self.read(move |tx| waitpoint(tx, id)).await
    }

    /// A page of an environment's tokens, newest first, without their outputs.
    pub async fn waitpoints(
        &self,
        environment: EnvironmentId,
        filter: WaitpointFilter,
        place: Place<WaitpointId>,
        limit: u32,
    ) -> Result<Page<Waitpoint, WaitpointId>, Error> {
        self.read(move |tx| list(tx, environment, &filter, place, limit)).await
    }

    /// Completes a token that waits and whose time is not over at `now`. `output` is JSON text.
    pub async fn complete_waitpoint(
        &self,
        id: WaitpointId,
        output: Option<String>,
        now: Timestamp,
    ) -> Result<Completed, Error> {
        self.writer
            .write(move |tx| {
                let Some(found) = waitpoint(tx, id)? else { return Ok(Completed::NoSuchWaitpoint) };
                let ended = end(tx, &found, Ending::Completed(output.as_deref()), now)?;
                Ok(if ended { Completed::Now } else { Completed::Before })
            })
            .await
    }
}

fn insert(tx: &mut Tx<'_>, new: &NewWaitpoint, has_room: bool) -> Result<Stored, Error> {
    let forget = "UPDATE waitpoints SET idempotency_key = NULL, key_expires_at = NULL
                  WHERE  environment_id = ?1 AND idempotency_key = ?2 AND key_expires_at <= ?3";
    let by_key =
        concat!("SELECT ", waitpoint_columns!(), " FROM waitpoints WHERE environment_id = ?1 AND idempotency_key = ?2");
    let insert = "INSERT INTO waitpoints (
                      id, environment_id, status, tags, idempotency_key, key_expires_at, created_at, timeout_at, call_key)
                  VALUES (?1, ?2, 'waiting', ?3, ?4, ?5, ?6, ?7, ?8)";
    let by_call = concat!("SELECT ", waitpoint_columns!(), " FROM waitpoints WHERE call_key = ?1");
    let tag = "INSERT INTO waitpoint_tags (environment_id, tag, waitpoint_id) VALUES (?1, ?2, ?3)
               ON CONFLICT (environment_id, tag, waitpoint_id) DO NOTHING";
    let NewWaitpoint { id, environment, tags, call_key, idempotency, created_at, timeout_at } = new;
    if let Some(call) = call_key
        && let Some(made) = tx.row(by_call, values![call], read_waitpoint)?
    {
        return Ok(Stored::New(made));
    }
    let (key, key_expires_at) = idempotency.clone().unzip();
    if let Some(key) = &key {
        tx.execute(forget, values![*environment, key, *created_at])?;
        if let Some(existing) = tx.row(by_key, values![*environment, key], read_waitpoint)? {
            return Ok(Stored::Existing(existing));
        }
    }
    if !has_room {
        return Ok(Stored::TooMany);
    }
    let text = tags_text(tags);
    let values =
        values![*id, *environment, text, key.as_ref(), key_expires_at, *created_at, *timeout_at, call_key.as_ref()];
    tx.execute(insert, values)?;
    for name in tags {
        tx.execute(tag, values![*environment, name, *id])?;
    }
    tx.effects.tokens(*environment, 1);
    if let Some(at) = timeout_at {
        tx.effects.timer_set(*at);
    }
    let stored = waitpoint(tx, *id)?.ok_or_else(|| Error::Corrupt(format!("{id} was not stored")))?;
    Ok(Stored::New(stored))
}

fn waitpoint(tx: &Tx<'_>, id: WaitpointId) -> Result<Option<Waitpoint>, Error> {
    let sql = concat!("SELECT ", waitpoint_columns!(), " FROM waitpoints WHERE id = ?1");
    tx.row(sql, values![id], read_waitpoint)
}

/// How a token ends.
enum Ending<'o> {
    /// With this JSON text, or with nothing.
    Completed(Option<&'o str>),
    TimedOut,
}

/// Ends a token that waits: completes it while its time is not over, or times it out when it is.
/// `false`: it does not wait, or it is too late or too early; nothing changed.
///
/// Every end of a token comes through here, once.
fn end(tx: &mut Tx<'_>, found: &Waitpoint, ending: Ending<'_>, now: Timestamp) -> Result<bool, Error> {
    let complete = "UPDATE waitpoints
                    SET    completed_at = ?2, status = 'completed', output = ?3
                    WHERE  id = ?1 AND status = 'waiting' AND (timeout_at IS NULL OR timeout_at > ?2)";
    let time_out = "UPDATE waitpoints
                    SET    completed_at = ?2, status = 'timed-out', output_is_error = 1
                    WHERE  id = ?1 AND status = 'waiting' AND timeout_at <= ?2";
    let changed = match ending {
        Ending::Completed(output) => tx.execute(complete, values![found.id, now, output])?,
        Ending::TimedOut => tx.execute(time_out, values![found.id, now])?,
    };
    let ended = changed == 1;
    if ended {
        tx.effects.tokens(found.environment, -1);
        wake_waiters_of_token(tx, found.id, now)?;
    }
    Ok(ended)
}

/// Tokens whose time is over at `now` time out: as many as one pass of upkeep takes. Answers with
/// how many that were.
pub(super) fn time_out(tx: &mut Tx<'_>, now: Timestamp) -> Result<usize, Error> {
    let sql = concat!(
        "SELECT ",
        waitpoint_columns!(without_output),
        " FROM waitpoints
          WHERE  status = 'waiting' AND timeout_at IS NOT NULL AND timeout_at <= ?1
          ORDER BY timeout_at, id
          LIMIT  ?2"
    );
    let over = tx.rows(sql, values![now, MAX_UPKEEP_RUNS], read_waitpoint)?;
    for found in &over {
        end(tx, found, Ending::TimedOut, now)?;
    }
    Ok(over.len())
}

/// How many tokens wait, by environment.
pub(super) fn count_waiting_tokens(tx: &Tx<'_>) -> Result<HashMap<EnvironmentId, i64>, Error> {
    let sql = "SELECT environment_id, COUNT(*) FROM waitpoints WHERE status = 'waiting' GROUP BY environment_id";
    Ok(tx.rows(sql, &[], |row| Ok((row.column()?, row.column()?)))?.into_iter().collect())
}

fn list(
    tx: &Tx<'_>,
    environment: EnvironmentId,
    filter: &WaitpointFilter,
    place: Place<WaitpointId>,
    limit: u32,
) -> Result<Page<Waitpoint, WaitpointId>, Error> {
    let sql = concat!(
        "SELECT ",
        waitpoint_columns!(without_output),
        " FROM waitpoints WHERE id = ?1 AND environment_id = ?2"
    );
    let mut conditions = Vec::new();
    conditions.extend(filter.idempotency_key.clone().map(|key| Condition::Column("idempotency_key", vec![key])));
    if !filter.tags.is_empty() {
        conditions.push(Condition::Tag(filter.tags.clone()));
    }
    if !filter.statuses.is_empty() {
        let words = filter.statuses.iter().map(|status| status.as_str().to_owned()).collect();
        conditions.push(Condition::Column("status", words));
    }
    let between = place.range(filter.from, filter.to);
    let search = Search { things: &WAITPOINTS, environment, conditions: &conditions, place, between };
    search.find(tx, limit)?.read(|id| tx.row(sql, values![id, environment], read_waitpoint))
}

fn read_waitpoint(row: &mut Row<'_>) -> Result<Waitpoint, Error> {
    Ok(Waitpoint {
        id: row.column()?,
        environment: row.column()?,
        status: row.parsed(WaitpointStatus::parse)?,
        tags: row.parsed(parse_tags)?,
        idempotency_key: row.column()?,
        key_expires_at: row.column()?,
        created_at: row.column()?,
        timeout_at: row.column()?,
        completed_at: row.column()?,
        output: row.column()?,
    })
}
