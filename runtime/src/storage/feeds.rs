//! Runs as feeds show them: with payloads and outputs, as far as these fit.

use std::collections::HashSet;

use jiff::Timestamp;

use super::list::ids;
use super::page::Place;
use super::runs::{RunFilter, packet, parse_tags, read_run, run_columns};
use super::sql::{Tx, values};
use super::streams::stream_names;
use super::{Error, Storage};
use crate::model::id::{EnvironmentId, RunId};
use crate::model::limits::{MAX_FEED_BYTES, MAX_FEED_RUNS};
use crate::model::run::{Packet, PacketFormat, Run};

/// A run as a feed shows it.
#[derive(Debug, Clone)]
pub struct FeedRow {
    /// The run.
    pub run: Run,
    /// Its payload.
    pub payload: Packet,
    /// The names of its streams, without those that are said to it.
    pub streams: Vec<String>,
}

impl Storage {
    /// The newest runs of an environment that fit a filter of tags, batch and `from`, oldest first;
    /// of `changed` only, where that is given. Texts beyond [`MAX_FEED_BYTES`] are left out.
    pub async fn feed(
        &self,
        environment: EnvironmentId,
        filter: RunFilter,
        changed: Option<Vec<RunId>>,
    ) -> Result<Vec<FeedRow>, Error> {
        self.read(move |tx| {
            let mut ids = match changed {
                None => ids(tx, environment, &filter, Place::Start, MAX_FEED_RUNS)?.items,
                Some(changed) => those_that_fit(tx, environment, &filter, changed)?,
            };
            ids.sort_unstable();
            let mut budget_bytes = MAX_FEED_BYTES as u64;
            let rows = ids.into_iter().map(|run| row(tx, environment, run, &mut budget_bytes));
            rows.filter_map(Result::transpose).collect()
        })
        .await
    }
}

/// Of these runs, those that fit the filter.
fn those_that_fit(
    tx: &Tx<'_>,
    environment: EnvironmentId,
    filter: &RunFilter,
    mut runs: Vec<RunId>,
) -> Result<Vec<RunId>, Error> {
    let look = "SELECT tags, created_at FROM runs WHERE id = ?1 AND environment_id = ?2";
    let items = "SELECT run_id FROM batch_items WHERE batch_id = ?1 AND run_id IS NOT NULL";
    if let Some(batch) = filter.batch {
        let items: HashSet<RunId> = tx.rows(items, values![batch], |row| row.column())?.into_iter().collect();
        runs.retain(|run| items.contains(run));
    }
    if filter.tags.is_empty() && filter.from.is_none() {
        return Ok(runs);
    }
    let mut fitting = Vec::new();
    for run in runs {
        let found =
            tx.row(look, values![run, environment], |row| Ok((row.parsed(parse_tags)?, row.column::<Timestamp>()?)))?;
        let has_tag = |tags: &[String]| filter.tags.is_empty() || tags.iter().any(|tag| filter.tags.contains(tag));
        let fits = |(tags, at): (Vec<String>, Timestamp)| has_tag(&tags) && filter.from.is_none_or(|from| at >= from);
        fitting.extend(found.is_some_and(fits).then_some(run));
    }
    Ok(fitting)
}

/// A run, each long text only where it fits into what is left of `budget_bytes`; the texts of its
/// error and its metadata, 384 KiB at most, may go beyond together.
fn row(tx: &Tx<'_>, environment: EnvironmentId, id: RunId, budget_bytes: &mut u64) -> Result<Option<FeedRow>, Error> {
    let run = concat!("SELECT ", run_columns!(within_budget), " FROM runs WHERE id = ?1 AND environment_id = ?2");
    let payload = "SELECT CASE WHEN OCTET_LENGTH(data) <= CAST(?2 AS BIGINT) THEN data END, format
                   FROM run_payloads WHERE run_id = ?1";
    let output = "SELECT CASE WHEN OCTET_LENGTH(output) <= CAST(?2 AS BIGINT) THEN output END
                  FROM runs WHERE id = ?1";
    let Some(mut run) = tx.row(run, values![id, environment, *budget_bytes], read_run)? else { return Ok(None) };
    spend(budget_bytes, run.metadata.as_ref());
    spend(budget_bytes, run.error.as_ref().map(|error| &error.message));
    spend(budget_bytes, run.error.as_ref().and_then(|error| error.stack.as_ref()));
    let payload = tx.row(payload, values![id, *budget_bytes], packet)?;
    let payload = payload.unwrap_or(Packet { data: None, format: PacketFormat::Json });
    spend(budget_bytes, payload.data.as_ref());
    run.output = tx.row(output, values![id, *budget_bytes], |row| row.column())?.flatten();
    spend(budget_bytes, run.output.as_ref());
    let mut streams = stream_names(tx, id)?;
    streams.retain(|name| !name.starts_with('$'));
    Ok(Some(FeedRow { run, payload, streams }))
}

fn spend(budget_bytes: &mut u64, text: Option<&String>) {
    *budget_bytes = budget_bytes.saturating_sub(text.map_or(0, |text| text.len() as u64));
}
