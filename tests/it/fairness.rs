//! Who is next when a place becomes free: the run that has waited longest of those that may pass,
//! whatever its queue and its key are called, and at once.

use std::path::Path;
use std::sync::Arc;

use dacapo::clock::Clock;
use dacapo::config::ServerArgs;
use dacapo::model::id::{EnvironmentId, WorkerId};
use dacapo::model::task::{QueueDefinition, TaskDefinition};
use dacapo::sandbox::scripted::{ScriptedSandbox, Step};
use dacapo::storage::{ClaimRequest, QueueChange, Storage};
use serde_json::{Value, json};

use crate::harness::{PATIENCE, TestApp};

/// More keys than one free place is offered to.
const MANY: usize = 60;

async fn with_one_place(sandbox: &Arc<ScriptedSandbox>) -> TestApp {
    let app = TestApp::start_sandboxed(ServerArgs::default(), Some(sandbox.clone())).await;
    app.upload("scripted", b"any bytes", "").await.ok();
    limit(&app, 1).await;
    app
}

async fn limit(app: &TestApp, limit: u32) {
    app.admin("PUT", "/admin/v1/environments/dev/concurrency", json!({ "limit": limit })).await.ok();
}

async fn trigger(app: &TestApp, key: &str) -> String {
    app.trigger_with("t", json!(key), json!({ "concurrencyKey": key })).await
}

/// Where in the order of all calls a run was called.
fn turn(sandbox: &ScriptedSandbox, run: &str) -> usize {
    sandbox.seen().iter().position(|seen| seen.run == run).expect("the run was called")
}

#[tokio::test]
async fn one_of_many_keys_does_not_wait_until_the_others_have_nothing_left() {
    let sandbox = Arc::new(ScriptedSandbox::new(vec![TaskDefinition::new("t")]));
    let app = with_one_place(&sandbox).await;
    sandbox.then(Step::Hang);
    let first = trigger(&app, "key-00").await;
    sandbox.called(1).await;
    let oldest = trigger(&app, "last").await;
    let mut runs = Vec::new();
    for n in 0..2 * MANY {
        runs.push(trigger(&app, &format!("key-{:02}", n % MANY)).await);
    }

    app.post_empty(&format!("/api/v2/runs/{first}/cancel")).await.ok();
    for run in &runs {
        app.finished(run).await;
    }

    let second_round = runs[MANY..].iter().map(|run| turn(&sandbox, run)).min().unwrap();
    assert!(turn(&sandbox, &oldest) < second_round, "the oldest waits for {second_round} others and more");
}

#[tokio::test]
async fn places_that_come_with_a_larger_limit_go_to_the_oldest() {
    let sandbox = Arc::new(ScriptedSandbox::new(vec![TaskDefinition::new("t")]));
    let app = with_one_place(&sandbox).await;
    sandbox.then(Step::Hang);
    trigger(&app, "first").await;
    sandbox.called(1).await;
    let oldest = trigger(&app, "z").await;
    for key in ["a", "b", "a"] {
        trigger(&app, key).await;
    }
    sandbox.then(Step::Hang);

    limit(&app, 2).await;

    sandbox.called(2).await;
    assert_eq!(sandbox.seen()[1].run, oldest);
}

#[tokio::test]
async fn a_place_that_its_run_cannot_use_is_offered_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let dev = leave_two_held_runs(dir.path()).await;
    let clock = Clock::system();
    let storage = Storage::open(dir.path(), &clock).unwrap();
    let worker = WorkerId::from_bits(1);

    storage.change_queue(dev, "few".into(), QueueChange::Resume, clock.now()).await.unwrap();
    storage.upkeep(clock.now(), worker).await.unwrap();
    let claim = storage.claim(ClaimRequest { worker, max_runs: 4 }).unwrap();
    // The first has no version any more, and nothing else happens.
    let claimed = tokio::time::timeout(PATIENCE, claim).await.expect("the next is let go").unwrap();

    assert_eq!(claimed.iter().map(|claimed| claimed.run.task.as_str()).collect::<Vec<_>>(), ["t"]);
    storage.close().await;
}

/// Leaves a queue with one place that is paused: a run of `gone` waits in it, which no deployment
/// has any more, and behind it a run of `t`. Answers with the environment.
async fn leave_two_held_runs(data_dir: &Path) -> EnvironmentId {
    let task = |id: &str| {
        let queue = Some(QueueDefinition { name: "few".into(), concurrency_limit: Some(1) });
        TaskDefinition { queue, ..TaskDefinition::new(id) }
    };
    let open = async |tasks| {
        let sandbox = Arc::new(ScriptedSandbox::new(tasks));
        TestApp::open(data_dir.to_owned(), ServerArgs::default(), Some(sandbox)).await
    };
    let mut app = open(vec![task("gone"), task("t")]).await;
    app.upload("scripted", b"both", "").await.ok();
    app.post("/api/v1/queues/few/pause", json!({ "type": "custom", "action": "pause" })).await.ok();
    let runs = [app.trigger("gone", json!(1)).await, app.trigger("t", json!(2)).await];
    app.stop().await;
    let mut app = open(vec![task("t")]).await;
    app.upload("scripted", b"one", "").await.ok();
    for run in &runs {
        assert_eq!(app.run(run).await["status"], "QUEUED");
    }
    let environments = app.admin("GET", "/admin/v1/environments", Value::Null).await.ok();
    let dev = environments["data"].as_array().unwrap().iter().find(|item| item["slug"] == "dev").unwrap();
    let dev = dev["id"].as_str().unwrap().parse().unwrap();
    app.stop().await;
    dev
}
