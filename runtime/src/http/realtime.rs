//! Feeds of runs: the HTTP protocol of Electric's shapes, by long polling.
//!
//! The first request gets the rows that there are, and a position. Each further one names the
//! position it has seen; it is answered as soon as something came after it, or after
//! [`limits::MAX_FEED_HOLD`] with nothing. A request watches before it reads, and the position it
//! answers with is never beyond what it has read: a change is shown twice rather than never. A
//! position is a number in the sequence of changes that this process has seen; after a restart it
//! means nothing, and its holder is told (409) to begin again. Where more has changed since than is
//! remembered, all rows are sent again.
//!
//! A held request is a future that waits for a notification and a timer: it holds no thread, no
//! connection to the database and no lock, and asks the database for nothing until a commit wakes
//! it; so a thousand of them cost memory, and fifty reads a second when they come again every 20
//! seconds. When its client goes away, or the server stops, the future is dropped or ends, and the
//! watch with it.
//!
//! Whether a run is there is answered as everywhere, with 404: a run is stored before anybody learns
//! its id, so that no client asks for one that is yet to come. (The official client ends a feed in
//! silence on any 4xx but 409 and 429; there is no answer by which it would tell its user.)

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Server;
use super::auth::Bearer;
use super::batches;
use super::body::{Params, Segments};
use super::error::{ApiError, Result};
use super::openapi::{ReadErrors, ShapeAnswers, ShapePlace};
use super::runs::{find_to_read, not_found};
use crate::api::{RealtimeRun, ShapeMessage};
use crate::model::id::RunId;
use crate::model::limits;
use crate::model::scope::{Action, Resource};
use crate::storage::{FeedRow, Position, RunFilter, Topic, Watch};

/// Columns that a request may name; there are fewer.
const MAX_SKIPPED_COLUMNS: usize = 64;

/// Follows a run, by the HTTP protocol of Electric's shapes.
///
/// The first answer has the run as it is; each further request names the position that it has seen, and with `live` is
/// held until something has changed.
#[utoipa::path(
    get, path = "/realtime/v1/runs/{run}", tag = "Realtime",
    security(("key" = []), ("publicToken" = [])),
    params(ShapePlace),
    responses(ShapeAnswers, ReadErrors),
)]
pub(super) async fn run(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    Segments(run): Segments<String>,
    params: Params,
) -> Result<Response> {
    let request = ShapeRequest::read(&params, &bearer)?;
    let id: RunId = run.parse().map_err(|_| not_found())?;
    let feed = Feed {
        watch: server.storage.watch(Some(id)),
        filter: RunFilter::default(),
        only: Some(id),
        gather: Duration::ZERO,
        server: server.clone(),
        bearer,
    };
    find_to_read(&server, &feed.bearer, &run).await?;
    feed.answer(request).await
}

/// Follows the runs with any of these tags, by the HTTP protocol of Electric's shapes.
#[utoipa::path(
    get, path = "/realtime/v1/runs", tag = "Realtime",
    security(("key" = []), ("publicToken" = [])),
    params(
        ("tags" = String, Query, description = "1 to 20 tags, separated by commas"),
        ("createdAt" = Option<String>, Query,
            description = "Only runs that were triggered in this time until the feed began; default `24h`"),
        ShapePlace,
    ),
    responses(ShapeAnswers, ReadErrors),
)]
pub(super) async fn tags(State(server): State<Arc<Server>>, bearer: Bearer, params: Params) -> Result<Response> {
    let mut request = ShapeRequest::read(&params, &bearer)?;
    let mut tags: Vec<String> = params.list("tags").into_iter().map(Into::into).collect();
    tags.sort();
    tags.dedup();
    if tags.is_empty() || tags.len() > limits::MAX_FEED_TAGS {
        return Err(ApiError::bad_request("`tags` must name 1 to 20 tags, separated by commas"));
    }
    // Where only some of the tags are open, the feed shows the runs that have one of those.
    let mut resources = vec![Resource::all("tags"), Resource::all("runs")];
    resources.extend(tags.iter().map(|tag| Resource::one("tags", tag)));
    bearer.may(Action::Read, &resources)?;
    let window = params.duration("createdAt")?.unwrap_or(limits::DEFAULT_FEED_WINDOW);
    let from = || server.runs.now().checked_sub(window).unwrap_or(Timestamp::MIN);
    // A feed goes on showing what it has shown: its window begins where it did.
    let from = *request.from.get_or_insert_with(from);
    let environment = bearer.caller.environment.id;
    let topics = tags.iter().map(|tag| Topic::Tag(environment, tag.clone())).collect();
    let feed = Feed {
        watch: server.storage.watch_topics(topics),
        filter: RunFilter { tags, from: Some(from), ..RunFilter::default() },
        only: None,
        gather: limits::FEED_GATHER,
        server,
        bearer,
    };
    feed.answer(request).await
}

