//! Changes of a run that leave its status alone: tags, metadata, its idempotency key.

use std::sync::Arc;

use jiff::Timestamp;

use super::insert::insert_tags;
use super::logs::{LogRow, append_logs};
use super::queue::Lease;
use super::runs::{parse_tags, tags_text};
use super::sql::{Tx, values};
use super::{Error, Storage};
use crate::model::id::{EnvironmentId, RunId};
use crate::model::limits::MAX_TAGS;

/// What became of an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edited {
    /// It is made.
    Now,
    /// There would be more than allowed; nothing changed.
    TooMany,
    /// There is no such run.
    NoSuchRun,
}

/// Why no metadata were edited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EditRefused<E> {
    /// There is no such run in the environment.
    NoSuchRun(RunId),
    /// The edit itself says so.
    ByEdit(E),
}

/// What is done to metadata where they are stored: a function from their text to the new one. The
/// error is for the log of the run; then they stay as they are.
#[derive(Clone)]
pub struct MetadataEdit(Arc<Edit>);

type Edit = dyn Fn(Option<&str>) -> Result<String, String> + Send + Sync;

impl MetadataEdit {
    /// It may be called several times, inside of a transaction.
    pub fn new(edit: impl Fn(Option<&str>) -> Result<String, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(edit))
    }

    /// The new text.
    ///
    /// # Errors
    ///
    /// Why there is none, for people.
    pub fn apply(&self, stored: Option<&str>) -> Result<String, String> {
        (self.0)(stored)
    }
}

impl std::fmt::Debug for MetadataEdit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MetadataEdit")
    }
}

impl Storage {
    /// Writes what the code of a run has logged in attempt `attempt`, and what it did to the metadata,
    /// whoever has the run.
    pub async fn tell(
        &self,
        (run, attempt): (RunId, u32),
        logs: Vec<LogRow>,
        edit: Option<MetadataEdit>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let find = "SELECT metadata FROM runs WHERE id = ?1";
        self.writer
            .write(move |tx| {
                append_logs(tx, run, &logs)?;
                make_edit(tx, (run, attempt), edit.as_ref(), now, |tx| tx.row(find, values![run], |row| row.column()))
            })
            .await
    }

    /// Adds tags to a run, [`MAX_TAGS`] in all at most.
    pub async fn add_tags(
        &self,
        environment: EnvironmentId,
        run: RunId,
        added: Vec<String>,
        now: Timestamp,
    ) -> Result<Edited, Error> {
        let find = "SELECT tags FROM runs WHERE id = ?1 AND environment_id = ?2";
        let change = "UPDATE runs SET tags = ?2, updated_at = ?3 WHERE id = ?1";
        self.writer
            .write(move |tx| {
                let found = tx.row(find, values![run, environment], |row| row.parsed(parse_tags))?;
                let Some(mut tags) = found else { return Ok(Edited::NoSuchRun) };
                tags.extend(added.iter().cloned());
                tags.sort();
                tags.dedup();
                if tags.len() > MAX_TAGS {
                    return Ok(Edited::TooMany);
                }
                tx.execute(change, values![run, tags_text(&tags), now])?;
                insert_tags(tx, environment, run, &added)?;
                tx.effects.run_changed(run);
                Ok(Edited::Now)
            })
            .await
    }

    /// Edits the metadata of runs, from their stored text to the new one: of all of them, or of none.
    /// No run may be named twice. `edit` may be called several times.
    pub async fn edit_metadata_of<E: Send + 'static>(
        &self,
        environment: EnvironmentId,
        runs: Vec<RunId>,
        edit: impl Fn(RunId, Option<&str>) -> Result<String, E> + Send + 'static,
        now: Timestamp,
    ) -> Result<Result<(), EditRefused<E>>, Error> {
        let find = "SELECT metadata FROM runs WHERE id = ?1 AND environment_id = ?2";
        self.writer
            .write(move |tx| {
                let mut edited = Vec::with_capacity(runs.len());
                for run in &runs {
                    let found: Option<Option<String>> = tx.row(find, values![*run, environment], |row| row.column())?;
                    let Some(found) = found else { return Ok(Err(EditRefused::NoSuchRun(*run))) };
                    match edit(*run, found.as_deref()) {
                        Ok(metadata) => edited.push((*run, found, metadata)),
                        Err(refused) => return Ok(Err(EditRefused::ByEdit(refused))),
                    }
                }
                for (run, found, metadata) in &edited {
                    if !replace(tx, *run, (found.as_deref(), metadata), now)? {
                        return Err(Error::Corrupt(format!("the metadata of {run} changed under the writer")));
                    }
                }
                Ok(Ok(()))
            })
            .await
    }

    /// Frees an idempotency key: the next trigger with it makes a new run. `false`: it names none.
    pub async fn reset_key(&self, environment: EnvironmentId, task: String, key: String) -> Result<bool, Error> {
        let sql = "DELETE FROM trigger_keys
                   WHERE  environment_id = ?1 AND kind = 'idempotency' AND task_id = ?2 AND key = ?3";
        self.writer.write(move |tx| Ok(tx.execute(sql, values![environment, &task, &key])? == 1)).await
    }
}

/// Makes an attempt's edit of the metadata, while its lease holds or where the run was canceled under it.
pub(super) fn edit_metadata(
    tx: &mut Tx<'_>,
    lease: &Lease,
    edit: Option<&MetadataEdit>,
    now: Timestamp,
) -> Result<(), Error> {
    let find = "SELECT metadata
                FROM   runs
                WHERE  id = ?1 AND lease = ?2 AND (status = 'executing' OR status = 'canceled')";
    make_edit(tx, (lease.run, lease.attempt), edit, now, |tx| {
        tx.row(find, values![lease.run, lease.number], |row| row.column())
    })
}

/// Makes an edit of the metadata that `find` answers with, if there is one and they are found. One that
/// cannot be made leaves a warning in the log of the run.
fn make_edit(
    tx: &mut Tx<'_>,
    (run, attempt): (RunId, u32),
    edit: Option<&MetadataEdit>,
    now: Timestamp,
    find: impl Fn(&Tx<'_>) -> Result<Option<Option<String>>, Error>,
) -> Result<(), Error> {
    let Some(edit) = edit else { return Ok(()) };
    while let Some(found) = find(tx)? {
        let is_over = match edit.apply(found.as_deref()) {
            // Again, where another process came between.
            Ok(metadata) => replace(tx, run, (found.as_deref(), &metadata), now)?,
            Err(message) => {
                append_logs(tx, run, &[LogRow::of_host(attempt, now, "warn", message)])?;
                true
            }
        };
        if is_over {
            break;
        }
    }
    Ok(())
}

/// Puts metadata in the place of those that were found. `false`: there are others by now.
fn replace(
    tx: &mut Tx<'_>,
    run: RunId,
    (found, metadata): (Option<&str>, &str),
    now: Timestamp,
) -> Result<bool, Error> {
    let sql = "UPDATE runs
               SET    metadata = ?3, updated_at = ?4
               WHERE  id = ?1 AND COALESCE(metadata, '') = ?2";
    tx.effects.run_changed(run);
    Ok(tx.execute(sql, values![run, found.unwrap_or_default(), metadata, now])? == 1)
}
