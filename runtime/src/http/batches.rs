//! Batches: announcing one, sending its items line by line, and what became of them.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::auth::{Bearer, Caller};
use super::body::{Body, Params, Segments, json};
use super::error::{ApiError, Result};
use super::list::page_size;
use super::ndjson::{Line, Lines};
use super::openapi::{ChangeErrors, Pages, ReadErrors};
use super::{Server, cursor, trigger};
use crate::api::{
    BatchDetails, BatchItemCounts, BatchItemError, BatchItemHead, BatchItemRequest, BatchItemsReceipt, BatchList,
    BatchProcessing, BatchResults, BatchSummary, CreateBatchReceipt, CreateBatchRequest, RunResult, TriggerRequest,
};
use crate::model::batch::{self, ItemError, ItemErrorCode};
use crate::model::id::{BatchId, EnvironmentId, RunId};
use crate::model::limits;
use crate::model::run::NewRun;
use crate::model::scope::{Action, Resource};
use crate::runs::TriggerError;
use crate::secrets;
use crate::storage::{Announced, Batch, BatchCounts, NewBatch, NewBatchItem};

/// Announces a batch, whose items are sent next.
#[utoipa::path(
    post, path = "/api/v3/batches", tag = "Batches",
    security(("key" = []), ("publicToken" = [])),
    params(
        ("x-trigger-request-idempotency-key" = Option<String>, Header,
            description = "The same on all tries of one request"),
    ),
    request_body = CreateBatchRequest,
    responses(
        (status = 202, body = CreateBatchReceipt, description = "The batch", headers(
            ("x-trigger-jwt-claims" = Option<String>,
                description = "To a key: what a public access token for this claims"),
            ("x-trigger-jwt" = Option<String>,
                description = "To a token, or an additional key: a public access token for this"),
        )),
        ChangeErrors,
    ),
)]
pub(super) async fn create(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    headers: HeaderMap,
    Body(body): Body<CreateBatchRequest>,
) -> Result<Response> {
    let announced = announced(&server, &bearer, &headers, body).await?;
    let run_count = announced.run_count;
    let (batch, is_new) = match server.storage.insert_batch(announced).await? {
        Announced::New(batch) => (batch, true),
        Announced::Existing(batch) => (batch, false),
        Announced::OtherRequest => {
            let text =
                "x-trigger-request-idempotency-key belongs to another request: give each request a key of its own";
            return Err(ApiError::unprocessable(text));
        }
        Announced::TokenUsed => return Err(TriggerError::TokenUsed.into()),
    };
    // The first sender has not come to the end: this one may.
    let is_cached = !is_new && batch.sealed_at.is_some();
    if !is_new && !is_cached && batch.run_count != run_count {
        let text = "the idempotency key belongs to a batch with another `runCount` whose items have not all arrived";
        return Err(ApiError::unprocessable(text));
    }
    let receipt = CreateBatchReceipt {
        id: batch.id.to_string(),
        run_count: batch.run_count,
        is_cached,
        idempotency_key: batch.idempotency_key,
    };
    let scopes = vec![format!("read:batch:{}", receipt.id)];
    Ok((StatusCode::ACCEPTED, bearer.pass(&server, scopes)?, Json(receipt)).into_response())
}

/// The batch that the bearer announces, if it may and can be.
async fn announced(
    server: &Server,
    bearer: &Bearer,
    headers: &HeaderMap,
    body: CreateBatchRequest,
) -> Result<NewBatch> {
    if !(1..=limits::MAX_BATCH_ITEMS).contains(&body.run_count) {
        return Err(ApiError::bad_request("`runCount` must be 1 to 1000"));
    }
    let key = body.idempotency_key;
    if key.as_ref().is_some_and(|key| !(1..=limits::MAX_IDEMPOTENCY_KEY_CHARS).contains(&key.chars().count())) {
        return Err(ApiError::bad_request("`idempotencyKey` must have 1 to 2048 characters"));
    }
    let parent = body.parent_run_id.map(|run| run.parse::<RunId>()).transpose();
    let parent = parent.map_err(|_| ApiError::bad_request("`parentRunId` is not the id of a run"))?;
    // Each item is looked at again when it comes: nobody has to name the tasks here.
    bearer.may_some(Action::BatchTrigger)?;
    body.task_identifiers.iter().flatten().try_for_each(|task| may_trigger(bearer, task))?;
    let now = server.runs.now();
    let environment = bearer.caller.environment.id;
    if let Some(parent) = parent
        && server.storage.run(environment, parent).await?.is_none()
    {
        return Err(ApiError::unprocessable(TriggerError::NoSuchParent(parent).to_string()));
    }
    Ok(NewBatch {
        id: secrets::batch_id(now),
        environment,
        run_count: body.run_count,
        idempotency_key: key,
        keys_count_since: now.checked_sub(limits::DEFAULT_IDEMPOTENCY_KEY_TTL).unwrap_or(now),
        request_key: trigger::request_key(headers),
        requests_count_since: now.checked_sub(limits::REQUEST_KEY_TTL).unwrap_or(now),
        parent,
        created_at: now,
        one_time_token: bearer.one_time_token(),
    })
}

