//! `dacapo runs`: lists, shows, follows, cancels and replays runs.

use std::time::Duration;

use clap::{Args, Subcommand};
use ureq::http::Method;

use super::client::{Client, Route};
use super::connection::Connection;
use super::output::{
    BAD, BOLD, DIM, Field, GOOD, Output, WARN, clean, clean_block, local_time, pretty, size, span, status_style,
    time_of_day,
};
use super::wait::HOLD;
use super::{Exit, Usage, replay, rerun};
use crate::api::{AwaitedItem, EventItem, EventList, LogItem, LogPage, RunDetails, RunId, RunItem, RunList};

/// Log lines that are asked for at once.
const LOG_PAGE: u32 = 1_000;
/// Runs among which the beginning of an id is looked for.
const PREFIX_SCOPE: u32 = 100;
/// Things that a run waits for, and that are named.
const MAX_AWAITED: usize = 3;
/// The length of a whole id.
const ID_CHARS: usize = "run_".len() + 26;

/// `dacapo runs`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List runs, newest first
    #[command(visible_alias = "ls")]
    List(ListArguments),
    /// Show a run and what happened to it
    Get {
        /// The run: its id, the beginning of it, or `latest`
        run: String,
    },
    /// Show what a run logged
    Logs {
        /// The run: its id, the beginning of it, or `latest`
        run: String,
        /// Go on until the run has ended; with --json, one line of JSON per log line
        #[arg(long, short)]
        follow: bool,
    },
    /// Stop a run, or keep it from starting
    Cancel {
        /// The run: its id, the beginning of it, or `latest`
        run: String,
    },
    /// Run the payload of a run again, by default on the newest version
    Replay(Box<replay::Arguments>),
    /// Execute a run again on its own version, with what it was answered then: nobody is asked again
    Rerun(rerun::OnServer),
    /// Write a run with all that it was told to a file, for `dacapo rerun` and `dacapo test`
    Export(rerun::Export),
}

