//! The loop that takes the steps of backtests, one step at a time.
//!
//! Replays have a lane of their own in the sandbox: runs go on beside them.

use std::error::Error as _;
use std::time::Duration;

use tokio::sync::watch;

use crate::backtest::jobs::{BacktestError, Backtests};
use crate::storage::{Error, Storage};

/// The loop looks at least this often, because another process may have stored something.
const MAX_SLEEP: Duration = Duration::from_secs(5);
/// Pause after a step failed.
const RETRY: Duration = Duration::from_secs(1);

/// Takes steps until `shutdown` becomes true. A step that is cut off is taken again later.
pub async fn run(storage: Storage, backtests: Backtests, mut shutdown: watch::Receiver<bool>) {
    loop {
        let step = tokio::select! {
            () = super::stopped(&mut shutdown) => return,
            step = backtests.step() => step,
        };
        let pause = match step {
            Ok(true) => continue,
            Ok(false) => MAX_SLEEP,
            Err(BacktestError::Storage(Error::Closed)) => return,
            Err(error) => {
                let cause = error.source().map(ToString::to_string);
                tracing::error!(%error, cause, "the step of a backtest failed; it is tried again later");
                RETRY
            }
        };
        tokio::select! {
            () = super::stopped(&mut shutdown) => return,
            () = storage.backtest_added(), if pause == MAX_SLEEP => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
