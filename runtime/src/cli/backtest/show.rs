//! Shows a backtest to people: what came of it, how many runs to each verdict, and the first runs that differ.

use std::time::Duration;

use super::{Judge, ROUTE};
use crate::api::{BacktestItem, BacktestReplay, BacktestReplays, BacktestStatus};
use crate::backtest::compare;
use crate::cli::client::{Client, Route};
use crate::cli::output::{BAD, BOLD, DIM, Field, GOOD, Output, WARN, clean, span};
use crate::model::verdict::Verdict;

/// Runs that are shown of each verdict that differs.
const MAX_SHOWN: u32 = 5;

/// Runs that could not be replayed among which those are looked for where the server was at fault.
const MAX_SEARCHED: u32 = 100;

/// The verdicts that speak against a version, worst first.
const DIFFERENCES: [Verdict; 5] = [
    Verdict::NewlyFailing,
    Verdict::OverBudget,
    Verdict::PayloadRejected,
    Verdict::OutputChanged,
    Verdict::EffectsChanged,
];

/// Where a backtest is, in a word.
pub(super) fn word(status: BacktestStatus) -> &'static str {
    match status {
        BacktestStatus::Pending => "under way",
        BacktestStatus::Completed => "completed",
        BacktestStatus::Aborted => "aborted",
        BacktestStatus::Failed => "failed",
    }
}

fn count(item: &BacktestItem, verdict: Verdict) -> u64 {
    item.verdicts.get(verdict.as_str()).copied().unwrap_or(0)
}

/// Runs about which something is known.
pub(super) fn replayed(item: &BacktestItem) -> u64 {
    item.done.saturating_sub(count(item, Verdict::NotReplayable))
}

/// The counts in a line: `409 same, 3 newly-failing`.
pub(super) fn summary(item: &BacktestItem) -> String {
    let counts = Verdict::ALL.into_iter().map(|verdict| (count(item, verdict), verdict.as_str()));
    let counts = counts.filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// Shows all of it.
pub(in crate::cli) fn show(client: &Client, item: &BacktestItem, judge: Judge, output: Output) -> anyhow::Result<()> {
    output.line(headline(item, judge))?;
    show_verdicts(item, judge, output)?;
    show_differences(client, item, output)?;
    show_gate(item, output)?;
    let id = clean(&item.id);
    output.note(format_args!("{DIM}  dacapo backtest show {id} --report html=report.html{DIM:#}"))?;
    Ok(())
}

/// What it comes to, in a sentence.
fn headline(item: &BacktestItem, judge: Judge) -> String {
    let (version, runs, allow) = (clean(&item.version), replayed(item), judge.allowed(item));
    match item.status {
        BacktestStatus::Pending => format!(
            "{WARN}…{WARN:#} {version} is under test: {} of {} runs so far, {} differ",
            item.done, item.planned, item.differences
        ),
        BacktestStatus::Aborted => format!(
            "{WARN}!{WARN:#} the test of {version} was stopped after {}, of which {} differ",
            counted(item.done),
            item.differences
        ),
        BacktestStatus::Failed => {
            let reason = item.reason.as_deref().unwrap_or("the server does not say why");
            format!("{BAD}✗{BAD:#} {version} could not be tested: {}", clean(reason))
        }
        BacktestStatus::Completed if runs == 0 => format!(
            "{BAD}✗{BAD:#} {version} could not be tested: {}",
            match item.done {
                0 => "no run fits".to_owned(),
                done => format!("of {}, none could be replayed", counted(done)),
            }
        ),
        BacktestStatus::Completed if item.differences > allow => {
            format!("{BAD}✗{BAD:#} {version} differs in {} of {} ({allow} allowed)", item.differences, counted(runs))
        }
        BacktestStatus::Completed if !judge.is_enough(item) => format!(
            "{BAD}✗{BAD:#} {version} was hardly tested: of {}, {runs} could be replayed ({}% asked for, --min-known)",
            counted(item.done),
            judge.min_known
        ),
        BacktestStatus::Completed if item.differences > 0 => format!(
            "{GOOD}✓{GOOD:#} {version} is clean: it differs in {} of {}, and {allow} may",
            item.differences,
            counted(runs)
        ),
        BacktestStatus::Completed => format!("{GOOD}✓{GOOD:#} {version} is clean: {}, and none differs", counted(runs)),
    }
}

fn counted(runs: u64) -> String {
    if runs == 1 { "1 run".into() } else { format!("{runs} runs") }
}

/// How many runs came to each verdict, and how long that took.
fn show_verdicts(item: &BacktestItem, judge: Judge, output: Output) -> std::io::Result<()> {
    if item.done == 0 {
        return Ok(());
    }
    let rows = Verdict::ALL.into_iter().map(|verdict| (verdict, count(item, verdict))).filter(|(_, count)| *count > 0);
    let row = |(verdict, count): (Verdict, u64)| {
        let word = verdict.as_str().to_owned();
        let word = match verdict {
            Verdict::Same | Verdict::Fixed => Field::Good(word),
            Verdict::NotReplayable => Field::Dim(word),
            _ => Field::Bad(word),
        };
        vec![word, count.to_string().into(), Field::Dim(meaning(verdict).into())]
    };
    output.table(&["verdict", "runs", ""], rows.map(row).collect())?;
    let fixed = count(item, Verdict::Fixed);
    if judge.only_failed {
        let (style, done) = (if fixed > 0 { GOOD } else { WARN }, item.done);
        output.line(format_args!("{style}of {done} failed runs, {fixed} now succeed{style:#}"))?;
    } else if fixed > 0 {
        let runs = if fixed == 1 { "run that failed succeeds" } else { "runs that failed succeed" };
        output.line(format_args!("{GOOD}{fixed} {runs} now{GOOD:#}"))?;
    }
    if let Some(took) = item.completed_at.map(|end| end.duration_since(item.created_at).unsigned_abs()) {
        let a_second = item.done as f64 / took.max(Duration::from_millis(1)).as_secs_f64();
        output.note(format_args!("{DIM}  {} in {}, {a_second:.0} a second{DIM:#}", counted(item.done), span(took)))?;
    }
    Ok(())
}

/// What a verdict means, in a few words.
fn meaning(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Same => "does the same",
        Verdict::Fixed => "failed then, succeeds now",
        Verdict::OutputChanged => "another output or error",
        Verdict::EffectsChanged => "the same output, other calls",
        Verdict::NewlyFailing => "succeeded then, fails now",
        Verdict::OverBudget => "needs too much memory or time",
        Verdict::PayloadRejected => "the version does not take the payload",
        Verdict::NotReplayable => "no usable recording, or the server could not",
    }
}

