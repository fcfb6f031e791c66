//! `dacapo runs replay`: runs an old payload again, by default on the newest version; or only says what would come of
//! it, in the sandbox.

use clap::Args;
use ureq::http::Method;

use super::client::{Client, Route};
use super::connection::Slug;
use super::input::{self, PayloadArguments};
use super::output::{DIM, GOOD, Output, clean};
use super::sandboxed::{HowArguments, Mode};
use super::wait::{self, WaitArguments};
use super::{Exit, Usage};
use crate::api::{GoesOn, ReplayMode, ReplayReceipt, ReplayReport, ReplayRequest, StringOrList, TtlOption};
use crate::backtest::compare;
use crate::model::verdict::Verdict;

/// `dacapo runs replay`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The run: its id, the beginning of it, or `latest`
    pub(super) run: String,
    #[command(flatten)]
    payload: PayloadArguments,
    #[command(flatten)]
    wait: WaitArguments,
    #[command(flatten)]
    options: Options,
    /// How far it may reach; in the sandbox and its shadow, no run is made: it says how the version differs from the
    /// run, and exits with 0 if it does the same or has fixed it, 1 if it differs, 2 if it cannot be replayed
    #[arg(long, value_name = "MODE", default_value = "live")]
    mode: Mode,
    #[command(flatten)]
    how: HowArguments,
    /// Replay into another environment, or on its version in the sandbox (needs the admin key)
    #[arg(long, value_name = "ENV", conflicts_with = "wait")]
    pub(super) to: Option<Slug>,
}

#[derive(Debug, Default, Args)]
struct Options {
    /// Run on this version, promoted or not, and not on the current one
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// Go on where the run failed, with what it was answered before; the version must ask the same up to there
    #[arg(long)]
    from_failure: bool,
    /// With --from-failure: also if another run goes on from there already; what that one did is done again
    #[arg(long, requires = "from_failure")]
    force: bool,
    /// Instead of the labels of the run; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// A JSON object instead of the metadata that the run began with
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    /// A second replay with the same key finds the run of the first
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Start later: a length of time (10m) or an ISO date
    #[arg(long, value_name = "TIME")]
    delay: Option<String>,
    /// Longest time in the queue (for example 1h)
    #[arg(long, value_name = "TIME")]
    ttl: Option<String>,
    /// Attempts in all
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// CPU seconds of an attempt
    #[arg(long, value_name = "SECONDS")]
    max_duration: Option<f64>,
    /// The queue to join
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// A machine preset
    #[arg(long, value_name = "PRESET")]
    machine: Option<String>,
}

impl Options {
    fn into_wire(self) -> Result<ReplayRequest, Usage> {
        Ok(ReplayRequest {
            version: self.version,
            from_failure: self.from_failure.then_some(true),
            force: self.force.then_some(true),
            tags: (!self.tags.is_empty()).then_some(StringOrList::List(self.tags)),
            metadata: self.metadata.map(|text| input::json("--metadata", &text)).transpose()?,
            idempotency_key: self.idempotency_key,
            delay: self.delay,
            ttl: self.ttl.map(TtlOption::Duration),
            max_attempts: self.max_attempts,
            max_duration: self.max_duration,
            queue: self.queue,
            machine: self.machine,
            ..ReplayRequest::default()
        })
    }
}

