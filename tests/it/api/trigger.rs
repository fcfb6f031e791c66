//! Triggering: keys that find older runs, options, payloads, and waiting for the result.

use std::collections::HashSet;
use std::time::Duration;

use axum::http::Request;
use dacapo_tests::guests;
use serde_json::{Value, json};

use super::{id, trigger, with_echo};
use crate::harness::TestApp;

#[tokio::test]
async fn an_idempotency_key_finds_the_first_run() {
    let app = with_echo().await;
    let options = json!({
        "idempotencyKey": "0123abcd",
        "idempotencyKeyOptions": { "key": "order-7", "scope": "global" },
    });
    let first = trigger(&app, json!({ "payload": 1, "options": options })).await.ok();
    assert_eq!(first["isCached"], false);
    let second = trigger(&app, json!({ "payload": 2, "options": options })).await.ok();
    assert_eq!(second, json!({ "id": first["id"], "isCached": true }));
    let run = app.finished(&id(&first)).await;
    assert_eq!(run["payload"], 1, "{run}");
    assert_eq!(run["idempotencyKey"], "order-7", "the author's own key is shown");
    let third = trigger(&app, json!({ "payload": 3, "options": options })).await.ok();
    assert_eq!(third["id"], first["id"], "a completed run keeps its key");
    let other_task = app.post("/api/v1/tasks/other/trigger", json!({ "options": options })).await.ok();
    assert_ne!(other_task["id"], first["id"], "a key belongs to a task");
    let other = trigger(&app, json!({ "options": { "idempotencyKey": "another" } })).await.ok();
    assert_ne!(other["id"], first["id"]);
}

#[tokio::test]
async fn a_failed_run_frees_its_idempotency_key_and_a_canceled_one_keeps_it() {
    let app = TestApp::start().await;
    app.deploy(guests::FAIL).await;
    let options = json!({ "idempotencyKey": "k", "maxAttempts": 1 });
    let failed = app.trigger_with("fail", json!({}), options.clone()).await;
    assert_eq!(app.finished(&failed).await["status"], "FAILED");
    let again = app.post("/api/v1/tasks/fail/trigger", json!({ "payload": {}, "options": options })).await.ok();
    assert_eq!(again["isCached"], false);
    assert_ne!(again["id"], failed);

    let options = json!({ "idempotencyKey": "c", "delay": "1h" });
    let canceled = app.trigger_with("fail", json!({}), options.clone()).await;
    app.post_empty(&format!("/api/v2/runs/{canceled}/cancel")).await.ok();
    let again = app.post("/api/v1/tasks/fail/trigger", json!({ "payload": {}, "options": options })).await.ok();
    assert_eq!(again, json!({ "id": canceled, "isCached": true }));
}

#[tokio::test]
async fn an_idempotency_key_counts_until_its_ttl_has_passed() {
    let app = with_echo().await;
    let body = json!({ "payload": 1, "options": { "idempotencyKey": "k", "idempotencyKeyTTL": "60s" } });
    let first = trigger(&app, body.clone()).await.ok();
    app.finished(&id(&first)).await;
    app.app().advance(Duration::from_secs(50));
    assert_eq!(trigger(&app, body.clone()).await.ok()["id"], first["id"]);
    app.app().advance(Duration::from_secs(11));
    let second = trigger(&app, body).await.ok();
    assert_eq!(second["isCached"], false);
    assert_ne!(second["id"], first["id"]);
}

#[tokio::test]
async fn a_request_that_is_sent_again_finds_its_run() {
    let app = with_echo().await;
    let send = async |path: &str, uuid: &str| {
        let request = Request::post(path).header("x-trigger-request-idempotency-key", uuid);
        app.send(&app.key, request, "{}").await.ok()
    };
    let path = "/api/v1/tasks/echo/trigger";
    let first = send(path, "5f0c6f7e").await;
    let again = send(path, "5f0c6f7e").await;
    assert_eq!(again, json!({ "id": first["id"], "isCached": false }), "the answer of the first try");
    assert_ne!(send(path, "another").await["id"], first["id"]);
    let replay = format!("/api/v1/runs/{}/replay", id(&first));
    let one = send(&replay, "a-replay").await;
    assert_ne!(one["id"], first["id"]);
    assert_eq!(send(&replay, "a-replay").await["id"], one["id"]);
}

