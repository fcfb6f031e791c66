//! What a component says of its tasks, and whether it may say so.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::hook::Hooks;
use super::limits;
use super::retry::RetryPolicy;

/// A task as its component describes it. See `wit/guest.wit` for the meaning of each field.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskDefinition {
    /// Unique within the component.
    pub id: String,
    /// For people.
    pub description: Option<String>,
    /// `None`: [`RetryPolicy::default`].
    pub retry: Option<RetryPolicy>,
    /// `None`: the task's own queue.
    pub queue: Option<QueueDefinition>,
    /// CPU seconds of an attempt.
    pub max_duration_seconds: Option<u32>,
    /// Longest time in the queue; zero means for ever.
    pub ttl: Option<Duration>,
    /// `None`: [`Machine::default`].
    pub machine: Option<Machine>,
    /// When it runs by itself.
    pub cron: Option<Cron>,
    /// JSON Schema text.
    pub payload_schema: Option<String>,
    /// What is called around its runs.
    pub hooks: Hooks,
    /// Whether the journals of its runs are kept after their ends, for as long as the server keeps any.
    pub keeps_journals: bool,
}

/// A queue that tasks share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueDefinition {
    /// Its name, as it is stored.
    pub name: String,
    /// Most runs executing at a time.
    pub concurrency_limit: Option<u32>,
}

/// A schedule that is part of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    /// Five fields.
    pub pattern: String,
    /// IANA name.
    pub timezone: Option<String>,
}

/// How much memory and CPU an attempt gets: the contract's presets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Machine {
    /// 0.25 vCPU, 0.25 GiB.
    Micro,
    /// 0.5 vCPU, 0.5 GiB.
    #[default]
    Small1x,
    /// 1 vCPU, 1 GiB.
    Small2x,
    /// 1 vCPU, 2 GiB.
    Medium1x,
    /// 2 vCPU, 4 GiB.
    Medium2x,
    /// 4 vCPU, 8 GiB.
    Large1x,
    /// 8 vCPU, 16 GiB.
    Large2x,
}

impl Machine {
    /// All presets, smallest first.
    pub const ALL: [Self; 7] =
        [Self::Micro, Self::Small1x, Self::Small2x, Self::Medium1x, Self::Medium2x, Self::Large1x, Self::Large2x];

    /// The contract's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Micro => "micro",
            Self::Small1x => "small-1x",
            Self::Small2x => "small-2x",
            Self::Medium1x => "medium-1x",
            Self::Medium2x => "medium-2x",
            Self::Large1x => "large-1x",
            Self::Large2x => "large-2x",
        }
    }

    /// Virtual CPUs.
    pub fn cpus(self) -> f64 {
        match self {
            Self::Micro => 0.25,
            Self::Small1x => 0.5,
            Self::Small2x | Self::Medium1x => 1.0,
            Self::Medium2x => 2.0,
            Self::Large1x => 4.0,
            Self::Large2x => 8.0,
        }
    }

    /// Virtual CPUs, in thousandths.
    pub fn millicores(self) -> u32 {
        (self.cpus() * 1_000.0) as u32
    }

    /// Memory in GiB.
    pub fn memory_gib(self) -> f64 {
        match self {
            Self::Micro => 0.25,
            Self::Small1x => 0.5,
            Self::Small2x => 1.0,
            Self::Medium1x => 2.0,
            Self::Medium2x => 4.0,
            Self::Large1x => 8.0,
            Self::Large2x => 16.0,
        }
    }

    /// What a 32-bit guest can use of that memory, in bytes: 4 GiB at most.
    pub fn memory_bytes(self) -> usize {
        (self.memory_gib().min(4.0) * (1_u64 << 30) as f64) as usize
    }
}

/// A name that is no machine preset.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown machine `{0}`: choose micro, small-1x, small-2x, medium-1x, medium-2x, large-1x or large-2x")]
pub struct UnknownMachine(String);

impl FromStr for Machine {
    type Err = UnknownMachine;

    fn from_str(name: &str) -> Result<Self, UnknownMachine> {
        Self::ALL
            .into_iter()
            .find(|machine| machine.name() == name)
            .ok_or_else(|| UnknownMachine(name.chars().take(64).collect()))
    }
}

