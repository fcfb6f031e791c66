//! A report as JUnit XML, as Jenkins and others read it: one test case a run, or a task where there are many runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::escape::{xml, xml_lines};
use super::{ReportRow, Summary};
use crate::backtest::compare::{headline, text};
use crate::model::verdict::{Counts, Verdict};

/// Most runs that have a test case each.
const MAX_CASES: u64 = 2_000;
/// Most runs that the case of a task names.
const MAX_EXAMPLES: usize = 20;

#[derive(Debug)]
pub(super) struct Writer {
    /// What is known of each task, where each has one case.
    tasks: Option<BTreeMap<String, Task>>,
}

#[derive(Debug, Default)]
struct Task {
    counts: Counts,
    examples: Vec<String>,
    wall_us: u64,
}

/// How many test cases there are.
struct Cases {
    all: u64,
    failed: u64,
    skipped: u64,
}

impl Writer {
    pub(super) fn new(summary: &Summary) -> Self {
        Self { tasks: (summary.counts.total() > MAX_CASES).then(BTreeMap::new) }
    }

    pub(super) fn head(&self, summary: &Summary) -> String {
        if self.tasks.is_some() {
            // The numbers of cases come first, and are known last.
            return String::new();
        }
        let counts = &summary.counts;
        let (failed, skipped) = (counts.differences(), counts.of(Verdict::NotReplayable) - counts.troubled());
        head(summary, &Cases { all: counts.total(), failed, skipped })
    }

    pub(super) fn row(&mut self, row: &ReportRow) -> String {
        let wall_us = row.comparison.as_ref().map_or(0, |comparison| comparison.usage.now.wall_us);
        let Some(tasks) = &mut self.tasks else {
            let mut details = row.note.clone().unwrap_or_default();
            if let Some(comparison) = &row.comparison {
                details.push('\n');
                details.push_str(&text(comparison));
            }
            let end = match row.verdict {
                Verdict::Same | Verdict::Fixed => String::new(),
                Verdict::NotReplayable if !row.differs => skipped(&details),
                verdict => failure(verdict.as_str(), &message(row), &details),
            };
            return case(&row.task, &row.run_id, wall_us, &end);
        };
        let task = tasks.entry(row.task.clone()).or_default();
        match row.verdict {
            Verdict::NotReplayable if row.differs => task.counts.add_troubled(),
            verdict => task.counts.add(verdict),
        }
        task.wall_us = task.wall_us.saturating_add(wall_us);
        if row.differs && task.examples.len() < MAX_EXAMPLES {
            task.examples.push(format!("{}: {}", row.run_id, row.verdict.as_str()));
        }
        String::new()
    }

    pub(super) fn tail(self, summary: &Summary) -> String {
        let end = "</testsuite>\n</testsuites>\n";
        let Some(tasks) = self.tasks else { return end.to_owned() };
        let is_failed = |task: &&Task| task.counts.differences() > 0;
        let is_skipped = |task: &&Task| task.counts.of(Verdict::NotReplayable) == task.counts.total();
        let count = |is: &dyn Fn(&&Task) -> bool| tasks.values().filter(|task| is(task)).count() as u64;
        let cases = Cases { all: tasks.len() as u64, failed: count(&is_failed), skipped: count(&is_skipped) };
        let mut report = head(summary, &cases);
        for (name, task) in &tasks {
            let differences = task.counts.differences();
            let details = format!("{}\n{}", counted(&task.counts), task.examples.join("\n"));
            let end = if differences > 0 {
                let message = format!("{differences} of {} runs differ", task.counts.total());
                failure("differences", &message, &details)
            } else if is_skipped(&task) {
                skipped(&details)
            } else {
                String::new()
            };
            report.push_str(&case(name, name, task.wall_us, &end));
        }
        report + end
    }
}

fn head(summary: &Summary, cases: &Cases) -> String {
    let Cases { all, failed, skipped } = cases;
    let name = xml(&format!("backtest {} of {}", summary.id, summary.version));
    let end = summary.finished_at.unwrap_or(summary.started_at);
    let seconds = end.duration_since(summary.started_at).as_secs_f64().max(0.0);
    let mut head = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites name=\"{name}\" tests=\"{all}\" failures=\"{failed}\" errors=\"0\" time=\"{seconds:.3}\">\n\
         <testsuite name=\"{name}\" tests=\"{all}\" failures=\"{failed}\" errors=\"0\" skipped=\"{skipped}\" \
         time=\"{seconds:.3}\" timestamp=\"{:.0}\">\n<properties>\n",
        summary.started_at
    );
    let gate = summary.is_gate_open.map(|is_open| if is_open { "open" } else { "closed" });
    let properties = [
        ("version", Some(summary.version.clone())),
        ("against", summary.against.clone()),
        ("task", summary.task.clone()),
        ("verdicts", Some(counted(&summary.counts))),
        ("allowed", Some(summary.allowed.to_string())),
        ("replays-per-second", Some(format!("{:.1}", summary.replays_per_second))),
        ("gate", gate.map(str::to_owned)),
        ("reason", summary.reason.clone()),
        ("untested", (!summary.untested.is_empty()).then(|| summary.untested.join(", "))),
    ];
    for (name, value) in properties {
        if let Some(value) = value {
            writeln!(head, "<property name=\"{name}\" value=\"{}\"/>", xml(&value)).expect("a string takes every text");
        }
    }
    head + "</properties>\n"
}

/// The verdicts that there are, with their numbers.
fn counted(counts: &Counts) -> String {
    let found = Verdict::ALL.into_iter().filter(|verdict| counts.of(*verdict) > 0);
    let found: Vec<_> = found.map(|verdict| format!("{} {}", counts.of(verdict), verdict.as_str())).collect();
    found.join(", ")
}

fn case(class: &str, name: &str, wall_us: u64, end: &str) -> String {
    let (class, name, seconds) = (xml(class), xml(name), wall_us as f64 / 1e6);
    format!("<testcase classname=\"{class}\" name=\"{name}\" time=\"{seconds:.6}\">{end}</testcase>\n")
}

fn failure(sort: &str, message: &str, details: &str) -> String {
    format!("<failure type=\"{sort}\" message=\"{}\">{}</failure>", xml(message), xml_lines(details))
}

/// What is shown of a failed case in a list: the verdict, and why.
fn message(row: &ReportRow) -> String {
    let why = row.note.clone().or_else(|| row.comparison.as_ref().map(headline)).unwrap_or_default();
    let verdict = row.verdict.as_str();
    if why.is_empty() { verdict.to_owned() } else { format!("{verdict}: {why}") }
}

fn skipped(details: &str) -> String {
    format!("<skipped>{}</skipped>", xml_lines(details))
}
