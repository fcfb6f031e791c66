//! Hooks that are to be called: one row for each run that has ended and whose task has some.
//!
//! The row is stored with the end of the run and deleted after the last hook, so that a hook is
//! called at least once.

use jiff::Timestamp;

use super::runs::{read_run, run_columns};
use super::sql::{Tx, values};
use super::{Error, Storage};
use crate::model::id::{DeploymentId, RunId};
use crate::model::run::Run;

/// A run whose hooks are to be called.
#[derive(Debug, Clone)]
pub struct DueHooks {
    /// As it ended.
    pub run: Run,
    /// The deployment whose hooks are called: the run's own, or, if it never started, the one on which
    /// it would have run.
    pub deployment: DeploymentId,
    /// How often they were tried before.
    pub tries: u32,
}

impl Storage {
    /// The runs whose hooks are to be called, in the order of their ends, `limit` at most; those in
    /// `except` are left out.
    pub async fn due_hooks(&self, now: Timestamp, except: Vec<RunId>, limit: u32) -> Result<Vec<DueHooks>, Error> {
        let find =
            "SELECT run_id, deployment_id, tries FROM run_hooks WHERE due_at <= ?1 ORDER BY due_at, run_id LIMIT ?2";
        let run = concat!("SELECT ", run_columns!(), " FROM runs WHERE id = ?1");
        let look_at = limit.saturating_add(u32::try_from(except.len()).unwrap_or(u32::MAX));
        self.read(move |tx| {
            let found: Vec<(RunId, DeploymentId, u32)> =
                tx.rows(find, values![now, look_at], |row| Ok((row.column()?, row.column()?, row.column()?)))?;
            let mut due = Vec::new();
            for (id, deployment, tries) in found.into_iter().filter(|(id, ..)| !except.contains(id)) {
                if due.len() < limit as usize
                    && let Some(run) = tx.row(run, values![id], read_run)?
                {
                    due.push(DueHooks { run, deployment, tries });
                }
            }
            Ok(due)
        })
        .await
    }

    /// When the next hooks are to be called, as far as is known.
    pub async fn next_hooks(&self) -> Result<Option<Timestamp>, Error> {
        self.read(|tx| tx.row("SELECT MIN(due_at) FROM run_hooks", &[], |row| row.column()).map(Option::flatten)).await
    }

    /// All hooks of the run's end were called.
    pub async fn hooks_called(&self, run: RunId) -> Result<(), Error> {
        let sql = "DELETE FROM run_hooks WHERE run_id = ?1";
        self.writer.write(move |tx| tx.execute(sql, values![run]).map(drop)).await
    }

    /// The hooks of the run's end could not be called; they are to be tried again at `at`.
    pub async fn delay_hooks(&self, run: RunId, at: Timestamp) -> Result<(), Error> {
        let sql = "UPDATE run_hooks SET due_at = ?2, tries = tries + 1 WHERE run_id = ?1";
        self.writer.write(move |tx| tx.execute(sql, values![run, at]).map(drop)).await
    }

    /// Resolves when a run with hooks has ended.
    pub async fn hooks_due(&self) {
        self.listeners.hooks.notified().await;
    }
}

/// A run has ended: its hooks are due.
pub(super) fn ended(tx: &mut Tx<'_>, run: RunId, now: Timestamp) -> Result<(), Error> {
    let sql = "INSERT INTO run_hooks (run_id, deployment_id, due_at, tries)
               SELECT r.id, t.deployment_id, ?2, 0
               FROM   runs r
               JOIN   deployment_tasks t ON t.task_id = r.task_id AND t.deployment_id = COALESCE(r.deployment_id, (
                          SELECT c.deployment_id FROM current_tasks c
                          WHERE  c.environment_id = r.environment_id AND c.task_id = r.task_id))
               WHERE  r.id = ?1 AND t.hooks IS NOT NULL
               ON CONFLICT (run_id) DO NOTHING";
    if tx.effects.may_have_hooks() && tx.execute(sql, values![run, now])? > 0 {
        tx.effects.hooks_due();
    }
    Ok(())
}

/// Whether any task has hooks: where none does, the end of a run calls none.
pub(super) fn look_for_hooks(tx: &Tx<'_>) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM deployment_tasks WHERE hooks IS NOT NULL LIMIT 1";
    let found: Option<i64> = tx.row(sql, &[], |row| row.column())?;
    Ok(found.is_some())
}
