//! What a task can do beyond its own run, each thing once: see the guest `inside`.

use axum::body::Body;
use axum::http::Request;
use dacapo::config::ServerArgs;
use dacapo_tests::guests;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::TestApp;
use crate::network::{allow, answer};

mod family;
mod keys;
mod metadata;
mod options;
mod refusals;
mod tokens;
mod told;

async fn start() -> TestApp {
    start_with(ServerArgs::default()).await
}

async fn start_with(args: ServerArgs) -> TestApp {
    let app = TestApp::start_with(args).await;
    app.deploy(guests::INSIDE).await;
    app
}

/// A server that drops every guest that waits.
async fn start_dropping() -> TestApp {
    start_with(ServerArgs { parked_time: Some("0s".into()), ..ServerArgs::default() }).await
}

/// Runs these steps, and answers with what they answered.
async fn ask(app: &TestApp, steps: Value) -> Vec<Value> {
    answers(&app.call("inside", steps).await)
}

/// What the steps of a run that has completed answered.
#[track_caller]
fn answers(run: &Value) -> Vec<Value> {
    assert_eq!(run["status"], "COMPLETED", "{run}");
    run["output"].as_array().expect("a list").clone()
}

#[track_caller]
fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} is no text: {value}"))
}

/// The ids of the runs that a run triggered, oldest first.
fn children(run: &Value) -> Vec<String> {
    let list = run["relatedRuns"]["children"].as_array().cloned().unwrap_or_default();
    list.iter().map(|child| text(child, "id").to_owned()).collect()
}

/// An address that answers a guest when the test says so, so that the run executes meanwhile.
struct Gate(TcpListener);

impl Gate {
    async fn new(app: &TestApp) -> Self {
        allow(app, &["127.0.0.1"]).await;
        Self(TcpListener::bind("127.0.0.1:0").await.expect("a free port"))
    }

    /// The step that stands before it.
    fn step(&self) -> Value {
        json!({ "http": format!("http://{}/", self.0.local_addr().expect("an address")) })
    }

    /// The next guest that stands before it.
    async fn guest(&self) -> Standing {
        let (mut stream, _) = self.0.accept().await.expect("a guest comes");
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut request).await.expect("a request"), 0, "the guest has gone");
        }
        Standing(stream)
    }
}

/// A guest before a gate.
struct Standing(TcpStream);

impl Standing {
    async fn pass(mut self) {
        self.0.write_all(answer("200 OK", "", "pass").as_bytes()).await.expect("the guest is there");
    }
}

async fn put_metadata(app: &TestApp, run: &str, body: Value) {
    let put = Request::put(format!("/api/v1/runs/{run}/metadata")).header("content-type", "application/json");
    app.send(&app.key, put, Body::from(body.to_string())).await.ok();
}
