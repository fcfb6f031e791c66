//! Cursors of pages.
//!
//! A client that has gone forward, back and forward again sends both cursors it was given last,
//! each time. A cursor therefore carries a number that grows with every one that is given out, and
//! the younger of two counts.

use std::sync::atomic::{AtomicU64, Ordering};

use super::body::Params;
use super::error::{ApiError, Result};
use crate::api::Pagination;
use crate::model::Timestamp;
use crate::model::id::Id;
use crate::storage::{Page, Place};

static ISSUED: AtomicU64 = AtomicU64::new(0);

/// The cursors around a page. Where looking has stopped before the page was full, the cursor on that
/// side points there: the next page goes on.
pub(super) fn around<T, I: Id>(page: &Page<T, I>, now: Timestamp, id: impl Fn(&T) -> I) -> Pagination {
    let mut oldest = page.items.last().filter(|_| page.has_older).map(&id);
    let mut newest = page.items.first().filter(|_| page.has_newer).map(&id);
    match page.go_on {
        Some(Place::After(stopped_at)) => oldest = Some(stopped_at),
        Some(Place::Before(stopped_at)) => newest = Some(stopped_at),
        Some(Place::Start) | None => {}
    }
    Pagination { next: oldest.map(|id| issue(id, now)), previous: newest.map(|id| issue(id, now)) }
}

/// A new cursor that points at `id`.
fn issue<I: Id>(id: I, now: Timestamp) -> String {
    // A thousand to a millisecond, so that a restarted server goes on with larger numbers.
    let from_time = now.as_millisecond().max(0).unsigned_abs() * 1_000;
    let next = |last: u64| Some(last.max(from_time) + 1);
    let last = ISSUED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or(0);
    format!("{:x}-{id}", last.max(from_time) + 1)
}

/// Where the page begins that a query asks for.
pub(super) fn place_of<I: Id>(params: &Params) -> Result<Place<I>> {
    place(params.get("page[after]"), params.get("page[before]"))
}

fn place<I: Id>(after: Option<&str>, before: Option<&str>) -> Result<Place<I>> {
    let after = after.map(|text| parse("page[after]", text)).transpose()?;
    let before = before.map(|text| parse("page[before]", text)).transpose()?;
    Ok(match (after, before) {
        (None, None) => Place::Start,
        (Some((after_age, _)), Some((before_age, id))) if before_age > after_age => Place::Before(id),
        (Some((_, id)), _) => Place::After(id),
        (None, Some((_, id))) => Place::Before(id),
    })
}

/// An id is a cursor, too: the oldest.
fn parse<I: Id>(name: &str, text: &str) -> Result<(u64, I)> {
    let bad = || ApiError::bad_request(format!("`{name}` is not a cursor that this server gave out"));
    let (number, id) = text.split_once('-').unwrap_or(("0", text));
    Ok((u64::from_str_radix(number, 16).map_err(|_| bad())?, id.parse().map_err(|_| bad())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::RunId;

    #[test]
    fn the_younger_of_two_cursors_counts() {
        let now = Timestamp::UNIX_EPOCH;
        let (one, two) = (RunId::from_bits(1), RunId::from_bits(2));
        let older = issue(one, now);
        let younger = issue(two, now);
        assert_eq!(place(Some(&older), Some(&younger)).unwrap(), Place::Before(two));
        assert_eq!(place(Some(&younger), Some(&older)).unwrap(), Place::After(two));
        assert_eq!(place::<RunId>(None, None).unwrap(), Place::Start);
        assert_eq!(place(Some(&one.to_string()), None).unwrap(), Place::After(one));
        assert!(place::<RunId>(Some("nonsense"), None).is_err());
    }
}
