//! The queue: claiming runs, settling attempts, and what time does to runs by itself.
//!
//! A claim takes a lease: the pair of a run and a number that grows with every claim. Whatever is
//! written about an attempt names its lease, and is refused when the run has been claimed again,
//! canceled or settled since. A worker proves that it lives by one row of its own
//! ([`Storage::renew`]); the runs of a worker that does not are lost, and are queued again.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::effects::Effects;
use super::logs::{LogRow, append_logs};
use super::packets::forget_packets;
use super::places::{Places, hold, let_go_of_held, place_is_free};
use super::runs::{Event, add_event, packet, read_run, release_parked, run_columns};
use super::sql::{Row, Tx, values};
use super::waitpoints::time_out;
use super::{Error, Storage};
use crate::model::attempt::{Settlement, Usage, after_loss};
use crate::model::id::{DeploymentId, EnvironmentId, RunId, WorkerId};
use crate::model::limits::{MAX_CLAIMED_PAYLOAD_BYTES, PARKED_TTL};
use crate::model::run::{End, Packet, Run, RunError, Status, later};

/// Runs that one claim looks at, where queues hold some of them back.
const MAX_CLAIM_CANDIDATES: usize = 1_000;
/// Runs that one pass of upkeep changes at most.
pub(super) const MAX_UPKEEP_RUNS: u32 = 500;

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

/// How an attempt ended, to be written in one transaction.
#[derive(Debug, Clone)]
pub struct AttemptEnd {
    /// Whose attempt.
    pub lease: Lease,
    /// What was decided.
    pub settlement: Settlement,
    /// What the attempt used.
    pub usage: Usage,
    /// CPU time of the attempts before it.
    pub cpu_before: Duration,
    /// The metadata, where the attempt changed it.
    pub metadata: Option<String>,
    /// What the attempt logged and nobody wrote yet.
    pub logs: Vec<LogRow>,
    /// When it ended.
    pub at: Timestamp,
}

