//! The queue: claiming runs, and giving them back. How attempts end is in `settlements`.
//!
//! A claim takes a lease: the pair of a run and a number that grows with every claim. Whatever is
//! written about an attempt names its lease, and is refused when the run has been claimed again,
//! canceled or settled since. A worker proves that it lives by one row of its own
//! ([`Storage::renew`]), which costs the same however many runs it executes; the runs of a worker that
//! does not are lost, and are queued again. `lease` counts claims and `attempt` attempts: one that was
//! interrupted, lost or waited does not count, and the fence still grows.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::effects::Effects;
use super::places::{Places, hold};
use super::runs::{Event, add_event, packet, read_run, run_columns};
use super::settlements::{AttemptEnd, settle};
use super::sql::{Row, Tx, values};
use super::{Error, Storage};
use crate::model::attempt::{Settlement, after_loss};
use crate::model::id::{DeploymentId, EnvironmentId, RunId, WorkerId};
use crate::model::limits::{MAX_CLAIMED_PAYLOAD_BYTES, PENDING_TTL};
use crate::model::run::{Packet, Run, Status, later};

/// Runs that one claim looks at, where queues hold some of them back.
const MAX_CLAIM_CANDIDATES: usize = 1_000;

/// A worker that is ready for runs.
#[derive(Debug, Clone, Copy)]
pub struct ClaimRequest {
    /// Who asks.
    pub worker: WorkerId,
    /// The most runs it can take, at least 1.
    pub max_runs: usize,
}

/// The right to say how an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The run.
    pub run: RunId,
    /// Where it runs.
    pub environment: EnvironmentId,
    /// Grows with every claim of the run.
    pub number: u64,
    /// The attempt, from 1.
    pub attempt: u32,
}

/// A run that has been claimed, and what its attempt needs.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// To be named when the attempt ends.
    pub lease: Lease,
    /// As it is now: executing.
    pub run: Run,
    /// What the task is given.
    pub payload: Packet,
    /// How often the run was lost before.
    pub losses: u32,
    /// Whether the attempt has waited before: it goes on where its journal ends.
    pub resumes: bool,
    /// Whether it has, but its journal is not whole: only its guest in memory can go on.
    pub has_lost_journal: bool,
}

/// A claim that waits in the writer; a future of the runs.
///
/// Dropping it gives up, but not the runs that were claimed just then: [`Self::give_up`] does both.
#[derive(Debug)]
pub struct PendingClaim {
    pub(super) answer: oneshot::Receiver<Result<Vec<Claimed>, Error>>,
}

impl PendingClaim {
    /// Gives up, and answers with the runs that were claimed before that took effect.
    pub fn give_up(mut self) -> Vec<Claimed> {
        self.answer.close();
        self.answer.try_recv().ok().and_then(Result::ok).unwrap_or_default()
    }
}

impl Future for PendingClaim {
    type Output = Result<Vec<Claimed>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map(|answer| answer.unwrap_or(Err(Error::Closed)))
    }
}

impl Storage {
    /// Asks for up to `request.max_runs` runs, in the order of the queue, as soon as there are any.
    pub fn claim(&self, request: ClaimRequest) -> Result<PendingClaim, Error> {
        self.writer.claim(request)
    }

    /// Applies what `model::attempt::settle` decided, if the lease still holds.
    ///
    /// Returns `false` when it does not: the run belongs to someone else now, or was canceled, and
    /// the result must be dropped. The logs are kept all the same.
    pub async fn settle(&self, end: AttemptEnd) -> Result<bool, Error> {
        self.writer.write(move |tx| settle(tx, &end)).await
    }

    /// Says that `worker` lives, until `lease_until` at least.
    pub async fn renew(&self, worker: WorkerId, now: Timestamp, lease_until: Timestamp) -> Result<(), Error> {
        let sql = "INSERT INTO workers (id, started_at, lease_until) VALUES (?1, ?2, ?3)
                   ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until";
        self.writer.write(move |tx| tx.execute(sql, values![worker, now, lease_until]).map(drop)).await
    }

