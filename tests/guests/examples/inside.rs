//! Asks the host for what the payload lists, step by step, for example
//! `[{"trigger": {"task": "seen"}}, {"append": {"stream": "s", "chunk": 1}}]`; returns what each step
//! answered, ids and all. [`seen`] is a child for it.

use std::time::Duration;

use dacapo::prelude::*;
use dacapo::runs::{Child, ChildError, Debounce, IdempotencyKey, RunHandle};
use dacapo::{Machine, metadata::MetadataError};

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Step {
    Trigger(Asked),
    Await(Asked),
    Batch(Vec<Asked>),
    AwaitBatch(Vec<Asked>),
    /// A batch of so many.
    Flood(usize),
    Token {
        timeout_ms: Option<u64>,
        key: Option<String>,
        #[serde(default)]
        tags: Vec<String>,
    },
    Complete {
        id: String,
        value: Value,
    },
    WaitToken(String),
    WaitMs(u64),
    /// Changes metadata of `this-run`, `parent` or `root`.
    Change {
        of: String,
        op: String,
        key: String,
        #[serde(default)]
        value: Value,
    },
    Get(String),
    Tags {
        of: String,
        tags: Vec<String>,
    },
    Append {
        of: Option<String>,
        stream: String,
        chunk: Value,
    },
    Pipe {
        stream: String,
        chunks: Vec<Value>,
    },
    Http(String),
    Log(String),
    Span {
        name: String,
        steps: Vec<Step>,
    },
    /// Answers what the context says.
    Context {},
    FailBefore(u32),
    /// Triggers itself with so many fewer levels, and waits; answers how deep it got.
    Deeper(u32),
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Asked {
    task: String,
    payload: Value,
    queue: Option<String>,
    concurrency_key: Option<String>,
    delay_ms: Option<u64>,
    ttl_ms: Option<u64>,
    priority: Option<f64>,
    tags: Vec<String>,
    metadata: Option<Value>,
    max_attempts: Option<u32>,
    max_duration_ms: Option<u64>,
    machine: bool,
    version: Option<String>,
    external_deployment_id: Option<String>,
    /// The key.
    debounce: Option<String>,
    trailing: bool,
    test: bool,
    key: Option<String>,
    scope: Option<String>,
    key_ttl_ms: Option<u64>,
}

impl Asked {
    fn child(self) -> Child {
        let mut child = runs::child(&self.task, self.payload);
        let ms = Duration::from_millis;
        if let Some(queue) = self.queue {
            child = child.queue(&queue);
        }
        if let Some(key) = self.concurrency_key {
            child = child.concurrency_key(key);
        }
        if let Some(delay) = self.delay_ms {
            child = child.delay(ms(delay));
        }
        if let Some(ttl) = self.ttl_ms {
            child = child.ttl(ms(ttl));
        }
        if let Some(priority) = self.priority {
            child = child.priority(priority);
        }
        if let Some(metadata) = self.metadata {
            child = child.metadata(metadata);
        }
        if let Some(attempts) = self.max_attempts {
            child = child.max_attempts(attempts);
        }
        if let Some(duration) = self.max_duration_ms {
            child = child.max_duration(ms(duration));
        }
        if self.machine {
            child = child.machine(Machine::Small2x);
        }
        if let Some(version) = self.version {
            child = child.version(version);
        }
        if let Some(label) = self.external_deployment_id {
            child = child.external_deployment_id(label);
        }
        if let Some(key) = self.debounce {
            let debounce = Debounce::new(key, ms(60_000));
            child = child.debounce(if self.trailing { debounce.trailing() } else { debounce });
        }
        if self.test {
            child = child.test();
        }
        if let Some(key) = self.key {
            let key = match self.scope.as_deref() {
                Some("attempt") => IdempotencyKey::attempt(key),
                Some("global") => IdempotencyKey::global(key),
                _ => IdempotencyKey::run(key),
            };
            child = child.idempotency_key(match self.key_ttl_ms {
                Some(ttl) => key.ttl(ms(ttl)),
                None => key,
            });
        }
        self.tags.into_iter().fold(child, Child::tag)
    }
}

fn inside(ctx: &Context, steps: Vec<Step>) -> Result<Vec<Value>> {
    steps.into_iter().map(|step| answer(ctx, step)).collect()
}

fn answer(ctx: &Context, step: Step) -> Result<Value> {
    Ok(match step {
        Step::Trigger(asked) => text(asked.child().trigger().map(|run| handle(&run))),
        Step::Await(asked) => ended(asked.child().trigger_and_wait()),
        Step::Batch(asked) => {
            let batch = runs::batch(asked.into_iter().map(Asked::child)).trigger();
            text(
                batch.map(|batch| json!({ "id": batch.id, "runs": batch.runs.iter().map(handle).collect::<Vec<_>>() })),
            )
        }
        Step::AwaitBatch(asked) => {
            let outputs = runs::batch(asked.into_iter().map(Asked::child)).trigger_and_wait::<Value>();
            text(outputs.map(|outputs| outputs.into_iter().map(ended).collect::<Vec<_>>()))
        }
        Step::Flood(count) => text(runs::batch((0..count).map(|n| runs::child("seen", n))).trigger().map(|_| "done")),
        Step::Token { timeout_ms, key, tags } => {
            let mut new = tags.into_iter().fold(tokens::token(), |new, tag| new.tag(tag));
            if let Some(ms) = timeout_ms {
                new = new.timeout(Duration::from_millis(ms));
            }
            if let Some(key) = key {
                new = new.idempotency_key(key);
            }
            text(new.create().map(|token| json!({ "id": token.id, "url": token.url, "cached": token.is_cached })))
        }
        Step::Complete { id, value } => text(tokens::complete(&id, value)),
        Step::WaitToken(id) => text(wait::token::<Value>(&id)),
        Step::WaitMs(ms) => {
            wait::sleep(Duration::from_millis(ms));
            Value::Null
        }
        Step::Change { of, op, key, value } => text(change(&of, &op, &key, value)),
        Step::Get(key) => json!(metadata::get::<Value>(&key)?),
        Step::Tags { of, tags } => text(tags::add_to(relative(&of), tags)),
        Step::Append { of, stream, chunk } => {
            let mut stream = streams::stream_of(relative(of.as_deref().unwrap_or("this-run")), &stream);
            text(stream.write(chunk).and_then(|()| stream.finish()))
        }
        Step::Pipe { stream, chunks } => text(streams::pipe(&stream, chunks)),
        Step::Http(url) => text(http::get(&url).send().map(|response| response.text())),
        Step::Log(message) => {
            info!("{message}");
            Value::Null
        }
        Step::Span { name, steps } => return span(&name).run(|| Ok(json!(inside(ctx, steps)?))),
        Step::Context {} => context(ctx),
        Step::FailBefore(attempt) if ctx.attempt.number < attempt => {
            return Err(TaskError::new("Early", format!("fails before attempt {attempt}")));
        }
        Step::FailBefore(_) => Value::Null,
        Step::Deeper(0) => json!({ "deep": 0 }),
        Step::Deeper(levels) => {
            match runs::child("inside", json!([{ "deeper": levels - 1 }])).trigger_and_wait::<Vec<Value>>() {
                Ok(mut answers) => answers.pop().unwrap_or_default(),
                Err(error) => json!({ "levels_left": levels, "error": error.to_string() }),
            }
        }
    })
}

fn handle(run: &RunHandle) -> Value {
    json!({ "id": run.id, "cached": run.is_cached })
}

fn ended(output: Result<Value, ChildError>) -> Value {
    output.map_or_else(|error| json!({ "error": error.to_string() }), |output| json!({ "output": output }))
}

fn text<T: Serialize, E: std::fmt::Display>(result: Result<T, E>) -> Value {
    result.map_or_else(|error| json!({ "error": error.to_string() }), |value| json!(value))
}

fn relative(name: &str) -> Relative {
    match name {
        "parent" => Relative::Parent,
        "root" => Relative::Root,
        _ => Relative::ThisRun,
    }
}

fn change(of: &str, op: &str, key: &str, value: Value) -> Result<(), MetadataError> {
    let number = || value.as_f64().unwrap_or_default();
    let other = match of {
        "parent" => metadata::parent(),
        "root" => metadata::root(),
        _ => {
            return match op {
                "set" => metadata::set(key, value),
                "append" => metadata::append(key, value),
                "increment" => metadata::increment(key, number()),
                _ => metadata::delete(key),
            };
        }
    };
    match op {
        "set" => other.set(key, value),
        "append" => other.append(key, value),
        "remove" => other.remove(key, value),
        "increment" => other.increment(key, number()),
        "update" => other.update(value),
        _ => other.delete(key),
    }
}

fn context(ctx: &Context) -> Value {
    let run = &ctx.run;
    json!({
        "id": run.id, "tags": run.tags, "test": run.is_test, "replay": run.is_replay,
        "key": run.idempotency_key, "scope": run.idempotency_key_scope.map(|scope| format!("{scope:?}")),
        "max_attempts": run.max_attempts, "max_duration_ms": run.max_duration.as_millis(), "priority": run.priority,
        "version": run.version, "parent": run.parent_run_id, "root": run.root_run_id,
        "run_started": run.started_at_ms, "attempt": ctx.attempt.number, "attempt_started": ctx.attempt.started_at_ms,
        "queue": ctx.queue.name, "machine": ctx.machine.name, "batch": ctx.batch.as_ref().map(|batch| &batch.id),
    })
}

/// Returns its payload, and what its context says.
fn seen(ctx: &Context, payload: Value) -> Result<Value> {
    Ok(json!({ "payload": payload, "context": context(ctx) }))
}

dacapo::tasks![
    task("inside", inside).retry(Retry::attempts(3).min_delay(Duration::from_millis(1)).randomize(false)),
    task("seen", seen).retry(Retry::never()),
];
