//! The words of a bulk action: what it does, where it is, and what became of a run.

/// What is done to every run of a selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkKind {
    /// Ends those that have not ended.
    Cancel,
    /// Runs their payloads again.
    Replay,
}

/// Where a bulk action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkStatus {
    /// There are runs left.
    Pending,
    /// Every run was looked at.
    Completed,
    /// Somebody stopped it.
    Aborted,
}

/// What became of one run of a selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberOutcome {
    /// The action was done to it.
    Done,
    /// There was nothing to do.
    Skipped,
    /// The action could not be done.
    Failed,
}

words!(BulkKind { Cancel = "cancel", Replay = "replay", });
words!(BulkStatus { Pending = "pending", Completed = "completed", Aborted = "aborted", });
words!(MemberOutcome { Done = "done", Skipped = "skipped", Failed = "failed", });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_words_are_read_back() {
        for kind in [BulkKind::Cancel, BulkKind::Replay] {
            assert_eq!(BulkKind::parse(kind.as_str()), Some(kind));
        }
        for status in [BulkStatus::Pending, BulkStatus::Completed, BulkStatus::Aborted] {
            assert_eq!(BulkStatus::parse(status.as_str()), Some(status));
        }
        for outcome in [MemberOutcome::Done, MemberOutcome::Skipped, MemberOutcome::Failed] {
            assert_eq!(MemberOutcome::parse(outcome.as_str()), Some(outcome));
        }
        assert_eq!(BulkKind::parse("delete"), None);
    }
}
