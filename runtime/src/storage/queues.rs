//! Queues: how many of their runs may execute at a time, and which runs they hold back.
//!
//! A place in a queue is taken by a run that executes: places are counted from the runs
//! themselves, so that none can be lost. A run whose queue is paused or full when its turn comes is
//! held: it stays queued, but out of the way of the others, until a place of its queue becomes
//! free. Whoever is let go too early is held again, and upkeep lets go of whoever was forgotten.

use std::collections::HashMap;

use jiff::Timestamp;

use super::queue::MAX_UPKEEP_RUNS;
use super::sql::{Row, Tx, values};
use super::{Error, Storage};
use crate::model::digest::Digest;
use crate::model::id::{DeploymentId, EnvironmentId, QueueId, RunId};
use crate::model::run::Run;

/// A queue, with what is in it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its name in the API.
    pub id: QueueId,
    /// `task/<id>` for the own queue of a task.
    pub name: String,
    /// What the newest deployment declares.
    pub declared_limit: Option<u32>,
    /// What somebody put in its place.
    pub override_limit: Option<u32>,
    /// When.
    pub overridden_at: Option<Timestamp>,
    /// Since when none of its runs starts.
    pub paused_at: Option<Timestamp>,
    /// Runs that execute.
    pub running: u64,
    /// Runs that wait their turn.
    pub queued: u64,
}

impl Queue {
    /// Most runs at a time, for every concurrency key.
    pub fn limit(&self) -> Option<u32> {
        self.override_limit.or(self.declared_limit)
    }
}

/// A change of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueChange {
    /// None of its runs starts any more.
    Pause,
    /// Its runs start again.
    Resume,
    /// Another limit than the declared one. `None`: the declared one again.
    Limit(Option<u32>),
}

/// A page of queues and how many there are.
pub type QueuePage = (Vec<Queue>, u64);

macro_rules! queue_columns {
    () => {
        "q.id, q.name, q.declared_limit, q.override_limit, q.overridden_at, q.paused_at,
         (SELECT COUNT(*) FROM runs r
          WHERE  r.environment_id = q.environment_id AND r.queue = q.name AND r.status = 'executing'),
         (SELECT COUNT(*) FROM runs r
          WHERE  r.environment_id = q.environment_id AND r.queue = q.name AND r.status = 'queued')"
    };
}

impl Storage {
    /// The queue of this name.
    pub async fn queue(&self, environment: EnvironmentId, name: String) -> Result<Option<Queue>, Error> {
        let sql = concat!("SELECT ", queue_columns!(), " FROM queues q WHERE q.environment_id = ?1 AND q.name = ?2");
        self.read(move |tx| tx.row(sql, values![environment, &name], read_queue)).await
    }

    /// The name of the queue with this id.
    pub async fn queue_name(&self, environment: EnvironmentId, id: QueueId) -> Result<Option<String>, Error> {
        let sql = "SELECT name FROM queues WHERE id = ?1 AND environment_id = ?2";
        self.read(move |tx| tx.row(sql, values![id, environment], |row| row.column())).await
    }

    /// Queues by name, from `offset` on.
    pub async fn queues(&self, environment: EnvironmentId, offset: u64, limit: u32) -> Result<QueuePage, Error> {
        let sql = concat!(
            "SELECT ",
            queue_columns!(),
            " FROM queues q WHERE q.environment_id = ?1 ORDER BY q.name LIMIT ?2 OFFSET ?3"
        );
        let count = "SELECT COUNT(*) FROM queues WHERE environment_id = ?1";
        self.read(move |tx| {
            let count: Option<u64> = tx.row(count, values![environment], |row| row.column())?;
            Ok((tx.rows(sql, values![environment, limit, offset], read_queue)?, count.unwrap_or(0)))
        })
        .await
    }

    /// Changes a queue. `false`: there is none of this name.
    pub async fn change_queue(
        &self,
        environment: EnvironmentId,
        name: String,
        change: QueueChange,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let pause = "UPDATE queues SET paused_at = COALESCE(paused_at, ?3) WHERE environment_id = ?1 AND name = ?2";
        let resume = "UPDATE queues SET paused_at = NULL WHERE environment_id = ?1 AND name = ?2";
        let limit = "UPDATE queues SET override_limit = ?3, overridden_at = ?4 WHERE environment_id = ?1 AND name = ?2";
        self.writer
            .write(move |tx| {
                let changed = match change {
                    QueueChange::Pause => tx.execute(pause, values![environment, &name, now])?,
                    QueueChange::Resume => tx.execute(resume, values![environment, &name])?,
                    QueueChange::Limit(most) => {
                        tx.execute(limit, values![environment, &name, most, most.map(|_| now)])?
                    }
                };
                tx.effects.held_left();
                Ok(changed == 1)
            })
            .await
    }

