//! The verb on the metadata of runs: change them, of several runs at once, while others do so too.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::api::{self, BadOperation, MetadataOperation};
use crate::model::id::{EnvironmentId, RunId};
use crate::model::limits;
use crate::model::run::Run;
use crate::storage::{self, EditRefused, Storage};

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
    /// Storage failed.
    #[error("storage failed")]
    Storage(#[from] storage::Error),
}

/// Does to the metadata of each run what is wanted, in order: all of it, or nothing. No run may be
/// named twice.
pub async fn change_metadata(
    storage: &Storage,
    environment: EnvironmentId,
    wanted: Vec<(RunId, Vec<MetadataOperation>)>,
    now: Timestamp,
) -> Result<(), EditError> {
    let runs = wanted.iter().map(|(run, _)| *run).collect();
    let wanted: HashMap<RunId, Vec<MetadataOperation>> = wanted.into_iter().collect();
    let edit = move |run: RunId, stored: Option<&str>| changed(stored, wanted.get(&run).map_or(&[], Vec::as_slice));
    match storage.edit_metadata_of(environment, runs, edit, now).await? {
        Ok(()) => Ok(()),
        Err(EditRefused::NoSuchRun(run)) => Err(EditError::NoSuchRun(run)),
        Err(EditRefused::ByEdit(error)) => Err(error),
    }
}

fn changed(stored: Option<&str>, operations: &[MetadataOperation]) -> Result<String, EditError> {
    let metadata = api::apply_all(parsed(stored), operations.iter().cloned())?;
    let metadata = Value::Object(metadata).to_string();
    if metadata.len() > limits::MAX_METADATA_BYTES {
        return Err(EditError::TooLarge);
    }
    Ok(metadata)
}

/// The metadata of a run; empty where it has none.
pub fn metadata_of(run: &Run) -> Map<String, Value> {
    parsed(run.metadata.as_deref())
}

/// Stored metadata, read.
pub fn parsed(text: Option<&str>) -> Map<String, Value> {
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}
