//! Queues: limits on what executes at a time, pausing, and what is in them.

use std::sync::Arc;
use std::time::Duration;

use dacapo::config::ServerArgs;
use dacapo::model::task::{QueueDefinition, TaskDefinition};
use dacapo::sandbox::scripted::{ScriptedSandbox, Step};
use serde_json::{Value, json};

use crate::harness::TestApp;

/// A server whose task `t` joins the queue `few`, of which two runs may execute at a time, and whose
/// task `own` has its own queue without a limit.
async fn with_limit() -> (TestApp, Arc<ScriptedSandbox>) {
    let (app, sandbox) = undeployed().await;
    app.upload("scripted", b"any bytes", "").await.ok();
    (app, sandbox)
}

/// The same before its tasks are deployed.
async fn undeployed() -> (TestApp, Arc<ScriptedSandbox>) {
    let mut limited = TaskDefinition::new("t");
    limited.queue = Some(QueueDefinition { name: "few".into(), concurrency_limit: Some(2) });
    let sandbox = Arc::new(ScriptedSandbox::new(vec![limited, TaskDefinition::new("own")]));
    let app = TestApp::start_sandboxed(ServerArgs::default(), Some(sandbox.clone())).await;
    (app, sandbox)
}

async fn cancel(app: &TestApp, run: &str) {
    app.post_empty(&format!("/api/v2/runs/{run}/cancel")).await.ok();
}

async fn queue(app: &TestApp, path: &str) -> Value {
    app.get(&format!("/api/v1/queues/{path}")).await.ok()
}

#[tokio::test]
async fn a_queue_lets_as_many_runs_execute_as_its_limit_says() {
    let (app, sandbox) = with_limit().await;
    for _ in 0..3 {
        sandbox.then(Step::Hang);
    }
    let mut runs = Vec::new();
    for n in 0..3 {
        runs.push(app.trigger("t", json!(n)).await);
    }
    app.until_status(&runs[0], "EXECUTING").await;
    app.until_status(&runs[1], "EXECUTING").await;

    let free = app.trigger("own", json!(1)).await;
    sandbox.called(3).await;
    assert_eq!(app.run(&free).await["status"], "EXECUTING", "another queue is not held up");
    assert_eq!(app.run(&runs[2]).await["status"], "QUEUED");
    let shown = queue(&app, "few?type=custom").await;
    assert_eq!((&shown["running"], &shown["queued"], &shown["concurrencyLimit"]), (&json!(2), &json!(1), &json!(2)));

    cancel(&app, &runs[0]).await;

    assert_eq!(app.finished(&runs[2]).await["status"], "COMPLETED", "a free place is taken");
}

#[tokio::test]
async fn every_concurrency_key_has_places_of_its_own() {
    let (app, sandbox) = with_limit().await;
    for _ in 0..4 {
        sandbox.then(Step::Hang);
    }
    let mut runs = Vec::new();
    for key in ["a", "a", "a", "b", "b"] {
        runs.push(app.trigger_with("t", json!(key), json!({ "concurrencyKey": key })).await);
    }
    sandbox.called(4).await;
    let mut waiting = Vec::new();
    for run in &runs {
        if app.run(run).await["status"] == "QUEUED" {
            waiting.push(run);
        }
    }
    assert_eq!(waiting, [&runs[2]]);
    cancel(&app, &runs[3]).await;
    assert_eq!(app.run(&runs[2]).await["status"], "QUEUED", "a place of another key is of no use");
    cancel(&app, &runs[1]).await;
    assert_eq!(app.finished(&runs[2]).await["status"], "COMPLETED");
}

#[tokio::test]
async fn a_paused_queue_starts_nothing_until_it_is_resumed() {
    let (app, _) = with_limit().await;
    let paused = app.post("/api/v1/queues/few/pause", json!({ "type": "custom", "action": "pause" })).await.ok();
    assert_eq!(paused["paused"], true);
    let mut runs = Vec::new();
    for n in 0..5 {
        runs.push(app.trigger("t", json!(n)).await);
    }
    assert_eq!(app.call("own", json!(1)).await["status"], "COMPLETED");
    assert_eq!(queue(&app, "few?type=custom").await["queued"], 5);

    let resumed = app.post("/api/v1/queues/few/pause", json!({ "type": "custom", "action": "resume" })).await.ok();

    assert_eq!(resumed["paused"], false);
    for run in &runs {
        assert_eq!(app.finished(run).await["status"], "COMPLETED");
    }
}

