//! One run as answers show it, and as its task is told.

use std::time::Duration;

use dacapo_tests::guests;
use insta::assert_json_snapshot;
use insta::internals::Content;
use serde_json::{Value, json};

use super::{id, with_echo};
use crate::harness::TestApp;

/// Every place of `value` that is null.
fn nulls(value: &Value, place: &str, found: &mut Vec<String>) {
    match value {
        Value::Null => found.push(place.to_owned()),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| nulls(item, &format!("{place}/{n}"), found))
        }
        Value::Object(map) => map.iter().for_each(|(key, item)| nulls(item, &format!("{place}/{key}"), found)),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Redacts a value after checking that its text fits.
fn checked(what: &'static str, fits: impl Fn(&str) -> bool + Send + Sync + 'static) -> insta::internals::Redaction {
    insta::dynamic_redaction(move |value: Content, path: insta::internals::ContentPath<'_>| {
        let text = value.as_str().unwrap_or_else(|| panic!("{path} is a text"));
        assert!(fits(text), "{path} is a {what}: {text}");
        format!("[{what}]")
    })
}

fn is_instant(text: &str) -> bool {
    text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok()
}

fn is_run(text: &str) -> bool {
    text.parse::<dacapo::model::id::RunId>().is_ok()
}

fn is_version(text: &str) -> bool {
    text.parse::<dacapo::model::version::Version>().is_ok()
}

#[tokio::test]
async fn a_run_looks_like_the_contract_says() {
    let app = with_echo().await;
    let options = json!({
        "tags": ["b", "a"], "metadata": { "p": 1 }, "ttl": "10m", "idempotencyKey": "k", "test": true, "maxAttempts": 2,
    });
    let run = app.trigger_with("echo", json!({ "n": 1 }), options).await;
    let mut run = app.finished(&run).await;
    for number in ["durationMs", "peakMemoryBytes"] {
        assert!(run[number].is_u64(), "{number}: {run}");
        run[number] = json!(0);
    }
    let version = run["version"].clone();
    assert_eq!(run["output"]["ctx"]["version"], version);

    assert_json_snapshot!("run", run, {
        ".id" => checked("run", is_run),
        ".output.ctx.runId" => checked("run", is_run),
        ".createdAt" => checked("time", is_instant),
        ".updatedAt" => checked("time", is_instant),
        ".startedAt" => checked("time", is_instant),
        ".finishedAt" => checked("time", is_instant),
        ".version" => checked("version", is_version),
        ".output.ctx.version" => checked("version", is_version),
    });
}

#[tokio::test]
async fn an_answer_about_a_run_holds_no_null() {
    let app = with_echo().await;
    app.deploy(guests::COUNTER).await;
    let queued = app.trigger_with("echo", json!({ "a": 1 }), json!({ "delay": "1h" })).await;
    let pending = app.trigger("nobody-has-it", json!("x")).await;
    let done = id(&app.call("counter", json!(1)).await);
    for path in [
        format!("/api/v3/runs/{queued}"),
        format!("/api/v3/runs/{pending}"),
        format!("/api/v3/runs/{done}"),
        format!("/api/v1/runs/{done}/result"),
        format!("/api/v1/runs/{done}/events"),
        format!("/api/v1/runs/{done}/logs"),
        "/api/v1/runs".into(),
        "/api/v1/deployments".into(),
        "/api/v1/deployments/current".into(),
    ] {
        let answer = app.get(&path).await.ok();
        let mut found = Vec::new();
        nulls(&answer, "", &mut found);
        assert!(found.is_empty(), "{path}: {found:?} in {answer}");
    }
    for path in ["/admin/v1/keys", "/admin/v1/environments"] {
        let mut found = Vec::new();
        nulls(&app.admin("GET", path, Value::Null).await.ok(), "", &mut found);
        assert!(found.is_empty(), "{path}: {found:?}");
    }
}

