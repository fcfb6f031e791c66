//! The HTTP API as its callers meet it: who may do what, what is refused and how, what answers
//! look like.

mod access;
mod list;
mod replay;
mod run;
mod server;
mod settings;
mod trigger;

use axum::body::Body;
use axum::http::Request;
use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp};

const UNAUTHORIZED: &str = "Invalid or Missing API key";

/// A server with the task `echo`.
async fn with_echo() -> TestApp {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    app
}

fn id(value: &Value) -> String {
    value["id"].as_str().expect("it has an id").to_owned()
}

/// A new key for an environment.
async fn new_key(app: &TestApp, environment: &str) -> Value {
    app.admin("POST", "/admin/v1/keys", json!({ "environment": environment })).await.ok()
}

async fn get_with(app: &TestApp, key: &str, path: &str) -> Answer {
    app.send(key, Request::get(path), Body::empty()).await
}

/// A request in an environment, with the admin key.
async fn admin_in(app: &TestApp, environment: &str, method: &str, path: &str, body: Value) -> Answer {
    let request = Request::builder().method(method).uri(path).header("x-dacapo-environment", environment);
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    app.send(&app.admin_key, request, body).await
}

async fn trigger(app: &TestApp, body: Value) -> Answer {
    app.post("/api/v1/tasks/echo/trigger", body).await
}

async fn upload_to(app: &TestApp, environment: &str, guest: &str) -> Value {
    let request = Request::post("/api/v1/deployments?name=echo").header("x-dacapo-environment", environment);
    let bytes = std::fs::read(guest).expect("the guest was built");
    app.send(&app.admin_key, request, bytes).await.ok()
}

/// The ids of a list's items.
fn ids(list: &Value) -> Vec<String> {
    list["data"].as_array().expect("a list").iter().map(id).collect()
}

fn id_key(created: &Value) -> String {
    created["key"].as_str().expect("a key").to_owned()
}
