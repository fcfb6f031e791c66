//! Asks its host for what the payload lists, in that order, and returns what it got: what replays in the sandbox are
//! tried with.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use dacapo::bindings::wasi::http::outgoing_handler;
use dacapo::bindings::wasi::http::types::{
    Fields, FutureIncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
};
use dacapo::prelude::*;
use dacapo::runs::ChildError;

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    /// Posts to this URL; reads all of the response.
    Post(String, String),
    /// The same, and waits for the response before it sends the body.
    PostLate(String, String),
    /// Posts, and does not look at what comes.
    Forget(String, String),
    /// Posts to this URL, and reads the first piece of the response alone, of so many bytes at most.
    Begin(String, u64),
    /// Waits so many milliseconds for a response.
    Hurry(String, u64),
    /// Looks at all of its metadata so often.
    Look(u32),
    /// A value in its metadata.
    Get(String),
    Set(String, Value),
    /// Adds chunks to a stream, so many of so many bytes.
    Append(u32, usize),
    /// Runs this list as a child, and waits for it.
    Run(Value),
    /// The same, and does not mind how it ends.
    Try(Value),
    Token(String),
    /// Waits for this token, for so many milliseconds at most.
    TokenWithin(String, u64),
    /// Completes this token with so many bytes, and waits for it so often at once.
    Tokens(String, usize, u32),
    Sleep(u64),
    /// Reserves so many bytes; fails where it does not get them.
    Reserve(usize),
    /// A random number.
    Random,
}

fn probe(_: &Context, steps: Vec<Step>) -> Result<Vec<Value>> {
    steps.into_iter().map(step).collect()
}

fn step(step: Step) -> Result<Value> {
    Ok(match step {
        Step::Post(url, body) => answer(http::post(url).body(body).send()),
        Step::PostLate(url, body) => {
            let (outgoing, pending) = open(&url);
            pending.subscribe().block();
            let response = pending.get().unwrap().unwrap();
            write(outgoing, &body);
            json!(response.map_or_else(|code| format!("{code:?}"), |response| response.status().to_string()))
        }
        Step::Forget(url, body) => {
            let (outgoing, _pending) = open(&url);
            write(outgoing, &body);
            Value::Null
        }
        Step::Begin(url, bytes) => {
            let (outgoing, pending) = open(&url);
            write(outgoing, "");
            pending.subscribe().block();
            let response = pending.get().unwrap().unwrap().unwrap();
            let stream = response.consume().unwrap();
            let piece = stream.stream().unwrap().blocking_read(bytes);
            json!(piece.map(|piece| String::from_utf8_lossy(&piece).into_owned()).unwrap_or_default())
        }
        Step::Hurry(url, ms) => answer(http::post(url).timeout(Duration::from_millis(ms)).send()),
        Step::Look(times) => {
            let last = (0..times).map(|_| metadata::all()).last().transpose()?;
            json!(last.map(|all| all.len()))
        }
        Step::Get(key) => json!(metadata::get::<Value>(&key)?),
        Step::Set(key, value) => {
            metadata::set(&key, value)?;
            Value::Null
        }
        Step::Append(chunks, bytes) => {
            let chunk = "x".repeat(bytes);
            (0..chunks).try_for_each(|_| streams::append("probe", &chunk))?;
            Value::Null
        }
        Step::Run(steps) => runs::trigger_and_wait("probe", steps)?,
        Step::Try(steps) => {
            let ended: Result<Value, ChildError> = runs::trigger_and_wait("probe", steps);
            json!(ended.map_err(|error| error.to_string()))
        }
        Step::Token(id) => json!(wait::token::<Value>(&id).map_err(|error| error.to_string())),
        Step::TokenWithin(id, ms) => {
            let token = wait::for_token::<Value>(&id).map(|value| value.unwrap_or_default());
            let mut of = vec![token, wait::after(Duration::from_millis(ms)).map(|()| json!("late"))];
            json!(wait::any(&mut of))
        }
        Step::Tokens(id, bytes, times) => {
            tokens::complete(&id, "x".repeat(bytes))?;
            let there = wait::all((0..times).map(|_| wait::for_token::<String>(&id)).collect::<Vec<_>>());
            json!(there.into_iter().map(|value| value.map_or(0, |value| value.len())).sum::<usize>())
        }
        Step::Reserve(bytes) => {
            let mut reserved: Vec<u8> = Vec::new();
            reserved.try_reserve_exact(bytes)?;
            json!(reserved.capacity() >= bytes)
        }
        Step::Random => json!(RandomState::new().hash_one(0).to_string()),
        Step::Sleep(ms) => {
            std::thread::sleep(Duration::from_millis(ms));
            Value::Null
        }
    })
}

fn answer(sent: Result<http::Response, http::HttpError>) -> Value {
    match sent {
        Ok(response) => json!([response.status(), response.text()]),
        Err(error) => json!(error.to_string()),
    }
}

/// A `POST` that is on its way, and its body, of which nothing is written.
fn open(url: &str) -> (OutgoingBody, FutureIncomingResponse) {
    let (host, path) = url.trim_start_matches("http://").split_once('/').unwrap_or((url, ""));
    let request = OutgoingRequest::new(Fields::new());
    request.set_method(&Method::Post).unwrap();
    request.set_scheme(Some(&Scheme::Http)).unwrap();
    request.set_authority(Some(host)).unwrap();
    request.set_path_with_query(Some(&format!("/{path}"))).unwrap();
    let body = request.body().unwrap();
    (body, outgoing_handler::handle(request, None).unwrap())
}

fn write(body: OutgoingBody, text: &str) {
    let stream = body.write().unwrap();
    // Whoever has answered may not take it.
    let _ = stream.blocking_write_and_flush(text.as_bytes());
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}

dacapo::tasks![task("probe", probe).retry(Retry::never())];