    /// Sets the most runs of an environment that execute at a time.
    pub async fn limit_environment(&self, environment: EnvironmentId, limit: Option<u32>) -> Result<(), Error> {
        let sql = "UPDATE environments SET concurrency_limit = ?2 WHERE id = ?1";
        self.writer
            .write(move |tx| {
                tx.effects.held_left();
                tx.execute(sql, values![environment, limit]).map(drop)
            })
            .await
    }
}

/// The name of a queue in the API: it follows from where the queue is and what it is called, so that
/// the first who needs the queue makes it.
fn queue_id(environment: EnvironmentId, name: &str) -> QueueId {
    let digest = Digest::of(format!("{environment}/{name}").as_bytes());
    let (bits, _) = digest.0.split_first_chunk().expect("a digest has 32 bytes");
    QueueId::from_bits(u128::from_be_bytes(*bits))
}

/// Makes sure that the queue that a caller chose is known.
pub(super) fn know_queue(tx: &Tx<'_>, environment: EnvironmentId, name: &str, now: Timestamp) -> Result<(), Error> {
    let sql = "INSERT INTO queues (environment_id, name, id, created_at) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (environment_id, name) DO NOTHING";
    tx.execute(sql, values![environment, name, queue_id(environment, name), now]).map(drop)
}

/// Sets what a deployment that becomes current declares of its tasks' queues. Where two of its
/// tasks share one, the larger limit counts.
pub(super) fn declare_queues(
    tx: &mut Tx<'_>,
    environment: EnvironmentId,
    deployment: DeploymentId,
    now: Timestamp,
) -> Result<(), Error> {
    let declared = "SELECT COALESCE(t.queue_name, 'task/' || t.task_id) AS name, MAX(t.queue_limit)
                    FROM   deployment_tasks t
                    WHERE  t.deployment_id = ?1
                    GROUP BY COALESCE(t.queue_name, 'task/' || t.task_id)";
    let declare =
        "INSERT INTO queues (environment_id, name, id, declared_limit, created_at) VALUES (?1, ?2, ?3, ?4, ?5)
                   ON CONFLICT (environment_id, name) DO UPDATE SET declared_limit = excluded.declared_limit";
    let queues: Vec<(String, Option<u32>)> =
        tx.rows(declared, values![deployment], |row| Ok((row.column()?, row.column()?)))?;
    for (name, limit) in queues {
        tx.execute(declare, values![environment, &name, queue_id(environment, &name), limit, now])?;
    }
    tx.effects.held_left();
    Ok(())
}

fn read_queue(row: &mut Row<'_>) -> Result<Queue, Error> {
    Ok(Queue {
        id: row.column()?,
        name: row.column()?,
        declared_limit: row.column()?,
        override_limit: row.column()?,
        overridden_at: row.column()?,
        paused_at: row.column()?,
        running: row.column()?,
        queued: row.column()?,
    })
}

/// The places that one claim has found, so that each is counted once.
#[derive(Default)]
pub(super) struct Gates {
    queues: HashMap<(EnvironmentId, String, Option<String>), Option<u64>>,
    environments: HashMap<EnvironmentId, Option<u64>>,
}

impl Gates {
    /// Takes a place for a run whose turn it is. `false`: there is none.
    pub(super) fn pass(&mut self, tx: &Tx<'_>, run: &Run) -> Result<bool, Error> {
        let free = self.environments.entry(run.environment);
        let in_environment = match free {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(unknown) => {
                unknown.insert(free_in_environment(tx, run.environment)?)
            }
        };
        let gate = (run.environment, run.queue.clone(), run.concurrency_key.clone());
        let in_queue = match self.queues.entry(gate) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(unknown) => unknown.insert(free_in_queue(tx, run)?),
        };
        if *in_environment == Some(0) || *in_queue == Some(0) {
            return Ok(false);
        }
        for places in [in_environment, in_queue] {
            *places = places.map(|free| free - 1);
        }
        Ok(true)
    }
}

/// Free places of an environment. `None`: as many as one likes.
fn free_in_environment(tx: &Tx<'_>, environment: EnvironmentId) -> Result<Option<u64>, Error> {
    let limit = "SELECT concurrency_limit FROM environments WHERE id = ?1";
    let taken = "SELECT COUNT(*) FROM runs WHERE environment_id = ?1 AND status = 'executing'";
    let limit: Option<u64> = tx.row(limit, values![environment], |row| row.column())?.flatten();
    let Some(limit) = limit else { return Ok(None) };
    let taken: Option<u64> = tx.row(taken, values![environment], |row| row.column())?;
    Ok(Some(limit.saturating_sub(taken.unwrap_or(0))))
}