#[tokio::test]
async fn tags_and_metadata_are_kept() {
    let app = with_echo().await;
    let tags: Vec<String> = (0..10).rev().map(|n| format!("tag-{n}")).collect();
    let metadata = json!({ "order": { "n": 1 }, "text": "ü" });
    let run = app.trigger_with("echo", json!(1), json!({ "tags": tags, "metadata": metadata })).await;
    let run = app.run(&run).await;
    let mut sorted = tags.clone();
    sorted.sort();
    assert_eq!(run["tags"], json!(sorted));
    assert_eq!(run["metadata"], metadata);
    let run = app.trigger_with("echo", json!(1), json!({ "tags": "only" })).await;
    assert_eq!(app.run(&run).await["tags"], json!(["only"]));
    let run = app.trigger_with("echo", json!(1), json!({ "tags": ["", "x"] })).await;
    assert_eq!(app.run(&run).await["tags"], json!(["x"]), "empty tags are dropped");
}

#[tokio::test]
async fn an_option_that_cannot_be_is_refused_with_the_reason() {
    let app = with_echo().await;
    let eleven: Vec<String> = (0..11).map(|n| n.to_string()).collect();
    let long = "x".repeat(129);
    let big = "x".repeat(256 * 1024);
    let deep = (0..32).fold(json!(1), |inner, _| json!({ "a": inner }));
    let deep = json!({ "a": deep });
    for (options, status, text) in [
        (json!({ "tags": eleven }), 422, "a run can have 10 tags at most"),
        (json!({ "tags": [long] }), 422, "a tag must have 1 to 128 characters"),
        (json!({ "tags": 7 }), 400, "Invalid body: what is here must be a string or a list of strings"),
        (json!({ "metadata": { "big": big } }), 422, "metadata is larger than 256 KiB"),
        (json!({ "metadata": [1] }), 400, "`metadata` must be an object"),
        (json!({ "maxAttempts": 0 }), 422, "maxAttempts must be a whole number from 1 to 1000"),
        (json!({ "maxAttempts": 1001 }), 422, "maxAttempts must be"),
        (json!({ "maxAttempts": -1 }), 400, "Invalid body: "),
        (json!({ "maxDuration": 0 }), 422, "maxDuration must be 1 to 86400 seconds"),
        (json!({ "maxDuration": 1e9 }), 422, "maxDuration must be"),
        (json!({ "machine": "huge" }), 400, "`machine`: "),
        (json!({ "delay": "soon" }), 400, "`delay` must be a duration such as `10m`"),
        (json!({ "delay": "367d" }), 422, "a delay can be 366 days at most"),
        (json!({ "delay": "2026-02-30" }), 400, "`delay` must be a duration such as `10m`, or a date"),
        (json!({ "delay": "2026-02-03T10:00[Mars/Dome]" }), 400, "`delay` must be a duration"),
        (json!({ "ttl": "soon" }), 400, "`ttl`: `soon` is not a duration"),
        (json!({ "ttl": -1 }), 400, "Invalid body: a ttl must be a duration such as `10m`, or whole seconds"),
        (json!({ "idempotencyKey": "" }), 422, "an idempotency key must have 1 to 2048 characters"),
        (json!({ "idempotencyKey": "k", "idempotencyKeyTTL": "x" }), 400, "`idempotencyKeyTTL`: `x` is not"),
        (json!({ "queue": { "name": "! ?" } }), 422, "a queue's name must have at least one of the characters"),
        (json!({ "queue": { "name": "" } }), 422, "a queue's name"),
        (json!({ "queue": "q" }), 400, "Invalid body: invalid type: string \"q\", expected an object at line 1"),
        (json!({ "concurrencyKey": [] }), 400, "`concurrencyKey` must be a string or a number"),
        (json!({ "concurrencyKey": "k".repeat(513) }), 422, "a concurrency key can have 512 characters at most"),
        (json!({ "metadata": deep }), 422, "metadata can have 32 levels of objects and lists at most"),
        (json!({ "debounce": { "key": "k", "delay": "soon" } }), 422, "debounce.delay: "),
        (
            json!({ "debounce": { "key": "k", "delay": "5s", "maxDelay": "5s" } }),
            422,
            "debounce.maxDelay must be longer than debounce.delay",
        ),
        (json!({ "externalDeploymentId": "" }), 422, "externalDeploymentId must have 1 to 128 characters"),
        (json!({ "concurrency": ["one-per-user"] }), 422, "concurrency is not offered yet"),
        (json!({ "gates": [{ "queue": "q" }] }), 422, "gates is not offered yet"),
        (json!({ "lockToVersion": "20200101.1" }), 422, "version `20200101.1` does not exist in this environment"),
        (json!({ "lockToVersion": "newest" }), 422, "version `newest` does not exist"),
        (json!({ "payloadType": "image/png" }), 400, "`payloadType` must be one of application/json"),
        (json!({ "payloadType": "application/store" }), 422, "no packet was uploaded as `p`"),
    ] {
        let answer = trigger(&app, json!({ "payload": "p", "options": options })).await;
        let found = answer.error(status);
        assert!(found.starts_with(text), "{options}: {found}");
    }
    let long = "t".repeat(129);
    let answer = app.post(&format!("/api/v1/tasks/{long}/trigger"), json!({})).await;
    assert!(answer.error(422).starts_with("a task id must have 1 to 128 characters"));
    assert_eq!(app.get("/api/v1/runs").await.ok()["data"].as_array().unwrap().len(), 0, "refused is not stored");
}

