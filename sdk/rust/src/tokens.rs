//! Wait tokens: made here, handed to somebody outside, who completes them with a value.
//!
//! ```no_run
//! use dacapo::prelude::*;
//! use std::time::Duration;
//!
//! fn approve(_: &Context, invoice: String) -> Result<bool> {
//!     let token = tokens::token().timeout(Duration::from_secs(7 * 24 * 3600)).create()?;
//!     http::post("https://chat.example/ask").json(json!({ "invoice": invoice, "answer_to": token.url })).send()?;
//!     match token.wait::<bool>() {
//!         Ok(answer) => Ok(answer),
//!         Err(WaitError::TimedOut) => Ok(false),
//!         Err(error) => Err(error.into()),
//!     }
//! }
//! # use dacapo::wait::WaitError;
//! ```

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::dacapo::task::tokens as wit;
use crate::task::milliseconds;
use crate::wait::{self, Pending, WaitError, instant};

/// Begins a token.
pub fn token() -> NewToken {
    NewToken(wit::TokenOptions { timeout: None, idempotency_key: None, idempotency_key_ttl: None, tags: Vec::new() })
}

/// Completes a token, whoever made it, with a value (`()` for nothing); does nothing where it has
/// ended.
pub fn complete(id: &str, value: impl Serialize) -> Result<(), TokenError> {
    let json = serde_json::to_string(&value).map_err(|error| TokenError(format!("the value is no JSON: {error}")))?;
    if cfg!(not(target_arch = "wasm32")) {
        return Err(outside());
    }
    wit::complete(id, (json != "null").then_some(json.as_str())).map_err(TokenError)
}

/// A token that is to be made. Made by [`token`].
#[derive(Debug, Clone)]
#[must_use = "no token is made before `.create()`"]
pub struct NewToken(wit::TokenOptions);

impl NewToken {
    /// How long it can be completed, from now. Default: for ever.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout = Some(wit::Timeout::After(milliseconds(timeout)));
        self
    }

    /// Until when it can be completed. Default: for ever.
    pub fn timeout_at(mut self, moment: SystemTime) -> Self {
        self.0.timeout = Some(wit::Timeout::At(instant(moment)));
        self
    }

    /// While the key counts, the same key finds the same token, in the whole environment.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.0.idempotency_key = Some(key.into());
        self
    }

    /// How long the key counts. Default: 30 days.
    pub fn idempotency_key_ttl(mut self, ttl: Duration) -> Self {
        self.0.idempotency_key_ttl = Some(milliseconds(ttl));
        self
    }

    /// Adds a tag: 10 at most, of 128 characters each.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.0.tags.push(tag.into());
        self
    }

    /// Makes the token.
    pub fn create(self) -> Result<Token, TokenError> {
        if cfg!(not(target_arch = "wasm32")) {
            return Err(outside());
        }
        let token = wit::create(&self.0).map_err(TokenError)?;
        Ok(Token { id: token.id, url: token.url, is_cached: token.is_cached })
    }
}

/// A token that can be completed from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Token {
    /// `waitpoint_…`
    pub id: String,
    /// Who posts JSON here completes the token, without any key: a secret.
    pub url: String,
    /// Whether the idempotency key named an older token.
    pub is_cached: bool,
}

impl Token {
    /// Waits until it is completed, and reads the value (`()` or `Option` where there may be none).
    pub fn wait<T: DeserializeOwned + 'static>(&self) -> Result<T, WaitError> {
        wait::token(&self.id)
    }

    /// There when it is completed, or its time is over; to wait for it together with others.
    pub fn pending<T: DeserializeOwned + 'static>(&self) -> Pending<Result<T, WaitError>> {
        wait::for_token(&self.id)
    }

    /// Completes it, with a value (`()` for nothing); does nothing where it has ended.
    pub fn complete(&self, value: impl Serialize) -> Result<(), TokenError> {
        complete(&self.id, value)
    }
}

/// Why a token could not be made or completed; the text is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenError(String);

impl TokenError {
    pub(crate) fn new(reason: String) -> Self {
        Self(reason)
    }
}

fn outside() -> TokenError {
    TokenError("there are no tokens outside a component".into())
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TokenError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_tokens_outside_a_component() {
        let error = token().timeout(Duration::from_secs(1)).tag("a").create().expect_err("there are none");
        assert_eq!(error.to_string(), "there are no tokens outside a component");
        assert_eq!(complete("waitpoint_1", ()), Err(error));
    }
}
