//! Packets: large payloads that were uploaded before the trigger that names them.

use jiff::Timestamp;

use super::runs::packet;
use super::sql::{Tx, values};
use super::upkeep::MAX_UPKEEP_RUNS;
use super::{Error, Storage};
use crate::model::id::EnvironmentId;
use crate::model::limits::{MAX_PACKETS, MAX_PACKETS_BYTES, PACKET_TTL};
use crate::model::run::Packet;

impl Storage {
    /// Keeps an upload; what was there under its path is replaced. `false`: with it, the environment
    /// would have more than [`MAX_PACKETS`] packets or [`MAX_PACKETS_BYTES`].
    pub async fn put_packet(
        &self,
        environment: EnvironmentId,
        path: String,
        upload: Packet,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let there = "SELECT COUNT(*), COALESCE(SUM(size_bytes), 0) FROM packets WHERE environment_id = ?1";
        let put = "INSERT INTO packets (environment_id, path, format, size_bytes, created_at, data)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                   ON CONFLICT (environment_id, path)
                   DO UPDATE SET format = excluded.format, size_bytes = excluded.size_bytes,
                                 created_at = excluded.created_at, data = excluded.data";
        self.writer
            .write(move |tx| {
                let data = upload.data.as_deref().unwrap_or_default();
                let size_bytes = data.len() as u64;
                let there = tx.row(there, values![environment], |row| Ok((row.column()?, row.column()?)))?;
                let (count, bytes): (u64, u64) = there.unwrap_or((0, 0));
                if count >= MAX_PACKETS || bytes + size_bytes > MAX_PACKETS_BYTES {
                    return Ok(false);
                }
                tx.execute(put, values![environment, &path, upload.format.as_str(), size_bytes, now, data])?;
                Ok(true)
            })
            .await
    }

    /// What was uploaded under a path.
    pub async fn packet(&self, environment: EnvironmentId, path: String) -> Result<Option<Packet>, Error> {
        let sql = "SELECT data, format FROM packets WHERE environment_id = ?1 AND path = ?2";
        self.read(move |tx| tx.row(sql, values![environment, &path], packet)).await
    }
}

/// Forgets uploads that are older than [`PACKET_TTL`]: their triggers have copied them.
pub(super) fn forget_packets(tx: &Tx<'_>, now: Timestamp) -> Result<(), Error> {
    let sql = "DELETE FROM packets
               WHERE  (environment_id, path) IN (
                          SELECT environment_id, path FROM packets WHERE created_at < ?1 ORDER BY created_at LIMIT ?2)";
    let too_old = now.checked_sub(PACKET_TTL).unwrap_or(Timestamp::MIN);
    tx.execute(sql, values![too_old, MAX_UPKEEP_RUNS]).map(drop)
}