    /// Says that `worker` has ended.
    pub async fn retire(&self, worker: WorkerId) -> Result<(), Error> {
        self.writer.write(move |tx| tx.execute("DELETE FROM workers WHERE id = ?1", values![worker]).map(drop)).await
    }

    /// Queues runs again that were claimed and will not be attempted.
    pub async fn give_back(&self, claimed: Vec<Claimed>, now: Timestamp) -> Result<(), Error> {
        self.writer.write(move |tx| give_back_all(tx, &claimed, now)).await
    }

    /// Gives up leases whose attempts ended without a record: each run is queued again, or ends
    /// where it was lost too often, if the lease still holds.
    pub async fn lose(&self, leases: Vec<Lease>, now: Timestamp) -> Result<(), Error> {
        let sql = "SELECT losses, cpu_us FROM runs WHERE id = ?1 AND lease = ?2 AND status = 'executing'";
        self.writer
            .write(move |tx| {
                for lease in &leases {
                    let found = tx.row(sql, values![lease.run, lease.number], |row| {
                        Ok((row.column::<u32>()?, Duration::from_micros(row.column()?)))
                    })?;
                    if let Some((losses, cpu)) = found {
                        settle(tx, &AttemptEnd::without_attempt(*lease, after_loss(losses, now), cpu, now))?;
                    }
                }
                Ok(())
            })
            .await
    }

    /// Makes waiting claims look at the clock, after it was set.
    pub fn nudge(&self) {
        self.writer.nudge();
        self.listeners.timers.notify_one();
    }
}

/// Finds the runs whose turn it is, then takes each with a statement that repeats what was found,
/// until [`MAX_CLAIMED_PAYLOAD_BYTES`] are held.
///
/// Plain statements and no `RETURNING`, which costs SQLite a temporary table every time.
pub(super) fn claim(tx: &mut Tx<'_>, request: &ClaimRequest, now: Timestamp) -> Result<Vec<Claimed>, Error> {
    let find = concat!(
        "SELECT ",
        run_columns!(),
        ", lease, losses, journaled_attempt,
           (SELECT c.deployment_id FROM current_tasks c
            WHERE  c.environment_id = runs.environment_id AND c.task_id = runs.task_id)
         FROM   runs
         WHERE  status = 'queued' AND held = 0 AND dequeue_at <= ?1
         ORDER BY dequeue_at, id
         LIMIT  ?2"
    );
    let mut claimed = Vec::with_capacity(request.max_runs);
    let (mut payload_bytes, mut looked_at, mut is_last) = (0, 0, false);
    let mut places = Places::default();
    // Runs that are held on the way are out of the way of the next look.
    while !is_last && claimed.len() < request.max_runs && looked_at < MAX_CLAIM_CANDIDATES {
        let wanted = request.max_runs - claimed.len();
        let found = tx.rows(find, values![now, wanted as i64], read_candidate)?;
        is_last = found.len() < wanted;
        looked_at += found.len();
        for candidate in found {
            if payload_bytes > MAX_CLAIMED_PAYLOAD_BYTES {
                return Ok(claimed);
            }
            let run = candidate.run.id;
            let Some(gate) = places.take(tx, &candidate.run)? else {
                hold(tx, run)?;
                continue;
            };
            let Some(taken) = take(tx, request.worker, candidate, now)? else {
                places.put_back(tx, &gate, run)?;
                continue;
            };
            payload_bytes += taken.payload.data.as_ref().map_or(0, String::len);
            claimed.push(taken);
        }
    }
    Ok(claimed)
}

fn read_candidate(row: &mut Row<'_>) -> Result<Candidate, Error> {
    let run = read_run(row)?;
    let lease = Lease { run: run.id, environment: run.environment, number: row.column()?, attempt: run.attempt };
    Ok(Candidate { run, lease, losses: row.column()?, journaled: row.column()?, current: row.column()? })
}

/// A run whose turn it is.
struct Candidate {
    run: Run,
    lease: Lease,
    losses: u32,
    /// The attempt whose journal is stored; 0: none. Negative: it is not whole.
    journaled: i64,
    /// The deployment that runs its task now.
    current: Option<DeploymentId>,
}

