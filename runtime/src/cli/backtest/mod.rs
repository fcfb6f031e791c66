//! `dacapo backtest`: tries a version on the inputs of old runs, in the sandbox, and says what differs.
//!
//! The server does it, and goes on when nobody watches: what is here asks for it, watches, and shows. The exit code is
//! 0 where no more runs differ than are allowed, 1 where more do or too few could be replayed, and 2 where that is not
//! known.

mod follow;
mod report;
mod request;
mod show;

use clap::{Args, Subcommand};
use serde::de::IgnoredAny;
use ureq::http::Method;

use super::client::{Answer, Client, Route};
use super::connection::Connection;
use super::output::{DIM, Field, GOOD, Output, clean, local_time};
use super::{Exit, Usage};
use crate::api::{BacktestId, BacktestItem, BacktestList, BacktestStatus};
use crate::model::limits::DEFAULT_MIN_KNOWN;
use report::ReportArguments;
use request::NewArguments;

pub(super) use follow::{Followed, follow, note_detached};
pub(super) use request::Gated;
pub(super) use show::show;

/// Where backtests are in the API.
const ROUTE: &str = "/api/v1/backtests";

/// `dacapo backtest`
#[derive(Debug, Args)]
#[command(subcommand_negates_reqs = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    new: NewArguments,
    /// Most runs that may differ
    #[arg(long, value_name = "N", default_value_t = 0)]
    allow: u64,
    /// Least share of runs, in percent, that must have been replayed
    #[arg(long, value_name = "PERCENT", default_value_t = DEFAULT_MIN_KNOWN, value_parser = percent())]
    min_known: u32,
    #[command(flatten)]
    reports: ReportArguments,
    /// Do not wait for the end: say how to come back
    #[arg(long, conflicts_with = "reports")]
    detach: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show a backtest: where it is, or what it has found
    Show {
        /// Its id, or `latest`
        id: String,
        /// Wait until it is over; the exit code is that of `dacapo backtest`
        #[arg(long)]
        wait: bool,
        /// Most runs that may differ [default: what its gate allows, or 0]
        #[arg(long, value_name = "N")]
        allow: Option<u64>,
        /// Least share of runs, in percent, that must have been replayed; where it has a gate, that has decided
        #[arg(long, value_name = "PERCENT", default_value_t = DEFAULT_MIN_KNOWN, value_parser = percent())]
        min_known: u32,
        #[command(flatten)]
        reports: ReportArguments,
    },
    /// List backtests, newest first
    #[command(visible_alias = "ls")]
    List {
        /// How many to show
        #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
        /// Begin behind this backtest
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
    },
    /// Stop a backtest; what it has found stays
    Abort {
        /// Its id, or `latest`
        id: String,
    },
    /// Delete a backtest that is over, with all that it has found
    #[command(visible_alias = "rm")]
    Delete {
        /// Its id, or `latest`
        id: String,
    },
}

/// Begins a backtest and waits for its end, or runs one of the subcommands.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Exit> {
    let client = arguments.connection.client()?;
    let Some(command) = &arguments.command else { return begin(&client, arguments, output) };
    if arguments.new.is_given() {
        return Err(Usage::new("what is to be tested belongs to `dacapo backtest` without a subcommand").into());
    }
    match command {
        Command::Show { id, wait, allow, min_known, reports } => {
            let files = reports.open()?;
            let id = find(&client, id)?;
            let answer = client.get::<BacktestItem>(Route::new(ROUTE).segment(&id))?;
            let judge = Judge { allow: *allow, min_known: *min_known, only_failed: false };
            let is_over = answer.value.status != BacktestStatus::Pending;
            if *wait && !is_over {
                return watch(&client, &id, (judge, files), output);
            }
            if is_over {
                report::save(&client, &id, files, output)?;
            } else if !files.is_empty() {
                return Err(Usage::new("the backtest is under way: add --wait for its reports").into());
            }
            print(&client, &answer, judge, output)?;
            Ok(if *wait { verdict(&answer.value, judge) } else { Exit::Done })
        }
        Command::List { limit, after } => list(&client, (*limit, after.as_deref()), output),
        Command::Abort { id } => {
            let id = find(&client, id)?;
            end(&client, (Method::POST, Route::new(ROUTE).segment(&id).path("/abort")), (&id, "stopped"), output)
        }
        Command::Delete { id } => {
            let id = find(&client, id)?;
            end(&client, (Method::DELETE, Route::new(ROUTE).segment(&id)), (&id, "deleted"), output)
        }
    }
}

