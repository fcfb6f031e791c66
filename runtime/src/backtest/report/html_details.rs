//! One comparison on the page of a report.

use super::escape::html;
use crate::api::{Both, Change, Comparison, EffectCall, EffectChanges, End, Listed, Used};
use crate::backtest::compare::{shown_bytes, shown_time};

/// What differs, in tables.
pub(super) fn details(comparison: &Comparison) -> String {
    let mut page = Page(String::new());
    page.ends(&comparison.ends);
    for budget in &comparison.passed_budgets {
        page.push(&format!("<p class=\"bad\">{}</p>\n", html(budget)));
    }
    page.changes("Output", &comparison.output);
    page.changes("Metadata", &comparison.metadata);
    page.effects(&comparison.effects);
    for child in &comparison.children.items {
        if child.not_executed {
            let task = code(&child.task);
            page.push(&format!("<h3>Not executed: {task}</h3>\n<p>It has no recording, and ended as then.</p>\n"));
            continue;
        }
        page.push(&format!("<h3>Executed: {}</h3>\n", code(&child.task)));
        page.effects(&child.effects);
    }
    if comparison.children.more > 0 {
        page.push(&format!("<p class=\"dim\">and {} more runs</p>\n", comparison.children.more));
    }
    page.table("Variables that the recording lacks", &["name"], &comparison.new_variables, |name| {
        format!("<td>{}</td>", code(name))
    });
    page.logs(comparison);
    page.usage(&comparison.usage);
    page.0
}

struct Page(String);

impl Page {
    fn push(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// A heading, a table with a row for each item, and how many are left out.
    fn table<T>(&mut self, title: &str, heads: &[&str], list: &Listed<T>, row: impl Fn(&T) -> String) {
        if list.is_empty() {
            return;
        }
        let heads: String = heads.iter().map(|head| format!("<th>{head}</th>")).collect();
        self.push(&format!("<h3>{title}</h3>\n<table>\n<tr>{heads}</tr>\n"));
        for item in &list.items {
            let row = row(item);
            self.push(&format!("<tr>{row}</tr>\n"));
        }
        self.push("</table>\n");
        if list.more > 0 {
            self.push(&format!("<p class=\"dim\">and {} more</p>\n", list.more));
        }
    }

    fn ends(&mut self, ends: &Both<End>) {
        if ends.then != ends.now {
            let (then, now) = (was(&end(&ends.then)), is(&end(&ends.now)));
            self.push(&format!("<h3>End</h3>\n<p>{then}</p>\n<p>{now}</p>\n"));
        }
    }

    fn changes(&mut self, title: &str, changes: &Listed<Change>) {
        self.table(title, &["path", "then", "now"], changes, |change| {
            let before = change.before.as_deref().map(was).unwrap_or_default();
            let after = change.after.as_deref().map(is).unwrap_or_default();
            format!("<td>{}</td><td>{before}</td><td>{after}</td>", code(&change.path))
        });
    }

    fn effects(&mut self, effects: &EffectChanges) {
        let call = |call: &EffectCall| {
            format!("<td>{}</td><td>{}</td><td>{}</td>", html(&call.kind), code(&call.target), code(&call.arguments))
        };
        let heads = ["kind", "target", "arguments"];
        self.table("Calls that are new", &heads, &effects.added, call);
        self.table("Calls that are gone", &heads, &effects.removed, call);
        self.table("Calls with other arguments", &["kind", "target", "then", "now"], &effects.changed, |change| {
            let (kind, target) = (html(&change.kind), code(&change.target));
            format!("<td>{kind}</td><td>{target}</td><td>{}</td><td>{}</td>", was(&change.before), is(&change.after))
        });
        self.table("Calls that moved", &["kind", "target", "place then", "place now"], &effects.reordered, |call| {
            let (kind, target) = (html(&call.kind), code(&call.target));
            format!(
                "<td>{kind}</td><td>{target}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>",
                call.from, call.to
            )
        });
        self.table("Hosts that are new", &["host"], &effects.new_hosts, |host| format!("<td>{}</td>", code(host)));
        self.table("Calls that the recording does not answer", &heads, &effects.unmatched, call);
    }

    fn logs(&mut self, comparison: &Comparison) {
        let (then, now) = (comparison.logs.then.levels(), comparison.logs.now.levels());
        let mut rows = Listed::default();
        for ((level, then), (_, now)) in then.into_iter().zip(now).filter(|(then, now)| then != now) {
            rows.add(|| (level, then, now));
        }
        self.table("Log lines", &["level", "then", "now"], &rows, |(level, then, now)| {
            format!("<td>{level}</td><td class=\"n\">{then}</td><td class=\"n\">{now}</td>")
        });
    }

    fn usage(&mut self, usage: &Both<Used>) {
        let (then, now) = (&usage.then, &usage.now);
        let bytes = (shown_bytes(then.peak_memory_bytes), shown_bytes(now.peak_memory_bytes));
        let items = vec![
            ("CPU time", (shown_time(then.cpu_us), shown_time(now.cpu_us)), usage.cpu_factor()),
            ("duration", (shown_time(then.wall_us), shown_time(now.wall_us)), usage.wall_factor()),
            ("peak memory", bytes, usage.memory_factor()),
        ];
        let heads = ["resource", "then", "now", "factor"];
        self.table("Resources", &heads, &Listed { items, more: 0 }, |(what, (then, now), factor)| {
            let factor = factor.map(|factor| format!("{factor:.2}")).unwrap_or_default();
            let cells = [then, now, &factor].map(|cell| format!("<td class=\"n\">{cell}</td>"));
            format!("<td>{what}</td>{}", cells.concat())
        });
    }
}

fn end(end: &End) -> String {
    [Some(&end.kind), end.name.as_ref(), end.message.as_ref()]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(": ")
}

fn code(text: &str) -> String {
    format!("<code>{}</code>", html(text))
}

fn was(text: &str) -> String {
    format!("<code class=\"was\">{}</code>", html(text))
}

fn is(text: &str) -> String {
    format!("<code class=\"is\">{}</code>", html(text))
}
