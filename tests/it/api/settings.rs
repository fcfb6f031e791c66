//! Variables and egress rules of an environment.

use axum::body::Body;
use axum::http::Request;
use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::harness::TestApp;

#[tokio::test]
async fn variables_are_made_read_changed_and_deleted() {
    let app = TestApp::start().await;
    app.deploy(guests::ENV).await;
    let base = "/api/v1/projects/any-project/envvars/dev";
    let success = json!({ "success": true });
    assert_eq!(app.get(base).await.ok(), json!([]));
    assert_eq!(app.post(base, json!({ "name": "A", "value": "1" })).await.ok(), success);
    assert_eq!(app.post(base, json!({ "name": "S", "value": "hidden", "isSecret": true })).await.ok(), success);
    let shown = json!([
        { "name": "A", "value": "1", "isSecret": false },
        { "name": "S", "value": "<redacted>", "isSecret": true },
    ]);
    assert_eq!(app.get(base).await.ok(), shown);
    assert_eq!(app.get(&format!("{base}/S")).await.ok(), shown[1]);
    let run = app.call("env", json!(null)).await;
    assert_eq!(run["output"]["env"]["S"], "hidden", "the task sees the value: {run}");

    let put = |name: &str| Request::put(format!("{base}/{name}"));
    assert_eq!(app.send(&app.key, put("S"), r#"{"value":"new"}"#).await.ok(), success);
    assert_eq!(app.get(&format!("{base}/S")).await.ok()["value"], "<redacted>", "a secret stays one");
    let run = app.call("env", json!(null)).await;
    assert_eq!(run["output"]["env"]["S"], "new", "the next run sees the change");
    let missing = app.send(&app.key, put("MISSING"), r#"{"value":"new"}"#).await;
    assert_eq!(missing.error(404), "Environment variable not found");

    let delete = || Request::delete(format!("{base}/S"));
    assert_eq!(app.send(&app.key, delete(), Body::empty()).await.ok(), success);
    app.send(&app.key, delete(), Body::empty()).await.error(404);
    assert_eq!(app.get(&format!("{base}/S")).await.error(404), "Environment variable not found");
    let run = app.call("env", json!(null)).await;
    assert_eq!(run["output"]["env"].get("S"), None, "{run}");
    assert_eq!(run["output"]["env"]["A"], "1");
    app.get("/api/v1/projects/p/envvars/moon").await.error(404);
}

#[tokio::test]
async fn variables_are_imported_all_or_none() {
    let app = TestApp::start().await;
    let base = "/api/v1/projects/p/envvars/dev";
    app.post(base, json!({ "name": "A", "value": "old" })).await.ok();
    let import = format!("{base}/import");
    app.post(&import, json!({ "variables": { "A": "new", "B": "2" } })).await.ok();
    assert_eq!(app.get(&format!("{base}/A")).await.ok()["value"], "old", "what is there is kept");
    assert_eq!(app.get(&format!("{base}/B")).await.ok()["value"], "2");
    app.post(&import, json!({ "variables": { "A": "new" }, "override": true, "isSecret": true })).await.ok();
    let replaced = app.get(&format!("{base}/A")).await.ok();
    assert_eq!(replaced, json!({ "name": "A", "value": "<redacted>", "isSecret": true }));

    let bad = json!({ "variables": { "GOOD": "1", "9BAD": "2" }, "override": true });
    let text = app.post(&import, bad).await.error(400);
    assert!(text.starts_with("a variable's name must have 1 to 256 of A-Z"), "{text}");
    app.get(&format!("{base}/GOOD")).await.error(404);
    for name in ["", "a-b", "a b", "ü", &"x".repeat(257)] {
        app.post(base, json!({ "name": name, "value": "" })).await.error(400);
    }
    let long = "x".repeat(64 * 1024 + 1);
    let text = app.post(base, json!({ "name": "L", "value": long })).await.error(400);
    assert!(text.starts_with("a variable's value can have 64 KiB at most"), "{text}");
    app.post(base, json!({ "name": "N", "value": "a\0b" })).await.error(400);
    let many: serde_json::Map<_, _> = (0..501).map(|n| (format!("V{n}"), json!(""))).collect();
    let text = app.post(&import, json!({ "variables": many })).await.error(422);
    assert_eq!(text, "an environment can have 500 variables at most");
    assert_eq!(app.get(base).await.ok().as_array().unwrap().len(), 2, "nothing of a refused import is kept");
}

#[tokio::test]
async fn a_full_set_of_variables_can_still_be_changed() {
    let app = TestApp::start().await;
    let base = "/api/v1/projects/p/envvars/dev";
    let full: serde_json::Map<_, _> = (0..500).map(|n| (format!("V{n}"), json!("old"))).collect();
    app.post(&format!("{base}/import"), json!({ "variables": full })).await.ok();
    app.send(&app.key, Request::put(format!("{base}/V7")), r#"{"value":"new"}"#).await.ok();
    assert_eq!(app.get(&format!("{base}/V7")).await.ok()["value"], "new");
    app.post(&format!("{base}/import"), json!({ "variables": full, "override": true })).await.ok();
    assert_eq!(app.get(&format!("{base}/V7")).await.ok()["value"], "old");
    app.post(base, json!({ "name": "ONE_MORE", "value": "" })).await.error(422);
}

#[tokio::test]
async fn a_change_of_the_egress_rules_is_shown_and_checked() {
    let app = TestApp::start().await;
    let put =
        async |rules: Value| app.admin("PUT", "/admin/v1/environments/dev/egress", json!({ "rules": rules })).await;
    let shown = put(json!(["API.example.com:443", " 10.0.0.0/8 ", "[::1]:80"])).await.ok();
    let expected = json!(["api.example.com:443", "10.0.0.0/8", "[::1]:80"]);
    assert_eq!(shown["egress"], expected);
    let list = app.admin("GET", "/admin/v1/environments", Value::Null).await.ok();
    let dev = list["data"].as_array().unwrap().iter().find(|item| item["slug"] == "dev").unwrap();
    assert_eq!(dev["egress"], expected);
    assert_eq!(dev["type"], "DEVELOPMENT");
    assert_eq!(dev["waitingRuns"], 0);
    let text = put(json!(["good.example.com", "not a host"])).await.error(400);
    assert!(text.starts_with("`not a host` is not an egress rule"), "{text}");
    let many = vec!["a.example.com"; 501];
    assert_eq!(put(json!(many)).await.error(422), "an environment can have 500 egress rules at most");
    assert_eq!(put(json!([])).await.ok()["egress"], json!([]), "an empty list allows nothing");
}