/// Takes a run that was found in the queue, if it is as it was found. From then on it runs on the
/// deployment that is current now, unless it has one already; where there is none any more, it
/// waits for one.
fn take(tx: &mut Tx<'_>, worker: WorkerId, found: Candidate, now: Timestamp) -> Result<Option<Claimed>, Error> {
    let sql = "UPDATE runs
               SET    status = 'executing', attempt = ?3, lease = lease + 1, worker_id = ?4, deployment_id = ?5,
                      started_at = ?6, updated_at = ?7
               WHERE  id = ?1 AND status = 'queued' AND lease = ?2";
    let payload = "SELECT data, format FROM run_payloads WHERE run_id = ?1";
    let Candidate { mut run, mut lease, losses, journaled, current } = found;
    let Some(deployment) = run.deployment.or(current) else {
        set_pending(tx, &run, now)?;
        return Ok(None);
    };
    let attempt = run.attempt + 1;
    let started_at = run.started_at.unwrap_or(now);
    let values = values![run.id, lease.number, attempt, worker, deployment, started_at, now];
    if tx.execute(sql, values)? == 0 {
        return Ok(None);
    }
    tx.effects.waiting(run.environment, -1);
    add_event(tx, run.id, Event { at: now, status: Status::Executing, attempt, detail: None })?;
    let missing = || Error::Corrupt(format!("run {} has no payload", run.id));
    let payload = tx.row(payload, values![run.id], packet)?.ok_or_else(missing)?;
    lease = Lease { number: lease.number + 1, attempt, ..lease };
    let deployment = Some(deployment);
    run = Run { status: Status::Executing, attempt, deployment, started_at: Some(started_at), updated_at: now, ..run };
    let (resumes, has_lost_journal) = (journaled == i64::from(attempt), journaled == -i64::from(attempt));
    Ok(Some(Claimed { lease, run, payload, losses, resumes, has_lost_journal }))
}

/// Whether the run executes under the lease of this number.
pub(super) fn holds(tx: &Tx<'_>, run: RunId, lease: u64) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM runs WHERE id = ?1 AND lease = ?2 AND status = 'executing'";
    let found: Option<i64> = tx.row(sql, values![run, lease], |row| row.column())?;
    Ok(found.is_some())
}

/// Takes a run out of the queue whose task no deployment has any more.
fn set_pending(tx: &mut Tx<'_>, run: &Run, now: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE runs
               SET    status = 'pending-version', updated_at = ?2, expires_at = COALESCE(expires_at, ?3)
               WHERE  id = ?1 AND status = 'queued'";
    let expires_at = later(now, PENDING_TTL);
    if tx.execute(sql, values![run.id, now, expires_at])? == 1 {
        tx.effects.timer_set(expires_at);
        let why = "no current deployment has the task any more";
        add_event(
            tx,
            run.id,
            Event { at: now, status: Status::PendingVersion, attempt: run.attempt, detail: Some(why) },
        )?;
    }
    Ok(())
}

/// When the first queued run may be claimed.
pub(super) fn next_ready(tx: &Tx<'_>) -> Result<Option<Timestamp>, Error> {
    let sql = "SELECT dequeue_at FROM runs WHERE status = 'queued' AND held = 0 ORDER BY dequeue_at, id LIMIT 1";
    tx.row(sql, &[], |row| row.column())
}

/// Takes claims back as if they had not been.
pub(super) fn give_back_all(tx: &mut Tx<'_>, claimed: &[Claimed], now: Timestamp) -> Result<(), Error> {
    for Claimed { lease, run, .. } in claimed {
        let end = Settlement::Requeued { at: now, loss: false };
        settle(tx, &AttemptEnd::without_attempt(*lease, end, run.cpu, now))?;
    }
    Ok(())
}

/// Starts the clock of a run's ttl, where it has one.
pub(super) fn expiry(queued_at: Timestamp, ttl: Option<Duration>, effects: &mut Effects) -> Option<Timestamp> {
    let expires_at = later(queued_at, ttl?);
    effects.timer_set(expires_at);
    Some(expires_at)
}
