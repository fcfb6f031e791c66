//! Comparisons as text of a bounded length, one for each replay of a backtest.

use crate::api::{Comparison, EffectChanges, Listed};
use crate::model::limits::MAX_COMPARISON_BYTES;

/// Items of each list that are tried, in this order, until the text is short enough.
const TRIED_ITEMS: [usize; 7] = [Listed::<()>::MAX_ITEMS, 50, 25, 12, 6, 2, 0];

/// Why the text of a comparison could not be read.
#[derive(Debug, thiserror::Error)]
#[error("a stored comparison cannot be read: {0}")]
pub struct StoredError(#[from] serde_json::Error);

/// JSON text of at most [`MAX_COMPARISON_BYTES`]. Where it would be longer, lists are shortened and say so.
pub fn to_stored(comparison: &Comparison) -> String {
    let mut short = comparison.clone();
    let mut text = String::new();
    for max_items in TRIED_ITEMS {
        shorten(&mut short, max_items);
        text = serde_json::to_string(&short).expect("strings, numbers and lists are always JSON");
        if text.len() <= MAX_COMPARISON_BYTES {
            break;
        }
    }
    text
}

/// What [`to_stored`] has written.
pub fn from_stored(text: &str) -> Result<Comparison, StoredError> {
    Ok(serde_json::from_str(text)?)
}

fn shorten(comparison: &mut Comparison, max_items: usize) {
    comparison.output.shorten(max_items);
    comparison.metadata.shorten(max_items);
    comparison.new_variables.shorten(max_items);
    shorten_effects(&mut comparison.effects, max_items);
    comparison.children.shorten(max_items);
    // Each of so many children has lists of its own.
    comparison.children.items.iter_mut().for_each(|child| shorten_effects(&mut child.effects, max_items / 4));
}

fn shorten_effects(effects: &mut EffectChanges, max_items: usize) {
    effects.added.shorten(max_items);
    effects.removed.shorten(max_items);
    effects.changed.shorten(max_items);
    effects.reordered.shorten(max_items);
    effects.new_hosts.shorten(max_items);
    effects.unmatched.shorten(max_items);
}
