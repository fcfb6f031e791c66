//! Deploying: what is accepted, what is refused and why, and which code a run gets.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::Request;
use dacapo::config::ServerArgs;
use dacapo::model::limits::MAX_COMPONENT_BYTES;
use dacapo_tests::guests;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Answer, TestApp};
use crate::network::{Site, allow, answer};

/// Components that were built against `dacapo:task@1.0.0`; see the README there.
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");

fn bytes(guest: &str) -> Vec<u8> {
    std::fs::read(guest).expect("the guest was built")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

async fn deployments(app: &TestApp) -> Vec<Value> {
    let page = app.get("/api/v1/deployments").await.ok();
    page["data"].as_array().expect("a list").clone()
}

async fn runs(app: &TestApp) -> Vec<Value> {
    let page = app.get("/api/v1/runs").await.ok();
    page["data"].as_array().expect("a list").clone()
}

async fn current_version(app: &TestApp) -> String {
    let current = app.get("/api/v1/deployments/current").await.ok();
    text(&current["version"]).to_owned()
}

/// The key of another environment.
async fn key_of(app: &TestApp, environment: &str) -> String {
    let made = app.admin("POST", "/admin/v1/keys", json!({ "environment": environment })).await.ok();
    text(&made["key"]).to_owned()
}

async fn upload_with(app: &TestApp, key: &str, name: &str, guest: &str) -> Answer {
    app.send(key, Request::post(format!("/api/v1/deployments?name={name}")), bytes(guest)).await
}

/// Uploads what must be refused with exactly this text, and sees that nothing is left behind.
async fn check_refused(app: &TestApp, component: &[u8], expected: &str) {
    let before = deployments(app).await;
    let answer = app.upload("refused", component, "").await;
    assert_eq!(answer.json["code"], "component_refused", "{}", answer.json);
    let error = answer.error(422);
    assert!(matches(&error, expected), "{error}\ninstead of\n{expected}");
    assert_eq!(deployments(app).await, before);
}

/// Whether a text is as expected, where `…` stands for anything.
fn matches(found: &str, expected: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|first| found.strip_prefix(first)) else { return false };
    let mut open = false;
    for part in parts {
        let Some(place) = rest.find(part) else { return false };
        rest = &rest[place + part.len()..];
        open = part.is_empty();
    }
    open || rest.is_empty()
}

#[tokio::test]
async fn versions_count_up_within_a_day() {
    let app = TestApp::start().await;

    let first = app.deploy(guests::ECHO_V1).await;
    let second = app.deploy(guests::ECHO_V2).await;

    let (first, second) = (&first["deployment"], &second["deployment"]);
    let (day, number) = text(&first["version"]).split_once('.').expect("a version has a dot");
    assert_eq!((day.len(), number), (8, "1"), "{first}");
    // The tests may run over midnight.
    let (next_day, number) = text(&second["version"]).split_once('.').expect("a version has a dot");
    assert!((next_day == day && number == "2") || (next_day > day && number == "1"), "{second}");
    let created = text(&first["createdAt"])[..10].replace('-', "");
    assert_eq!(day, created);
    assert_eq!(first["status"], "DEPLOYED");
    assert_eq!(first["runtime"], "wasm");
    assert_eq!(first["component"], "echo_v1");
    assert_eq!(text(&first["digest"])[..8], *text(&first["shortCode"]));
    assert_eq!(first["sizeBytes"], bytes(guests::ECHO_V1).len());
    let imports = first["imports"].as_array().expect("a list");
    assert!(imports.iter().any(|import| text(import).starts_with("dacapo:task/context@1.")), "{imports:?}");
}

#[tokio::test]
async fn a_new_deployment_is_created_and_runs_the_tasks_of_its_component() {
    let app = TestApp::start().await;
    let answer = app.upload("echo", &bytes(guests::ECHO_V1), "").await;
    assert_eq!(answer.status, 201);
    let receipt = answer.ok();

    assert_eq!(receipt["isNew"], true);
    assert_eq!(receipt["promotion"]["tasks"], json!(["echo"]));
    assert_eq!(receipt["promotion"]["retired"], json!([]));
    assert_eq!(receipt["promotion"]["releasedRuns"], 0);
    assert_eq!(receipt["deployment"]["isCurrent"], true);
    let version = text(&receipt["deployment"]["version"]);
    assert_eq!(current_version(&app).await, version);
    let by_version = app.get(&format!("/api/v1/deployments/{version}")).await.ok();
    let by_id = app.get(&format!("/api/v1/deployments/{}", text(&receipt["deployment"]["id"]))).await.ok();
    assert_eq!(by_version, by_id);
    let run = app.call("echo", json!(1)).await;
    assert_eq!(run["version"], version, "{run}");
    assert_eq!(run["output"]["ctx"]["version"], version);
}

#[tokio::test]
async fn the_same_bytes_again_are_recognised() {
    let app = TestApp::start().await;
    let first = app.deploy(guests::ECHO_V1).await;

    let again = app.upload("echo_v1", &bytes(guests::ECHO_V1), "").await;

    assert_eq!(again.status, 200);
    let again = again.ok();
    assert_eq!(again["isNew"], false);
    assert_eq!(again["deployment"]["version"], first["deployment"]["version"]);
    assert_eq!(again["deployment"]["id"], first["deployment"]["id"]);
    assert_eq!(deployments(&app).await.len(), 1);
}

#[tokio::test]
async fn what_is_no_component_is_refused_with_what_it_is() {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    let neither = "this is not a WebAssembly component, nor any other WebAssembly";
    let module = "this is a core WebAssembly module, not a component; build it for the target `wasm32-wasip2`";
    let wat = "this is WebAssembly text; deploy the binary form (`wasm-tools parse`)";

    check_refused(&app, &[0x5a; 4_096], neither).await;
    check_refused(&app, b"\0", neither).await;
    check_refused(&app, b"PK\x03\x04", neither).await;
    check_refused(&app, b"\0asm\x01\0\0\0", module).await;
    check_refused(&app, b"(component)", wat).await;
    check_refused(&app, b"\n  (module (func))", wat).await;
}

