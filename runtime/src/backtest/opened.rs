//! The recording of a stored run, unsealed and read. It may be many megabytes: whoever calls this is where nobody else
//! waits.

use std::sync::Arc;

use super::replay::effects_of;
use super::stored::NotReplayable;
use crate::model::mask::Mask;
use crate::model::replay::Effect;
use crate::sandbox::recording::Recording;
use crate::sandbox::world::HostFault;
use crate::secrets::{ServerKey, journal_owner};
use crate::storage::StoredSource;

/// What was sealed of a run.
#[derive(Debug, Clone, Default)]
pub(super) struct Opened {
    /// Its journal as it was written. Secrets are in it.
    pub(super) journal: Vec<u8>,
    /// The same, read.
    pub(super) recording: Arc<Recording>,
    /// What it wanted of the world outside.
    pub(super) effects: Vec<Effect>,
    /// The values of the variables that it saw, and of those that its environment has now.
    pub(super) secrets: Mask,
}

impl Opened {
    /// Opens the journal that is stored of a run, and leaves nothing of it there. `variables` are those of now.
    ///
    /// # Errors
    ///
    /// If there is none, or it is damaged.
    pub(super) fn of(
        stored: &mut StoredSource,
        key: &ServerKey,
        variables: &[(String, String)],
    ) -> Result<Self, NotReplayable> {
        let damaged = |fault: HostFault| NotReplayable::because(fault.to_string());
        let journal = journal(stored, key)?;
        let recording = Recording::read(&journal).map_err(damaged)?;
        let effects = effects_of(&recording).map_err(damaged)?;
        let seen = recording.variables().map_err(damaged)?;
        let secrets = Mask::new(seen.iter().chain(variables).map(|(_, value)| value.as_str()));
        Ok(Self { journal, recording: Arc::new(recording), effects, secrets })
    }
}

fn journal(stored: &mut StoredSource, key: &ServerKey) -> Result<Vec<u8>, NotReplayable> {
    match stored.is_recorded {
        Some(true) => {}
        Some(false) => {
            let why = "its journal passed the limit (--max-journal), was not wanted, or is forgotten";
            return Err(NotReplayable::because(why));
        }
        None => return Err(NotReplayable::because("it ended without an attempt that is on record")),
    }
    let owner = journal_owner(stored.run.id, stored.run.attempt);
    let mut journal = Vec::new();
    // Each is dropped when it is opened.
    for segment in std::mem::take(&mut stored.journal) {
        let opened = key.open_bytes(&segment, &owner);
        journal.extend(opened.map_err(|error| NotReplayable::because(format!("its journal: {error}")))?);
    }
    Ok(journal)
}
