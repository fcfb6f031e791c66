//! The rules of replays that are stored for an environment, and how they hold under those of a request.

use super::jobs::{BacktestError, Backtests};
use super::rules::{Rules, RulesError, join};
use crate::api::{ReplayOptions, ReplayRules};
use crate::model::id::EnvironmentId;
use crate::storage::{self, Storage, StoredRules};

/// The stored rules of an environment.
///
/// # Errors
///
/// If storage fails.
pub async fn of_environment(
    storage: &Storage,
    environment: EnvironmentId,
) -> Result<(ReplayRules, Option<StoredRules>), storage::Error> {
    let stored = storage.replay_rules(environment).await?;
    let rules = stored.as_ref().map(|stored| read(&stored.rules)).transpose()?;
    Ok((rules.unwrap_or_default(), stored))
}

/// Rules as they are stored.
fn read(text: &str) -> Result<ReplayRules, storage::Error> {
    serde_json::from_str(text).map_err(|error| storage::Error::Corrupt(format!("rules of replays: {error}")))
}

/// Rules as they will be stored; `None`: there are none.
///
/// # Errors
///
/// If they are none, or too many.
pub fn write(rules: &ReplayRules) -> Result<Option<String>, RulesError> {
    let text = serde_json::to_string(rules).map_err(|error| RulesError::Unreadable(error.to_string()))?;
    Rules::parse(&text)?;
    Ok((!rules.is_empty()).then_some(text))
}

impl Backtests {
    /// The rules of a request over those of its environment: as they are stored, or as they were when a backtest was asked
    /// for.
    pub(super) async fn rules(
        &self,
        environment: EnvironmentId,
        of_then: Option<&str>,
        options: &ReplayOptions,
    ) -> Result<Rules, BacktestError> {
        let stored = match of_then {
            Some(text) => read(text)?,
            None => of_environment(&self.storage, environment).await?.0,
        };
        joined(&stored, options)
    }

    /// The rules that a backtest is to keep, as JSON, after a look whether those of its request can be joined to them.
    pub(super) async fn rules_to_keep(
        &self,
        environment: EnvironmentId,
        options: &ReplayOptions,
    ) -> Result<String, BacktestError> {
        let (stored, _) = of_environment(&self.storage, environment).await?;
        joined(&stored, options)?;
        Ok(serde_json::to_string(&stored).expect("texts and numbers can be written as JSON"))
    }
}

fn joined(stored: &ReplayRules, options: &ReplayOptions) -> Result<Rules, BacktestError> {
    let given = options.rules.clone().unwrap_or_default();
    if stored.is_empty() {
        return Ok(Rules::check(given)?);
    }
    let both = join(stored, &given);
    // Each is good alone: what is wrong with both is that they are too many.
    Rules::check(given)?;
    Rules::check(both).map_err(|error| {
        BacktestError::Refused(format!("`options.rules`, together with the stored rules of the environment: {error}"))
    })
}
