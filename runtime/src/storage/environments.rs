//! Environments, their keys and their variables.

use std::collections::HashSet;

use jiff::Timestamp;

use super::sql::{Row, values};
use super::{Error, Storage};
use crate::model::id::{EnvironmentId, KeyId};

/// An environment: a space of deployments and runs with keys of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Its name.
    pub id: EnvironmentId,
    /// `dev`, `stg`, `prod` or `preview`; for a branch, that of its parent, a `/` and the branch.
    pub slug: String,
    /// What it is for.
    pub kind: EnvironmentKind,
    /// The text of its egress rules.
    pub egress: Vec<String>,
    /// Most runs that execute at a time. `None`: as many as the workers take.
    pub concurrency_limit: Option<u32>,
    /// What a version must stand before it is made current, as JSON. `None`: nothing.
    pub backtest_policy: Option<String>,
    /// Whether it is for a branch, and of which environment.
    pub branch: Option<Branch>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What an environment for a branch has beside others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The environment whose keys open it.
    pub parent: EnvironmentId,
    /// The branch.
    pub name: String,
}

/// What an environment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvironmentKind {
    /// A developer's own.
    Development,
    /// A rehearsal.
    Staging,
    /// The real thing.
    Production,
    /// One of many, each for a branch.
    Preview,
}

impl EnvironmentKind {
    /// The word that is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
            Self::Preview => "preview",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Development, Self::Staging, Self::Production, Self::Preview]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// An API key as it is kept: never the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its name.
    pub id: KeyId,
    /// What it opens.
    pub environment: EnvironmentId,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// The key, encrypted.
    pub sealed: Vec<u8>,
    /// Its last four characters.
    pub hint: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it opens nothing.
    pub revoked_at: Option<Timestamp>,
}

/// An environment variable as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value, encrypted.
    pub sealed: Vec<u8>,
    /// Whether the value is never shown again.
    pub is_secret: bool,
}

/// The columns that [`read_environment`] reads.
macro_rules! environment_columns {
    () => {
        "id, slug, kind, egress, concurrency_limit, backtest_policy, parent_id, branch, created_at"
    };
}
pub(super) use environment_columns;

/// The columns that [`read_key`] reads.
macro_rules! key_columns {
    () => {
        "id, environment_id, hash, sealed, hint, created_at, revoked_at"
    };
}
pub(super) use key_columns;

