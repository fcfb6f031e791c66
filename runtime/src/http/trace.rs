//! The trace of a run: what happened in it, as spans within spans.
//!
//! Nothing is recorded for traces alone. The run is the root span, its attempts lie in it as its
//! events tell, the spans that a guest opened lie in these as its log tells, log lines are events of
//! the span they were written in, and a run that was triggered is a span of the attempt that was
//! going on. Ids are derived from what a span is, so that they stay.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Server;
use super::auth::Bearer;
use super::body::{Params, Segments, json};
use super::error::{ApiError, Result};
use super::openapi::ReadErrors;
use super::runs::find_to_read;
use crate::api::{
    AttemptFailure, FlatSpan, RunStatus, SpanData, SpanDetails, SpanEvent, Trace, TraceAnswer, TraceOrPage, TracePage,
    TracePagination, TraceSpan, TriggeredRun,
};
use crate::model::digest::Digest;
use crate::model::id::RunId;
use crate::model::limits::{MAX_TRACE_BYTES, MAX_TRACE_ENTRIES, MAX_TRACE_LEVELS, MAX_TRACE_PAGE_SPANS};
use crate::model::run::{Run, Status};
use crate::storage::{LogKind, LogRow, RunEvent};

/// Log entries that are read at a time.
const LOG_PAGE: u32 = 1_000;
/// Hexadecimal digits of the id of a span, and of a trace.
const SPAN_ID_CHARS: usize = 16;
const TRACE_ID_CHARS: usize = 32;

/// What a span stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Run,
    Attempt,
    Guest,
}

/// A span, before it is shown in one way or the other.
#[derive(Debug)]
struct Span {
    kind: Kind,
    id: String,
    /// The place of the span around it, which is always before its own.
    parent: Option<usize>,
    level_in_tree: usize,
    run: RunId,
    attempt: Option<u32>,
    message: String,
    begin: Timestamp,
    /// How long it lasted; `None`: it has not ended.
    length: Option<Duration>,
    is_error: bool,
    is_cancelled: bool,
    level: String,
    properties: Option<Value>,
    events: Vec<SpanEvent>,
}

/// All spans of a run, parents before their children, and the runs that it triggered.
struct Spans {
    run: Run,
    all: Vec<Span>,
    /// Each with the place of the span that it was triggered in.
    triggered: Vec<(usize, Run)>,
    /// Whether the log has more than is looked at.
    is_cut: bool,
    now: Timestamp,
}

/// The trace of a run: the run, its attempts, their spans and log lines, as a tree. With a `page[size]`, the same spans
/// one after another, page by page.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/trace", tag = "Runs",
    security(("key" = []), ("publicToken" = [])),
    params(
        ("page[size]" = Option<u32>, Query, description = "Spans on a page"),
        ("page[after]" = Option<String>, Query, description = "The `next` of the page before"),
    ),
    responses((status = 200, body = TraceOrPage, description = "The tree, or a page"), ReadErrors),
)]
pub(super) async fn trace(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    Segments(run): Segments<String>,
    params: Params,
) -> Result<Json<TraceOrPage>> {
    params.only(&["page[size]", "page[after]"])?;
    let size = params.number("page[size]")?;
    if size.is_some_and(|size| !(1..=MAX_TRACE_PAGE_SPANS as u64).contains(&size)) {
        return Err(ApiError::bad_request("`page[size]` must be 1 to 10000"));
    }
    let run = find_to_read(&server, &bearer, &run).await?;
    let spans = spans_of(&server, run).await?;
    match size {
        Some(size) => json(TraceOrPage::Page(page(&spans, size as usize, params.get("page[after]"))?)),
        None if params.get("page[after]").is_some() => {
            Err(ApiError::bad_request("`page[after]` needs `page[size]`: without it, the whole tree is shown"))
        }
        None => json(TraceOrPage::Tree(Box::new(tree(spans)))),
    }
}

