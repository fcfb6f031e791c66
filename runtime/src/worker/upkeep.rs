//! The loop that does what time demands: schedules fire, delayed runs become due, queued runs
//! expire, runs of dead workers are queued again, old journals, backtests and counts are forgotten.

use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::model::id::WorkerId;
use crate::schedules::{Left, Schedules};
use crate::storage::{Error, Storage};

/// The loop looks at least this often, because another process may have stored something.
const MAX_SLEEP: Duration = Duration::from_secs(5);
/// Pause after storage failed, and while a schedule has to wait for room in the queue.
const RETRY: Duration = Duration::from_secs(1);

/// What the loop keeps up.
pub struct Upkeep {
    /// What is remembered.
    pub storage: Storage,
    /// What fires.
    pub schedules: Schedules,
    /// The time.
    pub clock: Clock,
    /// The worker of this process.
    pub worker: WorkerId,
    /// How long journals are kept after the end of their runs.
    pub journal_retention: Duration,
    /// How long backtests are kept after their end.
    pub backtest_retention: Duration,
}

impl Upkeep {
    /// Keeps up with the clock until `shutdown` becomes true.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        loop {
            let sleep = match self.pass().await {
                Ok(sleep) => sleep,
                Err(Error::Closed) => return,
                Err(error) => {
                    tracing::error!(%error, "upkeep failed");
                    RETRY
                }
            };
            tokio::select! {
                () = super::stopped(&mut shutdown) => return,
                () = self.storage.timer_set() => {}
                () = tokio::time::sleep(sleep.min(MAX_SLEEP)) => {}
            }
        }
    }

    /// Does what is due, and says when something will be.
    async fn pass(&self) -> Result<Duration, Error> {
        let now = self.clock.now();
        let left = self.schedules.fire_due(now).await?;
        let next = self.storage.upkeep(now, self.worker).await?;
        // Where there is no time so long ago, there is nothing of it either.
        let too_old = |kept| now.checked_sub(kept).unwrap_or(jiff::Timestamp::MIN);
        let has_more = self.storage.forget_old_journals(too_old(self.journal_retention)).await?
            | self.storage.forget_old_backtests(too_old(self.backtest_retention)).await?
            | self.storage.forget_old_statistics(now).await?;
        let until = |next: jiff::Timestamp| next.duration_since(self.clock.now());
        let sleep = next.map_or(MAX_SLEEP, |next| Duration::try_from(until(next)).unwrap_or(Duration::ZERO));
        Ok(match left {
            Left::Nothing if has_more => Duration::ZERO,
            Left::Nothing => sleep,
            Left::More => Duration::ZERO,
            Left::Held => sleep.max(RETRY),
        })
    }
}
