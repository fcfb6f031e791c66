//! The loop that takes the steps of bulk actions, at a pace that leaves room for everything else.

use std::time::Duration;

use tokio::sync::watch;

use crate::bulk::Bulks;
use crate::storage::{Error, Storage};

/// Time between two steps: with the size of a step, the pace of bulk actions.
const STEP_EVERY: Duration = Duration::from_millis(100);
/// The loop looks at least this often, because another process may have stored something.
const MAX_SLEEP: Duration = Duration::from_secs(5);
/// Pause after storage failed.
const RETRY: Duration = Duration::from_secs(1);

/// Takes steps until `shutdown` becomes true.
pub async fn run(storage: Storage, bulks: Bulks, mut shutdown: watch::Receiver<bool>) {
    loop {
        let (pause, is_idle) = match bulks.step().await {
            Ok(true) => (STEP_EVERY, false),
            Ok(false) => (MAX_SLEEP, true),
            Err(Error::Closed) => return,
            Err(error) => {
                tracing::error!(%error, "a bulk action failed; it goes on later");
                (RETRY, false)
            }
        };
        tokio::select! {
            () = super::stopped(&mut shutdown) => return,
            () = storage.bulk_added(), if is_idle => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
