//! Runs that wait: for moments, tokens and other runs, as their users see it.

use std::time::Duration;

use dacapo::config::ServerArgs;
use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, TestApp};
use crate::network::{Site, allow};

async fn start() -> TestApp {
    let app = TestApp::start().await;
    app.deploy(guests::SCRIPT).await;
    app
}

/// A server that drops every guest that waits.
async fn start_dropping() -> TestApp {
    let args = ServerArgs { parked_time: Some("0s".into()), ..ServerArgs::default() };
    let app = TestApp::start_with(args).await;
    app.deploy(guests::SCRIPT).await;
    app
}

/// Waits until a run waits for a moment, and not for a child before that.
async fn until_moment(app: &TestApp, run: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while app.run(run).await["waitsFor"][0]["type"] != "MOMENT" {
        assert!(tokio::time::Instant::now() < deadline, "run {run} does not wait for a moment");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[track_caller]
fn completed(run: &Value) -> &Value {
    assert_eq!(run["status"], "COMPLETED", "{run}");
    &run["output"]
}

#[tokio::test]
async fn a_run_waits_for_a_day_and_goes_on() {
    for app in [start().await, start_dropping().await] {
        let run =
            app.trigger("script", json!([{ "log": "before" }, { "wait_ms": 86_400_000 }, { "log": "after" }])).await;
        let waiting = app.until_status(&run, "WAITING").await;
        assert_eq!(waiting["isWaiting"], true);
        let [awaited] = &waiting["waitsFor"].as_array().expect("a list")[..] else { panic!("{waiting}") };
        assert_eq!(awaited["type"], "MOMENT");
        assert_eq!(app.logs(&run).await, [("info".into(), "before".into())], "what it said is there");
        app.app().advance(Duration::from_secs(86_399));
        assert_eq!(app.run(&run).await["status"], "WAITING");
        app.app().advance(Duration::from_secs(1));
        assert_eq!(completed(&app.finished(&run).await), &json!([null, "elapsed", null]));
        let messages: Vec<String> = app.logs(&run).await.into_iter().map(|(_, message)| message).collect();
        assert_eq!(messages, ["before", "after"], "nothing is said twice");
        assert_eq!(app.history(&run).await, ["QUEUED", "EXECUTING", "WAITING", "QUEUED", "EXECUTING", "COMPLETED"]);
        assert_eq!(app.run(&run).await["attemptCount"], 1);
    }
}

#[tokio::test]
async fn hosts_that_were_forbidden_during_a_wait_are_forbidden_after_it() {
    for app in [start().await, start_dropping().await] {
        let site = Site::saying("here").await;
        allow(&app, &["127.0.0.1"]).await;
        let get = json!({ "http": site.url("127.0.0.1") });
        let run = app.trigger("script", json!([get, { "wait_ms": 60_000 }, get])).await;
        app.until_status(&run, "WAITING").await;
        assert_eq!(site.requests().len(), 1);
        allow(&app, &[]).await;
        app.app().advance(Duration::from_secs(60));
        let run = app.finished(&run).await;
        assert_eq!((&run["status"], site.requests().len()), (&json!("COMPLETED"), 1), "{run}");
        assert_ne!(run["output"][0], run["output"][2], "the guest is told");
    }
}

#[tokio::test]
async fn a_waiting_run_survives_a_restart() {
    let app = start().await;
    let script = json!([{ "clock": true }, { "random": true }, { "file": "a" }, { "child": { "task": "leaf", "payload": { "wait_ms": 1_000_000 } } }, { "file": "b" }]);
    let run = app.trigger("script", script).await;
    let waiting = app.until_status(&run, "WAITING").await;
    let child = waiting["relatedRuns"]["children"][0]["id"].as_str().expect("a child").to_owned();
    until_moment(&app, &child).await;
    let app = app.restart().await;
    assert_eq!(app.run(&run).await["status"], "WAITING");
    app.app().advance(Duration::from_secs(1_000));
    let output = completed(&app.finished(&run).await).clone();
    assert_eq!(output[3], json!({ "output": null }));
    assert_eq!((&output[2], &output[4]), (&json!("a"), &json!("ab")), "its files are as they were");
}

#[tokio::test]
async fn a_waiting_run_holds_no_place() {
    let app = start().await;
    let limit = json!({ "type": "task", "concurrencyLimit": 1 });
    app.call("script", json!([])).await;
    app.post("/api/v1/queues/script/concurrency/override", limit).await.ok();
    let waiting = app.trigger("script", json!([{ "wait_ms": 60_000 }])).await;
    app.until_status(&waiting, "WAITING").await;
    let other = app.call("script", json!([{ "return": 1 }])).await;
    assert_eq!(completed(&other), &json!(1), "the only place was free");
}

#[tokio::test]
async fn children_and_moments_are_waited_for_together() {
    let app = start_dropping().await;
    let leaf = |echo: Value| json!({ "child": { "task": "leaf", "payload": { "echo": echo } } });
    let script = json!([
        { "all": [leaf(json!(1)), { "wait_ms": 5 }, leaf(json!(2)), { "children": [
            { "task": "leaf", "payload": { "echo": 3 } }, { "task": "leaf", "payload": { "fail": "no" } }] }] },
        { "any": [{ "wait_ms": 1_000_000_000 }, leaf(json!("first"))] },
    ]);
    let run = app.call("script", script).await;
    let failed = &completed(&run)[0][3][1]["error"];
    assert!(failed.as_str().is_some_and(|text| text.contains("no")), "{run}");
    assert_eq!(run["output"][0][0], json!({ "output": 1 }));
    assert_eq!(run["output"][0][1], "elapsed");
    assert_eq!(run["output"][0][3][0], json!({ "output": 3 }));
    assert_eq!(run["output"][1], json!([1, { "output": "first" }]));
}

#[tokio::test]
async fn somebody_outside_completes_a_token() {
    let app = start_dropping().await;
    let run = app.trigger("script", json!([{ "create_token": { "timeout_ms": 60_000 } }, { "token": "$last" }])).await;
    let waiting = app.until_status(&run, "WAITING").await;
    let token = waiting["metadata"]["token"]["id"].as_str().expect("a token").to_owned();
    let path = format!("/api/v1/waitpoints/tokens/{token}/complete");
    app.post(&path, json!({ "data": { "approved": true } })).await.ok();
    let run = app.finished(&run).await;
    assert_eq!(completed(&run)[1], json!({ "completed": { "approved": true } }));

    let run = app.trigger("script", json!([{ "create_token": { "timeout_ms": 60_000 } }, { "token": "$last" }])).await;
    app.until_status(&run, "WAITING").await;
    app.app().advance(Duration::from_secs(61));
    let run = app.finished(&run).await;
    assert!(completed(&run)[1]["error"].is_string(), "{run}");
}

#[tokio::test]
async fn a_canceled_run_takes_those_with_it_for_which_it_waits() {
    let app = start().await;
    let script = json!([{ "children": [{ "task": "leaf", "payload": { "wait_ms": 1_000_000 } }] }]);
    let run = app.trigger("script", script).await;
    app.until_status(&run, "WAITING").await;
    let child = app.run(&run).await["relatedRuns"]["children"][0]["id"].as_str().expect("a child").to_owned();
    app.until_status(&child, "WAITING").await;
    app.post_empty(&format!("/api/v2/runs/{run}/cancel")).await.ok();
    assert_eq!(app.finished(&run).await["status"], "CANCELED");
    assert_eq!(app.finished(&child).await["status"], "CANCELED");
    app.app().advance(Duration::from_secs(2_000));
    assert_eq!(app.run(&run).await["status"], "CANCELED");
}

#[tokio::test]
async fn a_child_that_is_waited_for_runs_on_the_version_of_its_parent() {
    let app = start().await;
    let first = app.call("script", json!([])).await["version"].clone();
    let wait_then_call =
        json!([{ "wait_ms": 60_000 }, { "child": { "task": "leaf" } }, { "trigger": { "task": "leaf" } }]);
    let run = app.trigger("script", wait_then_call).await;
    app.until_status(&run, "WAITING").await;
    // The same component but for a section that says nothing.
    let other = [std::fs::read(guests::SCRIPT).expect("the guest was built"), vec![0, 3, 2, b'v', b'2']].concat();
    app.upload("script", &other, "").await.ok();
    let second = app.get("/api/v1/deployments/current").await.ok()["version"].clone();
    assert_ne!(first, second);
    app.app().advance(Duration::from_secs(60));
    let run = app.finished(&run).await;
    assert_eq!(run["version"], first, "it went on with its own version");
    let children = run["relatedRuns"]["children"].as_array().expect("children");
    let mut versions = Vec::new();
    for child in children {
        versions.push(app.finished(child["id"].as_str().expect("an id")).await["version"].clone());
    }
    assert_eq!(versions, [first, second]);
}

#[tokio::test]
async fn a_failed_attempt_starts_anew_but_for_what_a_key_guards() {
    let app = start_dropping().await;
    let child = |key: Value| json!({ "child": { "task": "leaf", "payload": { "echo": 1 }, "key": key } });
    let script = json!([child(json!("guarded")), child(Value::Null), { "fail_before": 3 }, { "attempt": true }]);
    let run = app.call("script", script).await;
    assert_eq!(completed(&run)[3], 3);
    assert_eq!(run["attemptCount"], 3);
    let children = run["relatedRuns"]["children"].as_array().expect("children");
    assert_eq!(children.len(), 4, "one that is guarded, and three that are not");
}

const DAY_MS: u64 = 86_400_000;

/// How often a run has gone to wait.
async fn waits(app: &TestApp, run: &str) -> usize {
    app.history(run).await.iter().filter(|status| *status == "WAITING").count()
}

async fn until_waits(app: &TestApp, run: &str, count: usize) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while waits(app, run).await < count {
        assert!(tokio::time::Instant::now() < deadline, "run {run} does not wait for the {count}. time");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_wait_that_a_key_guards_is_not_waited_again_by_another_attempt() {
    check_wait_once(start().await).await;
}

#[tokio::test]
async fn nor_where_its_guest_was_dropped() {
    check_wait_once(start_dropping().await).await;
}

async fn check_wait_once(app: TestApp) {
    let once = |key: &str| json!({ "wait_once": { "key": key, "ms": DAY_MS } });
    let script = json!([once("trial"), { "fail_before": 3 }, { "attempt": true }]);
    let run = app.trigger("script", script.clone()).await;
    app.until_status(&run, "WAITING").await;
    app.app().advance(Duration::from_millis(DAY_MS));
    assert_eq!(completed(&app.finished(&run).await), &json!(["elapsed", null, 3]));
    assert_eq!(waits(&app, &run).await, 1, "{:?}", app.history(&run).await);

    // Another run has a key of its own, and an attempt may have one.
    let other = app.trigger("script", script).await;
    app.until_status(&other, "WAITING").await;
    app.post_empty(&format!("/api/v2/runs/{other}/cancel")).await.ok();
    let of_attempt = json!({ "wait_once": { "key": "trial", "scope": "attempt", "ms": DAY_MS } });
    let again = app.trigger("script", json!([of_attempt, { "fail_before": 2 }])).await;
    for wait in 1..=2 {
        until_waits(&app, &again, wait).await;
        app.app().advance(Duration::from_millis(DAY_MS));
    }
    completed(&app.finished(&again).await);
}

#[tokio::test]
async fn a_wait_with_a_global_key_is_waited_by_all_runs_together() {
    let app = start_dropping().await;
    let wait = json!({ "wait_once": { "key": "launch", "scope": "global", "ms": DAY_MS } });
    let first = app.trigger("script", json!([wait])).await;
    app.until_status(&first, "WAITING").await;
    app.app().advance(Duration::from_millis(DAY_MS / 2));
    // It waits for what is left, together with something else.
    let second = app.trigger("script", json!([{ "all": [wait, { "wait_ms": 1 }] }, wait])).await;
    app.until_status(&second, "WAITING").await;
    app.app().advance(Duration::from_millis(DAY_MS / 2));
    assert_eq!(completed(&app.finished(&first).await), &json!(["elapsed"]));
    assert_eq!(completed(&app.finished(&second).await), &json!([["elapsed", "elapsed"], "elapsed"]));
    let third = app.call("script", json!([wait])).await;
    assert_eq!(completed(&third), &json!(["elapsed"]));
    let id = third["id"].as_str().expect("a run has an id");
    assert_eq!(app.history(id).await, ["QUEUED", "EXECUTING", "COMPLETED"], "it has nothing to wait for");
}

#[tokio::test]
async fn the_key_of_a_wait_counts_for_so_long() {
    let app = start_dropping().await;
    let wait =
        |ttl: Value| json!([{ "wait_once": { "key": "k", "scope": "global", "ms": 60 * DAY_MS, "key_ttl_ms": ttl } }]);
    for (ttl, days, waits_again) in [(Value::Null, 89, false), (Value::Null, 91, true), (json!(DAY_MS), 2, true)] {
        let first = app.trigger("script", wait(ttl.clone())).await;
        app.until_status(&first, "WAITING").await;
        app.app().advance(Duration::from_millis(days * DAY_MS));
        let second = app.trigger("script", wait(ttl)).await;
        if waits_again {
            app.until_status(&second, "WAITING").await;
        } else {
            completed(&app.finished(&second).await);
        }
        app.app().advance(Duration::from_millis(100 * DAY_MS));
        for run in [first, second] {
            completed(&app.finished(&run).await);
        }
        // The key of the last is forgotten.
        app.app().advance(Duration::from_millis(200 * DAY_MS));
    }
}

#[tokio::test]
async fn a_run_whose_journal_is_not_whole_goes_on_in_memory_and_is_not_done_again_for_ever() {
    let args =
        || ServerArgs { parked_time: Some("0s".into()), max_journal: Some("2KiB".into()), ..ServerArgs::default() };
    let app = TestApp::start_with(args()).await;
    app.deploy(guests::SCRIPT).await;
    let large = json!({ "child": { "task": "leaf", "payload": { "echo": "x".repeat(4_096) } } });
    let script = json!([large, { "log": "past" }, { "wait_ms": 60_000 }, { "log": "after" }]);
    let run = app.trigger("script", script.clone()).await;
    until_moment(&app, &run).await;
    app.app().advance(Duration::from_secs(60));
    completed(&app.finished(&run).await);
    let messages: Vec<String> = app.logs(&run).await.into_iter().map(|(_, message)| message).collect();
    assert_eq!(messages, ["past", "after"], "it stayed in memory although nothing else does");

    let lost = app.trigger_with("script", script, json!({ "maxAttempts": 1 })).await;
    until_moment(&app, &lost).await;
    let app = app.restart().await;
    // Its clock is not ahead any more.
    app.app().advance(Duration::from_secs(120));
    let lost = app.finished(&lost).await;
    assert_eq!((&lost["status"], &lost["error"]["name"]), (&json!("FAILED"), &json!("JournalTooLarge")), "{lost}");
}

#[tokio::test]
async fn a_run_cannot_wait_for_itself() {
    let app = start().await;
    let script = json!([{ "child": { "task": "script", "payload": [], "key": "one", "scope": "global" } }]);
    let hash = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
    let run = app.trigger_with("script", script, json!({ "idempotencyKey": hash })).await;
    let run = app.finished(&run).await;
    let error = completed(&run)[0]["error"].as_str().expect("an error").to_owned();
    assert!(error.contains("it would wait for itself for ever"), "{error}");
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_hook() {
    let args = ServerArgs { shutdown_grace: Some("0s".into()), ..ServerArgs::default() };
    let mut app = TestApp::start_with(args).await;
    app.deploy(guests::HOOKS).await;
    crate::network::allow(&app, &["127.0.0.1"]).await;
    // It accepts, and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    app.trigger("hooks", json!({ "end": "well", "url": url })).await;
    let (_held, _) = silent.accept().await.expect("the hook calls");
    app.stop().await;
}
