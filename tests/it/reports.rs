//! Reports of backtests: every form holds what it should, and nothing that a guest made gets out of its place.

use dacapo::api::Comparison;
use dacapo::backtest::compare::compare;
use dacapo::backtest::report::{Format, ReportRow, Summary, write};
use dacapo::backtest::rules::TaskRules;
use dacapo::model::attempt::Usage;
use dacapo::model::replay::{AnsweredBy, Effect, EffectKind, LogCounts, Observed, ObservedEnd};
use dacapo::model::verdict::{Counts, Verdict};
use proptest::prelude::*;
use serde_json::{Value, json};

fn observed(output: &str, target: &str) -> Observed {
    let (kind, answered_by) = (EffectKind::Http, AnsweredBy::Unmatched);
    let effect = Effect { kind, target: target.to_owned(), arguments: output.to_owned(), digest: 1, answered_by };
    Observed {
        new_variables: Vec::new(),
        secrets: Default::default(),
        end: ObservedEnd::Completed(json!({ (output): output }).to_string()),
        effects: vec![effect],
        children: Vec::new(),
        logs: LogCounts { info: output.len() as u64, ..LogCounts::default() },
        metadata: json!({ "m": output }).to_string(),
        metadata_digest: 0,
        usage: Usage { peak_memory_bytes: 1 << 20, ..Usage::default() },
    }
}

fn comparison(then: &str, now: &str) -> Comparison {
    let target = |text: &str| format!("GET https://{text}/");
    compare(&observed(then, &target(then)), &observed(now, &target(now)), &TaskRules::default())
}

fn row(run_id: &str, verdict: Verdict, comparison: Option<Comparison>) -> ReportRow {
    let (run_id, task, note) = (run_id.to_owned(), "greet".to_owned(), None);
    ReportRow { run_id, task, verdict, differs: !verdict.is_clean(), comparison, note }
}

fn summary(rows: &[ReportRow]) -> Summary {
    let mut counts = Counts::default();
    rows.iter().for_each(|row| counts.add(row.verdict));
    Summary {
        id: "backtest_1".to_owned(),
        version: "20261121.2".to_owned(),
        against: Some("20261121.1".to_owned()),
        task: None,
        counts,
        started_at: "2026-11-21T10:00:00Z".parse().unwrap(),
        finished_at: Some("2026-11-21T10:00:02.5Z".parse().unwrap()),
        replays_per_second: 5.0,
        allowed: 0,
        is_gate_open: Some(counts.differences() == 0),
        reason: None,
        untested: vec!["<never>".to_owned()],
    }
}

fn report(format: Format, rows: &[ReportRow]) -> String {
    let mut out = Vec::new();
    write(&mut out, format, &summary(rows), rows.iter().cloned()).unwrap();
    String::from_utf8(out).unwrap()
}

/// One of each verdict.
fn each() -> Vec<ReportRow> {
    let one = |verdict: Verdict| {
        let compared = !matches!(verdict, Verdict::PayloadRejected | Verdict::NotReplayable);
        let comparison = compared.then(|| comparison("then", if verdict == Verdict::Same { "then" } else { "now" }));
        let mut row = row(&format!("run_{}", verdict.as_str()), verdict, comparison);
        row.note = (!compared).then(|| format!("because of {}", verdict.as_str()));
        row
    };
    Verdict::ALL.map(one).into()
}

/// Checks that tags are closed in order, quotes within them, too, and gives back their names.
fn tags(text: &str, void: &[&str]) -> Result<Vec<String>, String> {
    let (mut open, mut seen) = (Vec::new(), Vec::new());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        if rest[..at].contains('>') && !rest[..at].contains("{ margin") {
            return Err(format!("a stray > in {:?}", &rest[..at]));
        }
        let mut quoted = false;
        let inside = &rest[at + 1..];
        let end = inside.find(|char| {
            quoted ^= char == '"';
            char == '>' && !quoted
        });
        let tag = &inside[..end.ok_or_else(|| format!("an open tag: {inside}"))?];
        rest = &inside[tag.len() + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name) {
                return Err(format!("</{name}> closes nothing"));
            }
            continue;
        }
        if tag.contains('<') || tag.starts_with(['?', '!']) && !seen.is_empty() {
            return Err(format!("a strange tag: {tag}"));
        }
        let name = tag.split([' ', '/']).next().unwrap_or_default();
        seen.push(name.to_owned());
        if !tag.starts_with(['?', '!']) && !tag.ends_with('/') && !void.contains(&name) {
            open.push(name);
        }
    }
    if open.is_empty() { Ok(seen) } else { Err(format!("not closed: {open:?}")) }
}

