//! Everything that can be asked for when a task triggers another one.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use dacapo_tests::guests;
use serde_json::{Value, json};

use super::{answers, ask, children, start, text};
use crate::harness::TestApp;

/// The number of a column that the API does not show.
fn stored<T: rusqlite::types::FromSql>(app: &TestApp, column: &str, run: &str) -> T {
    let database = rusqlite::Connection::open(app.data_dir().join("dacapo.db")).expect("the database");
    let sql = format!("SELECT {column} FROM runs WHERE id = ?1");
    database.query_row(&sql, [run], |row| row.get(0)).expect("the run is there")
}

/// Deploys the guest once more, as another version, and answers with that.
async fn deploy_again(app: &TestApp, query: &str) -> String {
    let same = std::fs::read(guests::INSIDE).expect("the guest was built");
    let other = [same, vec![0, 3, 2, b'v', b'2']].concat();
    text(&app.upload("inside", &other, query).await.ok()["deployment"], "version").to_owned()
}

#[tokio::test]
async fn every_option_reaches_the_child() {
    let app = start().await;
    let asked = json!({
        "task": "seen", "payload": { "p": 1 }, "queue": "images", "concurrency_key": "customer", "ttl_ms": 3_600_000,
        "priority": 5.0, "tags": ["a", "b"], "metadata": { "m": 1 }, "max_attempts": 4, "max_duration_ms": 7_000,
        "machine": true, "test": true,
    });
    for (how, function) in [("trigger", "trigger"), ("await", "triggerAndWait")] {
        let parent = app.call("inside", json!([{ how: asked }])).await;

        answers(&parent);
        let child = app.finished(&children(&parent)[0]).await;
        let context = &child["output"]["context"];
        let expected = json!({
            "id": child["id"], "tags": ["a", "b"], "test": true, "replay": false, "key": null, "scope": null,
            "max_attempts": 4, "max_duration_ms": 7_000, "priority": 5.0, "version": parent["version"],
            "parent": parent["id"], "root": parent["id"], "attempt": 1, "queue": "images", "machine": "small-2x",
            "batch": null, "run_started": context["run_started"], "attempt_started": context["attempt_started"],
        });
        assert_eq!(*context, expected, "{how}");
        assert_eq!((&child["output"]["payload"], &child["metadata"]), (&json!({ "p": 1 }), &json!({ "m": 1 })));
        assert_eq!((&child["ttl"], &child["isTest"], &child["depth"]), (&json!("1h"), &json!(true), &json!(1)));
        assert_eq!(child["triggerFunction"], function);
        assert_eq!(stored::<String>(&app, "concurrency_key", text(&child, "id")), "customer");
    }
}

#[tokio::test]
async fn a_run_says_how_it_was_triggered() {
    let app = start().await;
    let seen = json!({ "task": "seen" });
    let steps = json!([{ "trigger": seen }, { "await": seen }, { "batch": [seen] }, { "await_batch": [seen] }]);
    let run = app.call("inside", steps).await;
    answers(&run);
    let functions = |run: &Value| -> Vec<String> {
        let list = run["relatedRuns"]["children"].as_array().expect("children");
        list.iter().map(|child| text(child, "triggerFunction").to_owned()).collect()
    };
    assert_eq!(functions(&run), ["trigger", "triggerAndWait", "batchTrigger", "batchTriggerAndWait"]);
    assert_eq!(run["triggerFunction"], "trigger");
    let awaited = children(&run)[3].clone();
    assert_eq!(app.finished(&awaited).await["triggerFunction"], "batchTriggerAndWait");
    let replay = app.replay(&awaited).await;
    assert_eq!(app.finished(&replay).await["triggerFunction"], "trigger", "nobody waits for a replay");
}

#[tokio::test]
async fn a_child_is_delayed() {
    let app = start().await;
    let said = ask(&app, json!([{ "trigger": { "task": "seen", "delay_ms": 3_600_000 } }])).await;
    let child = text(&said[0], "id");
    let shown = app.run(child).await;
    assert_eq!(shown["status"], "DELAYED");
    let delay = |name: &str| text(&shown, name).parse::<jiff::Timestamp>().expect("a moment").as_millisecond();
    assert_eq!(delay("delayedUntil") - delay("createdAt"), 3_600_000);
    app.app().advance(Duration::from_secs(3_600));
    assert_eq!(app.finished(child).await["status"], "COMPLETED");
}