#[tokio::test]
async fn options_that_ask_for_nothing_here_are_taken() {
    let app = with_echo().await;
    let version = app.call("echo", json!(1)).await["version"].clone();
    for options in [
        json!({ "region": "eu-central-1" }),
        json!({ "concurrency": [], "gates": [] }),
        json!({ "externalDeploymentId": "abc", "lockToVersion": version }),
    ] {
        let run = app.trigger_with("echo", json!(1), options.clone()).await;
        assert_eq!(app.finished(&run).await["status"], "COMPLETED", "{options}");
    }
}

#[tokio::test]
async fn a_path_that_is_too_deep_is_refused_and_loses_nothing() {
    let app = TestApp::start().await;
    app.deploy(guests::META).await;
    let set = |key: &str, value: Value| json!({ "op": "set", "key": key, "value": value });
    let deep = format!("${}", ".a".repeat(2_040));
    let ops = [set("$.first.of", json!(1)), set(&deep, json!(2)), set("last", json!(3))];
    let run = app.call("meta", json!(ops)).await;
    let expected = json!({ "first": { "of": 1 }, "last": 3 });
    assert_eq!(run["output"]["all"], expected, "{run}");
    let refusal = run["output"]["results"][1]["error"].as_str().expect("the second change is refused");
    assert!(refusal.contains("metadata can have 32 levels of objects and lists at most"), "{refusal}");
    assert_eq!(run["metadata"], expected);
}

#[tokio::test]
async fn a_task_id_may_have_characters_that_a_path_must_escape() {
    let app = TestApp::start().await;
    let receipt = app.post("/api/v1/tasks/my%2Ftask%20%C3%BC/trigger", json!({})).await.ok();
    assert_eq!(app.run(&id(&receipt)).await["taskIdentifier"], "my/task ü");
}

#[tokio::test]
async fn every_kind_of_payload_reaches_the_task_as_plain_json() {
    let app = with_echo().await;
    let dated = r#"{"json":{"d":"1970-01-01T00:00:00.000Z"},"meta":{"values":{"d":["Date"]}}}"#;
    let superjson = json!({ "payloadType": "application/super+json" });
    let text = json!({ "payloadType": "text/plain" });
    let plain = json!({ "payloadType": "application/json" });
    for (body, expected) in [
        (json!({ "payload": { "a": [1, null, "x"] } }), json!({ "a": [1, null, "x"] })),
        (json!({ "payload": "text" }), json!("text")),
        (json!({ "payload": 1.5, "options": {} }), json!(1.5)),
        (json!({ "payload": "{\"b\": 2}", "options": plain }), json!({ "b": 2 })),
        (json!({ "payload": dated, "options": superjson }), json!({ "d": "1970-01-01T00:00:00.000Z" })),
        (json!({ "payload": "{\"json\":5}", "options": superjson }), json!(5)),
        (json!({ "payload": "say \"hi\"", "options": text }), json!("say \"hi\"")),
        (json!({ "payload": "", "options": text }), json!("")),
    ] {
        let receipt = trigger(&app, body.clone()).await.ok();
        let run = app.finished(&id(&receipt)).await;
        assert_eq!(run["status"], "COMPLETED", "{body}: {run}");
        assert_eq!(run["output"]["payload"], expected, "{body}");
        assert_eq!(run["payload"], expected, "{body}");
    }
}

#[tokio::test]
async fn no_payload_is_null_for_the_task_and_absent_in_answers() {
    let app = with_echo().await;
    for body in [json!({}), json!({ "options": { "payloadType": "application/json", "payloadSize": 0 } })] {
        let receipt = trigger(&app, body.clone()).await.ok();
        let run = app.finished(&id(&receipt)).await;
        assert_eq!(run["status"], "COMPLETED", "{body}: {run}");
        assert_eq!(run["output"]["payload"], Value::Null);
        assert!(run.get("payload").is_none(), "{run}");
    }
}

