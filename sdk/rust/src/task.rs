//! Tasks: what the host must know of them, and how they are run.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::dacapo::task::{context as wit_context, types as wit_types};
use crate::bindings::exports::dacapo::task::guest as wit;
use crate::{Context, Result, TaskError, context, payload};

mod component;
mod hooks;
mod settings;

pub use component::Component;
pub use settings::{Cron, Machine, Queue, Retry};

/// A task: a function from a payload to an output, and how to run it.
///
/// Made by [`task`], registered by [`tasks!`](crate::tasks).
#[must_use = "a task that `dacapo::tasks!` does not list cannot be run"]
pub struct Task {
    run: Run,
    definition: wit::TaskDefinition,
    hooks: hooks::Hooks,
}

/// The same for all payloads and outputs, so that only reading and writing them is generic.
type Run = Box<dyn Fn(&Context, &str) -> Result<String>>;

/// Makes a task of a function.
///
/// `id` is the name by which the task is triggered: 1 to 128 characters, unique in the component.
/// The payload is read from JSON (`()` where the task takes none, `Option` where it need not be
/// given, `serde_json::Value` where it may be anything), the output is written as JSON.
///
/// A payload that does not fit fails the run with the error `InvalidPayload`, which says where,
/// and is not retried.
pub fn task<P, O, F>(id: &str, function: F) -> Task
where
    P: DeserializeOwned,
    O: Serialize,
    F: Fn(&Context, P) -> Result<O> + 'static,
{
    raw_task(id, move |context, text| {
        let output = function(context, payload::read(text)?)?;
        Ok(serde_json::to_string(&output)?)
    })
}

/// Makes a task of a function between JSON texts that nothing checks.
#[doc(hidden)]
pub fn raw_task(id: &str, function: impl Fn(&Context, &str) -> Result<String> + 'static) -> Task {
    Task {
        run: Box::new(function),
        definition: wit::TaskDefinition {
            id: id.to_owned(),
            description: None,
            retry: None,
            queue: None,
            max_duration_seconds: None,
            ttl: None,
            machine: None,
            cron: None,
            payload_schema: None,
            extra: Vec::new(),
        },
        hooks: hooks::Hooks::default(),
    }
}

impl Task {
    /// One or two sentences for people.
    pub fn description(mut self, description: &str) -> Self {
        self.definition.description = Some(description.to_owned());
        self
    }

    /// What to do when an attempt fails. Default: three attempts, 1 s to 10 s apart.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.definition.retry = Some(retry.0);
        self
    }

    /// The queue that runs of this task join, a name or a [`Queue`]. Default: a queue of the
    /// task's own.
    pub fn queue(mut self, queue: impl Into<Queue>) -> Self {
        self.definition.queue = Some(queue.into().0);
        self
    }

    /// The most runs of this task's queue that may be executing at the same time. Names the
    /// task's own queue, `task/<id>`, unless [`queue`](Self::queue) was called before.
    pub fn queue_limit(mut self, concurrency_limit: u32) -> Self {
        let name = format!("task/{}", self.definition.id);
        let queue = self.definition.queue.take();
        let queue = queue.map_or_else(|| Queue::new(&name), Queue);
        self.queue(queue.concurrency_limit(concurrency_limit))
    }

    /// The most CPU time that one attempt may use, in whole seconds (rounded up), at least one.
    /// Time spent waiting does not count. Default: the server's.
    pub fn max_duration(mut self, duration: Duration) -> Self {
        self.definition.max_duration_seconds = Some(seconds(duration));
        self
    }

    /// How long a run may stay queued before it expires; zero means for ever. Default: the
    /// server's.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.definition.ttl = Some(milliseconds(ttl));
        self
    }

    /// Memory and CPU of an attempt. Default: [`Machine::Small1x`].
    pub fn machine(mut self, machine: Machine) -> Self {
        self.definition.machine = Some(machine.into());
        self
    }

    /// When to run the task by itself: a pattern, in UTC, or a [`Cron`] with a time zone.
    ///
    /// The payload of such a run is an object whose `timestamp` is the time it was due.
    pub fn cron(mut self, cron: impl Into<Cron>) -> Self {
        self.definition.cron = Some(cron.into().0);
        self
    }

    /// A JSON Schema (draft 2020-12), as a JSON text. A payload that does not fit is refused
    /// before a run exists.
    pub fn payload_schema(mut self, schema: &str) -> Self {
        self.definition.payload_schema = Some(schema.to_owned());
        self
    }

    /// Forgets the journal of a run (what others answered it: HTTP responses, outputs of children,
    /// environment variables) as soon as the run has ended. For tasks that handle what must not be
    /// kept; their runs cannot be replayed from their journals. Default: the server keeps journals for
    /// as long as its setting `--journal-retention` says.
    pub fn forget_journal(mut self) -> Self {
        let forget = wit_types::Entry { name: "journal.keep".into(), value: "false".into() };
        self.definition.extra.retain(|entry| entry.name != forget.name);
        self.definition.extra.push(forget);
        self
    }
}

