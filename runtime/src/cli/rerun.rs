//! `dacapo runs rerun`, `dacapo runs export` and `dacapo rerun`: a run is executed again exactly, on the server that has
//! it, or from a file without any.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use ureq::http::Method;

use super::client::{Client, Route};
use super::offline::{Workshop, recording};
use super::output::{BAD, DIM, GOOD, Output, WARN, clean, clean_block};
use super::{Exit, Usage};
use crate::api::{Change, RecordingFile, RerunReport, RerunStep};
use crate::backtest::rerun;

/// What is said of a file that differs, and from which secrets were taken out.
pub(super) const LEFT_OUT: &str = "secrets were left out of the file, and what is computed from them differs: --with-plain \
                                   keeps the variables that are none, --with-secrets all";

/// `dacapo runs rerun`
#[derive(Debug, Args)]
pub(super) struct OnServer {
    /// The run: its id, the beginning of it, or `latest`
    pub(super) run: String,
    /// Show each call to the host with its arguments and its answer
    #[arg(long)]
    step: bool,
}

/// `dacapo runs export`
#[derive(Debug, Args)]
pub(super) struct Export {
    /// The run: its id, the beginning of it, or `latest`
    pub(super) run: String,
    #[command(flatten)]
    kept: Kept,
    /// The file to write, which must not exist [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What stays in a recording file.
#[derive(Debug, Args)]
pub(super) struct Kept {
    /// Keep the values of variables, secret headers and the URLs of tokens, which are left out otherwise
    #[arg(long)]
    with_secrets: bool,
    /// Keep the values of variables that are not marked as secret
    #[arg(long, conflicts_with = "with_secrets")]
    with_plain: bool,
}

impl Kept {
    /// The first that was given, for errors.
    pub(super) fn given(&self) -> Option<&'static str> {
        let given = [("--with-secrets", self.with_secrets), ("--with-plain", self.with_plain)];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(name, _)| name)
    }
}

/// `dacapo rerun`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The recording: what `dacapo runs export` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The component that the run ran on
    #[arg(long, value_name = "FILE.wasm")]
    component: PathBuf,
    /// Show each call to the host with its arguments and its answer
    #[arg(long)]
    step: bool,
}

/// Has the server execute a run again.
pub(super) fn on_server(client: &Client, run: &str, arguments: &OnServer, output: Output) -> anyhow::Result<Exit> {
    let route = Route::new("/api/v1/runs").segment(run).path("/rerun");
    let route = route.query_if("steps", arguments.step.then_some("true"));
    let spinner = output.spinner("the run is executed again");
    let answer = client.send::<RerunReport>(Method::POST, route, &())?;
    drop(spinner);
    if let Output::Json = output {
        output.json(&answer.text)?;
    } else {
        show(output, &answer.value, false)?;
    }
    Ok(exit(&answer.value))
}

/// Executes the run of a file again, here.
pub(super) fn offline(arguments: &Arguments, output: Output) -> anyhow::Result<Exit> {
    let original = recording(&arguments.file)?;
    let workshop = Workshop::open(&arguments.component)?;
    let rerun = workshop.runtime.block_on(rerun::rerun(&*workshop.sandbox, &workshop.target, &original));
    let rerun = rerun.map_err(|error| Usage::new(error.to_string()))?;
    let report = rerun::report(&original, &rerun, arguments.step);
    match output {
        Output::Json => output.json(&serde_json::to_string(&report)?)?,
        Output::Human => show(output, &report, original.is_redacted)?,
    }
    Ok(exit(&report))
}

/// Writes the recording of a run to a file.
pub(super) fn export(client: &Client, run: &str, arguments: &Export, output: Output) -> anyhow::Result<()> {
    let text = fetch(client, run, &arguments.kept)?;
    let Some(path) = &arguments.output else { return Ok(output.json(&text)?) };
    write(path, &text)?;
    match output {
        Output::Json => output.json(&serde_json::json!({ "file": path }).to_string())?,
        Output::Human => output.line(format_args!("{GOOD}✓{GOOD:#} {} was written", clean(&path.to_string_lossy())))?,
    }
    Ok(())
}

/// The recording file of a run.
pub(super) fn fetch(client: &Client, run: &str, kept: &Kept) -> anyhow::Result<String> {
    let route = Route::new("/api/v1/runs").segment(run).path("/recording");
    let route = route.query_if("secrets", kept.with_secrets.then_some("true"));
    Ok(client.get::<RecordingFile>(route.query_if("plain", kept.with_plain.then_some("true")))?.text)
}

/// Makes a file that only its owner can read: payloads and secrets may be in it.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Usage> {
    let options = &mut std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Usage::new(format!("cannot write {}: {error}", path.display())))
}

fn exit(report: &RerunReport) -> Exit {
    if report.same { Exit::Done } else { Exit::Failed }
}

fn show(output: Output, report: &RerunReport, is_redacted: bool) -> anyhow::Result<()> {
    for step in report.steps.iter().flatten() {
        show_step(output, step)?;
    }
    let left_out = report.steps.as_ref().map_or(0, |steps| report.calls - steps.len() as u64);
    if left_out > 0 {
        output.line(format_args!("{DIM}and {left_out} more calls{DIM:#}"))?;
    }
    let run = format!("{} ({}, version {})", report.run_id, report.task_identifier, report.version);
    let run = clean(&run);
    let calls = report.calls;
    if report.same {
        let what = if report.end.name.is_some() { "failed the same way" } else { "the same output" };
        output.line(format_args!("{GOOD}✓{GOOD:#} {run}: {what}, the same {calls} calls"))?;
    } else {
        output.line(format_args!("{BAD}✗{BAD:#} {run} did not do the same again"))?;
    }
    if let Some(mismatch) = &report.mismatch {
        output.line(format_args!("  {}", clean(mismatch)))?;
    }
    for Change { path, before, after } in &report.differences.items {
        let shown = |side: &Option<String>| clean(side.as_deref().unwrap_or("nothing")).into_owned();
        output.line(format_args!("  {}: {} → {}", clean(path), shown(before), shown(after)))?;
    }
    if let (Some(name), Some(message)) = (&report.end.name, &report.end.message) {
        output.line(format_args!("  {}: {}", clean(name), clean(message)))?;
    }
    for frame in report.stack.iter().flat_map(|stack| stack.lines()) {
        // Errors of tasks say so themselves.
        let frame = frame.strip_prefix("at ").unwrap_or(frame);
        output.line(format_args!("{DIM}    at {}{DIM:#}", clean(frame)))?;
    }
    if is_redacted && !report.same {
        output.note(format_args!("{WARN}note:{WARN:#} {LEFT_OUT}"))?;
    }
    Ok(())
}

fn show_step(output: Output, step: &RerunStep) -> anyhow::Result<()> {
    let RerunStep { number, call, arguments, answer } = step;
    output.line(format_args!("{DIM}{number:>5}{DIM:#}  {}", clean(call)))?;
    for line in clean_block(arguments, "").lines() {
        output.line(format_args!("       {DIM}{line}{DIM:#}"))?;
    }
    let answer = answer.as_deref().unwrap_or("(no answer: the run was stopped here)");
    for (place, line) in clean_block(answer, "").lines().enumerate() {
        output.line(format_args!("       {} {line}", if place == 0 { "→" } else { " " }))?;
    }
    Ok(())
}
