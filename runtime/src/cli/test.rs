//! `dacapo test`: runs that were recorded are replayed on a component, without a server. The exit code is 0 where all did
//! the same or were fixed, 1 where some did something else, 2 where some could not be replayed.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::client::Client;
use super::connection::Connection;
use super::offline::{self, Workshop, recording};
use super::output::{BAD, DIM, GOOD, Output, WARN, clean, clean_block};
use super::rerun::{self, LEFT_OUT};
use super::sandboxed::HowArguments;
use super::{Exit, Usage, runs};
use crate::api::{Comparison, RecordingFile};
use crate::backtest::compare::{compare, headline, text};
use crate::backtest::replay::{Options, ReplayError};
use crate::backtest::rules::{FILE_NAME, Rules};
use crate::backtest::source::{Original, Source};
use crate::model::verdict::Verdict;
use crate::payload_schema::PayloadSchema;

/// Where recordings are kept.
const FIXTURES: &str = "fixtures";

/// `dacapo test`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The component
    #[arg(value_name = "FILE.wasm", required_unless_present = "record")]
    component: Option<PathBuf>,
    /// The directory of the recordings, or one of them
    #[arg(value_name = "FIXTURES", default_value = FIXTURES)]
    fixtures: PathBuf,
    /// Record these runs of a server: ids, beginnings of them, or `latest`
    #[arg(long, value_name = "RUN", num_args = 1.., conflicts_with = "component")]
    record: Vec<String>,
    /// Where to put what is recorded [default: fixtures]
    #[arg(long, value_name = "DIR", requires = "record")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    kept: rerun::Kept,
    #[command(flatten)]
    how: HowArguments,
    #[command(flatten)]
    connection: Connection,
}

/// What came of all recordings.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    fixtures: Vec<Tested>,
    /// The same, or fixed.
    passed: u64,
    different: u64,
    not_run: u64,
}

/// What came of a recording.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tested {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<String>,
    /// Whether secrets were taken out of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    redacted: bool,
    #[serde(serialize_with = "word")]
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<Comparison>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl Tested {
    fn has_passed(&self) -> bool {
        matches!(self.verdict, Verdict::Same | Verdict::Fixed)
    }
}

fn word<S: serde::Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(verdict.as_str())
}

/// Records runs, or replays them.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Exit> {
    match &arguments.component {
        Some(component) => match arguments.kept.given() {
            Some(name) => Err(Usage::new(format!("{name} is for --record: leave it out here")).into()),
            None => replay_all(component, arguments, output),
        },
        None => match arguments.how.given() {
            Some(name) => Err(Usage::new(format!("{name} is for replays: leave it out with --record")).into()),
            None => record(arguments, output),
        },
    }
}

fn record(arguments: &Arguments, output: Output) -> anyhow::Result<Exit> {
    let client: Client = arguments.connection.client()?;
    let dir = arguments.dir.as_deref().unwrap_or(FIXTURES.as_ref());
    std::fs::create_dir_all(dir).map_err(|error| Usage::new(format!("cannot make {}: {error}", dir.display())))?;
    let mut files = Vec::new();
    for run in &arguments.record {
        let run = runs::find(&client, run)?;
        let recording = rerun::fetch(&client, &run, &arguments.kept)?;
        let about: RecordingFile = serde_json::from_str(&recording)?;
        let path = dir.join(format!("{}-{}.json", file_name(&about.task_identifier), file_name(&about.run_id)));
        rerun::write(&path, &recording)?;
        if let Output::Human = output {
            output.line(format_args!("{GOOD}✓{GOOD:#} {}", clean(&path.to_string_lossy())))?;
        }
        files.push(path);
    }
    if let Output::Json = output {
        output.json(&serde_json::json!({ "files": files }).to_string())?;
    }
    Ok(Exit::Done)
}

fn file_name(text: &str) -> String {
    text.chars().map(|char| if char.is_ascii_alphanumeric() || "-_".contains(char) { char } else { '_' }).collect()
}