/// A span of a run's trace.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/spans/{span}", tag = "Runs",
    security(("key" = []), ("publicToken" = [])),
    responses((status = 200, body = SpanDetails, description = "The span"), ReadErrors),
)]
pub(super) async fn span(
    State(server): State<Arc<Server>>,
    bearer: Bearer,
    Segments((run, span)): Segments<(String, String)>,
) -> Result<Json<SpanDetails>> {
    let run = find_to_read(&server, &bearer, &run).await?;
    let Spans { mut all, triggered, now, .. } = spans_of(&server, run).await?;
    let place = all.iter().position(|known| known.id == span);
    let place = place.ok_or_else(|| ApiError::not_found("Span not found"))?;
    let parent_id = all[place].parent.map(|parent| all[parent].id.clone());
    let found = all.swap_remove(place);
    let is_in = |at: usize| at == place || place == 0;
    json(SpanDetails {
        duration_ms: length(&found, now).as_secs_f64() * 1e3,
        parent_id,
        span_id: found.id,
        run_id: found.run.to_string(),
        message: found.message,
        is_error: found.is_error,
        is_partial: found.length.is_none(),
        is_cancelled: found.is_cancelled,
        level: found.level,
        start_time: found.begin,
        properties: found.properties,
        events: found.events,
        entity_type: match found.kind {
            Kind::Run => "run".into(),
            Kind::Attempt => "attempt".into(),
            Kind::Guest => "span".into(),
        },
        triggered_runs: triggered.iter().filter(|(at, _)| is_in(*at)).map(|(_, run)| triggered_run(run)).collect(),
    })
}

fn triggered_run(run: &Run) -> TriggeredRun {
    TriggeredRun {
        run_id: run.id.to_string(),
        task_identifier: run.task.clone(),
        status: run.status.into(),
        created_at: run.created_at,
    }
}

/// Reads everything that a trace is made of.
async fn spans_of(server: &Server, run: Run) -> Result<Spans> {
    let now = server.runs.now();
    let events = server.storage.events(run.id).await?;
    let (logs, is_cut) = logs_of(server, run.id).await?;
    let children = server.storage.children_of(run.id).await?;
    let mut all = vec![span_of_run(&run, None)];
    all[0].events = events.iter().map(status_event).collect();
    if let Some(error) = run.error.as_ref().filter(|_| run.status.is_final()) {
        let at = run.finished_at.unwrap_or(run.updated_at);
        let stack = error.stack.clone().unwrap_or_default();
        all[0].events.push(exception(at, &error.name, &error.message, &stack));
    }
    add_attempts(&mut all, &events);
    let attempts = all.len();
    add_guest_spans(&mut all, attempts, logs);
    let mut triggered = Vec::with_capacity(children.len());
    for child in children {
        let within = attempt_at(&all[..attempts], None, child.created_at);
        let mut span = span_of_run(&child, Some(within));
        span.level_in_tree = all[within].level_in_tree + 1;
        all.push(span);
        triggered.push((within, child));
    }
    Ok(Spans { run, all, triggered, is_cut, now })
}

/// The log of a run, as far as a trace looks at it, and whether there is more.
async fn logs_of(server: &Server, run: RunId) -> Result<(Vec<LogRow>, bool)> {
    let (mut logs, mut after, mut bytes) = (Vec::new(), 0, 0);
    loop {
        let rows = server.storage.logs(run, after, LOG_PAGE).await?;
        let is_last = rows.len() < LOG_PAGE as usize;
        for (seq, row) in rows {
            bytes += row.message.len() + row.attributes.as_ref().map_or(0, String::len);
            if logs.len() >= MAX_TRACE_ENTRIES || bytes > MAX_TRACE_BYTES {
                return Ok((logs, true));
            }
            after = seq;
            logs.push(row);
        }
        if is_last {
            return Ok((logs, false));
        }
    }
}

fn digits(of: &str, count: usize) -> String {
    let mut digits = Digest::of(of.as_bytes()).to_string();
    digits.truncate(count);
    digits
}

fn span_of_run(run: &Run, parent: Option<usize>) -> Span {
    let is_cancelled = run.status == Status::Canceled;
    Span {
        kind: Kind::Run,
        id: digits(&run.id.to_string(), SPAN_ID_CHARS),
        parent,
        level_in_tree: 0,
        run: run.id,
        attempt: None,
        message: run.task.clone(),
        begin: run.created_at,
        length: run.finished_at.map(|end| between(run.created_at, end)),
        is_error: run.status.is_final() && !is_cancelled && run.status != Status::Completed,
        is_cancelled,
        level: "TRACE".into(),
        properties: Some(json!({ "status": RunStatus::from(run.status), "attemptCount": run.attempt })),
        events: Vec::new(),
    }
}

fn between(begin: Timestamp, end: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(begin)).unwrap_or_default()
}

fn length(span: &Span, now: Timestamp) -> Duration {
    span.length.unwrap_or_else(|| between(span.begin, now))
}

