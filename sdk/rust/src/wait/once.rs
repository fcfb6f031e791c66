//! Waits that a key guards.

use std::time::{Duration, SystemTime};

use super::{Pending, wit};
use crate::context;
use crate::runs::IdempotencyKey;
use crate::tokens::{NewToken, TokenError, token};

/// How long a key counts after the moment that it stands for, where nobody says.
const KEY_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// Begins a wait that is not waited again: not by another attempt of this run, nor, with
/// [`IdempotencyKey::global`], by another run. Whoever comes second waits for what is left of the first
/// wait, and not at all where that is over.
///
/// ```no_run
/// use dacapo::prelude::*;
/// use std::time::Duration;
///
/// fn trial(_: &Context, customer: u64) -> Result<()> {
///     wait::once("trial").sleep(Duration::from_secs(14 * 24 * 3600))?;
///     // Where this fails, the next attempt sends it at once, and not in two weeks.
///     http::post("https://mail.example/trial-is-over").json(customer).send()?.error_for_status()?;
///     Ok(())
/// }
/// ```
///
/// The key counts for 30 days after the end of the wait, or for [`IdempotencyKey::ttl`] from its
/// beginning. It may have 1,900 characters at most.
///
/// The server keeps such a wait as a wait token whose time runs out. It is listed with the others, under a
/// key that begins with `wait:`; whoever completes it ends the wait early.
pub fn once(key: impl Into<IdempotencyKey>) -> Once {
    Once(key.into())
}

/// A wait that is waited once. Made by [`once()`].
#[derive(Debug, Clone)]
#[must_use = "nothing waits before `.sleep(…)`, `.until(…)`, or what `.after(…)` and `.at(…)` give"]
pub struct Once(IdempotencyKey);

impl Once {
    /// Waits for a length of time, counted from when the key was used first.
    ///
    /// # Errors
    ///
    /// The server refuses the key, or a length beyond 366 days, or as many tokens wait as may.
    pub fn sleep(self, length: Duration) -> Result<(), TokenError> {
        self.after(length).map(Pending::wait)
    }

    /// Waits until a moment: that of the first use of the key.
    ///
    /// # Errors
    ///
    /// As for [`sleep`](Self::sleep).
    pub fn until(self, moment: SystemTime) -> Result<(), TokenError> {
        self.at(moment).map(Pending::wait)
    }

    /// There after a length of time, counted from when the key was used first; to wait for it together
    /// with others.
    ///
    /// # Errors
    ///
    /// As for [`sleep`](Self::sleep).
    pub fn after(self, length: Duration) -> Result<Pending<()>, TokenError> {
        let key_ttl = length.saturating_add(KEY_TTL);
        self.pending(token().timeout(length), || key_ttl)
    }

    /// There at the moment of the first use of the key; to wait for it together with others.
    ///
    /// # Errors
    ///
    /// As for [`sleep`](Self::sleep).
    pub fn at(self, moment: SystemTime) -> Result<Pending<()>, TokenError> {
        // A moment in the future has not elapsed, by so much.
        let length = || moment.elapsed().err().map_or(Duration::ZERO, |early| early.duration());
        self.pending(token().timeout_at(moment), || length().saturating_add(KEY_TTL))
    }

    fn pending(self, token: NewToken, key_ttl: impl FnOnce() -> Duration) -> Result<Pending<()>, TokenError> {
        if cfg!(not(target_arch = "wasm32")) {
            return Ok(Pending::ready(()));
        }
        let (run, attempt) = context::current();
        let ttl = self.0.lifetime().unwrap_or_else(key_ttl);
        let token = token.idempotency_key(name(&self.0, &run, attempt)).idempotency_key_ttl(ttl).create()?;
        let raw = wit::token(&token.id).map_err(TokenError::new)?;
        // However it ended, the wait is over.
        Ok(Pending::of_host(|| raw, |_| ()))
    }
}

/// What the token is called in the whole environment. Keys of different scopes never have the same name.
fn name(key: &IdempotencyKey, run: &str, attempt: u32) -> String {
    format!("wait:{}", key.in_environment(run, attempt))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_passes_outside_a_component() {
        assert_eq!(once("a").sleep(Duration::MAX), Ok(()));
        assert_eq!(once(IdempotencyKey::global("a")).until(SystemTime::UNIX_EPOCH + KEY_TTL), Ok(()));
    }

    #[test]
    fn a_key_has_a_name_of_its_own_in_every_scope() {
        let names = [IdempotencyKey::run("2:a"), IdempotencyKey::attempt("a"), IdempotencyKey::global("run_1:2:a")]
            .map(|key| name(&key, "run_1", 2));
        assert_eq!(names, ["wait:run:run_1:2:a", "wait:attempt:run_1:2:a", "wait:global:run_1:2:a"]);
    }
}
