//! How long journals of ended runs are kept, as the operator and the task's author say.

use std::time::Duration;

use dacapo::config::ServerArgs;
use dacapo_tests::guests;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, TestApp};

const HOUR: Duration = Duration::from_secs(3_600);

async fn start(journal_retention: Option<&str>) -> TestApp {
    let args = ServerArgs {
        parked_time: Some("0s".into()),
        journal_retention: journal_retention.map(Into::into),
        ..ServerArgs::default()
    };
    let app = TestApp::start_with(args).await;
    app.deploy(guests::SCRIPT).await;
    app
}

/// The attempts of a run of which something is stored.
fn journaled(app: &TestApp, run: &str) -> Vec<u32> {
    let connection = Connection::open(app.data_dir().join("dacapo.db")).expect("the database opens");
    let sql = "SELECT DISTINCT attempt FROM run_journals WHERE run_id = ?1 ORDER BY attempt";
    let mut statement = connection.prepare(sql).expect("good SQL");
    let attempts = statement.query_map([run], |row| row.get(0)).expect("it is asked");
    attempts.map(|attempt| attempt.expect("a number")).collect()
}

async fn until_forgotten(app: &TestApp, run: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !journaled(app, run).is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "the journal of {run} is not forgotten");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn id(run: &Value) -> &str {
    run["id"].as_str().expect("a run has an id")
}

/// A run that waits for a day.
async fn waiting(app: &TestApp, task: &str) -> String {
    let run = app.trigger(task, json!([{ "clock": true }, { "wait_ms": 86_400_000 }, { "return": "past" }])).await;
    app.until_status(&run, "WAITING").await;
    run
}

#[tokio::test]
async fn the_journal_of_the_last_attempt_is_kept_however_it_ended_the_run() {
    let app = start(None).await;
    for (status, end, options, attempt) in [
        ("COMPLETED", json!({ "return": 1 }), json!({}), 1),
        ("COMPLETED", json!({ "fail_before": 3 }), json!({}), 3),
        ("FAILED", json!({ "fail": "on purpose" }), json!({ "maxAttempts": 2 }), 2),
        ("CRASHED", json!({ "trap": "on purpose" }), json!({}), 1),
    ] {
        let run = app.trigger_with("script", json!([{ "clock": true }, { "wait_ms": 1 }, end]), options).await;
        let run = app.finished(&run).await;
        assert_eq!(run["status"], status, "{run}");
        assert_eq!(journaled(&app, id(&run)), [attempt], "{run}");
    }
}

#[tokio::test]
async fn the_journal_of_an_attempt_that_took_too_long_is_kept() {
    let args = ServerArgs {
        default_max_duration: Some("1s".into()),
        max_host_wait: Some("1s".into()),
        ..ServerArgs::default()
    };
    let app = TestApp::start_with(args).await;
    app.deploy(guests::SCRIPT).await;
    let run = app.call("script", json!([{ "clock": true }, { "sleep_ms": 600_000 }])).await;
    assert_eq!(run["status"], "TIMED_OUT", "{run}");
    assert_eq!(journaled(&app, id(&run)), [1]);
}

#[tokio::test]
async fn a_journal_is_forgotten_so_long_after_the_end_and_not_before() {
    let app = start(Some("2h")).await;
    let waits = waiting(&app, "script").await;
    let early = app.call("script", json!([{ "clock": true }])).await;
    app.app().advance(HOUR + HOUR / 2);
    let late = app.call("script", json!([{ "clock": true }])).await;
    assert_eq!((journaled(&app, id(&early)), journaled(&app, id(&late))), (vec![1], vec![1]));
    app.app().advance(HOUR);
    until_forgotten(&app, id(&early)).await;
    assert_eq!((journaled(&app, id(&late)), journaled(&app, &waits)), (vec![1], vec![1]));
    app.app().advance(HOUR);
    until_forgotten(&app, id(&late)).await;
    // It was begun long before the others ended.
    app.app().advance(24 * HOUR);
    assert_eq!(app.finished(&waits).await["output"], "past");
    assert_eq!(journaled(&app, &waits), [1]);
    let again = app.run(id(&early)).await;
    assert_eq!((&again["status"], again["output"].is_array()), (&json!("COMPLETED"), true), "the run itself is kept");
}

#[tokio::test]
async fn a_server_that_keeps_no_journals_forgets_them_with_the_end() {
    let app = start(Some("0")).await;
    let waits = waiting(&app, "script").await;
    assert_eq!(journaled(&app, &waits), [1], "it is needed");
    app.app().advance(24 * HOUR);
    assert_eq!(app.finished(&waits).await["output"], "past");
    assert!(journaled(&app, &waits).is_empty());
    let failed = app.trigger_with("script", json!([{ "clock": true }, { "fail": "no" }]), json!({ "maxAttempts": 1 }));
    let failed = app.finished(&failed.await).await;
    assert_eq!(failed["status"], "FAILED", "{failed}");
    assert!(journaled(&app, id(&failed)).is_empty());
}

#[tokio::test]
async fn a_task_may_want_its_journals_forgotten() {
    let app = start(None).await;
    let waits = waiting(&app, "forgetful").await;
    assert_eq!(journaled(&app, &waits), [1], "it is needed");
    app.app().advance(24 * HOUR);
    assert_eq!(app.finished(&waits).await["output"], "past");
    assert!(journaled(&app, &waits).is_empty());
    let deployment = app.get("/api/v1/deployments/current").await.ok();
    let deployment = app.get(&format!("/api/v1/deployments/{}", id(&deployment))).await.ok();
    let tasks = deployment["tasks"].as_array().expect("a list").iter();
    let keeps: Vec<_> = tasks.map(|task| (id(task), task["keepsJournals"].as_bool())).collect();
    assert_eq!(keeps, [("forgetful", Some(false)), ("leaf", Some(true)), ("script", Some(true))]);
}

#[tokio::test]
async fn a_run_without_its_journal_is_not_replayable() {
    let app = start(Some("2h")).await;
    let asks = json!([{ "clock": true }, { "return": 1 }]);
    let (kept, unwanted) = (app.call("script", asks.clone()).await, app.call("forgetful", asks).await);
    let replayed = async |run: &Value| {
        let path = format!("/api/v1/runs/{}/replay", id(run));
        app.post(&path, json!({ "mode": "sandbox" })).await.ok()
    };
    assert_eq!(replayed(&kept).await["verdict"], "same");
    let report = replayed(&unwanted).await;
    assert_eq!(report["verdict"], "not-replayable", "{report}");
    app.app().advance(3 * HOUR);
    until_forgotten(&app, id(&kept)).await;
    let report = replayed(&kept).await;
    assert_eq!(report["verdict"], "not-replayable", "{report}");
    assert!(report["note"].as_str().is_some_and(|note| note.contains("is forgotten")), "{report}");
}
