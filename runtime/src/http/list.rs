//! The query of a list of runs.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::body::Params;
use super::cursor;
use super::error::{ApiError, Result};
use crate::api::{Pagination, RunStatus};
use crate::model::admission::stored_queue_name;
use crate::model::id::RunId;
use crate::model::version::Version;
use crate::model::{Timestamp, duration, limits};
use crate::storage::{Place, RunFilter};

pub(super) const KNOWN: &[&str] = &[
    "page[size]",
    "page[after]",
    "page[before]",
    "filter[status]",
    "filter[taskIdentifier]",
    "filter[version]",
    "filter[tag]",
    "filter[queue]",
    "filter[machine]",
    "filter[region]",
    "filter[batch]",
    "filter[schedule]",
    "filter[bulkAction]",
    "filter[isTest]",
    "filter[isReplay]",
    "filter[replayedFrom]",
    "filter[error]",
    "filter[createdAt][from]",
    "filter[createdAt][to]",
    "filter[createdAt][period]",
];

/// What a list asks for.
#[derive(Debug)]
pub(super) struct ListQuery {
    pub(super) filter: RunFilter,
    /// Versions of which the filter wants the runs; they are yet to be found.
    pub(super) versions: Vec<Version>,
    pub(super) place: Place,
    pub(super) limit: u32,
}

/// Reads the query of a list at `now`. What is not offered is refused, so that nobody takes an
/// unfiltered list for a filtered one.
pub(super) fn parse(params: &Params, now: Timestamp) -> Result<ListQuery> {
    params.only(KNOWN)?;
    let mut filter = RunFilter::default();
    for word in params.list("filter[status]") {
        let status = status::<RunStatus>(word, "a status of a run")?.stored();
        if !filter.statuses.contains(&status) {
            filter.statuses.push(status);
        }
    }
    filter.tasks = words(params, "filter[taskIdentifier]")?;
    filter.tags = words(params, "filter[tag]")?;
    let queues = words(params, "filter[queue]")?;
    filter.queues = queues.iter().map(|name| stored_queue_name(name)).collect::<std::result::Result<_, _>>()?;
    filter.machines = words(params, "filter[machine]")?;
    filter.batch = id(params, "filter[batch]")?;
    filter.schedule = id(params, "filter[schedule]")?;
    filter.bulk = id(params, "filter[bulkAction]")?;
    filter.errors = words(params, "filter[error]")?;
    filter.is_test = flag(params, "filter[isTest]")?;
    filter.is_replay = flag(params, "filter[isReplay]")?;
    filter.replay_of = id(params, "filter[replayedFrom]")?;
    let version = |word: String| {
        word.parse()
            .map_err(|_| ApiError::bad_request("Query Error: filter[version]: not a version such as 20261121.3"))
    };
    let versions = words(params, "filter[version]")?.into_iter().map(version).collect::<Result<_>>()?;
    (filter.from, filter.to) = created_at(params, now)?;
    Ok(ListQuery { filter, versions, place: cursor::place_of(params)?, limit: page_size(params)? })
}

/// The moments from which and up to which a list shows what was made.
pub(super) fn created_at(params: &Params, now: Timestamp) -> Result<(Option<Timestamp>, Option<Timestamp>)> {
    times(params, ["filter[createdAt][from]", "filter[createdAt][to]", "filter[createdAt][period]"], now)
}

/// The number of items on a page, from 1 to 100.
pub(super) fn page_size(params: &Params) -> Result<u32> {
    match params.number("page[size]")? {
        None => Ok(limits::DEFAULT_PAGE_ITEMS),
        Some(size @ 1..=100) => Ok(u32::try_from(size).unwrap_or(limits::MAX_PAGE_ITEMS)),
        Some(_) => Err(ApiError::bad_request("`page[size]` must be 1 to 100")),
    }
}

/// How many of the things on a page there may be that belong to a source run each, and behind which run.
pub(super) fn behind_run(params: &Params) -> Result<(u32, Option<RunId>)> {
    let bad = |_| ApiError::bad_request("`page[after]` must be the id of a run: the `next` of the page before");
    Ok((page_size(params)?, params.get("page[after]").map(str::parse).transpose().map_err(bad)?))
}

/// Cuts off what was found beyond a page of such things, and says where the next one begins.
pub(super) fn cut<T>(found: &mut Vec<T>, limit: u32, source: impl Fn(&T) -> RunId) -> Pagination {
    let more = found.len() > limit as usize;
    found.truncate(limit as usize);
    Pagination { next: found.last().filter(|_| more).map(|last| source(last).to_string()), previous: None }
}

/// The values of a condition, each once.
pub(super) fn words(params: &Params, name: &str) -> Result<Vec<String>> {
    let mut words: Vec<String> = params.list(name).into_iter().map(Into::into).collect();
    words.sort();
    words.dedup();
    if words.len() > limits::MAX_FILTER_VALUES {
        return Err(ApiError::bad_request(format!(
            "Query Error: {name} can name {} at most",
            limits::MAX_FILTER_VALUES
        )));
    }
    Ok(words)
}

/// Whether something must be so; `None`: it need not.
fn flag(params: &Params, name: &str) -> Result<Option<bool>> {
    params.get(name).map(|_| params.flag(name)).transpose()
}

fn id<T: std::str::FromStr>(params: &Params, name: &str) -> Result<Option<T>> {
    let bad = |_| ApiError::bad_request(format!("Query Error: {name} is not an id of its kind"));
    params.get(name).map(str::parse).transpose().map_err(bad)
}

/// A status as the API writes it; `known` says what it can be.
pub(super) fn status<T: DeserializeOwned>(word: &str, known: &str) -> Result<T> {
    serde_json::from_value(word.into()).map_err(|_| {
        let word: String = word.chars().take(40).collect();
        ApiError::bad_request(format!("Query Error: filter[status]: `{word}` is not {known}"))
    })
}

/// Two moments between which something was made: a parameter for each, and one for a period that
/// ends at `now`.
pub(super) fn times(
    params: &Params,
    [from, to, period]: [&str; 3],
    now: Timestamp,
) -> Result<(Option<Timestamp>, Option<Timestamp>)> {
    let mut since = instant(params, from)?;
    if let Some(text) = params.get(period) {
        let length =
            duration::parse(text).map_err(|error| ApiError::bad_request(format!("Query Error: {period}: {error}")))?;
        since = since.max(Some(before(now, length)));
    }
    Ok((since, instant(params, to)?))
}

/// Milliseconds since 1970, or ISO 8601.
fn instant(params: &Params, name: &str) -> Result<Option<Timestamp>> {
    let Some(text) = params.get(name) else { return Ok(None) };
    let from_ms = text.parse().ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let at = from_ms.or_else(|| text.parse().ok());
    at.map(Some).ok_or_else(|| {
        ApiError::bad_request(format!("Query Error: {name} must be milliseconds since 1970 or an ISO date"))
    })
}

fn before(now: Timestamp, period: Duration) -> Timestamp {
    now.checked_sub(period).unwrap_or(Timestamp::MIN)
}
