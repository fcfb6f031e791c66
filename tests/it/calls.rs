//! What a run asked its host for, and what it was told of itself, as the page shows it.

use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::harness::TestApp;
use crate::network::{Site, allow};

const SECRET: &str = "open-sesame-7431";

async fn start() -> TestApp {
    let app = TestApp::start().await;
    app.deploy(guests::SCRIPT).await;
    app
}

async fn calls(app: &TestApp, run: &str) -> Vec<Value> {
    let list = app.get(&format!("/api/v1/runs/{run}/calls")).await.ok();
    assert_eq!((&list["isCut"], list.get("note")), (&json!(false), None), "{list}");
    list["calls"].as_array().expect("a list").clone()
}

fn ms(at: &Value) -> i64 {
    at.as_str().expect("a time").parse::<jiff::Timestamp>().expect("a time").as_millisecond()
}

/// Each call begins when the one before is over, or later.
fn check_order(calls: &[Value], run: &Value) {
    let mut over = ms(&run["startedAt"]);
    for call in calls {
        // Times are shown in whole milliseconds.
        assert!(ms(&call["at"]) >= over - 1, "{call} begins before {over}");
        over = ms(&call["at"]) + call["durationMs"].as_f64().expect("a length") as i64;
    }
    assert!(over <= ms(&run["finishedAt"]) + 1, "{over} is after the end: {run}");
}

