//! The verbs on API keys: making one, and telling by one whether the server key is still the same.

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

/// Makes a key for an environment. It is returned, and kept only as a hash and encrypted.
pub async fn create(
    storage: &Storage,
    server_key: &ServerKey,
    environment: &Environment,
    now: Timestamp,
) -> Result<(KeyId, String), Error> {
    let key = secrets::new_api_key(&prefix(&environment.slug));
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

/// Whether `server_key` is the one under which `key` was encrypted.
pub fn opens(server_key: &ServerKey, key: &ApiKey) -> bool {
    server_key.open(&key.sealed, &key.id.to_string()).is_ok()
}
