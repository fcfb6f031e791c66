//! Changing runs from outside: delays, debouncing, tags, metadata, keys, and runs below runs.

use std::time::Duration;

use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::harness::TestApp;

async fn with_echo() -> TestApp {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    app
}

async fn put(app: &TestApp, path: &str, body: Value) -> crate::harness::Answer {
    let request = axum::http::Request::put(path).header("content-type", "application/json");
    app.send(&app.key, request, body.to_string()).await
}

#[tokio::test]
async fn a_delayed_run_is_rescheduled() {
    let app = with_echo().await;
    let run = app.trigger_with("echo", json!(1), json!({ "delay": "1h" })).await;
    let path = format!("/api/v1/runs/{run}/reschedule");

    let moved = app.post(&path, json!({ "delay": "1m" })).await.ok();

    assert_eq!((&moved["id"], &moved["status"]), (&json!(run), &json!("DELAYED")));
    app.app().advance(Duration::from_secs(61));
    assert_eq!(app.finished(&run).await["status"], "COMPLETED");
    assert_eq!(
        app.post(&path, json!({ "delay": "1m" })).await.error(400),
        "Cannot reschedule a run that is not delayed"
    );
    assert!(app.post(&path, json!({ "delay": "2020-01-01T00:00:00Z" })).await.error(400).starts_with("Invalid delay"));
    let nobody = "/api/v1/runs/run_00000000000000000000000001/reschedule";
    assert_eq!(app.post(nobody, json!({ "delay": "1m" })).await.error(404), "Run not found");
}

#[tokio::test]
async fn a_debounced_trigger_pushes_the_first_run_back() {
    let app = with_echo().await;
    let debounce = |mode: &str| json!({ "debounce": { "key": mode, "delay": "10s", "mode": mode, "maxDelay": "15s" } });
    let leading = app.trigger_with("echo", json!("first"), debounce("leading")).await;
    let trailing = app.trigger_with("echo", json!("first"), debounce("trailing")).await;
    app.app().advance(Duration::from_secs(4));
    assert_eq!(app.trigger_with("echo", json!("second"), debounce("leading")).await, leading);
    assert_eq!(app.trigger_with("echo", json!("second"), debounce("trailing")).await, trailing);
    app.app().advance(Duration::from_secs(7));
    assert_eq!(app.run(&leading).await["status"], "DELAYED", "it was pushed back");
    let beyond = app.trigger_with("echo", json!("third"), debounce("leading")).await;
    assert_ne!(beyond, leading, "beyond the longest delay there is a new run");

    app.app().advance(Duration::from_secs(20));

    assert_eq!(app.finished(&leading).await["payload"], "first");
    assert_eq!(app.finished(&trailing).await["payload"], "second");
    assert_eq!(app.finished(&beyond).await["payload"], "third");
}

#[tokio::test]
async fn tags_are_added_and_found() {
    let app = with_echo().await;
    let run = app.trigger_with("echo", json!(1), json!({ "tags": ["a"] })).await;
    let path = format!("/api/v1/runs/{run}/tags");
    app.post(&path, json!({ "tags": ["b", "a"] })).await.ok();
    assert_eq!(app.run(&run).await["tags"], json!(["a", "b"]));
    let found = app.get("/api/v1/runs?filter[tag]=b,nobody").await.ok();
    assert_eq!(found["data"][0]["id"], json!(run));
    let many: Vec<String> = (0..9).map(|n| n.to_string()).collect();
    assert_eq!(app.post(&path, json!({ "tags": many })).await.error(422), "a run can have 10 tags at most");
}

#[tokio::test]
async fn metadata_are_changed_by_operations_also_of_parent_and_root() {
    let app = with_echo().await;
    let root = app.trigger_with("echo", json!(1), json!({ "delay": "1h", "metadata": { "n": 1 } })).await;
    let child = app.trigger_with("echo", json!(2), json!({ "delay": "1h", "parentRunId": root })).await;
    let grandchild = app.trigger_with("echo", json!(3), json!({ "delay": "1h", "parentRunId": child })).await;

    let answer = put(
        &app,
        &format!("/api/v1/runs/{grandchild}/metadata"),
        json!({
            "metadata": { "own": true },
            "operations": [{ "type": "append", "key": "list", "value": 1 }],
            "parentOperations": [{ "type": "set", "key": "below", "value": "x" }],
            "rootOperations": [{ "type": "increment", "key": "n", "value": 2 }],
        }),
    )
    .await;

    assert_eq!(answer.ok()["metadata"], json!({ "own": true, "list": [1] }));
    assert_eq!(app.run(&child).await["metadata"], json!({ "below": "x" }));
    assert_eq!(app.run(&root).await["metadata"]["n"].as_f64(), Some(3.0));
    let bad = put(&app, &format!("/api/v1/runs/{root}/metadata"), json!({ "operations": [{ "type": "fly" }] })).await;
    assert!(bad.error(400).starts_with("Invalid body: "));
}