impl AttemptEnd {
    /// The end of an attempt of which nothing is known.
    fn without_attempt(lease: Lease, settlement: Settlement, cpu_before: Duration, at: Timestamp) -> Self {
        Self { lease, settlement, usage: Usage::default(), cpu_before, metadata: None, logs: Vec::new(), at }
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

    /// Does what time demands at `now`: delayed runs become queued, queued runs expire, runs of
    /// dead workers are queued again, wait tokens time out, old keys are forgotten. Answers with the next moment at which
    /// there is something to do, as far as that is known. The runs of `alive` are never taken for
    /// lost: it lives in this process, whatever the clock says.
    pub async fn upkeep(&self, now: Timestamp, alive: WorkerId) -> Result<Option<Timestamp>, Error> {
        let listeners = self.listeners.clone();
        self.writer.write(move |tx| upkeep(tx, now, alive, listeners.has_parked_left())).await
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

    /// Resolves when something was stored that makes an earlier [`Self::upkeep`] necessary.
    pub async fn timer_set(&self) {
        self.listeners.timers.notified().await;
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
        ", lease, losses,
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
    Ok(Candidate { run, lease, losses: row.column()?, current: row.column()? })
}

/// A run whose turn it is.
struct Candidate {
    run: Run,
    lease: Lease,
    losses: u32,
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
    let Candidate { mut run, mut lease, losses, current } = found;
    let Some(deployment) = run.deployment.or(current) else {
        park(tx, &run, now)?;
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
    Ok(Some(Claimed { lease, run, payload, losses }))
}

/// Takes a run out of the queue whose task no deployment has any more.
fn park(tx: &mut Tx<'_>, run: &Run, now: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE runs
               SET    status = 'pending-version', updated_at = ?2, expires_at = COALESCE(expires_at, ?3)
               WHERE  id = ?1 AND status = 'queued'";
    let expires_at = later(now, PARKED_TTL);
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

fn settle(tx: &mut Tx<'_>, end: &AttemptEnd) -> Result<bool, Error> {
    append_logs(tx, end.lease.run, &end.logs)?;
    let settled = record(tx, end)?;
    if settled {
        place_is_free(tx, end.lease.run)?;
    }
    Ok(settled)
}

fn record(tx: &mut Tx<'_>, end: &AttemptEnd) -> Result<bool, Error> {
    match &end.settlement {
        Settlement::Completed(output) => finish(tx, end, Status::Completed, Some(output), None),
        Settlement::Ended { status, error } => finish(tx, end, *status, None, Some(error)),
        Settlement::RetryAt { at, error } => {
            requeue(tx, end, Requeue { at: *at, attempt_counts: true, loss: false, error: Some(error) })
        }
        Settlement::Requeued { at, loss } => {
            requeue(tx, end, Requeue { at: *at, attempt_counts: false, loss: *loss, error: None })
        }
    }
}

fn finish(
    tx: &mut Tx<'_>,
    end: &AttemptEnd,
    status: Status,
    output: Option<&String>,
    error: Option<&RunError>,
) -> Result<bool, Error> {
    let sql = "UPDATE runs
               SET    status = ?3, output = ?4, error_kind = ?5, error_name = ?6, error_message = ?7, error_stack = ?8,
                      finished_at = ?9, updated_at = ?9, worker_id = NULL, cpu_us = ?10,
                      peak_memory_bytes = CASE WHEN peak_memory_bytes < ?11 THEN ?11 ELSE peak_memory_bytes END,
                      metadata = COALESCE(?12, metadata)
               WHERE  id = ?1 AND lease = ?2 AND status = 'executing'";
    let Lease { run, number, attempt, .. } = end.lease;
    let cpu = end.cpu_before + end.usage.cpu;
    let values = values![
        run,
        number,
        status.as_str(),
        output,
        error.map(|error| error.kind.as_str()),
        error.map(|error| &error.name),
        error.map(|error| &error.message),
        error.and_then(|error| error.stack.as_ref()),
        end.at,
        micros(cpu),
        end.usage.peak_memory_bytes,
        end.metadata.as_ref(),
    ];
    if tx.execute(sql, values)? == 0 {
        return Ok(false);
    }
    add_event(tx, run, Event { at: end.at, status, attempt, detail: error.map(|error| error.message.as_str()) })?;
    tx.effects.run_ended(run, End { status, output: output.cloned(), error: error.cloned(), cpu });
    Ok(true)
}

/// How a run goes back to the queue.
struct Requeue<'e> {
    at: Timestamp,
    attempt_counts: bool,
    loss: bool,
    error: Option<&'e RunError>,
}

fn requeue(tx: &mut Tx<'_>, end: &AttemptEnd, how: Requeue<'_>) -> Result<bool, Error> {
    let sql = "UPDATE runs
               SET    status = 'queued', dequeue_at = ?3, updated_at = ?4, worker_id = NULL,
                      attempt = attempt - ?5, losses = losses + ?6, expires_at = NULL,
                      error_kind = COALESCE(?7, error_kind), error_name = COALESCE(?8, error_name),
                      error_message = COALESCE(?9, error_message), error_stack = COALESCE(?10, error_stack),
                      metadata = COALESCE(?11, metadata), cpu_us = cpu_us + ?12
               WHERE  id = ?1 AND lease = ?2 AND status = 'executing'";
    let AttemptEnd { lease, at: now, .. } = end;
    let error = how.error;
    let requeued = tx.execute(
        sql,
        values![
            lease.run,
            lease.number,
            how.at,
            *now,
            !how.attempt_counts,
            how.loss,
            error.map(|error| error.kind.as_str()),
            error.map(|error| &error.name),
            error.map(|error| &error.message),
            error.and_then(|error| error.stack.as_ref()),
            end.metadata.as_ref(),
            micros(end.usage.cpu),
        ],
    )? == 1;
    if requeued {
        tx.effects.waiting(lease.environment, 1);
        tx.effects.ready(how.at);
        let why = match error {
            Some(error) => &error.message,
            None if how.loss => "the attempt was lost with its server, or the server failed it",
            None => "the attempt was interrupted and does not count",
        };
        add_event(
            tx,
            lease.run,
            Event { at: *now, status: Status::Queued, attempt: lease.attempt, detail: Some(why) },
        )?;
    }
    Ok(requeued)
}

fn upkeep(tx: &mut Tx<'_>, now: Timestamp, alive: WorkerId, parked_left: bool) -> Result<Option<Timestamp>, Error> {
    let due = queue_due(tx, now)?;
    let expired = expire(tx, now)?;
    let released = if parked_left { release_left(tx, now)? } else { 0 };
    let timed_out = time_out(tx, now)?;
    let held_left = let_go_of_held(tx)?;
    requeue_lost(tx, now, alive)?;
    let forgotten = forget_keys(tx, now)?;
    forget_packets(tx, now)?;
    if held_left || [due, expired, released, timed_out, forgotten].contains(&(MAX_UPKEEP_RUNS as usize)) {
        tx.effects.upkept(Some(now));
        return Ok(Some(now));
    }
    let sql = "SELECT MIN(at) FROM (
                   SELECT MIN(dequeue_at) AS at FROM runs WHERE status = 'delayed'
                   UNION ALL
                   SELECT MIN(expires_at) AS at FROM runs WHERE status = 'queued' AND expires_at IS NOT NULL
                   UNION ALL
                   SELECT MIN(expires_at) AS at FROM runs WHERE status = 'pending-version' AND expires_at IS NOT NULL
                   UNION ALL
                   SELECT MIN(next_fire_at) AS at FROM schedules WHERE next_fire_at IS NOT NULL
                   UNION ALL
                   SELECT MIN(timeout_at) AS at FROM waitpoints WHERE status = 'waiting' AND timeout_at IS NOT NULL
               ) AS next";
    let next = tx.row(sql, &[], |row| row.column())?.flatten();
    tx.effects.upkept(next);
    Ok(next)
}

/// Keys that count no more are forgotten.
fn forget_keys(tx: &Tx<'_>, now: Timestamp) -> Result<usize, Error> {
    let sql = "DELETE FROM trigger_keys
               WHERE  (environment_id, kind, task_id, key) IN (
                          SELECT environment_id, kind, task_id, key
                          FROM   trigger_keys
                          WHERE  expires_at <= ?1
                          ORDER BY expires_at
                          LIMIT  ?2)";
    tx.execute(sql, values![now, MAX_UPKEEP_RUNS])
}

/// Delayed runs whose time has come are queued, or wait for a version. Their ttl begins.
fn queue_due(tx: &mut Tx<'_>, now: Timestamp) -> Result<usize, Error> {
    let sql = "UPDATE runs
               SET    status = 'pending-version', updated_at = ?1, expires_at = ?1 + COALESCE(ttl_ms, ?3)
               WHERE  status = 'delayed' AND id IN (
                          SELECT r.id FROM runs r
                          WHERE  r.status = 'delayed' AND r.dequeue_at <= ?1
                          ORDER BY r.dequeue_at, r.id
                          LIMIT  ?2)
               RETURNING id";
    let due: Vec<RunId> = tx.rows(sql, values![now, MAX_UPKEEP_RUNS, PARKED_TTL], |row| row.column())?;
    for run in &due {
        if !release_parked(tx, *run, now)? {
            tx.effects.timer_set(later(now, PARKED_TTL));
            add_event(tx, *run, Event { at: now, status: Status::PendingVersion, attempt: 0, detail: None })?;
        }
    }
    Ok(due.len())
}

/// Runs that have waited too long for their turn, or for a version, end. Answers with the larger
/// number of the two.
fn expire(tx: &mut Tx<'_>, now: Timestamp) -> Result<usize, Error> {
    let queued = "SELECT r.id, r.environment_id, r.attempt, r.cpu_us
                  FROM   runs r
                  WHERE  r.status = 'queued' AND r.expires_at IS NOT NULL AND r.expires_at <= ?1
                  ORDER BY r.expires_at, r.id
                  LIMIT  ?2";
    let parked = "SELECT r.id, r.environment_id, r.attempt, r.cpu_us
                  FROM   runs r
                  WHERE  r.status = 'pending-version' AND r.expires_at IS NOT NULL AND r.expires_at <= ?1
                  ORDER BY r.expires_at, r.id
                  LIMIT  ?2";
    let mut most = 0;
    for (find, status) in [(queued, Status::Queued), (parked, Status::PendingVersion)] {
        let found = tx.rows(find, values![now, MAX_UPKEEP_RUNS], |row| {
            let cpu = |us| Duration::from_micros(us);
            Ok((row.column()?, row.column()?, row.column()?, cpu(row.column()?)))
        })?;
        most = most.max(found.len());
        for (run, environment, attempt, cpu) in found {
            let error = RunError::expired();
            if expire_run(tx, run, status, &error, Event { at: now, status: Status::Expired, attempt, detail: None })? {
                tx.effects.waiting(environment, -1);
                tx.effects.run_ended(run, End { status: Status::Expired, output: None, error: Some(error), cpu });
            }
        }
    }
    Ok(most)
}

/// Ends a run that is still as it was found.
fn expire_run(tx: &mut Tx<'_>, run: RunId, found: Status, error: &RunError, event: Event<'_>) -> Result<bool, Error> {
    let sql = "UPDATE runs
               SET    status = 'expired', finished_at = ?3, updated_at = ?3, error_kind = ?4, error_name = ?5,
                      error_message = ?6, error_stack = NULL
               WHERE  id = ?1 AND status = ?2";
    let values = values![run, found.as_str(), event.at, error.kind.as_str(), &error.name, &error.message];
    let expired = tx.execute(sql, values)? == 1;
    if expired {
        add_event(tx, run, event)?;
    }
    Ok(expired)
}

/// Queues runs that wait for a version although it is there: a promotion releases as many as one
/// transaction takes, and this the rest.
fn release_left(tx: &mut Tx<'_>, now: Timestamp) -> Result<usize, Error> {
    let sql = "SELECT r.id
               FROM   current_tasks c
               JOIN   runs r ON r.environment_id = c.environment_id AND r.task_id = c.task_id
               WHERE  r.status = 'pending-version' AND r.external_deployment IS NULL
               LIMIT  ?1";
    let labelled = "SELECT r.id
                    FROM   runs r
                    JOIN   deployments d ON d.environment_id = r.environment_id AND d.external_id = r.external_deployment
                    JOIN   deployment_tasks t ON t.deployment_id = d.id AND t.task_id = r.task_id
                    WHERE  r.status = 'pending-version' AND r.external_deployment IS NOT NULL
                    LIMIT  ?1";
    let mut parked: Vec<RunId> = tx.rows(sql, values![MAX_UPKEEP_RUNS], |row| row.column())?;
    if parked.is_empty() {
        parked = tx.rows(labelled, values![MAX_UPKEEP_RUNS], |row| row.column())?;
    }
    for run in &parked {
        release_parked(tx, *run, now)?;
    }
    tx.effects.parked_left(parked.len() == MAX_UPKEEP_RUNS as usize);
    Ok(parked.len())
}

/// Queues the runs of workers that do not live again, or ends those that were lost too often.
fn requeue_lost(tx: &mut Tx<'_>, now: Timestamp, alive: WorkerId) -> Result<(), Error> {
    let dead = "SELECT DISTINCT r.worker_id
                FROM   runs r
                WHERE  r.status = 'executing' AND r.worker_id <> ?2
                AND    NOT EXISTS (SELECT 1 FROM workers w WHERE w.id = r.worker_id AND w.lease_until > ?1)";
    let dead: Vec<WorkerId> = tx.rows(dead, values![now, alive], |row| row.column())?;
    for worker in dead {
        lose_runs_of(tx, worker, now)?;
    }
    tx.execute("DELETE FROM workers WHERE lease_until <= ?1 AND id <> ?2", values![now, alive]).map(drop)
}

fn lose_runs_of(tx: &mut Tx<'_>, worker: WorkerId, now: Timestamp) -> Result<(), Error> {
    let sql = "SELECT id, environment_id, lease, attempt, losses, cpu_us
               FROM   runs
               WHERE  status = 'executing' AND worker_id = ?1
               ORDER BY id
               LIMIT  ?2";
    let lost = tx.rows(sql, values![worker, MAX_UPKEEP_RUNS], |row| {
        let lease =
            Lease { run: row.column()?, environment: row.column()?, number: row.column()?, attempt: row.column()? };
        Ok((lease, row.column::<u32>()?, Duration::from_micros(row.column()?)))
    })?;
    for (lease, losses, cpu) in lost {
        settle(tx, &AttemptEnd::without_attempt(lease, after_loss(losses, now), cpu, now))?;
    }
    Ok(())
}

/// Marks every worker that the database knows as dead: on opening a database that one process at a
/// time may use, none of them can be alive.
pub(super) fn end_all_leases(tx: &Tx<'_>) -> Result<(), Error> {
    tx.execute("UPDATE workers SET lease_until = 0", &[]).map(drop)
}

/// Starts the clock of a run's ttl, where it has one.
pub(super) fn expiry(queued_at: Timestamp, ttl: Option<Duration>, effects: &mut Effects) -> Option<Timestamp> {
    let expires_at = later(queued_at, ttl?);
    effects.timer_set(expires_at);
    Some(expires_at)
}

fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}