/// Follows the runs of a batch, by the HTTP protocol of Electric's shapes: also those that its items found by a key.
#[utoipa::path(
    get, path = "/realtime/v1/batches/{batch}", tag = "Realtime",
    security(("key" = []), ("publicToken" = [])),
    params(ShapePlace),
    responses(ShapeAnswers, ReadErrors),
)]
pub(super) async fn batch(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    Segments(batch): Segments<String>,
    params: Params,
) -> Result<Response> {
    let request = ShapeRequest::read(&params, &bearer)?;
    let id = batches::find_to_read(&server, &bearer, &batch).await?.id;
    let feed = Feed {
        watch: server.storage.watch_topics(vec![Topic::Batch(id)]),
        filter: RunFilter { batch: Some(id), ..RunFilter::default() },
        only: None,
        gather: limits::FEED_GATHER,
        server,
        bearer,
    };
    feed.answer(request).await
}

/// What the protocol says in a query.
struct ShapeRequest {
    /// Up to where the client has seen everything: the number, and the life and window in `handle`.
    /// `None`: it has seen nothing.
    seen: Option<Position>,
    /// When the window of a feed of tags begins, where the client knows.
    from: Option<Timestamp>,
    /// Whether the client waits for news.
    is_live: bool,
    skipped: Vec<String>,
}

impl ShapeRequest {
    /// Unknown names are ignored: clients add their own against caches.
    fn read(params: &Params, bearer: &Bearer) -> Result<Self> {
        let mut skipped: Vec<String> = params.list("skipColumns").into_iter().map(Into::into).collect();
        if skipped.len() > MAX_SKIPPED_COLUMNS {
            return Err(ApiError::bad_request("`skipColumns` can name 64 columns at most"));
        }
        skipped.extend(bearer.skipped_columns().iter().cloned());
        let offset = params.get("offset").unwrap_or("-1");
        if offset == "-1" {
            return Ok(Self { seen: None, from: None, is_live: false, skipped });
        }
        let bad_offset = || ApiError::bad_request("`offset` must be -1, or one that an answer of this feed had");
        let number = offset.strip_suffix("_0").and_then(|number| number.parse().ok()).ok_or_else(bad_offset)?;
        let handle = params.get("handle").unwrap_or_default();
        let (life, from) = handle.split_once('-').unwrap_or((handle, ""));
        let bad_handle = |_| ApiError::bad_request("`handle` must be the one that the last answer of this feed had");
        let life = u64::from_str_radix(life, 16).map_err(bad_handle)?;
        let from = from.parse().ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let is_live = params.get("live") == Some("true");
        Ok(Self { seen: Some(Position { life, number }), from, is_live, skipped })
    }

    fn handle(&self, life: u64) -> String {
        self.from.map_or_else(|| format!("{life:016x}"), |from| format!("{life:016x}-{}", from.as_millisecond()))
    }
}

/// One request for a feed.
struct Feed {
    server: Arc<Server>,
    bearer: Bearer,
    watch: Watch,
    filter: RunFilter,
    /// The only run that it shows.
    only: Option<RunId>,
    /// How long to wait for more when something has changed.
    gather: Duration,
}

impl Feed {
    async fn answer(&self, mut request: ShapeRequest) -> Result<Response> {
        let now = self.watch.position();
        let Some(seen) = request.seen else {
            let rows = self.rows(None).await?;
            return shape(&request, now, rows, ShapeMessage::insert);
        };
        if seen.life != now.life {
            // The window begins anew, too.
            request.from = None;
            return must_refetch(&request.handle(now.life));
        }
        let (rows, position) = self.news(&request, seen).await?;
        shape(&request, position, rows, ShapeMessage::update)
    }

