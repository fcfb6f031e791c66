//! Shows runs as they end.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::api::{RunItem, RunList};
use crate::cli::client::{Client, Route};
use crate::cli::output::{DIM, Output, clean, span, status_style, time_of_day};

/// How often the server is asked.
const INTERVAL: Duration = Duration::from_secs(1);
/// Newest runs that are looked at; in a storm of runs, some are not shown.
const PAGE: u32 = 50;

/// Shows people the newest runs that end from now on. Ends only with an error of the terminal.
pub(super) async fn show(client: &Client, output: Output) -> anyhow::Result<()> {
    if let Output::Json = output {
        return std::future::pending().await;
    }
    let mut shown: Option<HashSet<String>> = None;
    let mut tick = interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let client = client.clone();
        let route = Route::new("/api/v1/runs").query("page[size]", PAGE);
        let asked = tokio::task::spawn_blocking(move || client.get::<RunList>(route)).await?;
        // A server that is busy is asked again.
        let Ok(answer) = asked else { continue };
        let ended: Vec<RunItem> = answer.value.data.into_iter().filter(|run| run.common.is_completed).collect();
        if let Some(shown) = &shown {
            let new = ended.iter().rev().filter(|run| !shown.contains(&run.common.id));
            new.map(line).try_for_each(|text| output.line(text))?;
        }
        shown = Some(ended.into_iter().map(|run| run.common.id).collect());
    }
}

fn line(run: &RunItem) -> String {
    let run = &run.common;
    let style = status_style(run.status);
    format!(
        "{DIM}{}{DIM:#}  {}  {style}{}{style:#}  {DIM}{} ({} of CPU time){DIM:#}",
        time_of_day(run.finished_at.unwrap_or(run.updated_at)),
        clean(&run.task_identifier),
        run.status.as_str().to_lowercase().replace('_', " "),
        clean(&run.id),
        span(Duration::from_millis(run.duration_ms)),
    )
}