fn may_trigger(bearer: &Bearer, task: &str) -> Result<()> {
    bearer.may(Action::BatchTrigger, &[Resource::one("tasks", task), Resource::all("batch")])
}

/// Sends items of a batch: a line of JSON each, as in `BatchItemRequest`.
///
/// Items that have arrived before are not taken twice, so that all of them can be sent again after a broken connection.
/// The batch is sealed when all have arrived.
#[utoipa::path(
    post, path = "/api/v3/batches/{batch}/items", tag = "Batches",
    security(("key" = []), ("publicToken" = [])),
    request_body(content = String, content_type = "application/x-ndjson", description = "A `BatchItemRequest` a line"),
    responses((status = 200, body = BatchItemsReceipt, description = "What has arrived"), ChangeErrors),
)]
pub(super) async fn items(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    Segments(batch): Segments<String>,
    request: Request,
) -> Result<Json<BatchItemsReceipt>> {
    if !is_ndjson(request.headers()) {
        let text = "the content type must be application/x-ndjson";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", text));
    }
    bearer.may_some(Action::BatchTrigger)?;
    let environment = bearer.caller.environment.id;
    let unknown = || ApiError::unprocessable("Batch not found");
    let id: BatchId = batch.parse().map_err(|_| unknown())?;
    let batch = server.storage.batch(environment, id).await?.ok_or_else(unknown)?;
    let mut lines = Lines::new(request.into_body(), limits::MAX_BATCH_ITEM_BYTES);
    let known = server.storage.batch_items(id).await?.iter().map(|item| item.index).collect();
    let (run_count, is_sealed) = (batch.run_count, batch.sealed_at.is_some());
    let mut arrival = Arrival::new(server.clone(), bearer, batch, known);
    // All items of a sealed batch are known: there is nothing to look for in these.
    if !is_sealed {
        let read = arrival.read(&mut lines).await;
        let settled = arrival.settle(0, 0).await;
        if read.is_err() || settled.is_err() {
            lines.drain().await;
        }
        read.and(settled)?;
    }
    lines.drain().await;
    let arrived = server.storage.seal_batch(id, server.runs.now()).await?;
    let unsealed = |count: u32| (!arrived.is_sealed).then_some(count);
    json(BatchItemsReceipt {
        id: id.to_string(),
        items_accepted: arrival.accepted,
        items_deduplicated: arrival.deduplicated,
        sealed: arrived.is_sealed,
        enqueued_count: unsealed(arrived.items),
        expected_count: unsealed(run_count),
    })
}

fn is_ndjson(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    ["application/x-ndjson", "application/ndjson"].iter().any(|known| essence.eq_ignore_ascii_case(known))
}

/// An item that is being stored: whether it is new, in the end.
type Storing = Pin<Box<dyn Future<Output = std::result::Result<bool, TriggerError>> + Send>>;

/// The items of one request. They are prepared one by one and stored in their order; some of them
/// are on their way to the disk while the next are read.
struct Arrival {
    server: Arc<Server>,
    bearer: Bearer,
    batch: Batch,
    /// Indexes that have arrived, with this request or before.
    known: HashSet<u32>,
    /// Each with how many bytes it weighs.
    storing: VecDeque<(Storing, usize)>,
    storing_bytes: usize,
    accepted: u32,
    deduplicated: u32,
}

impl Arrival {
    fn new(server: Arc<Server>, bearer: Bearer, batch: Batch, known: HashSet<u32>) -> Self {
        let storing = VecDeque::new();
        Self { server, bearer, batch, known, storing, storing_bytes: 0, accepted: 0, deduplicated: 0 }
    }

    /// Takes item after item, until the lines end or one of them is none.
    async fn read(&mut self, lines: &mut Lines) -> Result<()> {
        let mut count = 0;
        while let Some(line) = lines.next().await? {
            count += 1;
            if count > limits::MAX_BATCH_ITEMS {
                return Err(ApiError::unprocessable("a batch has 1000 items at most"));
            }
            match line {
                Line::Whole(text) => {
                    let item = parse(&text, count)?;
                    drop(text);
                    self.take(item).await?;
                }
                Line::TooLong(beginning) => self.refuse(&BatchItemHead::read(&beginning), count).await?,
            }
        }
        Ok(())
    }