#[tokio::test]
async fn a_result_is_there_when_the_run_has_ended() {
    let app = TestApp::start().await;
    app.deploy(guests::FAIL).await;
    app.deploy(guests::COUNTER).await;
    let run = app.trigger_with("counter", json!(1), json!({ "delay": "1h" })).await;
    let path = format!("/api/v1/runs/{run}/result");
    assert_eq!(app.get(&path).await.error(404), "the run has not ended yet");
    assert_eq!(app.get(&format!("{path}?wait=0s")).await.error(404), "the run has not ended yet");
    app.get(&format!("{path}?wait=long")).await.error(400);
    app.app().advance(Duration::from_secs(3_601));
    let result = app.get(&format!("{path}?wait=60s")).await.ok();
    assert_eq!(result["ok"], true, "{result}");
    assert_eq!(result["output"], "1", "the output is encoded as its type says");
    assert_eq!(result["outputType"], "application/json");
    assert_eq!(result["taskIdentifier"], "counter");
    assert!(result["usage"]["durationMs"].is_u64());

    let run = app.call("fail", json!({ "name": "Broken", "message": "no luck", "retry": "never" })).await;
    let result = app.get(&format!("/api/v1/runs/{}/result", id(&run))).await.ok();
    assert_eq!(result["ok"], false, "{result}");
    assert_eq!(result["error"]["type"], "BUILT_IN_ERROR");
    assert_eq!(result["error"]["name"], "Broken");
    assert_eq!(result["error"]["message"], "no luck");
    assert!(result["error"]["stackTrace"].is_string());
    assert!(result.get("output").is_none(), "{result}");
    app.get("/api/v1/runs/run_00000000000000000000000007/result?wait=1s").await.error(404);
}

#[tokio::test]
async fn events_tell_the_story_in_order() {
    let app = with_echo().await;
    let run = id(&app.call("echo", json!(1)).await);
    let events = app.get(&format!("/api/v1/runs/{run}/events")).await.ok();
    let events = events["events"].as_array().unwrap();
    let seqs: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [1, 2, 3]);
    let times: Vec<&str> = events.iter().map(|event| event["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(times.iter().all(|time| time.ends_with('Z')), "{times:?}");
    app.get("/api/v1/runs/run_00000000000000000000000007/events").await.error(404);
}

#[tokio::test]
async fn logs_are_paged() {
    let app = TestApp::start().await;
    app.deploy(guests::SPANS).await;
    app.deploy(guests::FLAKY).await;
    let run = app.call("spans", json!(null)).await;
    let path = format!("/api/v1/runs/{}/logs", id(&run));
    let whole = app.get(&path).await.ok();
    let all = whole["logs"].as_array().unwrap().clone();
    assert!(all.len() > 2, "the guest logs a few entries: {whole}");
    assert_eq!(whole["isComplete"], true);
    let (mut paged, mut after) = (Vec::new(), 0);
    loop {
        let page = app.get(&format!("{path}?after={after}&limit=2")).await.ok();
        let entries = page["logs"].as_array().unwrap();
        assert!(entries.len() <= 2, "{page}");
        paged.extend(entries.iter().cloned());
        after = page["next"].as_u64().unwrap();
        if page["isComplete"] == true {
            break;
        }
        assert!(!entries.is_empty(), "a page that is not the last has entries: {page}");
    }
    assert_eq!(paged, all);
    let seqs: Vec<u64> = all.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=all.len() as u64).collect::<Vec<_>>());
    app.get(&format!("{path}?limit=none")).await.error(400);
    app.get(&format!("{path}?page=1")).await.error(400);
    app.get("/api/v1/runs/run_00000000000000000000000007/logs").await.error(404);
}

#[tokio::test]
async fn a_task_is_told_what_its_context_has_no_fields_for() {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V2).await;
    let run = app.call("echo", json!(1)).await;
    let ctx = &run["output"]["ctx"];
    let deployment = app.get("/api/v1/deployments/current").await.ok();
    assert_eq!(ctx["runtime"], deployment["runtime"], "{ctx}");
    assert_eq!(ctx["runtimeVersion"], deployment["runtimeVersion"], "{ctx}");
    assert!(ctx["runtime"].is_string() && ctx["runtimeVersion"].is_string(), "{ctx}");
    assert_eq!(ctx["baseCostInCents"], 0.0, "{ctx}");
    assert_eq!(ctx["unknown"], Value::Null, "{ctx}");
}