#[tokio::test]
async fn a_broken_component_is_refused_as_not_valid() {
    let app = TestApp::start().await;
    let whole = bytes(guests::ECHO_V1);
    let mut changed = whole.clone();
    let middle = changed.len() / 3;
    changed[middle..middle + 64].fill(0xff);

    check_refused(&app, &whole[..whole.len() / 2], "the component is not valid: …").await;
    check_refused(&app, &changed, "the component is not valid: …").await;
    check_refused(&app, b"\0asm\x0d\0\x01\0garbage", "the component is not valid: …").await;
}

#[tokio::test]
async fn an_import_that_tasks_do_not_get_is_named() {
    let app = TestApp::start().await;
    check_refused(&app, &bytes(guests::SOCKETS), "imports `wasi:sockets/…`, which tasks do not get").await;
}

#[tokio::test]
async fn a_component_of_another_world_is_told_which_world_to_use() {
    let app = TestApp::start().await;
    let expected = "does not export `dacapo:task/guest`: build it against the world `dacapo:task/task`";
    check_refused(&app, &bytes(guests::OTHER_WORLD), expected).await;
    // The empty component is one of another world, too.
    check_refused(&app, b"\0asm\x0d\0\x01\0", expected).await;
}

#[tokio::test]
async fn a_describe_that_traps_never_ends_or_takes_all_memory_is_refused() {
    let app = TestApp::start().await;
    let trap = "`describe` failed: trap: wasm `unreachable` instruction executed: …panicked at …: this component cannot \
                say which tasks it has";
    check_refused(&app, &bytes(guests::DESCRIBE_TRAP), trap).await;
    check_refused(&app, &bytes(guests::DESCRIBE_SPIN), "`describe` took more than 2 seconds").await;
    check_refused(&app, &bytes(guests::DESCRIBE_HOG), "`describe` wanted more than 64 MiB of memory").await;
    let components = std::fs::read_dir(app.data_dir().join("components")).expect("a directory");
    assert_eq!(components.count(), 0, "nothing of them is stored");

    // The sandbox of descriptions is free again.
    app.deploy(guests::ECHO_V1).await;
    assert_eq!(app.call("echo", json!(1)).await["status"], "COMPLETED");
}

#[tokio::test]
async fn wrong_descriptions_are_refused_in_the_authors_terms() {
    let app = TestApp::start().await;
    let cases = [
        (guests::DESCRIBE_EMPTY, "the component describes no task"),
        (guests::DESCRIBE_DUPLICATE, "task `twin`: two tasks of the component have this id"),
        (
            guests::DESCRIBE_BAD_EMPTY_ID,
            "task `#1`: its id must have 1 to 128 characters, none of them a control character",
        ),
        (
            guests::DESCRIBE_BAD_LONG_ID,
            "task `xxxxxxxx…`: its id must have 1 to 128 characters, none of them a control character",
        ),
        (guests::DESCRIBE_BAD_MAX_DURATION, "task `bad`: its max duration must be 1 to 86400 seconds"),
        (
            guests::DESCRIBE_BAD_QUEUE_NAME,
            "task `bad`: its queue's name must have at least one of the characters A-Z a-z 0-9 _ - /",
        ),
        (guests::DESCRIBE_BAD_RETRY_ATTEMPTS, "task `bad`: its retry policy must allow 1 to 1000 attempts"),
        (
            guests::DESCRIBE_BAD_RETRY_FACTOR,
            "task `bad`: the factor of its retry policy must be a number from 1 to 1000",
        ),
        (
            guests::DESCRIBE_BAD_CRON,
            "the component describes its tasks wrongly: task `bad`: its cron pattern `every morning` is wrong: it has 2 \
             fields instead of 5: minute, hour, day, month, weekday",
        ),
        (
            guests::DESCRIBE_BAD_TIMEZONE,
            "the component describes its tasks wrongly: task `bad`: `Mars/Olympus` is not an IANA time zone such as \
             `Europe/Berlin`",
        ),
        (
            guests::DESCRIBE_BAD_SCHEMA_JSON,
            "the component describes its tasks wrongly: task `bad`: its payload schema is wrong: not JSON: …",
        ),
        (
            guests::DESCRIBE_BAD_SCHEMA,
            "the component describes its tasks wrongly: task `bad`: its payload schema is wrong: …numeral…",
        ),
    ];
    for (guest, expected) in cases {
        check_refused(&app, &bytes(guest), expected).await;
    }
}

#[tokio::test]
async fn an_upload_without_a_body_or_with_a_bad_query_is_refused() {
    let app = TestApp::start().await;
    let echo = bytes(guests::ECHO_V1);

    let empty = app.upload("echo", b"", "").await.error(400);
    assert_eq!(empty, "Request body is empty: send the bytes of the component");
    let unnamed = app.send(&app.key, Request::post("/api/v1/deployments"), echo.clone()).await.error(400);
    assert_eq!(unnamed, "name the component: `?name=…`. A later upload of the same name takes its place");
    let bad = app.upload("a%20b!", &echo, "").await.error(422);
    let rule = "cannot be the name of a component: use 1 to 128 of the characters A-Z a-z 0-9 _ - /";
    assert_eq!(bad, format!("`a b!` {rule}"));
    let long = app.upload(&"x".repeat(129), &echo, "").await.error(422);
    assert_eq!(long, format!("`{}` {rule}", "x".repeat(64)));
    let flag = app.upload("echo", &echo, "&skipPromotion=1").await.error(400);
    assert_eq!(flag, "`skipPromotion` must be true or false");
    let unknown = app.upload("echo", &echo, "&promote=true").await.error(400);
    assert_eq!(unknown, "Query Error: `promote` is not offered here; known: name, skipPromotion, externalId, backtest");
    assert_eq!(deployments(&app).await, Vec::<Value>::new());
    assert_eq!(app.get("/api/v1/deployments/current").await.error(404), "Deployment not found");
}

