//! Runs that go on where another one failed: they begin with a journal, and there is one for each source.

use super::insert::{Inserted, existing_run, insert_run};
use super::journals::keep_journal;
use super::sql::{Tx, values};
use super::{Error, Storage};
use crate::model::id::RunId;
use crate::model::run::NewRun;

/// The attempt that begins with the journal.
const FIRST_ATTEMPT: u32 = 1;

/// What came of a run that was to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forward {
    /// As of any other run.
    Inserted(Inserted),
    /// This one goes on from there already; nothing was stored.
    Already(RunId),
}

impl Storage {
    /// Stores a run as [`Storage::insert_run`] does, whose first attempt is brought back from this journal, sealed; unless
    /// its source has such a run, and it is not to be forced.
    pub async fn insert_resuming_run(
        &self,
        run: NewRun,
        journal: Vec<u8>,
        (max_waiting, force): (u64, bool),
    ) -> Result<Forward, Error> {
        let resume = "UPDATE runs SET journaled_attempt = ?2 WHERE id = ?1 AND attempt = 0";
        let note = "INSERT INTO fix_forwards (source_id, run_id) VALUES (?2, ?1)
                    ON CONFLICT (source_id) DO UPDATE SET run_id = excluded.run_id";
        let listeners = self.listeners.clone();
        self.writer
            .write(move |tx| {
                // A second request with the same key is no second wish.
                if let Some(existing) = existing_run(tx, &run)? {
                    return Ok(Forward::Inserted(existing));
                }
                if let Some(other) = forwarded(tx, &run)?.filter(|_| !force) {
                    return Ok(Forward::Already(other));
                }
                let waiting = listeners.waiting(run.environment, &tx.effects);
                let inserted = insert_run(tx, &run, waiting, max_waiting)?;
                if inserted == Inserted::New {
                    keep_journal(tx, run.id, FIRST_ATTEMPT, (Some(&journal), true))?;
                    tx.execute(resume, values![run.id, FIRST_ATTEMPT])?;
                    tx.execute(note, values![run.id, run.replay_of])?;
                }
                Ok(Forward::Inserted(inserted))
            })
            .await
    }
}

/// The run that goes on for the source of this one already. One that ended before it began has done nothing.
fn forwarded(tx: &Tx<'_>, run: &NewRun) -> Result<Option<RunId>, Error> {
    let Some(source) = run.replay_of else { return Ok(None) };
    let begun = "SELECT run_id FROM fix_forwards
                 WHERE  source_id = ?1 AND NOT EXISTS (
                     SELECT 1 FROM runs
                     WHERE  id = fix_forwards.run_id AND finished_at IS NOT NULL AND started_at IS NULL)";
    tx.row(begun, values![source], |row| row.column())
}
