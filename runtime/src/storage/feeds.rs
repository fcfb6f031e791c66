//! Runs as feeds show them: with payloads and outputs, as far as these fit.

use super::list::list;
use super::page::Place;
use super::runs::{RunFilter, packet, read_run, run_columns};
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
        let sql = concat!("SELECT ", run_columns!(without_output), " FROM runs WHERE id = ?1 AND environment_id = ?2");
        self.read(move |tx| {
            let mut runs = match changed {
                None => list(tx, environment, &filter, Place::Start, MAX_FEED_RUNS)?.items,
                Some(ids) => {
                    let mut runs = Vec::new();
                    for id in ids {
                        runs.extend(tx.row(sql, values![id, environment], read_run)?);
                    }
                    runs
                }
            };
            runs.retain(|run| fits(run, &filter));
            runs.sort_by_key(|run| run.id);
            let mut budget_bytes = MAX_FEED_BYTES as u64;
            runs.into_iter().map(|run| complete(tx, run, &mut budget_bytes)).collect()
        })
        .await
    }
}

fn fits(run: &Run, filter: &RunFilter) -> bool {
    let tag_fits = filter.tags.is_empty() || run.tags.iter().any(|tag| filter.tags.contains(tag));
    let batch_fits = filter.batch.is_none() || run.origin.batch == filter.batch;
    tag_fits && batch_fits && filter.from.is_none_or(|from| run.created_at >= from)
}

/// Adds what lists leave out, each text only where it fits into what is left of `budget_bytes`.
fn complete(tx: &Tx<'_>, mut run: Run, budget_bytes: &mut u64) -> Result<FeedRow, Error> {
    let payload = "SELECT CASE WHEN OCTET_LENGTH(data) <= CAST(?2 AS BIGINT) THEN data END, format
                   FROM run_payloads WHERE run_id = ?1";
    let payload = tx.row(payload, values![run.id, *budget_bytes], packet)?;
    let payload = payload.unwrap_or(Packet { data: None, format: PacketFormat::Json });
    spend(budget_bytes, payload.data.as_ref());
    let output = "SELECT CASE WHEN OCTET_LENGTH(output) <= CAST(?2 AS BIGINT) THEN output END,
                         CASE WHEN OCTET_LENGTH(error_stack) <= CAST(?2 AS BIGINT) THEN error_stack END
                  FROM runs WHERE id = ?1";
    let texts = tx.row(output, values![run.id, *budget_bytes], |row| Ok((row.column()?, row.column()?)))?;
    let (output, stack) = texts.unwrap_or((None, None));
    spend(budget_bytes, output.as_ref());
    spend(budget_bytes, stack.as_ref());
    run.output = output;
    if let Some(error) = run.error.as_mut() {
        error.stack = stack;
    }
    let mut streams = stream_names(tx, run.id)?;
    streams.retain(|name| !name.starts_with('$'));
    Ok(FeedRow { run, payload, streams })
}

fn spend(budget_bytes: &mut u64, text: Option<&String>) {
    *budget_bytes = budget_bytes.saturating_sub(text.map_or(0, |text| text.len() as u64));
}
