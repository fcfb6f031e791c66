//! Numbers of what has ended, and errors in groups, as the page shows them.

use std::time::Duration;

use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::harness::TestApp;

async fn start() -> TestApp {
    let app = TestApp::start().await;
    app.deploy(guests::SCRIPT).await;
    app
}

async fn overview(app: &TestApp, period: &str) -> Value {
    app.get(&format!("/api/v1/overview?period={period}")).await.ok()
}

fn sum(series: &Value) -> u64 {
    series.as_array().expect("a list").iter().filter_map(Value::as_u64).sum()
}

#[tokio::test]
async fn every_end_is_counted_once() {
    let app = start().await;
    for payload in [json!({ "echo": 1 }), json!({ "echo": 2 }), json!({ "fail": "no" }), json!({ "trap": "no" })] {
        app.call("leaf", payload).await;
    }
    let canceled = app.trigger("nobody-has-it", json!(1)).await;
    app.post_empty(&format!("/api/v2/runs/{canceled}/cancel")).await.ok();
    let waiting = app.trigger("script", json!([{ "wait_ms": 60_000 }])).await;
    app.until_status(&waiting, "WAITING").await;
    for (period, step, intervals) in [("1h", 60, 61), ("24h", 3_600, 25)] {
        let seen = overview(&app, period).await;
        assert_eq!(seen["ended"], json!({ "completed": 2, "failed": 2, "dropped": 1 }));
        assert_eq!((&seen["now"]["waiting"], &seen["now"]["executing"]), (&json!(1), &json!(0)));
        let series = &seen["series"];
        assert_eq!(series["stepSeconds"], json!(step));
        assert_eq!(series["completed"].as_array().map(Vec::len), Some(intervals), "up to now");
        assert_eq!([sum(&series["completed"]), sum(&series["failed"]), sum(&series["dropped"])], [2, 2, 1]);
        let tasks = seen["tasks"].as_array().expect("a list");
        assert_eq!(tasks.len(), 2);
        assert_eq!((&tasks[0]["taskIdentifier"], &tasks[0]["completed"]), (&json!("leaf"), &json!(2)));
        assert!(tasks[0]["p50Ms"].as_f64() <= tasks[0]["p99Ms"].as_f64() && tasks[0]["p50Ms"].is_f64());
        assert_eq!(tasks[1]["p50Ms"], Value::Null, "it never started");
    }
    let leaf = app.get("/api/v1/tasks/leaf/statistics?period=1h").await.ok();
    assert_eq!((&leaf["failed"], sum(&leaf["series"]["failed"])), (&json!(2), 2));
}

#[tokio::test]
async fn counts_belong_to_the_time_in_which_runs_ended() {
    let app = start().await;
    app.call("leaf", json!({ "echo": 1 })).await;
    app.app().advance(Duration::from_secs(2 * 3_600));
    app.call("leaf", json!({ "echo": 1 })).await;
    assert_eq!(overview(&app, "1h").await["ended"]["completed"], json!(1));
    let long = overview(&app, "24h").await;
    let busy = long["series"]["completed"].as_array().expect("a list").iter().filter(|n| **n == json!(1)).count();
    assert_eq!((&long["ended"]["completed"], busy), (&json!(2), 2), "{long}");
    app.app().advance(Duration::from_secs(91 * 86_400));
    app.call("leaf", json!({ "echo": 1 })).await;
    assert_eq!(overview(&app, "90d").await["ended"]["completed"], json!(1));
}

#[tokio::test]
async fn the_oldest_queued_run_is_the_one_that_has_waited_longest() {
    let app = start().await;
    app.call("leaf", json!({ "echo": 1 })).await;
    app.post("/api/v1/queues/leaf/pause", json!({ "type": "task", "action": "pause" })).await.ok();
    let late = app.trigger_with("leaf", json!({ "echo": 1 }), json!({ "delay": "1h", "ttl": "1d" })).await;
    let first = app.trigger_with("leaf", json!({ "echo": 1 }), json!({ "ttl": "1d" })).await;
    let queued = app.run(&first).await;
    app.app().advance(Duration::from_secs(2 * 3_600));
    app.until_status(&late, "QUEUED").await;

    let seen = overview(&app, "1h").await;

    assert_eq!(seen["now"]["queued"], json!(2));
    assert_eq!(seen["now"]["oldestQueuedAt"], queued["createdAt"], "{seen}");
    for run in [&late, &first] {
        app.post_empty(&format!("/api/v2/runs/{run}/cancel")).await.ok();
    }
    assert_eq!(overview(&app, "1h").await["now"].get("oldestQueuedAt"), None);
}

#[tokio::test]
async fn errors_that_look_alike_are_one_group() {
    let app = start().await;
    for message in ["order 17 is gone", "order 4711 is gone", "no money"] {
        app.call("leaf", json!({ "fail": message })).await;
    }
    app.call("leaf", json!({ "trap": "at once" })).await;
    let groups = app.get("/api/v1/errors").await.ok();
    let groups = groups["data"].as_array().expect("a list");
    assert_eq!(groups.len(), 3, "{groups:?}");
    let gone = groups.iter().find(|group| group["message"] == "order 4711 is gone").expect("the last one's words");
    assert_eq!((&gone["count"], &gone["taskIdentifier"]), (&json!(2), &json!("leaf")));
    assert!(gone["firstSeenAt"].as_str() <= gone["lastSeenAt"].as_str());
    assert_eq!(gone["versions"].as_array().map(Vec::len), Some(1));
    let filter = format!("filter[error]={}", gone["fingerprint"].as_str().expect("a text"));
    assert_eq!(app.all_runs(&filter).await.len(), 2);
    let counted = app.get(&format!("/api/v1/runs/count?{filter}")).await.ok();
    assert_eq!(counted, json!({ "count": 2, "isMore": false }));
    let bulk = json!({ "action": "replay", "filter": { "error": gone["fingerprint"] } });
    let bulk = crate::bulk::begin(&app, bulk).await;
    crate::bulk::over(&app, &bulk).await;
    assert_eq!(app.all_runs("filter[taskIdentifier]=leaf").await.len(), 6, "both were replayed");
}

#[tokio::test]
async fn a_task_cannot_fill_the_table_of_groups() {
    let app = start().await;
    let letters = |n: usize| n.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect::<String>();
    for n in 0..502 {
        app.call("leaf", json!({ "fail": letters(n) })).await;
    }
    let groups = app.get("/api/v1/errors").await.ok();
    let groups = groups["data"].as_array().expect("a list");
    assert_eq!(groups.len(), 200, "the last seen");
    assert_eq!((&groups[0]["count"], &groups[0]["message"]), (&json!(2), &json!(letters(501))), "one for the rest");
}

#[tokio::test]
async fn a_list_says_why_runs_failed() {
    let app = start().await;
    app.call("leaf", json!({ "fail": "no money" })).await;
    let runs = app.all_runs("filter[status]=FAILED").await;
    assert_eq!((&runs[0]["error"]["message"], &runs[0]["attemptCount"]), (&json!("no money"), &json!(1)));
    assert_eq!(runs[0]["queue"], "task/leaf");
}

#[tokio::test]
async fn a_period_must_be_one() {
    let app = TestApp::start().await;
    let error = app.get("/api/v1/overview?period=soon").await.error(400);
    assert!(error.starts_with("Query Error: period: "), "{error}");
    assert_eq!(
        app.get("/api/v1/errors?period=91d").await.error(400),
        "Query Error: period: numbers are kept for 90 days"
    );
    app.get("/api/v1/overview?time=1h").await.error(400);
}