    /// What came after `seen`; to a live request, as soon as there is something.
    async fn news(&self, request: &ShapeRequest, seen: Position) -> Result<(Vec<FeedRow>, Position)> {
        let deadline = Instant::now() + self.server.feed_hold;
        let mut stopping = self.server.stopping.clone();
        let mut changes = self.watch.since(seen);
        loop {
            let rows = self.rows(Some(changes.runs)).await?;
            if !rows.is_empty() || !request.is_live {
                return Ok((rows, changes.position));
            }
            let has_changed = tokio::select! {
                () = self.watch.changed() => true,
                () = tokio::time::sleep_until(deadline) => false,
                () = stopped(&mut stopping) => false,
            };
            if !has_changed {
                // The next request begins from here: a position that stayed where this one began
                // would be forgotten behind the changes of others.
                changes = self.watch.next();
                return Ok((self.rows(Some(changes.runs)).await?, changes.position));
            }
            if !self.gather.is_zero() {
                tokio::time::sleep(self.gather).await;
            }
            changes = self.watch.next();
        }
    }

    /// The rows of this feed that the bearer may see; of `changed` only, where that is given and
    /// known.
    async fn rows(&self, changed: Option<Option<Vec<RunId>>>) -> Result<Vec<FeedRow>> {
        let changed = match (changed, self.only) {
            (Some(Some(runs)), Some(only)) if !runs.contains(&only) => return Ok(Vec::new()),
            (_, Some(only)) => Some(vec![only]),
            (Some(Some(runs)), None) if runs.is_empty() => return Ok(Vec::new()),
            // So many are found sooner by their tag or batch.
            (Some(changed), None) => changed.filter(|runs| runs.len() <= limits::MAX_FEED_RUNS as usize),
            (None, None) => None,
        };
        let environment = self.bearer.caller.environment.id;
        let mut rows = self.server.storage.feed(environment, self.filter.clone(), changed).await?;
        // Who may look at a batch may look at what it shares with others, as in its results.
        if self.filter.batch.is_none() {
            rows.retain(|row| self.bearer.may_read(&row.run).is_ok());
        }
        Ok(rows)
    }
}

/// Resolves when the server stops.
pub(super) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    if stopping.wait_for(|stopping| *stopping).await.is_err() {
        std::future::pending().await
    }
}

fn shape(
    request: &ShapeRequest,
    position: Position,
    rows: Vec<FeedRow>,
    message: fn(RealtimeRun) -> ShapeMessage,
) -> Result<Response> {
    let rows =
        rows.into_iter().map(|row| message(RealtimeRun::new(row.run, row.payload, row.streams, &request.skipped)));
    let messages: Vec<ShapeMessage> = rows.chain([ShapeMessage::up_to_date()]).collect();
    let body = serde_json::to_string(&messages).map_err(ApiError::internal)?;
    let mut response = shape_response(StatusCode::OK, body, &request.handle(position.life))?;
    let headers = response.headers_mut();
    let number = position.number;
    headers.insert("electric-offset", HeaderValue::from_str(&format!("{number}_0")).map_err(ApiError::internal)?);
    headers.insert("electric-cursor", HeaderValue::from(number));
    headers.insert("electric-schema", HeaderValue::from_static("{}"));
    headers.insert("electric-up-to-date", HeaderValue::from_static("true"));
    Ok(response)
}

/// The answer to a position that means nothing to this process.
fn must_refetch(handle: &str) -> Result<Response> {
    let body = serde_json::to_string(&[ShapeMessage::must_refetch()]).map_err(ApiError::internal)?;
    shape_response(StatusCode::CONFLICT, body, handle)
}

fn shape_response(status: StatusCode, body: String, handle: &str) -> Result<Response> {
    let handle = HeaderValue::from_str(handle).map_err(ApiError::internal)?;
    let mut response = (status, Body::from(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("electric-handle", handle);
    Ok(response)
}
