//! One run that is to be triggered.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::read_ended;
use super::{ChildError, Debounce, IdempotencyKey, RunHandle, TriggerError, wit};
use crate::Machine;
use crate::task::{milliseconds, seconds};
use crate::wait::{Pending, instant};

/// Begins a run of another task, or of this one. The payload is anything that serde can write; `()`
/// where the task takes none.
pub fn child(task_id: &str, payload: impl Serialize) -> Child {
    Child {
        task_id: task_id.to_owned(),
        payload: serde_json::to_string(&payload).map_err(|error| format!("the payload is no JSON: {error}")),
        options: wit::TriggerOptions {
            queue: None,
            concurrency_key: None,
            delay: None,
            ttl: None,
            idempotency_key: None,
            priority: None,
            tags: Vec::new(),
            metadata: None,
            max_attempts: None,
            max_duration_seconds: None,
            machine: None,
            version: None,
            external_deployment_id: None,
            debounce: None,
            is_test: false,
        },
    }
}

/// A run that is to be triggered. Made by [`child()`]. What is not set is left to the task, or to the
/// server.
#[derive(Debug, Clone)]
#[must_use = "no run is made before `.trigger()`, `.trigger_and_wait()` or `.start()`"]
pub struct Child {
    task_id: String,
    /// JSON, or why there is none.
    payload: Result<String, String>,
    options: wit::TriggerOptions,
}

impl Child {
    /// The queue to join.
    pub fn queue(mut self, name: &str) -> Self {
        self.options.queue = Some(name.to_owned());
        self
    }

    /// One virtual copy of the queue for each key, each with the queue's limit.
    pub fn concurrency_key(mut self, key: impl Into<String>) -> Self {
        self.options.concurrency_key = Some(key.into());
        self
    }

