//! The verbs on API keys: making one, and telling by one whether the server key is still the same.
//!
//! There are two kinds. From a root key its holder's client makes public access tokens itself; an
//! additional key, `tr_<environment>_sk_…`, opens the same, and lets the server make them.

use jiff::Timestamp;

use crate::model::id::KeyId;
use crate::secrets::{self, ServerKey};
use crate::storage::{ApiKey, Environment, Error, Storage};

/// Characters of a key that are shown, so that people can tell it from others.
const HINT_CHARS: usize = 4;

/// What the keys of the environment with this slug begin with.
pub fn prefix(slug: &str) -> String {
    format!("tr_{slug}_")
}

/// What is put behind the prefix of an additional key.
const ADDITIONAL: &str = "sk_";

/// Which kind of key to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// `tr_dev_…`
    Root,
    /// `tr_dev_sk_…`
    Additional,
}

/// Whether the text of a key is that of an additional one.
pub fn is_additional(key: &str) -> bool {
    key.strip_prefix("tr_").and_then(|rest| rest.split_once('_')).is_some_and(|(_, rest)| rest.starts_with(ADDITIONAL))
}

/// Makes a key for an environment. It is returned, and kept only as a hash and encrypted.
pub async fn create(
    storage: &Storage,
    server_key: &ServerKey,
    environment: &Environment,
    kind: KeyKind,
    now: Timestamp,
) -> Result<(KeyId, String), Error> {
    let prefix = match kind {
        KeyKind::Root => prefix(&environment.slug),
        KeyKind::Additional => prefix(&environment.slug) + ADDITIONAL,
    };
    let key = secrets::new_api_key(&prefix);
    let id = secrets::key_id(now);
    let stored = ApiKey {
        id,
        environment: environment.id,
        hash: secrets::hash(&key),
        sealed: server_key.seal(&key, &id.to_string()),
        hint: key[key.len() - HINT_CHARS..].into(),
        created_at: now,
        revoked_at: None,
    };
    storage.insert_key(stored).await?;
    Ok((id, key))
}

/// What people know a key by: its prefix and its last characters.
pub fn hint(server_key: &ServerKey, slug: &str, key: &ApiKey) -> String {
    let is_additional = server_key.open(&key.sealed, &key.id.to_string()).is_ok_and(|key| is_additional(&key));
    format!("{}{}…{}", prefix(slug), if is_additional { ADDITIONAL } else { "" }, key.hint)
}

/// Whether `server_key` is the one under which `key` was encrypted.
pub fn opens(server_key: &ServerKey, key: &ApiKey) -> bool {
    server_key.open(&key.sealed, &key.id.to_string()).is_ok()
}
