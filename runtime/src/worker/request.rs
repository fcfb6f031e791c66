//! What a task asks for when it triggers another one, in the words of the domain.

use std::time::Duration;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::model::admission::{Delay, Request};
use crate::model::id::RunId;
use crate::model::limits;
use crate::model::run::{self, Packet, PacketFormat, later};
use crate::sandbox::context::IdempotencyKeyScope;
use crate::sandbox::world;

/// Characters of a key that is a hash already.
const HASH_CHARS: usize = 64;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) run: RunId,
    pub(super) attempt: u32,
}

/// The request that an item makes, and the version that it names. The error says what cannot be.
pub(super) fn request(
    item: world::BatchItem,
    asker: Asker,
    now: Timestamp,
) -> Result<(Request, Option<String>), String> {
    let world::BatchItem { task_id, payload, options } = item;
    let mut request = Request::new(task_id, Packet { data: Some(payload), format: PacketFormat::Json });
    request.queue = options.queue;
    request.concurrency_key = options.concurrency_key;
    request.delay = options.delay.map(delay).transpose()?;
    request.ttl = options.ttl.map(Duration::from_millis);
    request.idempotency = options.idempotency_key.map(|key| idempotency(key, asker, now)).transpose()?;
    request.priority_seconds = options.priority.unwrap_or(0.0);
    request.tags = options.tags;
    request.metadata = options.metadata.map(metadata).transpose()?;
    request.max_attempts = options.max_attempts;
    request.max_duration_seconds = options.max_duration_seconds;
    let machine = options.machine.map(|name| name.parse()).transpose();
    request.machine = machine.map_err(|error| format!("`machine`: {error}"))?;
    request.is_test = options.is_test;
    request.external_deployment = options.external_deployment_id;
    request.debounce = options.debounce.map(debounce);
    request.origin.parent = Some(asker.run);
    Ok((request, options.version))
}

fn delay(delay: world::Delay) -> Result<Delay, String> {
    match delay {
        world::Delay::After(length) => Ok(Delay::For(Duration::from_millis(length))),
        world::Delay::Until(at) => moment(at).map(Delay::Until),
    }
}

/// A moment of the guest's: milliseconds since 1970.
pub(super) fn moment(at: u64) -> Result<Timestamp, String> {
    let at = i64::try_from(at).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
    at.ok_or_else(|| "a moment must be before the year 10000".into())
}

fn metadata(text: String) -> Result<String, String> {
    match serde_json::from_str(&text) {
        Ok(serde_json::Value::Object(object)) => {
            crate::api::check_levels(&object).map_err(|error| error.to_string())?;
            Ok(text)
        }
        Ok(_) => Err("`metadata` must be a JSON object".into()),
        Err(error) => Err(format!("`metadata` is not JSON: {error}")),
    }
}

fn debounce(debounce: world::Debounce) -> run::Debounce {
    let world::Debounce { key, delay, trailing, max_delay } = debounce;
    let (delay, max_delay) = (Duration::from_millis(delay), max_delay.map(Duration::from_millis));
    run::Debounce { key, delay, trailing, max_delay }
}

/// The same key as a client's, which hashes it with the run, and the attempt, within which it counts.
fn idempotency(key: world::IdempotencyKey, asker: Asker, now: Timestamp) -> Result<run::IdempotencyKey, String> {
    let world::IdempotencyKey { key, scope, ttl } = key;
    if !(1..=limits::MAX_IDEMPOTENCY_KEY_CHARS).contains(&key.chars().count()) {
        return Err("`idempotency-key` must have 1 to 2048 characters".into());
    }
    let ttl = ttl.map_or(limits::DEFAULT_IDEMPOTENCY_KEY_TTL, Duration::from_millis);
    let (hashed, scope) = match scope {
        IdempotencyKeyScope::Run => (format!("{key}-{}", asker.run), "run"),
        IdempotencyKeyScope::Attempt => (format!("{key}-{}-{}", asker.run, asker.attempt), "attempt"),
        IdempotencyKeyScope::Global => (key.clone(), "global"),
    };
    let is_hash = key.chars().count() == HASH_CHARS;
    Ok(run::IdempotencyKey {
        key: if is_hash { key.clone() } else { HEXLOWER.encode(&Sha256::digest(hashed.as_bytes())) },
        shown: Some(key),
        scope: Some(scope.into()),
        expires_at: later(now, ttl),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, scope: IdempotencyKeyScope, expected: &str) {
        let asker = Asker { run: RunId::from_bits(1), attempt: 2 };
        let key = world::IdempotencyKey { key: key.into(), scope, ttl: None };
        assert_eq!(idempotency(key, asker, Timestamp::UNIX_EPOCH).map(|key| key.key).as_deref(), Ok(expected));
    }

    #[test]
    fn a_key_is_hashed_with_what_it_counts_within() {
        let sha = |text: &str| HEXLOWER.encode(&Sha256::digest(text.as_bytes()));
        let run = RunId::from_bits(1);
        // The hash that the official client makes.
        check("idem-1", IdempotencyKeyScope::Global, &sha("idem-1"));
        assert!(sha("idem-1").starts_with("d05b61bd4b70e0d9"));
        check("k", IdempotencyKeyScope::Run, &sha(&format!("k-{run}")));
        check("k", IdempotencyKeyScope::Attempt, &sha(&format!("k-{run}-2")));
        check(&"a".repeat(64), IdempotencyKeyScope::Run, &"a".repeat(64));
    }
}