#[derive(Debug, Args)]
struct ListArguments {
    /// Only runs of this task
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
    /// Only runs with this status (for example failed); may be given several times
    #[arg(long, value_name = "STATUS")]
    status: Vec<String>,
    /// Only runs that were made within this time (for example 1h, 7d)
    #[arg(long, value_name = "TIME", conflicts_with_all = ["from", "to"])]
    period: Option<String>,
    /// Only runs that were made at this ISO date or later
    #[arg(long, value_name = "DATE")]
    from: Option<String>,
    /// Only runs that were made at this ISO date or earlier
    #[arg(long, value_name = "DATE")]
    to: Option<String>,
    /// How many to show
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
    /// Begin behind this run
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

impl ListArguments {
    fn route(&self) -> Route {
        let statuses: Vec<String> = self.status.iter().map(|status| contract_word(status)).collect();
        Route::new("/api/v1/runs")
            .query("page[size]", self.limit)
            .query_if("page[after]", self.after.as_ref())
            .query_if("filter[taskIdentifier]", self.task.as_ref())
            .query_if("filter[status]", (!statuses.is_empty()).then(|| statuses.join(",")))
            .query_if("filter[createdAt][period]", self.period.as_ref())
            .query_if("filter[createdAt][from]", self.from.as_ref())
            .query_if("filter[createdAt][to]", self.to.as_ref())
    }
}

/// `timed-out` as the API spells it.
fn contract_word(status: &str) -> String {
    status.trim().to_uppercase().replace('-', "_")
}

/// Runs one of the subcommands.
pub(super) fn run(arguments: Arguments, output: Output) -> anyhow::Result<Exit> {
    let connection = arguments.connection;
    let client = connection.client()?;
    match arguments.command {
        Command::List(list) => show_list(&client, &list, output)?,
        Command::Get { run } => show_run(&client, &find(&client, &run)?, output)?,
        Command::Logs { run, follow: false } => show_logs(&client, &find(&client, &run)?, output)?,
        Command::Logs { run, follow: true } => follow_logs(&client, &find(&client, &run)?, output)?,
        Command::Cancel { run } => cancel(&client, &find(&client, &run)?, output)?,
        Command::Rerun(arguments) => {
            return rerun::on_server(&client, &find(&client, &arguments.run)?, &arguments, output);
        }
        Command::Export(arguments) => rerun::export(&client, &find(&client, &arguments.run)?, &arguments, output)?,
        Command::Replay(arguments) => {
            return replay_run(client, &connection, *arguments, output);
        }
    }
    Ok(Exit::Done)
}

/// Replays a run. Only the admin key reaches two environments, and then the run's is named.
fn replay_run(
    client: Client,
    connection: &Connection,
    arguments: replay::Arguments,
    output: Output,
) -> anyhow::Result<Exit> {
    let client = match arguments.to {
        Some(_) => connection.admin_client()?.within(connection.slug(&client).as_str()),
        None => client,
    };
    let run = find(&client, &arguments.run)?;
    replay::run(&client, &run, arguments, output)
}

/// The id of the run that `selector` means.
pub(super) fn find(client: &Client, selector: &str) -> anyhow::Result<String> {
    let newest = |limit: u32| client.get::<RunList>(Route::new("/api/v1/runs").query("page[size]", limit));
    if selector == "latest" {
        let list = newest(1)?.value;
        let run = list.data.into_iter().next().ok_or_else(|| Usage::new("there are no runs yet"))?;
        return Ok(run.common.id);
    }
    if !selector.starts_with("run_") {
        return Err(Usage::new(format!("`{selector}` is not a run: give an id (run_…) or `latest`")).into());
    }
    if selector.len() >= ID_CHARS {
        return Ok(selector.into());
    }
    let ids: Vec<String> = newest(PREFIX_SCOPE)?.value.data.into_iter().map(|run| run.common.id).collect();
    Ok(unique(selector, &ids)?.into())
}

fn unique<'a>(prefix: &str, ids: &'a [String]) -> Result<&'a str, Usage> {
    let mut matching = ids.iter().filter(|id| id.starts_with(prefix));
    match (matching.next(), matching.next()) {
        (Some(id), None) => Ok(id),
        (Some(one), Some(other)) => {
            Err(Usage::new(format!("several runs begin with {prefix}, for example {one} and {other}: give more of it")))
        }
        (None, _) => Err(Usage::new(format!(
            "none of the newest {PREFIX_SCOPE} runs begins with {prefix}: give the whole id, see `dacapo runs list`"
        ))),
    }
}

fn show_list(client: &Client, arguments: &ListArguments, output: Output) -> anyhow::Result<()> {
    let answer = client.get::<RunList>(arguments.route())?;
    if let Output::Json = output {
        return Ok(output.json(&answer.text)?);
    }
    let list = answer.value;
    if list.data.is_empty() {
        return Ok(output.note("no runs; trigger one with `dacapo trigger TASK PAYLOAD`")?);
    }
    output.table(
        &["run", "task", "status", "version", "created", "took", "cpu", "tags"],
        list.data.iter().map(row).collect(),
    )?;
    if let Some(next) = list.pagination.next {
        output.note(format_args!("{DIM}more: --after {}{DIM:#}", clean(&next)))?;
    }
    Ok(())
}

fn row(run: &RunItem) -> Vec<Field> {
    let run = &run.common;
    let task = if run.is_replay { format!("{} (replay)", run.task_identifier) } else { run.task_identifier.clone() };
    let took = match (run.started_at, run.finished_at) {
        (Some(start), Some(end)) => between(start, end),
        (Some(_), None) | (None, _) => String::new(),
    };
    vec![
        run.id.clone().into(),
        task.into(),
        Field::Status(run.status),
        run.version.clone().unwrap_or_default().into(),
        Field::Dim(local_time(run.created_at)),
        took.into(),
        span(Duration::from_millis(run.duration_ms)).into(),
        run.tags.join(", ").into(),
    ]
}

