//! What is stored of a run that is to be replayed, read at once.

use super::journals::segments;
use super::runs::{given, read_run, run_columns};
use super::sql::values;
use super::{Error, Storage};
use crate::model::id::{EnvironmentId, RunId};
use crate::model::replay::LogCounts;
use crate::model::run::{Packet, Run};

/// What is stored of a run that is to be replayed.
#[derive(Debug, Clone)]
pub struct StoredSource {
    /// The run.
    pub run: Run,
    /// What it was given.
    pub payload: Packet,
    /// Its metadata at the trigger: a JSON object.
    pub metadata: Option<String>,
    /// Whether the whole of its last attempt is on record; `None`: it ended without one.
    pub is_recorded: Option<bool>,
    /// The segments of the journal of that attempt, in order, as they were given. None at all: it asked
    /// nothing.
    pub journal: Vec<Vec<u8>>,
    /// The log lines of that attempt; what the host said is left out.
    pub logs: LogCounts,
}

impl Storage {
    /// What is stored of a run of an environment; `None`: there is no such run.
    pub async fn source(&self, environment: EnvironmentId, run: RunId) -> Result<Option<StoredSource>, Error> {
        // A journal that nobody wanted, or that was forgotten, is no recording.
        let find = concat!(
            "SELECT ",
            run_columns!(),
            ", CASE WHEN is_replayable = 1 AND journaled_attempt <> attempt THEN 0 ELSE is_replayable END AS is_recorded
              FROM runs WHERE id = ?1 AND environment_id = ?2"
        );
        let logs = "SELECT COUNT(CASE WHEN level = 'trace' THEN 1 END), COUNT(CASE WHEN level = 'debug' THEN 1 END),
                           COUNT(CASE WHEN level = 'info' THEN 1 END), COUNT(CASE WHEN level = 'warn' THEN 1 END),
                           COUNT(CASE WHEN level = 'error' THEN 1 END)
                    FROM   run_logs
                    WHERE  run_id = ?1 AND attempt = ?2 AND kind = 'line' AND source <> 'host'";
        self.read(move |tx| {
            let found = tx.row(find, values![run, environment], |row| Ok((read_run(row)?, row.column()?)))?;
            let Some((run, is_recorded)) = found else { return Ok(None) };
            let Some((payload, metadata)) = given(tx, run.id)? else { return Ok(None) };
            let journal = segments(tx, run.id, run.attempt)?;
            let logs = tx.row(logs, values![run.id, run.attempt], |row| {
                let (trace, debug, info) = (row.column()?, row.column()?, row.column()?);
                Ok(LogCounts { trace, debug, info, warn: row.column()?, error: row.column()? })
            })?;
            let logs = logs.unwrap_or_default();
            Ok(Some(StoredSource { run, payload, metadata, is_recorded, journal, logs }))
        })
        .await
    }
}
