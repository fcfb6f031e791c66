//! Triggers that are refused: the task is told why, and nothing is triggered.

use dacapo::config::ServerArgs;
use dacapo_tests::guests;
use serde_json::{Value, json};

use super::{answers, children, start, start_with};
use crate::harness::TestApp;

/// Every way to trigger what is refused ends like this, and makes no run.
async fn check(app: &TestApp, asked: Value, why: &str) {
    let good = json!({ "task": "seen" });
    let steps = json!([
        { "trigger": asked }, { "await": asked }, { "batch": [good, asked, good] }, { "await_batch": [good, asked] },
    ]);

    let run = app.call("inside", steps).await;

    let said = answers(&run);
    for answer in &said {
        let error = answer["error"].as_str().unwrap_or_else(|| panic!("it was not refused: {said:?}"));
        assert!(error.contains(why), "{error}");
    }
    assert!(said[2]["error"].as_str().is_some_and(|text| text.contains("item 1")), "{said:?}");
    assert_eq!(children(&run), [""; 0], "of a batch with one bad item nothing is triggered");
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let app = start().await;
    app.deploy(guests::SCHEMA).await;
    check(&app, json!({ "task": "schema", "payload": { "n": "x" } }), "\"x\" is not of type \"integer\"").await;
    check(&app, json!({ "task": "" }), "a task id must have 1 to 128 characters").await;
    check(&app, json!({ "task": "seen", "version": "20200101.1" }), "there is no version 20200101.1").await;
    check(&app, json!({ "task": "seen", "tags": [""] }), "a tag must have 1 to 128 characters").await;
    check(&app, json!({ "task": "seen", "tags": vec!["a"; 11] }), "the most is 10").await;
    check(&app, json!({ "task": "seen", "metadata": [1] }), "`metadata` must be a JSON object").await;
    check(&app, json!({ "task": "seen", "max_attempts": 0 }), "maxAttempts must be").await;
    check(&app, json!({ "task": "seen", "max_duration_ms": 86_401_000 }), "maxDuration must be").await;
    check(&app, json!({ "task": "seen", "queue": "!" }), "a queue's name must have").await;
    check(&app, json!({ "task": "seen", "key": "", "scope": "run" }), "must have 1 to 2048 characters").await;
    check(&app, json!({ "task": "seen", "ttl_ms": 366 * 86_400_000_u64 + 1 }), "a ttl").await;
    check(&app, json!({ "task": "seen", "concurrency_key": "x".repeat(513) }), "a concurrency key can have").await;
}

#[tokio::test]
async fn a_child_that_is_waited_for_may_be_delayed_or_debounced() {
    let app = start().await;
    for asked in [json!({ "task": "seen", "delay_ms": 5 }), json!({ "task": "seen", "debounce": "d" })] {
        let run = app.trigger("inside", json!([{ "await": asked }])).await;
        app.until_status(&run, "WAITING").await;
        app.app().advance(std::time::Duration::from_secs(3_600));
        assert_eq!(app.finished(&run).await["status"], "COMPLETED");
    }
}

#[tokio::test]
async fn a_batch_has_its_limit() {
    let app = start().await;
    let run = app.call("inside", json!([{ "flood": 1_001 }, { "flood": 0 }, { "batch": [] }])).await;
    let refused = |count: usize| json!({ "error": format!("a batch has 1 to 1000 items, not {count}") });
    assert_eq!(answers(&run), [refused(1_001), refused(0), refused(0)]);
    assert_eq!(children(&run), [""; 0]);
}

#[tokio::test]
async fn a_full_queue_takes_nothing() {
    let app = start_with(ServerArgs { max_waiting_runs: Some(2), ..ServerArgs::default() }).await;
    let nobody = json!({ "task": "nobody" });
    let steps = json!([
        { "batch": [nobody, nobody, nobody] }, { "trigger": nobody }, { "trigger": nobody }, { "trigger": nobody },
    ]);
    let run = app.call("inside", steps).await;
    let said = answers(&run);
    for full in [&said[0], &said[3]] {
        let error = full["error"].as_str().unwrap_or_else(|| panic!("it was not full: {said:?}"));
        assert!(error.contains("runs are waiting to start in this environment, which is the limit"), "{error}");
    }
    assert_eq!(children(&run).len(), 2, "{said:?}");
}

#[tokio::test]
async fn runs_trigger_runs_64_levels_deep() {
    let app = start().await;
    let run = app.call("inside", json!([{ "deeper": 100 }])).await;
    let error = "runs can trigger runs 64 levels deep at most";
    assert_eq!(answers(&run), [json!({ "levels_left": 100 - 64, "error": error })]);
}
