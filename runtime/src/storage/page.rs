//! Pages of things that are listed newest first. Ids are ordered by time, so that a page is a range
//! of ids; what is asked for backward is found oldest first.

use crate::model::Timestamp;
use crate::model::id::{Id, RunId};

/// A place in a list, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<I = RunId> {
    /// From the newest on.
    Start,
    /// Older than this one.
    After(I),
    /// Newer than this one: the page that ends just before it.
    Before(I),
}

impl<I: Id> Place<I> {
    /// The ids between which the page lies, both exclusive, of things that were made between two
    /// moments.
    pub(super) fn range(self, from: Option<Timestamp>, to: Option<Timestamp>) -> (I, I) {
        let (oldest, newest) = (from.map_or(I::FIRST, I::before), to.map_or(I::LAST, I::after));
        match self {
            Self::Start => (oldest, newest),
            Self::After(id) => (oldest, newest.min(id)),
            Self::Before(id) => (oldest.max(id), newest),
        }
    }

    /// Whether the page is found oldest first.
    pub(super) fn is_backward(self) -> bool {
        matches!(self, Self::Before(_))
    }
}

/// A page, newest first.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Whether there are newer ones.
    pub has_newer: bool,
    /// Whether there are older ones.
    pub has_older: bool,
}

impl<T> Page<T> {
    /// Makes a page of what was found from `place` on, in the order in which it was found. One more
    /// than `limit` must have been looked for.
    pub(super) fn found<I: Id>(mut found: Vec<T>, place: Place<I>, limit: u32) -> Self {
        if place.is_backward() {
            found.reverse();
        }
        Self::cut(found, place, limit as usize)
    }

    /// Cuts what was found from `place` on, newest first, to `limit`.
    pub(super) fn cut<I>(mut found: Vec<T>, place: Place<I>, limit: usize) -> Self {
        let more = found.len() > limit;
        match place {
            Place::Start | Place::After(_) => {
                found.truncate(limit);
                Self { items: found, has_newer: matches!(place, Place::After(_)), has_older: more }
            }
            Place::Before(_) => {
                let items = found.split_off(found.len().saturating_sub(limit));
                Self { items, has_newer: more, has_older: true }
            }
        }
    }
}
