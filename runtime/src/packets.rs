//! Large payloads: uploaded and downloaded under links that need no key.
//!
//! A link is good for one object of one environment, for one use, until it expires; it is signed
//! under a key that is derived from the server's. An uploaded packet is read back when a trigger
//! names it, so that a run has its payload whole: replays and other environments need no packet, and
//! it is forgotten after a day.

use bytes::Bytes;
use jiff::Timestamp;

use crate::clock::Clock;
use crate::model::id::EnvironmentId;
use crate::model::limits;
use crate::model::run::{Packet, PacketFormat, later};
use crate::secrets::{self, ServerKey};
use crate::storage::{self, Storage};

/// The verbs on packets.
pub struct Packets {
    storage: Storage,
    link_key: [u8; 32],
    clock: Clock,
}

/// What a link is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkUse {
    /// Sending the object, again where necessary.
    Upload,
    /// Fetching it.
    Download,
}

/// A link: which object, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What it is good for.
    pub usage: LinkUse,
    /// Whose object.
    pub environment: EnvironmentId,
    /// Which object.
    pub path: String,
    /// No longer good from then on.
    pub expires_at: Timestamp,
}

/// Why there is no packet.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// The name cannot be one.
    #[error("the path of a packet must have 1 to 512 characters, none of them a control character")]
    BadPath,
    /// Nothing was uploaded there.
    #[error("no packet was uploaded as `{0}`")]
    NoSuchPacket(String),
    /// All formats are text.
    #[error("the packet is not UTF-8 text")]
    NotText,
    /// So much was uploaded already.
    #[error("too much was uploaded in the last day: 10,000 packets, or 4 GiB, are the limit of an environment")]
    TooMany,
    /// Storage failed.
    #[error("storage failed")]
    Storage(#[from] storage::Error),
}

impl Packets {
    /// The packets of `storage`.
    pub fn new(storage: Storage, server_key: &ServerKey, clock: Clock) -> Self {
        Self { storage, link_key: server_key.derive("dacapo 2026-11 links to objects"), clock }
    }

    /// A link to an object, good from now on for a while, with its signature.
    pub fn link(
        &self,
        usage: LinkUse,
        environment: EnvironmentId,
        path: String,
    ) -> Result<(Link, String), PacketError> {
        if !is_path(&path) {
            return Err(PacketError::BadPath);
        }
        let expires_at = later(self.clock.now(), limits::OBJECT_LINK_TTL);
        let link = Link { usage, environment, path, expires_at };
        let signature = data_encoding::HEXLOWER.encode(&self.signature(&link));
        Ok((link, signature))
    }

    /// Whether a link was made by this server and is good now.
    pub fn is_good(&self, link: &Link, signature: &str) -> bool {
        let given = data_encoding::HEXLOWER.decode(signature.as_bytes()).unwrap_or_default();
        secrets::same(&given, &self.signature(link)) && self.clock.now() < link.expires_at
    }

    /// Keeps an uploaded packet; when this returns it is on disk.
    pub async fn store(
        &self,
        environment: EnvironmentId,
        path: String,
        format: PacketFormat,
        bytes: Bytes,
    ) -> Result<(), PacketError> {
        let text = String::from_utf8(bytes.into()).map_err(|_| PacketError::NotText)?;
        let packet = Packet { data: Some(text), format };
        match self.storage.put_packet(environment, path, packet, self.clock.now()).await? {
            true => Ok(()),
            false => Err(PacketError::TooMany),
        }
    }

    /// What was uploaded under a path.
    pub async fn find(&self, environment: EnvironmentId, path: &str) -> Result<Packet, PacketError> {
        if !is_path(path) {
            return Err(PacketError::BadPath);
        }
        let packet = self.storage.packet(environment, path.to_owned()).await?;
        packet.ok_or_else(|| PacketError::NoSuchPacket(path.into()))
    }

    fn signature(&self, link: &Link) -> [u8; 32] {
        let usage = match link.usage {
            LinkUse::Upload => "upload",
            LinkUse::Download => "download",
        };
        // The path stands last: nothing in it can pass for another field.
        let signed = format!("{usage}\n{}\n{}\n{}", link.environment, link.expires_at.as_millisecond(), link.path);
        blake3::keyed_hash(&self.link_key, signed.as_bytes()).into()
    }
}

fn is_path(path: &str) -> bool {
    (1..=limits::MAX_PACKET_PATH_CHARS).contains(&path.chars().count()) && !path.chars().any(char::is_control)
}
