//! Preview branches: a key of `preview` or `dev` with the header `x-trigger-branch` opens the
//! environment of a branch, which the first deployment to it makes.

use axum::body::Body;
use axum::http::Request;
use axum::http::request::Builder;
use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp};
use crate::jwt::{claims, claims_of, sign};

/// Somebody with a key, in a branch where one is named.
struct In<'a> {
    app: &'a TestApp,
    key: &'a str,
    branch: Option<&'a str>,
}

impl In<'_> {
    async fn send(&self, request: Builder, body: impl Into<Body>) -> Answer {
        let request = match self.branch {
            Some(branch) => request.header("x-trigger-branch", branch.as_bytes()),
            None => request,
        };
        self.app.send(self.key, request, body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path), Body::empty()).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Request::post(path).header("content-type", "application/json"), body.to_string()).await
    }

    async fn deploy(&self, guest: &str) -> Answer {
        self.send(Request::post("/api/v1/deployments?name=one"), std::fs::read(guest).unwrap()).await
    }

    /// Triggers a task, and answers with its output.
    async fn call(&self, task: &str) -> Value {
        let receipt = self.post(&format!("/api/v1/tasks/{task}/trigger"), json!({ "payload": {} })).await.ok();
        let id = receipt["id"].as_str().unwrap().to_owned();
        self.get(&format!("/api/v1/runs/{id}/result?wait=60s")).await.ok();
        self.get(&format!("/api/v3/runs/{id}")).await.ok()["output"].take()
    }
}

async fn preview_key(app: &TestApp, additional: bool) -> String {
    let ask = json!({ "environment": "preview", "additional": additional });
    app.admin("POST", "/admin/v1/keys", ask).await.ok()["key"].as_str().unwrap().to_owned()
}

