//! The verbs on wait tokens: make one, complete one.
//!
//! A token's callback address completes it without a key: it ends in a code that only this server
//! can make, a hash of the token's id under a key that is derived from the server's.

use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::model::admission::Delay;
use crate::model::id::{EnvironmentId, WaitpointId};
use crate::model::limits;
use crate::model::run::later;
use crate::model::tag;
use crate::secrets::{self, ServerKey};
use crate::storage::{self, Completed, NewWaitpoint, Storage, Stored, Waitpoint};

/// The verbs.
pub struct Waitpoints {
    storage: Storage,
    clock: Clock,
    callback_key: [u8; 32],
}

/// A token as a caller wishes it.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// When its time is over. `None`: never.
    pub timeout: Option<Delay>,
    /// A second wish with the same key finds the first one's token.
    pub idempotency_key: Option<String>,
    /// For so long; where nothing is said, as long as a run's key.
    pub idempotency_key_ttl: Option<Duration>,
    /// What it is found by.
    pub tags: Vec<String>,
    /// Names the call of a run that makes it: when that is done again, it finds the token.
    pub call_key: Option<String>,
}

/// Why a token was not made or completed.
#[derive(Debug, thiserror::Error)]
pub enum WaitpointError {
    /// It cannot be like that.
    #[error("{0}")]
    BadWish(String),
    /// As many wait as may.
    #[error("{} wait tokens of the environment wait, and no more can: complete some", limits::MAX_WAITPOINTS)]
    TooMany,
    /// There is none of this name.
    #[error("there is no such wait token")]
    NoSuchWaitpoint,
    /// Storage failed.
    #[error("storage failed")]
    Storage(#[from] storage::Error),
}

impl Waitpoints {
    /// Tokens whose callback addresses are good under `server_key`.
    pub fn new(storage: Storage, server_key: &ServerKey, clock: Clock) -> Self {
        Self { storage, clock, callback_key: server_key.derive("dacapo 2026-11 callbacks of wait tokens") }
    }

    /// Makes a token, unless its key finds one; answers with the token, and whether it is new.
    pub async fn create(&self, environment: EnvironmentId, wish: Wish) -> Result<(Waitpoint, bool), WaitpointError> {
        let now = self.clock.now();
        check(&wish, now)?;
        let key_ttl = wish.idempotency_key_ttl.unwrap_or(limits::DEFAULT_IDEMPOTENCY_KEY_TTL);
        let new = NewWaitpoint {
            id: secrets::waitpoint_id(now),
            environment,
            tags: wish.tags,
            call_key: wish.call_key,
            idempotency: wish.idempotency_key.map(|key| (key, later(now, key_ttl))),
            created_at: now,
            timeout_at: wish.timeout.map(|timeout| moment(timeout, now)),
        };
        match self.storage.insert_waitpoint(new, limits::MAX_WAITPOINTS).await? {
            Stored::New(waitpoint) => Ok((waitpoint, true)),
            Stored::Existing(waitpoint) => Ok((waitpoint, false)),
            Stored::TooMany => Err(WaitpointError::TooMany),
        }
    }

    /// Completes a token with JSON text, or with nothing. One that has ended before stays as it is.
    pub async fn complete(
        &self,
        environment: EnvironmentId,
        id: WaitpointId,
        output: Option<String>,
    ) -> Result<(), WaitpointError> {
        let found = self.storage.waitpoint(id).await?;
        found.filter(|found| found.environment == environment).ok_or(WaitpointError::NoSuchWaitpoint)?;
        self.complete_by_callback(id, output).await
    }

    /// The same for whoever has shown the token's [`Self::callback_code`].
    pub async fn complete_by_callback(&self, id: WaitpointId, output: Option<String>) -> Result<(), WaitpointError> {
        match self.storage.complete_waitpoint(id, output, self.clock.now()).await? {
            Completed::Now | Completed::Before => Ok(()),
            Completed::NoSuchWaitpoint => Err(WaitpointError::NoSuchWaitpoint),
        }
    }

    /// The address at which whoever knows it completes the token. `origin` is the server's, for example
    /// `http://127.0.0.1:3040`.
    pub fn callback_url(&self, origin: &str, id: WaitpointId) -> String {
        format!("{origin}/api/v1/waitpoints/tokens/{id}/callback/{}", self.callback_code(id))
    }

    /// What a callback address ends in: 64 hexadecimal digits.
    pub fn callback_code(&self, id: WaitpointId) -> String {
        data_encoding::HEXLOWER.encode(&self.code(id))
    }

    /// Whether this is the token's callback code.
    pub fn is_callback_code(&self, id: WaitpointId, code: &str) -> bool {
        let given = data_encoding::HEXLOWER.decode(code.as_bytes()).unwrap_or_default();
        secrets::same(&given, &self.code(id))
    }

    fn code(&self, id: WaitpointId) -> [u8; 32] {
        blake3::keyed_hash(&self.callback_key, id.to_string().as_bytes()).into()
    }
}

fn moment(timeout: Delay, now: Timestamp) -> Timestamp {
    match timeout {
        Delay::For(length) => later(now, length),
        Delay::Until(at) => at,
    }
}

fn check(wish: &Wish, now: Timestamp) -> Result<(), WaitpointError> {
    let bad = |problem: &str| Err(WaitpointError::BadWish(problem.into()));
    if wish.tags.len() > limits::MAX_TAGS {
        return bad("a wait token can have 10 tags at most");
    }
    if let Err(problem) = tag::check_each(&wish.tags) {
        return bad(problem);
    }
    if wish.timeout.is_some_and(|timeout| moment(timeout, now) > later(now, limits::MAX_WAITPOINT_TIMEOUT)) {
        return bad("`timeout` must be within 366 days");
    }
    let key_chars = wish.idempotency_key.as_ref().map(|key| key.chars().count());
    if key_chars.is_some_and(|count| !(1..=limits::MAX_IDEMPOTENCY_KEY_CHARS).contains(&count)) {
        return bad("`idempotencyKey` must have 1 to 2048 characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_a_length_or_a_moment_and_has_a_limit() {
        let now = Timestamp::UNIX_EPOCH;
        let within = |timeout| check(&Wish { timeout: Some(timeout), ..Wish::default() }, now).is_ok();
        assert!(within(Delay::For(limits::MAX_WAITPOINT_TIMEOUT)));
        assert!(!within(Delay::For(limits::MAX_WAITPOINT_TIMEOUT + Duration::from_secs(1))));
        assert!(!within(Delay::For(Duration::MAX)), "a moment that no calendar has");
        assert!(within(Delay::Until(Timestamp::MIN)), "one that has passed");
        assert!(!within(Delay::Until(Timestamp::MAX)));
    }
}
