//! Interprets a list of steps, each a call of the host, for example
//! `[{"wait_ms": 5}, {"clock": true}, {"all": [{"child": {"task": "leaf", "payload": {"echo": 1}}}, {"wait_ms": 9}]}]`;
//! returns what each step answered. Answers hold no ids, so that two runs of a script that asks for no
//! clock and no random number give the same. [`leaf`] is a child for it.

use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dacapo::bindings::wasi::http::outgoing_handler;
use dacapo::bindings::wasi::http::types::{Fields, OutgoingRequest, Scheme};
use dacapo::bindings::wasi::io::streams::StreamError;
use dacapo::prelude::*;
use dacapo::runs::{Child, ChildError, IdempotencyKey};
use dacapo::tokens::Token;
use dacapo::wait::{Pending, WaitError};

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[expect(dead_code, reason = "what stands after `clock` and the like says nothing")]
enum Step {
    // What can be waited for: alone, or within `all`, `any`, `each` and `within`.
    WaitMs(u64),
    /// Milliseconds since 1970.
    UntilMs(u64),
    /// Waits once for all attempts, or runs, that know the key.
    WaitOnce {
        key: String,
        /// `run`, `attempt` or `global`.
        scope: Option<String>,
        ms: u64,
        key_ttl_ms: Option<u64>,
    },
    /// A token by its id, or `$last` for the one that the script made last.
    Token(String),
    Child(ChildStep),
    /// One batch.
    Children(Vec<ChildStep>),

    /// Answers a list.
    All(Vec<Step>),
    /// Answers the place of the first and what it gave.
    Any(Vec<Step>),
    /// Answers places and what they gave, as they came.
    Each(Vec<Step>),
    /// Answers `null` where it takes longer.
    Within {
        ms: u64,
        of: Box<Step>,
    },

    Trigger(ChildStep),
    Batch(Vec<ChildStep>),
    /// Puts the token's id and url into the metadata, under `token`.
    CreateToken {
        timeout_ms: Option<u64>,
        key: Option<String>,
    },
    /// Completes the token that the script made last.
    CompleteToken(Value),
    Http(String),
    /// Reads so many bytes of a response, waits, and reads on.
    HttpAcross {
        url: String,
        bytes: u64,
        ms: u64,
    },
    Clock(bool),
    Random(bool),
    /// Sends clocks and random numbers through a leaf; answers whether they are the same afterwards.
    RoundTrip(bool),
    Env(String),
    Metadata(dacapo::serde_json::Map<String, Value>),
    /// Adds to a number in the metadata of the parent.
    ParentIncrement(String),
    Tags(Vec<String>),
    Stream {
        name: String,
        chunks: Vec<Value>,
    },
    Log(String),
    /// Writes to the end of a file; answers all that is in it.
    File(String),
    Span(Vec<Step>),
    /// Keeps the place in the queue.
    SleepMs(u64),
    Attempt(bool),
    Fail(String),
    /// Fails all attempts before this one.
    FailBefore(u32),
    Trap(String),
    Return(Value),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChildStep {
    task: String,
    #[serde(default)]
    payload: Value,
    key: Option<String>,
    /// `run`, `attempt` or `global`.
    scope: Option<String>,
    queue: Option<String>,
    delay_ms: Option<u64>,
    ttl_ms: Option<u64>,
    #[serde(default)]
    tags: Vec<String>,
}

/// `Break`: what the script returns before its end.
type Answer = Result<ControlFlow<Value, Value>>;

struct Script<'a> {
    ctx: &'a Context,
    last_token: Option<Token>,
}

fn script(ctx: &Context, steps: Vec<Step>) -> Result<Value> {
    let mut script = Script { ctx, last_token: None };
    match script.steps(steps)? {
        ControlFlow::Break(value) | ControlFlow::Continue(value) => Ok(value),
    }
}

