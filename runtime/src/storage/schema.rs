//! Opening a database: one process at a time, migrated to the version this program knows.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::Error;
use super::sql::{BEGIN, Tx, values};

/// The migrations, in order; the place in the list, from 1, is the version they lead to.
const MIGRATIONS: &[&str] = &[
    include_str!("../../migrations/sqlite/0001_init.sql"),
    include_str!("../../migrations/sqlite/0002_parked_runs_expire.sql"),
    include_str!("../../migrations/sqlite/0003_lifecycle.sql"),
    include_str!("../../migrations/sqlite/0004_waits.sql"),
    include_str!("../../migrations/sqlite/0005_backtests.sql"),
    include_str!("../../migrations/sqlite/0006_sessions.sql"),
    include_str!("../../migrations/sqlite/0007_statistics.sql"),
];
/// The file of the database within the data directory.
pub(super) const DATABASE_FILE: &str = "dacapo.db";
const LOCK_FILE: &str = "dacapo.lock";
/// Memory in which a connection that reads keeps pages.
const READ_CACHE_KIB: u32 = 16 * 1024;
/// The same of the one that writes, which touches the ends of indexes. Nearly every commit splits
/// pages, and then SQLite walks all of the cache (`balance_nonroot` numbers pages anew, beyond the end
/// of the file, which `pager_end_transaction` cuts off).
const WRITE_CACHE_KIB: u32 = 4 * 1024;

/// Makes the data directory where it is missing. It holds payloads and keys, so that only its owner
/// may enter.
pub(super) fn make_private_dir(data_dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir)
}

/// Takes the data directory for this process, until the file is dropped.
pub(super) fn lock(data_dir: &Path) -> Result<File, Error> {
    let file = File::options().create(true).truncate(false).write(true).open(data_dir.join(LOCK_FILE))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::InUse(data_dir.into())),
        Err(errno) => Err(std::io::Error::from(errno).into()),
    }
}

/// A connection that may write. `synchronous = FULL`: a commit is on disk before it returns.
pub(super) fn open_for_writing(data_dir: &Path) -> Result<Connection, Error> {
    let connection = Connection::open(data_dir.join(DATABASE_FILE))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "OFF")?;
    tune(&connection, WRITE_CACHE_KIB)?;
    Ok(connection)
}

/// A connection that only reads.
pub(super) fn open_for_reading(data_dir: &Path) -> Result<Connection, Error> {
    let connection = Connection::open(data_dir.join(DATABASE_FILE))?;
    connection.pragma_update(None, "query_only", "ON")?;
    tune(&connection, READ_CACHE_KIB)?;
    Ok(connection)
}

fn tune(connection: &Connection, cache_kib: u32) -> Result<(), Error> {
    connection.busy_timeout(Duration::from_secs(10))?;
    // Plans must not depend on bound values: with partial indexes, SQLite would otherwise prepare
    // statements again and again.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "cache_size", -i64::from(cache_kib))?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(())
}

/// How the schema of a database stands to this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaVersions {
    /// The version of the schema; 0 where there are no tables yet.
    pub found: usize,
    /// The newest that this program knows.
    pub known: usize,
}

/// Looks at the database of `data_dir` and changes nothing in it, although SQLite may make its files
/// `-wal` and `-shm` beside it. A server may be using it.
pub fn schema_versions(data_dir: &Path) -> Result<SchemaVersions, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(data_dir.join(DATABASE_FILE), flags)?;
    tune(&connection, READ_CACHE_KIB)?;
    let found = if connection.table_exists(None, "schema_migrations")? { applied(&connection)? } else { 0 };
    Ok(SchemaVersions { found, known: MIGRATIONS.len() })
}

/// The number of migrations that were made.
fn applied(connection: &Connection) -> Result<usize, Error> {
    let newest: Option<u64> =
        Tx::new(connection).row("SELECT MAX(version) FROM schema_migrations", &[], |row| row.column())?.flatten();
    Ok(newest.unwrap_or(0) as usize)
}

/// Brings the schema to the newest version. Each step is one transaction: a step that fails
/// leaves the database as the step before it made it.
pub(super) fn migrate(connection: &Connection, now: Timestamp) -> Result<(), Error> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migrations (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)",
    )?;
    let version = applied(connection)?;
    let tx = Tx::new(connection);
    if version > MIGRATIONS.len() {
        return Err(Error::TooNew { found: version, known: MIGRATIONS.len() });
    }
    for (index, migration) in MIGRATIONS.iter().enumerate().skip(version) {
        connection.execute_batch(BEGIN)?;
        let applied = connection.execute_batch(migration).map_err(Error::from).and_then(|()| {
            let sql = "INSERT INTO schema_migrations (version, applied_at) VALUES (?1, ?2)";
            tx.execute(sql, values![index as u64 + 1, now])
        });
        match applied {
            Ok(_) => connection.execute_batch("COMMIT")?,
            Err(error) => {
                connection.execute_batch("ROLLBACK")?;
                return Err(error);
            }
        }
    }
    Ok(())
}