fn replay_all(component: &Path, arguments: &Arguments, output: Output) -> anyhow::Result<Exit> {
    let how = arguments.how.read()?;
    let files = files(&arguments.fixtures)?;
    let options = offline::options(&how, &files)?;
    let rules = Rules::check(how.rules.unwrap_or_default()).map_err(|error| Usage::new(error.to_string()))?;
    let workshop = Workshop::open(component).map_err(|error| Usage::new(format!("{error:#}")))?;
    let mut summary = Summary::default();
    for path in files {
        let tested = test(&workshop, &options, &path, &rules).unwrap_or_else(|why| not_run(&path, why));
        *match tested.verdict {
            _ if tested.has_passed() => &mut summary.passed,
            Verdict::NotReplayable => &mut summary.not_run,
            _ => &mut summary.different,
        } += 1;
        if let Output::Human = output {
            show(output, &tested)?;
        }
        summary.fixtures.push(tested);
    }
    let Summary { passed, different, not_run, .. } = summary;
    match output {
        Output::Json => output.json(&serde_json::to_string(&summary)?)?,
        Output::Human => {
            output.line(format_args!("{passed} passed, {different} different, {not_run} could not be replayed"))?;
            if summary.fixtures.iter().any(|tested| tested.redacted && !tested.has_passed()) {
                output.note(format_args!("{WARN}note:{WARN:#} {LEFT_OUT}"))?;
            }
        }
    }
    Ok(match (different, not_run) {
        (0, 0) => Exit::Done,
        (_, 0) => Exit::Failed,
        // The code of what could not be done.
        _ => Exit::Usage,
    })
}

/// The recordings that are meant, by their names.
fn files(path: &Path) -> Result<Vec<PathBuf>, Usage> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let unreadable = |error| Usage::new(format!("cannot read {}: {error}", path.display()));
    let entries = std::fs::read_dir(path).map_err(unreadable)?.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json") && !file.ends_with(FILE_NAME));
    files.sort();
    match files.is_empty() {
        false => Ok(files),
        true => {
            let text = format!("{} has no recordings: make some with `dacapo test --record RUN`", path.display());
            Err(Usage::new(text))
        }
    }
}

/// What the component does with a recording; the error says why it cannot be known.
fn test(workshop: &Workshop, options: &Options, path: &Path, rules: &Rules) -> Result<Tested, String> {
    let Original { source, is_redacted: redacted, .. } = recording(path).map_err(|error| error.to_string())?;
    let task = source.context.task.id.clone();
    let run_id = Some(source.context.run.id.clone());
    let rejected = |note: String| Tested {
        file: path.display().to_string(),
        run_id: run_id.clone(),
        redacted,
        verdict: Verdict::PayloadRejected,
        comparison: None,
        note: Some(note),
    };
    if let Some(problems) = payload_problems(workshop, &source)? {
        return Ok(rejected(problems));
    }
    match workshop.runtime.block_on(workshop.replayer(&source, options.clone()).replay(&source, None)) {
        Ok(now) => {
            let comparison = compare(&source.observed, &now, rules.task(&task));
            let verdict = comparison.verdict;
            let note = Some(headline(&comparison)).filter(|headline| !headline.is_empty());
            let (file, comparison) = (path.display().to_string(), Some(comparison));
            Ok(Tested { file, run_id, redacted, verdict, comparison, note })
        }
        Err(error @ ReplayError::NoSuchTask { .. }) => Ok(rejected(error.to_string())),
        Err(
            error @ (ReplayError::Recording(_) | ReplayError::Limit(_) | ReplayError::Host(_) | ReplayError::Full(_)),
        ) => Err(error.to_string()),
    }
}

/// Why the task does not take the payload; the error says why that cannot be known.
fn payload_problems(workshop: &Workshop, source: &Source) -> Result<Option<String>, String> {
    let task = workshop.target.tasks.get(&source.context.task.id);
    let Some(schema) = task.and_then(|task| task.payload_schema.as_ref()) else { return Ok(None) };
    let schema = PayloadSchema::parse(schema).map_err(|error| format!("the payload schema of the task: {error}"))?;
    let payload = serde_json::from_str(&source.payload).map_err(|error| format!("the payload is no JSON: {error}"))?;
    let problems = schema.problems(&payload);
    Ok((!problems.is_empty()).then(|| problems.join("; ")))
}

fn not_run(path: &Path, why: String) -> Tested {
    Tested {
        file: path.display().to_string(),
        run_id: None,
        redacted: false,
        verdict: Verdict::NotReplayable,
        comparison: None,
        note: Some(why),
    }
}

fn show(output: Output, tested: &Tested) -> anyhow::Result<()> {
    let Tested { file, verdict, comparison, note, .. } = tested;
    let (verdict, passed) = (verdict.as_str(), tested.has_passed());
    let (mark, style) = if passed { ("✓", GOOD) } else { ("✗", BAD) };
    let note = note.as_ref().map(|note| format!(": {}", clean(note))).unwrap_or_default();
    output.line(format_args!("{style}{mark}{style:#} {} {verdict}{note}", clean(file)))?;
    if let Some(comparison) = comparison.as_ref().filter(|_| !passed) {
        for line in clean_block(&text(comparison), "").lines() {
            output.line(format_args!("{DIM}    {line}{DIM:#}"))?;
        }
    }
    Ok(())
}
