//! Decides where a batch is in its life, from what became of its items.
//!
//! Pure. A batch has no counters: what its items and their runs say is the truth.

use super::run::Status;

/// Where a batch is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchStatus {
    /// Not all items have arrived.
    Pending,
    /// All items have arrived, and a run of them has not ended.
    Processing,
    /// All runs have ended, in whatever way.
    Completed,
    /// All runs have ended, and there are items for which no run could be made.
    PartialFailed,
    /// No run could be made for any item.
    Aborted,
}

/// Why there is no run for an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemError {
    /// For programs.
    pub code: ItemErrorCode,
    /// For people.
    pub message: String,
}

/// The sort of an [`ItemError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemErrorCode {
    /// The line of the item is too long.
    PayloadTooLarge,
    /// What it asks for cannot be.
    CouldNotTrigger,
}

// What is stored is the contract's word.
words!(ItemErrorCode { PayloadTooLarge = "PAYLOAD_TOO_LARGE", CouldNotTrigger = "BATCH_ITEM_COULD_NOT_TRIGGER", });

/// The status of a batch with these items: the statuses of their runs, `None` where there is none.
pub fn status(is_sealed: bool, items: impl IntoIterator<Item = Option<Status>>) -> BatchStatus {
    let (mut runs, mut unfinished, mut failed) = (0, 0, 0);
    for item in items {
        match item {
            Some(status) => {
                runs += 1;
                unfinished += u64::from(!status.is_final());
            }
            None => failed += 1,
        }
    }
    status_of(is_sealed, runs, unfinished, failed)
}

/// The status of a batch with so many runs, so many of which have not ended, and so many items that have none.
pub fn status_of(is_sealed: bool, runs: u64, unfinished: u64, failed: u64) -> BatchStatus {
    match (is_sealed, unfinished, failed) {
        (false, ..) => BatchStatus::Pending,
        (true, 1.., _) => BatchStatus::Processing,
        (true, 0, 0) => BatchStatus::Completed,
        (true, 0, 1..) if runs == 0 => BatchStatus::Aborted,
        (true, 0, 1..) => BatchStatus::PartialFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(is_sealed: bool, items: &[Option<Status>], expected: BatchStatus) {
        assert_eq!(status(is_sealed, items.iter().copied()), expected);
    }

    #[test]
    fn the_items_say_where_their_batch_is() {
        let (done, failed, queued) = (Some(Status::Completed), Some(Status::Failed), Some(Status::Queued));
        check(false, &[], BatchStatus::Pending);
        check(false, &[done, None], BatchStatus::Pending);
        check(true, &[done, queued], BatchStatus::Processing);
        check(true, &[None, queued], BatchStatus::Processing);
        check(true, &[done, failed], BatchStatus::Completed);
        check(true, &[done, None], BatchStatus::PartialFailed);
        check(true, &[None, None], BatchStatus::Aborted);
    }

    #[test]
    fn stored_codes_are_read_back() {
        for code in [ItemErrorCode::PayloadTooLarge, ItemErrorCode::CouldNotTrigger] {
            assert_eq!(ItemErrorCode::parse(code.as_str()), Some(code));
        }
        assert_eq!(ItemErrorCode::parse("OTHER"), None);
    }
}
