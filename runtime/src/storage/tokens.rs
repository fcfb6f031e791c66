//! Public access tokens: the keys that sign them, and those that were used up.

use super::environments::{ApiKey, Environment, environment_columns, key_columns, read_environment, read_key};
use super::sql::{Tx, values};
use super::{Error, Storage};
use crate::model::id::EnvironmentId;
use crate::model::limits::MAX_SIGNING_KEYS;
use crate::model::scope::OneTimeToken;

impl Storage {
    /// An environment with the keys that may sign for it: those that open it and have not been
    /// revoked, oldest first. A branch is opened by the keys of its parent.
    pub async fn signing_keys(&self, environment: EnvironmentId) -> Result<Option<(Environment, Vec<ApiKey>)>, Error> {
        let of = concat!("SELECT ", environment_columns!(), " FROM environments WHERE id = ?1");
        let keys = concat!(
            "SELECT ",
            key_columns!(),
            " FROM api_keys WHERE environment_id = ?1 AND revoked_at IS NULL ORDER BY id LIMIT ?2"
        );
        self.read(move |tx| {
            let found = tx.row(of, values![environment], read_environment)?;
            let Some(found) = found else { return Ok(None) };
            let owner = found.branch.as_ref().map_or(found.id, |branch| branch.parent);
            let keys = tx.rows(keys, values![owner, MAX_SIGNING_KEYS], read_key)?;
            Ok(Some((found, keys)))
        })
        .await
    }
}

/// Uses a token up. `false`: it was before.
///
/// Some neighbours that have expired are forgotten with it, so that there are never many of them.
pub(super) fn use_token(tx: &Tx<'_>, token: &OneTimeToken, now: jiff::Timestamp) -> Result<bool, Error> {
    let hash: &[u8] = &token.hash;
    let used = "INSERT INTO used_tokens (hash, expires_at) VALUES (?1, ?2) ON CONFLICT (hash) DO NOTHING";
    let is_new = tx.execute(used, values![hash, token.expires_at])? == 1;
    let forget = "DELETE FROM used_tokens WHERE hash IN (
                      SELECT hash FROM (
                          SELECT hash, expires_at FROM used_tokens WHERE hash > ?1 ORDER BY hash LIMIT 8
                      ) AS neighbours
                      WHERE expires_at < ?2
                  )";
    tx.execute(forget, values![hash, now])?;
    Ok(is_new)
}

/// Undoes [`use_token`], where nothing was made after all.
pub(super) fn give_token_back(tx: &Tx<'_>, token: &OneTimeToken) -> Result<(), Error> {
    let hash: &[u8] = &token.hash;
    tx.execute("DELETE FROM used_tokens WHERE hash = ?1", values![hash]).map(drop)
}