#[tokio::test]
async fn a_component_that_is_too_large_is_refused() {
    let app = TestApp::start().await;
    let mut large = bytes(guests::ECHO_V1);
    large.resize(MAX_COMPONENT_BYTES + 1, 0);

    let answer = app.upload("large", &large, "").await;

    assert_eq!(answer.json["code"], "too_large");
    assert_eq!(answer.error(413), "Request body too large");
    assert_eq!(deployments(&app).await, Vec::<Value>::new());
    // The largest that is read is looked at, and refused for what it is.
    large.truncate(MAX_COMPONENT_BYTES);
    check_refused(&app, &large, "the component is not valid: …").await;
}

#[tokio::test]
async fn uploads_need_a_key() {
    let app = TestApp::start().await;
    let answer = upload_with(&app, "tr_dev_aaaaaaaaaaaaaaaaaaaaaaaa", "echo", guests::ECHO_V1).await;
    assert_eq!(answer.status, 401, "{}", answer.json);
    assert_eq!(deployments(&app).await, Vec::<Value>::new());
}

#[tokio::test]
async fn the_options_of_every_task_are_shown() {
    let app = TestApp::start().await;
    let receipt = app.deploy(guests::MANY_TASKS).await;

    let tasks = &receipt["deployment"]["tasks"];
    let default_retry = json!({ "factor": 2.0, "minDelayMs": 1_000, "maxDelayMs": 10_000, "randomize": true });
    assert_eq!(
        *tasks,
        json!([
            {
                "id": "everything",
                "description": "Has every option.",
                "queue": "shared",
                "queueConcurrencyLimit": 2,
                "maxAttempts": 7,
                "retry": { "factor": 1.5, "minDelayMs": 250, "maxDelayMs": 45_000, "randomize": true },
                "maxDuration": 120,
                "ttlSeconds": 600,
                "machine": "medium-1x",
                "cron": "0 3 * * 1-5",
                "timezone": "Europe/Berlin",
                "payloadSchema": { "type": "object", "required": ["timestamp"] },
                "keepsJournals": true,
            },
            {
                "id": "nothing",
                "queue": "task/nothing",
                "maxAttempts": 3,
                "retry": default_retry,
                "machine": "small-1x",
                "keepsJournals": true,
            },
            {
                "id": "shares-queue",
                "queue": "shared",
                "maxAttempts": 1,
                "retry": default_retry,
                "machine": "small-1x",
                "cron": "*/5 * * * *",
                "keepsJournals": true,
            },
        ])
    );
    assert_eq!(app.get("/api/v1/deployments/current").await.ok()["tasks"], *tasks);
    for task in ["nothing", "shares-queue"] {
        assert_eq!(app.call(task, json!({})).await["output"], task);
    }
    let run = app.call("everything", json!({ "timestamp": "2026-11-21T00:00:00Z" })).await;
    assert_eq!(run["output"], "everything", "{run}");
    assert_eq!(run["queue"], "shared");
    assert_eq!(run["ttl"], "10m");
}

#[tokio::test]
async fn a_deployment_whose_promotion_is_skipped_waits_to_be_promoted() {
    let app = TestApp::start().await;
    let old = app.upload("echo", &bytes(guests::ECHO_V1), "").await.ok();
    let new = app.upload("echo", &bytes(guests::ECHO_V2), "&skipPromotion=true").await.ok();

    assert_eq!(new["isNew"], true);
    assert_eq!(new["promotion"], Value::Null);
    assert_eq!(new["deployment"]["isCurrent"], false);
    assert_eq!(new["deployment"]["deployedAt"], Value::Null);
    let (old, new) = (text(&old["deployment"]["version"]), text(&new["deployment"]["version"]));
    assert_eq!(current_version(&app).await, old);
    assert_eq!(app.call("echo", json!(1)).await["output"]["version"], 1);

    let promoted = app.post_empty(&format!("/api/v1/deployments/{new}/promote")).await.ok();
    assert_eq!(promoted["version"], new);
    assert_eq!(promoted["tasks"], json!(["echo"]));
    assert_eq!(current_version(&app).await, new);
    assert_eq!(app.call("echo", json!(2)).await["output"]["version"], 2);
}

#[tokio::test]
async fn a_roll_back_leads_to_the_version_before() {
    let app = TestApp::start().await;
    let first = app.upload("echo", &bytes(guests::ECHO_V1), "").await.ok();
    let first = text(&first["deployment"]["version"]);
    let nowhere = app.post_empty("/api/v1/deployments/rollback").await.error(422);
    assert_eq!(nowhere, format!("version {first} is the first of `echo` that was current"));
    let second = app.upload("echo", &bytes(guests::ECHO_V2), "").await.ok();

    let rolled_back = app.post_empty("/api/v1/deployments/rollback").await.ok();

    assert_eq!(rolled_back["version"], first);
    assert_eq!(current_version(&app).await, first);
    assert_eq!(app.call("echo", json!(1)).await["output"]["version"], 1);
    let list = deployments(&app).await;
    assert_eq!(list[0]["version"], second["deployment"]["version"], "the newest comes first");
    assert_eq!((&list[0]["isCurrent"], &list[1]["isCurrent"]), (&json!(false), &json!(true)));
}

