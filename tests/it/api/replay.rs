//! Replaying: what is kept, what can be changed, where it may go.

use dacapo_tests::guests;
use serde_json::{Value, json};

use super::{admin_in, id, upload_to, with_echo};
use crate::harness::TestApp;

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
        assert_eq!(replay["ttl"], "10m", "the default, and not that of its source");
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
    assert_eq!(replay["ttl"], "2h");
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
async fn a_replay_elsewhere_joins_a_queue_that_is_known_there_or_that_it_names() {
    let app = with_echo().await;
    upload_to(&app, "staging", guests::ECHO_V2).await;
    let queue_of_replay = async |source: &str, body: Value| {
        let path = format!("/api/v1/runs/{source}/replay?environment=staging");
        let receipt = admin_in(&app, "dev", "POST", &path, body).await.ok();
        let run = format!("/api/v3/runs/{}", id(&receipt));
        admin_in(&app, "stg", "GET", &run, Value::Null).await.ok()["queue"].clone()
    };
    let source = app.trigger_with("echo", json!(1), json!({ "queue": { "name": "q" } })).await;

    assert_eq!(queue_of_replay(&source, json!({})).await, "task/echo", "nobody knows `q` there");

    admin_in(&app, "stg", "GET", "/api/v1/queues/q?type=custom", Value::Null).await.error(404);
    assert_eq!(queue_of_replay(&source, json!({ "queue": "mine" })).await, "mine", "made, as by a trigger");
    admin_in(&app, "stg", "GET", "/api/v1/queues/mine?type=custom", Value::Null).await.ok();
    assert_eq!(queue_of_replay(&source, json!({ "queue": "q" })).await, "q");
    assert_eq!(queue_of_replay(&source, json!({})).await, "q", "it is known now");
    let here = app.replay(&source).await;
    assert_eq!(app.run(&here).await["queue"], "q");
    let path = format!("/api/v1/runs/{source}/replay?environment=staging");
    let text = admin_in(&app, "dev", "POST", &path, json!({ "queue": "?" })).await.error(422);
    assert!(text.starts_with("a queue's name must have"), "{text}");
}
