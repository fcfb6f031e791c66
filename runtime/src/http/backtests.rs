//! Backtests, and replays in the sandbox: asking for them, and what came of them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Json;
use axum::body::{Body as HttpBody, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use tokio::sync::mpsc;

use super::auth::Caller;
use super::body::{Body, Params, Segments, json};
use super::error::{ApiError, Result};
use super::list::{behind_run, cut, page_size};
use super::openapi::{ChangeErrors, Pages, ReadErrors};
use super::{Server, cursor};
use crate::api::{
    self, BacktestItem, BacktestList, BacktestReplay, BacktestReplays, BacktestRequest, Gate, ReplayMode, ReplayReport,
};
use crate::backtest::jobs::{BacktestError, Backtests, Replayed, Wanted};
use crate::backtest::judge::Judged;
use crate::backtest::policy;
use crate::backtest::report::{Format, Report, ReportRow, Summary};
use crate::model::backtest::BacktestStatus;
use crate::model::id::{BacktestId, DeploymentId, RunId};
use crate::model::limits::MAX_PAGE_RUNS;
use crate::model::verdict::Verdict;
use crate::storage::{self, Backtest, Storage, StoredReplay};

/// Pieces of a report that may wait to be sent.
const PIECES: usize = 1;
/// Bytes from which on a piece of a report is sent.
const PIECE_BYTES: usize = 64 << 10;

fn not_found() -> ApiError {
    ApiError::not_found("Backtest not found")
}

impl From<BacktestError> for ApiError {
    fn from(error: BacktestError) -> Self {
        match error {
            BacktestError::Refused(text) => Self::bad_request(text),
            BacktestError::Rules(error) => Self::bad_request(format!("`options.rules`: {error}")),
            BacktestError::Selection(error) => error.into(),
            BacktestError::NoSuchRun => Self::not_found("Run not found"),
            BacktestError::NoSuchBacktest => not_found(),
            error @ (BacktestError::NotReplayable(_) | BacktestError::NotComparable(_)) => {
                Self::unprocessable(error.to_string())
            }
            BacktestError::Over | BacktestError::Pending => Self::conflict(error.to_string()),
            BacktestError::TooMany => Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_backtests", error.to_string()),
            error @ (BacktestError::Full | BacktestError::FullOfReaders) => {
                Self::busy("too_many_replays", error.to_string())
            }
            error @ BacktestError::Host(_) => Self::internal(error),
            BacktestError::Storage(error) => error.into(),
        }
    }
}

/// Replays runs that have ended on a version, in the sandbox, and compares what it does with what was done then.
///
/// It is done in the background. No run is made, and no effect leaves the server. Where the environment has a backtest
/// policy, there is no other `gate`.
#[utoipa::path(
    post, path = "/api/v1/backtests", tag = "Backtests",
    request_body = BacktestRequest,
    responses((status = 202, body = api::BacktestId, description = "The backtest was recorded"), ChangeErrors),
)]
pub(super) async fn create(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Body(body): Body<BacktestRequest>,
) -> Result<(StatusCode, Json<api::BacktestId>)> {
    if body.gate.is_some() && policy::of_environment(&server.storage, caller.environment.id).await?.is_some() {
        let text = "the environment has a backtest policy, so that `gate` is not for you to say: upload the version again, \
                    and its backtest decides";
        return Err(ApiError::forbidden(text));
    }
    let id = server.backtests.create(caller.environment.id, body).await?;
    Ok((StatusCode::ACCEPTED, Json(api::BacktestId { id: id.to_string() })))
}

/// The backtests of the environment, newest first.
#[utoipa::path(
    get, path = "/api/v1/backtests", tag = "Backtests",
    params(Pages),
    responses((status = 200, body = BacktestList, description = "A page"), ReadErrors),
)]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    params: Params,
) -> Result<Json<BacktestList>> {
    params.only(&["page[size]", "page[after]", "page[before]"])?;
    let (limit, place) = (page_size(&params)?, cursor::place_of(&params)?);
    let page = server.storage.backtests(caller.environment.id, place, limit).await?;
    let pagination = cursor::around(&page, server.runs.now(), |backtest| backtest.id);
    let mut data = Vec::with_capacity(page.items.len());
    for backtest in page.items {
        data.push(item(&server.storage, backtest).await?);
    }
    json(BacktestList { data, pagination })
}

/// How far a backtest has come, and how many runs came to each verdict.
#[utoipa::path(
    get, path = "/api/v1/backtests/{backtest}", tag = "Backtests",
    responses((status = 200, body = BacktestItem, description = "The backtest"), ReadErrors),
)]
pub(super) async fn retrieve(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(backtest): Segments<String>,
) -> Result<Json<BacktestItem>> {
    let backtest = find(&server, &caller, &backtest).await?;
    let request = server.storage.backtest_request(backtest.environment, backtest.id).await?;
    // One of an earlier version may say what this one does not know.
    let request = request.and_then(|text| serde_json::from_str(&text).ok());
    json(BacktestItem { request, ..item(&server.storage, backtest).await? })
}