    /// When to queue it, from now.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.options.delay = Some(wit::Delay::After(milliseconds(delay)));
        self
    }

    /// When to queue it.
    pub fn delay_until(mut self, moment: SystemTime) -> Self {
        self.options.delay = Some(wit::Delay::Until(instant(moment)));
        self
    }

    /// How long it may stay queued before it expires; zero means for ever.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.options.ttl = Some(milliseconds(ttl));
        self
    }

    /// While the key counts, triggering the same task with it again finds the same run. A plain
    /// text counts within this run; see [`IdempotencyKey`].
    pub fn idempotency_key(mut self, key: impl Into<IdempotencyKey>) -> Self {
        self.options.idempotency_key = Some(key.into().into());
        self
    }

    /// Head start in the queue, in seconds.
    pub fn priority(mut self, seconds: f64) -> Self {
        self.options.priority = Some(seconds);
        self
    }

    /// Adds a tag: 10 at most, of 128 characters each.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.options.tags.push(tag.into());
        self
    }

    /// Its metadata to begin with: what serde writes as a JSON object, 256 KiB at most.
    pub fn metadata(mut self, metadata: impl Serialize) -> Self {
        match serde_json::to_string(&metadata) {
            Ok(json) => self.options.metadata = Some(json),
            Err(error) => self.payload = Err(format!("the metadata are no JSON: {error}")),
        }
        self
    }

    /// Attempts in all, the first included.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.options.max_attempts = Some(attempts);
        self
    }

    /// The most CPU time that one attempt may use, in whole seconds (rounded up).
    pub fn max_duration(mut self, duration: Duration) -> Self {
        self.options.max_duration_seconds = Some(seconds(duration));
        self
    }

    /// Memory and CPU of an attempt.
    pub fn machine(mut self, machine: Machine) -> Self {
        self.options.machine = Some(machine.name().to_owned());
        self
    }

    /// A deployed version to run on, for example `20261121.1`.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.options.version = Some(version.into());
        self
    }

    /// The label of a deployment to run on; the run waits until there is one.
    pub fn external_deployment_id(mut self, id: impl Into<String>) -> Self {
        self.options.external_deployment_id = Some(id.into());
        self
    }

    /// Instead of a further run, push back the one that is delayed under the same key.
    pub fn debounce(mut self, debounce: Debounce) -> Self {
        self.options.debounce = Some(debounce.0);
        self
    }

    /// Marks it as a test. A child of a test is one in any case.
    pub fn test(mut self) -> Self {
        self.options.is_test = true;
        self
    }

    /// Triggers it and goes on.
    pub fn trigger(self) -> Result<RunHandle, TriggerError> {
        let item = self.item()?;
        Ok(wit::trigger(&item.task_id, &item.payload, &item.options)?.into())
    }

    /// Triggers it, waits until it has ended, and reads its output (`()` or `Option` where there may
    /// be none, `serde_json::Value` where it may be anything).
    pub fn trigger_and_wait<O: DeserializeOwned + 'static>(self) -> Result<O, ChildError> {
        self.start().wait()
    }

    /// Triggers it, to be waited for later, perhaps together with others. What could not be
    /// triggered gives the error when it is waited for.
    pub fn start<O: DeserializeOwned + 'static>(self) -> Pending<Result<O, ChildError>> {
        let begun =
            self.item().and_then(|item| Ok(wit::trigger_and_wait(&item.task_id, &item.payload, &item.options)?));
        match begun {
            Ok((handle, raw)) => Pending::of_host(|| raw, read_ended).of_runs(vec![handle.into()]),
            Err(error) => Pending::ready(Err(ChildError::NotTriggered(error))),
        }
    }

    /// What the host is asked for.
    pub(super) fn item(self) -> Result<wit::BatchItem, TriggerError> {
        let payload = self.payload.map_err(TriggerError::Invalid)?;
        if cfg!(not(target_arch = "wasm32")) {
            return Err(TriggerError::Invalid("there are no other runs outside a component".into()));
        }
        Ok(wit::BatchItem { task_id: self.task_id, payload, options: self.options })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_reaches_the_host() {
        let options = child("resize", ())
            .queue("images")
            .concurrency_key("customer-1")
            .delay(Duration::from_micros(1_500))
            .ttl(Duration::from_secs(60))
            .idempotency_key("once")
            .priority(10.0)
            .tag("a")
            .tag("b")
            .metadata(serde_json::json!({ "n": 1 }))
            .max_attempts(2)
            .max_duration(Duration::from_millis(1_001))
            .machine(Machine::Medium1x)
            .version("20261121.1")
            .external_deployment_id("abc")
            .debounce(Debounce::new("key", Duration::from_secs(5)))
            .test()
            .options;

        assert_eq!(options.queue.as_deref(), Some("images"));
        assert_eq!(options.concurrency_key.as_deref(), Some("customer-1"));
        assert!(matches!(options.delay, Some(wit::Delay::After(2))));
        assert_eq!((options.ttl, options.priority), (Some(60_000), Some(10.0)));
        assert_eq!(options.idempotency_key.expect("it was set").key, "once");
        assert_eq!(options.tags, ["a", "b"]);
        assert_eq!(options.metadata.as_deref(), Some(r#"{"n":1}"#));
        assert_eq!((options.max_attempts, options.max_duration_seconds), (Some(2), Some(2)));
        assert_eq!(options.machine.as_deref(), Some("medium-1x"));
        assert_eq!(options.version.as_deref(), Some("20261121.1"));
        assert_eq!(options.external_deployment_id.as_deref(), Some("abc"));
        assert_eq!(options.debounce.expect("it was set").key, "key");
        assert!(options.is_test);
    }

    #[test]
    fn nothing_is_triggered_outside_a_component() {
        let error = child("resize", 1).trigger().expect_err("there are no runs");
        assert_eq!(error, TriggerError::Invalid("there are no other runs outside a component".into()));

        let error = child("resize", 1).trigger_and_wait::<()>().expect_err("there are no runs");
        assert!(matches!(error, ChildError::NotTriggered(_)), "{error}");
    }

    #[test]
    fn a_payload_that_is_no_json_is_an_error() {
        let payload = std::collections::HashMap::from([(vec![1], 2)]);
        let error = child("resize", payload).trigger().expect_err("the key is no text");
        assert_eq!(error.to_string(), "the payload is no JSON: key must be a string");
    }
}
