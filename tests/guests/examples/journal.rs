//! Asks its host for what the payload lists, in that order; returns what it got.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dacapo::bindings::dacapo::task::{relatives, runs, streams, tokens, wait};
use dacapo::bindings::wasi::clocks::monotonic_clock;
use dacapo::bindings::wasi::http::outgoing_handler;
use dacapo::bindings::wasi::http::types::{Fields, IncomingBody, IncomingResponse, Method, OutgoingRequest, Scheme};
use dacapo::bindings::wasi::io::streams::{InputStream, StreamError};
use dacapo::prelude::*;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Step {
    /// Both clocks.
    Clocks,
    /// A hash with random keys.
    Random,
    /// An environment variable.
    Env(String),
    /// Adds 1 to `count`.
    Count,
    /// Writes files, and looks at them.
    Files,
    /// Posts a text to this URL.
    Post(String),
    /// Requests this URL of a host and a path, reads nothing of the body.
    Open(String, String),
    /// Reads from the body of the last `Open`.
    Read,
    /// Sleeps for so many milliseconds.
    Sleep(u64),
    /// A line of the log, and one on standard output.
    Say(String),
    /// Prints without ending the line.
    Print(String),
    /// Opens a span, which stays open.
    Span(String),
    /// Waits for so many things that are there in an hour.
    Wait(usize),
    /// Triggers a task.
    Trigger(String),
    /// Makes and completes a token, tags its parent, adds to a stream of its root.
    Others,
}

#[derive(Default)]
struct State {
    spans: Vec<dacapo::log::Span>,
    open: Vec<(InputStream, IncomingBody, IncomingResponse)>,
}

fn journal(_: &Context, steps: Vec<Step>) -> Result<Vec<Value>> {
    let mut state = State::default();
    steps.into_iter().map(|step| state.step(step)).collect()
}

impl State {
    fn step(&mut self, step: Step) -> Result<Value> {
        Ok(match step {
            Step::Clocks => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                json!([now.as_nanos().to_string(), monotonic_clock::now()])
            }
            Step::Random => json!(RandomState::new().hash_one("a text")),
            Step::Env(name) => json!(std::env::var(name).ok()),
            Step::Count => {
                metadata::increment("count", 1.0)?;
                json!(metadata::get::<Value>("count")?)
            }
            Step::Files => files()?,
            Step::Post(url) => {
                let response = http::post(url).body("sent").send()?;
                json!([response.status(), response.text()])
            }
            Step::Open(host, path) => {
                self.open.push(open(&host, &path));
                json!(self.open.last().unwrap().2.status())
            }
            Step::Read => match self.open.last().unwrap().0.blocking_read(4) {
                Ok(bytes) => json!(String::from_utf8(bytes).unwrap()),
                Err(StreamError::Closed) => json!("closed"),
                Err(StreamError::LastOperationFailed(error)) => json!(error.to_debug_string()),
            },
            Step::Sleep(ms) => {
                std::thread::sleep(Duration::from_millis(ms));
                Value::Null
            }
            Step::Say(text) => {
                info!("{text}");
                println!("{text}, printed");
                Value::Null
            }
            Step::Print(text) => {
                print!("{text}");
                std::io::stdout().flush()?;
                Value::Null
            }
            Step::Span(name) => {
                self.spans.push(span(&name));
                Value::Null
            }
            Step::Wait(count) => {
                let pending: Vec<_> = (0..count).map(|_| wait::after(3_600_000)).collect();
                wait::all(&pending.iter().collect::<Vec<_>>());
                json!(pending.iter().map(|pending| format!("{:?}", pending.outcome())).collect::<Vec<_>>())
            }
            Step::Trigger(task) => json!(format!("{:?}", runs::trigger(&task, "1", &options()))),
            Step::Others => others(),
        })
    }
}

fn files() -> Result<Value> {
    fs::create_dir_all("/scratch/dir")?;
    for name in ["c", "a", "b"] {
        fs::write(format!("/scratch/dir/{name}"), name.repeat(100_000))?;
    }
    let length = fs::read("/scratch/dir/b")?.len();
    let names: Vec<_> = fs::read_dir("/scratch/dir")?
        .map(|entry| entry.map(|entry| entry.file_name().into_string().unwrap()))
        .collect::<std::io::Result<_>>()?;
    let modified = fs::metadata("/scratch/dir/a")?.modified()?.duration_since(UNIX_EPOCH).unwrap();
    Ok(json!([length, names, modified.as_nanos().to_string()]))
}

fn open(host: &str, path: &str) -> (InputStream, IncomingBody, IncomingResponse) {
    let request = OutgoingRequest::new(Fields::new());
    request.set_method(&Method::Get).unwrap();
    request.set_scheme(Some(&Scheme::Http)).unwrap();
    request.set_authority(Some(host)).unwrap();
    request.set_path_with_query(Some(path)).unwrap();
    let pending = outgoing_handler::handle(request, None).unwrap();
    pending.subscribe().block();
    let response = pending.get().unwrap().unwrap().unwrap();
    let body = response.consume().unwrap();
    (body.stream().unwrap(), body, response)
}

fn others() -> Value {
    let options = tokens::TokenOptions {
        timeout: None,
        idempotency_key: None,
        idempotency_key_ttl: None,
        tags: vec!["one".into()],
    };
    let token = tokens::create(&options).unwrap();
    tokens::complete(&token.id, Some("1")).unwrap();
    relatives::add_tags(relatives::Relative::Parent, &["two".into()]).unwrap();
    let change = relatives::MetadataChange::Set(("a".into(), "1".into()));
    relatives::change_metadata(relatives::Relative::Parent, &change).unwrap();
    streams::append(relatives::Relative::Root, "words", &["three".into()]).unwrap();
    json!(token.id)
}

fn options() -> runs::TriggerOptions {
    runs::TriggerOptions {
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
    }
}

dacapo::tasks![task("journal", journal)];