#[tokio::test]
async fn what_is_not_deployed_cannot_be_rolled_back_promoted_or_read() {
    let app = TestApp::start().await;
    assert_eq!(app.post_empty("/api/v1/deployments/rollback").await.error(404), "Deployment not found");
    app.deploy(guests::ECHO_V1).await;
    let current = current_version(&app).await;
    for name in ["20200101.1", "nonsense", "deployment_00000000000000000000000000", "20260101.01", "%2e%2e"] {
        let promoted = app.post_empty(&format!("/api/v1/deployments/{name}/promote")).await;
        assert_eq!(promoted.error(404), "Deployment not found", "{name}");
        let read = app.get(&format!("/api/v1/deployments/{name}")).await;
        assert_eq!(read.error(404), "Deployment not found", "{name}");
    }
    assert_eq!(current_version(&app).await, current);
}

#[tokio::test]
async fn a_version_of_another_environment_is_not_promoted() {
    let app = TestApp::start().await;
    let prod = key_of(&app, "prod").await;
    app.deploy(guests::ECHO_V1).await;
    upload_with(&app, &prod, "echo", guests::ECHO_V1).await.ok();
    let foreign = upload_with(&app, &prod, "echo", guests::ECHO_V2).await.ok();
    let mine = current_version(&app).await;

    for name in [&foreign["deployment"]["version"], &foreign["deployment"]["id"]] {
        let name = text(name);
        assert_eq!(app.get(&format!("/api/v1/deployments/{name}")).await.error(404), "Deployment not found");
        let promoted = app.post_empty(&format!("/api/v1/deployments/{name}/promote")).await;
        assert_eq!(promoted.error(404), "Deployment not found");
    }
    assert_eq!(current_version(&app).await, mine);
    assert_eq!(deployments(&app).await.len(), 1);
    assert_eq!(app.call("echo", json!(1)).await["output"]["version"], 1);
}

#[tokio::test]
async fn each_environment_counts_its_own_versions() {
    let app = TestApp::start().await;
    let prod = key_of(&app, "prod").await;
    let here = app.deploy(guests::ECHO_V1).await;
    let there = upload_with(&app, &prod, "echo_v1", guests::ECHO_V1).await;
    assert_eq!(there.status, 201);
    let there = there.ok();
    assert!(text(&here["deployment"]["version"]).ends_with(".1"), "{here}");
    assert!(text(&there["deployment"]["version"]).ends_with(".1"), "{there}");
    assert_ne!(here["deployment"]["id"], there["deployment"]["id"]);
}

#[tokio::test]
async fn old_versions_stay_runnable() {
    let app = TestApp::start().await;
    let old = app.upload("echo", &bytes(guests::ECHO_V1), "").await.ok();
    let old = text(&old["deployment"]["version"]);
    app.upload("echo", &bytes(guests::ECHO_V2), "").await.ok();

    let locked = app.trigger_with("echo", json!(1), json!({ "lockToVersion": old })).await;
    let locked = app.finished(&locked).await;

    assert_eq!(locked["output"]["version"], 1, "{locked}");
    assert_eq!(locked["version"], old);
    assert_eq!(app.call("echo", json!(1)).await["output"]["version"], 2);
    // So they do after a restart, when nothing is in memory.
    let app = app.restart().await;
    let again = app.trigger_with("echo", json!(1), json!({ "lockToVersion": old })).await;
    assert_eq!(app.finished(&again).await["output"]["version"], 1);
}

#[tokio::test]
async fn a_run_cannot_be_locked_to_a_version_that_is_not_there() {
    let app = TestApp::start().await;
    let other = app.deploy(guests::COUNTER).await;
    app.deploy(guests::ECHO_V1).await;
    let lock = |version: &str| json!({ "payload": 1, "options": { "lockToVersion": version } });

    let unknown = app.post("/api/v1/tasks/echo/trigger", lock("20200101.1")).await.error(422);
    assert_eq!(unknown, "version `20200101.1` does not exist in this environment");
    let without = app.post("/api/v1/tasks/echo/trigger", lock(text(&other["deployment"]["version"]))).await;
    let without = without.error(422);
    assert!(without.contains("has no task `echo`"), "{without}");
    assert_eq!(runs(&app).await, Vec::<Value>::new());
}

#[tokio::test]
async fn components_of_different_names_live_side_by_side() {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    let second = app.deploy(guests::COUNTER).await;
    assert_eq!(second["promotion"]["retired"], json!([]));
    assert_eq!(app.call("echo", json!(1)).await["status"], "COMPLETED");
    assert_eq!(app.call("counter", json!(1)).await["status"], "COMPLETED");
    assert!(deployments(&app).await.iter().all(|deployment| deployment["isCurrent"] == true));
}

#[tokio::test]
async fn runs_of_a_retired_task_wait_for_a_version_that_has_it() {
    let app = TestApp::start().await;
    app.upload("one", &bytes(guests::ECHO_V1), "").await.ok();

    let replaced = app.upload("one", &bytes(guests::COUNTER), "").await.ok();

    assert_eq!(replaced["promotion"]["tasks"], json!(["counter"]));
    assert_eq!(replaced["promotion"]["retired"], json!(["echo"]));
    let pending = app.trigger("echo", json!({ "n": 1 })).await;
    assert_eq!(app.run(&pending).await["status"], "PENDING_VERSION");

    let back = app.upload("one", &bytes(guests::ECHO_V2), "").await.ok();
    assert_eq!(back["promotion"]["releasedRuns"], 1, "{back}");
    assert_eq!(back["promotion"]["retired"], json!(["counter"]));
    let run = app.finished(&pending).await;
    assert_eq!(run["output"]["version"], 2, "{run}");
}

