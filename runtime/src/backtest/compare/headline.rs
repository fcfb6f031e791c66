//! A comparison in one line, for lists.

use super::printable;
use crate::api::{ChildChanges, Comparison, EffectChanges, Listed};

/// Most bytes of a message in a headline.
const MAX_TEXT_BYTES: usize = 120;

/// What differs, most important first, as `2 differences in the output, 1 call added, new host a.example`, and what was not
/// executed; empty where there is neither.
pub fn headline(comparison: &Comparison) -> String {
    let (then, now) = (&comparison.ends.then, &comparison.ends.now);
    let mut parts = Vec::new();
    if then.kind != now.kind || then.name.is_some() != now.name.is_some() {
        let failed = if now.name.is_some() { now } else { then };
        let name = short(failed.name.as_deref().unwrap_or(&failed.kind));
        let message = short(failed.message.as_deref().unwrap_or_default());
        let when = if now.name.is_some() { "fails with" } else { "failed with" };
        parts.push(format!("{when} {name}: {message}"));
    }
    parts.extend(comparison.passed_budgets.iter().cloned());
    let place = if now.name.is_some() { "in the error" } else { "in the output" };
    parts.extend(counted(&comparison.output, "difference", place));
    parts.extend(counted(&comparison.metadata, "difference", "in the metadata"));
    add_effects(&mut parts, &comparison.effects);
    add_children(&mut parts, &comparison.children);
    parts.join(", ")
}

fn add_children(parts: &mut Vec<String>, children: &Listed<ChildChanges>) {
    let (left_out, executed): (Vec<_>, Vec<_>) = children.items.iter().partition(|child| child.not_executed);
    match &executed[..] {
        [child] if children.more == 0 => {
            let mut of_child = Vec::new();
            add_effects(&mut of_child, &child.effects);
            parts.push(format!("in {}: {}", short(&child.task), of_child.join(", ")));
        }
        _ => parts.extend(numbered(executed.len() as u64 + children.more, "executed run", "with other calls")),
    }
    parts.extend(numbered(left_out.len() as u64, "run", "not executed without a recording"));
}

fn add_effects(parts: &mut Vec<String>, effects: &EffectChanges) {
    parts.extend(counted(&effects.added, "call", "added"));
    parts.extend(counted(&effects.removed, "call", "removed"));
    parts.extend(counted(&effects.changed, "call", "changed"));
    parts.extend(counted(&effects.reordered, "call", "moved"));
    parts.extend(counted(&effects.unmatched, "call", "not answered"));
    match &effects.new_hosts.items[..] {
        [host] if effects.new_hosts.more == 0 => parts.push(format!("new host {}", short(host))),
        _ => parts.extend(counted(&effects.new_hosts, "new host", "asked")),
    }
}

fn counted<T>(list: &Listed<T>, what: &str, where_: &str) -> Option<String> {
    numbered(list.total(), what, where_)
}

fn numbered(number: u64, what: &str, where_: &str) -> Option<String> {
    let plural = if number == 1 { "" } else { "s" };
    (number > 0).then(|| format!("{number} {what}{plural} {where_}"))
}

fn short(text: &str) -> String {
    let start = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
    let more = if start.len() < text.len() { "…" } else { "" };
    format!("{}{more}", printable(start))
}
