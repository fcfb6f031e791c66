//! Which version a run gets, and what becomes of runs that nobody takes: labels and default times.

use std::time::Duration;

use dacapo::config::ServerArgs;
use dacapo_tests::guests;
use serde_json::json;

use crate::harness::TestApp;

#[tokio::test]
async fn a_run_waits_for_the_deployment_that_it_names() {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    let label = |id: &str| json!({ "externalDeploymentId": id });
    let waiting = app.trigger_with("echo", json!("waits"), label("commit-2")).await;
    let delayed =
        app.trigger_with("echo", json!(1), json!({ "externalDeploymentId": "commit-2", "delay": "1h" })).await;
    let other = app.trigger_with("echo", json!(1), label("commit-3")).await;
    app.call("echo", json!("on the current version")).await;
    for run in [&waiting, &other] {
        assert_eq!(app.run(run).await["status"], "PENDING_VERSION");
    }

    let second = std::fs::read(guests::ECHO_V2).unwrap();
    let receipt = app.upload("echo-v1", &second, "&externalId=commit-2&skipPromotion=true").await.ok();

    assert_eq!(receipt["deployment"]["externalId"], "commit-2");
    let version = receipt["deployment"]["version"].clone();
    let run = app.finished(&waiting).await;
    assert_eq!((&run["status"], &run["version"]), (&json!("COMPLETED"), &version));
    let direct = app.trigger_with("echo", json!("finds it"), label("commit-2")).await;
    assert_eq!(app.finished(&direct).await["version"], version);
    app.app().advance(Duration::from_secs(3_600));
    assert_eq!(app.finished(&delayed).await["version"], version);
    assert_eq!(app.finished(&other).await["status"], "EXPIRED", "it waited for another one");
    let long = "x".repeat(129);
    let refused = app.upload("echo-v1", &second, &format!("&externalId={long}")).await;
    assert_eq!(refused.error(422), "externalId must have 1 to 128 characters");
}

#[tokio::test]
async fn a_run_that_waits_too_long_expires_where_it_is_for_development() {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    app.post("/api/v1/queues/echo/pause", json!({ "type": "task", "action": "pause" })).await.ok();
    let default = app.trigger("echo", json!(1)).await;
    let longer = app.trigger_with("echo", json!(1), json!({ "ttl": "1h" })).await;
    let for_ever = app.trigger_with("echo", json!(1), json!({ "ttl": 0 })).await;
    assert_eq!(app.run(&default).await["ttl"], "10m");

    app.app().advance(Duration::from_secs(601));

    let expired = app.finished(&default).await;
    assert_eq!((&expired["status"], expired["finishedAt"].is_string()), (&json!("EXPIRED"), true));
    for run in [&longer, &for_ever] {
        assert_eq!(app.run(run).await["status"], "QUEUED");
    }
    app.app().advance(Duration::from_secs(3_600));
    assert_eq!(app.finished(&longer).await["status"], "EXPIRED");
    assert_eq!(app.run(&for_ever).await["status"], "QUEUED");
}

#[tokio::test]
async fn the_operator_sets_how_long_runs_wait() {
    let app = TestApp::start_with(ServerArgs { default_ttl: Some("30s".into()), ..ServerArgs::default() }).await;
    app.deploy(guests::ECHO_V1).await;
    app.post("/api/v1/queues/echo/pause", json!({ "type": "task", "action": "pause" })).await.ok();
    let run = app.trigger("echo", json!(1)).await;
    app.app().advance(Duration::from_secs(31));
    assert_eq!(app.finished(&run).await["status"], "EXPIRED");

    let app = TestApp::start_with(ServerArgs { default_ttl: Some("0".into()), ..ServerArgs::default() }).await;
    app.deploy(guests::ECHO_V1).await;
    let run = app.call("echo", json!(1)).await;
    assert_eq!(run["ttl"], serde_json::Value::Null);
}