    /// Makes the run of an item that has not arrived before, or finds it. An item that can never be
    /// triggered is recorded as that; an error is one that another try may get past.
    async fn take(&mut self, item: BatchItemRequest) -> Result<()> {
        may_trigger(&self.bearer, &item.task)?;
        let index = item.index;
        if !self.is_new(index)? {
            return Ok(());
        }
        let task = item.task.chars().take(limits::MAX_TASK_ID_CHARS).collect();
        let environment = self.bearer.caller.environment.id;
        let run = match run_of(&self.server, &self.batch, environment, item).await {
            Ok(run) => Ok(Box::new(run)),
            Err(error) => {
                Err(ItemError { code: ItemErrorCode::CouldNotTrigger, message: ApiError::into_refusal(error)? })
            }
        };
        self.store(NewBatchItem { batch: self.batch.id, index, task, run }).await
    }

    /// Records an item that is too long to be read.
    async fn refuse(&mut self, item: &BatchItemHead, number: u32) -> Result<()> {
        let Some(index) = item.index else {
            let text = format!("line {number} is too long, and `index` does not stand at its beginning");
            return Err(ApiError::unprocessable(text));
        };
        if !self.is_new(index)? {
            return Ok(());
        }
        let task = item.task.iter().flat_map(|task| task.chars()).take(limits::MAX_TASK_ID_CHARS).collect();
        let message = format!("the item is longer than {} bytes", limits::MAX_BATCH_ITEM_BYTES);
        let error = ItemError { code: ItemErrorCode::PayloadTooLarge, message };
        self.store(NewBatchItem { batch: self.batch.id, index, task, run: Err(error) }).await
    }

    fn is_new(&mut self, index: u32) -> Result<bool> {
        if index >= self.batch.run_count {
            let text = format!("`index` {index} is not below `runCount`, which is {}", self.batch.run_count);
            return Err(ApiError::unprocessable(text));
        }
        let is_new = self.known.insert(index);
        if !is_new {
            self.count(false);
        }
        Ok(is_new)
    }

    fn count(&mut self, is_new: bool) {
        let counter = if is_new { &mut self.accepted } else { &mut self.deduplicated };
        *counter += 1;
    }

    /// Sends an item to the disk when there is room for it.
    async fn store(&mut self, item: NewBatchItem) -> Result<()> {
        let weight = item.run.as_ref().map_or(0, |run| run.payload.data.as_ref().map_or(0, String::len));
        let room = limits::MAX_BATCH_BYTES_IN_FLIGHT.saturating_sub(weight);
        self.settle(limits::MAX_BATCH_ITEMS_IN_FLIGHT - 1, room).await?;
        self.storing.push_back((Box::pin(self.server.runs.insert_item(item)?), weight));
        self.storing_bytes += weight;
        Ok(())
    }

    /// Waits until `max_items` items at most, of `max_bytes` at most, are being stored. All are
    /// waited for, also where one cannot be stored now; that one is the answer.
    async fn settle(&mut self, max_items: usize, max_bytes: usize) -> Result<()> {
        let mut failure = Ok(());
        while self.storing.len() > max_items || self.storing_bytes > max_bytes {
            let Some((storing, weight)) = self.storing.pop_front() else { break };
            self.storing_bytes -= weight;
            match storing.await {
                Ok(is_new) => self.count(is_new),
                Err(error) => failure = Err(error.into()),
            }
        }
        failure
    }
}

/// The run that an item asks for.
async fn run_of(server: &Server, batch: &Batch, environment: EnvironmentId, item: BatchItemRequest) -> Result<NewRun> {
    let body = TriggerRequest { payload: item.payload, options: item.options };
    let mut request = trigger::request(server, environment, item.task, body).await?;
    request.origin.batch = Some(batch.id);
    request.origin.parent = batch.parent.or(request.origin.parent);
    // Named in the order of the items: it is the order of the queue.
    Ok(server.runs.admit(server.runs.new_id(), environment, request).await?)
}

fn parse(line: &[u8], number: u32) -> Result<BatchItemRequest> {
    use serde_json::error::Category;
    if crate::api::is_array(line) {
        return Err(ApiError::unprocessable(format!("line {number} is not an item: it must be an object")));
    }
    serde_json::from_slice(line).map_err(|error| match error.classify() {
        Category::Data => ApiError::unprocessable(format!("line {number} is not an item: {error}")),
        Category::Syntax | Category::Eof | Category::Io => {
            ApiError::bad_request(format!("Invalid JSON in line {number}: {error}"))
        }
    })
}

fn not_found() -> ApiError {
    ApiError::not_found("Batch not found")
}

