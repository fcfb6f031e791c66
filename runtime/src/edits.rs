//! The verb on the metadata of runs: change them, of several runs at once, while others do so too.

use std::collections::HashMap;

use dacapo_host_api::{MetadataChange, MetadataError};
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

/// The text of an object.
pub fn text_of(object: &Map<String, Value>) -> String {
    serde_json::to_string(object).unwrap_or_else(|_| "{}".into())
}

/// A guest changes the metadata that it sees, and is told why if it may not: the change, read.
///
/// # Errors
///
/// As the guest is to see them; then nothing was changed.
pub fn change_seen(seen: &mut Map<String, Value>, change: MetadataChange) -> Result<MetadataOperation, MetadataError> {
    let operation = guest_operation(change)?;
    let changed = api::apply(seen, operation.clone()).map_err(metadata_error)?;
    if text_of(&changed).len() > limits::MAX_METADATA_BYTES {
        return Err(MetadataError::TooLarge(limits::MAX_METADATA_BYTES as u32));
    }
    *seen = changed;
    Ok(operation)
}

/// What the guest is told of a change that is none.
pub fn metadata_error(error: BadOperation) -> MetadataError {
    match error {
        BadOperation::NotANumber(key) | BadOperation::NotFinite(key) => MetadataError::NotANumber(key),
        error @ (BadOperation::TooDeep(_) | BadOperation::ReservedName(_)) => {
            MetadataError::InvalidJson(error.to_string())
        }
    }
}

/// A change as the guest asks for it, read.
pub fn guest_operation(change: MetadataChange) -> Result<MetadataOperation, MetadataError> {
    let json = |text: String| {
        serde_json::from_str::<Value>(&text).map_err(|error| MetadataError::InvalidJson(error.to_string()))
    };
    Ok(match change {
        MetadataChange::Set(key, value) => MetadataOperation::Set(key, json(value)?),
        MetadataChange::Delete(key) => MetadataOperation::Delete(key),
        MetadataChange::Append(key, value) => MetadataOperation::Append(key, json(value)?),
        MetadataChange::Remove(key, value) => MetadataOperation::Remove(key, json(value)?),
        MetadataChange::Increment(key, by) => MetadataOperation::Increment(key, by),
        MetadataChange::Update(value) => match json(value)? {
            Value::Object(object) => MetadataOperation::Update(object),
            _ => return Err(MetadataError::InvalidJson("metadata must be a JSON object".into())),
        },
    })
}