#[tokio::test]
async fn children_are_debounced() {
    let app = start().await;
    for trailing in [false, true] {
        let seen = |n: u32| {
            let key = format!("trailing: {trailing}");
            json!({ "trigger": { "task": "seen", "payload": n, "debounce": key, "trailing": trailing } })
        };
        let said = ask(&app, json!([seen(1), seen(2)])).await;
        assert_eq!(said[0]["id"], said[1]["id"], "{said:?}");
        app.app().advance(Duration::from_secs(61));
        let child = app.finished(text(&said[0], "id")).await;
        assert_eq!(child["output"]["payload"], if trailing { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_child_runs_on_the_version_that_is_asked_for() {
    let app = start().await;
    let first = text(&app.call("inside", json!([])).await, "version").to_owned();
    let second = deploy_again(&app, "").await;
    assert_ne!(first, second);
    for version in [&first, &second] {
        let said = ask(&app, json!([{ "await": { "task": "seen", "version": version } }])).await;
        assert_eq!(said[0]["output"]["context"]["version"], **version, "{said:?}");
    }
    let unknown = json!({ "task": "seen", "version": "20200101.1" });
    let said = ask(&app, json!([{ "await": unknown }, { "trigger": { "task": "seen", "version": "no" } }])).await;
    assert_eq!(said[0], json!({ "error": "`version`: there is no version 20200101.1" }));
    assert_eq!(said[1], json!({ "error": "`version`: there is no version no" }));
    let nobody = ask(&app, json!([{ "trigger": { "task": "nobody", "version": second } }])).await;
    assert_eq!(nobody[0], json!({ "error": "the version that it is locked to has no task `nobody`" }));
}

#[tokio::test]
async fn a_child_waits_for_a_deployment_with_a_label() {
    let app = start().await;
    let labelled = json!({ "task": "seen", "external_deployment_id": "commit-7" });
    let run = app.trigger("inside", json!([{ "await": labelled }, { "trigger": labelled }])).await;
    app.until_status(&run, "WAITING").await;
    let child = children(&app.run(&run).await)[0].clone();
    assert_eq!(app.run(&child).await["status"], "PENDING_VERSION");

    let version = deploy_again(&app, "&externalId=commit-7&skipPromotion=true").await;

    let run = app.finished(&run).await;
    assert_eq!(answers(&run)[0]["output"]["context"]["version"], version);
    assert_ne!(run["version"], version);
    assert_eq!(app.finished(&children(&run)[1]).await["version"], version);
}

#[tokio::test]
async fn a_child_of_a_task_that_is_not_there_waits_for_it() {
    let app = start().await;
    let run = app.trigger("inside", json!([{ "await": { "task": "echo", "payload": 7 } }])).await;
    app.until_status(&run, "WAITING").await;
    assert_eq!(app.run(&children(&app.run(&run).await)[0]).await["status"], "PENDING_VERSION");
    app.deploy(guests::ECHO_V1).await;
    assert!(answers(&app.finished(&run).await)[0].get("output").is_some());
}

#[tokio::test]
async fn children_of_tests_are_tests_and_those_of_replays_are_replays() {
    let app = start().await;
    let steps = json!([{ "await": { "task": "inside", "payload": [{ "await": { "task": "seen" } }] } }]);
    let grandchild = |run: &Value| answers(run)[0]["output"][0]["output"]["context"].clone();
    let test = app.trigger_with("inside", steps.clone(), json!({ "test": true })).await;
    let test = app.finished(&test).await;
    assert_eq!((&grandchild(&test)["test"], &grandchild(&test)["replay"]), (&json!(true), &json!(false)));

    let run = app.call("inside", steps).await;
    assert_eq!((&grandchild(&run)["test"], &grandchild(&run)["replay"]), (&json!(false), &json!(false)));
    let replay = app.finished(&app.replay(text(&run, "id")).await).await;
    assert_eq!((&grandchild(&replay)["test"], &grandchild(&replay)["replay"]), (&json!(false), &json!(true)));
    let child = app.run(&children(&replay)[0]).await;
    assert_eq!((&child["isReplay"], child.get("replayedFrom")), (&json!(true), None), "{child}");
}

#[tokio::test]
async fn a_concurrency_key_has_places_of_its_own() {
    let app = start().await;
    app.finished(&app.trigger_with("seen", json!(0), json!({ "queue": { "name": "narrow" } })).await).await;
    let limit = json!({ "type": "custom", "concurrencyLimit": 1 });
    app.post("/api/v1/queues/narrow/concurrency/override", limit).await.ok();
    let gate = super::Gate::new(&app).await;
    let child = |key: &str| json!({ "trigger": { "task": "inside", "payload": [gate.step()], "queue": "narrow", "concurrency_key": key } });
    let said = ask(&app, json!([child("a"), child("a"), child("b")])).await;
    let (first, second) = (gate.guest().await, gate.guest().await);
    for (place, status) in ["EXECUTING", "QUEUED", "EXECUTING"].into_iter().enumerate() {
        assert_eq!(app.run(text(&said[place], "id")).await["status"], status, "{place}");
    }
    first.pass().await;
    second.pass().await;
    gate.guest().await.pass().await;
    app.finished(text(&said[1], "id")).await;
    let found = app.send(&app.key, Request::get("/api/v1/runs?filter[queue]=narrow"), Body::empty()).await.ok();
    assert_eq!(found["data"].as_array().map(Vec::len), Some(4));
}
