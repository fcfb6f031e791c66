//! The words of a backtest.

/// Where a backtest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BacktestStatus {
    /// There are runs left.
    Pending,
    /// Every run was looked at.
    Completed,
    /// Somebody stopped it.
    Aborted,
    /// It could not go on.
    Failed,
}

words!(BacktestStatus { Pending = "pending", Completed = "completed", Aborted = "aborted", Failed = "failed", });
