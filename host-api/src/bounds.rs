//! The sizes of what a guest may pass to the interfaces that reach beyond its run. What passes them is
//! refused with a text for people; everything finer is checked by whoever serves the call.

use crate::world::{BatchItem, IdempotencyKey, TokenOptions, TriggerOptions};

/// Most bytes of the id of a task, a token or a run.
const MAX_ID_BYTES: usize = 512;
/// Most bytes of a payload, or of the value of a token.
const MAX_PAYLOAD_BYTES: usize = 10 << 20;
/// Most bytes of any other text: keys, names, versions.
const MAX_TEXT_BYTES: usize = 8_192;
/// Most items of a batch.
const MAX_BATCH_ITEMS: usize = 1_000;
/// Most tags in one call. A run has fewer.
const MAX_TAGS: usize = 10;
/// Most chunks in one call.
const MAX_CHUNKS: usize = 1_000;
/// Most bytes of a chunk.
const MAX_CHUNK_BYTES: usize = 128 << 10;

type Checked = Result<(), String>;

fn check(what: &str, bytes: usize, most: usize) -> Checked {
    if bytes <= most { Ok(()) } else { Err(format!("{what} has {bytes} bytes; the most is {most}")) }
}

fn check_texts<'a>(texts: impl IntoIterator<Item = (&'a str, Option<&'a String>)>) -> Checked {
    texts.into_iter().try_for_each(|(what, text)| check(what, text.map_or(0, String::len), MAX_TEXT_BYTES))
}

/// The id of something.
pub(crate) fn check_id(what: &str, id: &str) -> Checked {
    check(what, id.len(), MAX_ID_BYTES)
}

/// A JSON text.
pub(crate) fn check_value(what: &str, value: &str) -> Checked {
    check(what, value.len(), MAX_PAYLOAD_BYTES)
}

/// Tags.
pub(crate) fn check_tags(tags: &[String]) -> Checked {
    if tags.len() > MAX_TAGS {
        return Err(format!("there are {} tags; the most is {MAX_TAGS}", tags.len()));
    }
    check_texts(tags.iter().map(|tag| ("a tag", Some(tag))))
}

/// A run to be triggered, whose metadata have `metadata_bytes` at most.
pub(crate) fn check_item(item: &BatchItem, metadata_bytes: usize) -> Checked {
    let BatchItem { task_id, payload, options } = item;
    check_id("the id of the task", task_id)?;
    check_value("the payload", payload)?;
    let TriggerOptions { queue, concurrency_key, idempotency_key, tags, metadata, machine, .. } = options;
    let TriggerOptions { version, external_deployment_id, debounce, .. } = options;
    check_tags(tags)?;
    check("the metadata", metadata.as_ref().map_or(0, String::len), metadata_bytes)?;
    check_texts([
        ("the name of the queue", queue.as_ref()),
        ("the concurrency key", concurrency_key.as_ref()),
        ("the idempotency key", idempotency_key.as_ref().map(|IdempotencyKey { key, .. }| key)),
        ("the machine", machine.as_ref()),
        ("the version", version.as_ref()),
        ("the external deployment id", external_deployment_id.as_ref()),
        ("the debounce key", debounce.as_ref().map(|debounce| &debounce.key)),
    ])
}

/// Runs to be triggered together.
pub(crate) fn check_items(items: &[BatchItem], metadata_bytes: usize) -> Checked {
    if items.is_empty() || items.len() > MAX_BATCH_ITEMS {
        return Err(format!("a batch has 1 to {MAX_BATCH_ITEMS} items, not {}", items.len()));
    }
    let check =
        |(place, item)| check_item(item, metadata_bytes).map_err(|why| format!("item {place} of the batch: {why}"));
    items.iter().enumerate().try_for_each(check)
}

/// A token to be made.
pub(crate) fn check_token(options: &TokenOptions) -> Checked {
    check_tags(&options.tags)?;
    check_texts([("the idempotency key", options.idempotency_key.as_ref())])
}

/// Chunks for a stream.
pub(crate) fn check_chunks(name: &str, chunks: &[String]) -> Checked {
    check_id("the name of the stream", name)?;
    if chunks.len() > MAX_CHUNKS {
        return Err(format!("there are {} chunks; the most at a time is {MAX_CHUNKS}", chunks.len()));
    }
    chunks.iter().try_for_each(|chunk| check("a chunk", chunk.len(), MAX_CHUNK_BYTES))
}