#[tokio::test]
async fn a_limit_is_overridden_and_reset() {
    let (app, sandbox) = with_limit().await;
    sandbox.then(Step::Hang);
    let id = queue(&app, "few?type=custom").await["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/queues/{id}/concurrency");
    let narrow = app.post(&format!("{path}/override"), json!({ "type": "id", "concurrencyLimit": 1 })).await.ok();
    assert_eq!(narrow["concurrency"]["override"], 1);
    assert_eq!(narrow["concurrency"]["base"], 2);
    let first = app.trigger("t", json!(1)).await;
    let second = app.trigger("t", json!(2)).await;
    sandbox.called(1).await;
    app.call("own", json!(0)).await;
    assert_eq!(app.run(&second).await["status"], "QUEUED");
    sandbox.then(Step::Hang);

    let reset = app.post(&format!("{path}/reset"), json!({ "type": "id" })).await.ok();

    assert_eq!(reset["concurrencyLimit"], 2);
    app.until_status(&second, "EXECUTING").await;
    assert_eq!(app.run(&first).await["status"], "EXECUTING");
}

#[tokio::test]
async fn places_of_runs_that_were_lost_in_a_crash_are_free_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut limited = TaskDefinition::new("t");
    limited.queue = Some(QueueDefinition { name: "few".into(), concurrency_limit: Some(1) });
    let lost = {
        let sandbox = Arc::new(ScriptedSandbox::new(vec![limited.clone()]));
        sandbox.then(Step::Hang);
        let args = ServerArgs { shutdown_grace: Some("0s".into()), ..ServerArgs::default() };
        let mut app = TestApp::open(data.clone(), args, Some(sandbox.clone())).await;
        app.upload("scripted", b"any bytes", "").await.ok();
        let lost = app.trigger("t", json!(1)).await;
        sandbox.called(1).await;
        app.stop().await;
        lost
    };
    let sandbox = Arc::new(ScriptedSandbox::new(vec![limited]));
    let app = TestApp::open(data, ServerArgs::default(), Some(sandbox)).await;
    assert_eq!(app.finished(&lost).await["status"], "COMPLETED");
    assert_eq!(app.call("t", json!(2)).await["status"], "COMPLETED");
    assert_eq!(queue(&app, "few?type=custom").await["running"], 0);
}

#[tokio::test]
async fn queues_are_listed_by_name_and_what_is_not_one_is_a_404() {
    let (app, _) = with_limit().await;
    app.finished(&app.trigger_with("own", json!(1), json!({ "queue": { "name": "a/b" } })).await).await;
    let page = app.get("/api/v1/queues?page=1&perPage=2").await.ok();
    let names: Vec<_> = page["data"].as_array().unwrap().iter().map(|queue| queue["name"].clone()).collect();
    assert_eq!(names, ["a/b", "few"]);
    assert_eq!(page["pagination"], json!({ "currentPage": 1, "totalPages": 2, "count": 3 }));
    assert_eq!(queue(&app, "a%252Fb?type=custom").await["name"], "a/b");
    assert_eq!(queue(&app, "own?type=task").await["type"], "task");
    for path in ["nobody?type=custom", "nobody", "queue_00000000000000000000000001"] {
        assert_eq!(app.get(&format!("/api/v1/queues/{path}")).await.error(404), "queue-not-found");
    }
    let bad = app.post("/api/v1/queues/few/concurrency/override", json!({ "type": "custom", "concurrencyLimit": -1 }));
    assert!(bad.await.error(400).starts_with("Invalid body: "));
}

#[tokio::test]
async fn runs_that_waited_for_their_task_join_the_queue_that_it_declares() {
    let (app, sandbox) = undeployed().await;
    let mut runs = Vec::new();
    for n in 0..3 {
        sandbox.then(Step::Hang);
        runs.push(app.trigger("t", json!(n)).await);
    }
    let chosen = app.trigger_with("t", json!(3), json!({ "queue": { "name": "mine" } })).await;
    assert_eq!(app.run(&runs[0]).await["queue"], "task/t", "nothing else is known of the task");
    sandbox.then(Step::Hang);

    app.upload("scripted", b"any bytes", "").await.ok();

    sandbox.called(3).await;
    for (run, queue, status) in [
        (&runs[0], "few", "EXECUTING"),
        (&runs[1], "few", "EXECUTING"),
        (&runs[2], "few", "QUEUED"),
        (&chosen, "mine", "EXECUTING"),
    ] {
        let run = app.run(run).await;
        assert_eq!((&run["queue"], &run["status"]), (&json!(queue), &json!(status)));
    }
    cancel(&app, &runs[1]).await;
    app.until_status(&runs[2], "EXECUTING").await;
}