fn between(start: jiff::Timestamp, end: jiff::Timestamp) -> String {
    span(end.duration_since(start).try_into().unwrap_or_default())
}

fn show_run(client: &Client, run: &str, output: Output) -> anyhow::Result<()> {
    let answer = client.get::<RunDetails>(Route::new("/api/v3/runs").segment(run))?;
    if let Output::Json = output {
        return Ok(output.json(&answer.text)?);
    }
    let details = answer.value;
    let common = &details.common;
    let style = status_style(common.status);
    output.line(format_args!(
        "{BOLD}{}{BOLD:#}  {}  {style}{}{style:#}",
        clean(&common.id),
        clean(&common.task_identifier),
        common.status.as_str(),
    ))?;
    output.fields(&fields(&details))?;
    if let Some(error) = &details.error {
        let name = error.name.as_deref().map_or(String::new(), |name| format!("{name}: "));
        output.line(format_args!("\n{BAD}{}{BAD:#}", clean_block(&format!("{name}{}", error.message), "  ")))?;
        if let Some(stack) = error.stack_trace.as_deref().filter(|stack| !stack.trim().is_empty()) {
            output.line(format_args!("  {DIM}{}{DIM:#}", clean_block(stack, "  ")))?;
        }
    }
    for (name, json) in [("payload", &details.payload), ("output", &details.output)] {
        if let Some(json) = json {
            output.line(format_args!("\n{BOLD}{name}{BOLD:#}\n{}", pretty(json.get())))?;
        }
    }
    if let Some(metadata) = &common.metadata {
        output.line(format_args!("\n{BOLD}metadata{BOLD:#}\n{}", pretty(&metadata.to_string())))?;
    }
    let events = client.get::<EventList>(Route::new("/api/v1/runs").segment(run).path("/events"))?.value.events;
    output.line(format_args!("\n{BOLD}events{BOLD:#}"))?;
    output.table(&["at", "status", "attempt", "detail"], events.iter().map(event_row).collect())?;
    Ok(())
}

fn fields(details: &RunDetails) -> Vec<(&'static str, String)> {
    let common = &details.common;
    let mut fields = vec![
        ("version", common.version.clone()),
        ("queue", Some(details.queue.clone())),
        ("attempts", Some(details.attempt_count.to_string())),
        ("created", Some(local_time(common.created_at))),
        ("delayed until", common.delayed_until.map(local_time)),
        ("started", common.started_at.map(local_time)),
        ("waits for", (!details.waits_for.is_empty()).then(|| awaited(&details.waits_for))),
        ("finished", common.finished_at.map(local_time)),
        ("cpu time", Some(span(Duration::from_millis(common.duration_ms)))),
        ("peak memory", (details.peak_memory_bytes > 0).then(|| size(details.peak_memory_bytes))),
        ("tags", (!common.tags.is_empty()).then(|| common.tags.join(", "))),
        ("idempotency key", common.idempotency_key.clone()),
        ("replay of", common.replayed_from.clone()),
        ("replays", (!details.replays.is_empty()).then(|| details.replays.join(", "))),
    ];
    fields.retain(|(_, value)| value.is_some());
    fields.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect()
}

/// The first things that a run waits for, and how many more there are.
fn awaited(items: &[AwaitedItem]) -> String {
    let one = |item: &AwaitedItem| match item {
        AwaitedItem::Moment { at } => local_time(*at),
        AwaitedItem::Token { id } | AwaitedItem::Run { id } => id.clone(),
    };
    let mut named = items.iter().take(MAX_AWAITED).map(one).collect::<Vec<_>>().join(", ");
    if items.len() > MAX_AWAITED {
        named.push_str(&format!(" and {} more", items.len() - MAX_AWAITED));
    }
    named
}

fn event_row(event: &EventItem) -> Vec<Field> {
    vec![
        Field::Dim(time_of_day(event.at)),
        Field::Status(event.status),
        match event.attempt {
            0 => String::new().into(),
            attempt => attempt.to_string().into(),
        },
        event.detail.clone().unwrap_or_default().into(),
    ]
}

