//! The streams of runs over HTTP: read as server-sent events, written line by line.
//!
//! A reader gets every chunk after the one it names, each once and in order, and then what comes: it
//! watches before it looks, and between two looks it waits for a commit that has to do with the run.
//! Its answer ends when the run has ended and all is sent, when nothing has come for so long as it
//! said, when the server stops, or when it goes away. No more than one page of chunks is kept for it.
//!
//! A stream has one writer at a time that may resume: the number of the last chunk is that of the
//! whole stream, whoever wrote it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::Server;
use super::auth::{Bearer, Caller};
use super::body::{Body as JsonBody, Raw, Segments, json};
use super::error::{ApiError, Result};
use super::ndjson::{Line, Lines};
use super::openapi::{ChangeErrors, HeadErrors, ReadErrors, StreamPlace};
use super::realtime::stopped;
use super::runs::{find, find_to_read};
use crate::api::{InputRequest, StreamEvent, StreamReceipt, StreamVersion};
use crate::model::id::{EnvironmentId, RunId};
use crate::model::limits;
use crate::model::run::Run;
use crate::model::scope::{Action, Resource};
use crate::model::stream;
use crate::storage::{Appended, NewChunks, Topic, Watch};

/// What stands before the name of a stream that is said to a run.
const INPUT: &str = "$input/";
/// How often a reader that gets nothing is told that somebody is there.
const PING: Duration = Duration::from_secs(15);
/// How long a reader waits for the next chunk when it does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(60);
/// Chunks that are read at a time.
const PAGE_CHUNKS: u32 = 100;
/// Lines that are stored at a time.
const MAX_GROUP_LINES: usize = 100;

/// Reads a stream of a run as server-sent events: what there is, and what comes until the run ends.
#[utoipa::path(
    get, path = "/realtime/v1/streams/{run}/{stream}", tag = "Realtime",
    security(("key" = []), ("publicToken" = [])),
    params(StreamPlace),
    responses(
        (status = 200, body = StreamEvent, content_type = "text/event-stream",
            description = "Server-sent events: a chunk each, with its id"),
        ReadErrors,
    ),
)]
pub(super) async fn read(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    Segments((run, stream)): Segments<(String, String)>,
    headers: HeaderMap,
) -> Result<Response> {
    read_from(server, &bearer, &run, stream, &headers).await
}

/// Reads what was said to a run, as server-sent events.
#[utoipa::path(
    get, path = "/realtime/v1/streams/{run}/input/{stream}", tag = "Realtime",
    security(("key" = []), ("publicToken" = [])),
    params(StreamPlace),
    responses(
        (status = 200, body = StreamEvent, content_type = "text/event-stream",
            description = "Server-sent events: a chunk each, with its id"),
        ReadErrors,
    ),
)]
pub(super) async fn read_input(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    Segments((run, stream)): Segments<(String, String)>,
    headers: HeaderMap,
) -> Result<Response> {
    read_from(server, &bearer, &run, format!("{INPUT}{stream}"), &headers).await
}