#[tokio::test]
async fn delayed_runs_join_the_queue_that_their_task_declares_when_they_start() {
    let (app, sandbox) = undeployed().await;
    let delayed = json!({ "delay": "1m" });
    let mut runs = Vec::new();
    for n in 0..3 {
        sandbox.then(Step::Hang);
        runs.push(app.trigger_with("t", json!(n), delayed.clone()).await);
    }
    let chosen = json!({ "delay": "1m", "queue": { "name": "mine" } });
    let chosen = app.trigger_with("t", json!(3), chosen).await;
    sandbox.then(Step::Hang);
    app.upload("scripted", b"any bytes", "").await.ok();

    app.app().advance(Duration::from_secs(61));

    sandbox.called(3).await;
    let (mut queues, mut executing) = (Vec::new(), 0);
    for run in &runs {
        let run = app.run(run).await;
        queues.push(run["queue"].clone());
        executing += usize::from(run["status"] == "EXECUTING");
    }
    assert_eq!(queues, ["few", "few", "few"]);
    assert_eq!(executing, 2);
    assert_eq!(app.run(&chosen).await["queue"], "mine");
}

#[tokio::test]
async fn a_run_that_waited_for_a_labelled_deployment_joins_the_queue_that_it_declares() {
    let (app, sandbox) = undeployed().await;
    sandbox.then(Step::Hang);
    let run = app.trigger_with("t", json!(1), json!({ "externalDeploymentId": "commit" })).await;
    assert_eq!(app.run(&run).await["queue"], "task/t");

    app.upload("scripted", b"any bytes", "&externalId=commit&skipPromotion=true").await.ok();

    assert_eq!(app.until_status(&run, "EXECUTING").await["queue"], "few");
}

/// The queue of a run that was triggered with these options.
async fn queue_of(app: &TestApp, task: &str, options: Value) -> Value {
    let run = app.trigger_with(task, json!(1), options).await;
    app.finished(&run).await["queue"].clone()
}

#[tokio::test]
async fn the_name_of_a_queue_is_reduced_wherever_it_is_named() {
    let mut task = TaskDefinition::new("t");
    task.queue = Some(QueueDefinition { name: "e mails!".into(), concurrency_limit: Some(2) });
    let own = TaskDefinition::new("send it ✉");
    let sandbox = Arc::new(ScriptedSandbox::new(vec![task, own]));
    let app = TestApp::start_sandboxed(ServerArgs::default(), Some(sandbox)).await;
    app.upload("scripted", b"any bytes", "").await.ok();

    assert_eq!(queue_of(&app, "t", json!({})).await, "emails", "as its definition says");
    let named = |name: &str| json!({ "queue": { "name": name } });
    assert_eq!(queue_of(&app, "t", named("my (own) queue/ü")).await, "myownqueue/");
    assert_eq!(queue_of(&app, "t", named(&"q".repeat(200))).await, "q".repeat(128));
    assert_eq!(queue_of(&app, "send%20it%20%E2%9C%89", json!({})).await, "task/send it ✉", "ids stay whole");
    let source = app.trigger("t", json!(1)).await;
    let replay = app.post(&format!("/api/v1/runs/{source}/replay"), json!({ "queue": "an other" })).await.ok();
    assert_eq!(app.finished(replay["id"].as_str().unwrap()).await["queue"], "another");
    assert_eq!(queue(&app, "an%20other?type=custom").await["name"], "another");
    assert_eq!(queue(&app, "e%20mails!?type=custom").await["concurrencyLimit"], 2);
    assert_eq!(queue(&app, "send%20it%20%E2%9C%89?type=task").await["name"], "send it ✉");
    let limit = json!({ "type": "custom", "concurrencyLimit": 7 });
    app.post("/api/v1/queues/e%20mails/concurrency/override", limit).await.ok();
    assert_eq!(queue(&app, "emails?type=custom").await["concurrencyLimit"], 7);
    let listed = app.get("/api/v1/runs?filter[queue]=an%20other").await.ok();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    let filter = json!({ "queue": { "type": "custom", "name": "an other" } });
    let bulk = app.post("/api/v1/bulk-actions", json!({ "action": "cancel", "filter": filter })).await.ok();
    let bulk = format!("/api/v1/bulk-actions/{}", bulk["id"].as_str().unwrap());
    while app.get(&bulk).await.ok()["status"] == "PENDING" {
        tokio::task::yield_now().await;
    }
    assert_eq!(app.get(&bulk).await.ok()["counts"]["total"], 1);

    let filter = json!({ "queue": [{ "type": "custom", "name": "?" }] });
    for answer in [
        app.post("/api/v1/tasks/t/trigger", json!({ "payload": 1, "options": named("! ?") })).await,
        app.post(&format!("/api/v1/runs/{source}/replay"), json!({ "queue": "" })).await,
        app.get("/api/v1/queues/%3F?type=custom").await,
        app.post("/api/v1/queues/%3F/pause", json!({ "type": "custom", "action": "pause" })).await,
        app.get("/api/v1/runs?filter[queue]=%3F").await,
        app.post("/api/v1/bulk-actions", json!({ "action": "cancel", "filter": filter })).await,
    ] {
        assert!(answer.error(422).contains("a queue's name must have at least one of the characters"));
    }
}
