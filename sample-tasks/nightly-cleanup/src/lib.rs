//! A task with a schedule: at 03:15 in Berlin it drops what is older than 30 days.
//!
//! The payload of a scheduled run says when it was due. Triggered by hand, the task may also be
//! given a list: `{"files": [{"name": "a.log", "modified": "2026-10-01"}]}`.

use dacapo::prelude::*;

const KEEP_DAYS: i64 = 30;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Due {
    timestamp: Option<String>,
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    name: String,
    /// A date, or a date and a time.
    modified: String,
}

fn nightly_cleanup(ctx: &Context, due: Option<Due>) -> Result<Value> {
    let due = due.unwrap_or_default();
    let today = match &due.timestamp {
        Some(timestamp) => day(timestamp)?,
        None => (ctx.run.created_at_ms / 86_400_000) as i64,
    };
    let (mut deleted, mut kept) = (Vec::new(), 0);
    for file in due.files {
        if today - day(&file.modified)? > KEEP_DAYS {
            info!(modified = file.modified; "deleting {}", file.name);
            deleted.push(file.name);
        } else {
            kept += 1;
        }
    }
    Ok(json!({ "deleted": deleted, "kept": kept }))
}

/// Days from 1970-01-01 to the date at the beginning of an ISO 8601 text.
fn day(text: &str) -> Result<i64> {
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default().parse::<i64>();
    let (year, month, day) = (part(0..4)?, part(5..7)?, part(8..10)?);
    // Years that begin in March have their odd day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    Ok(year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 719_469)
}

dacapo::tasks![
    task("nightly-cleanup", nightly_cleanup)
        .description("Deletes what is older than 30 days.")
        .cron(Cron::new("15 3 * * *").timezone("Europe/Berlin")),
];