/// Asks for an end, and says that it is done.
fn end(
    client: &Client,
    (method, route): (Method, Route),
    (id, done): (&str, &str),
    output: Output,
) -> anyhow::Result<Exit> {
    let answer = client.send_empty::<IgnoredAny>(method, route)?;
    match output {
        Output::Json => output.json(&answer.text)?,
        Output::Human => output.line(format_args!("{GOOD}✓{GOOD:#} {} is {done}", clean(id)))?,
    }
    Ok(Exit::Done)
}

fn begin(client: &Client, arguments: &Arguments, output: Output) -> anyhow::Result<Exit> {
    let files = arguments.reports.open()?;
    let request = arguments.new.request(client)?;
    let judge = Judge {
        allow: Some(arguments.allow),
        min_known: arguments.min_known,
        only_failed: arguments.new.only_failed(),
    };
    let id = client.send::<BacktestId>(Method::POST, Route::new(ROUTE), &request)?.value.id;
    if arguments.detach {
        match output {
            Output::Json => output.json(&client.get::<BacktestItem>(Route::new(ROUTE).segment(&id))?.text)?,
            Output::Human => {
                output.line(format_args!("{GOOD}✓{GOOD:#} {} is under way", clean(&id)))?;
                note_detached(output, &id)?;
            }
        }
        return Ok(Exit::Done);
    }
    watch(client, &id, (judge, files), output)
}

/// Waits until it is over, and shows what it has found.
fn watch(client: &Client, id: &str, (judge, files): (Judge, report::Files), output: Output) -> anyhow::Result<Exit> {
    match follow(client, id, output)? {
        Followed::Over(answer) => {
            report::save(client, id, files, output)?;
            print(client, &answer, judge, output)?;
            Ok(verdict(&answer.value, judge))
        }
        Followed::Detached => {
            note_detached(output, id)?;
            Ok(Exit::NotRun)
        }
    }
}

fn print(client: &Client, answer: &Answer<BacktestItem>, judge: Judge, output: Output) -> anyhow::Result<()> {
    match output {
        Output::Json => Ok(output.json(&answer.text)?),
        Output::Human => show(client, &answer.value, judge, output),
    }
}

/// How a backtest is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judge {
    /// Most runs that may differ; `None`: as many as its gate allows, or none.
    pub(super) allow: Option<u64>,
    /// Least share of runs that must have been replayed, in percent; a gate has its own.
    pub(super) min_known: u32,
    /// Whether all of its runs had failed.
    pub(super) only_failed: bool,
}

impl Default for Judge {
    fn default() -> Self {
        Self { allow: None, min_known: DEFAULT_MIN_KNOWN, only_failed: false }
    }
}

/// A share.
fn percent() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(0..=100)
}

impl Judge {
    /// Whether so many runs were replayed that it says something.
    fn is_enough(self, item: &BacktestItem) -> bool {
        item.gate.is_some() || show::replayed(item) * 100 >= item.done * u64::from(self.min_known)
    }

    /// Most runs that may differ.
    fn allowed(self, item: &BacktestItem) -> u64 {
        self.allow.or(item.gate.map(|gate| gate.allow)).unwrap_or(0)
    }
}

/// What a backtest comes to.
fn verdict(item: &BacktestItem, judge: Judge) -> Exit {
    match item.status {
        BacktestStatus::Pending | BacktestStatus::Aborted | BacktestStatus::Failed => Exit::NotRun,
        BacktestStatus::Completed if show::replayed(item) == 0 => Exit::NotRun,
        BacktestStatus::Completed if item.differences > judge.allowed(item) => Exit::Failed,
        BacktestStatus::Completed if !judge.is_enough(item) => Exit::Failed,
        BacktestStatus::Completed => Exit::Done,
    }
}

/// The id of the backtest that `selector` means.
fn find(client: &Client, selector: &str) -> anyhow::Result<String> {
    if selector != "latest" {
        return Ok(selector.into());
    }
    let list = client.get::<BacktestList>(Route::new(ROUTE).query("page[size]", 1))?.value;
    let newest = list.data.into_iter().next().ok_or_else(|| Usage::new("there are no backtests yet"))?;
    Ok(newest.id)
}