#[tokio::test]
async fn metadata_of_several_runs_change_together_or_not_at_all() {
    let app = with_echo().await;
    let metadata = json!({ "n": 1, "word": "x" });
    let root = app.trigger_with("echo", json!(1), json!({ "delay": "1h", "metadata": metadata.clone() })).await;
    let child = json!({ "delay": "1h", "parentRunId": root, "metadata": metadata.clone() });
    let child = app.trigger_with("echo", json!(2), child).await;
    let grandchild = json!({ "delay": "1h", "parentRunId": child, "metadata": metadata.clone() });
    let grandchild = app.trigger_with("echo", json!(3), grandchild).await;
    let path = format!("/api/v1/runs/{grandchild}/metadata");
    let add = |key: &str| json!([{ "type": "increment", "key": key, "value": 1 }]);
    let large = json!([{ "type": "set", "key": "k", "value": "x".repeat(256 * 1_024) }]);
    for (bad, status) in [(add("word"), 422), (large, 413)] {
        let body = json!({ "operations": add("n"), "parentOperations": add("n"), "rootOperations": bad });
        put(&app, &path, body).await.error(status);
        for run in [&root, &child, &grandchild] {
            assert_eq!(app.run(run).await["metadata"], metadata, "{status}");
        }
    }

    // Many at once, of which each finds that another has changed what it was to change.
    let all = json!({ "operations": add("n"), "parentOperations": add("n"), "rootOperations": add("n") });
    let (app, path) = (std::sync::Arc::new(app), std::sync::Arc::new(path));
    let requests: Vec<_> = (0..8)
        .map(|_| {
            let (app, path, all) = (app.clone(), path.clone(), all.clone());
            tokio::spawn(async move { while put(&app, &path, all.clone()).await.status == 409 {} })
        })
        .collect();
    for request in requests {
        request.await.unwrap();
    }
    for run in [&root, &child, &grandchild] {
        assert_eq!(app.run(run).await["metadata"]["n"], json!(9));
    }
    // Of a run without parents, all three are its own.
    let alone = put(&app, &format!("/api/v1/runs/{root}/metadata"), all).await.ok();
    assert_eq!(alone["metadata"]["n"], json!(12));
}

#[tokio::test]
async fn runs_below_a_run_are_shown_with_it_and_canceled_with_it() {
    let app = with_echo().await;
    let root = app.trigger_with("echo", json!(1), json!({ "delay": "1h", "test": true })).await;
    let child = app.trigger_with("echo", json!(2), json!({ "delay": "1h", "parentRunId": root })).await;
    let grandchild = app.trigger_with("echo", json!(3), json!({ "delay": "1h", "parentRunId": child })).await;

    let shown = app.run(&grandchild).await;
    assert_eq!((&shown["depth"], &shown["isTest"]), (&json!(2), &json!(true)));
    assert_eq!(shown["relatedRuns"]["root"]["id"], json!(root));
    assert_eq!(shown["relatedRuns"]["parent"]["id"], json!(child));
    assert_eq!(app.run(&root).await["relatedRuns"]["children"][0]["id"], json!(child));

    app.post_empty(&format!("/api/v2/runs/{root}/cancel")).await.ok();

    for run in [&root, &child, &grandchild] {
        assert_eq!(app.run(run).await["status"], "CANCELED");
    }
    let nobody = json!({ "payload": 1, "options": { "parentRunId": "run_00000000000000000000000001" } });
    assert!(app.post("/api/v1/tasks/echo/trigger", nobody).await.error(422).contains("`parentRunId`"));
}

#[tokio::test]
async fn children_of_a_replay_know_that_they_belong_to_one() {
    let app = with_echo().await;
    let first = app.trigger("echo", json!(1)).await;
    app.finished(&first).await;
    let replay = app.replay(&first).await;
    let child = app.trigger_with("echo", json!(2), json!({ "parentRunId": replay })).await;
    assert_eq!(app.finished(&child).await["isReplay"], true);
}

#[tokio::test]
async fn an_idempotency_key_is_freed() {
    let app = with_echo().await;
    let key = json!({ "idempotencyKey": "k" });
    let first = app.trigger_with("echo", json!(1), key.clone()).await;
    assert_eq!(app.trigger_with("echo", json!(1), key.clone()).await, first);
    let reset = app.post("/api/v1/idempotencyKeys/k/reset", json!({ "taskIdentifier": "echo" })).await.ok();
    assert_eq!(reset, json!({ "id": "k" }));
    assert_ne!(app.trigger_with("echo", json!(1), key).await, first);
    let gone = app.post("/api/v1/idempotencyKeys/nobody/reset", json!({ "taskIdentifier": "echo" })).await;
    assert!(gone.error(404).starts_with("No runs found with idempotency key: nobody"));
}

#[tokio::test]
async fn runs_are_found_by_everything_that_can_be_filtered() {
    let app = with_echo().await;
    let options = json!({ "queue": { "name": "q/1" }, "machine": "micro", "tags": ["x", "y"], "test": true });
    let run = app.trigger_with("echo", json!(1), options).await;
    let version = app.finished(&run).await["version"].as_str().unwrap().to_owned();
    let plain = app.trigger("echo", json!(2)).await;
    app.finished(&plain).await;
    for filter in [
        "filter[queue]=q/1".to_owned(),
        "filter[queue]=q/1,other&filter[status]=COMPLETED".into(),
        "filter[machine]=micro".into(),
        "filter[tag]=x,y".into(),
        "filter[tag]=x&filter[taskIdentifier]=echo&filter[isTest]=true".into(),
        "filter[isTest]=true".into(),
        format!("filter[version]={version}&filter[tag]=x"),
    ] {
        let found = app.get(&format!("/api/v1/runs?{filter}")).await.ok();
        let ids: Vec<_> = found["data"].as_array().unwrap().iter().map(|run| run["id"].clone()).collect();
        assert_eq!(ids, [json!(run)], "{filter}");
    }
    for (filter, count) in [
        (format!("filter[version]={version}"), 2),
        ("filter[queue]=task/echo".into(), 1),
        ("filter[version]=20200101.1".into(), 0),
        ("filter[isTest]=false".into(), 1),
        ("filter[batch]=batch_00000000000000000000000001".into(), 0),
    ] {
        let found = app.get(&format!("/api/v1/runs?{filter}")).await.ok();
        assert_eq!(found["data"].as_array().unwrap().len(), count, "{filter}");
    }
    assert!(app.get("/api/v1/runs?filter[batch]=7").await.error(400).starts_with("Query Error: filter[batch]"));
}