fn nanoseconds(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

fn status_event(event: &RunEvent) -> SpanEvent {
    let mut properties = json!({ "status": RunStatus::from(event.status), "attempt": event.attempt });
    if let Some(detail) = &event.detail {
        properties["detail"] = json!(detail);
    }
    SpanEvent { name: "status".into(), time: event.at, properties }
}

fn exception(time: Timestamp, name: &str, message: &str, stack: &str) -> SpanEvent {
    let properties = json!({ "exception": { "type": name, "message": message, "stacktrace": stack } });
    SpanEvent { name: "exception".into(), time, properties }
}

/// Adds a span for every attempt. One begins when the run executes, and ends with the next status
/// that is neither this one nor waiting, nor the queue in which it comes after it has waited.
fn add_attempts(all: &mut Vec<Span>, events: &[RunEvent]) {
    let run = all[0].run;
    let mut open: Option<usize> = None;
    let mut before = Status::Queued;
    for event in events {
        let after = std::mem::replace(&mut before, event.status);
        match event.status {
            Status::Waiting => {}
            Status::Queued if after == Status::Waiting => {}
            Status::Executing => {
                if open.is_some_and(|open| all[open].attempt == Some(event.attempt)) {
                    continue;
                }
                open = Some(all.len());
                all.push(Span {
                    kind: Kind::Attempt,
                    id: digits(&format!("{run}/{}", event.seq), SPAN_ID_CHARS),
                    parent: Some(0),
                    level_in_tree: 1,
                    run,
                    attempt: Some(event.attempt),
                    message: format!("Attempt {}", event.attempt),
                    begin: event.at,
                    length: None,
                    is_error: false,
                    is_cancelled: false,
                    level: "TRACE".into(),
                    properties: None,
                    events: Vec::new(),
                });
            }
            Status::PendingVersion
            | Status::Delayed
            | Status::Queued
            | Status::Completed
            | Status::Failed
            | Status::Crashed
            | Status::TimedOut
            | Status::Canceled
            | Status::Expired
            | Status::SystemFailure => {
                let Some(ended) = open.take().map(|open| &mut all[open]) else { continue };
                ended.length = Some(between(ended.begin, event.at));
                ended.is_cancelled = event.status == Status::Canceled;
                ended.is_error = !ended.is_cancelled && event.status != Status::Completed;
                if let Some(detail) = event.detail.as_ref().filter(|_| ended.is_error) {
                    ended.events.push(exception(event.at, "Error", detail, ""));
                }
            }
        }
    }
}

/// The place of the attempt that was going on at a moment, of this number where one is given; of
/// the run itself, where there is none.
fn attempt_at(spans: &[Span], number: Option<u32>, at: Timestamp) -> usize {
    let fits = |span: &Span| span.kind == Kind::Attempt && (number.is_none() || span.attempt == number);
    let had_begun = spans.iter().rposition(|span| fits(span) && span.begin <= at);
    had_begun.or_else(|| spans.iter().position(fits)).unwrap_or(0)
}

/// Adds the spans that guests opened, and puts the lines that they wrote where they belong. The
/// first `attempts` spans are the run and its attempts. What lies in a span that has not ended, and
/// is therefore not in the log yet, is shown in the attempt; what lies too deep, not so deep.
fn add_guest_spans(all: &mut Vec<Span>, attempts: usize, logs: Vec<LogRow>) {
    let (mut spans, lines): (Vec<LogRow>, Vec<LogRow>) = logs.into_iter().partition(|row| row.kind == LogKind::Span);
    // A span has a greater number than the span around it, but ends, and is logged, before.
    spans.sort_by_key(|row| (row.attempt, row.span));
    let mut known: HashMap<(usize, u64), usize> = HashMap::new();
    for row in spans {
        let within = attempt_at(&all[..attempts], Some(row.attempt), row.at);
        let number = row.span.unwrap_or(0);
        let around = row.parent_span.filter(|around| *around < number);
        let mut parent = around.and_then(|around| known.get(&(within, around)).copied()).unwrap_or(within);
        if all[parent].level_in_tree >= MAX_TRACE_LEVELS {
            parent = all[parent].parent.unwrap_or(within);
        }
        known.insert((within, number), all.len());
        all.push(Span {
            kind: Kind::Guest,
            id: digits(&format!("{}/{number}", all[within].id), SPAN_ID_CHARS),
            parent: Some(parent),
            level_in_tree: all[parent].level_in_tree + 1,
            run: all[0].run,
            attempt: Some(row.attempt),
            message: row.message,
            begin: row.at,
            length: Some(Duration::from_micros(row.duration_us.unwrap_or(0))),
            is_error: row.level == "error",
            is_cancelled: false,
            level: row.level.to_uppercase(),
            properties: row.attributes.as_deref().and_then(|text| serde_json::from_str(text).ok()),
            events: Vec::new(),
        });
    }
    for row in lines {
        let within = attempt_at(&all[..attempts], Some(row.attempt), row.at);
        let place = row.span.and_then(|span| known.get(&(within, span)).copied()).unwrap_or(within);
        let mut properties = json!({ "level": row.level.to_uppercase(), "source": row.source, "message": row.message });
        if let Some(attributes) = row.attributes.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok()) {
            properties["attributes"] = attributes;
        }
        all[place].events.push(SpanEvent { name: "log".into(), time: row.at, properties });
    }
}