/// Stops a backtest. What it has found stays.
#[utoipa::path(
    post, path = "/api/v1/backtests/{backtest}/abort", tag = "Backtests",
    responses((status = 200, body = api::BacktestId, description = "It goes no further"), ChangeErrors),
)]
pub(super) async fn abort(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(backtest): Segments<String>,
) -> Result<Json<api::BacktestId>> {
    let id: BacktestId = backtest.parse().map_err(|_| not_found())?;
    server.backtests.abort(caller.environment.id, id).await?;
    json(api::BacktestId { id: id.to_string() })
}

/// Deletes a backtest that is over, and all that it has found.
///
/// Backtests are deleted by themselves some time after their end (`--backtest-retention`).
#[utoipa::path(
    delete, path = "/api/v1/backtests/{backtest}", tag = "Backtests",
    responses((status = 200, body = api::BacktestId, description = "Nobody sees it any more"), ChangeErrors),
)]
pub(super) async fn delete(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(backtest): Segments<String>,
) -> Result<Json<api::BacktestId>> {
    let id: BacktestId = backtest.parse().map_err(|_| not_found())?;
    server.backtests.delete(caller.environment.id, id).await?;
    json(api::BacktestId { id: id.to_string() })
}

/// What came of each run of a backtest.
#[utoipa::path(
    get, path = "/api/v1/backtests/{backtest}/replays", tag = "Backtests",
    params(
        ("verdict" = Option<String>, Query, description = "Only those with this verdict, such as `output-changed`"),
        ("page[size]" = Option<u32>, Query, description = "Items on a page, 1 to 100; default 25"),
        ("page[after]" = Option<String>, Query, description = "The `next` of the page before"),
    ),
    responses((status = 200, body = BacktestReplays, description = "A page"), ReadErrors),
)]
pub(super) async fn replays(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(backtest): Segments<String>,
    params: Params,
) -> Result<Json<BacktestReplays>> {
    params.only(&["verdict", "page[size]", "page[after]"])?;
    let backtest = find(&server, &caller, &backtest).await?;
    let (limit, after) = behind_run(&params)?;
    let verdict = params.get("verdict").map(verdict).transpose()?;
    let mut found = server.storage.backtest_replays(backtest.id, verdict, after, limit + 1).await?;
    let pagination = cut(&mut found, limit, |replay| replay.source);
    let replay = |stored| replay(&server.backtests, backtest.id, stored);
    let data = found.into_iter().map(replay).collect::<Result<_>>()?;
    json(BacktestReplays { data, pagination })
}

/// The report of a backtest, as far as it has come.
#[utoipa::path(
    get, path = "/api/v1/backtests/{backtest}/report", tag = "Backtests",
    params(("format" = Option<String>, Query, description = "`json` (the default), `junit` or `html`")),
    responses(
        (status = 200, description = "The report", content(
            (serde_json::Value = "application/json"), (String = "application/xml"), (String = "text/html"),
        )),
        ReadErrors,
    ),
)]
pub(super) async fn report(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(backtest): Segments<String>,
    params: Params,
) -> Result<Response> {
    params.only(&["format"])?;
    let backtest = find(&server, &caller, &backtest).await?;
    let format = Format::parse(params.get("format").unwrap_or("json"))
        .ok_or_else(|| ApiError::bad_request("`format` must be json, junit or html"))?;
    let report = Report::new(format, summary(&server, &backtest).await?);
    let (send, pieces) = mpsc::channel(PIECES);
    tokio::spawn(write(server.clone(), backtest, report, send));
    let body = HttpBody::new(Pieces(pieces));
    Ok(([(header::CONTENT_TYPE, format.content_type())], body).into_response())
}

/// Replays a run in the sandbox: the answer to a replay in another mode than `live`.
pub(super) async fn replay_one(server: &Server, caller: &Caller, run: RunId, wanted: Wanted) -> Result<ReplayReport> {
    let mode = wanted.mode.unwrap_or(ReplayMode::Sandbox);
    let replayed = server.backtests.replay_one(caller.environment.id, run, wanted).await?;
    let Replayed { judged, deployment, ends } = replayed;
    let (then, now) = ends.unzip();
    let Judged { task, verdict, comparison, note, is_troubled: _, is_crowded_out: _, observed: _ } = judged;
    Ok(ReplayReport {
        source_run_id: run.to_string(),
        task_identifier: task,
        version: deployment.version.to_string(),
        mode,
        verdict: verdict.as_str().into(),
        comparison,
        note,
        then,
        now,
    })
}

async fn find(server: &Server, caller: &Caller, backtest: &str) -> Result<Backtest> {
    let id: BacktestId = backtest.parse().map_err(|_| not_found())?;
    server.storage.backtest(caller.environment.id, id).await?.ok_or_else(not_found)
}

fn verdict(word: &str) -> Result<Verdict> {
    Verdict::parse(word).ok_or_else(|| {
        let known = Verdict::ALL.map(Verdict::as_str).join(", ");
        ApiError::bad_request(format!("`verdict` must be one of {known}"))
    })
}

