//! Places in queues: which runs may start, and which are held back until a place is free.
//!
//! A place is taken by a run that executes: places are counted from the runs themselves, so that
//! none can be lost. A run whose queue is paused or full when its turn comes is held: it stays
//! queued, but out of the way of the others, until a place becomes free. Whoever is let go too early
//! is held again, and upkeep lets go of whoever was forgotten.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use jiff::Timestamp;

use super::Error;
use super::sql::{Row, Tx, values};
use super::upkeep::MAX_UPKEEP_RUNS;
use crate::model::id::{EnvironmentId, Id, RunId};
use crate::model::run::Run;

/// Gates of an environment that a free place is offered to.
const MAX_OFFERS: usize = 50;
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
        let known = [self.environments.get_mut(&gate.0), self.queues.get_mut(&gate)];
        for places in known.into_iter().flatten() {
            *places = places.map(|free| free.saturating_sub(1));
        }
        Ok(Some(gate))
    }

    /// Puts a place back that was taken for `run`, which needs none after all, and offers it to
    /// those who were held before.
    pub(super) fn put_back(&mut self, tx: &mut Tx<'_>, gate: &Gate, run: RunId) -> Result<(), Error> {
        let known = [self.environments.get_mut(&gate.0), self.queues.get_mut(gate)];
        for places in known.into_iter().flatten() {
            *places = places.map(|free| free + 1);
        }
        place_is_free(tx, run)
    }

    /// Takes a place of an environment. `false`: there is none.
    fn take_in_environment(&mut self, environment: EnvironmentId) -> bool {
        match self.environments.get_mut(&environment) {
            Some(Some(0)) => false,
            Some(Some(free)) => {
                *free -= 1;
                true
            }
            Some(None) | None => true,
        }
    }

    /// Free places behind a gate, as many as anyone asks for.
    fn free(&mut self, tx: &Tx<'_>, gate: &Gate) -> Result<u64, Error> {
        let in_environment = match self.environments.entry(gate.0) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => *unknown.insert(free_in_environment(tx, gate.0)?),
        };
        let in_queue = match self.queues.entry(gate.clone()) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => *unknown.insert(free_in_queue(tx, gate)?),
        };
        Ok(in_environment.unwrap_or(u64::MAX).min(in_queue.unwrap_or(u64::MAX)))
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
    let is_limited = free_in_environment(tx, gate.0)?.is_some();
    let gates = if is_limited { gates_after(tx, &gate)? } else { vec![gate] };
    let mut oldest: Option<(Timestamp, RunId)> = None;
    for gate in gates {
        if places.free(tx, &gate)? > 0 {
            oldest = oldest.into_iter().chain(heads(tx, &gate, 1)?).min();
        }
    }
    match oldest {
        Some((dequeue_at, run)) => let_go(tx, run, dequeue_at),
        None => Ok(()),
    }
}

/// Gates of an environment at which runs are held, [`MAX_OFFERS`] at most: those after `start`, then
/// those from the first on, so that each of many has its turn.
fn gates_after(tx: &Tx<'_>, start: &Gate) -> Result<Vec<Gate>, Error> {
    let mut gates = Vec::new();
    let mut before = start.clone();
    let mut is_second_round = false;
    while gates.len() < MAX_OFFERS {
        match next_gate(tx, &before)?.filter(|gate| gate.0 == start.0) {
            Some(gate) if !is_second_round || gate <= *start => {
                before.clone_from(&gate);
                gates.push(gate);
            }
            None if !is_second_round => {
                is_second_round = true;
                before = (start.0, String::new(), String::new());
            }
            _ => break,
        }
    }
    Ok(gates)
}

/// The next gate at which a run is held.
fn next_gate(tx: &Tx<'_>, (environment, queue, key): &Gate) -> Result<Option<Gate>, Error> {
    let same_queue = "SELECT environment_id, queue, COALESCE(concurrency_key, '') FROM runs
                      WHERE  status = 'queued' AND held = 1 AND environment_id = ?1 AND queue = ?2
                      AND    COALESCE(concurrency_key, '') > ?3
                      ORDER BY COALESCE(concurrency_key, '')
                      LIMIT  1";
    let same_environment = "SELECT environment_id, queue, COALESCE(concurrency_key, '') FROM runs
                            WHERE  status = 'queued' AND held = 1 AND environment_id = ?1 AND queue > ?2
                            ORDER BY queue, COALESCE(concurrency_key, '')
                            LIMIT  1";
    let any = "SELECT environment_id, queue, COALESCE(concurrency_key, '') FROM runs
               WHERE  status = 'queued' AND held = 1 AND environment_id > ?1
               ORDER BY environment_id, queue, COALESCE(concurrency_key, '')
               LIMIT  1";
    if let Some(gate) = tx.row(same_queue, values![*environment, queue, key], read_gate)? {
        return Ok(Some(gate));
    }
    if let Some(gate) = tx.row(same_environment, values![*environment, queue], read_gate)? {
        return Ok(Some(gate));
    }
    tx.row(any, values![*environment], read_gate)
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

/// Lets go of held runs for which there are places, the oldest first, gate after gate from where the
/// last pass stopped; `true` where there are more gates to look at now.
pub(super) fn let_go_of_held(tx: &mut Tx<'_>) -> Result<bool, Error> {
    let start = tx.effects.last_gate();
    let is_first = start.is_none();
    let mut before = start.unwrap_or((EnvironmentId::FIRST, String::new(), String::new()));
    let mut places = Places::default();
    let mut next: Vec<(Timestamp, RunId, EnvironmentId)> = Vec::new();
    let mut is_last = false;
    for looked_at in 0..MAX_UPKEEP_GATES {
        let Some(gate) = next_gate(tx, &before)? else {
            if is_first && looked_at == 0 {
                tx.effects.none_held();
            }
            is_last = true;
            break;
        };
        let free = places.free(tx, &gate)?.min(u64::from(MAX_UPKEEP_RUNS));
        let heads = heads(tx, &gate, u32::try_from(free).unwrap_or(MAX_UPKEEP_RUNS))?;
        next.extend(heads.into_iter().map(|(dequeue_at, run)| (dequeue_at, run, gate.0)));
        before = gate;
    }
    next.sort_unstable();
    for (dequeue_at, run, environment) in next {
        if places.take_in_environment(environment) {
            let_go(tx, run, dequeue_at)?;
        }
    }
    tx.effects.set_last_gate((!is_last).then_some(before));
    Ok(!is_last)
}

fn read_gate(row: &mut Row<'_>) -> Result<Gate, Error> {
    Ok((row.column()?, row.column()?, row.column()?))
}