fn page(spans: &Spans, size: usize, after: Option<&str>) -> Result<TracePage> {
    let begin = match after {
        None => 0,
        Some(after) => {
            let found = spans.all.iter().position(|span| span.id == after);
            1 + found.ok_or_else(|| ApiError::bad_request("`page[after]` is not a cursor of this trace"))?
        }
    };
    let shown = &spans.all[begin..spans.all.len().min(begin + size)];
    let failed = |span: &&Span| span.kind == Kind::Attempt && span.is_error;
    let failure = |span: &Span| AttemptFailure {
        span_id: span.id.clone(),
        attempt_number: span.attempt.unwrap_or(0),
        run_id: span.run.to_string(),
    };
    let has_more = begin + shown.len() < spans.all.len();
    Ok(TracePage {
        attempt_failures: shown.iter().filter(failed).map(failure).collect(),
        data: shown.iter().map(|span| flat(spans, span)).collect(),
        pagination: TracePagination {
            next: shown.last().filter(|_| has_more).map(|span| span.id.clone()),
            truncated: spans.is_cut,
        },
    })
}

fn flat(spans: &Spans, span: &Span) -> FlatSpan {
    FlatSpan {
        id: span.id.clone(),
        parent_id: span.parent.map(|parent| spans.all[parent].id.clone()),
        run_id: span.run.to_string(),
        message: span.message.clone(),
        start_time: span.begin,
        duration: nanoseconds(length(span, spans.now)),
        is_error: span.is_error,
        is_partial: span.length.is_none(),
        is_cancelled: span.is_cancelled,
        level: span.level.clone(),
        attempt_number: span.attempt,
    }
}

fn tree(spans: Spans) -> TraceAnswer {
    let Spans { run, mut all, triggered, is_cut, now } = spans;
    let trace_id = digits(&format!("trace {}", run.origin.root.unwrap_or(run.id)), TRACE_ID_CHARS);
    if is_cut && let Some(properties) = &mut all[0].properties {
        properties["isTruncated"] = json!(true);
    }
    let children: HashMap<RunId, &Run> = triggered.iter().map(|(_, child)| (child.id, child)).collect();
    let ids: Vec<String> = all.iter().map(|span| span.id.clone()).collect();
    let parents: Vec<Option<usize>> = all.iter().map(|span| span.parent).collect();
    let shown = all.into_iter().map(|span| {
        let of = children.get(&span.run).copied().unwrap_or(&run);
        let parent = span.parent.map(|parent| ids[parent].clone());
        Some(branch(span, parent, of, now))
    });
    let mut shown: Vec<Option<TraceSpan>> = shown.collect();
    // From the end, so that a span has all of its children when it is put into its parent.
    for place in (1..shown.len()).rev() {
        let (Some(mut span), Some(parent)) = (shown[place].take(), parents[place]) else { continue };
        in_order(&mut span.children);
        if let Some(parent) = &mut shown[parent] {
            parent.children.push(span);
        }
    }
    let mut root_span = shown.swap_remove(0).expect("the run itself is in no other span");
    in_order(&mut root_span.children);
    root_span.data.output = run.output.and_then(|text| RawValue::from_string(text).ok());
    TraceAnswer { trace: Trace { trace_id, root_span } }
}

/// Sorts children that were put in from the last to the first.
fn in_order(children: &mut [TraceSpan]) {
    children.reverse();
    children.sort_by_key(|child| child.data.start_time);
}

