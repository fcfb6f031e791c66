//! The rules of replays of an environment.

use jiff::Timestamp;

use super::sql::values;
use super::{Error, Storage};
use crate::model::id::EnvironmentId;

/// Rules as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRules {
    /// JSON text.
    pub rules: String,
    /// When they were stored.
    pub updated_at: Timestamp,
}

impl Storage {
    /// The rules of an environment, if it has any.
    pub async fn replay_rules(&self, environment: EnvironmentId) -> Result<Option<StoredRules>, Error> {
        let sql = "SELECT rules, updated_at FROM replay_rules WHERE environment_id = ?1";
        self.read(move |tx| {
            tx.row(sql, values![environment], |row| Ok(StoredRules { rules: row.column()?, updated_at: row.column()? }))
        })
        .await
    }

    /// Puts these in the place of the rules of an environment; `None`: it has none any more.
    pub async fn set_replay_rules(
        &self,
        environment: EnvironmentId,
        rules: Option<String>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let put = "INSERT INTO replay_rules (environment_id, rules, updated_at) VALUES (?1, ?2, ?3)
                   ON CONFLICT (environment_id) DO UPDATE SET rules = excluded.rules, updated_at = excluded.updated_at";
        let forget = "DELETE FROM replay_rules WHERE environment_id = ?1";
        self.writer
            .write(move |tx| match &rules {
                Some(rules) => tx.execute(put, values![environment, rules, now]).map(drop),
                None => tx.execute(forget, values![environment]).map(drop),
            })
            .await
    }
}
