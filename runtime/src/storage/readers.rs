//! Connections that read, each used by one query at a time.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::Error;
use super::schema;
use super::sql::Tx;

/// Queries at a time; more wait.
const MAX_READERS: usize = 8;

/// A pool of reading connections, opened when they are needed first.
#[derive(Debug)]
pub(super) struct Readers {
    data_dir: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Readers {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.into(), idle: Mutex::default(), permits: Semaphore::new(MAX_READERS) }
    }

    /// Runs a query on a connection of the pool, away from the async threads.
    pub(super) async fn read<T, F>(self: &std::sync::Arc<Self>, query: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, Error> + Send + 'static,
    {
        let _permit = self.permits.acquire().await.map_err(|_| Error::Closed)?;
        let readers = self.clone();
        let result = tokio::task::spawn_blocking(move || {
            let idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = idle.map_or_else(|| schema::open_for_reading(&readers.data_dir), Ok)?;
            let result = query(&Tx::new(&connection));
            readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            result
        });
        result.await.map_err(|_| Error::Closed)?
    }
}
