//! Randomness and cryptography: ids, API keys, and what is encrypted at rest.
//!
//! One key of 32 bytes belongs to a data directory. It encrypts API keys and environment
//! variables (XChaCha20-Poly1305, a random nonce each, bound to what the text belongs to), and
//! from it the key is derived with which compiled code is authenticated.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use jiff::Timestamp;
use subtle::ConstantTimeEq;

use crate::model::id::{
    BacktestId, BatchId, BulkId, DeploymentId, EnvironmentId, KeyId, RunId, ScheduleId, WaitpointId, WorkerId, next,
};

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
/// Characters of an API key behind its prefix.
const API_KEY_CHARS: usize = 24;
const API_KEY_ALPHABET: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Why a secret could not be made, read or kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key file cannot be used.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The key file holds something else.
    #[error("{0}: not a key of 64 hexadecimal digits; restore it from a backup")]
    BadKey(String),
    /// What was encrypted is not under this key, or was changed.
    #[error("a stored secret cannot be decrypted: the server key is another one, or the database was changed")]
    Undecryptable,
}

/// The key of a data directory. Never printed.
pub struct ServerKey([u8; KEY_BYTES]);

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKey(…)")
    }
}

impl ServerKey {
    /// A new key.
    pub fn generate() -> Self {
        Self(random())
    }

    /// Reads the key from a file, where there is one.
    pub fn load(path: &Path) -> Result<Option<Self>, Error> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(text.trim()).map(Some).ok_or_else(|| Error::BadKey(path.display().to_string())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::File { path: path.display().to_string(), source }),
        }
    }

    /// Reads the key from a file, or makes both where there is none. Only the owner may read it.
    pub fn load_or_create(path: &Path) -> Result<Self, Error> {
        if let Some(key) = Self::load(path)? {
            return Ok(key);
        }
        let key = Self::generate();
        let failed = |source| Error::File { path: path.display().to_string(), source };
        write_private(path, &data_encoding::HEXLOWER.encode(&key.0)).map_err(failed)?;
        Ok(key)
    }

    /// Reads a key of 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok().map(Self)
    }

    /// Encrypts `text`; `belongs_to` must be named again to decrypt it.
    pub fn seal(&self, text: &str, belongs_to: &str) -> Vec<u8> {
        self.seal_bytes(text.as_bytes(), belongs_to)
    }

    /// Decrypts what [`Self::seal`] encrypted.
    pub fn open(&self, sealed: &[u8], belongs_to: &str) -> Result<String, Error> {
        String::from_utf8(self.open_bytes(sealed, belongs_to)?).map_err(|_| Error::Undecryptable)
    }

    /// Encrypts `bytes`; `belongs_to` must be named again to decrypt them.
    pub fn seal_bytes(&self, bytes: &[u8], belongs_to: &str) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = random();
        let payload = Payload { msg: bytes, aad: belongs_to.as_bytes() };
        let sealed = self
            .cipher()
            .encrypt(&XNonce::from(nonce), payload)
            .expect("encryption fails only for texts of more than 256 GiB");
        [nonce.as_slice(), &sealed].concat()
    }

    /// Decrypts what [`Self::seal_bytes`] encrypted.
    pub fn open_bytes(&self, sealed: &[u8], belongs_to: &str) -> Result<Vec<u8>, Error> {
        let (nonce, bytes) = sealed.split_at_checked(NONCE_BYTES).ok_or(Error::Undecryptable)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| Error::Undecryptable)?;
        let payload = Payload { msg: bytes, aad: belongs_to.as_bytes() };
        self.cipher().decrypt(&XNonce::from(nonce), payload).map_err(|_| Error::Undecryptable)
    }

    /// A key for another purpose, which tells nothing of this one.
    pub fn derive(&self, purpose: &str) -> [u8; KEY_BYTES] {
        let mut hasher = blake3::Hasher::new_derive_key(purpose);
        hasher.update(&self.0);
        hasher.finalize().into()
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.0.into())
    }
}

/// A new API key: `prefix` and 24 random letters and digits.
pub fn new_api_key(prefix: &str) -> String {
    let mut key = String::from(prefix);
    while key.len() < prefix.len() + API_KEY_CHARS {
        let [byte] = random::<1>();
        // 248 = 4 * 62: every character is equally likely.
        if byte < 248 {
            key.push(char::from(API_KEY_ALPHABET[usize::from(byte % 62)]));
        }
    }
    key
}

/// What a key is found by.
pub fn hash(key: &str) -> [u8; 32] {
    crate::model::digest::Digest::of(key.as_bytes()).0
}

