//! What is remembered: all SQL of the product, behind verbs of the domain.
//!
//! A write is one closure that the writer thread runs in a transaction, together with whatever
//! else has arrived ([`writer`]); when its future resolves, the change is on disk. A read runs on
//! a connection of its own and sees everything that was committed before it began. A change of a
//! run's status is one statement whose `WHERE` repeats the expected status (and lease), with one
//! row of `run_events` in the same transaction.
//!
//! Start with [`queue`], [`waits`] and [`upkeep`] for the life of a run, with `migrations/` for what there is.

mod backtest_steps;
mod backtests;
mod backup;
mod batches;
mod bulk;
mod cancel;
mod catalog;
mod changes;
mod delays;
mod deployments;
mod edits;
mod effects;
mod environments;
mod families;
mod feeds;
mod forwards;
mod hooks;
mod insert;
mod journals;
mod list;
mod logs;
mod noise;
mod packets;
mod page;
mod places;
mod queue;
mod queues;
mod readers;
mod runs;
mod schedules;
mod schema;
mod search;
mod sessions;
mod settlements;
mod sources;
mod sql;
mod statistics;
mod streams;
mod tokens;
mod upkeep;
mod waitpoints;
mod waits;
mod wakes;
mod writer;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use backtest_steps::{BacktestEnd, BacktestStep, PendingBacktest, TaskCount};
pub use backtests::{Backtest, BacktestDeleted, GateRule, NewBacktest, StoredReplay};
pub use backup::backup;
pub use batches::{Announced, Arrived, Batch, BatchCounts, BatchItem, ItemInserted, NewBatch, NewBatchItem};
pub use bulk::{Acted, Bulk, Member, MemberAction, NewBulk};
pub use cancel::Canceled;
pub use changes::{Changes, Position, Topic, Watch};
pub use delays::Rescheduled;
pub use deployments::{Deployed, Deployment, NewDeployment, Promotion};
pub use edits::{EditRefused, Edited, MetadataEdit};
pub use effects::RunEnd;
pub use environments::{ApiKey, Branch, Environment, EnvironmentKind, Variable};
pub use families::{FamilyInserted, NewFamily};
pub use feeds::FeedRow;
pub use forwards::Forward;
pub use hooks::DueHooks;
pub use insert::Inserted;
pub use logs::{LogKind, LogRow};
pub use noise::StoredRules;
pub use page::{Page, Place};
pub use queue::{ClaimRequest, Claimed, Lease, PendingClaim};
pub use queues::{Queue, QueueChange, QueuePage};
pub use runs::{RunEvent, RunFilter};
pub use schedules::{Activation, Fired, NewSchedule, Schedule, SchedulePage, ScheduleSettings};
pub use schema::{SchemaVersions, schema_versions};
pub use settlements::AttemptEnd;
pub use sources::StoredSource;
pub use statistics::{Counted, ErrorGroup, Present};
pub use streams::{Appended, Chunk, NewChunks};
pub use waitpoints::{Completed, NewWaitpoint, Stored, Waitpoint, WaitpointFilter};
pub use waits::{Suspended, Suspension};

use crate::clock::Clock;
use crate::model::id::EnvironmentId;
use catalog::Catalog;
use effects::{Effects, Listeners};
use readers::Readers;
use sql::Tx;
use writer::Writer;

/// Why storage did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database said no.
    #[error("the database failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// The file system said no.
    #[error("the data directory cannot be used: {0}")]
    Io(#[from] std::io::Error),
    /// A row holds something that this program cannot have written.
    #[error("the database holds something unexpected: {0}")]
    Corrupt(String),
    /// Too many writes are waiting; try again.
    #[error("too many writes are waiting")]
    Busy,
    /// The server is shutting down.
    #[error("storage is closed")]
    Closed,
    /// Nothing was changed, because something else in the transaction failed.
    #[error("the transaction was rolled back")]
    RolledBack,
    /// Another server uses the data directory.
    #[error("another dacapo server uses {}; stop it first, or give this one a directory of its own", .0.display())]
    InUse(PathBuf),
    /// A newer program made the database.
    #[error(
        "the data directory was written by a newer dacapo (schema {found}, this program knows {known}); \
         install that version or restore an older backup"
    )]
    TooNew {
        /// The version of the schema.
        found: usize,
        /// The newest that this program knows.
        known: usize,
    },
}