async fn read_from(
    server: Arc<Server>,
    bearer: &Bearer,
    run: &str,
    stream: String,
    headers: &HeaderMap,
) -> Result<Response> {
    let run = find_to_read(&server, bearer, run).await?;
    let watch = server.storage.watch_topics(vec![Topic::Run(run.id), Topic::Streams(run.id)]);
    let after = match header_text(headers, "last-event-id") {
        // Before the first.
        Some("-1") => None,
        Some(id) => Some(seq_of(id)?),
        None if header_text(headers, "x-trigger-stream-start") == Some("latest") => {
            server.storage.last_chunk(run.id, stream.clone()).await?
        }
        None => None,
    };
    let wait = match header_text(headers, "timeout-seconds").map(str::parse::<u64>) {
        None => DEFAULT_WAIT,
        Some(Ok(seconds @ 1..=600)) => Duration::from_secs(seconds),
        Some(_) => return Err(ApiError::bad_request("`timeout-seconds` must be 1 to 600")),
    };
    let (events, sent) = mpsc::channel(1);
    let reader = Reader { environment: run.environment, run: run.id, stream, after, wait, watch, events, server };
    tokio::spawn(reader.send_all());
    let mut response = Response::new(Body::new(Events(sent)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-stream-version", HeaderValue::from_static("v1"));
    Ok(response)
}

fn header_text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// The number in the id of an event, `<milliseconds>-<number>`; or a number alone.
fn seq_of(id: &str) -> Result<u64> {
    let number = id.rsplit_once('-').map_or(id, |(_, number)| number);
    number.parse().map_err(|_| ApiError::bad_request("`last-event-id` must be the id of an event of this stream"))
}

/// One who reads a stream.
struct Reader {
    server: Arc<Server>,
    environment: EnvironmentId,
    run: RunId,
    stream: String,
    /// The last chunk that they have.
    after: Option<u64>,
    wait: Duration,
    watch: Watch,
    events: mpsc::Sender<Bytes>,
}

impl Reader {
    /// Sends until there is nothing more, or nobody to send to.
    async fn send_all(mut self) {
        let mut stopping = self.server.stopping.clone();
        let mut quiet = tokio::time::Instant::now() + self.wait;
        // The head of the answer goes out with it.
        if self.events.send(Bytes::from_static(b": ping\n\n")).await.is_err() {
            return;
        }
        loop {
            match self.send_new().await {
                Ok(Progress::Sent) => quiet = tokio::time::Instant::now() + self.wait,
                Ok(Progress::Nothing) => {}
                Ok(Progress::Ended) | Err(_) => return,
            }
            tokio::select! {
                () = self.watch.changed() => {}
                () = tokio::time::sleep_until(quiet) => return,
                () = tokio::time::sleep(PING) => {
                    if self.events.send(Bytes::from_static(b": ping\n\n")).await.is_err() {
                        return;
                    }
                }
                () = self.events.closed() => return,
                () = stopped(&mut stopping) => return,
            }
        }
    }

    async fn send_new(&mut self) -> Result<Progress> {
        // The run first: what it says is stored before it ends.
        let run = self.server.storage.run(self.environment, self.run).await?;
        let mut progress = Progress::Nothing;
        loop {
            let chunks = self.server.storage.chunks(self.run, self.stream.clone(), self.after, PAGE_CHUNKS).await?;
            let Some(last) = chunks.last() else { break };
            self.after = Some(last.seq);
            progress = Progress::Sent;
            for chunk in chunks {
                let event = event(&format!("{}-{}", chunk.at.as_millisecond(), chunk.seq), &chunk.data);
                if self.events.send(event).await.is_err() {
                    return Ok(Progress::Ended);
                }
            }
        }
        let has_ended = run.is_none_or(|run| run.status.is_final());
        Ok(if has_ended { Progress::Ended } else { progress })
    }
}

enum Progress {
    Sent,
    Nothing,
    /// Nothing more will come.
    Ended,
}

fn event(id: &str, data: &str) -> Bytes {
    let mut text = format!("id: {id}\n");
    // A line end within would end the field.
    for line in data.split(['\n', '\r']) {
        text.extend(["data: ", line, "\n"]);
    }
    text.push('\n');
    text.into()
}

/// The body that a [`Reader`] fills.
struct Events(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Asks how to write to a stream.
#[utoipa::path(
    put, path = "/realtime/v1/streams/{run}/{target}/{stream}", tag = "Realtime",
    responses((status = 202, body = StreamVersion, description = "How to write"), ChangeErrors),
)]
pub(super) async fn open(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments((run, target, stream)): Segments<(String, String, String)>,
) -> Result<(StatusCode, Json<StreamVersion>)> {
    target_of(&server, &caller, &run, &target, &stream).await?;
    Ok((StatusCode::ACCEPTED, Json(StreamVersion { version: "v1".into() })))
}

/// Asks for the number of the last chunk of a stream.
#[utoipa::path(
    head, path = "/realtime/v1/streams/{run}/{target}/{stream}", tag = "Realtime",
    responses(
        (status = 200, description = "The header has it", headers(
            ("x-last-chunk-index" = String,
                description = "The number of the last chunk, from 0; `-1` where there is none"),
        )),
        HeadErrors,
    ),
)]
pub(super) async fn last(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments((run, target, stream)): Segments<(String, String, String)>,
) -> Result<Response> {
    let run = target_of(&server, &caller, &run, &target, &stream).await?;
    let last = server.storage.last_chunk(run, stream).await?;
    let last = last.map_or_else(|| HeaderValue::from_static("-1"), HeaderValue::from);
    Ok(([("x-last-chunk-index", last)], StatusCode::OK).into_response())
}

/// Writes to a stream: one chunk a line.
#[utoipa::path(
    post, path = "/realtime/v1/streams/{run}/{target}/{stream}", tag = "Realtime",
    params(
        ("x-resume-from-chunk" = Option<u64>, Header,
            description = "The number of the first line in the stream: chunks that are there already are skipped"),
    ),
    request_body(content = String, content_type = "text/plain",
        description = "A chunk a line, of 128 KiB at most each; the content type does not matter"),
    responses((status = 200, body = StreamReceipt, description = "All of it is stored"), ChangeErrors),
)]
pub(super) async fn write(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments((run, target, stream)): Segments<(String, String, String)>,
    request: Request,
) -> Result<Json<StreamReceipt>> {
    let run = target_of(&server, &caller, &run, &target, &stream).await?;
    // A writer that begins says 0, also where an earlier one has written.
    let resume = match header_text(request.headers(), "x-resume-from-chunk").map(str::parse::<u64>) {
        None | Some(Ok(0)) => None,
        Some(Ok(first)) => Some(first),
        Some(Err(_)) => return Err(ApiError::bad_request("`x-resume-from-chunk` must be a whole number")),
    };
    let mut lines = Lines::new(request.into_body(), limits::MAX_STREAM_CHUNK_BYTES);
    let written = write_lines(&server, run, &stream, resume, &mut lines).await;
    if written.is_err() {
        lines.drain().await;
    }
    written.map(|()| Json(StreamReceipt { ok: true }))
}