fn logs_route(run: &str, after: u64) -> Route {
    Route::new("/api/v1/runs").segment(run).path("/logs").query("after", after).query("limit", LOG_PAGE)
}

/// All that has been logged so far.
fn show_logs(client: &Client, run: &str, output: Output) -> anyhow::Result<()> {
    let mut all = LogPage { logs: Vec::new(), next: 0, is_complete: false };
    loop {
        let mut page = client.get::<LogPage>(logs_route(run, all.next))?.value;
        let is_last = page.is_complete || page.logs.is_empty() || page.next <= all.next;
        (all.next, all.is_complete) = (page.next, page.is_complete);
        match output {
            Output::Json => all.logs.append(&mut page.logs),
            Output::Human => page.logs.iter().try_for_each(|item| show_log(output, item))?,
        }
        if is_last {
            break;
        }
    }
    match output {
        Output::Json => Ok(output.json(&serde_json::to_string(&all)?)?),
        Output::Human => Ok(()),
    }
}

/// What has been logged and what will be, until the run has ended.
fn follow_logs(client: &Client, run: &str, output: Output) -> anyhow::Result<()> {
    let mut after = 0;
    loop {
        let route = logs_route(run, after).query("wait", format!("{}s", HOLD.as_secs()));
        let asked_at = std::time::Instant::now();
        let page = client.get_waiting::<LogPage>(route)?.value;
        for item in &page.logs {
            match output {
                Output::Json => output.json(&serde_json::to_string(item)?)?,
                Output::Human => show_log(output, item)?,
            }
        }
        if page.is_complete {
            return Ok(());
        }
        // A server that does not hold its answers is not asked without a pause.
        if page.logs.is_empty() && asked_at.elapsed() < Duration::from_millis(500) {
            std::thread::sleep(Duration::from_millis(500));
        }
        after = page.next;
    }
}

fn show_log(output: Output, item: &LogItem) -> std::io::Result<()> {
    let style = match item.level.as_str() {
        "error" => BAD,
        "warn" => WARN,
        "info" => GOOD,
        _ => DIM,
    };
    let what = match item.duration_ms {
        Some(duration_ms) => format!("{} {DIM}took {duration_ms:.1} ms{DIM:#}", clean(&item.message)),
        None => clean_block(&item.message, "               "),
    };
    let attributes = match &item.attributes {
        Some(attributes) if !attributes.is_null() => format!(" {DIM}{}{DIM:#}", clean(&attributes.to_string())),
        Some(_) | None => String::new(),
    };
    let source = if item.source == "task" { String::new() } else { format!("{DIM}{}:{DIM:#} ", clean(&item.source)) };
    output.line(format_args!(
        "{DIM}{}{DIM:#} {style}{:5}{style:#} {source}{what}{attributes}",
        time_of_day(item.at),
        clean(&item.level),
    ))
}

fn cancel(client: &Client, run: &str, output: Output) -> anyhow::Result<()> {
    let answer = client.send_empty::<RunId>(Method::POST, Route::new("/api/v2/runs").segment(run).path("/cancel"))?;
    match output {
        Output::Json => output.json(&answer.text)?,
        Output::Human => output.line(format_args!("{GOOD}✓{GOOD:#} canceled: {}", clean(&answer.value.id)))?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_an_id_must_mean_one_run() {
        let ids = ["run_0abc".to_owned(), "run_0abd".to_owned(), "run_1".to_owned()];
        assert_eq!(unique("run_0abd", &ids).unwrap(), "run_0abd");
        assert_eq!(unique("run_1", &ids).unwrap(), "run_1");
        assert!(unique("run_0", &ids).unwrap_err().to_string().contains("several runs"));
        assert!(unique("run_2", &ids).unwrap_err().to_string().contains("none of the newest"));
    }

    #[test]
    fn a_status_may_be_written_as_people_do() {
        assert_eq!(contract_word("timed-out"), "TIMED_OUT");
        assert_eq!(contract_word("FAILED"), "FAILED");
    }
}