/// Replays `run`, whose full id it is, and says which run that became.
pub(super) fn run(client: &Client, run: &str, arguments: Arguments, output: Output) -> anyhow::Result<Exit> {
    if arguments.mode != Mode::Live {
        return sandboxed(client, run, arguments, output);
    }
    if let Some(name) = arguments.how.given() {
        return Err(Usage::new(format!("{name} needs --mode sandbox or --mode shadow")).into());
    }
    let mut request = arguments.options.into_wire()?;
    request.payload = arguments.payload.read()?;
    let deadline = arguments.wait.begin();
    let route = Route::new("/api/v1/runs").segment(run).path("/replay");
    let route = route.query_if("environment", arguments.to.map(Slug::as_str));
    let spinner = output.spinner("the replay is on its way");
    let answer = client.send::<ReplayReceipt>(Method::POST, route, &request)?;
    let id = answer.value.id;
    if let Some(deadline) = deadline {
        let result = wait::result_of(client, &id, deadline, &spinner)?;
        drop(spinner);
        return wait::show(output, &result);
    }
    drop(spinner);
    match output {
        Output::Json => output.json(&answer.text)?,
        Output::Human => {
            let (run, id) = (clean(run), clean(&id));
            let what = if answer.value.is_cached { "was replayed before with this key:" } else { "replayed:" };
            output.line(format_args!("{GOOD}✓{GOOD:#} {run} {what} {id}"))?;
            if let Some(goes_on) = &answer.value.goes_on {
                output.line(format_args!("  {}", clean(&place(goes_on))))?;
            }
            output.note(format_args!("{DIM}  dacapo runs logs {id} --follow{DIM:#}"))?;
        }
    }
    match arguments.to {
        Some(to) => wait::note_missing_version(output, &client.clone().within(to.as_str()), &id),
        None => wait::note_missing_version(output, client, &id),
    }
}

/// Where a run goes on, in words.
fn place(goes_on: &GoesOn) -> String {
    let GoesOn { call, name, answer } = goes_on;
    match (name, answer) {
        (Some(name), Some(answer)) => format!("it goes on with call {call}, {name}, which was answered {answer}"),
        _ => format!("it goes on with call {call}: all before it are answered as they were"),
    }
}

/// Replays `run` in the sandbox, and says how that differs from what it did.
fn sandboxed(client: &Client, run: &str, arguments: Arguments, output: Output) -> anyhow::Result<Exit> {
    let given = arguments.options.into_wire()?;
    let version = given.version.clone();
    let for_runs = serde_json::to_value(ReplayRequest { version: None, ..given })?;
    let is_for_a_run = arguments.wait.begin().is_some();
    if is_for_a_run || for_runs.as_object().is_some_and(|options| !options.is_empty()) {
        let text = "no run is made in the sandbox: beside the payload, --version and --to, the options of a run are for \
                    --mode live";
        return Err(Usage::new(text).into());
    }
    let request = ReplayRequest {
        payload: arguments.payload.read()?,
        version,
        mode: Some(arguments.mode.into()),
        options: Some(arguments.how.read()?),
        ..ReplayRequest::default()
    };
    let spinner = output.spinner("the replay is under way");
    let route = Route::new("/api/v1/runs").segment(run).path("/replay");
    let route = route.query_if("environment", arguments.to.map(Slug::as_str));
    let answer = client.send::<ReplayReport>(Method::POST, route, &request)?;
    drop(spinner);
    match output {
        Output::Json => output.json(&answer.text)?,
        Output::Human => show_report(output, &answer.value)?,
    }
    Ok(match Verdict::parse(&answer.value.verdict) {
        Some(Verdict::Same | Verdict::Fixed) => Exit::Done,
        Some(Verdict::NotReplayable) => Exit::NotRun,
        Some(_) | None => Exit::Failed,
    })
}

fn show_report(output: Output, report: &ReplayReport) -> std::io::Result<()> {
    match &report.comparison {
        Some(comparison) => output.line(compare::text(comparison).trim_end())?,
        None => output.fields(&[
            ("verdict", report.verdict.clone()),
            ("because", report.note.clone().unwrap_or_else(|| "the server does not say".into())),
        ])?,
    }
    let place = match report.mode {
        ReplayMode::Sandbox => "in the sandbox",
        ReplayMode::Shadow => "in the sandbox, with live GET and HEAD requests",
        ReplayMode::Live => "live",
    };
    let (run, task) = (clean(&report.source_run_id), clean(&report.task_identifier));
    output.note(format_args!("{DIM}  {task} {run} on {} {place}; no run was made{DIM:#}", clean(&report.version)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_changes_only_what_was_given() {
        assert_eq!(serde_json::to_string(&Options::default().into_wire().unwrap()).unwrap(), "{}");
        let options = Options { version: Some("20260101.2".into()), ..Default::default() };
        assert_eq!(serde_json::to_string(&options.into_wire().unwrap()).unwrap(), r#"{"version":"20260101.2"}"#);
    }
}
