//! Batches: announced, sent line by line, and what becomes of their items when a sender is cut off,
//! comes twice, or sends what cannot be run.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use dacapo::config::ServerArgs;
use dacapo::model::limits::{MAX_BATCH_ITEM_BYTES, MAX_BATCH_RESULTS_BYTES};
use dacapo::model::task::{QueueDefinition, TaskDefinition};
use dacapo::sandbox::scripted::ScriptedSandbox;
use dacapo_tests::guests;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Answer, PATIENCE, TestApp};

async fn with_echo() -> TestApp {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    app
}

/// Announces a batch and answers with its id.
async fn announce(app: &TestApp, count: usize) -> String {
    let receipt = app.post("/api/v3/batches", json!({ "runCount": count })).await;
    assert_eq!(receipt.status, 202, "{}", receipt.json);
    let receipt = receipt.ok();
    assert_eq!((&receipt["runCount"], &receipt["isCached"]), (&json!(count), &json!(false)));
    text(&receipt["id"]).to_owned()
}

/// The line of an item that echoes its number.
fn item(index: usize) -> String {
    line(&json!({ "index": index, "task": "echo", "payload": { "n": index } }))
}

fn items(count: usize) -> String {
    (0..count).map(item).collect()
}

fn line(item: &Value) -> String {
    format!("{item}\n")
}

async fn send_as(app: &TestApp, key: &str, batch: &str, lines: impl Into<Body>) -> Answer {
    let request = Request::post(format!("/api/v3/batches/{batch}/items"));
    app.send(key, request.header("content-type", "application/x-ndjson"), lines).await
}

async fn send(app: &TestApp, batch: &str, lines: impl Into<Body>) -> Answer {
    send_as(app, &app.key, batch, lines).await
}

async fn retrieve(app: &TestApp, batch: &str) -> Value {
    app.get(&format!("/api/v2/batches/{batch}")).await.ok()
}

/// The runs of a batch, once all of them have ended.
async fn ended(app: &TestApp, batch: &str) -> Vec<Value> {
    let mut runs = Vec::new();
    for run in texts(&retrieve(app, batch).await["runs"]) {
        runs.push(app.finished(&run).await);
    }
    runs
}

#[track_caller]
fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

#[track_caller]
fn texts(value: &Value) -> Vec<String> {
    value.as_array().expect("a list").iter().map(|value| text(value).to_owned()).collect()
}

