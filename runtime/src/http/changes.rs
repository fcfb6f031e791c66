//! Changing a run: its delay, its tags, its metadata, its idempotency key.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::Server;
use super::auth::Caller;
use super::body::{Body, Segments, json};
use super::error::{ApiError, Result};
use super::openapi::{ChangeErrors, ReadErrors};
use super::options;
use super::runs::{details, find, not_found};
use crate::api::{
    AddTagsRequest, ChangeMetadataRequest, Message, MetadataAnswer, MetadataOperation, Operation, RescheduleRequest,
    ResetKeyReceipt, ResetKeyRequest, RunDetails,
};
use crate::edits::{self, EditError, metadata_of};
use crate::model::admission::Delay;
use crate::model::id::RunId;
use crate::model::limits;
use crate::model::run::later;
use crate::model::tag;
use crate::storage::{Edited, Rescheduled};

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
    tag::check_each(&tags).map_err(ApiError::unprocessable)?;
    let added = tags.len();
    let environment = caller.environment.id;
    match server.storage.add_tags(environment, id, tags, server.runs.now()).await? {
        Edited::Now => json(Message { message: format!("Successfully set {added} tags.") }),
        Edited::TooMany => Err(ApiError::unprocessable(tag::TOO_MANY)),
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
    json(MetadataAnswer { metadata: metadata_of(&run) })
}

/// Changes the metadata of a run, of its parent and of its root: all that is asked for, or nothing. While a run executes,
/// its task's own changes are made to what is there by then: nothing is lost, unless both set the same key.
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
    edits::change_metadata(&server.storage, caller.environment.id, wanted, server.runs.now()).await?;
    let run = find(&server, &caller, &run.id.to_string()).await?;
    json(MetadataAnswer { metadata: metadata_of(&run) })
}

impl From<EditError> for ApiError {
    fn from(error: EditError) -> Self {
        let text = error.to_string();
        match error {
            EditError::NoSuchRun(_) => not_found(),
            EditError::BadOperation(_) => Self::unprocessable(text),
            EditError::TooLarge => Self::too_large(text),
            EditError::Storage(error) => error.into(),
        }
    }
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