/// A span of a tree, without its children.
fn branch(span: Span, parent_id: Option<String>, run: &Run, now: Timestamp) -> TraceSpan {
    let is_run = span.kind == Kind::Run;
    let data = SpanData {
        duration: nanoseconds(length(&span, now)),
        message: span.message,
        task_slug: run.task.clone(),
        events: span.events,
        start_time: span.begin,
        is_error: span.is_error,
        is_partial: span.length.is_none(),
        is_cancelled: span.is_cancelled,
        level: span.level,
        worker_version: run.version.filter(|_| is_run).map(|version| version.to_string()),
        queue_name: is_run.then(|| run.queue.clone()),
        machine_preset: run.machine.filter(|_| is_run).map(|machine| machine.name().into()),
        properties: span.properties,
        output: None,
    };
    TraceSpan { id: span.id, parent_id, run_id: span.run.to_string(), data, children: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    fn event(seq: u64, status: Status, attempt: u32) -> RunEvent {
        RunEvent { seq, at: at(seq as i64 * 10), status, attempt, detail: None }
    }

    fn root() -> Span {
        Span {
            kind: Kind::Run,
            id: "root".into(),
            parent: None,
            level_in_tree: 0,
            run: RunId::from_bits(7),
            attempt: None,
            message: "task".into(),
            begin: at(0),
            length: None,
            is_error: false,
            is_cancelled: false,
            level: "TRACE".into(),
            properties: None,
            events: Vec::new(),
        }
    }

    fn row(at_ms: i64, kind: LogKind, span: u64, parent_span: Option<u64>) -> LogRow {
        LogRow {
            attempt: 1,
            at: at(at_ms),
            kind,
            level: "info".into(),
            source: "task".into(),
            message: format!("{span}"),
            attributes: None,
            span: Some(span),
            parent_span,
            duration_us: Some(5),
        }
    }

    #[test]
    fn an_attempt_lasts_while_its_run_executes_or_waits() {
        use Status::{Canceled, Executing, Queued, Waiting};
        let mut all = vec![root()];
        let statuses =
            [(Queued, 0), (Executing, 1), (Queued, 1), (Executing, 2), (Waiting, 2), (Queued, 2), (Executing, 2)];
        let mut events: Vec<_> =
            (1..).zip(statuses).map(|(seq, (status, number))| event(seq, status, number)).collect();
        add_attempts(&mut all, &events);
        let seen = |all: &[Span]| -> Vec<_> {
            all[1..].iter().map(|span| (span.attempt, span.length, span.is_error, span.is_cancelled)).collect()
        };
        let first = (Some(1), Some(Duration::from_millis(10)), true, false);
        assert_eq!(seen(&all), [first, (Some(2), None, false, false)]);
        events.push(event(8, Canceled, 2));
        let mut all = vec![root()];
        add_attempts(&mut all, &events);
        assert_eq!(seen(&all), [first, (Some(2), Some(Duration::from_millis(40)), false, true)]);
    }

    #[test]
    fn what_lies_in_an_open_span_is_shown_in_the_attempt() {
        let mut all = vec![root()];
        add_attempts(&mut all, &[event(1, Status::Executing, 1)]);
        let logs = vec![
            row(12, LogKind::Line, 3, Some(2)),
            row(11, LogKind::Span, 2, Some(1)),
            row(13, LogKind::Line, 1, None),
        ];
        add_guest_spans(&mut all, 2, logs);
        assert_eq!((all[2].parent, all[1].events.len(), all[2].events.len()), (Some(1), 2, 0));
    }

    #[test]
    fn a_trace_is_not_deeper_than_its_limit() {
        let mut all = vec![root()];
        add_attempts(&mut all, &[event(1, Status::Executing, 1)]);
        // Also a span that says it lies in itself.
        let logs = (1..=1_000).rev().map(|number| row(11, LogKind::Span, number, Some(number - 1))).collect();
        add_guest_spans(&mut all, 2, logs);
        add_guest_spans(&mut all, 2, vec![row(11, LogKind::Span, 2_000, Some(2_000))]);
        assert_eq!(all.len(), 1_003);
        assert_eq!(all.iter().map(|span| span.level_in_tree).max(), Some(MAX_TRACE_LEVELS));
        assert!(all.iter().enumerate().skip(1).all(|(place, span)| span.parent.is_some_and(|parent| parent < place)));
    }
}
