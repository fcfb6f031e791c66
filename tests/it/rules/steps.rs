//! What can happen.

use dacapo::model::attempt::{Crash, Outcome, RetryDecision, TaskError, TimeLimit};
use proptest::option::{of, weighted};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

/// Tasks: two that every story begins with, one that comes with a later component, one that never
/// comes.
pub const TASKS: [&str; 4] = ["t", "u", "late", "never"];
/// Queues that callers choose, or tasks declare.
pub const QUEUES: [&str; 2] = ["few", "one"];
/// The last of the idempotency keys is short-lived.
pub const KEYS: usize = 3;
pub const SHORT_KEY: usize = KEYS - 1;
pub const SHORT_KEY_SECONDS: u64 = 30;

/// One thing that happens. A number stands for one of the things that there are, modulo their count.
#[derive(Debug, Clone)]
pub enum Step {
    Trigger(Trigger),
    /// Three runs in one batch, which is sent twice.
    Batch(Vec<Trigger>),
    /// One of the open calls ends.
    End(usize, End),
    Cancel(usize),
    Replay(usize),
    Reschedule(usize, u64),
    BulkCancel(Vec<usize>),
    BulkReplay(Vec<usize>),
    Deploy(usize),
    Promote(usize),
    RollBack,
    Pause(usize),
    Resume(usize),
    Limit(usize, Option<u32>),
    EnvironmentLimit(Option<u32>),
    Advance(u64),
    /// The process dies, so many moments after a trigger was sent.
    Crash(Trigger, u8),
}

/// What is triggered, and how.
#[derive(Debug, Clone)]
pub struct Trigger {
    pub task: usize,
    pub queue: Option<usize>,
    pub place: Option<u8>,
    pub key: Option<usize>,
    pub debounce: Option<u8>,
    pub delay: Option<u64>,
    pub ttl: Option<u64>,
    pub priority: Option<u8>,
}

impl Trigger {
    pub fn task(&self) -> &'static str {
        TASKS[self.task]
    }

    /// The concurrency key; a debounced run has none, because it may get the payload of another.
    pub fn place(&self) -> Option<String> {
        self.place.filter(|_| self.debounce.is_none()).map(|place| format!("place-{place}"))
    }

    /// The key's name; a trigger has one kind of key.
    pub fn key(&self) -> Option<String> {
        self.key.filter(|_| self.debounce.is_none()).map(|key| format!("key-{key}"))
    }

    pub fn debounce(&self) -> Option<String> {
        self.debounce.map(|key| format!("debounce-{key}"))
    }

    pub fn options(&self) -> Value {
        let mut options = json!({});
        let mut set = |name: &str, value: Option<Value>| value.into_iter().for_each(|value| options[name] = value);
        set("queue", self.queue.map(|queue| json!({ "name": QUEUES[queue] })));
        set("concurrencyKey", self.place().map(Value::from));
        set("idempotencyKey", self.key().map(Value::from));
        let is_short = self.key == Some(SHORT_KEY);
        set("idempotencyKeyTTL", is_short.then(|| format!("{SHORT_KEY_SECONDS}s").into()));
        set("debounce", self.debounce().map(|key| json!({ "key": key, "delay": "10s", "mode": self.mode() })));
        set("delay", self.delay.filter(|_| self.debounce.is_none()).map(|seconds| format!("{seconds}s").into()));
        set("ttl", self.ttl.map(Value::from));
        set("priority", self.priority.map(Value::from));
        options
    }

    fn mode(&self) -> &'static str {
        if self.priority.is_some() { "trailing" } else { "leading" }
    }

    /// What the gates need to know, and the API does not tell them: the concurrency key.
    pub fn payload(&self) -> Value {
        json!({ "place": self.place() })
    }
}

/// How an attempt ends.
#[derive(Debug, Clone, Copy)]
pub enum End {
    Well,
    Failed,
    Retried,
    RetriedByPolicy,
    Crashed,
    TimedOut,
    HostFault,
}

impl End {
    pub fn outcome(self) -> Outcome {
        let failed =
            |retry| Outcome::Failed(TaskError { name: "Told".into(), message: "as told".into(), stack: None, retry });
        match self {
            Self::Well => Outcome::Returned("1".into()),
            Self::Failed => failed(RetryDecision::Never),
            Self::Retried => failed(RetryDecision::After(Duration::from_secs(5))),
            Self::RetriedByPolicy => failed(RetryDecision::ByPolicy),
            Self::Crashed => {
                Outcome::Crashed(Crash { out_of_memory: false, message: "as told".into(), backtrace: None })
            }
            Self::TimedOut => Outcome::TimedOut(TimeLimit::Cpu(Duration::from_secs(1))),
            Self::HostFault => Outcome::HostFault("as told".into()),
        }
    }
}

fn any_trigger() -> impl Strategy<Value = Trigger> {
    let task = prop_oneof![6 => Just(0_usize), 3 => Just(1), 1 => Just(2), 1 => Just(3)];
    (
        task,
        weighted(0.4, 0..QUEUES.len()),
        weighted(0.3, 0_u8..2),
        weighted(0.3, 0..KEYS),
        weighted(0.15, 0_u8..2),
        weighted(0.2, 1_u64..40),
        weighted(0.2, 1_u64..40),
        of(0_u8..20),
    )
        .prop_map(|(task, queue, place, key, debounce, delay, ttl, priority)| Trigger {
            task,
            queue,
            place,
            key,
            debounce,
            delay,
            ttl,
            priority,
        })
}

fn any_end() -> impl Strategy<Value = End> {
    prop_oneof![
        4 => Just(End::Well),
        1 => Just(End::Failed),
        2 => Just(End::Retried),
        1 => Just(End::RetriedByPolicy),
        1 => Just(End::Crashed),
        1 => Just(End::TimedOut),
        1 => Just(End::HostFault),
    ]
}

/// Any step.
pub fn any_step() -> impl Strategy<Value = Step> {
    let one = any::<usize>;
    let some = || proptest::collection::vec(any::<usize>(), 1..5);
    prop_oneof![
        14 => any_trigger().prop_map(Step::Trigger),
        3 => proptest::collection::vec(any_trigger(), 3).prop_map(Step::Batch),
        14 => (one(), any_end()).prop_map(|(which, end)| Step::End(which, end)),
        3 => one().prop_map(Step::Cancel),
        3 => one().prop_map(Step::Replay),
        2 => (one(), 1_u64..40).prop_map(|(which, seconds)| Step::Reschedule(which, seconds)),
        1 => some().prop_map(Step::BulkCancel),
        2 => some().prop_map(Step::BulkReplay),
        2 => (0_usize..3).prop_map(Step::Deploy),
        1 => one().prop_map(Step::Promote),
        1 => Just(Step::RollBack),
        2 => (0..QUEUES.len()).prop_map(Step::Pause),
        2 => (0..QUEUES.len()).prop_map(Step::Resume),
        2 => (0..QUEUES.len(), of(0_u32..4)).prop_map(|(queue, limit)| Step::Limit(queue, limit)),
        1 => of(1_u32..5).prop_map(Step::EnvironmentLimit),
        6 => (1_u64..40).prop_map(Step::Advance),
        3 => (any_trigger(), 0_u8..6).prop_map(|(trigger, moments)| Step::Crash(trigger, moments)),
    ]
}