/// Free places of a run's queue, for its concurrency key.
fn free_in_queue(tx: &Tx<'_>, run: &Run) -> Result<Option<u64>, Error> {
    let queue = "SELECT paused_at, COALESCE(override_limit, declared_limit)
                 FROM   queues WHERE environment_id = ?1 AND name = ?2";
    let taken = "SELECT COUNT(*) FROM runs
                 WHERE  environment_id = ?1 AND queue = ?2 AND COALESCE(concurrency_key, '') = ?3
                 AND    status = 'executing'";
    let queue = tx.row(queue, values![run.environment, &run.queue], |row| {
        Ok((row.column::<Option<Timestamp>>()?, row.column::<Option<u64>>()?))
    })?;
    let Some((paused_at, limit)) = queue else { return Ok(None) };
    let (None, Some(limit)) = (paused_at, limit) else { return Ok(paused_at.map(|_| 0)) };
    let key = run.concurrency_key.as_deref().unwrap_or_default();
    let taken: Option<u64> = tx.row(taken, values![run.environment, &run.queue, key], |row| row.column())?;
    Ok(Some(limit.saturating_sub(taken.unwrap_or(0))))
}

/// Holds back a queued run whose turn it would be.
pub(super) fn hold(tx: &mut Tx<'_>, run: RunId) -> Result<(), Error> {
    tx.effects.held();
    tx.execute("UPDATE runs SET held = 1 WHERE id = ?1 AND status = 'queued'", values![run]).map(drop)
}

/// A place that `run` had is free: lets go of the next run of its queue and key, and, where the
/// environment has a limit, of the next run of the environment.
pub(super) fn place_is_free(tx: &mut Tx<'_>, run: RunId) -> Result<(), Error> {
    let in_queue = "SELECT r.id, r.dequeue_at
                    FROM   runs me
                    JOIN   runs r ON r.environment_id = me.environment_id AND r.queue = me.queue
                                 AND COALESCE(r.concurrency_key, '') = COALESCE(me.concurrency_key, '')
                    WHERE  me.id = ?1 AND r.status = 'queued' AND r.held = 1
                    ORDER BY r.dequeue_at, r.id
                    LIMIT  1";
    let in_environment = "SELECT r.id, r.dequeue_at
                          FROM   runs me
                          JOIN   environments e ON e.id = me.environment_id
                          JOIN   runs r ON r.environment_id = me.environment_id
                          WHERE  me.id = ?1 AND e.concurrency_limit IS NOT NULL AND r.status = 'queued' AND r.held = 1
                          ORDER BY r.dequeue_at, r.id
                          LIMIT  1";
    if !tx.effects.may_hold() {
        return Ok(());
    }
    for sql in [in_queue, in_environment] {
        let next = tx.row(sql, values![run], |row| Ok((row.column()?, row.column()?)))?;
        if let Some((next, dequeue_at)) = next {
            let_go(tx, next, dequeue_at)?;
        }
    }
    Ok(())
}

fn let_go(tx: &mut Tx<'_>, run: RunId, dequeue_at: Timestamp) -> Result<(), Error> {
    tx.execute("UPDATE runs SET held = 0 WHERE id = ?1 AND status = 'queued'", values![run])?;
    tx.effects.ready(dequeue_at);
    Ok(())
}

/// Lets go of held runs whose queue has places for them; `true` where there may be more.
pub(super) fn let_go_of_held(tx: &mut Tx<'_>) -> Result<bool, Error> {
    let queues = "SELECT DISTINCT environment_id, queue, COALESCE(concurrency_key, '')
                  FROM   runs WHERE status = 'queued' AND held = 1";
    let limit = "SELECT COALESCE(q.override_limit, q.declared_limit) -
                        (SELECT COUNT(*) FROM runs r
                         WHERE  r.environment_id = ?1 AND r.queue = ?2 AND COALESCE(r.concurrency_key, '') = ?3
                         AND    r.status = 'executing'),
                        q.paused_at
                 FROM   queues q WHERE q.environment_id = ?1 AND q.name = ?2";
    let held = "SELECT id, dequeue_at FROM runs
                WHERE  status = 'queued' AND held = 1 AND environment_id = ?1 AND queue = ?2
                AND    COALESCE(concurrency_key, '') = ?3
                ORDER BY dequeue_at, id
                LIMIT  ?4";
    let mut more = false;
    let queues: Vec<(EnvironmentId, String, String)> =
        tx.rows(queues, &[], |row| Ok((row.column()?, row.column()?, row.column()?)))?;
    if queues.is_empty() {
        tx.effects.none_held();
    }
    for (environment, queue, key) in queues {
        let free = tx.row(limit, values![environment, &queue, &key], |row| {
            Ok((row.column::<Option<i64>>()?, row.column::<Option<Timestamp>>()?))
        })?;
        let places = match free {
            Some((_, Some(_paused))) => 0,
            Some((Some(free), None)) => u32::try_from(free).unwrap_or(0).min(MAX_UPKEEP_RUNS),
            Some((None, None)) | None => MAX_UPKEEP_RUNS,
        };
        let next: Vec<(RunId, Timestamp)> =
            tx.rows(held, values![environment, &queue, &key, places], |row| Ok((row.column()?, row.column()?)))?;
        more |= next.len() == MAX_UPKEEP_RUNS as usize;
        for (run, dequeue_at) in next {
            let_go(tx, run, dequeue_at)?;
        }
    }
    Ok(more)
}
