//! Numbers: what an environment is at, what has ended in it, and its errors in groups.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;

use super::Server;
use super::auth::Caller;
use super::body::{Params, Segments, json};
use super::error::{ApiError, Result};
use super::openapi::{Period, ReadErrors};
use crate::api::{
    EndedCounts, ErrorGroupItem, ErrorGroupList, Overview, PresentCounts, Series, TaskOverview, TaskStatistics,
};
use crate::model::duration;
use crate::model::limits::MAX_STATISTICS_ROWS;
use crate::model::run::Status;
use crate::model::statistics::{Class, Step, percentile};
use crate::storage::{Counted, ErrorGroup, Present};

/// What is counted where nobody says.
const DEFAULT_PERIOD: Duration = Duration::from_secs(86_400);
/// Up to this length a period is counted by minutes.
const LONGEST_BY_MINUTES: Duration = Duration::from_secs(6 * 3_600);

/// How the environment is: what runs and waits now, and what has ended, over time and by task.
#[utoipa::path(
    get, path = "/api/v1/overview", tag = "Statistics",
    params(Period),
    responses((status = 200, body = Overview, description = "The numbers"), ReadErrors),
)]
pub(super) async fn overview(
    State(server): State<Arc<Server>>,
    caller: Caller,
    params: Params,
) -> Result<Json<Overview>> {
    params.only(&["period"])?;
    let span = Span::read(&params, server.clock.now())?;
    let environment = caller.environment.id;
    let ends = server.storage.ended_since(environment, span.step, span.from).await?;
    let present = server.storage.present(environment).await?;
    let mut tasks: BTreeMap<&str, Sum> = BTreeMap::new();
    for row in &ends.by_task {
        tasks.entry(&row.of).or_default().add(row);
    }
    json(Overview {
        now: present_counts(&present),
        ended: Sum::of(&ends.by_interval).counts,
        series: span.series(&ends.by_interval),
        tasks: tasks.into_iter().map(|(task, sum)| sum.of_task(task)).collect(),
        is_cut: ends.is_cut,
    })
}

/// How runs of a task ended, over time.
#[utoipa::path(
    get, path = "/api/v1/tasks/{task}/statistics", tag = "Statistics",
    params(Period),
    responses((status = 200, body = TaskOverview, description = "The numbers"), ReadErrors),
)]
pub(super) async fn of_task(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(task): Segments<String>,
    params: Params,
) -> Result<Json<TaskOverview>> {
    params.only(&["period"])?;
    let span = Span::read(&params, server.clock.now())?;
    let environment = caller.environment.id;
    let counted = server.storage.ended_of_task_since(environment, task.clone(), span.step, span.from).await?;
    json(TaskOverview {
        ended: Sum::of(&counted).of_task(&task),
        series: span.series(&counted),
        is_cut: counted.len() >= MAX_STATISTICS_ROWS as usize,
    })
}

/// Errors with which runs have ended, in groups that look alike.
#[utoipa::path(
    get, path = "/api/v1/errors", tag = "Statistics",
    params(Period),
    responses((status = 200, body = ErrorGroupList, description = "The groups, the last seen first"), ReadErrors),
)]
pub(super) async fn errors(
    State(server): State<Arc<Server>>,
    caller: Caller,
    params: Params,
) -> Result<Json<ErrorGroupList>> {
    params.only(&["period"])?;
    let span = Span::read(&params, server.clock.now())?;
    let groups = server.storage.error_groups(caller.environment.id, span.from).await?;
    json(ErrorGroupList { data: groups.into_iter().map(group_item).collect() })
}

fn group_item(group: ErrorGroup) -> ErrorGroupItem {
    ErrorGroupItem {
        fingerprint: group.fingerprint,
        task_identifier: group.task,
        name: group.name,
        message: group.message,
        count: group.runs,
        first_seen_at: group.first_seen_at,
        last_seen_at: group.last_seen_at,
        last_run_id: group.last_run.to_string(),
        versions: group.versions.iter().map(ToString::to_string).collect(),
    }
}

fn present_counts(present: &Present) -> PresentCounts {
    let count = |wanted: Status| {
        let found = present.counts.iter().find(|(status, _)| *status == wanted);
        found.map_or(0, |(_, count)| *count)
    };
    PresentCounts {
        executing: count(Status::Executing),
        queued: count(Status::Queued),
        waiting: count(Status::Waiting),
        delayed: count(Status::Delayed),
        pending_version: count(Status::PendingVersion),
        oldest_queued_at: present.oldest_queued_at,
    }
}

/// The time that is asked for.
struct Span {
    from: Timestamp,
    now: Timestamp,
    step: Step,
}

impl Span {
    fn read(params: &Params, now: Timestamp) -> Result<Self> {
        let period = match params.get("period") {
            Some(text) => {
                duration::parse(text).map_err(|error| ApiError::bad_request(format!("Query Error: period: {error}")))?
            }
            None => DEFAULT_PERIOD,
        };
        if period > Step::Hour.retention() {
            return Err(ApiError::bad_request("Query Error: period: numbers are kept for 90 days"));
        }
        let step = if period <= LONGEST_BY_MINUTES { Step::Minute } else { Step::Hour };
        Ok(Self { from: step.begin_of(now.checked_sub(period).unwrap_or(Timestamp::MIN)), now, step })
    }

    /// One entry for each interval, up to the one that is now.
    fn series(&self, counted: &[Counted<Timestamp>]) -> Series {
        let mut intervals: HashMap<Timestamp, Sum> = HashMap::new();
        for row in counted {
            intervals.entry(row.of).or_default().add(row);
        }
        let length = self.step.length();
        let mut series = Series {
            from: self.from,
            step_seconds: length.as_secs(),
            completed: Vec::new(),
            failed: Vec::new(),
            dropped: Vec::new(),
            p50_ms: Vec::new(),
            p99_ms: Vec::new(),
        };
        let mut at = self.from;
        while at <= self.now {
            let sum = intervals.remove(&at).unwrap_or_default();
            series.completed.push(sum.counts.completed);
            series.failed.push(sum.counts.failed);
            series.dropped.push(sum.counts.dropped);
            series.p50_ms.push(sum.percentile_ms(0.5));
            series.p99_ms.push(sum.percentile_ms(0.99));
            at = crate::model::run::later(at, length);
        }
        series
    }
}

/// Runs that ended, added up.
#[derive(Default)]
struct Sum {
    counts: EndedCounts,
    classes: BTreeMap<Class, u64>,
}

impl Sum {
    fn of<K>(counted: &[Counted<K>]) -> Self {
        let mut sum = Self::default();
        counted.iter().for_each(|row| sum.add(row));
        sum
    }

    fn add<K>(&mut self, row: &Counted<K>) {
        self.counts.completed += row.completed;
        self.counts.failed += row.failed;
        self.counts.dropped += row.dropped;
        if let Some(class) = row.class {
            *self.classes.entry(class).or_default() += row.completed + row.failed + row.dropped;
        }
    }

    fn percentile_ms(&self, share: f64) -> Option<f64> {
        let counts: Vec<(Class, u64)> = self.classes.iter().map(|(class, count)| (*class, *count)).collect();
        percentile(&counts, share).map(|length| (length.as_secs_f64() * 100_000.0).round() / 100.0)
    }

    fn of_task(self, task: &str) -> TaskStatistics {
        let (p50_ms, p99_ms) = (self.percentile_ms(0.5), self.percentile_ms(0.99));
        TaskStatistics { task_identifier: task.into(), counts: self.counts, p50_ms, p99_ms }
    }
}