#[tokio::test]
async fn the_calls_of_a_run_are_listed_with_their_times_and_without_secrets() {
    let app = start().await;
    app.post("/api/v1/projects/p/envvars/dev", json!({ "name": "PASS", "value": SECRET })).await.ok();
    allow(&app, &["127.0.0.1"]).await;
    let site = Site::saying("hello").await;
    let (url, refused) = (format!("{}&page={SECRET}", site.url("127.0.0.1")), "http://127.0.0.2:1/".to_owned());
    let run = app
        .call(
            "script",
            json!([
                { "env": "PASS" }, { "http": url }, { "child": { "task": "leaf", "payload": { "fail": SECRET } } },
                { "wait_ms": 50 }, { "tags": ["a"] }, { "http": refused },
            ]),
        )
        .await;
    let id = run["id"].as_str().expect("an id");

    let found = calls(&app, id).await;

    let kinds: Vec<&str> = found.iter().map(|call| call["kind"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, ["http", "trigger", "wait", "wait", "tags", "http"], "{found:#?}");
    check_order(&found, &run);
    let [http, trigger, child, wait, _, lost] = found.as_slice() else { panic!("{found:#?}") };
    let seen = &http["http"];
    assert_eq!((&seen["method"], &seen["status"], &seen["responseBytes"]), (&json!("GET"), &json!(200), &json!(5)));
    assert_eq!(seen["url"], url.replace(SECRET, "[redacted]"));
    assert!(seen["host"].as_str().is_some_and(|host| host.starts_with("127.0.0.1:")), "{seen}");
    assert_eq!(http["target"], format!("GET {}", url.replace(SECRET, "[redacted]")));
    let children = app.run(id).await["relatedRuns"]["children"].take();
    assert_eq!((&trigger["target"], &trigger["runIds"]), (&json!("leaf"), &json!([children[0]["id"]])));
    assert_eq!(child["runIds"], trigger["runIds"]);
    assert!(child["error"].as_str().is_some_and(|error| error.contains("[redacted]")), "{child}");
    assert!(wait["durationMs"].as_f64().is_some_and(|ms| ms >= 40.0), "{wait}");
    assert!(lost["error"].is_string() && lost["http"].get("status").is_none(), "{lost}");
    assert!(!Value::from(found).to_string().contains(SECRET));
}

#[tokio::test]
async fn whom_a_call_reaches_is_cut() {
    let app = start().await;
    let url = format!("http://127.0.0.2:1/{}", "x".repeat(2_000));
    let run = app.call("script", json!([{ "http": url }])).await;
    let found = calls(&app, run["id"].as_str().expect("an id")).await;
    for text in [&found[0]["target"], &found[0]["http"]["url"]] {
        assert!(text.as_str().is_some_and(|text| text.len() <= 403 && text.ends_with('…')), "{text}");
    }
}

#[tokio::test]
async fn times_go_on_where_a_run_is_brought_back() {
    let app = start().await;
    let steps = json!([{ "tags": ["a"] }, { "create_token": {} }, { "token": "$last" }, { "tags": ["b"] }]);
    let run = app.trigger("script", steps).await;
    let waiting = app.until_status(&run, "WAITING").await;
    let path = format!("/api/v1/runs/{run}/calls");
    let list = app.get(&path).await.ok();
    assert_eq!((&list["calls"], &list["note"]), (&json!([]), &json!("it has not ended")));
    let token = waiting["waitsFor"][0]["id"].as_str().expect("a token").to_owned();
    let app = app.restart().await;
    app.post(&format!("/api/v1/waitpoints/tokens/{token}/complete"), json!({ "data": 1 })).await.ok();
    let ended = app.finished(&run).await;
    assert_eq!(ended["status"], "COMPLETED", "{ended}");

    let found = calls(&app, &run).await;

    let kinds: Vec<&str> = found.iter().map(|call| call["kind"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, ["tags", "create-token", "wait", "tags"], "{found:#?}");
    assert_eq!((&found[1]["tokenId"], &found[2]["tokenId"]), (&json!(token), &json!(token)));
    check_order(&found, &ended);
}

#[tokio::test]
async fn of_a_run_without_a_recording_it_is_said_why() {
    let app = start().await;
    let canceled = app.trigger("nobody-has-it", json!(1)).await;
    app.post_empty(&format!("/api/v2/runs/{canceled}/cancel")).await.ok();
    let list = app.get(&format!("/api/v1/runs/{canceled}/calls")).await.ok();
    assert_eq!((&list["calls"], list["note"].is_string()), (&json!([]), true), "{list}");
    let quiet = app.call("leaf", json!({ "echo": 1 })).await;
    assert!(calls(&app, quiet["id"].as_str().unwrap()).await.is_empty());
    let missing = "run_00000000000000000000000001";
    app.get(&format!("/api/v1/runs/{missing}/calls")).await.error(404);
    app.get(&format!("/api/v1/runs/{missing}/context")).await.error(404);
}

#[tokio::test]
async fn the_context_of_a_run_is_what_it_was_told() {
    let app = start().await;
    app.post("/api/v1/projects/p/envvars/dev", json!({ "name": "PASS", "value": SECRET })).await.ok();
    let options = json!({ "tags": ["a", SECRET], "maxAttempts": 3 });
    let run = app.trigger_with("script", json!([{ "clock": true }]), options).await;
    let run = app.finished(&run).await;
    let context = async |run: &Value| {
        let run = run["id"].as_str().expect("an id");
        app.get(&format!("/api/v1/runs/{run}/context")).await.ok()
    };

    let told = context(&run).await;

    assert_eq!(told["isRecorded"], true, "{told:#}");
    let shown = &told["context"];
    assert_eq!((&shown["run"]["id"], &shown["task"]["id"]), (&run["id"], &json!("script")));
    assert_eq!((&shown["run"]["tags"], &shown["run"]["maxAttempts"]), (&json!(["a", "[redacted]"]), &json!(3)));
    assert_eq!((&shown["attempt"]["number"], &shown["deployment"]["runtime"]), (&json!(1), &json!("wasm")));
    assert!(shown.get("batch").is_none() && !told.to_string().contains(SECRET));
    let quiet = app.call("leaf", json!({ "echo": 1 })).await;
    let built = context(&quiet).await;
    assert_eq!((&built["isRecorded"], &built["context"]["run"]["id"]), (&json!(false), &quiet["id"]));
    let waiting = app.trigger("nobody-has-it", json!(1)).await;
    let refused = app.get(&format!("/api/v1/runs/{waiting}/context")).await.error(422);
    assert_eq!(refused, "there is no context: it has not started, and has no version yet");
    app.post_empty(&format!("/api/v2/runs/{waiting}/cancel")).await.ok();
}
