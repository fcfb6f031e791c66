//! Free places go to whoever has waited longest and may pass, however many others wait.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use dacapo::config::ServerArgs;
use dacapo::model::task::TaskDefinition;
use dacapo::sandbox::scripted::{ScriptedSandbox, Step};
use serde_json::{Value, json};

use crate::harness::TestApp;

/// A server that works on `workers` runs at a time, with the task `t`, of which the first calls hang.
async fn scripted(workers: u32, hangs: usize) -> (TestApp, Arc<ScriptedSandbox>) {
    let sandbox = Arc::new(ScriptedSandbox::new(vec![TaskDefinition::new("t")]));
    (0..hangs).for_each(|_| sandbox.then(Step::Hang));
    let args = ServerArgs { max_concurrent_runs: Some(workers), ..ServerArgs::default() };
    let app = TestApp::start_sandboxed(args, Some(sandbox.clone())).await;
    app.upload("scripted", b"any bytes", "").await.ok();
    (app, sandbox)
}

async fn trigger(app: &TestApp, queue: &str, key: Option<&str>) -> String {
    app.trigger_with("t", json!(1), json!({ "queue": { "name": queue }, "concurrencyKey": key })).await
}

async fn pause(app: &TestApp, queue: &str, action: &str) {
    app.post(&format!("/api/v1/queues/{queue}/pause"), json!({ "type": "custom", "action": action })).await.ok();
}

async fn cancel(app: &TestApp, run: &str) {
    app.post_empty(&format!("/api/v2/runs/{run}/cancel")).await.ok();
}

async fn limit_environment(app: &TestApp, limit: u32) {
    app.admin("PUT", "/admin/v1/environments/dev/concurrency", json!({ "limit": limit })).await.ok();
}

/// Triggers many runs at once, as the items of a batch, and answers with them in their order.
async fn many(app: &TestApp, count: usize, options: impl Fn(usize) -> Value) -> Vec<String> {
    let batch = app.post("/api/v3/batches", json!({ "runCount": count })).await.ok();
    let batch = batch["id"].as_str().unwrap();
    let item = |n: usize| json!({ "index": n, "task": "t", "payload": n, "options": options(n) });
    let lines: String = (0..count).map(|n| format!("{}\n", item(n))).collect();
    let items = Request::post(format!("/api/v3/batches/{batch}/items"));
    let sent = app.send(&app.key, items.header("content-type", "application/x-ndjson"), lines).await.ok();
    assert_eq!(sent["sealed"], true);
    let shown = app.get(&format!("/api/v2/batches/{batch}")).await.ok();
    shown["runs"].as_array().unwrap().iter().map(|run| run.as_str().unwrap().to_owned()).collect()
}

/// How many runs the database finds with a condition.
fn count(data_dir: &Path, condition: &str) -> usize {
    let connection = rusqlite::Connection::open(data_dir.join("dacapo.db")).unwrap();
    let sql = format!("SELECT COUNT(*) FROM runs WHERE {condition}");
    connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap() as usize
}

async fn until_count(app: &TestApp, condition: &str, expected: usize) {
    for _ in 0..12_000 {
        if count(app.data_dir(), condition) == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{} and not {expected} runs: {condition}", count(app.data_dir(), condition));
}

/// Frees the only place of the environment again and again, and checks who takes it.
async fn hand_over(app: &TestApp, sandbox: &ScriptedSandbox, first: &str, expected: &[&String]) {
    let (mut executing, before) = (first.to_owned(), sandbox.seen().len());
    for (n, next) in expected.iter().enumerate() {
        cancel(app, &executing).await;
        sandbox.called(before + n + 1).await;
        let seen = sandbox.seen();
        assert_eq!(seen.len(), before + n + 1, "one place");
        assert_eq!(seen.last().unwrap().run, **next, "place {n}");
        executing = (*next).clone();
    }
}

#[tokio::test]
async fn every_place_of_an_environment_goes_to_the_oldest_run_that_may_pass() {
    let (app, sandbox) = scripted(16, 100).await;
    limit_environment(&app, 1).await;
    let first = trigger(&app, "b", None).await;
    sandbox.called(1).await;
    pause(&app, "b", "pause").await;
    let mut runs = Vec::new();
    for (queue, key) in
        [("b", None), ("c", Some("2")), ("a", None), ("b", None), ("c", Some("1")), ("d", None), ("a", None)]
    {
        runs.push(trigger(&app, queue, key).await);
    }
    until_count(&app, "status = 'queued' AND held = 1", 7).await;

    hand_over(&app, &sandbox, &first, &[&runs[1], &runs[2], &runs[4], &runs[5]]).await;

    // The last run of `a` is younger than what waited in the queue that was paused.
    pause(&app, "b", "resume").await;
    hand_over(&app, &sandbox, &runs[5], &[&runs[0], &runs[3], &runs[6]]).await;
}

#[tokio::test]
async fn many_runs_of_a_paused_queue_are_not_in_the_way_of_the_oldest_other() {
    let (app, sandbox) = scripted(16, 100).await;
    limit_environment(&app, 1).await;
    let first = trigger(&app, "a", None).await;
    sandbox.called(1).await;
    pause(&app, "a", "pause").await;
    many(&app, 70, |n| json!({ "queue": { "name": "a" }, "concurrencyKey": n })).await;
    // The oldest are the last by their keys.
    let others = many(&app, 70, |n| json!({ "queue": { "name": "m" }, "concurrencyKey": 100 - n })).await;
    until_count(&app, "status = 'queued' AND held = 1", 140).await;

    hand_over(&app, &sandbox, &first, &[&others[0], &others[1], &others[2]]).await;

    // Also when it is upkeep that finds a free place.
    pause(&app, "m", "pause").await;
    cancel(&app, &others[2]).await;
    until_count(&app, "status = 'executing'", 0).await;
    pause(&app, "m", "resume").await;
    sandbox.called(5).await;
    assert_eq!(sandbox.seen().last().unwrap().run, others[3]);
}

#[tokio::test]
async fn six_hundred_keys_at_which_a_run_is_held_are_all_let_go() {
    let (app, _) = scripted(16, 0).await;
    app.finished(&trigger(&app, "q", None).await).await;
    pause(&app, "q", "pause").await;
    let runs = many(&app, 600, |n| json!({ "queue": { "name": "q" }, "concurrencyKey": n })).await;
    until_count(&app, "status = 'queued' AND held = 1", 600).await;

    pause(&app, "q", "resume").await;

    until_count(&app, "status = 'completed'", 601).await;
    assert_eq!(app.run(&runs[599]).await["status"], "COMPLETED");
}

#[tokio::test]
async fn more_runs_of_a_paused_queue_than_a_claim_looks_at_do_not_block_the_others() {
    let (app, sandbox) = scripted(1, 1).await;
    let busy = trigger(&app, "q", None).await;
    sandbox.called(1).await;
    for part in [1_000, 500] {
        many(&app, part, |_| json!({ "queue": { "name": "q" } })).await;
    }
    pause(&app, "q", "pause").await;
    let other = app.trigger("t", json!("other")).await;
    assert_eq!(count(app.data_dir(), "status = 'queued' AND held = 0"), 1_501, "nobody has looked at them");

    cancel(&app, &busy).await;

    assert_eq!(app.finished(&other).await["status"], "COMPLETED");
    assert_eq!(count(app.data_dir(), "status = 'queued' AND held = 1"), 1_500);
    pause(&app, "q", "resume").await;
    until_count(&app, "status = 'completed'", 1_501).await;
}
