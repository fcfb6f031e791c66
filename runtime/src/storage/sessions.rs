//! Sessions of operators at the page.

use jiff::Timestamp;

use super::sql::{Tx, values};
use super::{Error, Storage};

impl Storage {
    /// Begins a session in place of another one, if it replaces one. Those that have ended are forgotten with it.
    pub async fn begin_session(
        &self,
        hash: [u8; 32],
        replaced: Option<[u8; 32]>,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), Error> {
        self.writer
            .write(move |tx| {
                tx.execute("DELETE FROM sessions WHERE expires_at <= ?1", values![now])?;
                replaced.map_or(Ok(()), |replaced| end(tx, replaced))?;
                let hash: &[u8] = &hash;
                tx.execute("INSERT INTO sessions (hash, expires_at) VALUES (?1, ?2)", values![hash, expires_at])?;
                Ok(())
            })
            .await
    }

    /// When a session ends; `None`: there is none, or not any more.
    pub async fn session(&self, hash: [u8; 32], now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let sql = "SELECT expires_at FROM sessions WHERE hash = ?1 AND expires_at > ?2";
        self.read(move |tx| {
            let hash: &[u8] = &hash;
            tx.row(sql, values![hash, now], |row| row.column())
        })
        .await
    }

    /// Ends a session.
    pub async fn end_session(&self, hash: [u8; 32]) -> Result<(), Error> {
        self.writer.write(move |tx| end(tx, hash)).await
    }
}

fn end(tx: &Tx<'_>, hash: [u8; 32]) -> Result<(), Error> {
    let hash: &[u8] = &hash;
    tx.execute("DELETE FROM sessions WHERE hash = ?1", values![hash]).map(drop)
}
