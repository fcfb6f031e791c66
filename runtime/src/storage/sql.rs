//! The few words that storage speaks to a database: static SQL, values in, rows out.
//!
//! SQL is written once for all databases, with `?1`, `?2`, … for values and with columns that are
//! integers, text or bytes only. What differs between databases stays in this file, in
//! `schema.rs`, `backup.rs` and the migrations. Below this line there is SQLite; a second database
//! needs another body for [`Tx::execute`] and [`Tx::rows`], which may rename the placeholders.
//! `tests/it/dialect.rs` has PostgreSQL prepare every statement.

use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::{ToSqlOutput, ValueRef};

use super::Error;
use super::effects::Effects;
use crate::model::digest::Digest;
use crate::model::id::{
    BacktestId, BatchId, BulkId, DeploymentId, EnvironmentId, KeyId, QueueId, RunId, ScheduleId, WaitpointId, WorkerId,
};
use crate::model::version::Version;

/// Opens a transaction that will write: SQLite is to wait for other writers here, and not to fail
/// at the first change. Postgres says `BEGIN`.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";

/// A value on its way into a statement.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Null,
    Integer(i64),
    Text(&'a str),
    Owned(String),
    Bytes(&'a [u8]),
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Owned(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// `values![a, b]` is the list of values that a statement's placeholders stand for.
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::storage::sql::Value::from($value)),*] };
}
pub(super) use values;

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Owned(text)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Integer(i64::from(number))
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Integer(i64::from(value))
    }
}

/// Milliseconds since 1970.
impl From<Timestamp> for Value<'_> {
    fn from(at: Timestamp) -> Self {
        Self::Integer(at.as_millisecond())
    }
}

/// Milliseconds.
impl From<Duration> for Value<'_> {
    fn from(length: Duration) -> Self {
        Self::Integer(i64::try_from(length.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A type that a column can be read as.
pub(super) trait Column: Sized {
    fn read(value: ValueRef<'_>) -> Option<Self>;
}

impl Column for i64 {
    fn read(value: ValueRef<'_>) -> Option<Self> {
        value.as_i64().ok()
    }
}

impl Column for u32 {
    fn read(value: ValueRef<'_>) -> Option<Self> {
        value.as_i64().ok()?.try_into().ok()
    }
}

impl Column for u64 {
    fn read(value: ValueRef<'_>) -> Option<Self> {
        value.as_i64().ok()?.try_into().ok()
    }
}

impl Column for bool {
    fn read(value: ValueRef<'_>) -> Option<Self> {
        value.as_i64().ok().map(|number| number != 0)
    }
}

impl Column for String {
    fn read(value: ValueRef<'_>) -> Option<Self> {
        value.as_str().ok().map(Into::into)
    }
}

impl Column for Vec<u8> {
    fn read(value: ValueRef<'_>) -> Option<Self> {
        value.as_blob().ok().map(Into::into)
    }
}

impl Column for Timestamp {
    fn read(value: ValueRef<'_>) -> Option<Self> {
        Self::from_millisecond(value.as_i64().ok()?).ok()
    }
}

impl Column for Duration {
    fn read(value: ValueRef<'_>) -> Option<Self> {
        value.as_i64().ok()?.try_into().ok().map(Self::from_millis)
    }
}

impl<T: Column> Column for Option<T> {
    fn read(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::Null => Some(None),
            value => T::read(value).map(Some),
        }
    }
}

macro_rules! stored_as_text {
    ($($name:ty),*) => {$(
        impl From<$name> for Value<'_> {
            fn from(value: $name) -> Self {
                Self::Owned(value.to_string())
            }
        }

        impl Column for $name {
            fn read(value: ValueRef<'_>) -> Option<Self> {
                Self::from_str(value.as_str().ok()?).ok()
            }
        }
    )*};
}

stored_as_text!(
    RunId,
    DeploymentId,
    EnvironmentId,
    KeyId,
    WorkerId,
    BatchId,
    ScheduleId,
    WaitpointId,
    BulkId,
    BacktestId,
    QueueId,
    Version,
    Digest
);

/// A row, read column by column from the left.
pub(super) struct Row<'r> {
    row: &'r rusqlite::Row<'r>,
    next: usize,
}

impl Row<'_> {
    /// The next column. A value that the program could not have written is an error.
    pub(super) fn column<T: Column>(&mut self) -> Result<T, Error> {
        let value = self.row.get_ref(self.next)?;
        self.next += 1;
        T::read(value).ok_or_else(|| {
            let name = self.row.as_ref().column_name(self.next - 1).unwrap_or("?");
            Error::Corrupt(format!("column `{name}` holds a value that cannot be read"))
        })
    }

    /// The next column, read by `parse` from its text.
    pub(super) fn parsed<T>(&mut self, parse: impl Fn(&str) -> Option<T>) -> Result<T, Error> {
        let text: String = self.column()?;
        parse(&text).ok_or_else(|| Error::Corrupt(format!("`{text}` is not a word this version knows")))
    }

    /// The same for a column that may be null.
    pub(super) fn parsed_option<T>(&mut self, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Error> {
        let text: Option<String> = self.column()?;
        text.map(|text| {
            parse(&text).ok_or_else(|| Error::Corrupt(format!("`{text}` is not a word this version knows")))
        })
        .transpose()
    }
}

/// An open transaction, and what must be made known once it is committed.
pub(super) struct Tx<'c> {
    connection: &'c rusqlite::Connection,
    pub(super) effects: Effects,
}

impl<'c> Tx<'c> {
    /// Speaks to `connection`, which may or may not have a transaction open.
    pub(super) fn new(connection: &'c rusqlite::Connection) -> Self {
        Self { connection, effects: Effects::default() }
    }

    /// Runs a statement and tells how many rows it changed.
    pub(super) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize, Error> {
        let mut statement = self.prepare(sql)?;
        Ok(statement.execute(rusqlite::params_from_iter(values))?)
    }

    /// The rows that a statement answers with.
    pub(super) fn rows<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&mut Row<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(read(&mut Row { row, next: 0 })?);
        }
        Ok(found)
    }

    /// The only row that a statement answers with, if any.
    pub(super) fn row<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnMut(&mut Row<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        Ok(self.rows(sql, values, read)?.pop())
    }

    /// Every statement comes through here, and its text can be traced; values never are.
    fn prepare(&self, sql: &str) -> Result<rusqlite::CachedStatement<'c>, Error> {
        tracing::trace!(target: "dacapo::sql", sql, "statement");
        Ok(self.connection.prepare_cached(sql)?)
    }
}
