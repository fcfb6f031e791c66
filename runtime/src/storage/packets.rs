//! Packets: large payloads that were uploaded before the trigger that names them. The bytes are
//! among the artifacts; here is under which path, with which type.

use jiff::Timestamp;

use super::sql::values;
use super::{Error, Storage};
use crate::model::digest::Digest;
use crate::model::id::EnvironmentId;
use crate::model::run::PacketFormat;

/// An uploaded packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPacket {
    /// What it is called by its environment's callers.
    pub path: String,
    /// Which bytes.
    pub digest: Digest,
    /// How to read them.
    pub format: PacketFormat,
    /// How many bytes.
    pub size_bytes: u64,
}

impl Storage {
    /// Records an upload; what was there under its path is replaced.
    pub async fn put_packet(
        &self,
        environment: EnvironmentId,
        packet: StoredPacket,
        now: Timestamp,
    ) -> Result<(), Error> {
        let sql = "INSERT INTO packets (environment_id, path, digest, content_type, size_bytes, created_at)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                   ON CONFLICT (environment_id, path)
                   DO UPDATE SET digest = excluded.digest, content_type = excluded.content_type,
                                 size_bytes = excluded.size_bytes, created_at = excluded.created_at";
        self.writer
            .write(move |tx| {
                let StoredPacket { path, digest, format, size_bytes } = &packet;
                tx.execute(sql, values![environment, path, *digest, format.as_str(), *size_bytes, now]).map(drop)
            })
            .await
    }

    /// What was uploaded under a path.
    pub async fn packet(&self, environment: EnvironmentId, path: String) -> Result<Option<StoredPacket>, Error> {
        let sql = "SELECT path, digest, content_type, size_bytes
                   FROM   packets
                   WHERE  environment_id = ?1 AND path = ?2";
        self.read(move |tx| {
            tx.row(sql, values![environment, &path], |row| {
                Ok(StoredPacket {
                    path: row.column()?,
                    digest: row.column()?,
                    format: row.parsed(PacketFormat::parse)?,
                    size_bytes: row.column()?,
                })
            })
        })
        .await
    }
}