async fn write_lines(
    server: &Server,
    run: RunId,
    stream: &str,
    mut first: Option<u64>,
    lines: &mut Lines,
) -> Result<()> {
    let mut group = Vec::new();
    loop {
        // What has arrived is stored before the next line is waited for.
        let line = match lines.next_in_hand() {
            Some(line) if group.len() < MAX_GROUP_LINES => Some(line),
            line => {
                if !group.is_empty() {
                    let stored = std::mem::take(&mut group);
                    let next = first.map(|first| first + stored.len() as u64);
                    store(server, run, stream, first, stored).await?;
                    first = next;
                }
                match line {
                    Some(line) => Some(line),
                    None => lines.next().await?,
                }
            }
        };
        match line {
            None => return Ok(()),
            Some(Line::Whole(text)) => group.push(chunk(text)?),
            Some(Line::TooLong(_)) => return Err(ApiError::too_large(stream::CHUNK_TOO_LARGE)),
        }
    }
}

/// Adds one chunk to a stream.
#[utoipa::path(
    post, path = "/realtime/v1/streams/{run}/{target}/{stream}/append", tag = "Realtime",
    request_body(content = String, content_type = "text/plain",
        description = "The chunk, of 128 KiB at most; the content type does not matter"),
    responses((status = 200, body = StreamReceipt, description = "It is stored"), ChangeErrors),
)]
pub(super) async fn append(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments((run, target, stream)): Segments<(String, String, String)>,
    Raw(body): Raw,
) -> Result<Json<StreamReceipt>> {
    let run = target_of(&server, &caller, &run, &target, &stream).await?;
    stream::check_chunk(body.len()).map_err(ApiError::too_large)?;
    store(&server, run, &stream, None, vec![chunk(body.into())?]).await?;
    json(StreamReceipt { ok: true })
}

/// Says something to a run that has not ended.
#[utoipa::path(
    post, path = "/realtime/v1/streams/{run}/input/{stream}", tag = "Realtime",
    security(("key" = []), ("publicToken" = [])),
    request_body = InputRequest,
    responses((status = 200, body = StreamReceipt, description = "It is stored"), ChangeErrors),
)]
pub(super) async fn input(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    Segments((run, stream)): Segments<(String, String)>,
    JsonBody(body): JsonBody<InputRequest>,
) -> Result<Json<StreamReceipt>> {
    bearer.may(Action::Write, &[Resource::one("inputStreams", &run)])?;
    let run = find(&server, &bearer.caller, &run).await?;
    check_name(&stream)?;
    if run.status.is_final() {
        return Err(ApiError::unprocessable("the run has ended: nobody would hear it"));
    }
    let data = body.data.as_deref().map_or("null", RawValue::get);
    stream::check_chunk(data.len()).map_err(ApiError::too_large)?;
    store(&server, run.id, &format!("{INPUT}{stream}"), None, vec![data.to_owned()]).await?;
    json(StreamReceipt { ok: true })
}

async fn store(server: &Server, run: RunId, stream: &str, first: Option<u64>, data: Vec<String>) -> Result<()> {
    let chunks = NewChunks { stream: stream.to_owned(), first, data, at: server.clock.now() };
    match server.storage.append_chunks(run, chunks).await? {
        Appended::Now => Ok(()),
        Appended::TooMany => Err(ApiError::unprocessable(stream::FULL)),
    }
}

fn chunk(text: Vec<u8>) -> Result<String> {
    String::from_utf8(text).map_err(|_| ApiError::bad_request("a chunk must be UTF-8"))
}

/// The run that a path means: itself, the one above it, or the one at the top.
async fn target_of(server: &Server, caller: &Caller, run: &str, target: &str, stream: &str) -> Result<RunId> {
    check_name(stream)?;
    let Run { id, origin, .. } = find(server, caller, run).await?;
    match target {
        "self" => Ok(id),
        "parent" => Ok(origin.parent.unwrap_or(id)),
        "root" => Ok(origin.root.unwrap_or(id)),
        _ => Err(ApiError::bad_request("the stream belongs to `self`, `parent` or `root`")),
    }
}

fn check_name(stream: &str) -> Result<()> {
    stream::check_name(stream).map_err(ApiError::bad_request)
}
