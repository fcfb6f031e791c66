//! Places in queues: which runs may start, and which are held back until a place is free.
//!
//! A place is taken by a run that executes: places are counted from the runs themselves, so that
//! none can be lost. A run whose queue is paused or full when its turn comes is held: it stays
//! queued, but out of the way of the others, until a place becomes free. Whoever is let go too early
//! is held again, and upkeep lets go of whoever was forgotten. Counters of places would leak, and
//! asking every queue at every claim would have every run pay for those that may not start.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use jiff::Timestamp;

use super::Error;
use super::sql::{Row, Tx, values};
use super::upkeep::MAX_UPKEEP_RUNS;
use crate::model::id::{EnvironmentId, Id, RunId};
use crate::model::run::Run;

/// Runs of an environment that a free place is offered to, oldest first; where none of them can pass,
/// runs and gates of each queue.
const MAX_OFFERS: u32 = 50;
/// Gates that one pass of upkeep looks at.
const MAX_UPKEEP_GATES: usize = 500;

/// Where a run has to pass: its environment, its queue, and its concurrency key or nothing.
pub(super) type Gate = (EnvironmentId, String, String);

fn gate_of(run: &Run) -> Gate {
    (run.environment, run.queue.clone(), run.concurrency_key.clone().unwrap_or_default())
}

/// The free places that were found, each counted once.
#[derive(Default)]
pub(super) struct Places {
    queues: HashMap<Gate, Option<u64>>,
    environments: HashMap<EnvironmentId, Option<u64>>,
}

impl Places {
    /// Takes a place for a run whose turn it is, behind the gate that it answers with. `None`: there
    /// is no place.
    pub(super) fn take(&mut self, tx: &Tx<'_>, run: &Run) -> Result<Option<Gate>, Error> {
        let gate = gate_of(run);
        if self.free(tx, &gate)? == 0 {
            return Ok(None);
        }
        self.took(&gate, 1);
        Ok(Some(gate))
    }

    /// Puts a place back that was taken for `run`, which needs none after all, and offers it to
    /// those who were held before.
    pub(super) fn put_back(&mut self, tx: &mut Tx<'_>, gate: &Gate, run: RunId) -> Result<(), Error> {
        self.change(gate, |free| free + 1);
        place_is_free(tx, run)
    }