impl TaskDefinition {
    /// A task of this id that leaves everything to the defaults.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            description: None,
            retry: None,
            queue: None,
            max_duration_seconds: None,
            ttl: None,
            machine: None,
            cron: None,
            payload_schema: None,
            hooks: Hooks::default(),
            keeps_journals: true,
        }
    }

    /// The same with its queue called as it is stored; see [`reduced_queue_name`].
    pub fn with_stored_names(mut self) -> Self {
        if let Some(queue) = &mut self.queue
            && let Some(name) = reduced_queue_name(&queue.name)
        {
            queue.name = name;
        }
        self
    }

    /// The queue that runs of this task join when the caller names none, as it is stored:
    /// `task/<id>` for the task's own.
    pub fn queue_name(&self) -> String {
        match &self.queue {
            Some(queue) => queue.name.clone(),
            None => format!("task/{}", self.id),
        }
    }
}

/// What is wrong with a component's description of its tasks, in the author's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionProblem {
    /// The task, by id, or by place where the id itself is wrong.
    pub task: String,
    /// What to change.
    pub problem: String,
}

impl fmt::Display for DefinitionProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task `{}`: {}", self.task, self.problem)
    }
}

/// Checks the shape of a description: everything but cron patterns, time zones and schemas, whose
/// grammars are not known here.
pub fn check(tasks: &[TaskDefinition]) -> Vec<DefinitionProblem> {
    let mut problems = Vec::new();
    let mut seen = HashSet::new();
    for (place, task) in tasks.iter().enumerate() {
        let name = if task.id.is_empty() { format!("#{}", place + 1) } else { task.id.chars().take(64).collect() };
        let mut report = |problem: &str| {
            problems.push(DefinitionProblem { task: name.clone(), problem: problem.into() });
        };
        if !is_task_id(&task.id) {
            report("its id must have 1 to 128 characters, none of them a control character");
        }
        if !seen.insert(&task.id) {
            report("two tasks of the component have this id");
        }
        if task.description.as_ref().is_some_and(|text| text.chars().count() > limits::MAX_DESCRIPTION_CHARS) {
            report("its description is longer than 4096 characters");
        }
        if let Some(retry) = &task.retry {
            check_retry(retry, &mut report);
        }
        if let Some(queue) = &task.queue {
            if reduced_queue_name(&queue.name).is_none() {
                report("its queue's name must have at least one of the characters A-Z a-z 0-9 _ - /");
            }
            if queue.concurrency_limit == Some(0) {
                report("its queue's concurrency limit must be at least 1");
            }
        }
        if task.max_duration_seconds.is_some_and(|seconds| !limits::MAX_DURATION_SECONDS.contains(&seconds)) {
            report("its max duration must be 1 to 86400 seconds");
        }
        if task.ttl.is_some_and(|ttl| ttl > limits::MAX_TTL) {
            report("its ttl must be 366 days at most");
        }
        if task.payload_schema.as_ref().is_some_and(|text| text.len() > limits::MAX_SCHEMA_BYTES) {
            report("its payload schema is larger than 256 KiB");
        }
    }
    problems
}

fn check_retry(retry: &RetryPolicy, report: &mut impl FnMut(&str)) {
    if !(1..=limits::MAX_ATTEMPTS).contains(&retry.max_attempts) {
        report("its retry policy must allow 1 to 1000 attempts");
    }
    if !(1.0..=1_000.0).contains(&retry.factor) {
        report("the factor of its retry policy must be a number from 1 to 1000");
    }
    if retry.min_delay > retry.max_delay {
        report("the shortest delay of its retry policy is longer than the longest");
    }
    if retry.max_delay > limits::MAX_DELAY {
        report("the longest delay of its retry policy is more than 366 days");
    }
}