#[test]
fn a_json_report_is_one_document() {
    let rows = each();
    let read: Value = serde_json::from_str(&report(Format::Json, &rows)).unwrap();
    assert_eq!(read["summary"]["counts"]["output-changed"], 1);
    assert_eq!((&read["summary"]["total"], &read["summary"]["differences"]), (&json!(8), &json!(5)));
    assert_eq!(read["summary"]["isGateOpen"], false);
    assert_eq!(read["summary"]["untested"], json!(["<never>"]));
    assert_eq!(read["summary"].get("task"), None);
    let runs = read["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 8);
    for (run, row) in runs.iter().zip(&rows) {
        assert_eq!(run["verdict"], row.verdict.as_str());
        let comparison: Option<Comparison> =
            run.get("comparison").map(|comparison| serde_json::from_value(comparison.clone()).unwrap());
        assert_eq!(comparison, row.comparison);
    }
    let empty: Value = serde_json::from_str(&report(Format::Json, &[])).unwrap();
    assert_eq!(empty["runs"], json!([]));
}

#[test]
fn a_junit_report_has_a_case_for_each_run() {
    let xml = report(Format::Junit, &each());
    let seen = tags(&xml, &[]).unwrap();
    let count = |name: &str| seen.iter().filter(|tag| *tag == name).count();
    assert_eq!((count("testcase"), count("failure"), count("skipped"), count("testsuite")), (8, 5, 1, 1));
    assert!(xml.contains(r#"tests="8" failures="5" errors="0" skipped="1" time="2.500""#), "{xml}");
    insta::assert_snapshot!(report(Format::Junit, &each()[..4]));
}

#[test]
fn a_junit_report_of_many_runs_has_a_case_for_each_task() {
    let mut rows: Vec<ReportRow> = (0..3_000).map(|n| row(&format!("run_{n}"), Verdict::Same, None)).collect();
    (rows[7].verdict, rows[7].differs) = (Verdict::NewlyFailing, true);
    for row in &mut rows[1_000..2_000] {
        row.task = "mail".to_owned();
    }
    for row in &mut rows[2_000..] {
        (row.task, row.verdict) = ("old".to_owned(), Verdict::NotReplayable);
    }
    let xml = report(Format::Junit, &rows);
    tags(&xml, &[]).unwrap();
    assert!(xml.contains(r#"tests="3" failures="1" errors="0" skipped="1""#), "{xml}");
    assert!(xml.contains("1 of 1000 runs differ") && xml.contains("run_7: newly-failing"), "{xml}");
}

const VOID: [&str; 3] = ["meta", "!doctype", "?xml"];

#[test]
fn an_html_report_shows_every_run_and_needs_nothing() {
    let page = report(Format::Html, &each());
    let seen = tags(&page, &VOID).unwrap();
    for row in each() {
        assert!(page.contains(&row.run_id), "{}", row.run_id);
    }
    for foreign in ["script", "link", "img", "iframe", "a", "form"] {
        assert!(!seen.iter().any(|tag| tag == foreign), "{foreign}");
    }
    assert!(!page.contains("http-equiv=\"refresh\"") && !page.contains("url(") && !page.contains("@import"));
    assert!(page.contains("Nothing is known of: &lt;never&gt;"), "{page}");
    assert!(page.contains("The gate is closed.") && page.contains("because of payload-rejected"));
    assert!(page.contains("<code class=\"was\">&quot;then&quot;</code>"), "{page}");
    assert_eq!(seen.iter().filter(|tag| *tag == "details").count(), 6);
}

#[test]
fn an_html_report_of_many_runs_says_what_it_leaves_out() {
    let rows: Vec<ReportRow> = (0..2_100).map(|n| row(&format!("run_{n}"), Verdict::Same, None)).collect();
    let page = report(Format::Html, &rows);
    assert!(page.contains("run_1999<") && !page.contains("run_2000<") && page.contains("And 100 more"));
}

proptest! {
    #[test]
    fn nothing_that_a_guest_made_gets_out_of_its_place(
        text in prop_oneof![any::<String>(), "[<>&\"'/a!\\-\\]\\[=\u{0}-\u{1f}\u{fffe}]{0,40}"],
    ) {
        let mut hostile = row(&text, Verdict::OutputChanged, Some(comparison("x", &text)));
        (hostile.task, hostile.note) = (text.clone(), Some(text));
        let plain = row("run", Verdict::OutputChanged, Some(comparison("x", "y")));
        let plain = ReportRow { note: Some("note".to_owned()), ..plain };
        let xml = report(Format::Junit, &[hostile.clone()]);
        let structure = |text: &str, void: &[&str]| tags(text, void).map_err(TestCaseError::fail);
        prop_assert_eq!(structure(&xml, &[])?, structure(&report(Format::Junit, std::slice::from_ref(&plain)), &[])?);
        let is_refused = |char: char| matches!(char, '\0'..='\x08' | '\x0b'..='\x1f' | '\u{fffe}' | '\u{ffff}');
        prop_assert!(!xml.contains(is_refused));
        let page = report(Format::Html, &[hostile.clone()]);
        for tag in structure(&page, &VOID)? {
            prop_assert!(HTML_TAGS.contains(&tag.as_str()), "{}", tag);
        }
        prop_assert!(!page.contains("<![") && !page.contains("<!--"));
        let read: Value = serde_json::from_str(&report(Format::Json, &[hostile.clone()])).unwrap();
        prop_assert_eq!(read["runs"][0]["run"].as_str(), Some(hostile.run_id.as_str()));
    }
}

const HTML_TAGS: [&str; 24] = [
    "!doctype", "html", "head", "meta", "style", "title", "body", "h1", "h2", "h3", "p", "strong", "span", "code",
    "table", "tr", "th", "td", "details", "summary", "div", "pre", "ul", "li",
];