fn list(client: &Client, (limit, after): (u32, Option<&str>), output: Output) -> anyhow::Result<Exit> {
    let route = Route::new(ROUTE).query("page[size]", limit).query_if("page[after]", after);
    let answer = client.get::<BacktestList>(route)?;
    let list = match output {
        Output::Json => {
            output.json(&answer.text)?;
            return Ok(Exit::Done);
        }
        Output::Human => answer.value,
    };
    if list.data.is_empty() {
        output.note("no backtests yet; begin one with `dacapo backtest --version VERSION`")?;
        return Ok(Exit::Done);
    }
    output.table(
        &["id", "status", "version", "against", "runs", "differences", "gate", "created"],
        list.data.iter().map(row).collect(),
    )?;
    if let Some(next) = &list.pagination.next {
        output.note(format_args!("{DIM}more: --after {}{DIM:#}", clean(next)))?;
    }
    Ok(Exit::Done)
}

fn row(item: &BacktestItem) -> Vec<Field> {
    let status = show::word(item.status).to_owned();
    let differences = item.differences.to_string();
    vec![
        item.id.clone().into(),
        match item.status {
            BacktestStatus::Completed => Field::Good(status),
            BacktestStatus::Failed => Field::Bad(status),
            BacktestStatus::Pending | BacktestStatus::Aborted => Field::Text(status),
        },
        item.version.clone().into(),
        item.against.clone().into(),
        format!("{} of {}", item.done, item.planned).into(),
        if item.differences > 0 { Field::Bad(differences) } else { Field::Text(differences) },
        match (item.gate, item.is_open) {
            (None, _) => Field::Text(String::new()),
            (Some(_), Some(true)) => Field::Good("open".into()),
            (Some(_), Some(false)) => Field::Bad("closed".into()),
            (Some(_), None) => Field::Dim("not decided".into()),
        },
        Field::Dim(local_time(item.created_at)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Gate;

    fn item(status: BacktestStatus, verdicts: &[(&str, u64)]) -> BacktestItem {
        let differences = verdicts.iter().filter(|(word, _)| word.ends_with("changed")).map(|(_, count)| count).sum();
        BacktestItem {
            id: "backtest_1".into(),
            status,
            version: "20260101.1".into(),
            against: "recorded".into(),
            planned: 10,
            done: verdicts.iter().map(|(_, count)| count).sum(),
            verdicts: verdicts.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect(),
            differences,
            is_clean: None,
            created_at: jiff::Timestamp::UNIX_EPOCH,
            completed_at: None,
            gate: None,
            is_open: None,
            reason: None,
            untested: Vec::new(),
            request: None,
        }
    }

    #[track_caller]
    fn check(item: &BacktestItem, allow: Option<u64>, expected: Exit) {
        assert_eq!(verdict(item, Judge { allow, ..Judge::default() }), expected, "{item:?}");
    }

    #[test]
    fn a_backtest_that_found_nothing_out_is_not_clean() {
        use BacktestStatus::{Aborted, Completed, Failed, Pending};
        let same = [("same", 3), ("fixed", 1)];
        check(&item(Completed, &same), None, Exit::Done);
        for status in [Pending, Aborted, Failed] {
            check(&item(status, &same), None, Exit::NotRun);
        }
        check(&item(Completed, &[]), Some(9), Exit::NotRun);
        check(&item(Completed, &[("not-replayable", 4)]), Some(9), Exit::NotRun);
    }

    #[test]
    fn a_backtest_that_replayed_too_few_is_not_clean() {
        let few = item(BacktestStatus::Completed, &[("same", 1), ("not-replayable", 2)]);
        check(&few, Some(9), Exit::Failed);
        assert_eq!(verdict(&few, Judge { min_known: 33, ..Judge::default() }), Exit::Done);
        let gate = Some(Gate { allow: 0, min_known: Some(10) });
        check(&BacktestItem { gate, ..few }, None, Exit::Done);
        check(&item(BacktestStatus::Completed, &[("same", 1), ("not-replayable", 1)]), None, Exit::Done);
    }

    #[test]
    fn as_many_differences_as_are_allowed_are_clean() {
        let changed = item(BacktestStatus::Completed, &[("same", 3), ("output-changed", 2)]);
        check(&changed, None, Exit::Failed);
        check(&changed, Some(1), Exit::Failed);
        check(&changed, Some(2), Exit::Done);
        let gated = BacktestItem { gate: Some(Gate { allow: 2, min_known: None }), ..changed };
        check(&gated, None, Exit::Done);
        check(&gated, Some(0), Exit::Failed);
    }
}
