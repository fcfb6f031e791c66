//! The loop that does what time demands: delayed runs become due, queued runs expire, runs of dead
//! workers are queued again.

use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::model::id::WorkerId;
use crate::storage::{Error, Storage};

/// The loop looks at least this often, because another process may have stored something.
const MAX_SLEEP: Duration = Duration::from_secs(5);
/// Pause after storage failed.
const RETRY: Duration = Duration::from_secs(1);

/// Keeps up with the clock until `shutdown` becomes true. `worker` is the worker of this process.
pub async fn run(storage: Storage, clock: Clock, worker: WorkerId, mut shutdown: watch::Receiver<bool>) {
    loop {
        let now = clock.now();
        let sleep = match storage.upkeep(now, worker).await {
            Ok(Some(next)) => Duration::try_from(next.duration_since(clock.now())).unwrap_or(Duration::ZERO),
            Ok(None) => MAX_SLEEP,
            Err(Error::Closed) => return,
            Err(error) => {
                tracing::error!(%error, "upkeep failed");
                RETRY
            }
        };
        tokio::select! {
            () = super::stopped(&mut shutdown) => return,
            () = storage.timer_set() => {}
            () = tokio::time::sleep(sleep.min(MAX_SLEEP)) => {}
        }
    }
}
