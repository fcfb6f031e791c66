//! Options of a trigger that have a form of their own.

use std::time::Duration;

use super::wit;
use crate::context::IdempotencyKeyScope;
use crate::task::milliseconds;

/// A key under which the same task is triggered once, however often the trigger is done.
///
/// It counts within this run, unless it is made with [`attempt`](Self::attempt) or
/// [`global`](Self::global). With a key that counts within the run, a retried attempt finds the children
/// of the one before, and a step that is done need not be done again:
///
/// ```no_run
/// use dacapo::prelude::*;
/// use dacapo::runs::IdempotencyKey;
///
/// fn order(_: &Context, id: u64) -> Result<()> {
///     runs::child("charge", id).idempotency_key("charge").trigger_and_wait::<()>()?;
///     let key = IdempotencyKey::global(format!("welcome-{id}"));
///     runs::child("welcome", id).idempotency_key(key).trigger()?;
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct IdempotencyKey {
    key: String,
    scope: IdempotencyKeyScope,
    ttl: Option<Duration>,
}

impl IdempotencyKey {
    /// Counts within this run, all its attempts included. At most 2,048 bytes; a key of 64 characters
    /// is taken for a hash and counts everywhere.
    pub fn run(key: impl Into<String>) -> Self {
        Self { key: key.into(), scope: IdempotencyKeyScope::Run, ttl: None }
    }

    /// Counts within this attempt.
    pub fn attempt(key: impl Into<String>) -> Self {
        Self { scope: IdempotencyKeyScope::Attempt, ..Self::run(key) }
    }

    /// Counts in the whole environment, whoever triggers.
    pub fn global(key: impl Into<String>) -> Self {
        Self { scope: IdempotencyKeyScope::Global, ..Self::run(key) }
    }

    /// How long it counts. Default: 30 days.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// What the server is told where it knows no scopes but the whole environment.
    pub(crate) fn in_environment(&self, run: &str, attempt: u32) -> String {
        let Self { key, scope, .. } = self;
        match scope {
            IdempotencyKeyScope::Run => format!("run:{run}:{key}"),
            IdempotencyKeyScope::Attempt => format!("attempt:{run}:{attempt}:{key}"),
            IdempotencyKeyScope::Global => format!("global:{key}"),
        }
    }

    /// How long it counts, where that was said.
    pub(crate) fn lifetime(&self) -> Option<Duration> {
        self.ttl
    }
}

impl From<&str> for IdempotencyKey {
    fn from(key: &str) -> Self {
        Self::run(key)
    }
}

impl From<String> for IdempotencyKey {
    fn from(key: String) -> Self {
        Self::run(key)
    }
}

/// The parts, joined with `-`, as Trigger.dev joins them.
impl<const N: usize> From<[&str; N]> for IdempotencyKey {
    fn from(parts: [&str; N]) -> Self {
        Self::run(parts.join("-"))
    }
}

impl From<IdempotencyKey> for wit::IdempotencyKey {
    fn from(key: IdempotencyKey) -> Self {
        Self {
            key: key.key,
            scope: match key.scope {
                IdempotencyKeyScope::Run => wit::IdempotencyKeyScope::Run,
                IdempotencyKeyScope::Attempt => wit::IdempotencyKeyScope::Attempt,
                IdempotencyKeyScope::Global => wit::IdempotencyKeyScope::Global,
            },
            ttl: key.ttl.map(milliseconds),
        }
    }
}

/// Makes one run of many triggers: each pushes the run that is delayed under the same key back.
#[derive(Debug, Clone)]
#[must_use]
pub struct Debounce(pub(super) wit::Debounce);

impl Debounce {
    /// The key counts within the environment and the task, 512 bytes at most. `delay` is how far each
    /// trigger pushes the run back, from then. The first payload and options count.
    pub fn new(key: impl Into<String>, delay: Duration) -> Self {
        Self(wit::Debounce { key: key.into(), delay: milliseconds(delay), trailing: false, max_delay: None })
    }

    /// The last payload and options count, and not the first.
    pub fn trailing(mut self) -> Self {
        self.0.trailing = true;
        self
    }

    /// The longest time from the first trigger; more than the delay.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.0.max_delay = Some(milliseconds(delay));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_key_counts_within_the_run() {
        let key = wit::IdempotencyKey::from(IdempotencyKey::from(["order", "7"]).ttl(Duration::from_secs(1)));
        assert_eq!((key.key.as_str(), key.ttl), ("order-7", Some(1_000)));
        assert!(matches!(key.scope, wit::IdempotencyKeyScope::Run));

        let scope = |key: IdempotencyKey| wit::IdempotencyKey::from(key).scope;
        assert!(matches!(scope(IdempotencyKey::attempt("a")), wit::IdempotencyKeyScope::Attempt));
        assert!(matches!(scope(IdempotencyKey::global("a")), wit::IdempotencyKeyScope::Global));
    }
}