#[tokio::test]
async fn a_payload_that_is_not_what_its_type_says_is_refused() {
    let app = with_echo().await;
    for (payload, format, text) in [
        (json!("{"), "application/json", "the payload is not JSON"),
        (json!(""), "application/json", "the payload is not JSON"),
        (json!("[1]"), "application/super+json", "the payload is not superjson"),
        (json!({ "a": 1 }), "application/json", "with `payloadType`, `payload` must be a string"),
        (json!(5), "text/plain", "with `payloadType`, `payload` must be a string"),
    ] {
        for task in ["echo", "a-task-nobody-has"] {
            let body = json!({ "payload": payload, "options": { "payloadType": format } });
            let answer = app.post(&format!("/api/v1/tasks/{task}/trigger"), body).await;
            assert_eq!(answer.status, 400, "{payload} as {format}: {}", answer.json);
            let found = answer.error(400);
            assert!(found.starts_with(text), "{payload} as {format}: {found}");
        }
    }
}

#[tokio::test]
async fn a_payload_must_fit_the_schema_of_its_task() {
    let app = TestApp::start().await;
    app.deploy(guests::SCHEMA).await;
    assert_eq!(app.call("schema", json!({ "n": 1 })).await["output"], 2);
    let answer = app.post("/api/v1/tasks/schema/trigger", json!({ "payload": { "n": "one" } })).await;
    assert_eq!(answer.json["code"], "payload_rejected", "{answer:?}");
    assert_eq!(answer.json["details"].as_array().map(Vec::len), Some(1));
    let text = answer.error(422);
    assert!(text.starts_with("the payload does not fit the schema of task `schema`: /n: "), "{text}");
    let early = id(&app.call("schema", json!({ "n": 1 })).await);
    let replay = app.post(&format!("/api/v1/runs/{early}/replay"), json!({ "payload": {} })).await;
    assert_eq!(replay.json["code"], "payload_rejected", "a replay is checked as well");
}

#[tokio::test]
async fn a_payload_may_have_ten_mebibytes_and_a_body_eleven() {
    let app = with_echo().await;
    let most = 10 * 1024 * 1024;
    // Two bytes are the quotes.
    let run = app.trigger("echo", json!("x".repeat(most - 2))).await;
    assert_eq!(app.run(&run).await["payload"].as_str().map(str::len), Some(most - 2));
    let answer = trigger(&app, json!({ "payload": "x".repeat(most - 1) })).await;
    assert_eq!(answer.error(422), "the payload is larger than 10 MiB");
    let answer = trigger(&app, json!({ "payload": "x".repeat(11 * 1024 * 1024) })).await;
    assert_eq!(answer.error(413), "Request body too large");
    let answer = app.post("/api/v1/projects/p/envvars/dev", json!({ "name": "A", "value": "x".repeat(1 << 20) })).await;
    assert_eq!(answer.error(413), "Request body too large", "other bodies have a smaller limit");
}

#[tokio::test]
async fn a_trigger_can_wait_for_the_result() {
    let app = with_echo().await;
    app.deploy(guests::SLEEP).await;
    let receipt = app.post("/api/v1/tasks/echo/trigger?wait=60s", json!({ "payload": "now" })).await.ok();
    assert_eq!(receipt["result"]["ok"], true, "{receipt}");
    let output: Value = serde_json::from_str(receipt["result"]["output"].as_str().unwrap()).unwrap();
    assert_eq!(output["payload"], "now");
    assert_eq!(output["ctx"]["runId"], receipt["id"]);

    let body = json!({ "payload": "now", "options": { "idempotencyKey": "k" } });
    let first = app.post("/api/v1/tasks/echo/trigger?wait=60s", body.clone()).await.ok();
    let cached = app.post("/api/v1/tasks/echo/trigger?wait=60s", body).await.ok();
    assert_eq!(cached["isCached"], true);
    assert_eq!(cached["result"], first["result"], "the result of the run that the key named");

    let delayed = json!({ "payload": "later", "options": { "delay": "1h" } });
    let receipt = app.post("/api/v1/tasks/echo/trigger?wait=0s", delayed).await.ok();
    assert!(receipt.get("result").is_none(), "{receipt}");
}

#[tokio::test]
async fn ids_are_distinct_and_ordered_by_time() {
    let app = TestApp::start().await;
    let mut made = Vec::new();
    for n in 0..50 {
        made.push(app.trigger("nobody-has-it", json!(n)).await);
    }
    assert!(made.is_sorted(), "{made:?}");
    assert_eq!(made.iter().collect::<HashSet<_>>().len(), 50);
}
