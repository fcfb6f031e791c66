//! The verb on the metadata of runs: change them, of several runs at once, while others do so too.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::api::{self, BadOperation, MetadataOperation};
use crate::model::id::{EnvironmentId, RunId};
use crate::model::limits;
use crate::model::run::Run;
use crate::storage::{self, MetadataChange, Storage};

/// Tries to change metadata that others change at the same time.
const METADATA_TRIES: usize = 20;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// There is no such run in the environment.
    #[error("run {0} does not exist")]
    NoSuchRun(RunId),
    /// The change is none.
    #[error(transparent)]
    BadOperation(#[from] BadOperation),
    /// The object would be larger than [`limits::MAX_METADATA_BYTES`].
    #[error("metadata is larger than 256 KiB")]
    TooLarge,
    /// Others were faster, again and again.
    #[error("the metadata are changed by others all the time; try again")]
    Contended,
    /// Storage failed.
    #[error("storage failed")]
    Storage(#[from] storage::Error),
}

/// Does to the metadata of each run what is wanted, in order: all of it, or nothing. No run may be
/// named twice.
pub async fn change_metadata(
    storage: &Storage,
    environment: EnvironmentId,
    wanted: &[(RunId, Vec<MetadataOperation>)],
    now: Timestamp,
) -> Result<(), EditError> {
    for _ in 0..METADATA_TRIES {
        let mut changes = Vec::with_capacity(wanted.len());
        for (target, operations) in wanted {
            let run = storage.run(environment, *target).await?.ok_or(EditError::NoSuchRun(*target))?;
            changes.push(changed(run, operations)?);
        }
        if storage.replace_metadata(changes, now).await? {
            return Ok(());
        }
    }
    Err(EditError::Contended)
}

fn changed(run: Run, operations: &[MetadataOperation]) -> Result<MetadataChange, EditError> {
    let mut metadata = metadata_of(&run);
    for operation in operations {
        metadata = api::apply(&metadata, operation.clone())?;
    }
    let metadata = Value::Object(metadata).to_string();
    if metadata.len() > limits::MAX_METADATA_BYTES {
        return Err(EditError::TooLarge);
    }
    Ok(MetadataChange { run: run.id, found: run.metadata, metadata })
}

/// The metadata of a run; empty where it has none.
pub fn metadata_of(run: &Run) -> Map<String, Value> {
    run.metadata.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}
