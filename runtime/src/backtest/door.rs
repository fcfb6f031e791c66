//! How many replays there are at a time, and how many may wait: each holds a recording and what is made of it in
//! memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::jobs::BacktestError;
use super::{MAX_CONCURRENT_READERS, MAX_CONCURRENT_REPLAYS};
use crate::model::limits::MAX_WAITING_REPLAYS;

/// The door to the replays of this server. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Door {
    places: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    readers: Arc<Semaphore>,
    queue_of_readers: Arc<Semaphore>,
}

/// A place, or all of them, as long as this is held.
#[must_use]
pub(super) struct Inside {
    _places: Option<OwnedSemaphorePermit>,
}

impl Door {
    pub(super) fn new() -> Self {
        let places = Arc::new(Semaphore::new(MAX_CONCURRENT_REPLAYS as usize));
        let readers = Arc::new(Semaphore::new(MAX_CONCURRENT_READERS));
        let queue = || Arc::new(Semaphore::new(MAX_WAITING_REPLAYS));
        Self { places, queue: queue(), readers, queue_of_readers: queue() }
    }

    /// Waits for a place, in the order of asking.
    pub(super) async fn enter(&self) -> Inside {
        // Nobody closes it.
        Inside { _places: self.places.clone().acquire_owned().await.ok() }
    }

    /// Waits for a place where not too many others wait who asked from outside.
    pub(super) async fn enter_from_outside(&self) -> Result<Inside, BacktestError> {
        let Ok(_in_queue) = self.queue.try_acquire() else { return Err(BacktestError::Full) };
        Ok(self.enter().await)
    }

    /// Waits for a place among those who only look at recordings, where not too many others wait. It is none of those for
    /// replays: whoever looks at a run does not wait for a backtest.
    pub(super) async fn enter_to_read(&self) -> Result<Inside, BacktestError> {
        let Ok(_in_queue) = self.queue_of_readers.try_acquire() else { return Err(BacktestError::FullOfReaders) };
        Ok(Inside { _places: self.readers.clone().acquire_owned().await.ok() })
    }

    /// Waits until nobody else is inside.
    pub(super) async fn enter_alone(&self) -> Inside {
        Inside { _places: self.places.clone().acquire_many_owned(MAX_CONCURRENT_REPLAYS).await.ok() }
    }
}