/// The first runs that differ, a line each, worst first.
fn show_differences(client: &Client, item: &BacktestItem, output: Output) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for verdict in DIFFERENCES.into_iter().filter(|verdict| count(item, *verdict) > 0) {
        let route = Route::new(ROUTE).segment(&item.id).path("/replays");
        let route = route.query("verdict", verdict.as_str()).query("page[size]", MAX_SHOWN);
        rows.extend(client.get::<BacktestReplays>(route)?.value.data.iter().map(row));
    }
    let others: u64 = DIFFERENCES.into_iter().map(|verdict| count(item, verdict)).sum();
    if item.differences > others {
        // Those that the server could not execute; they stand among those that have no recording.
        let route = Route::new(ROUTE).segment(&item.id).path("/replays");
        let route = route.query("verdict", Verdict::NotReplayable.as_str()).query("page[size]", MAX_SEARCHED);
        let found = client.get::<BacktestReplays>(route)?.value.data;
        rows.extend(found.iter().filter(|replay| replay.differs).take(MAX_SHOWN as usize).map(row));
    }
    if rows.is_empty() {
        return Ok(());
    }
    let left = item.differences.saturating_sub(rows.len() as u64);
    output.line(format_args!("\n{BOLD}what differs{BOLD:#}"))?;
    output.table(&["run", "task", "verdict", "what"], rows)?;
    if left > 0 {
        output.note(format_args!("{DIM}  and {left} more, see the reports{DIM:#}"))?;
    }
    Ok(())
}

fn row(replay: &BacktestReplay) -> Vec<Field> {
    let what = match (&replay.comparison, &replay.note) {
        (Some(comparison), _) => compare::headline(comparison),
        (None, Some(note)) => note.clone(),
        (None, None) => String::new(),
    };
    vec![
        replay.run_id.clone().into(),
        replay.task_identifier.clone().into(),
        Field::Bad(replay.verdict.clone()),
        what.into(),
    ]
}

fn show_gate(item: &BacktestItem, output: Output) -> std::io::Result<()> {
    let (version, Some(gate)) = (clean(&item.version), item.gate) else { return Ok(()) };
    if !item.untested.is_empty() {
        let tasks = item.untested.join(", ");
        output.line(format_args!("{WARN}nothing is known of:{WARN:#} {}", clean(&tasks)))?;
    }
    match item.is_open {
        Some(true) => output.line(format_args!("{GOOD}the gate is open:{GOOD:#} {version} was made current")),
        Some(false) => output.line(format_args!(
            "{BAD}the gate is closed:{BAD:#} {} may differ, and {version} stays unpromoted",
            gate.allow
        )),
        None if item.status == BacktestStatus::Pending => {
            output.line(format_args!("if no more than {} differ, {version} becomes current", gate.allow))
        }
        None => output.line(format_args!("{BAD}the gate is closed:{BAD:#} {version} stays unpromoted")),
    }
}