/// The token of a new session.
pub fn new_session_token() -> String {
    data_encoding::BASE64URL_NOPAD.encode(&random::<KEY_BYTES>())
}

/// What a session is found by, as long as the admin key is the one of this hash.
pub fn session_hash(admin_key_hash: &[u8; 32], token: &str) -> [u8; 32] {
    blake3::keyed_hash(admin_key_hash, token.as_bytes()).into()
}

/// What a page's changes show beside the cookie with this token.
pub fn csrf_token(token: &str) -> String {
    data_encoding::HEXLOWER.encode(&blake3::derive_key("dacapo 2026-11 csrf token", token.as_bytes()))
}

/// What the value of an environment variable is bound to when it is sealed.
pub fn variable_owner(environment: EnvironmentId, name: &str) -> String {
    format!("variable {environment} {name}")
}

/// What the journal of an attempt is bound to when it is sealed.
pub fn journal_owner(run: RunId, attempt: u32) -> String {
    format!("journal of attempt {attempt} of {run}")
}

/// What the comparison of a run with its replay in a backtest is bound to when it is sealed.
pub fn comparison_owner(backtest: BacktestId, run: RunId) -> String {
    format!("comparison of {run} in {backtest}")
}

/// Compares secrets in a time that tells nothing of where they differ.
pub fn same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// Reads the text of a file of secrets, or makes one of `text()` that only its owner may read.
pub fn load_or_create_text(path: &Path, text: impl FnOnce() -> String) -> Result<String, Error> {
    let failed = |source| Error::File { path: path.display().to_string(), source };
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let text = text();
            write_private(path, &text).map_err(failed)?;
            Ok(text)
        }
        Err(error) => Err(failed(error)),
    }
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// Bytes from the operating system's random source.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has a random source");
    bytes
}

/// A number from 0 to 1, exclusive.
pub fn chance() -> f64 {
    (u64::from_le_bytes(random()) >> 11) as f64 / (1_u64 << 53) as f64
}

macro_rules! new_ids {
    ($($(#[$doc:meta])* $name:ident -> $id:ty;)*) => {$(
        $(#[$doc])*
        pub fn $name(now: Timestamp) -> $id {
            <$id>::from_bits(next_bits(now))
        }
    )*};
}

new_ids! {
    /// A new name for a run.
    run_id -> RunId;
    /// A new name for a deployment.
    deployment_id -> DeploymentId;
    /// A new name for an environment.
    environment_id -> EnvironmentId;
    /// A new name for a key.
    key_id -> KeyId;
    /// A new name for a batch.
    batch_id -> BatchId;
    /// A new name for a schedule.
    schedule_id -> ScheduleId;
    /// A new name for a wait token.
    waitpoint_id -> WaitpointId;
    /// A new name for a bulk action.
    bulk_id -> BulkId;
    /// A new name for a backtest.
    backtest_id -> BacktestId;
    /// A new name for a server process.
    worker_id -> WorkerId;
}

fn next_bits(now: Timestamp) -> u128 {
    static LAST: Mutex<u128> = Mutex::new(0);
    let entropy = u128::from_le_bytes(random());
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    *last = next(now.as_millisecond(), entropy, *last);
    *last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_for_its_owner_and_key() {
        let key = ServerKey::generate();
        let sealed = key.seal("tr_dev_secret", "key_1");
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
        assert_eq!(key.open(&sealed, "key_1").unwrap(), "tr_dev_secret");
        assert!(key.open(&sealed, "key_2").is_err());
        assert!(ServerKey::generate().open(&sealed, "key_1").is_err());
        assert!(key.open(&sealed[..10], "key_1").is_err());
        assert_ne!(sealed, key.seal("tr_dev_secret", "key_1"));
    }

    #[test]
    fn a_key_file_is_made_once_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = std::env::temp_dir().join(format!("dacapo-key-{}", new_api_key("")));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("server.key");
        let sealed = ServerKey::load_or_create(&path).unwrap().seal("x", "y");
        assert_eq!(ServerKey::load_or_create(&path).unwrap().open(&sealed, "y").unwrap(), "x");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "nonsense").unwrap();
        assert!(matches!(ServerKey::load_or_create(&path), Err(Error::BadKey(_))));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn keys_never_print_themselves() {
        assert_eq!(format!("{:?}", ServerKey::generate()), "ServerKey(…)");
    }

    #[test]
    fn api_keys_have_the_contracts_shape() {
        let key = new_api_key("tr_dev_");
        assert_eq!(key.len(), 31);
        assert!(key[7..].bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(key, new_api_key("tr_dev_"));
    }
}
