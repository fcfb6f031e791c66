//! A report as one JSON document: `{"summary": {…}, "runs": [{…}, …]}`, a row a line.

use serde_json::{Value, json};

use super::{ReportRow, Summary};
use crate::model::verdict::Verdict;

#[derive(Debug, Default)]
pub(super) struct Writer {
    has_rows: bool,
}

impl Writer {
    pub(super) fn row(&mut self, row: &ReportRow) -> String {
        let separator = if std::mem::replace(&mut self.has_rows, true) { ",\n" } else { "\n" };
        let mut shown = json!({ "run": row.run_id, "task": row.task, "verdict": row.verdict.as_str() });
        if let Some(note) = &row.note {
            shown["note"] = Value::from(note.as_str());
        }
        if let Some(comparison) = &row.comparison {
            shown["comparison"] = serde_json::to_value(comparison).expect("a comparison is always JSON");
        }
        format!("{separator}{shown}")
    }
}

pub(super) fn head(summary: &Summary) -> String {
    let counts = Verdict::ALL.map(|verdict| (verdict.as_str().to_owned(), Value::from(summary.counts.of(verdict))));
    let mut shown = json!({
        "id": summary.id,
        "version": summary.version,
        "counts": Value::from_iter(counts),
        "total": summary.counts.total(),
        "differences": summary.counts.differences(),
        "allowed": summary.allowed,
        "startedAt": format!("{:.3}", summary.started_at),
        "replaysPerSecond": summary.replays_per_second,
    });
    let more = [
        ("against", summary.against.as_deref().map(Value::from)),
        ("task", summary.task.as_deref().map(Value::from)),
        ("finishedAt", summary.finished_at.map(|at| Value::from(format!("{at:.3}")))),
        ("isGateOpen", summary.is_gate_open.map(Value::from)),
        ("reason", summary.reason.as_deref().map(Value::from)),
        ("untested", (!summary.untested.is_empty()).then(|| Value::from(summary.untested.as_slice()))),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            shown[name] = value;
        }
    }
    format!("{{\"summary\": {shown},\n\"runs\": [")
}

pub(super) fn tail() -> String {
    "\n]}\n".to_owned()
}
