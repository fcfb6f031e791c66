//! Pages of things that are listed newest first. Ids are ordered by time, so that a page is a range
//! of ids; what is asked for backward is found oldest first.

use super::Error;
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
pub struct Page<T, I = RunId> {
    /// What is on it.
    pub items: Vec<T>,
    /// Whether there are newer ones.
    pub has_newer: bool,
    /// Whether there are older ones.
    pub has_older: bool,
    /// The page is shorter than it might be, because enough was looked at: from here one goes on.
    pub go_on: Option<Place<I>>,
}

impl<T, I: Id> Page<T, I> {
    /// Makes a page of what was found from `place` on, in the order in which it was found. One more
    /// than `limit` must have been looked for.
    pub(super) fn found(mut found: Vec<T>, place: Place<I>, limit: u32) -> Self {
        if place.is_backward() {
            found.reverse();
        }
        let limit = limit as usize;
        let more = found.len() > limit;
        match place {
            Place::Start | Place::After(_) => {
                found.truncate(limit);
                Self { items: found, has_newer: matches!(place, Place::After(_)), has_older: more, go_on: None }
            }
            Place::Before(_) => {
                let items = found.split_off(found.len().saturating_sub(limit));
                Self { items, has_newer: more, has_older: true, go_on: None }
            }
        }
    }

    /// Makes a page of what was found before the search stopped at `stopped_at`, in the order in
    /// which it was found.
    pub(super) fn cut_short(mut found: Vec<T>, place: Place<I>, stopped_at: I) -> Self {
        let go_on = if place.is_backward() {
            found.reverse();
            Place::Before(stopped_at)
        } else {
            Place::After(stopped_at)
        };
        let has_newer = !matches!(place, Place::Start);
        Self { items: found, has_newer, has_older: true, go_on: Some(go_on) }
    }

    /// The same page, with what is read for each item; where there is nothing, the item is left out.
    pub(super) fn read<U>(self, read: impl FnMut(T) -> Result<Option<U>, Error>) -> Result<Page<U, I>, Error> {
        let items = self.items.into_iter().map(read).filter_map(Result::transpose).collect::<Result<_, _>>()?;
        Ok(Page { items, has_newer: self.has_newer, has_older: self.has_older, go_on: self.go_on })
    }
}