/// What the component says when it is deployed.
fn describe(tasks: Vec<Task>) -> Vec<wit::TaskDefinition> {
    let definition = |task: Task| {
        let mut definition = task.definition;
        definition.extra.extend(task.hooks.entry());
        definition
    };
    tasks.into_iter().map(definition).collect()
}

/// Runs one attempt of the task with this id.
fn run(
    tasks: Vec<Task>,
    id: &str,
    context: wit_context::Context,
    payload: &str,
) -> std::result::Result<String, wit::TaskError> {
    run_by_id(&tasks, id, &context::begin(context), payload).map_err(Into::into)
}

fn run_by_id(tasks: &[Task], id: &str, context: &Context, payload: &str) -> Result<String> {
    match tasks.iter().find(|task| task.definition.id == id) {
        Some(task) => (task.run)(context, payload),
        None => Err(TaskError {
            name: "UnknownTask".into(),
            message: format!("this component has no task \"{id}\""),
            stack: None,
            retry: crate::RetryDecision::Never,
        }),
    }
}

/// A length of time as the WIT counts it, rounded up.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// A length of time in whole seconds, rounded up.
pub(crate) fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RetryDecision;

    #[expect(clippy::unnecessary_wraps, reason = "that is the form of a task")]
    fn double(context: &Context, number: u32) -> Result<(u32, u32)> {
        Ok((number * 2, context.attempt.number))
    }

    #[test]
    fn a_task_runs_from_json_to_json() {
        let tasks = [task("half", |_, (): ()| Ok(())), task("double", double)];

        let output = run_by_id(&tasks, "double", &Context::default(), "21");

        assert_eq!(output.as_deref(), Ok("[42,0]"));
    }

    #[test]
    fn an_unknown_task_is_never_retried() {
        let error = run_by_id(&[], "nothing", &Context::default(), "null").expect_err("there is no task");

        assert_eq!(error.name, "UnknownTask");
        assert_eq!(error.retry, RetryDecision::Never);
    }

    #[test]
    fn a_task_is_described_as_it_was_built() {
        let plain = task("plain", double);
        let full = task("full", double)
            .description("Doubles a number.")
            .retry(Retry::attempts(5).factor(1.5).min_delay(Duration::from_micros(1_500)))
            .queue_limit(2)
            .max_duration(Duration::from_millis(1_001))
            .ttl(Duration::from_secs(60))
            .machine(Machine::Medium1x)
            .cron(Cron::new("0 3 * * *").timezone("Europe/Berlin"))
            .payload_schema(r#"{"type":"integer"}"#)
            .forget_journal()
            .forget_journal();

        let described = describe(vec![plain, full]);

        assert!(described[0].retry.is_none() && described[0].queue.is_none() && described[0].extra.is_empty());
        let full = &described[1];
        let retry = full.retry.as_ref().expect("it was set");
        assert_eq!((retry.max_attempts, retry.min_delay), (5, 2));
        let queue = full.queue.as_ref().expect("it was set");
        assert_eq!((queue.name.as_str(), queue.concurrency_limit), ("task/full", Some(2)));
        assert_eq!(full.max_duration_seconds, Some(2));
        assert_eq!(full.ttl, Some(60_000));
        assert_eq!(full.machine, Some(wit::MachinePreset::MediumOneX));
        let [entry] = &full.extra[..] else { panic!("{:?}", full.extra) };
        assert_eq!((entry.name.as_str(), entry.value.as_str()), ("journal.keep", "false"));
    }

    #[test]
    fn a_limit_keeps_the_name_of_a_queue() {
        let described = describe(vec![task("mail", double).queue("mails").queue_limit(3)]);

        let queue = described[0].queue.as_ref().expect("it was set");
        assert_eq!((queue.name.as_str(), queue.concurrency_limit), ("mails", Some(3)));
    }
}