    /// Free places behind a gate, as many as anyone asks for.
    fn free(&mut self, tx: &Tx<'_>, gate: &Gate) -> Result<u64, Error> {
        let in_environment = self.free_in(tx, gate.0)?;
        let in_queue = match self.queues.entry(gate.clone()) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => *unknown.insert(free_in_queue(tx, gate)?),
        };
        Ok(in_environment.unwrap_or(u64::MAX).min(in_queue.unwrap_or(u64::MAX)))
    }

    /// Free places of an environment. `None`: as many as one likes.
    fn free_in(&mut self, tx: &Tx<'_>, environment: EnvironmentId) -> Result<Option<u64>, Error> {
        Ok(match self.environments.entry(environment) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => *unknown.insert(free_in_environment(tx, environment)?),
        })
    }

    fn took(&mut self, gate: &Gate, count: u64) {
        self.change(gate, |free| free.saturating_sub(count));
    }

    fn change(&mut self, gate: &Gate, change: impl Fn(u64) -> u64) {
        let known = [self.environments.get_mut(&gate.0), self.queues.get_mut(gate)];
        for places in known.into_iter().flatten() {
            *places = places.map(&change);
        }
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

/// Free places of a queue, for a concurrency key.
fn free_in_queue(tx: &Tx<'_>, (environment, queue, key): &Gate) -> Result<Option<u64>, Error> {
    let found = "SELECT paused_at, COALESCE(override_limit, declared_limit)
                 FROM   queues WHERE environment_id = ?1 AND name = ?2";
    let taken = "SELECT COUNT(*) FROM runs
                 WHERE  environment_id = ?1 AND queue = ?2 AND COALESCE(concurrency_key, '') = ?3
                 AND    status = 'executing'";
    let found = tx.row(found, values![*environment, queue], |row| {
        Ok((row.column::<Option<Timestamp>>()?, row.column::<Option<u64>>()?))
    })?;
    let Some((paused_at, limit)) = found else { return Ok(None) };
    let (None, Some(limit)) = (paused_at, limit) else { return Ok(paused_at.map(|_| 0)) };
    let taken: Option<u64> = tx.row(taken, values![*environment, queue, key], |row| row.column())?;
    Ok(Some(limit.saturating_sub(taken.unwrap_or(0))))
}

/// Holds back a queued run whose turn it would be.
pub(super) fn hold(tx: &mut Tx<'_>, run: RunId) -> Result<(), Error> {
    tx.effects.held();
    tx.execute("UPDATE runs SET held = 1 WHERE id = ?1 AND status = 'queued'", values![run]).map(drop)
}

/// A place that `run` had is free: lets go of the next run of its gate or, where the environment has
/// a limit, of the run of the environment that has waited longest and can pass.
pub(super) fn place_is_free(tx: &mut Tx<'_>, run: RunId) -> Result<(), Error> {
    if !tx.effects.may_hold() {
        return Ok(());
    }
    let gate = "SELECT environment_id, queue, COALESCE(concurrency_key, '') FROM runs WHERE id = ?1";
    let Some(gate) = tx.row(gate, values![run], read_gate)? else { return Ok(()) };
    let mut places = Places::default();
    if let Some(free) = places.free_in(tx, gate.0)? {
        return let_go_of_oldest(tx, &mut places, gate.0, free.min(1));
    }
    let next = if places.free(tx, &gate)? > 0 { heads(tx, &gate, 1)?.pop() } else { None };
    next.map_or(Ok(()), |(dequeue_at, run)| let_go(tx, run, dequeue_at))
}

/// A held run with its place in the queue, and the gate where it is held.
type Held = ((Timestamp, RunId), Gate);

/// Lets go of the runs of an environment that have waited longest of those that can pass, `most` at
/// most.
fn let_go_of_oldest(tx: &mut Tx<'_>, places: &mut Places, environment: EnvironmentId, most: u64) -> Result<(), Error> {
    let sql = "SELECT dequeue_at, id, queue, COALESCE(concurrency_key, '') FROM runs
               WHERE  environment_id = ?1 AND status = 'queued' AND held = 1
               ORDER BY dequeue_at, id
               LIMIT  ?2";
    let most = u32::try_from(most).unwrap_or(u32::MAX).min(MAX_UPKEEP_RUNS);
    if most == 0 {
        return Ok(());
    }
    let looked_at = most.max(MAX_OFFERS);
    let oldest: Vec<Held> = tx.rows(sql, values![environment, looked_at], |row| {
        Ok(((row.column()?, row.column()?), (environment, row.column()?, row.column()?)))
    })?;
    let are_all = oldest.len() < looked_at as usize;
    if let_pass(tx, places, oldest, most)? || are_all {
        return Ok(());
    }
    let_pass(tx, places, offers(tx, environment)?, most).map(drop)
}

/// Runs of an environment that may pass although none of the oldest can, in the order in which they
/// wait: the oldest of each queue, and the first of each gate, as far as there are not too many.
fn offers(tx: &Tx<'_>, environment: EnvironmentId) -> Result<Vec<Held>, Error> {
    let sql = "SELECT dequeue_at, id, COALESCE(concurrency_key, '') FROM runs
               WHERE  environment_id = ?1 AND queue = ?2 AND status = 'queued' AND held = 1
               ORDER BY dequeue_at, id
               LIMIT  ?3";
    let mut offers: Vec<Held> = Vec::new();
    let mut next = next_queue(tx, environment, "")?;
    let (mut queue, mut gates_of_queue) = (String::new(), 0);
    for _ in 0..MAX_UPKEEP_GATES {
        let Some(gate) = next.filter(|gate| gate.0 == environment) else { break };
        if gate.1 != queue {
            queue.clone_from(&gate.1);
            gates_of_queue = 0;
            if is_closed(tx, &gate)? {
                next = next_queue(tx, environment, &queue)?;
                continue;
            }
            offers.extend(tx.rows(sql, values![environment, &queue, MAX_OFFERS], |row| {
                Ok(((row.column()?, row.column()?), (environment, queue.clone(), row.column()?)))
            })?);
        }
        offers.extend(heads(tx, &gate, 1)?.into_iter().map(|run| (run, gate.clone())));
        gates_of_queue += 1;
        next = if gates_of_queue < MAX_OFFERS { next_gate(tx, &gate)? } else { next_queue(tx, environment, &queue)? };
    }
    offers.sort();
    offers.dedup();
    Ok(offers)
}

/// Lets go of those of `held` that can pass, in their order. `false`: none can.
fn let_pass(tx: &mut Tx<'_>, places: &mut Places, held: Vec<Held>, most: u32) -> Result<bool, Error> {
    let mut passed = 0;
    for ((dequeue_at, run), gate) in held {
        if passed < most && places.free(tx, &gate)? > 0 {
            places.took(&gate, 1);
            let_go(tx, run, dequeue_at)?;
            passed += 1;
        }
    }
    Ok(passed > 0)
}

/// Whether a queue lets nobody pass, whatever the key.
fn is_closed(tx: &Tx<'_>, (environment, queue, _): &Gate) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM queues
               WHERE  environment_id = ?1 AND name = ?2
               AND    (paused_at IS NOT NULL OR COALESCE(override_limit, declared_limit) = 0)";
    Ok(tx.row(sql, values![*environment, queue], |row| row.column::<i64>())?.is_some())
}

/// The next gate at which a run is held, after this one.
fn next_gate(tx: &Tx<'_>, (environment, queue, key): &Gate) -> Result<Option<Gate>, Error> {
    let sql = "SELECT environment_id, queue, COALESCE(concurrency_key, '') FROM runs
               WHERE  status = 'queued' AND held = 1 AND environment_id = ?1 AND queue = ?2
               AND    COALESCE(concurrency_key, '') > ?3
               ORDER BY COALESCE(concurrency_key, '')
               LIMIT  1";
    match tx.row(sql, values![*environment, queue, key], read_gate)? {
        Some(gate) => Ok(Some(gate)),
        None => next_queue(tx, *environment, queue),
    }
}

/// The first gate of the next queue, or of the next environment.
fn next_queue(tx: &Tx<'_>, environment: EnvironmentId, queue: &str) -> Result<Option<Gate>, Error> {
    let sql = "SELECT environment_id, queue, COALESCE(concurrency_key, '') FROM runs
               WHERE  status = 'queued' AND held = 1 AND environment_id = ?1 AND queue > ?2
               ORDER BY queue, COALESCE(concurrency_key, '')
               LIMIT  1";
    match tx.row(sql, values![environment, queue], read_gate)? {
        Some(gate) => Ok(Some(gate)),
        None => next_environment(tx, environment),
    }
}

fn next_environment(tx: &Tx<'_>, environment: EnvironmentId) -> Result<Option<Gate>, Error> {
    let sql = "SELECT environment_id, queue, COALESCE(concurrency_key, '') FROM runs
               WHERE  status = 'queued' AND held = 1 AND environment_id > ?1
               ORDER BY environment_id, queue, COALESCE(concurrency_key, '')
               LIMIT  1";
    tx.row(sql, values![environment], read_gate)
}

/// The runs at a gate whose turn is next.
fn heads(tx: &Tx<'_>, (environment, queue, key): &Gate, limit: u32) -> Result<Vec<(Timestamp, RunId)>, Error> {
    let sql = "SELECT dequeue_at, id FROM runs
               WHERE  status = 'queued' AND held = 1 AND environment_id = ?1 AND queue = ?2
               AND    COALESCE(concurrency_key, '') = ?3
               ORDER BY dequeue_at, id
               LIMIT  ?4";
    tx.rows(sql, values![*environment, queue, key, limit], |row| Ok((row.column()?, row.column()?)))
}

fn let_go(tx: &mut Tx<'_>, run: RunId, dequeue_at: Timestamp) -> Result<(), Error> {
    tx.execute("UPDATE runs SET held = 0 WHERE id = ?1 AND status = 'queued'", values![run])?;
    tx.effects.ready(dequeue_at);
    Ok(())
}

/// Lets go of held runs for which there are places, gate after gate behind `start`, where the last
/// pass stopped; in an environment with a limit, oldest first. `true` where there are more gates to look
/// at now.
pub(super) fn let_go_of_held(tx: &mut Tx<'_>, start: Option<Gate>) -> Result<bool, Error> {
    let is_first = start.is_none();
    let mut next = next_gate(tx, &start.unwrap_or((EnvironmentId::FIRST, String::new(), String::new())))?;
    if is_first && next.is_none() {
        tx.effects.none_held();
    }
    let mut places = Places::default();
    let mut last = None;
    for _ in 0..MAX_UPKEEP_GATES {
        let Some(gate) = next else { break };
        next = if let Some(free) = places.free_in(tx, gate.0)? {
            let_go_of_oldest(tx, &mut places, gate.0, free)?;
            next_environment(tx, gate.0)?
        } else if is_closed(tx, &gate)? {
            next_queue(tx, gate.0, &gate.1)?
        } else {
            let free = places.free(tx, &gate)?.min(u64::from(MAX_UPKEEP_RUNS));
            let heads = heads(tx, &gate, u32::try_from(free).unwrap_or(MAX_UPKEEP_RUNS))?;
            places.took(&gate, heads.len() as u64);
            for (dequeue_at, run) in heads {
                let_go(tx, run, dequeue_at)?;
            }
            next_gate(tx, &gate)?
        };
        last = Some(gate);
    }
    let more = next.is_some();
    tx.effects.set_last_gate(last.filter(|_| more));
    Ok(more)
}

fn read_gate(row: &mut Row<'_>) -> Result<Gate, Error> {
    Ok((row.column()?, row.column()?, row.column()?))
}
