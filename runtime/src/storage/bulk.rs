//! Bulk actions: what was asked for, how far it has come, and what became of each run.

use jiff::Timestamp;

use super::sql::{Row, values};
use super::{Error, Storage};
use crate::model::id::{BulkId, EnvironmentId, RunId};
use crate::model::run::Status;

/// A bulk action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bulk {
    /// Its name.
    pub id: BulkId,
    /// Where its runs are.
    pub environment: EnvironmentId,
    /// `cancel` or `replay`.
    pub kind: String,
    /// `pending`, `completed` or `aborted`.
    pub status: String,
    /// For people.
    pub name: Option<String>,
    /// Which runs, as JSON.
    pub selection: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was over.
    pub completed_at: Option<Timestamp>,
    /// The last source run that was looked at.
    pub last_run: Option<RunId>,
    /// Runs it was done to, and runs to which it was not.
    pub counts: (u64, u64),
}

/// What became of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The source run.
    pub source: RunId,
    /// `done`, `skipped` or `failed`.
    pub outcome: String,
    /// Why it was not done.
    pub reason: Option<String>,
    /// Of a replay, the new run, and where it is now.
    pub new_run: Option<(RunId, Status)>,
}

/// A member that is to be recorded.
#[derive(Debug, Clone)]
pub struct NewMember {
    /// The source run.
    pub source: RunId,
    /// `done`, `skipped` or `failed`.
    pub outcome: &'static str,
    /// Why it was not done.
    pub reason: Option<String>,
    /// Of a replay, the new run.
    pub new_run: Option<RunId>,
}

macro_rules! bulk_columns {
    () => {
        "b.id, b.environment_id, b.kind, b.status, b.name, b.selection, b.created_at, b.completed_at, b.last_run,
         (SELECT COUNT(*) FROM bulk_members m WHERE m.bulk_id = b.id AND m.outcome = 'done'),
         (SELECT COUNT(*) FROM bulk_members m WHERE m.bulk_id = b.id AND m.outcome <> 'done')"
    };
}

impl Storage {
    /// Stores a bulk action that is to be done.
    pub async fn insert_bulk(&self, bulk: Bulk) -> Result<(), Error> {
        let sql = "INSERT INTO bulk_actions (id, environment_id, kind, status, name, selection, created_at)
                   VALUES (?1, ?2, ?3, 'pending', ?4, ?5, ?6)";
        self.writer
            .write(move |tx| {
                let Bulk { id, environment, kind, name, selection, created_at, .. } = &bulk;
                tx.execute(sql, values![*id, *environment, kind, name.as_ref(), selection, *created_at])?;
                tx.effects.timer_set(*created_at);
                Ok(())
            })
            .await
    }

    /// A bulk action of an environment.
    pub async fn bulk(&self, environment: EnvironmentId, id: BulkId) -> Result<Option<Bulk>, Error> {
        let sql =
            concat!("SELECT ", bulk_columns!(), " FROM bulk_actions b WHERE b.id = ?1 AND b.environment_id = ?2");
        self.read(move |tx| tx.row(sql, values![id, environment], read_bulk)).await
    }

    /// Bulk actions of an environment, newest first, older than `after`.
    pub async fn bulks(
        &self,
        environment: EnvironmentId,
        after: Option<BulkId>,
        limit: u32,
    ) -> Result<Vec<Bulk>, Error> {
        let sql = concat!(
            "SELECT ",
            bulk_columns!(),
            " FROM bulk_actions b WHERE b.environment_id = ?1 AND b.id < ?2 ORDER BY b.id DESC LIMIT ?3"
        );
        let after = after.unwrap_or(BulkId::from_bits(u128::MAX));
        self.read(move |tx| tx.rows(sql, values![environment, after, limit], read_bulk)).await
    }

    /// The oldest bulk action that is to be done.
    pub async fn pending_bulk(&self) -> Result<Option<Bulk>, Error> {
        let sql = concat!(
            "SELECT ",
            bulk_columns!(),
            " FROM bulk_actions b WHERE b.status = 'pending' ORDER BY b.id LIMIT 1"
        );
        self.read(move |tx| tx.row(sql, &[], read_bulk)).await
    }

    /// Records what became of runs, each once. `false`: the action is not pending any more.
    pub async fn record_members(&self, bulk: BulkId, members: Vec<NewMember>) -> Result<bool, Error> {
        let member = "INSERT INTO bulk_members (bulk_id, source_id, outcome, reason, new_run) VALUES (?1, ?2, ?3, ?4, ?5)
                      ON CONFLICT (bulk_id, source_id) DO NOTHING";
        let place = "UPDATE bulk_actions SET last_run = ?2 WHERE id = ?1 AND status = 'pending'";
        self.writer
            .write(move |tx| {
                for NewMember { source, outcome, reason, new_run } in &members {
                    tx.execute(member, values![bulk, *source, *outcome, reason.as_ref(), *new_run])?;
                }
                let last = members.last().map(|member| member.source);
                Ok(tx.execute(place, values![bulk, last])? == 1)
            })
            .await
    }

    /// Ends a bulk action that is pending. `false`: it is not.
    pub async fn end_bulk(&self, bulk: BulkId, is_aborted: bool, now: Timestamp) -> Result<bool, Error> {
        let sql = "UPDATE bulk_actions SET status = ?2, completed_at = ?3 WHERE id = ?1 AND status = 'pending'";
        let status = if is_aborted { "aborted" } else { "completed" };
        self.writer.write(move |tx| Ok(tx.execute(sql, values![bulk, status, now])? == 1)).await
    }

    /// What became of runs, the oldest first, newer than `after`.
    pub async fn members(&self, bulk: BulkId, after: Option<RunId>, limit: u32) -> Result<Vec<Member>, Error> {
        let sql = "SELECT m.source_id, m.outcome, m.reason, m.new_run, r.status
                   FROM   bulk_members m
                   LEFT JOIN runs r ON r.id = m.new_run
                   WHERE  m.bulk_id = ?1 AND m.source_id > ?2
                   ORDER BY m.source_id
                   LIMIT  ?3";
        let after = after.unwrap_or(RunId::from_bits(0));
        self.read(move |tx| {
            tx.rows(sql, values![bulk, after, limit], |row| {
                let (source, outcome, reason) = (row.column()?, row.column()?, row.column()?);
                let new_run: Option<RunId> = row.column()?;
                let status = row.parsed_option(Status::parse)?;
                Ok(Member { source, outcome, reason, new_run: new_run.zip(status) })
            })
        })
        .await
    }
}

fn read_bulk(row: &mut Row<'_>) -> Result<Bulk, Error> {
    Ok(Bulk {
        id: row.column()?,
        environment: row.column()?,
        kind: row.column()?,
        status: row.column()?,
        name: row.column()?,
        selection: row.column()?,
        created_at: row.column()?,
        completed_at: row.column()?,
        last_run: row.column()?,
        counts: (row.column()?, row.column()?),
    })
}
