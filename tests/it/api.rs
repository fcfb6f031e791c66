//! The HTTP API as its callers meet it: who may do what, what is refused and how, what answers
//! look like.

use std::collections::HashSet;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use dacapo::config::ServerArgs;
use dacapo_tests::guests;
use insta::assert_json_snapshot;
use insta::internals::Content;
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

fn cursor<'l>(list: &'l Value, name: &str) -> &'l str {
    list["pagination"][name].as_str().unwrap_or_else(|| panic!("no cursor `{name}`: {}", list["pagination"]))
}

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

#[tokio::test]
async fn nothing_opens_without_a_good_key() {
    let app = TestApp::start().await;
    for (method, path) in [
        ("POST", "/api/v1/tasks/echo/trigger"),
        ("GET", "/api/v1/runs"),
        ("GET", "/api/v3/runs/run_00000000000000000000000007"),
        ("GET", "/api/v1/runs/run_00000000000000000000000007/result"),
        ("GET", "/api/v1/runs/run_00000000000000000000000007/events"),
        ("GET", "/api/v1/runs/run_00000000000000000000000007/logs"),
        ("POST", "/api/v1/runs/run_00000000000000000000000007/replay"),
        ("POST", "/api/v2/runs/run_00000000000000000000000007/cancel"),
        ("GET", "/api/v1/deployments"),
        ("POST", "/api/v1/deployments?name=x"),
        ("GET", "/api/v1/deployments/current"),
        ("POST", "/api/v1/deployments/rollback"),
        ("GET", "/api/v1/projects/p/envvars/dev"),
        ("POST", "/api/v1/projects/p/envvars/dev/import"),
        ("DELETE", "/api/v1/projects/p/envvars/dev/A"),
        ("GET", "/admin/v1/environments"),
        ("PUT", "/admin/v1/environments/dev/egress"),
        ("GET", "/admin/v1/keys"),
        ("POST", "/admin/v1/keys"),
        ("DELETE", "/admin/v1/keys/key_00000000000000000000000007"),
    ] {
        for key in ["", "tr_dev_aaaaaaaaaaaaaaaaaaaaaaaa", &"x".repeat(5_000)] {
            let answer = app.send(key, Request::builder().method(method).uri(path), "{}").await;
            assert_eq!(answer.json["code"], "unauthorized", "{method} {path}: {answer:?}");
            assert_eq!(answer.error(401), UNAUTHORIZED, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_header_that_is_no_bearer_is_no_key() {
    use tower::ServiceExt;
    let app = TestApp::start().await;
    for value in [None, Some(app.key.clone()), Some(format!("Basic {}", app.key)), Some("Bearer".to_owned())] {
        let mut request = Request::get("/api/v1/runs");
        if let Some(value) = &value {
            request = request.header("authorization", value);
        }
        let answer = app.app().router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 401, "{value:?}");
    }
    let lower = Request::get("/api/v1/runs").header("authorization", format!("bearer  {} ", app.key));
    let answer = app.app().router().oneshot(lower.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200, "schemes are not case-sensitive");
}

#[tokio::test]
async fn a_key_sees_only_its_own_environment() {
    let app = with_echo().await;
    let run = id(&app.call("echo", json!(1)).await);
    let staging = id_key(&new_key(&app, "staging").await);
    for path in [
        format!("/api/v3/runs/{run}"),
        format!("/api/v1/runs/{run}/result"),
        format!("/api/v1/runs/{run}/events"),
        format!("/api/v1/runs/{run}/logs"),
    ] {
        assert_eq!(get_with(&app, &staging, &path).await.error(404), "Run not found", "{path}");
    }
    for path in [format!("/api/v2/runs/{run}/cancel"), format!("/api/v1/runs/{run}/replay")] {
        let answer = app.send(&staging, Request::post(&path), Body::empty()).await;
        assert_eq!(answer.error(404), "Run not found", "{path}");
    }
    let list = get_with(&app, &staging, "/api/v1/runs").await.ok();
    assert_eq!(list["data"], json!([]));
    let deployments = get_with(&app, &staging, "/api/v1/deployments").await.ok();
    assert_eq!(deployments["data"], json!([]));
    let variables = get_with(&app, &staging, "/api/v1/projects/p/envvars/dev").await;
    assert_eq!(variables.error(403), "the key belongs to another environment");
}

fn id_key(created: &Value) -> String {
    created["key"].as_str().expect("a key").to_owned()
}

#[tokio::test]
async fn the_admin_key_opens_every_environment_that_a_header_names() {
    let app = with_echo().await;
    let run = id(&app.call("echo", json!(1)).await);
    let path = format!("/api/v3/runs/{run}");
    let answer = get_with(&app, &app.admin_key, &path).await;
    assert_eq!(answer.error(400), "with the admin key, name an environment in the header x-dacapo-environment");
    assert_eq!(admin_in(&app, "dev", "GET", &path, Value::Null).await.ok()["id"], run);
    assert_eq!(admin_in(&app, "development", "GET", &path, Value::Null).await.ok()["id"], run);
    admin_in(&app, "staging", "GET", &path, Value::Null).await.error(404);
    let text = admin_in(&app, "moon", "GET", &path, Value::Null).await.error(404);
    assert_eq!(text, "there is no such environment: choose dev, staging or production");
}

#[tokio::test]
async fn the_key_of_an_environment_does_not_open_admin_routes() {
    let app = TestApp::start().await;
    for path in ["/admin/v1/environments", "/admin/v1/keys"] {
        let text = app.get(path).await.error(403);
        assert_eq!(text, "this takes the admin key, not the key of an environment");
    }
    app.post("/admin/v1/keys", json!({ "environment": "dev" })).await.error(403);
}

#[tokio::test]
async fn a_key_is_shown_once_and_stops_working_at_once_when_it_is_revoked() {
    let app = with_echo().await;
    for (environment, slug) in [("dev", "dev"), ("staging", "stg"), ("production", "prod")] {
        let created = new_key(&app, environment).await;
        assert_eq!(created["environment"], slug);
        let key = id_key(&created);
        let prefix = format!("tr_{slug}_");
        let body = key.strip_prefix(&prefix).unwrap_or_else(|| panic!("{key} begins with {prefix}"));
        assert!(body.len() == 24 && body.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{key}");
        assert_eq!(get_with(&app, &key, "/api/v1/runs").await.status, 200);

        let listed = app.admin("GET", "/admin/v1/keys", Value::Null).await.ok();
        assert!(!listed.to_string().contains(&key), "a list never shows a key: {listed}");
        let find = |list: &Value| {
            let keys = list["data"].as_array().unwrap();
            keys.iter().find(|item| item["id"] == created["id"]).expect("the key is listed").clone()
        };
        let item = find(&listed);
        assert_eq!(item["hint"], format!("{prefix}…{}", &key[key.len() - 4..]));
        assert!(item.get("revokedAt").is_none(), "{item}");

        let path = format!("/admin/v1/keys/{}", id(&created));
        assert_eq!(app.admin("DELETE", &path, Value::Null).await.ok(), json!({ "success": true }));
        assert_eq!(get_with(&app, &key, "/api/v1/runs").await.error(401), UNAUTHORIZED);
        let listed = app.admin("GET", "/admin/v1/keys", Value::Null).await.ok();
        assert!(find(&listed)["revokedAt"].is_string(), "{listed}");
        let again = app.admin("DELETE", &path, Value::Null).await.error(404);
        assert_eq!(again, "there is no such key, or it was revoked before");
    }
    assert_eq!(app.get("/api/v1/runs").await.status, 200, "other keys go on working");
}

#[tokio::test]
async fn a_key_for_an_unknown_environment_is_refused() {
    let app = TestApp::start().await;
    app.admin("POST", "/admin/v1/keys", json!({ "environment": "moon" })).await.error(404);
    app.admin("POST", "/admin/v1/keys", json!({ "environment": "dev", "extra": 1 })).await.error(400);
    app.admin("DELETE", "/admin/v1/keys/nonsense", Value::Null).await.error(404);
}

#[tokio::test]
async fn the_data_directory_holds_neither_keys_nor_variables_in_plain_text() {
    let mut app = TestApp::start().await;
    let key = id_key(&new_key(&app, "prod").await);
    let variables = json!({ "name": "TOKEN", "value": "a-very-secret-value", "isSecret": true });
    app.post("/api/v1/projects/p/envvars/dev", variables).await.ok();
    let variables = json!({ "name": "OPEN", "value": "a-value-that-may-be-shown" });
    app.post("/api/v1/projects/p/envvars/dev", variables).await.ok();
    assert_eq!(get_with(&app, &key, "/api/v1/runs").await.status, 200);
    let dev_key = app.key.clone();
    app.stop().await;
    for file in ["dacapo.db", "dacapo.db-wal"] {
        let Ok(bytes) = std::fs::read(app.data_dir().join(file)) else { continue };
        for secret in [&key[8..], &dev_key[7..], "a-very-secret-value", "a-value-that-may-be-shown"] {
            let holds = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!holds, "{file} holds {secret}");
        }
    }
}

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
async fn tags_and_metadata_are_kept_and_limited() {
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

    let eleven: Vec<String> = (0..11).map(|n| n.to_string()).collect();
    let long = "x".repeat(129);
    let big = "x".repeat(256 * 1024);
    for (options, status, text) in [
        (json!({ "tags": eleven }), 422, "a run can have 10 tags at most"),
        (json!({ "tags": [long] }), 422, "a tag must have 1 to 128 characters"),
        (json!({ "tags": 7 }), 400, "Invalid body: "),
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
        (json!({ "ttl": "soon" }), 400, "`ttl`: `soon` is not a duration"),
        (json!({ "idempotencyKey": "" }), 422, "an idempotency key must have 1 to 2048 characters"),
        (json!({ "idempotencyKey": "k", "idempotencyKeyTTL": "x" }), 400, "`idempotencyKeyTTL`: `x` is not"),
        (json!({ "queue": { "name": "no spaces" } }), 422, "a queue's name must have 1 to 128 of"),
        (json!({ "queue": { "name": "" } }), 422, "a queue's name"),
        (json!({ "concurrencyKey": [] }), 400, "`concurrencyKey` must be a string or a number"),
        (json!({ "concurrencyKey": "k".repeat(513) }), 422, "a concurrency key can have 512 characters at most"),
        (json!({ "debounce": { "key": "k", "delay": "1s" } }), 422, "debounce is not offered yet"),
        (json!({ "lockToVersion": "20200101.1" }), 422, "version `20200101.1` does not exist in this environment"),
        (json!({ "lockToVersion": "newest" }), 422, "version `newest` does not exist"),
        (json!({ "payloadType": "image/png" }), 400, "`payloadType` must be one of application/json"),
        (json!({ "payloadType": "application/store" }), 422, "payloads of the type application/store"),
    ] {
        let answer = trigger(&app, json!({ "payload": "p", "options": options })).await;
        let found = answer.error(status);
        assert!(found.starts_with(text), "{options}: {found}");
    }
    let long = "t".repeat(129);
    let answer = app.post(&format!("/api/v1/tasks/{long}/trigger"), json!({})).await;
    assert!(answer.error(422).starts_with("a task id must have 1 to 128 characters"));
    assert_eq!(app.get("/api/v1/runs").await.ok()["data"].as_array().unwrap().len(), 3, "refused is not stored");
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
async fn thirty_runs_are_paged_forward_and_back() {
    let app = TestApp::start().await;
    let mut newest_first = Vec::new();
    for n in 0..30 {
        newest_first.push(app.trigger("nobody-has-it", json!(n)).await);
    }
    newest_first.reverse();
    let list = async |query: &str| app.get(&format!("/api/v1/runs?page%5Bsize%5D=10{query}")).await.ok();

    let first = list("").await;
    assert_eq!(ids(&first), newest_first[..10]);
    assert!(first["pagination"].get("previous").is_none(), "{}", first["pagination"]);
    let after_first = cursor(&first, "next").to_owned();
    let second = list(&format!("&page%5Bafter%5D={after_first}")).await;
    assert_eq!(ids(&second), newest_first[10..20]);
    // Back: the client keeps the cursor it went forward with.
    let before_second = cursor(&second, "previous").to_owned();
    let back = list(&format!("&page%5Bafter%5D={after_first}&page%5Bbefore%5D={before_second}")).await;
    assert_eq!(ids(&back), newest_first[..10]);
    // Forward again: it sends both, and the younger one counts.
    let after_back = cursor(&back, "next").to_owned();
    let again = list(&format!("&page%5Bafter%5D={after_back}&page%5Bbefore%5D={before_second}")).await;
    assert_eq!(ids(&again), newest_first[10..20]);
    let after_again = cursor(&again, "next").to_owned();
    let last = list(&format!("&page%5Bafter%5D={after_again}&page%5Bbefore%5D={before_second}")).await;
    assert_eq!(ids(&last), newest_first[20..]);
    assert!(last["pagination"].get("next").is_none(), "{}", last["pagination"]);

    let whole = app.get("/api/v1/runs").await.ok();
    assert_eq!(ids(&whole), newest_first[..25], "25 is the default");
    let whole = app.get("/api/v1/runs?page[size]=100").await.ok();
    assert_eq!(ids(&whole), newest_first);
    assert_eq!(whole["pagination"], json!({}));
    assert_eq!(whole["data"][0]["env"]["name"], "dev");
    let newer = app.trigger("nobody-has-it", json!("newer")).await;
    let still = list(&format!("&page%5Bafter%5D={after_first}")).await;
    assert_eq!(ids(&still), newest_first[10..20], "new runs do not shift the pages: {newer}");
}

#[tokio::test]
async fn a_list_can_be_filtered_by_status_task_and_time() {
    let app = with_echo().await;
    let done = id(&app.call("echo", json!(1)).await);
    let delayed = app.trigger_with("echo", json!(2), json!({ "delay": "1h" })).await;
    let pending = app.trigger("other", json!(3)).await;
    let (year, day) = (Duration::from_secs(366 * 86_400), "2001-01-01T00:00:00Z");
    let future = (dacapo::clock::Clock::system().now() + year).as_millisecond();
    let list = async |query: &str| ids(&app.get(&format!("/api/v1/runs?{query}")).await.ok());
    assert_eq!(list("filter[status]=COMPLETED").await, std::slice::from_ref(&done));
    assert_eq!(list("filter[status]=DELAYED,COMPLETED").await, [delayed.clone(), done.clone()]);
    assert_eq!(list("filter[taskIdentifier]=other").await, std::slice::from_ref(&pending));
    assert_eq!(list("filter[taskIdentifier]=other,echo").await, [pending.clone(), delayed.clone(), done.clone()]);
    assert_eq!(list("filter[taskIdentifier]=echo&filter[status]=DELAYED").await, std::slice::from_ref(&delayed));
    assert_eq!(list("filter[taskIdentifier]=other&filter[status]=DELAYED").await, Vec::<String>::new());
    assert_eq!(list(&format!("filter[createdAt][from]={day}")).await.len(), 3);
    assert_eq!(list(&format!("filter[createdAt][to]={day}")).await.len(), 0);
    assert_eq!(list(&format!("filter[createdAt][from]={future}")).await.len(), 0);
    assert_eq!(list(&format!("filter[createdAt][to]={future}")).await.len(), 3);
    assert_eq!(list("filter[createdAt][period]=1d").await.len(), 3);
}

#[tokio::test]
async fn a_list_refuses_what_it_does_not_understand() {
    let app = TestApp::start().await;
    for (query, text) in [
        ("filter[status]=DONE", "Query Error: filter[status]: `DONE` is not a status of a run"),
        ("filter[tag]=x", "Query Error: `filter[tag]` is not offered here; known: page[size], "),
        ("limit=5", "Query Error: `limit` is not offered here"),
        ("page[size]=0", "`page[size]` must be 1 to 100"),
        ("page[size]=101", "`page[size]` must be 1 to 100"),
        ("page[size]=-1", "`page[size]` must be a whole number"),
        ("page[size]=many", "`page[size]` must be a whole number"),
        ("page[after]=nonsense", "`page[after]` is not a cursor that this server gave out"),
        ("page[before]=1-run_1", "`page[before]` is not a cursor that this server gave out"),
        ("filter[createdAt][from]=yesterday", "Query Error: filter[createdAt][from] must be milliseconds"),
        ("filter[createdAt][period]=long", "Query Error: filter[createdAt][period]: `long` is not a duration"),
    ] {
        let answer = app.get(&format!("/api/v1/runs?{query}")).await;
        let found = answer.error(400);
        assert!(found.starts_with(text), "{query}: {found}");
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
async fn errors_have_the_contracts_shape() {
    let app = with_echo().await;
    let answer = app.get("/api/v1/nothing/here").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.error(404), "there is no GET /api/v1/nothing/here");
    let answer = app.send(&app.key, Request::delete("/api/v1/runs"), Body::empty()).await;
    assert_eq!(answer.headers["content-type"], "application/json");
    assert!(answer.headers["allow"].to_str().unwrap().contains("GET"), "{:?}", answer.headers);
    assert_eq!(answer.error(405), "Method not allowed");
    for body in ["{", "{\"payload\": tru", "nonsense", "{} {}", "\u{0}"] {
        let answer = app.send(&app.key, Request::post("/api/v1/tasks/echo/trigger"), body).await;
        let text = answer.error(400);
        assert!(text.starts_with("Invalid JSON: "), "{body}: {text}");
    }
    for body in ["[]", "7", "\"text\"", "null", "{\"options\": 7}"] {
        let answer = app.send(&app.key, Request::post("/api/v1/tasks/echo/trigger"), body).await;
        let status = answer.status;
        assert!(status == 400, "{body}: {answer:?}");
    }
    let answer = app.post_empty("/api/v1/tasks/echo/trigger").await;
    assert_eq!(answer.error(400), "Request body is empty");
    let answer = app.send(&app.key, Request::post("/api/v1/tasks/echo/trigger"), vec![b'{', 0xff, b'}']).await;
    answer.error(400);
    assert_eq!(app.get("/api/v3/runs/nonsense").await.error(404), "Run not found");
    assert_eq!(app.get("/api/v3/runs/%FF").await.error(400), "the path is not valid UTF-8");
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
async fn an_empty_replay_keeps_what_the_source_was_given() {
    let app = TestApp::start().await;
    app.deploy(guests::META).await;
    let payload = json!([{ "op": "set", "key": "a", "value": "changed" }]);
    let options = json!({
        "metadata": { "a": "first" }, "tags": ["x", "y"], "queue": { "name": "q" }, "concurrencyKey": "c",
        "machine": "micro", "test": true, "idempotencyKey": "k", "ttl": "1h", "maxAttempts": 7, "priority": 5,
    });
    let source = app.trigger_with("meta", payload.clone(), options).await;
    let source = app.finished(&source).await;
    assert_eq!(source["metadata"], json!({ "a": "changed" }), "{source}");
    for body in [Value::Null, json!({})] {
        let path = format!("/api/v1/runs/{}/replay", id(&source));
        let receipt = if body.is_null() { app.post_empty(&path).await } else { app.post(&path, body).await }.ok();
        assert_ne!(receipt["id"], source["id"]);
        assert_eq!(receipt["isCached"], false);
        let replay = app.finished(&id(&receipt)).await;
        assert_eq!(replay["payload"], payload, "{replay}");
        assert_eq!(replay["tags"], json!(["x", "y"]));
        assert_eq!(replay["queue"], "q");
        assert_eq!(replay["isTest"], true);
        assert_eq!(replay["isReplay"], true);
        assert_eq!(replay["replayedFrom"], source["id"]);
        assert_eq!(replay["depth"], 0);
        assert!(replay.get("idempotencyKey").is_none(), "{replay}");
        assert!(replay.get("ttl").is_none(), "{replay}");
        assert_eq!(replay["metadata"], json!({ "a": "changed" }));
        // What the replay began with shows in a replay that does not change it.
        let untouched = app.post(&path, json!({ "payload": [] })).await.ok();
        let untouched = app.finished(&id(&untouched)).await;
        assert_eq!(untouched["metadata"], json!({ "a": "first" }), "the metadata of the trigger: {untouched}");
    }
}

#[tokio::test]
async fn the_body_of_a_replay_overrides_every_field() {
    let app = with_echo().await;
    let options = json!({ "tags": ["x"], "metadata": { "a": 1 }, "queue": { "name": "q" } });
    let source = app.trigger_with("echo", json!("old"), options).await;
    app.finished(&source).await;
    let path = format!("/api/v1/runs/{source}/replay");
    let version = app.run(&source).await["version"].clone();
    let body = json!({
        "payload": "{\"json\":{\"new\":true}}", "payloadType": "application/super+json",
        "metadata": { "b": 2 }, "tags": ["z"], "queue": "other", "concurrencyKey": "c", "machine": "small-2x",
        "version": version, "region": "eu", "delay": "1h", "ttl": "2h", "idempotencyKey": "replay-key",
        "idempotencyKeyTTL": "1d", "maxAttempts": 1, "maxDuration": 60, "priority": 3,
    });
    let receipt = app.post(&path, body.clone()).await.ok();
    let replay = app.run(&id(&receipt)).await;
    assert_eq!(replay["status"], "DELAYED", "{replay}");
    assert_eq!(replay["payload"], json!({ "new": true }));
    assert_eq!(replay["metadata"], json!({ "b": 2 }));
    assert_eq!(replay["tags"], json!(["z"]));
    assert_eq!(replay["queue"], "other");
    assert_eq!(replay["version"], version, "a locked run shows its version before it starts");
    assert_eq!(replay["ttl"], "7200s");
    assert_eq!(replay["idempotencyKey"], "replay-key");
    let again = app.post(&path, body).await.ok();
    assert_eq!(again, json!({ "id": receipt["id"], "isCached": true }), "the key found the first replay");

    let text = app.post(&path, json!({ "tag": "z" })).await.error(400);
    assert!(text.starts_with("Invalid body: unknown field `tag`"), "{text}");
    let eleven: Vec<String> = (0..11).map(|n| n.to_string()).collect();
    assert_eq!(app.post(&path, json!({ "tags": eleven })).await.error(422), "a run can have 10 tags at most");
    app.post(&path, json!({ "maxAttempts": 0 })).await.error(422);
    app.post(&path, json!({ "version": "20200101.1" })).await.error(422);
    app.post(&path, json!({ "payload": "{", "payloadType": "application/json" })).await.error(400);
    assert_eq!(app.post_empty("/api/v1/runs/nonsense/replay").await.error(404), "Run not found");
    app.post_empty("/api/v1/runs/run_00000000000000000000000007/replay").await.error(404);
}

#[tokio::test]
async fn a_replay_can_name_any_deployed_version_promoted_or_not() {
    let app = with_echo().await;
    let source = app.call("echo", json!(1)).await;
    let bytes = std::fs::read(guests::ECHO_V2).unwrap();
    let unpromoted = app.upload("echo_v1", &bytes, "&skipPromotion=true").await.ok();
    let version = &unpromoted["deployment"]["version"];
    assert!(version.is_string(), "{unpromoted}");
    let path = format!("/api/v1/runs/{}/replay", id(&source));
    let latest = app.post_empty(&path).await.ok();
    assert_eq!(app.finished(&id(&latest)).await["output"]["version"], 1, "the latest is the current one");
    let named = app.post(&path, json!({ "version": version })).await.ok();
    let named = app.finished(&id(&named)).await;
    assert_eq!(named["output"]["version"], 2, "{named}");
    assert_eq!(named["version"], *version);
    app.deploy(guests::COUNTER).await;
    let current = app.get("/api/v1/deployments").await.ok();
    let other = &current["data"][0]["version"];
    let text = app.post(&path, json!({ "version": other })).await.error(422);
    assert!(text.ends_with("has no task `echo`"), "{text}");
}

#[tokio::test]
async fn a_replay_into_another_environment_takes_the_admin_key() {
    let app = with_echo().await;
    let source = app.call("echo", json!("real")).await;
    upload_to(&app, "staging", guests::ECHO_V2).await;
    let path = format!("/api/v1/runs/{}/replay?environment=staging", id(&source));
    let text = app.post_empty(&path).await.error(403);
    assert!(text.starts_with("a replay into another environment takes the admin key"), "{text}");
    let own = format!("/api/v1/runs/{}/replay?environment=dev", id(&source));
    app.post_empty(&own).await.ok();
    let receipt = admin_in(&app, "dev", "POST", &path, Value::Null).await.ok();
    app.get(&format!("/api/v3/runs/{}", id(&receipt))).await.error(404);
    let wait = format!("/api/v1/runs/{}/result?wait=60s", id(&receipt));
    let result = admin_in(&app, "stg", "GET", &wait, Value::Null).await.ok();
    let output: Value = serde_json::from_str(result["output"].as_str().unwrap()).unwrap();
    assert_eq!(output["version"], 2, "{output}");
    assert_eq!(output["payload"], "real");
    assert_eq!(output["ctx"]["environment"], "stg");
    assert_eq!(output["ctx"]["replayedFrom"], source["id"]);
    let unknown = format!("/api/v1/runs/{}/replay?environment=moon", id(&source));
    admin_in(&app, "dev", "POST", &unknown, Value::Null).await.error(404);
}

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

#[tokio::test]
async fn health_and_readiness_need_no_key() {
    use http_body_util::BodyExt;
    use tower::ServiceExt;
    let mut app = TestApp::start_with(ServerArgs::default()).await;
    let router = app.app().router();
    let get = async |path: &str| {
        let answer = router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status.as_u16(), serde_json::from_slice::<Value>(&body).unwrap())
    };
    let (status, body) = get("/healthz").await;
    assert_eq!((status, &body["status"]), (200, &json!("ok")));
    assert!(body["version"].is_string(), "{body}");
    assert_eq!(get("/readyz").await, (200, json!({ "status": "ready" })));
    app.stop().await;
    assert_eq!(get("/healthz").await.0, 200, "the process still lives");
    let (status, body) = get("/readyz").await;
    assert_eq!((status, &body["error"]), (503, &json!("the server is shutting down")));
}

#[tokio::test]
async fn what_comes_after_a_stop_is_refused_as_unavailable() {
    let mut app = with_echo().await;
    let router = app.app().router();
    let key = app.key.clone();
    app.stop().await;
    use tower::ServiceExt;
    let request = Request::post("/api/v1/tasks/echo/trigger").header("authorization", format!("Bearer {key}"));
    let answer = router.oneshot(request.body(Body::from("{}")).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 503, "a run that is not stored is not acknowledged");
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