#[tokio::test]
async fn a_batch_is_announced_then_sent_and_its_runs_are_listed() {
    let app = with_echo().await;
    let batch = announce(&app, 3).await;
    let empty = retrieve(&app, &batch).await;
    assert_eq!((&empty["status"], &empty["runs"]), (&json!("PENDING"), &json!([])));

    let sent = send(&app, &batch, items(3)).await.ok();

    assert_eq!(sent, json!({ "id": batch, "itemsAccepted": 3, "itemsDeduplicated": 0, "sealed": true }));
    let runs = ended(&app, &batch).await;
    let echoed: Vec<&Value> = runs.iter().map(|run| &run["output"]["payload"]["n"]).collect();
    assert_eq!(echoed, [0, 1, 2], "in the order of the items");
    let whole = retrieve(&app, &batch).await;
    assert_eq!((&whole["status"], &whole["runCount"]), (&json!("COMPLETED"), &json!(3)));
    assert_eq!(whole["processing"]["errors"], json!([]));
    assert!(whole["processing"]["completedAt"].is_string() && whole.get("idempotencyKey").is_none(), "{whole}");
    let mut listed: Vec<Value> = app.get(&format!("/api/v1/runs?filter[batch]={batch}")).await.ok()["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["id"].clone())
        .collect();
    listed.reverse();
    assert_eq!(json!(listed), whole["runs"], "the list has the newest first");
    let results = app.get(&format!("/api/v1/batches/{batch}/results")).await.ok();
    assert_eq!(results["id"], json!(batch));
    for (n, result) in results["items"].as_array().unwrap().iter().enumerate() {
        assert_eq!((&result["ok"], &result["id"]), (&json!(true), &whole["runs"][n]));
        let output: Value = serde_json::from_str(text(&result["output"])).unwrap();
        assert_eq!(output["payload"]["n"], n);
    }
    assert_eq!(results["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn the_runs_of_a_batch_start_in_the_order_of_its_items() {
    const COUNT: usize = 300;
    let mut one_by_one = TaskDefinition::new("t");
    one_by_one.queue = Some(QueueDefinition { name: "line".into(), concurrency_limit: Some(1) });
    let sandbox = Arc::new(ScriptedSandbox::new(vec![one_by_one]));
    let app = TestApp::start_sandboxed(ServerArgs::default(), Some(sandbox.clone())).await;
    app.upload("scripted", b"any bytes", "").await.ok();
    let batch = announce(&app, COUNT).await;
    let lines: String = (0..COUNT).map(|n| line(&json!({ "index": n, "task": "t", "payload": n }))).collect();

    send(&app, &batch, lines).await.ok();

    sandbox.called(COUNT).await;
    let order: Vec<String> = sandbox.seen().into_iter().map(|seen| seen.payload).collect();
    assert_eq!(order, (0..COUNT).map(|n| n.to_string()).collect::<Vec<_>>());
    ended(&app, &batch).await;
}

#[tokio::test]
async fn a_batch_that_is_cut_off_is_sent_again_and_makes_each_run_once() {
    let app = with_echo().await;
    let batch = announce(&app, 4).await;
    let mut connection = TcpStream::connect(app.app().address()).await.unwrap();
    let head = format!(
        "POST /api/v3/batches/{batch}/items HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {}\r\n\
         content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n",
        app.key
    );
    // Two items, and the third without its end.
    let part = format!("{}{}{}", item(0), item(1), &item(2)[..10]);
    connection.write_all(format!("{head}{:x}\r\n{part}\r\n", part.len()).as_bytes()).await.unwrap();
    let before = arrived(&app, &batch, 2).await;
    drop(connection);
    assert_eq!(retrieve(&app, &batch).await["status"], "PENDING");

    let sent = send(&app, &batch, items(4)).await.ok();

    assert_eq!(sent, json!({ "id": batch, "itemsAccepted": 2, "itemsDeduplicated": 2, "sealed": true }));
    let runs = texts(&retrieve(&app, &batch).await["runs"]);
    assert_eq!(runs.len(), 4);
    assert_eq!(runs[..2], before, "the runs of the first try stand");
    ended(&app, &batch).await;
    assert_eq!(app.get("/api/v1/runs?page[size]=100").await.ok()["data"].as_array().unwrap().len(), 4);
    let again = send(&app, &batch, items(4)).await.ok();
    assert_eq!((&again["sealed"], &again["itemsAccepted"]), (&json!(true), &json!(0)));
}

/// The runs of a batch that is being sent, once there are so many.
async fn arrived(app: &TestApp, batch: &str, count: usize) -> Vec<String> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let runs = texts(&retrieve(app, batch).await["runs"]);
        if runs.len() == count {
            return runs;
        }
        assert!(tokio::time::Instant::now() < deadline, "only {} items have arrived", runs.len());
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_batch_of_which_items_are_missing_is_not_sealed() {
    let app = with_echo().await;
    let batch = announce(&app, 3).await;

    // An item that stands twice is one; blank lines are none.
    let sent = send(&app, &batch, format!("\n{}\n{}{}", item(0), item(2), item(0))).await.ok();

    let expected = json!({
        "id": batch, "itemsAccepted": 2, "itemsDeduplicated": 1, "sealed": false, "enqueuedCount": 2, "expectedCount": 3
    });
    assert_eq!(sent, expected);
    // The last line needs no end.
    let rest = send(&app, &batch, item(1).trim_end().to_owned()).await.ok();
    assert_eq!((&rest["itemsAccepted"], &rest["sealed"]), (&json!(1), &json!(true)));
    let runs = ended(&app, &batch).await;
    let echoed: Vec<&Value> = runs.iter().map(|run| &run["output"]["payload"]["n"]).collect();
    assert_eq!(echoed, [0, 1, 2], "in the order of the items, whenever they came");
}

#[tokio::test]
async fn two_senders_of_one_batch_make_each_run_once() {
    let app = with_echo().await;
    let batch = announce(&app, 50).await;

    let (one, other) = tokio::join!(send(&app, &batch, items(50)), send(&app, &batch, items(50)));

    let (one, other) = (one.ok(), other.ok());
    let accepted = |sent: &Value| sent["itemsAccepted"].as_u64().unwrap();
    assert_eq!(accepted(&one) + accepted(&other), 50, "{one} {other}");
    assert_eq!((&one["sealed"], &other["sealed"]), (&json!(true), &json!(true)));
    ended(&app, &batch).await;
    let listed = app.get("/api/v1/runs?page[size]=100").await.ok();
    assert_eq!(listed["data"].as_array().unwrap().len(), 50);
}

#[tokio::test]
async fn what_is_not_a_batch_is_refused() {
    let app = with_echo().await;
    let bad_count = "`runCount` must be 1 to 1000";
    for count in [0, 1001] {
        assert_eq!(app.post("/api/v3/batches", json!({ "runCount": count })).await.error(400), bad_count);
    }
    let body = json!({ "runCount": 1, "idempotencyKey": "" });
    assert_eq!(app.post("/api/v3/batches", body).await.error(400), "`idempotencyKey` must have 1 to 2048 characters");
    let nobody = json!({ "runCount": 1, "parentRunId": "run_00000000000000000000000001" });
    let error = app.post("/api/v3/batches", nobody).await.error(422);
    assert!(error.contains("`parentRunId` names does not exist"), "{error}");
    assert_eq!(send(&app, "batch_00000000000000000000000001", item(0)).await.error(422), "Batch not found");
    assert_eq!(app.get("/api/v2/batches/nothing").await.error(404), "Batch not found");
}

#[tokio::test]
async fn what_are_not_items_is_refused_and_what_came_before_stands() {
    let app = with_echo().await;
    let batch = announce(&app, 2).await;
    let path = format!("/api/v3/batches/{batch}/items");
    let json_body = Request::post(&path).header("content-type", "application/json");
    let untyped = app.send(&app.key, json_body, items(2)).await.error(415);
    assert_eq!(untyped, "the content type must be application/x-ndjson");
    let beyond = send(&app, &batch, item(2)).await.error(422);
    assert_eq!(beyond, "`index` 2 is not below `runCount`, which is 2");
    let broken = send(&app, &batch, format!("{}{{\"index\":1,\n", item(0))).await.error(400);
    assert!(broken.starts_with("Invalid JSON in line 2: "), "{broken}");
    for (bad, expected) in [
        ("[0,\"echo\"]", "line 1 is not an item: it must be an object"),
        ("{\"task\":\"echo\"}", "line 1 is not an item: missing field `index`"),
        ("{\"index\":-1,\"task\":\"echo\"}", "line 1 is not an item: invalid value"),
    ] {
        let error = send(&app, &batch, bad).await.error(422);
        assert!(error.starts_with(expected), "{error}");
    }
    let many: String = std::iter::repeat_n(item(0), 1_001).collect();
    assert_eq!(send(&app, &batch, many).await.error(422), "a batch has 1000 items at most");
    let pending = retrieve(&app, &batch).await;
    assert_eq!((&pending["status"], texts(&pending["runs"]).len()), (&json!("PENDING"), 1));

    let sent = send(&app, &batch, items(2)).await.ok();

    assert_eq!((&sent["itemsAccepted"], &sent["sealed"]), (&json!(1), &json!(true)));
    ended(&app, &batch).await;
}

#[tokio::test]
async fn items_that_cannot_run_fail_for_themselves() {
    let app = with_echo().await;
    let batch = announce(&app, 4).await;
    let long = "x".repeat(MAX_BATCH_ITEM_BYTES);
    let lines = [
        item(0),
        // As the client orders it: what stands behind the payload is not looked for.
        format!(r#"{{"index":1,"task":"echo","payload":"{long}"}}"#) + "\n",
        line(&json!({ "index": 2, "task": "echo", "options": { "lockToVersion": "20200101.1" } })),
        item(3),
    ];

    let sent = send(&app, &batch, lines.concat()).await.ok();

    assert_eq!((&sent["itemsAccepted"], &sent["sealed"]), (&json!(4), &json!(true)));
    assert_eq!(ended(&app, &batch).await.len(), 2);
    let whole = retrieve(&app, &batch).await;
    assert_eq!(whole["status"], "PARTIAL_FAILED");
    let too_large = format!("the item is longer than {MAX_BATCH_ITEM_BYTES} bytes");
    let unknown = "version `20200101.1` does not exist in this environment";
    assert_eq!(
        whole["processing"]["errors"],
        json!([
            { "index": 1, "taskIdentifier": "echo", "error": too_large, "errorCode": "PAYLOAD_TOO_LARGE" },
            { "index": 2, "taskIdentifier": "echo", "error": unknown, "errorCode": "BATCH_ITEM_COULD_NOT_TRIGGER" },
        ])
    );
}

#[tokio::test]
async fn a_batch_without_any_run_is_aborted() {
    let app = with_echo().await;
    let batch = announce(&app, 2).await;
    let bad = |index: u32| line(&json!({ "index": index, "task": "echo", "options": { "maxAttempts": 0 } }));

    send(&app, &batch, format!("{}{}", bad(0), bad(1))).await.ok();

    let aborted = retrieve(&app, &batch).await;
    assert_eq!((&aborted["status"], &aborted["runs"]), (&json!("ABORTED"), &json!([])));
    assert_eq!(aborted["processing"]["errors"].as_array().unwrap().len(), 2);
    assert_eq!(app.get(&format!("/api/v1/batches/{batch}/results")).await.ok()["items"], json!([]));
}

#[tokio::test]
async fn a_full_queue_fails_no_item_but_asks_to_send_again() {
    let app = TestApp::start_with(ServerArgs { max_waiting_runs: Some(3), ..ServerArgs::default() }).await;
    let batch = announce(&app, 5).await;

    let full = send(&app, &batch, items(5)).await;

    assert_eq!((full.status.as_u16(), &full.json["code"]), (429, &json!("queue_full")), "{}", full.json);
    let pending = retrieve(&app, &batch).await;
    assert_eq!((&pending["status"], &pending["processing"]["errors"]), (&json!("PENDING"), &json!([])));
    assert_eq!(texts(&pending["runs"]).len(), 3);
    app.deploy(guests::ECHO_V1).await;
    ended(&app, &batch).await;
    let sent = send(&app, &batch, items(5)).await.ok();
    assert_eq!(sent, json!({ "id": batch, "itemsAccepted": 2, "itemsDeduplicated": 3, "sealed": true }));
    assert_eq!(ended(&app, &batch).await.len(), 5);
}

#[tokio::test]
async fn a_key_finds_the_batch_that_was_announced_with_it() {
    let app = with_echo().await;
    let announced = json!({ "runCount": 2, "idempotencyKey": "nightly" });
    let first = app.post("/api/v3/batches", announced.clone()).await.ok();
    assert_eq!((&first["isCached"], &first["idempotencyKey"]), (&json!(false), &json!("nightly")));
    // The first sender has gone before the end: the second may come to it.
    let second = app.post("/api/v3/batches", announced.clone()).await.ok();
    assert_eq!((&second["id"], &second["isCached"]), (&first["id"], &json!(false)));
    let other_count = json!({ "runCount": 3, "idempotencyKey": "nightly" });
    let error = app.post("/api/v3/batches", other_count).await.error(422);
    assert!(error.contains("another `runCount`"), "{error}");
    let batch = text(&first["id"]);
    send(&app, batch, items(2)).await.ok();

    let third = app.post("/api/v3/batches", announced.clone()).await.ok();

    assert_eq!((&third["id"], &third["isCached"], &third["runCount"]), (&first["id"], &json!(true), &json!(2)));
    assert_eq!(retrieve(&app, batch).await["idempotencyKey"], "nightly");
    ended(&app, batch).await;
    // A key counts for 30 days.
    app.app().advance(std::time::Duration::from_secs(31 * 86_400));
    let later = app.post("/api/v3/batches", announced).await.ok();
    assert_eq!(later["isCached"], false);
    assert_ne!(later["id"], first["id"]);
}

#[tokio::test]
async fn an_item_whose_key_names_a_run_shares_it() {
    let app = with_echo().await;
    let older = app.trigger_with("echo", json!("older"), json!({ "idempotencyKey": "k" })).await;
    let batch = announce(&app, 2).await;
    let keyed = |index: u32| line(&json!({ "index": index, "task": "echo", "options": { "idempotencyKey": "k" } }));

    let sent = send(&app, &batch, format!("{}{}", keyed(0), keyed(1))).await.ok();

    assert_eq!((&sent["itemsAccepted"], &sent["sealed"]), (&json!(2), &json!(true)));
    app.finished(&older).await;
    let whole = retrieve(&app, &batch).await;
    assert_eq!(whole["runs"], json!([older, older]));
    assert_eq!(whole["status"], "COMPLETED");
}

#[tokio::test]
async fn a_run_that_triggers_a_batch_is_the_parent_of_its_runs() {
    let app = with_echo().await;
    let parent = app.call("echo", json!("parent")).await;
    let body = json!({ "runCount": 1, "parentRunId": parent["id"] });
    let batch = app.post("/api/v3/batches", body).await.ok()["id"].take();

    send(&app, text(&batch), items(1)).await.ok();

    let run = ended(&app, text(&batch)).await.remove(0);
    assert_eq!(run["relatedRuns"]["parent"]["id"], parent["id"], "{run}");
}

#[tokio::test]
async fn a_batch_belongs_to_its_environment() {
    let app = with_echo().await;
    let staging = app.admin("POST", "/admin/v1/keys", json!({ "environment": "stg" })).await.ok()["key"].take();
    let staging = text(&staging);
    let batch = announce(&app, 1).await;
    for path in [format!("/api/v2/batches/{batch}"), format!("/api/v1/batches/{batch}/results")] {
        assert_eq!(app.send(staging, Request::get(path), Body::empty()).await.error(404), "Batch not found");
    }
    assert_eq!(send_as(&app, staging, &batch, item(0)).await.error(422), "Batch not found");
    assert_eq!(send_as(&app, "tr_dev_nobody", &batch, item(0)).await.status, 401);
    assert_eq!(retrieve(&app, &batch).await["runs"], json!([]));
}

#[tokio::test]
async fn results_that_are_too_large_together_are_refused() {
    let app = TestApp::start().await;
    app.deploy(guests::HUGE_OUTPUT).await;
    let bytes = 9 << 20;
    let count = MAX_BATCH_RESULTS_BYTES / bytes + 1;
    let batch = announce(&app, count).await;
    let item = |n: usize| line(&json!({ "index": n, "task": "huge-output", "payload": { "bytes": bytes } }));
    send(&app, &batch, (0..count).map(item).collect::<String>()).await.ok();
    for run in texts(&retrieve(&app, &batch).await["runs"]) {
        app.get(&format!("/api/v1/runs/{run}/result?wait=60s")).await.ok();
    }

    let error = app.get(&format!("/api/v1/batches/{batch}/results")).await.error(422);

    assert!(error.contains("larger than 64 MiB together"), "{error}");
}

#[tokio::test]
async fn an_answer_reaches_a_sender_that_is_refused_in_the_middle() {
    let app = with_echo().await;
    let batch = announce(&app, 2).await;
    let mut connection = TcpStream::connect(app.app().address()).await.unwrap();
    let body = format!("{}{}{}", item(0), item(7), "\n".repeat(4 << 20));
    let head = format!(
        "POST /api/v3/batches/{batch}/items HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
         content-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
        app.key,
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(body.as_bytes()).await.expect("the whole body is taken");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 422 ") && answer.contains("`index` 7"), "{answer}");
}
