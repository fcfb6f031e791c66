//! Changes of a run that leave its status alone: tags, metadata, its idempotency key.

use jiff::Timestamp;

use super::insert::insert_tags;
use super::runs::{parse_tags, tags_text};
use super::sql::values;
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

/// Metadata that are to be put in the place of others.
#[derive(Debug, Clone)]
pub struct MetadataChange {
    /// Whose.
    pub run: RunId,
    /// What they were.
    pub found: Option<String>,
    /// What they are to be: a JSON object, as text.
    pub metadata: String,
}

impl Storage {
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

    /// Replaces the metadata of runs, if those of all are as they were found. `false`: some are not,
    /// and nothing changed.
    pub async fn replace_metadata(&self, changes: Vec<MetadataChange>, now: Timestamp) -> Result<bool, Error> {
        let same = "SELECT 1 FROM runs WHERE id = ?1 AND COALESCE(metadata, '') = ?2";
        let sql = "UPDATE runs
                   SET    metadata = ?3, updated_at = ?4
                   WHERE  id = ?1 AND COALESCE(metadata, '') = ?2";
        self.writer
            .write(move |tx| {
                let found = |change: &MetadataChange| change.found.clone().unwrap_or_default();
                for change in &changes {
                    let is_same: Option<i64> = tx.row(same, values![change.run, found(change)], |row| row.column())?;
                    if is_same.is_none() {
                        return Ok(false);
                    }
                }
                for change in &changes {
                    if tx.execute(sql, values![change.run, found(change), &change.metadata, now])? == 0 {
                        // Another process came between: take back what was changed before.
                        return Err(Error::RolledBack);
                    }
                    tx.effects.run_changed(change.run);
                }
                Ok(true)
            })
            .await
            .or_else(|error| if matches!(error, Error::RolledBack) { Ok(false) } else { Err(error) })
    }

    /// Frees an idempotency key: the next trigger with it makes a new run. `false`: it names none.
    pub async fn reset_key(&self, environment: EnvironmentId, task: String, key: String) -> Result<bool, Error> {
        let sql = "DELETE FROM trigger_keys
                   WHERE  environment_id = ?1 AND kind = 'idempotency' AND task_id = ?2 AND key = ?3";
        self.writer.write(move |tx| Ok(tx.execute(sql, values![environment, &task, &key])? == 1)).await
    }
}