async fn environments(app: &TestApp) -> Vec<Value> {
    app.admin("GET", "/admin/v1/environments", Value::Null).await.ok()["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn the_first_deployment_to_a_branch_makes_its_environment() {
    let app = TestApp::start().await;
    let key = preview_key(&app, false).await;
    let rules = json!({ "rules": ["api.example.com:443"] });
    app.admin("PUT", "/admin/v1/environments/preview/egress", rules.clone()).await.ok();
    app.admin("PUT", "/admin/v1/environments/preview/concurrency", json!({ "limit": 7 })).await.ok();
    let one = In { app: &app, key: &key, branch: Some("refs/heads/feature/one") };
    let short = In { branch: Some(" feature/one "), ..one };
    let two = In { branch: Some("two"), ..one };

    let text = "there is no branch `feature/one`: deploy to it first";
    assert_eq!(one.get("/api/v1/runs").await.error(404), text);
    assert_eq!(one.get("/api/v1/deployments").await.error(404), text);
    assert_eq!(one.post("/api/v1/tasks/echo/trigger", json!({ "payload": 1 })).await.error(404), text);
    one.send(Request::post("/api/v1/deployments?name=one"), "no component").await.error(422);
    assert_eq!(environments(&app).await.len(), 4, "what is refused makes no branch");

    one.deploy(guests::ENV).await.ok();
    short.deploy(guests::ENV).await.ok();
    let made = environments(&app).await;
    let made: Vec<_> = made.iter().filter(|environment| environment["branch"].is_string()).collect();
    assert_eq!(made.len(), 1, "one branch, however it is written");
    let expected = json!({
        "id": made[0]["id"], "slug": "preview/feature/one", "type": "PREVIEW", "egress": rules["rules"],
        "waitingRuns": 0, "concurrencyLimit": 7, "branch": "feature/one",
    });
    assert_eq!(*made[0], expected);

    one.call("env").await;
    assert_eq!(short.get("/api/v1/runs").await.ok()["data"].as_array().unwrap().len(), 1);
    two.deploy(guests::ECHO_V1).await.ok();
    assert_eq!(two.get("/api/v1/runs").await.ok()["data"], json!([]), "branches do not see each other");
    two.post("/api/v1/tasks/echo/trigger", json!({ "payload": 1 })).await.ok();
    assert_eq!(app.get("/api/v1/runs").await.ok()["data"], json!([]));
}

#[tokio::test]
async fn a_preview_key_must_name_a_branch_where_it_matters() {
    let app = TestApp::start().await;
    let key = preview_key(&app, false).await;
    let nowhere = In { app: &app, key: &key, branch: None };
    let empty = In { branch: Some(" "), ..nowhere };
    for caller in [&nowhere, &empty] {
        for answer in [
            caller.get("/api/v1/runs").await,
            caller.post("/api/v1/auth/jwt/claims", json!({})).await,
            caller.deploy(guests::ECHO_V1).await,
        ] {
            let text = answer.error(400);
            assert!(text.contains("name the branch in the header x-trigger-branch"), "{text}");
        }
    }
    for bad in ["x".repeat(129), "a\tb".into()] {
        let caller = In { branch: Some(&bad), ..nowhere };
        let text = caller.get("/api/v1/runs").await.error(400);
        assert!(text.starts_with("x-trigger-branch: a branch must have 1 to 128 characters"), "{text}");
        caller.deploy(guests::ECHO_V1).await.error(400);
    }
    let not_text = Request::get("/api/v1/runs").header("x-trigger-branch", &b"\xff\xfe"[..]);
    app.send(&key, not_text, Body::empty()).await.error(400);
    let umlauts = In { branch: Some("für/später"), ..nowhere };
    umlauts.deploy(guests::ECHO_V1).await.ok();
    assert_eq!(umlauts.get("/api/v1/runs").await.ok()["data"], json!([]));
}

#[tokio::test]
async fn a_development_key_opens_branches_too_and_others_do_not() {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    let dev = In { app: &app, key: &app.key, branch: None };
    let itself = In { branch: Some("default"), ..dev };
    let branch = In { branch: Some("mine"), ..dev };
    app.trigger("echo", json!(1)).await;
    for caller in [&dev, &itself] {
        assert_eq!(caller.get("/api/v1/runs").await.ok()["data"].as_array().unwrap().len(), 1);
    }
    branch.get("/api/v1/runs").await.error(404);
    branch.deploy(guests::ECHO_V2).await.ok();
    assert_eq!(branch.get("/api/v1/runs").await.ok()["data"], json!([]));
    let made = environments(&app).await.pop().unwrap();
    assert_eq!((&made["slug"], &made["type"]), (&json!("dev/mine"), &json!("DEVELOPMENT")));

    let stg = app.admin("POST", "/admin/v1/keys", json!({ "environment": "stg" })).await.ok();
    let staging = In { key: stg["key"].as_str().unwrap(), ..branch };
    staging.deploy(guests::ECHO_V1).await.ok();
    assert_eq!(environments(&app).await.len(), 5, "staging has no branches");

    let by_admin = |branch: &str| {
        let request = Request::get("/api/v1/deployments").header("x-dacapo-environment", "dev");
        app.send(&app.admin_key, request.header("x-trigger-branch", branch.to_owned()), Body::empty())
    };
    assert_eq!(by_admin("mine").await.ok()["data"].as_array().unwrap().len(), 1);
    by_admin("yours").await.error(404);
    let whole = Request::get("/api/v1/deployments").header("x-dacapo-environment", "dev/mine");
    app.send(&app.admin_key, whole, Body::empty()).await.ok();
    let text = app.admin("POST", "/admin/v1/keys", json!({ "environment": "dev/mine" })).await.error(422);
    assert!(text.contains("a branch has no keys of its own"), "{text}");
}

#[tokio::test]
async fn a_branch_has_its_parents_variables_and_its_own_before_them() {
    let app = TestApp::start().await;
    let key = preview_key(&app, false).await;
    let parent = In { app: &app, key: &key, branch: None };
    let branch = In { branch: Some("b"), ..parent };
    let path = "/api/v1/projects/p/envvars/preview";
    parent.post(&format!("{path}/import"), json!({ "variables": { "A": "parent", "B": "parent" } })).await.ok();
    assert_eq!(branch.get(path).await.error(404), "there is no branch `b`: deploy to it first");
    branch.deploy(guests::ENV).await.ok();
    branch.post(path, json!({ "name": "B", "value": "branch" })).await.ok();

    let named = |variables: Value| -> Vec<Value> {
        variables.as_array().unwrap().iter().map(|variable| json!([variable["name"], variable["value"]])).collect()
    };
    assert_eq!(named(parent.get(path).await.ok()), [json!(["A", "parent"]), json!(["B", "parent"])]);
    assert_eq!(named(branch.get(path).await.ok()), [json!(["B", "branch"])]);
    let seen = branch.call("env").await;
    assert_eq!((&seen["env"]["A"], &seen["env"]["B"]), (&json!("parent"), &json!("branch")), "{seen}");
    branch.get("/api/v1/projects/p/envvars/dev").await.error(403);
    assert_eq!(
        parent.get("/api/v1/projects/p/envvars/preview%2Fb").await.error(403),
        "the key belongs to another environment"
    );
}

#[tokio::test]
async fn tokens_of_a_branch_are_signed_with_its_parents_keys() {
    let app = TestApp::start().await;
    let (key, additional) = (preview_key(&app, false).await, preview_key(&app, true).await);
    let branch = In { app: &app, key: &key, branch: Some("b") };
    branch.deploy(guests::ECHO_V1).await.ok();
    let environment = branch.post("/api/v1/auth/jwt/claims", json!({})).await.ok()["sub"].take();
    let listed = environments(&app).await;
    assert_eq!(listed.last().unwrap()["id"], environment);
    let now_ms = dacapo::clock::Clock::system().now().as_millisecond();
    let claims = claims(&environment, &["trigger:tasks:echo", "read:runs"], now_ms);
    app.send(&sign(&app.key, &claims), Request::get("/api/v1/runs"), Body::empty()).await.error(401);

    // The client sends the branch along with a token, too; `sub` has it already.
    let token = sign(&key, &claims);
    for branch in [None, Some("b"), Some("other")] {
        let bearer = In { app: &app, key: &token, branch };
        bearer.post("/api/v1/tasks/echo/trigger", json!({ "payload": 1 })).await.ok();
    }
    assert_eq!(branch.get("/api/v1/runs").await.ok()["data"].as_array().unwrap().len(), 3);
    let answer = In { key: &additional, ..branch }.post("/api/v1/tasks/echo/trigger", json!({ "payload": 1 })).await;
    let pass = answer.headers["x-trigger-jwt"].to_str().unwrap().to_owned();
    assert_eq!(claims_of(&pass)["sub"], environment);
    let run = answer.ok()["id"].as_str().unwrap().to_owned();
    app.send(&pass, Request::get(format!("/api/v3/runs/{run}")), Body::empty()).await.ok();

    let keys = app.admin("GET", "/admin/v1/keys", Value::Null).await.ok();
    for key in keys["data"].as_array().unwrap().iter().filter(|key| key["environment"] == "preview") {
        app.admin("DELETE", &format!("/admin/v1/keys/{}", key["id"].as_str().unwrap()), Value::Null).await.ok();
    }
    app.send(&token, Request::get("/api/v1/runs"), Body::empty()).await.error(401);
}

#[tokio::test]
async fn two_first_deployments_at_a_time_make_one_branch() {
    let app = TestApp::start().await;
    let branch = In { app: &app, key: &app.key, branch: Some("b") };
    let (one, two) = tokio::join!(branch.deploy(guests::ECHO_V1), branch.deploy(guests::ECHO_V1));
    assert_eq!(one.ok()["deployment"]["id"], two.ok()["deployment"]["id"]);
    assert_eq!(environments(&app).await.len(), 5);
}
