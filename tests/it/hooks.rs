//! Hooks: what a task does around its runs, whatever becomes of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dacapo::config::ServerArgs;
use dacapo::model::attempt::Outcome;
use dacapo::model::hook::{Hook, Hooks};
use dacapo::model::task::TaskDefinition;
use dacapo::sandbox::scripted::{ScriptedSandbox, Step};
use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, TestApp};
use crate::network::{Site, allow};

async fn start() -> TestApp {
    let app = TestApp::start().await;
    app.deploy(guests::HOOKS).await;
    app
}

/// The messages of a run's log that begin with `on-`, once `last` is among them.
async fn hooks_until(app: &TestApp, run: &str, last: &str) -> Vec<String> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let messages = app.logs(run).await.into_iter().map(|(_, message)| message);
        let hooks: Vec<String> = messages.filter(|message| message.starts_with("on-")).collect();
        if hooks.iter().any(|message| message == last) {
            return hooks;
        }
        assert!(tokio::time::Instant::now() < deadline, "{last} is not called: {hooks:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Ends a run as told, and answers with its status and the hooks that were called.
async fn ended(app: &TestApp, end: &str, options: Value) -> (Value, Vec<String>) {
    let run = app.trigger_with("hooks", json!({ "end": end }), options).await;
    let status = app.finished(&run).await["status"].clone();
    (status, hooks_until(app, &run, "on-complete").await)
}

#[tokio::test]
async fn every_end_of_a_run_that_started_has_its_hooks() {
    let app = start().await;
    let fast = json!({});
    assert_eq!(
        ended(&app, "well", fast.clone()).await,
        (json!("COMPLETED"), told(&["on-start", "on-success", "on-complete"]))
    );
    let failed = told(&["on-start", "on-failure", "on-complete"]);
    assert_eq!(ended(&app, "fail", fast.clone()).await, (json!("FAILED"), failed.clone()));
    assert_eq!(ended(&app, "trap", fast.clone()).await, (json!("CRASHED"), failed.clone()));
    assert_eq!(ended(&app, "spin", json!({ "maxDuration": 1 })).await, (json!("TIMED_OUT"), failed));
}

fn told(hooks: &[&str]) -> Vec<String> {
    hooks.iter().map(|hook| (*hook).to_owned()).collect()
}

#[tokio::test]
async fn a_run_that_never_started_has_the_hooks_of_its_end() {
    let app = start().await;
    let first = app.trigger("hooks", json!({ "end": "well" })).await;
    app.finished(&first).await;
    app.post("/api/v1/queues/hooks/pause", json!({ "type": "task", "action": "pause" })).await.ok();

    let canceled = app.trigger("hooks", json!({ "end": "well" })).await;
    app.post_empty(&format!("/api/v2/runs/{canceled}/cancel")).await.ok();
    assert_eq!(hooks_until(&app, &canceled, "on-complete").await, ["on-cancel", "on-complete"]);

    let expired = app.trigger_with("hooks", json!({ "end": "well" }), json!({ "ttl": 5 })).await;
    app.app().advance(Duration::from_secs(6));
    assert_eq!(app.finished(&expired).await["status"], "EXPIRED");
    assert_eq!(hooks_until(&app, &expired, "on-complete").await, ["on-failure", "on-complete"]);
}

#[tokio::test]
async fn a_run_that_is_canceled_while_it_waits_has_the_hooks_of_its_end() {
    let app = start().await;
    let run = app.trigger("hooks", json!({ "end": "wait" })).await;
    app.until_status(&run, "WAITING").await;
    app.post_empty(&format!("/api/v2/runs/{run}/cancel")).await.ok();
    assert_eq!(hooks_until(&app, &run, "on-complete").await, ["on-start", "on-cancel", "on-complete"]);
}

#[tokio::test]
async fn hooks_change_the_metadata_one_after_another() {
    let app = start().await;
    for (end, expected) in
        [("well", ["on-start", "on-success", "on-complete"]), ("fail", ["on-start", "on-failure", "on-complete"])]
    {
        let run = app.trigger("hooks", json!({ "end": end })).await;
        app.finished(&run).await;
        hooks_until(&app, &run, "on-complete").await;
        assert_eq!(app.run(&run).await["metadata"], json!({ "hooks": expected }), "each sees what the one before did");
    }
}

#[tokio::test]
async fn a_hook_that_fails_changes_nothing_and_is_heard_of() {
    let app = start().await;
    for bad in ["on-start", "on-success"] {
        let run = app.trigger("hooks", json!({ "end": "well", "badHook": bad })).await;
        assert_eq!(app.finished(&run).await["status"], "COMPLETED");
        let hooks = hooks_until(&app, &run, "on-complete").await;
        assert!(hooks.iter().any(|message| message.starts_with(&format!("{bad} failed: "))), "{hooks:?}");
    }
}

#[tokio::test]
async fn a_hook_can_tell_others_what_became_of_the_run() {
    let app = start().await;
    allow(&app, &["127.0.0.1"]).await;
    let site = Site::saying("heard").await;
    let run = app.trigger("hooks", json!({ "end": "fail", "url": site.url("127.0.0.1") })).await;
    app.finished(&run).await;
    hooks_until(&app, &run, "on-complete").await;
    let reports: Vec<Value> = site
        .requests()
        .iter()
        .map(|request| {
            let (_, body) = request.split_once("\r\n\r\n").expect("a request has a body");
            serde_json::from_str(body).expect("a report is JSON")
        })
        .collect();
    let hooks: Vec<&Value> = reports.iter().map(|report| &report["hook"]).collect();
    assert_eq!(hooks, ["on-start", "on-failure", "on-complete"]);
    assert!(reports.iter().all(|report| report["run"] == run.as_str()), "{reports:?}");
    assert!(reports[1]["outcome"].to_string().contains("failed as told"), "{reports:?}");
}

#[tokio::test]
async fn hooks_that_the_server_fails_are_called_again_later() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    retried(dir.path().join("data")).await;
}

/// Lets the server fail the only hook of a run once; also a part of the walk through all statements.
pub async fn retried(data_dir: PathBuf) {
    let task = TaskDefinition { hooks: Hooks::new([Hook::Complete]), ..TaskDefinition::new("hooked") };
    let sandbox = Arc::new(ScriptedSandbox::new(vec![task]));
    sandbox.then(Step::End(Outcome::Returned("1".into())));
    sandbox.then(Step::End(Outcome::HostFault("no memory for a hook".into())));
    let app = TestApp::open(data_dir, ServerArgs::default(), Some(sandbox.clone())).await;
    app.upload("any", b"component", "").await.ok();
    let run = app.trigger("hooked", json!(1)).await;
    assert_eq!(app.finished(&run).await["status"], "COMPLETED");
    sandbox.called(2).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    // The attempt, the hook that failed, and the hook once more.
    while sandbox.seen().iter().filter(|seen| seen.run == run).count() < 3 {
        assert!(tokio::time::Instant::now() < deadline, "the hook is not called again");
        app.app().advance(Duration::from_secs(5));
        // Another end makes the loop look at the clock, which only the test sets.
        let other = app.trigger("hooked", json!(2)).await;
        app.finished(&other).await;
    }
    assert_eq!(app.run(&run).await["status"], "COMPLETED");
}
