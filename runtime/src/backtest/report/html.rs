//! A report as one page: it asks for nothing else, runs no script, and is dark where the reader's screen is.

use super::escape::html;
use super::html_details::details;
use super::{ReportRow, Summary};
use crate::backtest::compare::headline;
use crate::model::verdict::Verdict;

/// Most runs that are shown with what differs.
const MAX_DETAILED: u64 = 5_000;
/// Most runs that are named only.
const MAX_NAMED: u64 = 2_000;

/// Runs are told apart by colour and by word. The policy is a second wall: there is no script in the page.
const START: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="color-scheme" content="light dark">
<style>
:root { color-scheme: light dark; --text: #1d2327; --dim: #5d6a73; --line: #d9dee2; --page: #fff; --soft: #f4f6f7; --good: #17733c; --warn: #8a5a00; --bad: #b3261e; --was: #fdecea; --is: #e6f4ea; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8eb; --dim: #98a4ad; --line: #384148; --page: #14181b; --soft: #1d2327; --good: #6fd08c; --warn: #e8b44c; --bad: #ff8a80; --was: #3c1f1d; --is: #183222; } }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem; font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); }
h1 { font-size: 1.4rem; margin: 0 0 .25rem; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; } h3 { font-size: .85rem; margin: .9rem 0 .25rem; color: var(--dim); }
p { margin: .25rem 0; } .dim { color: var(--dim); }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--dim); } td.n { text-align: right; font-variant-numeric: tabular-nums; width: 6rem; }
code { font: 13px/1.45 ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap; }
details, .run { border-bottom: 1px solid var(--line); padding: .35rem 0; } summary { cursor: pointer; }
details > div { padding: .25rem 0 .75rem 1.1rem; background: var(--soft); }
.v { display: inline-block; min-width: 9.5rem; font-weight: 600; } .good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
.was { background: var(--was); } .is { background: var(--is); }
.was, .is { padding: 0 .3rem; border-radius: .2rem; }
</style>
"#;

#[derive(Debug, Default)]
pub(super) struct Writer {
    detailed: u64,
    named: u64,
    left_out: u64,
}

impl Writer {
    pub(super) fn row(&mut self, row: &ReportRow) -> String {
        let (shown, most) = match row.differs {
            false => (&mut self.named, MAX_NAMED),
            true => (&mut self.detailed, MAX_DETAILED),
        };
        if *shown == most {
            self.left_out += 1;
            return String::new();
        }
        *shown += 1;
        let differs = row.comparison.as_ref().map(headline).unwrap_or_default();
        let note = row.note.as_deref().unwrap_or(&differs);
        let line = format!(
            "<span class=\"v {}\">{}</span> <code>{}</code> {} <span class=\"dim\">{}</span>",
            colour(row.verdict),
            row.verdict.as_str(),
            html(&row.run_id),
            html(&row.task),
            html(note)
        );
        match &row.comparison {
            Some(comparison) if !differs.is_empty() => {
                format!("<details><summary>{line}</summary><div>\n{}</div></details>\n", details(comparison))
            }
            _ => format!("<div class=\"run\">{line}</div>\n"),
        }
    }

    pub(super) fn tail(self) -> String {
        let left_out = match self.left_out {
            0 => String::new(),
            more => format!("<p class=\"dim\">And {more} more, which are in the JSON report.</p>\n"),
        };
        format!("{left_out}</body>\n</html>\n")
    }
}

pub(super) fn head(summary: &Summary) -> String {
    let title = format!("Backtest of {}", html(&summary.version));
    let gate = match summary.is_gate_open {
        Some(true) => "<p class=\"good\"><strong>The gate is open.</strong></p>\n",
        Some(false) => "<p class=\"bad\"><strong>The gate is closed.</strong></p>\n",
        None => "",
    };
    let line = |class: &str, text: String| format!("<p class=\"{class}\">{}</p>\n", html(&text));
    let reason = summary.reason.clone().map(|reason| line("bad", reason)).unwrap_or_default();
    let untested = match summary.untested.as_slice() {
        [] => String::new(),
        tasks => line("warn", format!("Nothing is known of: {}", tasks.join(", "))),
    };
    format!(
        "{START}<title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>\n{gate}{reason}{untested}<p>{}</p>\n<p class=\"dim\">{}</p>\n\
         <h2>Verdicts</h2>\n{}<h2>Runs</h2>\n",
        sentence(summary),
        about(summary),
        verdicts(summary)
    )
}

/// What it came to.
fn sentence(summary: &Summary) -> String {
    let (total, differences, allowed) = (summary.counts.total(), summary.counts.differences(), summary.allowed);
    format!("{total} runs were replayed; {differences} differ for the worse, {allowed} may.")
}

/// What was compared, and when.
fn about(summary: &Summary) -> String {
    let mut parts = vec![format!("backtest <code>{}</code>", html(&summary.id))];
    parts.push(match &summary.task {
        Some(task) => format!("runs of task {}", html(task)),
        None => "runs of all tasks".to_owned(),
    });
    if let Some(against) = &summary.against {
        parts.push(format!("against {}", html(against)));
    }
    parts.push(format!("started {:.0}", summary.started_at));
    match summary.finished_at {
        Some(at) => parts.push(format!("finished {at:.0}")),
        None => parts.push("not finished".to_owned()),
    }
    parts.push(format!("{:.1} replays per second", summary.replays_per_second));
    parts.join(" · ")
}

fn verdicts(summary: &Summary) -> String {
    let mut table = "<table>\n<tr><th>verdict</th><th>meaning</th><th>runs</th><th>share</th></tr>\n".to_owned();
    let total = summary.counts.total().max(1) as f64;
    for verdict in Verdict::ALL {
        let count = summary.counts.of(verdict);
        let share = 100.0 * count as f64 / total;
        table.push_str(&format!(
            "<tr><td><span class=\"v {}\">{}</span></td><td>{}</td><td class=\"n\">{count}</td>\
             <td class=\"n\">{share:.1} %</td></tr>\n",
            if count > 0 { colour(verdict) } else { "dim" },
            verdict.as_str(),
            meaning(verdict)
        ));
    }
    table + "</table>\n"
}

fn colour(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Same | Verdict::Fixed => "good",
        Verdict::OutputChanged | Verdict::EffectsChanged => "warn",
        Verdict::NewlyFailing | Verdict::OverBudget | Verdict::PayloadRejected => "bad",
        Verdict::NotReplayable => "dim",
    }
}

fn meaning(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Same => "does the same",
        Verdict::Fixed => "failed then, completes now",
        Verdict::OutputChanged => "ends with another output or error",
        Verdict::EffectsChanged => "same output, other calls or metadata",
        Verdict::NewlyFailing => "completed then, fails now",
        Verdict::OverBudget => "completed then, needs too much now",
        Verdict::PayloadRejected => "the new version does not take the payload",
        Verdict::NotReplayable => "no recording that can be used; not counted as a difference",
    }
}
