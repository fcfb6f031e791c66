//! The trace of a run: its attempts, the spans and lines of its task, the runs it triggered.

use axum::body::Body;
use axum::http::Request;
use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::harness::TestApp;
use crate::jwt::{claims, sign};

async fn app_with(guest: &str) -> TestApp {
    let app = TestApp::start().await;
    app.deploy(guest).await;
    app
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name}: {value}"))
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("a list: {value}"))
}

/// The children of a span of a tree, by name.
fn within<'a>(span: &'a Value, message: &str) -> Vec<&'a Value> {
    list(&span["children"]).iter().filter(|child| child["data"]["message"] == message).collect()
}

/// The texts of the log lines in a span.
fn lines(events: &Value) -> Vec<&str> {
    let Some(events) = events.as_array() else { return Vec::new() };
    events.iter().filter(|event| event["name"] == "log").map(|event| text(&event["properties"], "message")).collect()
}

fn is_hex(id: &str, count: usize) -> bool {
    id.len() == count && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[tokio::test]
async fn a_trace_is_a_tree_of_the_run_its_attempts_and_their_spans() {
    let app = app_with(guests::SPANS).await;
    let run = app.call("spans", json!({})).await;
    let id = text(&run, "id");
    let path = format!("/api/v1/runs/{id}/trace");
    let trace = app.get(&path).await.ok()["trace"].take();
    assert!(is_hex(text(&trace, "traceId"), 32), "{trace}");
    let root = &trace["rootSpan"];
    assert!(is_hex(text(root, "id"), 16) && root.get("parentId").is_none(), "{root}");
    let data = &root["data"];
    assert_eq!((&root["runId"], &data["message"], &data["taskSlug"]), (&json!(id), &json!("spans"), &json!("spans")));
    assert_eq!((&data["workerVersion"], &data["queueName"]), (&run["version"], &json!("task/spans")));
    assert_eq!(data["startTime"], run["createdAt"]);
    let flags = |data: &Value| ["isError", "isPartial", "isCancelled"].map(|name| data[name].as_bool().unwrap());
    assert_eq!(flags(data), [false; 3]);
    let statuses: Vec<_> = list(&data["events"]).iter().map(|event| event["properties"]["status"].clone()).collect();
    assert_eq!(json!(statuses), json!(app.history(id).await));

    let attempts = list(&root["children"]);
    assert_eq!(attempts.len(), 1, "{root}");
    let attempt = &attempts[0];
    assert_eq!((&attempt["data"]["message"], &attempt["parentId"]), (&json!("Attempt 1"), &root["id"]));
    assert_eq!(lines(&attempt["data"]["events"])[0], "before");
    let outer = within(attempt, "outer")[0];
    assert_eq!(outer["data"]["properties"], json!({ "size": 4, "label": "three" }));
    assert_eq!(lines(&outer["data"]["events"]), ["after Small"]);
    let inner = within(outer, "inner");
    assert_eq!(inner.len(), 2, "{outer}");
    for (number, span) in inner.iter().enumerate() {
        assert_eq!((&span["parentId"], &span["data"]["properties"]["number"]), (&outer["id"], &json!(number)));
        assert_eq!(lines(&span["data"]["events"]), [format!("within {number}")]);
        assert!(span["data"]["duration"].as_u64() <= outer["data"]["duration"].as_u64(), "in nanoseconds: {outer}");
    }
    let failed = within(outer, "failed")[0];
    assert_eq!((flags(&failed["data"]), &failed["data"]["level"]), ([true, false, false], &json!("ERROR")));
    assert_eq!(lines(&within(attempt, "left open")[0]["data"]["events"])[..2], ["a trace", "an error"]);
    assert_eq!(app.get(&path).await.ok()["trace"], trace, "what has ended stays as it is");

    let detail = app.get(&format!("/api/v1/runs/{id}/spans/{}", text(outer, "id"))).await.ok();
    assert_eq!((&detail["spanId"], &detail["parentId"]), (&outer["id"], &attempt["id"]));
    assert_eq!((&detail["message"], &detail["entityType"]), (&json!("outer"), &json!("span")));
    assert_eq!(detail["properties"], outer["data"]["properties"]);
    assert_eq!(detail["events"], outer["data"]["events"]);
    let ms = detail["durationMs"].as_f64().unwrap();
    assert_eq!((ms * 1e6).round() as u64, outer["data"]["duration"].as_u64().unwrap(), "in milliseconds");
    let whole = app.get(&format!("/api/v1/runs/{id}/spans/{}", text(root, "id"))).await.ok();
    assert_eq!((&whole["parentId"], whole.get("parentId").is_some()), (&Value::Null, true));
    assert_eq!(app.get(&format!("/api/v1/runs/{id}/spans/0000000000000000")).await.error(404), "Span not found");
}

#[tokio::test]
async fn a_flat_trace_has_every_span_once_page_by_page() {
    let app = app_with(guests::SPANS).await;
    let run = app.call("spans", json!({})).await;
    let path = format!("/api/v1/runs/{}/trace", text(&run, "id"));
    let whole = app.get(&format!("{path}?page[size]=10000")).await.ok();
    assert_eq!(whole["pagination"], json!({}));
    assert_eq!(whole["attemptFailures"], json!([]));
    let whole = list(&whole["data"]);
    // The run, its attempt, `outer`, two `inner`, `failed`, `left open`.
    assert_eq!(whole.len(), 7, "{whole:#?}");
    let mut seen: Vec<Value> = Vec::new();
    let mut after = String::new();
    loop {
        let page = app.get(&format!("{path}?page[size]=3{after}")).await.ok();
        for span in list(&page["data"]) {
            let parent_came_first = seen.iter().any(|earlier| earlier["id"] == span["parentId"]);
            assert!(parent_came_first || span.get("parentId").is_none(), "{span}");
            seen.push(span.clone());
        }
        let Some(next) = page["pagination"]["next"].as_str() else { break };
        after = format!("&page[after]={next}");
    }
    assert_eq!(seen, *whole);
    assert_eq!(seen[1]["attemptNumber"], 1);
    for (query, why) in [
        ("page[size]=0", "1 to 10000"),
        ("page[size]=10001", "1 to 10000"),
        ("page[size]=5&page[after]=nothing", "not a cursor"),
        ("page[after]=0000000000000000", "needs `page[size]`"),
        ("depth=3", "not offered"),
    ] {
        let text = app.get(&format!("{path}?{query}")).await.error(400);
        assert!(text.contains(why), "{query}: {text}");
    }
}

#[tokio::test]
async fn attempts_that_failed_say_so() {
    let app = app_with(guests::FAIL).await;
    let payload = json!({ "message": "no luck", "retry": { "afterMs": 60_000 } });
    let id = app.trigger_with("fail", payload, json!({ "maxAttempts": 2 })).await;
    let path = format!("/api/v1/runs/{id}/trace");
    let open = loop {
        let open = app.get(&path).await.ok()["trace"]["rootSpan"].take();
        if list(&open["children"]).iter().any(|attempt| attempt["data"]["isError"] == true) {
            break open;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((&open["data"]["isPartial"], &open["data"]["isError"]), (&json!(true), &json!(false)), "{open}");
    app.app().advance(std::time::Duration::from_secs(61));
    let run = app.finished(&id).await;
    assert_eq!(run["status"], "FAILED", "{run}");
    let root = app.get(&path).await.ok()["trace"]["rootSpan"].take();
    assert_eq!((&root["data"]["isPartial"], &root["data"]["isError"]), (&json!(false), &json!(true)), "{root}");
    let last = list(&root["data"]["events"]).last().unwrap();
    assert_eq!(
        (&last["name"], &last["properties"]["exception"]["message"]),
        (&json!("exception"), &run["error"]["message"])
    );
    let page = app.get(&format!("{path}?page[size]=100")).await.ok();
    let numbers: Vec<_> =
        list(&page["attemptFailures"]).iter().map(|failure| failure["attemptNumber"].clone()).collect();
    assert_eq!(json!(numbers), json!([1, 2]), "{page}");
    assert_eq!(page["attemptFailures"][0]["spanId"], page["data"][1]["id"]);
}

#[tokio::test]
async fn runs_that_a_run_triggered_are_spans_of_it() {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    app.deploy(guests::SPANS).await;
    let parent = app.call("spans", json!({})).await;
    let parent = text(&parent, "id");
    let child = app.trigger_with("echo", json!(1), json!({ "parentRunId": parent, "delay": "1h" })).await;
    let trace = app.get(&format!("/api/v1/runs/{parent}/trace")).await.ok()["trace"].take();
    let attempt = &trace["rootSpan"]["children"][0];
    let span = within(attempt, "echo")[0];
    assert_eq!((&span["runId"], &span["data"]["isPartial"]), (&json!(child), &json!(true)), "{span}");
    let own = app.get(&format!("/api/v1/runs/{child}/trace")).await.ok()["trace"].take();
    assert_eq!((&own["traceId"], &own["rootSpan"]["id"]), (&trace["traceId"], &span["id"]), "one trace for the tree");
    let triggered = json!([{ "runId": child, "taskIdentifier": "echo", "status": "DELAYED", "createdAt": span["data"]["startTime"] }]);
    for id in [&attempt["id"], &trace["rootSpan"]["id"]] {
        let detail = app.get(&format!("/api/v1/runs/{parent}/spans/{}", id.as_str().unwrap())).await.ok();
        assert_eq!(detail["triggeredRuns"], triggered, "{detail}");
    }
    app.post_empty(&format!("/api/v2/runs/{child}/cancel")).await.ok();
    let own = app.get(&format!("/api/v1/runs/{child}/trace")).await.ok()["trace"].take();
    let data = &own["rootSpan"]["data"];
    assert_eq!(
        (&data["isCancelled"], &data["isError"], &data["isPartial"]),
        (&json!(true), &json!(false), &json!(false))
    );
}

#[tokio::test]
async fn a_trace_is_for_whoever_may_read_the_run() {
    let app = app_with(guests::ECHO_V1).await;
    let run = app.call("echo", json!({ "n": 1 })).await;
    let id = text(&run, "id");
    let environment = app.post_empty("/api/v1/auth/jwt/claims").await.ok()["sub"].take();
    let now_ms = dacapo::clock::Clock::system().now().as_millisecond();
    let token = |scope: &str| sign(&app.key, &claims(&environment, &[scope], now_ms));
    let root = app.get(&format!("/api/v1/runs/{id}/trace")).await.ok()["trace"]["rootSpan"].take();
    assert_eq!(root["data"]["output"], run["output"]);
    let paths = [format!("/api/v1/runs/{id}/trace"), format!("/api/v1/runs/{id}/spans/{}", text(&root, "id"))];
    for path in &paths {
        assert_eq!(app_get(&app, &token(&format!("read:runs:{id}")), path).await, 200);
        assert_eq!(app_get(&app, &token("read:runs:run_1"), path).await, 403);
        assert_eq!(app_get(&app, "nonsense", path).await, 401);
    }
    app.get("/api/v1/runs/run_00000000000000000000000007/trace").await.error(404);
    let other = app.admin("POST", "/admin/v1/keys", json!({ "environment": "stg" })).await.ok();
    for path in &paths {
        assert_eq!(app_get(&app, text(&other, "key"), path).await, 404);
    }
}

async fn app_get(app: &TestApp, bearer: &str, path: &str) -> u16 {
    app.send(bearer, Request::get(path), Body::empty()).await.status.as_u16()
}
