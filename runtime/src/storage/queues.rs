//! Queues: what is declared of them, what somebody changed, and what is in them. Who may start is
//! in `places`.

use jiff::Timestamp;

use super::sql::{Row, Tx, values};
use super::{Error, Storage};
use crate::model::digest::Digest;
use crate::model::id::{DeploymentId, EnvironmentId, QueueId};

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