/// The batch, if it is there and the bearer may look at it.
pub(super) async fn find_to_read(server: &Server, bearer: &Bearer, batch: &str) -> Result<Batch> {
    let id: BatchId = batch.parse().map_err(|_| not_found())?;
    bearer.may(Action::Read, &[Resource::one("batch", batch), Resource::all("runs")])?;
    server.storage.batch(bearer.caller.environment.id, id).await?.ok_or_else(not_found)
}

/// The batches of the environment, newest first.
#[utoipa::path(
    get, path = "/api/v1/batches", tag = "Batches",
    params(Pages),
    responses((status = 200, body = BatchList, description = "A page"), ReadErrors),
)]
pub(super) async fn list(State(server): State<Arc<Server>>, caller: Caller, params: Params) -> Result<Json<BatchList>> {
    params.only(&["page[size]", "page[after]", "page[before]"])?;
    let (limit, place) = (page_size(&params)?, cursor::place_of(&params)?);
    let page = server.storage.batches(caller.environment.id, place, limit).await?;
    let pagination = cursor::around(&page, server.runs.now(), |(batch, _)| batch.id);
    json(BatchList { data: page.items.into_iter().map(summary).collect(), pagination })
}

fn summary((batch, counts): (Batch, BatchCounts)) -> BatchSummary {
    let BatchCounts { succeeded, failed, unfinished, without_run } = counts;
    let (is_sealed, runs) = (batch.sealed_at.is_some(), succeeded + failed + unfinished);
    BatchSummary {
        id: batch.id.to_string(),
        status: batch::status_of(is_sealed, runs, unfinished, without_run).into(),
        idempotency_key: batch.idempotency_key,
        parent_run_id: batch.parent.map(|parent| parent.to_string()),
        created_at: batch.created_at,
        run_count: batch.run_count,
        counts: BatchItemCounts { succeeded, failed, unfinished, without_run },
    }
}

/// What became of a batch: its status, its runs, and the items that have none.
#[utoipa::path(
    get, path = "/api/v2/batches/{batch}", tag = "Batches",
    security(("key" = []), ("publicToken" = [])),
    responses((status = 200, body = BatchDetails, description = "The batch"), ReadErrors),
)]
pub(super) async fn retrieve(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    Segments(batch): Segments<String>,
) -> Result<Json<BatchDetails>> {
    let batch = find_to_read(&server, &bearer, &batch).await?;
    let items = server.storage.batch_items(batch.id).await?;
    let ends = items.iter().filter_map(|item| item.finished_at);
    let error = |(index, task_identifier, error): (u32, String, ItemError)| BatchItemError {
        index,
        task_identifier,
        error: error.message,
        error_code: error.code.as_str().into(),
    };
    json(BatchDetails {
        id: batch.id.to_string(),
        status: batch::status(batch.sealed_at.is_some(), items.iter().map(|item| item.status)).into(),
        idempotency_key: batch.idempotency_key,
        created_at: batch.created_at,
        updated_at: ends.chain(batch.sealed_at).max().unwrap_or(batch.created_at),
        run_count: batch.run_count,
        runs: items.iter().filter_map(|item| item.run).map(|run| run.to_string()).collect(),
        processing: BatchProcessing {
            completed_at: batch.sealed_at,
            errors: items
                .into_iter()
                .filter_map(|item| Some((item.index, item.task, item.error?)))
                .map(error)
                .collect(),
        },
    })
}

/// How those runs of a batch ended that have ended.
#[utoipa::path(
    get, path = "/api/v1/batches/{batch}/results", tag = "Batches",
    security(("key" = []), ("publicToken" = [])),
    responses(
        (status = 200, body = BatchResults, description = "The results, in the order of the items"),
        (status = 422, body = crate::api::ErrorBody, description = "The outputs are larger than 64 MiB together"),
        ReadErrors,
    ),
)]
pub(super) async fn results(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    Segments(batch): Segments<String>,
) -> Result<Json<BatchResults>> {
    let environment = bearer.caller.environment.id;
    let batch = find_to_read(&server, &bearer, &batch).await?;
    let ended = server.storage.batch_items(batch.id).await?.into_iter().filter(|item| item.finished_at.is_some());
    let mut items = Vec::new();
    let mut bytes = 0;
    for run in ended.filter_map(|item| item.run) {
        let Some(run) = server.storage.run(environment, run).await? else { continue };
        let Some(end) = run.end() else { continue };
        bytes += end.output.as_ref().map_or(0, String::len);
        if bytes > limits::MAX_BATCH_RESULTS_BYTES {
            let text = "the outputs of the batch are larger than 64 MiB together: ask for the result of each run";
            return Err(ApiError::unprocessable(text));
        }
        items.push(RunResult::new(run.id, run.task, end));
    }
    json(BatchResults { id: batch.id.to_string(), items })
}