impl Script<'_> {
    fn steps(&mut self, steps: Vec<Step>) -> Answer {
        let mut answers = Vec::new();
        for step in steps {
            match self.step(step)? {
                ControlFlow::Continue(answer) => answers.push(answer),
                ControlFlow::Break(value) => return Ok(ControlFlow::Break(value)),
            }
        }
        Ok(ControlFlow::Continue(json!(answers)))
    }

    fn step(&mut self, step: Step) -> Answer {
        Ok(ControlFlow::Continue(match step {
            Step::All(steps) => json!(wait::all(self.pendings(steps)?)),
            Step::Any(steps) => json!(wait::any(&mut self.pendings(steps)?)),
            Step::Each(steps) => json!(wait::each(self.pendings(steps)?).collect::<Vec<_>>()),
            Step::Within { ms, of } => self.pending(*of)?.within(Duration::from_millis(ms)).unwrap_or(Value::Null),
            Step::Trigger(step) => text(child(step).trigger().map(|_| "triggered")),
            Step::Batch(steps) => {
                text(runs::batch(steps.into_iter().map(child)).trigger().map(|batch| batch.runs.len()))
            }
            Step::CreateToken { timeout_ms, key } => self.create_token(timeout_ms, key)?,
            Step::CompleteToken(value) => text(self.last_token()?.complete(value)),
            Step::Http(url) => match http::get(url).send() {
                Ok(response) => json!({ "status": response.status(), "body": response.text() }),
                Err(error) => json!({ "error": error.to_string() }),
            },
            Step::HttpAcross { url, bytes, ms } => http_across(&url, bytes, ms),
            Step::Clock(_) => json!(now()),
            Step::Random(_) => json!(random()),
            Step::RoundTrip(_) => round_trip()?,
            Step::Env(name) => json!(std::env::var(name).ok()),
            Step::Metadata(changes) => {
                changes.iter().try_for_each(|(key, value)| metadata::set(key, value))?;
                Value::Null
            }
            Step::ParentIncrement(key) => text(metadata::parent().increment(&key, 1)),
            Step::Tags(tags) => text(tags::add(tags)),
            Step::Stream { name, chunks } => text(streams::pipe(&name, chunks)),
            Step::Log(message) => {
                info!("{message}");
                Value::Null
            }
            Step::File(text) => json!(write(&text)?),
            Step::Span(steps) => return span("span").run(|| self.steps(steps)),
            Step::SleepMs(ms) => {
                std::thread::sleep(Duration::from_millis(ms));
                Value::Null
            }
            Step::Attempt(_) => json!(self.ctx.attempt.number),
            Step::Fail(message) => return Err(TaskError::new("Script", message)),
            Step::FailBefore(attempt) if self.ctx.attempt.number < attempt => {
                return Err(TaskError::new("Script", format!("fails before attempt {attempt}")));
            }
            Step::FailBefore(_) => Value::Null,
            Step::Trap(message) => panic!("{message}"),
            Step::Return(value) => return Ok(ControlFlow::Break(value)),
            pending => self.pending(pending)?.wait(),
        }))
    }

    fn pendings(&self, steps: Vec<Step>) -> Result<Vec<Pending<Value>>> {
        steps.into_iter().map(|step| self.pending(step)).collect()
    }

    fn pending(&self, step: Step) -> Result<Pending<Value>> {
        Ok(match step {
            Step::WaitMs(ms) => wait::after(Duration::from_millis(ms)).map(|()| json!("elapsed")),
            Step::UntilMs(at) => wait::at(UNIX_EPOCH + Duration::from_millis(at)).map(|()| json!("elapsed")),
            Step::WaitOnce { key, scope, ms, key_ttl_ms } => {
                let mut key = scoped(key, scope.as_deref());
                if let Some(ms) = key_ttl_ms {
                    key = key.ttl(Duration::from_millis(ms));
                }
                wait::once(key).after(Duration::from_millis(ms))?.map(|()| json!("elapsed"))
            }
            Step::Token(id) if id == "$last" => self.last_token()?.pending().map(token_answer),
            Step::Token(id) => wait::for_token(&id).map(token_answer),
            Step::Child(step) => child(step).start().map(child_answer),
            Step::Children(steps) => runs::batch(steps.into_iter().map(child)).start().map(|outputs| match outputs {
                Ok(outputs) => outputs.into_iter().map(child_answer).collect(),
                Err(error) => json!({ "error": error.to_string() }),
            }),
            _ => return Err(TaskError::new("Script", "this step cannot be waited for").abort()),
        })
    }

    fn create_token(&mut self, timeout_ms: Option<u64>, key: Option<String>) -> Result<Value> {
        let mut new = tokens::token();
        if let Some(ms) = timeout_ms {
            new = new.timeout(Duration::from_millis(ms));
        }
        if let Some(key) = key {
            new = new.idempotency_key(key);
        }
        let token = new.create()?;
        metadata::set("token", json!({ "id": token.id, "url": token.url }))?;
        let is_cached = token.is_cached;
        self.last_token = Some(token);
        Ok(json!({ "is_cached": is_cached }))
    }

    fn last_token(&self) -> Result<&Token> {
        self.last_token.as_ref().ok_or_else(|| TaskError::new("Script", "no token was made").abort())
    }
}