impl Error {
    /// The same error for another caller.
    fn again(&self) -> Self {
        match self {
            Self::Busy => Self::Busy,
            Self::Closed => Self::Closed,
            Self::RolledBack => Self::RolledBack,
            Self::Corrupt(text) => Self::Corrupt(text.clone()),
            Self::InUse(path) => Self::InUse(path.clone()),
            Self::TooNew { found, known } => Self::TooNew { found: *found, known: *known },
            Self::Database(error) => Self::Corrupt(error.to_string()),
            Self::Io(error) => Self::Io(std::io::Error::new(error.kind(), error.to_string())),
        }
    }
}

/// The database of one data directory. Clones share it.
#[derive(Debug, Clone)]
pub struct Storage {
    writer: Writer,
    readers: Arc<Readers>,
    listeners: Arc<Listeners>,
    catalog: Arc<Catalog>,
    /// Held as long as anything may be written.
    _lock: Arc<File>,
}

impl Storage {
    /// Opens the database in `data_dir`, makes or migrates it where necessary, and takes the
    /// directory for this process. Runs that an earlier process left executing are found by the
    /// next [`Self::upkeep`].
    pub fn open(data_dir: &Path, clock: &Clock) -> Result<Self, Error> {
        schema::make_private_dir(data_dir)?;
        let lock = schema::lock(data_dir)?;
        let connection = schema::open_for_writing(data_dir)?;
        schema::migrate(&connection, clock.now())?;
        let tx = Tx::new(&connection);
        upkeep::end_all_leases(&tx)?;
        let listeners = Arc::new(Listeners::new(count_waiting(&tx)?));
        listeners.count_tokens(waitpoints::count_waiting_tokens(&tx)?);
        listeners.set_may_have_hooks(hooks::look_for_hooks(&tx)?);
        drop(tx);
        Ok(Self {
            writer: Writer::start(connection, listeners.clone(), clock.clone())?,
            readers: Arc::new(Readers::new(data_dir)),
            listeners,
            catalog: Arc::default(),
            _lock: Arc::new(lock),
        })
    }

    /// Runs of `environment` that have not started yet.
    pub fn waiting_runs(&self, environment: EnvironmentId) -> u64 {
        self.listeners.waiting(environment, &Effects::default())
    }

    /// A number that grows whenever the keys, rules, variables or current deployments of an
    /// environment change: what was read of them before may be stale then.
    pub fn settings_generation(&self) -> u64 {
        self.listeners.settings()
    }

    /// Commits what is on its way, then closes. Later writes fail with [`Error::Closed`].
    pub async fn close(&self) {
        self.writer.stop().await;
    }

    async fn read<T, F>(&self, query: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, Error> + Send + 'static,
    {
        self.readers.read(query).await
    }
}

fn count_waiting(tx: &Tx<'_>) -> Result<HashMap<EnvironmentId, i64>, Error> {
    // By environment and status, so that each count is a range of an index and none walks history.
    let sql = "SELECT e.id,
                      (SELECT COUNT(*) FROM runs r WHERE r.environment_id = e.id AND r.status = 'pending-version')
                    + (SELECT COUNT(*) FROM runs r WHERE r.environment_id = e.id AND r.status = 'delayed')
                    + (SELECT COUNT(*) FROM runs r WHERE r.environment_id = e.id AND r.status = 'queued')
               FROM   environments e";
    Ok(tx.rows(sql, &[], |row| Ok((row.column()?, row.column()?)))?.into_iter().collect())
}
