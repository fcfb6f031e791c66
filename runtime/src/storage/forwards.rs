//! Runs that go on where another one failed: they begin with a journal.

use super::insert::{Inserted, insert_run};
use super::journals::keep_journal;
use super::sql::values;
use super::{Error, Storage};
use crate::model::run::NewRun;

/// The attempt that begins with the journal.
const FIRST_ATTEMPT: u32 = 1;

impl Storage {
    /// Stores a run as [`Storage::insert_run`] does, whose first attempt is brought back from this journal, sealed.
    pub async fn insert_resuming_run(
        &self,
        run: NewRun,
        journal: Vec<u8>,
        max_waiting: u64,
    ) -> Result<Inserted, Error> {
        let resume = "UPDATE runs SET journaled_attempt = ?2 WHERE id = ?1 AND attempt = 0";
        let listeners = self.listeners.clone();
        self.writer
            .write(move |tx| {
                let waiting = listeners.waiting(run.environment, &tx.effects);
                let inserted = insert_run(tx, &run, waiting, max_waiting)?;
                if inserted == Inserted::New {
                    keep_journal(tx, run.id, FIRST_ATTEMPT, (Some(&journal), true))?;
                    tx.execute(resume, values![run.id, FIRST_ATTEMPT])?;
                }
                Ok(inserted)
            })
            .await
    }
}
