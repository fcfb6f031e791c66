//! Idempotency keys of children.

use std::time::Duration;

use serde_json::{Value, json};

use super::{answers, ask, children, start, start_dropping, text};

/// What the official client sends for the global keys `order-1` and `order-2`: their SHA-256.
const HASH_1: &str = "0bafe22156d2698c143b86040446d366ead863ba600d5c924f3d15c786ef4057";
const HASH_2: &str = "3d5e3106cd72ba03fededf6dbb9fc3367edcebe453e90db236ea763aa228bee3";

fn keyed(how: &str, scope: &str) -> Value {
    json!({ how: { "task": "seen", "key": "once", "scope": scope } })
}

#[tokio::test]
async fn a_key_counts_within_its_run_or_its_attempt() {
    for app in [start().await, start_dropping().await] {
        let steps = json!([
            keyed("trigger", "run"), keyed("trigger", "run"),
            keyed("trigger", "attempt"), keyed("trigger", "attempt"),
            { "wait_ms": 1 }, { "trigger": { "task": "seen" } }, { "fail_before": 2 },
        ]);

        let run = app.call("inside", steps.clone()).await;

        let said = answers(&run);
        let cached: Vec<bool> = said[..4].iter().map(|run| run["cached"] == true).collect();
        assert_eq!(cached, [true, true, false, true], "in the second attempt: {said:?}");
        assert_eq!((&said[0]["id"], &said[2]["id"]), (&said[1]["id"], &said[3]["id"]));
        let made = children(&run);
        assert_eq!(made.len(), 1 + 2 + 2, "one of the run, one of each attempt, and one each without a key: {run}");
        assert_eq!(made[0], text(&said[0], "id"), "the first attempt made it");
        assert_eq!(run["attemptCount"], 2);

        let other = answers(&app.call("inside", steps).await);
        assert_ne!(other[0]["id"], said[0]["id"], "another run has children of its own");
        let child = app.finished(text(&other[0], "id")).await;
        assert_eq!((&child["idempotencyKey"], &child["output"]["context"]["scope"]), (&json!("once"), &json!("Run")));
    }
}

#[tokio::test]
async fn a_global_key_is_the_same_for_clients_and_tasks() {
    let app = start().await;
    let client = |hash: &str| json!({ "payload": "by a client", "options": { "idempotencyKey": hash } });
    let by_client = app.post("/api/v1/tasks/seen/trigger", client(HASH_1)).await.ok();
    let global = |key: &str| json!({ "task": "seen", "payload": "by a task", "key": key, "scope": "global" });

    let steps =
        json!([{ "trigger": global("order-1") }, { "await": global("order-1") }, { "await": global("order-2") }]);
    let said = ask(&app, steps).await;

    assert_eq!(said[0], json!({ "id": by_client["id"], "cached": true }));
    assert_eq!(said[1]["output"]["payload"], "by a client", "it is waited for");
    let context = &said[2]["output"]["context"];
    assert_eq!((&context["key"], &context["scope"]), (&json!("order-2"), &json!("Global")));
    let receipt = app.post("/api/v1/tasks/seen/trigger", client(HASH_2)).await.ok();
    assert_eq!((&receipt["id"], &receipt["isCached"]), (&context["id"], &json!(true)), "{receipt}");
}

#[tokio::test]
async fn a_key_counts_for_so_long() {
    let app = start().await;
    let keyed = json!([{ "trigger": { "task": "seen", "key": "k", "scope": "global", "key_ttl_ms": 60_000 } }]);
    let first = ask(&app, keyed.clone()).await;
    app.finished(text(&first[0], "id")).await;
    app.app().advance(Duration::from_secs(59));
    assert_eq!(ask(&app, keyed.clone()).await[0], json!({ "id": first[0]["id"], "cached": true }));
    app.app().advance(Duration::from_secs(2));
    let later = ask(&app, keyed).await;
    assert_eq!(later[0]["cached"], false);
    assert_ne!(later[0]["id"], first[0]["id"]);
}

#[tokio::test]
async fn an_item_of_a_batch_may_be_an_older_run() {
    let app = start().await;
    let item = |n: u32, key: &str| json!({ "task": "seen", "payload": n, "key": key });
    let steps = json!([
        { "await": item(1, "a") },
        { "batch": [item(2, "a"), item(3, "b"), item(4, "b")] },
        { "await_batch": [item(5, "a"), item(6, "c"), item(7, "b")] },
    ]);
    let said = answers(&app.call("inside", steps).await);
    let cached: Vec<&Value> = said[1]["runs"].as_array().expect("runs").iter().map(|run| &run["cached"]).collect();
    assert_eq!(cached, [&json!(true), &json!(false), &json!(true)], "{said:?}");
    assert_eq!(said[1]["runs"][0]["id"], said[0]["output"]["context"]["id"]);
    let payloads: Vec<&Value> =
        said[2].as_array().expect("outputs").iter().map(|of| &of["output"]["payload"]).collect();
    assert_eq!(payloads, [&json!(1), &json!(6), &json!(3)]);
}