fn child(step: ChildStep) -> Child {
    let mut child = runs::child(&step.task, step.payload);
    if let Some(key) = step.key {
        child = child.idempotency_key(scoped(key, step.scope.as_deref()));
    }
    if let Some(queue) = step.queue {
        child = child.queue(&queue);
    }
    if let Some(ms) = step.delay_ms {
        child = child.delay(Duration::from_millis(ms));
    }
    if let Some(ms) = step.ttl_ms {
        child = child.ttl(Duration::from_millis(ms));
    }
    step.tags.into_iter().fold(child, Child::tag)
}

fn scoped(key: String, scope: Option<&str>) -> IdempotencyKey {
    match scope {
        Some("attempt") => IdempotencyKey::attempt(key),
        Some("global") => IdempotencyKey::global(key),
        _ => IdempotencyKey::run(key),
    }
}

fn child_answer(ended: Result<Value, ChildError>) -> Value {
    match ended {
        Ok(output) => json!({ "output": output }),
        Err(error) => match error.failure() {
            Some(failure) => json!({ "error": failure.to_string() }),
            None => json!({ "error": error.to_string() }),
        },
    }
}

fn token_answer(ended: Result<Value, WaitError>) -> Value {
    ended.map_or_else(|error| json!({ "error": error.to_string() }), |value| json!({ "completed": value }))
}

fn text<T: Serialize, E: std::fmt::Display>(result: Result<T, E>) -> Value {
    result.map_or_else(|error| json!({ "error": error.to_string() }), |value| json!(value))
}

fn http_across(url: &str, bytes: u64, ms: u64) -> Value {
    let (host, path) = url.trim_start_matches("http://").split_once('/').unwrap_or((url, ""));
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).unwrap();
    request.set_authority(Some(host)).unwrap();
    request.set_path_with_query(Some(&format!("/{path}"))).unwrap();
    let pending = outgoing_handler::handle(request, None).unwrap();
    pending.subscribe().block();
    let response = pending.get().unwrap().unwrap().unwrap();
    let body = response.consume().unwrap();
    let stream = body.stream().unwrap();
    let mut read = Vec::new();
    let mut left = bytes;
    while left > 0 {
        match stream.blocking_read(1) {
            Ok(byte) => {
                left -= byte.len() as u64;
                read.push(json!(byte));
            }
            Err(_) => left = 0,
        }
    }
    wait::sleep(Duration::from_millis(ms));
    for _ in 0..2 {
        read.push(match stream.blocking_read(64) {
            Ok(bytes) => json!(bytes),
            Err(StreamError::Closed) => json!("closed"),
            Err(StreamError::LastOperationFailed(error)) => json!(error.to_debug_string()),
        });
    }
    json!([response.status(), read])
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
}

fn random() -> u64 {
    RandomState::new().hash_one(0)
}

fn round_trip() -> Result<Value> {
    let sent = json!([now().to_string(), random(), std::env::vars().count()]);
    let echo: Value = runs::child("leaf", json!({ "echo": sent })).trigger_and_wait()?;
    Ok(json!({ "same": sent == echo }))
}

fn write(text: &str) -> Result<String> {
    let path = "/scratch/script.txt";
    std::fs::OpenOptions::new().create(true).append(true).open(path)?.write_all(text.as_bytes())?;
    Ok(std::fs::read_to_string(path)?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Leaf {
    wait_ms: Option<u64>,
    /// Without giving the place in the queue away.
    sleep_ms: Option<u64>,
    /// Never ends.
    #[serde(default)]
    spin: bool,
    fail: Option<String>,
    trap: Option<String>,
    #[serde(default)]
    echo: Value,
}

/// Waits, sleeps, spins, fails or traps as it is told, and otherwise returns `echo`.
fn leaf(_: &Context, leaf: Leaf) -> Result<Value> {
    if let Some(ms) = leaf.wait_ms {
        wait::sleep(Duration::from_millis(ms));
    }
    if let Some(ms) = leaf.sleep_ms {
        std::thread::sleep(Duration::from_millis(ms));
    }
    while leaf.spin {
        std::hint::spin_loop();
    }
    if let Some(message) = leaf.trap {
        panic!("{message}");
    }
    match leaf.fail {
        Some(message) => Err(TaskError::new("Leaf", message).abort()),
        None => Ok(leaf.echo),
    }
}

dacapo::tasks![
    task("script", script).retry(Retry::attempts(3).min_delay(Duration::from_millis(1)).randomize(false)),
    task("leaf", leaf).retry(Retry::never()),
    task("forgetful", script).forget_journal(),
];