/// Whether this can be the id of a task.
pub fn is_task_id(text: &str) -> bool {
    (1..=limits::MAX_TASK_ID_CHARS).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// What a queue is called inside that somebody calls `text`: only the characters `A-Z a-z 0-9 _ - /`
/// are left of its name, and of these the first 128. `None`: nothing is left.
///
/// A task's own queue is `task/` and the task's id, which may have other characters: it stays as it is,
/// so that two tasks never share what is their own.
pub fn reduced_queue_name(text: &str) -> Option<String> {
    let own = text.strip_prefix("task/");
    if own.is_some_and(is_task_id) {
        return Some(text.into());
    }
    let is_kept = |letter: &char| letter.is_ascii_alphanumeric() || ['_', '-', '/'].contains(letter);
    let name: String = text.chars().filter(is_kept).take(limits::MAX_QUEUE_NAME_CHARS).collect();
    Some(name).filter(|name| !["", "task/"].contains(&name.as_str()))
}

/// Whether this can be the name of a component.
pub fn is_plain_name(text: &str) -> bool {
    (1..=limits::MAX_QUEUE_NAME_CHARS).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-/".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_one(change: impl FnOnce(&mut TaskDefinition), expected: &str) {
        let mut task = TaskDefinition::new("t");
        change(&mut task);
        let problems: Vec<_> = check(&[task]).iter().map(ToString::to_string).collect();
        assert_eq!(problems.join("; "), expected);
    }

    #[test]
    fn a_plain_task_is_fine() {
        check_one(|_| {}, "");
        check_one(|task| task.id = "emails/send welcome ✉".into(), "");
    }

    #[test]
    fn every_problem_is_named() {
        check_one(
            |task| task.id = String::new(),
            "task `#1`: its id must have 1 to 128 characters, none of them a control character",
        );
        check_one(|task| task.max_duration_seconds = Some(0), "task `t`: its max duration must be 1 to 86400 seconds");
        let retry = RetryPolicy { factor: f64::NAN, max_attempts: 0, ..RetryPolicy::default() };
        check_one(
            |task| task.retry = Some(retry),
            "task `t`: its retry policy must allow 1 to 1000 attempts; \
             task `t`: the factor of its retry policy must be a number from 1 to 1000",
        );
        let queue = QueueDefinition { name: "! ✉".into(), concurrency_limit: Some(0) };
        check_one(
            |task| task.queue = Some(queue),
            "task `t`: its queue's name must have at least one of the characters A-Z a-z 0-9 _ - /; \
             task `t`: its queue's concurrency limit must be at least 1",
        );
    }

    #[test]
    fn a_task_can_limit_its_own_queue_whatever_its_id() {
        for id in ["orders.import", "emails/send welcome ✉"] {
            let queue = QueueDefinition { name: format!("task/{id}"), concurrency_limit: Some(2) };
            check_one(|task| (task.id, task.queue) = (id.into(), Some(queue)), "");
        }
    }

    #[test]
    fn the_name_of_a_queue_is_reduced_to_what_it_may_have() {
        let long = "q".repeat(129);
        for (called, stored) in [
            ("mail", Some("mail")),
            ("e-mails, please!", Some("e-mailsplease")),
            ("a/b_c-D9", Some("a/b_c-D9")),
            ("ünï ✉ cöde", Some("ncde")),
            ("orders.import", Some("ordersimport")),
            (" .mail\n", Some("mail")),
            (&long, Some(&long[..128])),
            ("task/orders.import", Some("task/orders.import")),
            ("task/a\nb", Some("task/ab")),
            ("ta.sk/", None),
            ("task/", None),
            ("! ✉", None),
            ("", None),
        ] {
            assert_eq!(reduced_queue_name(called).as_deref(), stored, "{called:?}");
        }
    }

    #[test]
    fn two_tasks_cannot_share_an_id() {
        let problems = check(&[TaskDefinition::new("a"), TaskDefinition::new("a")]);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].to_string(), "task `a`: two tasks of the component have this id");
    }

    #[test]
    fn machines_are_known_by_the_names_of_the_contract() {
        for machine in Machine::ALL {
            assert_eq!(machine.name().parse(), Ok(machine));
        }
        assert!("huge".parse::<Machine>().is_err());
        assert_eq!(Machine::Large2x.memory_bytes(), 4 << 30);
    }
}
