//! A whole server in the process of the test, spoken to through its public API.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use dacapo::app::App;
use dacapo::clock::Clock;
use dacapo::config::{Config, ServerArgs};
use dacapo::sandbox::Sandbox;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

/// The key of every test's data directory, so that tests can share compiled code.
const SERVER_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A server, and a caller with the key of its `dev` environment.
pub struct TestApp {
    app: Option<App>,
    data_dir: PathBuf,
    _dir: Option<TempDir>,
    pub key: String,
    pub admin_key: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub json: Value,
}

impl Answer {
    /// The body of a 2xx answer.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(self.status.is_success(), "{}: {}", self.status, self.json);
        self.json
    }

    /// The text of an answer with this status.
    #[track_caller]
    pub fn error(self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.json);
        self.json["error"].as_str().expect("an error has a text").to_owned()
    }
}

impl TestApp {
    /// A server with the default settings and an empty data directory.
    pub async fn start() -> Self {
        Self::start_with(ServerArgs::default()).await
    }

    /// A server with these settings and an empty data directory.
    pub async fn start_with(args: ServerArgs) -> Self {
        Self::start_sandboxed(args, None).await
    }

    /// A server with another sandbox.
    pub async fn start_sandboxed(args: ServerArgs, sandbox: Option<Arc<dyn Sandbox>>) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut app = Self::open(dir.path().join("data"), args, sandbox).await;
        app._dir = Some(dir);
        app
    }

    /// A server that holds realtime requests for so long.
    pub async fn start_holding(feed_hold: Duration) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let data_dir = dir.path().join("data");
        let config = Config { feed_hold, ..config(&data_dir, ServerArgs::default()) };
        let mut app = Self::open_with(data_dir, config, None, Clock::system()).await;
        app._dir = Some(dir);
        app
    }

    /// A server on a data directory that may have been used before.
    pub async fn open(data_dir: PathBuf, args: ServerArgs, sandbox: Option<Arc<dyn Sandbox>>) -> Self {
        Self::open_at(data_dir, args, sandbox, Clock::system()).await
    }

    /// The same, by a clock that may have been advanced before.
    pub async fn open_at(data_dir: PathBuf, args: ServerArgs, sandbox: Option<Arc<dyn Sandbox>>, clock: Clock) -> Self {
        let config = config(&data_dir, args);
        Self::open_with(data_dir, config, sandbox, clock).await
    }

    async fn open_with(data_dir: PathBuf, config: Config, sandbox: Option<Arc<dyn Sandbox>>, clock: Clock) -> Self {
        share_compiled_code(&data_dir);
        let app = App::start_with(config, clock, sandbox).await.expect("the server starts");
        let key = std::fs::read_to_string(data_dir.join("dev.key")).expect("a key").trim().to_owned();
        let admin_key = app.keys().admin.clone();
        Self { app: Some(app), data_dir, _dir: None, key, admin_key }
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The running server.
    pub fn app(&self) -> &App {
        self.app.as_ref().expect("the server has not been stopped")
    }

    /// Stops the server in order and starts it again on the same data.
    pub async fn restart(mut self) -> Self {
        self.stop().await;
        let mut again = Self::open(self.data_dir.clone(), ServerArgs::default(), None).await;
        again._dir = self._dir.take();
        again
    }

    /// Stops the server in order.
    pub async fn stop(&mut self) {
        let app = self.app.take().expect("the server has not been stopped");
        app.stop().await.expect("the server stops");
    }

    /// Sends a request with a key and answers with what came back.
    pub async fn send(&self, key: &str, request: axum::http::request::Builder, body: impl Into<Body>) -> Answer {
        let request = request.header("authorization", format!("Bearer {key}"));
        self.send_as_is(request.body(body.into()).expect("a good request")).await
    }

    /// Sends a request that says itself whose it is.
    pub async fn send_as_is(&self, request: Request<Body>) -> Answer {
        let response = self.app().router().oneshot(request).await.expect("the router answers");
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.expect("a whole body").to_bytes();
        let json =
            serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into()));
        Answer { status, headers, json }
    }

    /// `GET path` in the dev environment.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(&self.key, Request::get(path), Body::empty()).await
    }

    /// `POST path` with a JSON body in the dev environment.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        let request = Request::post(path).header("content-type", "application/json");
        self.send(&self.key, request, body.to_string()).await
    }

    /// `POST path` without a body in the dev environment.
    pub async fn post_empty(&self, path: &str) -> Answer {
        self.send(&self.key, Request::post(path), Body::empty()).await
    }

    /// A request with the admin key.
    pub async fn admin(&self, method: &str, path: &str, body: Value) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.send(&self.admin_key, request, body).await
    }

    /// Uploads a component under a name of its own; see [`Self::upload`].
    pub async fn deploy(&self, guest: &str) -> Value {
        let stem = Path::new(guest).file_stem().and_then(|stem| stem.to_str()).expect("a file name");
        self.upload(stem, &std::fs::read(guest).expect("the guest was built"), "").await.ok()
    }

    /// Uploads bytes as a component.
    pub async fn upload(&self, name: &str, bytes: &[u8], query: &str) -> Answer {
        let request = Request::post(format!("/api/v1/deployments?name={name}{query}"));
        self.send(&self.key, request, bytes.to_vec()).await
    }

    /// Triggers a task and answers with the run's id.
    pub async fn trigger(&self, task: &str, payload: Value) -> String {
        self.trigger_with(task, payload, json!({})).await
    }

    /// Triggers a task with options and answers with the run's id.
    pub async fn trigger_with(&self, task: &str, payload: Value, options: Value) -> String {
        let path = format!("/api/v1/tasks/{task}/trigger");
        let receipt = self.post(&path, json!({ "payload": payload, "options": options })).await.ok();
        receipt["id"].as_str().expect("a receipt has an id").to_owned()
    }

    /// The run as the API shows it.
    pub async fn run(&self, id: &str) -> Value {
        self.get(&format!("/api/v3/runs/{id}")).await.ok()
    }

    /// All runs that a filter finds, newest first.
    pub async fn all_runs(&self, filter: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.get(&format!("/api/v1/runs?page[size]=100&{filter}{after}")).await.ok();
            all.extend(page["data"].as_array().expect("a list").iter().cloned());
            match page["pagination"]["next"].as_str() {
                Some(next) => after = format!("&page[after]={next}"),
                None => return all,
            }
        }
    }

    /// Waits until the run has ended, and answers with it.
    pub async fn finished(&self, id: &str) -> Value {
        let path = format!("/api/v1/runs/{id}/result?wait=60s");
        let result = self.get(&path).await;
        assert_eq!(result.status, StatusCode::OK, "run {id} does not end: {}", self.run(id).await);
        self.run(id).await
    }

    /// Triggers a task, waits until the run has ended, and answers with it.
    pub async fn call(&self, task: &str, payload: Value) -> Value {
        let id = self.trigger(task, payload).await;
        self.finished(&id).await
    }

    /// Replays a run and answers with the new run's id.
    pub async fn replay(&self, id: &str) -> String {
        let receipt = self.post_empty(&format!("/api/v1/runs/{id}/replay")).await.ok();
        receipt["id"].as_str().expect("a receipt has an id").to_owned()
    }

    /// The statuses that a run went through, in order.
    pub async fn history(&self, id: &str) -> Vec<String> {
        let events = self.get(&format!("/api/v1/runs/{id}/events")).await.ok();
        let events = events["events"].as_array().expect("a list of events");
        events.iter().map(|event| event["status"].as_str().expect("a status").to_owned()).collect()
    }

    /// The messages that a run has logged, with their levels.
    pub async fn logs(&self, id: &str) -> Vec<(String, String)> {
        let logs = self.get(&format!("/api/v1/runs/{id}/logs")).await.ok();
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let logs = logs["logs"].as_array().expect("a list of entries");
        logs.iter().map(|entry| (text(&entry["level"]), text(&entry["message"]))).collect()
    }

    /// Waits until the run has this status; it must not end before.
    pub async fn until_status(&self, id: &str, status: &str) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let run = self.run(id).await;
            if run["status"] == status {
                return run;
            }
            let late = tokio::time::Instant::now() > deadline;
            assert!(run["isCompleted"] == false && !late, "run {id} never became {status}: {run}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn config(data_dir: &Path, args: ServerArgs) -> Config {
    let args = ServerArgs {
        listen: Some("127.0.0.1:0".into()),
        data_dir: Some(data_dir.to_owned()),
        server_key: Some(SERVER_KEY.into()),
        max_concurrent_runs: args.max_concurrent_runs.or(Some(16)),
        ..args
    };
    args.into_config().expect("good settings")
}

/// Compiling a component in every test would take most of the time of the tests.
fn share_compiled_code(data_dir: &Path) {
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    std::fs::create_dir_all(&shared).expect("the target directory can be written");
    std::fs::create_dir_all(data_dir).expect("the data directory can be made");
    let link = data_dir.join("compiled");
    if !link.exists() {
        std::os::unix::fs::symlink(shared, link).expect("a link can be made");
    }
}