#[tokio::test]
async fn queued_runs_of_a_task_that_is_retired_are_pending_when_their_turn_comes() {
    // One place, and that is taken: what is triggered stays queued.
    let app = TestApp::start_with(ServerArgs { max_concurrent_runs: Some(1), ..ServerArgs::default() }).await;
    app.deploy(guests::SPIN).await;
    app.upload("one", &bytes(guests::ECHO_V1), "").await.ok();
    let spin = app.trigger("spin", json!(null)).await;
    app.until_status(&spin, "EXECUTING").await;
    let queued = app.trigger("echo", json!({ "n": 1 })).await;
    assert_eq!(app.run(&queued).await["status"], "QUEUED");

    app.upload("one", &bytes(guests::COUNTER), "").await.ok();
    app.post_empty(&format!("/api/v2/runs/{spin}/cancel")).await.ok();
    app.until_status(&queued, "PENDING_VERSION").await;

    let back = app.upload("two", &bytes(guests::ECHO_V2), "").await.ok();
    assert_eq!(back["promotion"]["releasedRuns"], 1, "{back}");
    let run = app.finished(&queued).await;
    assert_eq!(run["output"]["version"], 2, "{run}");
    let history = app.history(&queued).await;
    assert_eq!(history, ["QUEUED", "PENDING_VERSION", "QUEUED", "EXECUTING", "COMPLETED"]);
}

#[tokio::test]
async fn more_pending_runs_than_one_transaction_takes_all_start() {
    let app = TestApp::start().await;
    let mut pending = Vec::new();
    for n in 0..501 {
        pending.push(app.trigger("echo", json!({ "n": n })).await);
    }
    app.deploy(guests::ECHO_V1).await;
    for run in pending {
        assert_eq!(app.finished(&run).await["status"], "COMPLETED");
    }
}

#[tokio::test]
async fn a_run_of_a_task_that_is_not_deployed_starts_when_a_deployment_brings_it() {
    let app = TestApp::start().await;
    let early = app.trigger("echo", json!({ "n": 1 })).await;
    let waiting = app.run(&early).await;
    assert_eq!(waiting["status"], "PENDING_VERSION");
    assert_eq!(waiting["isQueued"], true);
    app.upload("echo", &bytes(guests::ECHO_V1), "&skipPromotion=true").await.ok();
    assert_eq!(app.run(&early).await["status"], "PENDING_VERSION", "a version that is not current brings nothing");

    let receipt = app.upload("echo", &bytes(guests::ECHO_V1), "").await.ok();

    assert_eq!(receipt["isNew"], false);
    assert_eq!(receipt["promotion"]["releasedRuns"], 1);
    let run = app.finished(&early).await;
    assert_eq!(run["output"]["payload"], json!({ "n": 1 }), "{run}");
    assert_eq!(run["version"], receipt["deployment"]["version"]);
    assert_eq!(app.history(&early).await, ["PENDING_VERSION", "QUEUED", "EXECUTING", "COMPLETED"]);
}

#[tokio::test]
async fn a_delayed_run_takes_the_version_that_is_current_at_its_start() {
    let app = TestApp::start().await;
    app.upload("echo", &bytes(guests::ECHO_V1), "").await.ok();
    // Compiled now, so that promoting it later takes no time.
    let new = app.upload("echo", &bytes(guests::ECHO_V2), "&skipPromotion=true").await.ok();
    let new = text(&new["deployment"]["version"]);

    let delayed = app.trigger_with("echo", json!(1), json!({ "delay": "2s" })).await;
    assert_eq!(app.run(&delayed).await["version"], Value::Null);
    app.post_empty(&format!("/api/v1/deployments/{new}/promote")).await.ok();
    assert_eq!(app.run(&delayed).await["status"], "DELAYED");

    let run = app.finished(&delayed).await;
    assert_eq!(run["output"]["version"], 2, "{run}");
    assert_eq!(run["version"], new);
}

#[tokio::test]
async fn a_payload_that_does_not_fit_the_schema_makes_no_run() {
    let app = TestApp::start().await;
    app.deploy(guests::SCHEMA).await;

    let wrong = json!({ "payload": { "n": "one" } });
    let answer = app.post("/api/v1/tasks/schema/trigger", wrong).await;
    assert_eq!(answer.json["code"], "payload_rejected");
    assert_eq!(answer.json["details"], json!(["/n: \"one\" is not of type \"integer\""]));
    let expected = "the payload does not fit the schema of task `schema`: /n: \"one\" is not of type \"integer\"";
    assert_eq!(answer.error(422), expected);
    for payload in [json!({}), json!([]), json!("x"), Value::Null] {
        let error = app.post("/api/v1/tasks/schema/trigger", json!({ "payload": payload })).await.error(422);
        assert!(error.starts_with("the payload does not fit the schema of task `schema`: "), "{error}");
    }
    let missing = app.post("/api/v1/tasks/schema/trigger", json!({})).await.error(422);
    assert!(missing.starts_with("the payload does not fit the schema of task `schema`: "), "{missing}");
    assert_eq!(runs(&app).await, Vec::<Value>::new());

    assert_eq!(app.call("schema", json!({ "n": 1 })).await["output"], 2);
}

#[tokio::test]
async fn a_replay_is_held_to_the_schema_of_the_version_it_will_run_on() {
    let app = TestApp::start().await;
    // Triggered before there was a schema.
    let old = app.trigger("schema", json!({ "n": "one" })).await;
    app.deploy(guests::SCHEMA).await;
    let old = app.finished(&old).await;
    assert_eq!(old["status"], "FAILED", "{old}");
    let replay = format!("/api/v1/runs/{}/replay", text(&old["id"]));

    let same = app.post_empty(&replay).await.error(422);
    assert_eq!(same, "the payload does not fit the schema of task `schema`: /n: \"one\" is not of type \"integer\"");
    let wrong = app.post(&replay, json!({ "payload": { "n": 1.5 } })).await.error(422);
    assert!(wrong.ends_with("/n: 1.5 is not of type \"integer\""), "{wrong}");
    assert_eq!(runs(&app).await.len(), 1);

    let right = app.post(&replay, json!({ "payload": { "n": 41 } })).await.ok();
    assert_eq!(app.finished(text(&right["id"])).await["output"], 42);
}