async fn version_of(storage: &Storage, deployment: DeploymentId) -> Result<String> {
    let found = storage.deployment(deployment).await?;
    Ok(found.map_or_else(|| deployment.to_string(), |found| found.version.to_string()))
}

async fn item(storage: &Storage, backtest: Backtest) -> Result<BacktestItem> {
    let counts = backtest.counts;
    let named = |verdict: Verdict| (verdict.as_str().to_owned(), counts.of(verdict));
    let against = match backtest.against {
        Some(against) => version_of(storage, against).await?,
        None => "recorded".into(),
    };
    let is_clean = match backtest.status {
        BacktestStatus::Pending => None,
        BacktestStatus::Completed => {
            Some(counts.known() > 0 && counts.differences() == 0 && backtest.untested.is_empty())
        }
        // Nobody has looked at the rest.
        BacktestStatus::Aborted | BacktestStatus::Failed => Some(false),
    };
    Ok(BacktestItem {
        id: backtest.id.to_string(),
        status: backtest.status.into(),
        version: version_of(storage, backtest.deployment).await?,
        against,
        planned: backtest.planned,
        done: backtest.done,
        verdicts: Verdict::ALL.into_iter().map(named).filter(|(_, count)| *count > 0).collect(),
        differences: counts.differences(),
        is_clean,
        created_at: backtest.created_at,
        completed_at: backtest.completed_at,
        gate: backtest.gate.map(|gate| Gate { allow: gate.allowed, min_known: Some(gate.min_known) }),
        is_open: backtest.is_open,
        reason: backtest.reason,
        untested: backtest.untested,
        request: None,
    })
}

fn replay(backtests: &Backtests, of: BacktestId, stored: StoredReplay) -> Result<BacktestReplay> {
    let row = row(backtests, of, stored)?;
    Ok(BacktestReplay {
        run_id: row.run_id,
        task_identifier: row.task,
        verdict: row.verdict.as_str().into(),
        differs: row.differs,
        comparison: row.comparison,
        note: row.note,
    })
}

fn row(backtests: &Backtests, of: BacktestId, stored: StoredReplay) -> std::result::Result<ReportRow, storage::Error> {
    let comparison = backtests.comparison(of, &stored)?;
    let StoredReplay { source, task, verdict, is_troubled, comparison: _, note } = stored;
    let differs = is_troubled || !verdict.is_clean();
    Ok(ReportRow { run_id: source.to_string(), task, verdict, differs, comparison, note })
}

async fn summary(server: &Server, backtest: &Backtest) -> Result<Summary> {
    let counts = backtest.counts;
    let end = backtest.completed_at.unwrap_or_else(|| server.runs.now());
    let seconds = end.duration_since(backtest.created_at).as_secs_f64();
    let against = match backtest.against {
        Some(against) => Some(version_of(&server.storage, against).await?),
        None => None,
    };
    Ok(Summary {
        id: backtest.id.to_string(),
        version: version_of(&server.storage, backtest.deployment).await?,
        against,
        task: None,
        counts,
        started_at: backtest.created_at,
        finished_at: backtest.completed_at,
        replays_per_second: if seconds > 0.0 { counts.total() as f64 / seconds } else { 0.0 },
        allowed: backtest.gate.map_or(0, |gate| gate.allowed),
        is_gate_open: backtest.is_open,
        reason: backtest.reason.clone(),
        untested: backtest.untested.clone(),
    })
}

/// Writes a report, row by row, until it is whole or nobody reads it. One that breaks off ends with an error, so that
/// nobody takes it for whole.
async fn write(server: Arc<Server>, backtest: Backtest, report: Report, send: mpsc::Sender<io::Result<Bytes>>) {
    if let Err(error) = write_to(&server, &backtest, report, &send).await {
        tracing::error!(backtest.id = %backtest.id, %error, "the report of a backtest broke off");
        let _ = send.send(Err(io::Error::other("the report broke off"))).await;
    }
}

async fn write_to(
    server: &Server,
    backtest: &Backtest,
    mut report: Report,
    send: &mpsc::Sender<io::Result<Bytes>>,
) -> std::result::Result<(), storage::Error> {
    let (storage, backtests) = (&server.storage, &server.backtests);
    let mut piece = report.head();
    let mut after = None;
    // Where nobody reads any more, there is nothing left to do.
    while !send.is_closed() {
        let page = storage.backtest_replays(backtest.id, None, after, MAX_PAGE_RUNS).await?;
        let Some(last) = page.last() else {
            if storage.backtest(backtest.environment, backtest.id).await?.is_none() {
                return Err(storage::Error::Corrupt("the backtest was deleted meanwhile".into()));
            }
            piece.push_str(&report.tail());
            let _ = send.send(Ok(piece.into())).await;
            return Ok(());
        };
        after = Some(last.source);
        for replay in page {
            piece.push_str(&report.row(&row(backtests, backtest.id, replay)?));
            if piece.len() >= PIECE_BYTES && send.send(Ok(std::mem::take(&mut piece).into())).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A body that is written by a task.
struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