impl Storage {
    /// Makes an environment, unless there is one of this slug or for this branch.
    pub async fn insert_environment(&self, environment: Environment) -> Result<bool, Error> {
        let sql = "INSERT INTO environments (
                       id, slug, kind, egress, concurrency_limit, backtest_policy, parent_id, branch, created_at)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                   ON CONFLICT DO NOTHING";
        self.writer
            .write(move |tx| {
                let of = &environment;
                let (parent, name) = of.branch.as_ref().map(|branch| (branch.parent, &branch.name)).unzip();
                let (kind, egress) = (of.kind.as_str(), of.egress.join("\n"));
                let policy = of.backtest_policy.as_ref();
                let values =
                    values![of.id, &of.slug, kind, egress, of.concurrency_limit, policy, parent, name, of.created_at,];
                tx.effects.settings_changed();
                Ok(tx.execute(sql, values)? == 1)
            })
            .await
    }

    /// An environment.
    pub async fn environment(&self, id: EnvironmentId) -> Result<Option<Environment>, Error> {
        let sql = concat!("SELECT ", environment_columns!(), " FROM environments WHERE id = ?1");
        self.read(move |tx| tx.row(sql, values![id], read_environment)).await
    }

    /// What an environment is for; one that does not exist is for production. Cached.
    pub async fn environment_kind(&self, id: EnvironmentId) -> Result<EnvironmentKind, Error> {
        if let Some(kind) = self.catalog.kind(id) {
            return Ok(kind);
        }
        let Some(environment) = self.environment(id).await? else { return Ok(EnvironmentKind::Production) };
        self.catalog.remember_kind(id, environment.kind);
        Ok(environment.kind)
    }

    /// The environment for a branch of another one.
    pub async fn environment_of_branch(
        &self,
        parent: EnvironmentId,
        name: String,
    ) -> Result<Option<Environment>, Error> {
        let sql = concat!("SELECT ", environment_columns!(), " FROM environments WHERE parent_id = ?1 AND branch = ?2");
        self.read(move |tx| tx.row(sql, values![parent, &name], read_environment)).await
    }

    /// How many branches an environment has.
    pub async fn count_branches(&self, parent: EnvironmentId) -> Result<u64, Error> {
        let sql = "SELECT COUNT(*) FROM environments WHERE parent_id = ?1";
        self.read(move |tx| Ok(tx.row(sql, values![parent], |row| row.column())?.unwrap_or(0))).await
    }

    /// All environments, oldest first.
    pub async fn environments(&self) -> Result<Vec<Environment>, Error> {
        let sql = concat!("SELECT ", environment_columns!(), " FROM environments ORDER BY id");
        self.read(move |tx| tx.rows(sql, &[], read_environment)).await
    }

    /// Replaces the egress rules of an environment.
    pub async fn set_egress(&self, environment: EnvironmentId, rules: Vec<String>) -> Result<(), Error> {
        let sql = "UPDATE environments SET egress = ?2 WHERE id = ?1";
        self.writer
            .write(move |tx| {
                tx.effects.settings_changed();
                tx.execute(sql, values![environment, rules.join("\n")]).map(drop)
            })
            .await
    }

    /// Says what a version must stand before it is made current, as JSON; `None`: nothing.
    pub async fn set_backtest_policy(&self, environment: EnvironmentId, policy: Option<String>) -> Result<(), Error> {
        let sql = "UPDATE environments SET backtest_policy = ?2 WHERE id = ?1";
        self.writer
            .write(move |tx| {
                tx.effects.settings_changed();
                tx.execute(sql, values![environment, policy.as_ref()]).map(drop)
            })
            .await
    }

    /// Stores a new key.
    pub async fn insert_key(&self, key: ApiKey) -> Result<(), Error> {
        let sql = "INSERT INTO api_keys (id, environment_id, hash, sealed, hint, created_at)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        self.writer
            .write(move |tx| {
                tx.effects.settings_changed();
                let hash: &[u8] = &key.hash;
                let values = values![key.id, key.environment, hash, key.sealed.as_slice(), &key.hint, key.created_at];
                tx.execute(sql, values).map(drop)
            })
            .await
    }

    /// The key with this hash that has not been revoked, with its environment.
    pub async fn key_by_hash(&self, hash: [u8; 32]) -> Result<Option<(ApiKey, Environment)>, Error> {
        let key = concat!("SELECT ", key_columns!(), " FROM api_keys WHERE hash = ?1 AND revoked_at IS NULL");
        let environment = concat!("SELECT ", environment_columns!(), " FROM environments WHERE id = ?1");
        self.read(move |tx| {
            let hash: &[u8] = &hash;
            let Some(key) = tx.row(key, values![hash], read_key)? else {
                return Ok(None);
            };
            let environment = tx.row(environment, values![key.environment], read_environment)?;
            Ok(environment.map(|environment| (key, environment)))
        })
        .await
    }

    /// All keys, oldest first, the revoked ones included.
    pub async fn keys(&self) -> Result<Vec<ApiKey>, Error> {
        let sql = concat!("SELECT ", key_columns!(), " FROM api_keys ORDER BY id");
        self.read(move |tx| tx.rows(sql, &[], read_key)).await
    }

    /// Revokes a key. `false`: there is none, or it was revoked before.
    pub async fn revoke_key(&self, id: KeyId, now: Timestamp) -> Result<bool, Error> {
        let sql = "UPDATE api_keys SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL";
        self.writer
            .write(move |tx| {
                tx.effects.settings_changed();
                Ok(tx.execute(sql, values![id, now])? == 1)
            })
            .await
    }

    /// Sets variables of an environment, all or none: where `replace` is false, a variable that is
    /// there already keeps its value. Answers `false`, and sets none, where there would be more
    /// than `max_variables`.
    pub async fn set_variables(
        &self,
        environment: EnvironmentId,
        variables: Vec<Variable>,
        replace: bool,
        max_variables: usize,
    ) -> Result<bool, Error> {
        let insert = "INSERT INTO variables (environment_id, name, sealed, is_secret) VALUES (?1, ?2, ?3, ?4)
                      ON CONFLICT (environment_id, name) DO NOTHING";
        let upsert = "INSERT INTO variables (environment_id, name, sealed, is_secret) VALUES (?1, ?2, ?3, ?4)
                      ON CONFLICT (environment_id, name)
                      DO UPDATE SET sealed = excluded.sealed, is_secret = excluded.is_secret";
        let names = "SELECT name FROM variables WHERE environment_id = ?1";
        let sql = if replace { upsert } else { insert };
        self.writer
            .write(move |tx| {
                let mut there: HashSet<String> =
                    tx.rows(names, values![environment], |row| row.column())?.into_iter().collect();
                there.extend(variables.iter().map(|variable| variable.name.clone()));
                if there.len() > max_variables {
                    return Ok(false);
                }
                tx.effects.settings_changed();
                for Variable { name, sealed, is_secret } in &variables {
                    tx.execute(sql, values![environment, name, sealed.as_slice(), *is_secret])?;
                }
                Ok(true)
            })
            .await
    }

    /// The variables of an environment, by name.
    pub async fn variables(&self, environment: EnvironmentId) -> Result<Vec<Variable>, Error> {
        let sql = "SELECT name, sealed, is_secret FROM variables WHERE environment_id = ?1 ORDER BY name";
        self.read(move |tx| {
            tx.rows(sql, values![environment], |row| {
                Ok(Variable { name: row.column()?, sealed: row.column()?, is_secret: row.column()? })
            })
        })
        .await
    }

    /// Removes a variable. `false`: there was none.
    pub async fn delete_variable(&self, environment: EnvironmentId, name: String) -> Result<bool, Error> {
        let sql = "DELETE FROM variables WHERE environment_id = ?1 AND name = ?2";
        self.writer
            .write(move |tx| {
                tx.effects.settings_changed();
                Ok(tx.execute(sql, values![environment, &name])? == 1)
            })
            .await
    }
}

pub(super) fn read_environment(row: &mut Row<'_>) -> Result<Environment, Error> {
    Ok(Environment {
        id: row.column()?,
        slug: row.column()?,
        kind: row.parsed(EnvironmentKind::parse)?,
        egress: row.parsed(|text| Some(text.lines().map(Into::into).collect()))?,
        concurrency_limit: row.column()?,
        backtest_policy: row.column()?,
        branch: match (row.column()?, row.column()?) {
            (Some(parent), Some(name)) => Some(Branch { parent, name }),
            _ => None,
        },
        created_at: row.column()?,
    })
}

pub(super) fn read_key(row: &mut Row<'_>) -> Result<ApiKey, Error> {
    let bad_hash = |_| Error::Corrupt("the hash of a key has a wrong length".into());
    Ok(ApiKey {
        id: row.column()?,
        environment: row.column()?,
        hash: row.column::<Vec<u8>>()?.try_into().map_err(bad_hash)?,
        sealed: row.column()?,
        hint: row.column()?,
        created_at: row.column()?,
        revoked_at: row.column()?,
    })
}