/// The files of compiled code.
fn compiled(data_dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data_dir.join("compiled")).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|ending| ending == "cwasm")).collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn compiled_code_that_was_changed_is_compiled_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let data_dir = dir.path().join("data");
    // A directory of its own, not the one that the tests share.
    std::fs::create_dir_all(data_dir.join("compiled")).expect("a directory");
    let mut app = TestApp::open(data_dir.clone(), ServerArgs::default(), None).await;
    app.deploy(guests::ECHO_V1).await;
    app.deploy(guests::COUNTER).await;
    let files = compiled(&data_dir);
    assert_eq!(files.len(), 2, "{files:?}");
    let genuine: Vec<Vec<u8>> = files.iter().map(|path| std::fs::read(path).expect("a file")).collect();

    let flip = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        bytes
    };
    let damages: [[Vec<u8>; 2]; 5] = [
        [flip(&genuine[0]), flip(&genuine[1])],
        [genuine[0][..genuine[0].len() / 2].to_vec(), genuine[1][..7].to_vec()],
        [Vec::new(), vec![0; 100_000]],
        // Each in the place of the other: both carry a valid MAC, for another name.
        [genuine[1].clone(), genuine[0].clone()],
        // Without its MAC.
        [genuine[0][32..].to_vec(), genuine[1][32..].to_vec()],
    ];
    for (number, damage) in damages.iter().enumerate() {
        app.stop().await;
        for (path, bytes) in files.iter().zip(damage) {
            std::fs::write(path, bytes).expect("the file can be written");
        }
        app = TestApp::open(data_dir.clone(), ServerArgs::default(), None).await;
        let run = app.call("echo", json!(number)).await;
        assert_eq!(run["output"]["payload"], number, "{run}");
        assert_eq!(app.call("counter", json!(number)).await["output"], 1);
        for (path, damaged) in files.iter().zip(damage) {
            assert_ne!(std::fs::read(path).expect("a file"), *damaged, "damage {number} is still there");
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn only_code_that_was_accepted_and_fits_this_server_stays_compiled() {
    let dir = tempfile::tempdir().expect("a directory");
    let data_dir = dir.path().join("data");
    // A directory of its own, not the one that the tests share.
    std::fs::create_dir_all(data_dir.join("compiled")).expect("a directory");
    let mut app = TestApp::open(data_dir.clone(), ServerArgs::default(), None).await;
    for guest in [guests::SOCKETS, guests::OTHER_WORLD, guests::DESCRIBE_TRAP, guests::DESCRIBE_BAD_SCHEMA] {
        app.upload("refused", &bytes(guest), "").await.error(422);
        assert_eq!(compiled(&data_dir), Vec::<PathBuf>::new(), "{guest}");
    }
    app.deploy(guests::ECHO_V1).await;
    let own = compiled(&data_dir);
    assert_eq!(own.len(), 1);

    app.stop().await;
    std::fs::write(data_dir.join("compiled/of-another-engine.cwasm"), "code").expect("a file");
    std::fs::write(data_dir.join("compiled/unfinished.tmp"), "code").expect("a file");
    let mut app = TestApp::open(data_dir.clone(), ServerArgs::default(), None).await;
    assert_eq!(compiled(&data_dir), own);
    assert!(!data_dir.join("compiled/unfinished.tmp").exists());
    assert_eq!(app.call("echo", json!(1)).await["status"], "COMPLETED");
    app.stop().await;
}

#[tokio::test]
async fn a_component_whose_file_was_changed_is_not_run() {
    let dir = tempfile::tempdir().expect("a directory");
    let data_dir = dir.path().join("data");
    std::fs::create_dir_all(data_dir.join("compiled")).expect("a directory");
    let mut app = TestApp::open(data_dir.clone(), ServerArgs::default(), None).await;
    let receipt = app.deploy(guests::ECHO_V1).await;
    app.stop().await;
    let digest = text(&receipt["deployment"]["digest"]);
    let mut stack = vec![data_dir.clone()];
    let mut replaced = 0;
    while let Some(dir) = stack.pop() {
        for entry in std::fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                stack.push(path);
            } else if path.file_name().is_some_and(|name| name == digest) {
                std::fs::write(&path, bytes(guests::ECHO_V2)).expect("the file can be written");
                replaced += 1;
            }
        }
    }
    assert_eq!(replaced, 1, "the component is not where this test looks for it");
    compiled(&data_dir).iter().for_each(|path| std::fs::remove_file(path).expect("a file"));

    let mut app = TestApp::open(data_dir, ServerArgs::default(), None).await;
    let id = app.trigger("echo", json!(1)).await;
    let run = app.finished(&id).await;
    assert_eq!(run["status"], "SYSTEM_FAILURE", "{run}");
    assert_eq!(run["output"], Value::Null);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_uploads_at_once_make_ten_versions() {
    let app = Arc::new(TestApp::start().await);
    let mut uploads = JoinSet::new();
    for number in 0..10 {
        let app = app.clone();
        // Half of them are the same bytes, which nobody has stored yet.
        let guest = if number % 2 == 0 { guests::ECHO_V1 } else { guests::COUNTER };
        uploads.spawn(async move { app.upload(&format!("name-{number}"), &bytes(guest), "").await });
    }
    let answers = uploads.join_all().await;

    let mut numbers: Vec<u32> = answers
        .into_iter()
        .map(|answer| {
            assert_eq!(answer.status, 201, "{}", answer.json);
            let version = text(&answer.json["deployment"]["version"]);
            version.split_once('.').expect("a version has a dot").1.parse().expect("a number")
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
    assert_eq!(deployments(&app).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_at_once_are_counted_in_the_order_in_which_they_are_stored() {
    let app = Arc::new(TestApp::start().await);
    // The bytes are stored before, so that the uploads meet at the database and not at the disk.
    app.upload("first", &bytes(guests::COUNTER), "").await.ok();
    let mut uploads = JoinSet::new();
    for number in 0..64 {
        let app = app.clone();
        let component = bytes(guests::COUNTER);
        uploads.spawn(async move { app.upload(&format!("name-{number}"), &component, "&skipPromotion=true").await });
    }
    let answers = uploads.join_all().await;

    let versions: BTreeSet<String> =
        answers.into_iter().map(|answer| text(&answer.ok()["deployment"]["version"]).to_owned()).collect();
    assert_eq!(versions.len(), 64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_uploads_at_once_the_newest_version_becomes_current() {
    let app = Arc::new(TestApp::start().await);
    for guest in [guests::ECHO_V1, guests::ECHO_V2] {
        // The bytes are stored before, so that the uploads meet at the database and not at the disk.
        app.upload("echo", &bytes(guest), "").await.ok();
    }
    let mut uploads = JoinSet::new();
    for number in 0..64 {
        let app = app.clone();
        let component = bytes(if number % 2 == 0 { guests::ECHO_V1 } else { guests::ECHO_V2 });
        uploads.spawn(async move { app.upload("echo", &component, "").await.ok() });
    }
    uploads.join_all().await;

    let newest = text(&deployments(&app).await[0]["version"]).to_owned();
    assert_eq!(current_version(&app).await, newest);
    let tasks = app.call("echo", json!(1)).await;
    assert_eq!(tasks["version"], newest, "{tasks}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_upload_ten_times_at_once_makes_one_version() {
    let app = Arc::new(TestApp::start().await);
    let mut uploads = JoinSet::new();
    for _ in 0..10 {
        let app = app.clone();
        uploads.spawn(async move { app.upload("echo", &bytes(guests::ECHO_V1), "").await.ok() });
    }
    let receipts = uploads.join_all().await;
    assert_eq!(receipts.iter().filter(|receipt| receipt["isNew"] == true).count(), 1);
    assert_eq!(deployments(&app).await.len(), 1);
}

#[tokio::test]
async fn an_upload_that_a_crash_cut_off_can_be_made_again() {
    let app = TestApp::start().await;
    let receipt = app.upload("other", &bytes(guests::ECHO_V1), "").await.ok();
    let digest = text(&receipt["deployment"]["digest"]);
    let components = app.data_dir().join("components");
    std::fs::remove_file(components.join(digest)).expect("the component is stored under its digest");
    // What is left of it when the server dies in the middle; in a container the next server has the same process id.
    let half = format!("{digest}.{}.part", std::process::id());
    std::fs::write(components.join(half), b"half").expect("a file");

    let again = app.upload("echo", &bytes(guests::ECHO_V1), "").await;

    assert_eq!(again.status, 201, "{}", again.json);
    let stored = std::fs::read(components.join(digest)).expect("a file");
    assert_eq!(stored, bytes(guests::ECHO_V1));
}

#[tokio::test]
async fn versions_go_on_when_the_clock_was_set_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let data_dir = dir.path().join("data");
    let mut app = TestApp::open(data_dir.clone(), ServerArgs::default(), None).await;
    let ahead = app.upload("ahead", &bytes(guests::ECHO_V1), "&skipPromotion=true").await.ok();
    let ahead = text(&ahead["deployment"]["id"]);
    app.stop().await;
    // As if the clock had been years ahead when this one was made: ids begin with the time.
    let later = ahead.replacen("deployment_0", "deployment_1", 1);
    let database = rusqlite::Connection::open(data_dir.join("dacapo.db")).expect("a database");
    database.execute_batch("PRAGMA foreign_keys = OFF").expect("a good statement");
    let changed = database.execute("UPDATE deployments SET id = ?2 WHERE id = ?1", (ahead, &later));
    assert_eq!(changed.expect("a good statement"), 1);
    drop(database);

    let mut app = TestApp::open(data_dir, ServerArgs::default(), None).await;
    for number in 2..5 {
        let answer = app.upload(&format!("name-{number}"), &bytes(guests::COUNTER), "").await;
        assert_eq!(answer.status, 201, "upload {number}: {}", answer.json);
        let version = text(&answer.json["deployment"]["version"]);
        assert!(version.ends_with(&format!(".{number}")), "{version}");
    }
    assert_eq!(deployments(&app).await.len(), 4);
    app.stop().await;
}

#[tokio::test]
async fn a_key_that_was_revoked_deploys_nothing() {
    let app = TestApp::start().await;
    let made = app.admin("POST", "/admin/v1/keys", json!({ "environment": "dev" })).await.ok();
    let key = text(&made["key"]);
    upload_with(&app, key, "one", guests::ECHO_V1).await.ok();
    let list = app.send(key, Request::get("/api/v1/deployments"), axum::body::Body::empty()).await.ok();
    assert_eq!(list["data"][0]["component"], "one");

    app.admin("DELETE", &format!("/admin/v1/keys/{}", text(&made["id"])), Value::Null).await.ok();

    let answer = upload_with(&app, key, "two", guests::COUNTER).await;
    assert_eq!(answer.status, 401, "{}", answer.json);
    assert_eq!(deployments(&app).await.len(), 1);
}

#[tokio::test]
async fn the_list_of_deployments_has_pages() {
    let app = TestApp::start().await;
    for name in ["a", "b", "c"] {
        app.upload(name, &bytes(guests::COUNTER), "").await.ok();
    }
    let first = app.get("/api/v1/deployments?page%5Bsize%5D=2").await.ok();
    let next = text(&first["pagination"]["next"]);
    let second = app.get(&format!("/api/v1/deployments?page%5Bsize%5D=2&page%5Bafter%5D={next}")).await.ok();
    let names = |page: &Value| -> Vec<String> {
        let list = page["data"].as_array().expect("a list");
        list.iter().map(|deployment| text(&deployment["component"]).to_owned()).collect()
    };
    assert_eq!(names(&first), ["c", "b"]);
    assert_eq!(names(&second), ["a"]);
    assert_eq!(second["pagination"]["next"], Value::Null);
}

/// Deploys a fixture, and sees that it has this task and this import.
async fn deploy_fixture(app: &TestApp, name: &str, task: &str, import: &str) {
    let component = bytes(&format!("{FIXTURES}/{name}-1.0.0.wasm"));
    let receipt = app.upload(name, &component, "").await.ok();
    assert_eq!(receipt["deployment"]["tasks"][0]["id"], task);
    let imports = receipt["deployment"]["imports"].as_array().expect("a list");
    assert!(imports.iter().any(|name| text(name).starts_with(import)), "{imports:?}");
}

#[tokio::test]
async fn the_first_component_ever_built_still_runs() {
    let app = TestApp::start().await;
    deploy_fixture(&app, "first-component", "echo", "dacapo:task/context@1.0.0").await;

    let run = app.call("echo", json!({ "since": "1.0.0" })).await;

    assert_eq!(run["status"], "COMPLETED", "{run}");
    assert_eq!(run["output"]["version"], 1);
    assert_eq!(run["output"]["payload"], json!({ "since": "1.0.0" }));
    let ctx = &run["output"]["ctx"];
    assert_eq!(ctx["runId"], run["id"]);
    assert_eq!(ctx["environment"], "dev");
    assert_eq!(ctx["task"], "echo");
    assert_eq!(ctx["queue"], "task/echo");
    assert_eq!(ctx["attempt"], 1);
}

#[tokio::test]
async fn what_logged_to_version_1_0_0_still_logs() {
    let app = TestApp::start().await;
    deploy_fixture(&app, "spans", "spans", "dacapo:task/log@1.0.0").await;

    let run = app.call("spans", json!({})).await;

    assert_eq!(run["status"], "COMPLETED", "{run}");
    let log = app.get(&format!("/api/v1/runs/{}/logs", text(&run["id"]))).await.ok();
    let log = log["logs"].as_array().expect("a list");
    let entry = |message: &str| log.iter().find(|entry| entry["message"] == message).expect("it is in the log");
    let (line, inner, outer) = (entry("within 0"), entry("inner"), entry("outer"));
    assert_eq!((&line["kind"], &line["level"], &line["source"]), (&json!("line"), &json!("debug"), &json!("task")));
    assert_eq!(line["attributes"], json!({ "order.id": "A-0", "nested": { "n": [1, 2] } }));
    assert_eq!(line["spanId"], inner["spanId"]);
    assert_eq!((&inner["kind"], &inner["parentSpanId"]), (&json!("span"), &outer["spanId"]));
    assert_eq!(outer["attributes"], json!({ "size": 4, "label": "three" }));
    assert_eq!(entry("failed")["level"], "error");
    assert_eq!(entry("on standard output")["source"], "stdout");
}

#[tokio::test]
async fn what_kept_metadata_with_version_1_0_0_still_does() {
    let app = TestApp::start().await;
    deploy_fixture(&app, "meta", "meta", "dacapo:task/metadata@1.0.0").await;
    let ops = json!([
        { "op": "update", "value": { "count": 1, "gone": true } },
        { "op": "set", "key": "$.steps.done", "value": 3 },
        { "op": "increment", "key": "count", "by": 1.5 },
        { "op": "append", "key": "files", "value": "a" },
        { "op": "append", "key": "files", "value": "b" },
        { "op": "remove", "key": "files", "value": "a" },
        { "op": "delete", "key": "gone" },
        { "op": "get", "key": "count" },
        { "op": "increment", "key": "files", "by": 1 },
        { "op": "fill", "key": "large", "bytes": 300 * 1024 },
    ]);

    let run = app.call("meta", ops).await;

    assert_eq!(run["status"], "COMPLETED", "{run}");
    assert_eq!(run["metadata"], json!({ "count": 2.5, "steps": { "done": 3 }, "files": ["b"] }));
    let output = &run["output"];
    assert_eq!(output["all"], run["metadata"]);
    assert_eq!(output["results"][7], json!({ "value": 2.5 }));
    assert_eq!(output["results"][8], json!({ "error": "the metadata have no number under \"files\"" }));
    assert_eq!(output["results"][9], json!({ "error": "the metadata would be larger than 262144 bytes" }));
}

#[tokio::test]
async fn what_sent_requests_with_version_1_0_0_still_does() {
    let app = TestApp::start().await;
    deploy_fixture(&app, "fetch", "fetch", "wasi:http/outgoing-handler@0.2.").await;
    let site = Site::start([answer("201 Created", "x-made: yes\r\n", "made")]).await;
    let url = site.url("127.0.0.1");
    let payload = json!({ "url": url, "method": "POST", "headers": { "x-asked": "yes" }, "body": "make it" });
    let blocked = app.call("fetch", payload.clone()).await;
    assert!(text(&blocked["output"]["error"]).starts_with("the request was not allowed: "), "{blocked}");
    allow(&app, &["127.0.0.1"]).await;

    let run = app.call("fetch", payload).await;

    assert_eq!(run["status"], "COMPLETED", "{run}");
    let output = &run["output"];
    assert_eq!((&output["status"], &output["body"]), (&json!(201), &json!("made")), "{run}");
    assert_eq!(output["headers"]["x-made"], "yes");
    let requests = site.requests();
    assert_eq!(requests.len(), 1);
    let request = requests[0].to_lowercase();
    assert!(request.starts_with("post /page?q=1 http/1.1\r\n"), "{request}");
    assert!(request.contains("x-asked: yes\r\n") && request.contains("make it"), "{request}");
}
