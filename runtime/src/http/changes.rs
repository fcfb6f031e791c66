//! Changing a run: its delay, its tags, its metadata, its idempotency key.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value};

use super::Server;
use super::auth::Caller;
use super::body::{Body, Segments, json};
use super::error::{ApiError, Result};
use super::openapi::{ChangeErrors, ReadErrors};
use super::options;
use super::runs::{details, find, not_found};
use crate::api::{
    self, AddTagsRequest, ChangeMetadataRequest, Message, MetadataAnswer, MetadataOperation, Operation,
    RescheduleRequest, ResetKeyReceipt, ResetKeyRequest, RunDetails,
};
use crate::model::admission::Delay;
use crate::model::id::RunId;
use crate::model::limits;
use crate::model::run::{Run, later};
use crate::storage::{Edited, MetadataChange, Rescheduled};

/// Tries to change metadata that others change at the same time.
const METADATA_TRIES: usize = 20;

/// Changes until when a delayed run is delayed.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/reschedule", tag = "Runs",
    request_body = RescheduleRequest,
    responses((status = 200, body = RunDetails, description = "The run"), ChangeErrors),
)]
pub(super) async fn reschedule(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(run): Segments<String>,
    Body(body): Body<RescheduleRequest>,
) -> Result<Json<RunDetails>> {
    let id: RunId = run.parse().map_err(|_| not_found())?;
    let now = server.runs.now();
    let until = match options::delay(&body.delay)? {
        Delay::For(length) => later(now, length),
        Delay::Until(at) => at,
    };
    if until <= now || until > later(now, limits::MAX_DELAY) {
        let text = format!("Invalid delay: {}: it must end in the future, within 366 days", body.delay);
        return Err(ApiError::bad_request(text));
    }
    match server.storage.reschedule(caller.environment.id, id, until, now).await? {
        Rescheduled::Now => details(&server, find(&server, &caller, &run).await?).await,
        Rescheduled::NotDelayed => Err(ApiError::bad_request("Cannot reschedule a run that is not delayed")),
        Rescheduled::NoSuchRun => Err(not_found()),
    }
}

/// Adds tags to a run, which can have 10.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/tags", tag = "Runs",
    request_body = AddTagsRequest,
    responses((status = 200, body = Message, description = "They were added"), ChangeErrors),
)]
pub(super) async fn add_tags(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(run): Segments<String>,
    Body(body): Body<AddTagsRequest>,
) -> Result<Json<Message>> {
    let id: RunId = run.parse().map_err(|_| not_found())?;
    let tags = body.tags.into_list();
    if tags.iter().any(|tag| tag.chars().count() > limits::MAX_TAG_CHARS) {
        return Err(ApiError::unprocessable("a tag can have 128 characters at most"));
    }
    let added = tags.len();
    let environment = caller.environment.id;
    match server.storage.add_tags(environment, id, tags, server.runs.now()).await? {
        Edited::Now => json(Message { message: format!("Successfully set {added} tags.") }),
        Edited::TooMany => Err(ApiError::unprocessable("a run can have 10 tags at most")),
        Edited::NoSuchRun => Err(not_found()),
    }
}

/// The metadata of a run.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/metadata", tag = "Runs",
    responses((status = 200, body = MetadataAnswer, description = "The metadata"), ReadErrors),
)]
pub(super) async fn metadata(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(run): Segments<String>,
) -> Result<Json<MetadataAnswer>> {
    let run = find(&server, &caller, &run).await?;
    json(MetadataAnswer { metadata: parsed(&run) })
}

/// Changes the metadata of a run, of its parent and of its root: all that is asked for, or nothing. While a run executes,
/// its task's own next change wins.
#[utoipa::path(
    put, path = "/api/v1/runs/{run}/metadata", tag = "Runs",
    request_body = ChangeMetadataRequest,
    responses((status = 200, body = MetadataAnswer, description = "The metadata of the run, changed"), ChangeErrors),
)]
pub(super) async fn change_metadata(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(run): Segments<String>,
    Body(body): Body<ChangeMetadataRequest>,
) -> Result<Json<MetadataAnswer>> {
    let run = find(&server, &caller, &run).await?;
    let replaced = body.metadata.map(|value| Operation::Update { value });
    let own: Vec<Operation> = replaced.into_iter().chain(body.operations).collect();
    let (parent, root) = (run.origin.parent.unwrap_or(run.id), run.origin.root.unwrap_or(run.id));
    let wanted = by_run([(run.id, own), (parent, body.parent_operations), (root, body.root_operations)]);
    for _ in 0..METADATA_TRIES {
        let mut changes = Vec::with_capacity(wanted.len());
        for (target, operations) in &wanted {
            changes.push(changed(find(&server, &caller, &target.to_string()).await?, operations)?);
        }
        if server.storage.replace_metadata(changes, server.runs.now()).await? {
            let run = find(&server, &caller, &run.id.to_string()).await?;
            return json(MetadataAnswer { metadata: parsed(&run) });
        }
    }
    Err(ApiError::conflict("the metadata are changed by others all the time; try again"))
}

/// What is to be done to each run, in order: a run may be its own parent and root here.
fn by_run(wanted: [(RunId, Vec<Operation>); 3]) -> Vec<(RunId, Vec<MetadataOperation>)> {
    let mut by_run: Vec<(RunId, Vec<MetadataOperation>)> = Vec::new();
    for (run, operations) in wanted.into_iter().filter(|(_, operations)| !operations.is_empty()) {
        let operations = operations.into_iter().map(Into::into);
        match by_run.iter_mut().find(|(known, _)| *known == run) {
            Some((_, before)) => before.extend(operations),
            None => by_run.push((run, operations.collect())),
        }
    }
    by_run
}

fn changed(run: Run, operations: &[MetadataOperation]) -> Result<MetadataChange> {
    let mut metadata = parsed(&run);
    for operation in operations {
        metadata =
            api::apply(&metadata, operation.clone()).map_err(|error| ApiError::unprocessable(error.to_string()))?;
    }
    let metadata = Value::Object(metadata).to_string();
    if metadata.len() > limits::MAX_METADATA_BYTES {
        return Err(ApiError::too_large("metadata is larger than 256 KiB"));
    }
    Ok(MetadataChange { run: run.id, found: run.metadata, metadata })
}

fn parsed(run: &Run) -> Map<String, Value> {
    run.metadata.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

/// Forgets an idempotency key of a task: the next trigger with it makes a run again.
#[utoipa::path(
    post, path = "/api/v1/idempotencyKeys/{key}/reset", tag = "Runs",
    request_body = ResetKeyRequest,
    responses((status = 200, body = ResetKeyReceipt, description = "It is forgotten"), ChangeErrors),
)]
pub(super) async fn reset_key(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(key): Segments<String>,
    Body(body): Body<ResetKeyRequest>,
) -> Result<Json<ResetKeyReceipt>> {
    let task = body.task_identifier;
    if server.storage.reset_key(caller.environment.id, task.clone(), key.clone()).await? {
        return json(ResetKeyReceipt { id: key });
    }
    let key: String = key.chars().take(100).collect();
    let task: String = task.chars().take(100).collect();
    Err(ApiError::not_found(format!("No runs found with idempotency key: {key} and task: {task}")))
}
