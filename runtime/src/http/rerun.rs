//! Time travel: what is on record of a run, its recording as a file, exact re-execution, and going on where it failed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::Server;
use super::auth::Caller;
use super::body::{Params, Segments, json};
use super::error::{ApiError, Result};
use super::openapi::{ChangeErrors, ReadErrors};
use super::runs::find;
use crate::api::{CallList, RecordingFile, RerunReport, RunComparison, RunContext};
use crate::backtest::file::FileError;
use crate::backtest::forward::ForwardError;
use crate::backtest::jobs::BacktestError;
use crate::backtest::rerun::{ExportError, Kept};

impl From<FileError> for ApiError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::TooLarge => Self::unprocessable(error.to_string()),
            FileError::Unreadable(_) | FileError::Format(_) | FileError::Invalid { .. } => Self::internal(error),
        }
    }
}

impl From<ExportError> for ApiError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Backtest(error) => error.into(),
            ExportError::File(error) => error.into(),
        }
    }
}

impl From<ForwardError> for ApiError {
    fn from(error: ForwardError) -> Self {
        match error {
            ForwardError::Refused(text) => Self::unprocessable(text),
            error @ (ForwardError::Differs { .. } | ForwardError::Already(_)) => Self::conflict(error.to_string()),
            ForwardError::Backtest(error) => error.into(),
            ForwardError::Trigger(error) => error.into(),
            ForwardError::Storage(error) => error.into(),
        }
    }
}

/// The recording of a run, as a file: with it and the component, the run can be executed again anywhere.
///
/// What the run was told is in it: its payload, and bodies of responses. The values of variables, secret headers and the
/// URLs of tokens are in it with `secrets=true` only; a run that computed something from them cannot be executed
/// exactly again without. With `plain=true`, the values of variables that are not marked as secret stay.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/recording", tag = "Runs",
    params(
        ("secrets" = Option<bool>, Query, description = "Keep secrets in; default false"),
        ("plain" = Option<bool>, Query,
            description = "Keep the values of variables that are not marked as secret; default false"),
    ),
    responses(
        (status = 200, body = RecordingFile, description = "The file"),
        (status = 422, body = crate::api::ErrorBody, description = "The run has no recording that can be used"),
        ReadErrors,
    ),
)]
pub(super) async fn recording(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(run): Segments<String>,
    params: Params,
) -> Result<Json<RecordingFile>> {
    params.only(&["secrets", "plain"])?;
    let run = find(&server, &caller, &run).await?;
    let kept = match (params.flag("secrets")?, params.flag("plain")?) {
        (true, _) => Kept::Secrets,
        (false, true) => Kept::PlainVariables,
        (false, false) => Kept::Nothing,
    };
    json(server.backtests.recording(caller.environment.id, run.id, kept).await?)
}

/// What a run has asked its host for that reaches beyond it, or waits: of its last attempt, in order, 1,000 calls at most.
///
/// Where nothing is on record, `note` says why: the run has not ended, its journal was not wanted or is forgotten. The
/// values of variables are left out, and what is secret by its name.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/calls", tag = "Runs",
    responses((status = 200, body = CallList, description = "The calls"), ReadErrors),
)]
pub(super) async fn calls(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(run): Segments<String>,
) -> Result<Json<CallList>> {
    let run = find(&server, &caller, &run).await?;
    json(server.backtests.calls(caller.environment.id, run.id).await?)
}

/// What a run could know of itself.
///
/// It is what its last attempt was told, where that is on record; else what one would be told now. The values of variables
/// are left out.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/context", tag = "Runs",
    responses(
        (status = 200, body = RunContext, description = "The context"),
        (status = 422, body = crate::api::ErrorBody, description = "The run has no version yet"),
        ReadErrors,
    ),
)]
pub(super) async fn context(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(run): Segments<String>,
) -> Result<Json<RunContext>> {
    let run = find(&server, &caller, &run).await?;
    match server.backtests.told(caller.environment.id, run.id).await {
        Err(BacktestError::NotReplayable(why)) => Err(ApiError::unprocessable(format!("there is no context: {why}"))),
        context => json(context?),
    }
}

/// How a run differs from another one that was done before, mostly the run that it replays.
///
/// Both were done for real. What they asked for is compared where both are on record, and how they ended in any case; the
/// stored rules of the environment hold.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/comparison", tag = "Runs",
    params(("with" = Option<String>, Query, description = "The run of then: `run_…`; default: the run that this one replays")),
    responses(
        (status = 200, body = RunComparison, description = "How they differ"),
        (status = 422, body = crate::api::ErrorBody, description = "The code of one of them did not come to an end"),
        ReadErrors,
    ),
)]
pub(super) async fn comparison(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(run): Segments<String>,
    params: Params,
) -> Result<Json<RunComparison>> {
    params.only(&["with"])?;
    let run = find(&server, &caller, &run).await?;
    let then = match params.get("with") {
        Some(with) => Some(find(&server, &caller, with).await?.id),
        None => None,
    };
    json(server.backtests.beside(caller.environment.id, run.id, then).await?)
}

/// Executes a run again on its own version, with what it was answered then, and says whether it did the same.
///
/// No run is made, and nothing is reached outside.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/rerun", tag = "Runs",
    params(("steps" = Option<bool>, Query, description = "List the calls with their answers; default false")),
    responses(
        (status = 200, body = RerunReport, description = "What came of it"),
        ChangeErrors,
    ),
)]
pub(super) async fn rerun(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(run): Segments<String>,
    params: Params,
) -> Result<Json<RerunReport>> {
    params.only(&["steps"])?;
    let steps = params.flag("steps")?;
    let run = find(&server, &caller, &run).await?;
    json(server.backtests.rerun(caller.environment.id, run.id, steps).await?)
}
