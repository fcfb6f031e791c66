//! The life of a run: retries, time, cancellation, priority, restarts, faults of the host.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dacapo::config::ServerArgs;
use dacapo::model::Timestamp;
use dacapo::model::attempt::{Crash, Outcome, RetryDecision, TaskError, TimeLimit};
use dacapo::model::task::TaskDefinition;
use dacapo::sandbox::scripted::{ScriptedSandbox, Step};
use dacapo_tests::guests;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{PATIENCE, TestApp};

/// A server that runs one attempt at a time, in a scripted sandbox whose only task is `t`.
async fn one_slot() -> (TestApp, Arc<ScriptedSandbox>) {
    let sandbox = scripted(&["t"]);
    let args = ServerArgs { max_concurrent_runs: Some(1), ..ServerArgs::default() };
    let app = TestApp::start_sandboxed(args, Some(sandbox.clone())).await;
    app.upload("scripted", b"any bytes", "").await.ok();
    (app, sandbox)
}

fn scripted(tasks: &[&str]) -> Arc<ScriptedSandbox> {
    Arc::new(ScriptedSandbox::new(tasks.iter().map(|task| TaskDefinition::new(*task)).collect()))
}

/// A run that executes until it is canceled.
async fn occupy(app: &TestApp, sandbox: &ScriptedSandbox) -> String {
    sandbox.then(Step::Hang);
    let calls = sandbox.seen().len();
    let run = app.trigger("t", json!("occupant")).await;
    sandbox.called(calls + 1).await;
    run
}

async fn cancel(app: &TestApp, run: &str) -> Value {
    app.post_empty(&format!("/api/v2/runs/{run}/cancel")).await.ok()
}

/// Waits until the run is as `wanted` says.
async fn until(app: &TestApp, run: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let found = app.run(run).await;
        if wanted(&found) {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "run {run} never {what}: {found}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Moves the time forward, a second at a time, until the run has ended.
async fn wind_until_finished(app: &TestApp, run: &str) -> Value {
    for _ in 0..20 {
        let wait = app.get(&format!("/api/v1/runs/{run}/result?wait=1s")).await;
        if wait.status.is_success() {
            return app.run(run).await;
        }
        app.app().advance(Duration::from_secs(1));
    }
    panic!("run {run} does not end: {}", app.run(run).await);
}

async fn events(app: &TestApp, run: &str) -> Vec<Value> {
    let events = app.get(&format!("/api/v1/runs/{run}/events")).await.ok();
    events["events"].as_array().expect("a list of events").clone()
}

fn data_dir() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("data");
    (dir, path)
}

fn id(run: &Value) -> &str {
    run["id"].as_str().expect("a run has an id")
}

fn task_error(retry: RetryDecision) -> Outcome {
    Outcome::Failed(TaskError { name: "Told".into(), message: "failed as told".into(), stack: None, retry })
}

#[tokio::test]
async fn a_task_that_fails_twice_completes_on_its_third_attempt() {
    let app = TestApp::start().await;
    app.deploy(guests::FLAKY).await;

    let run = app.call("flaky", json!({ "succeedOn": 3 })).await;

    assert_eq!(run["status"], "COMPLETED", "{run}");
    assert_eq!(run["output"], 3);
    assert_eq!(run["attemptCount"], 3);
    assert_eq!(run["isSuccess"], true);
    assert_eq!(run["isFailed"], false);
    assert!(run.get("error").is_none(), "a completed run has no error: {run}");
    let history = app.history(id(&run)).await;
    assert_eq!(history, ["QUEUED", "EXECUTING", "QUEUED", "EXECUTING", "QUEUED", "EXECUTING", "COMPLETED"]);
    let events = events(&app, id(&run)).await;
    let attempts: Vec<u64> = events.iter().map(|event| event["attempt"].as_u64().unwrap()).collect();
    assert_eq!(attempts, [0, 1, 1, 2, 2, 3, 3], "{events:?}");
    assert_eq!(events[2]["detail"], "attempt 1 fails", "{events:?}");
    assert_eq!(events[4]["detail"], "attempt 2 fails", "{events:?}");
}

#[tokio::test]
async fn a_task_that_always_fails_uses_up_the_attempts_of_its_policy() {
    let app = TestApp::start().await;
    app.deploy(guests::FAIL).await;

    let run = app.call("fail", json!({ "name": "Broken", "message": "no luck" })).await;

    assert_eq!(run["status"], "FAILED", "{run}");
    assert_eq!(run["attemptCount"], 3);
    assert_eq!(run["isFailed"], true);
    assert_eq!(run["isCompleted"], true);
    assert_eq!(run["error"]["name"], "Broken");
    assert_eq!(run["error"]["message"], "no luck");
    assert!(run["finishedAt"].is_string(), "{run}");
    assert!(run.get("output").is_none(), "{run}");
}

#[tokio::test]
async fn an_error_that_says_never_is_not_retried() {
    let app = TestApp::start().await;
    app.deploy(guests::FAIL).await;

    let run = app.call("fail", json!({ "retry": "never" })).await;

    assert_eq!(run["status"], "FAILED", "{run}");
    assert_eq!(run["attemptCount"], 1);
    assert_eq!(app.history(id(&run)).await, ["QUEUED", "EXECUTING", "FAILED"]);
}

#[tokio::test]
async fn an_error_that_says_when_is_retried_then_and_is_visible_meanwhile() {
    let app = TestApp::start().await;
    app.deploy(guests::FAIL).await;
    let payload = json!({ "message": "come back in an hour", "retry": { "afterMs": 3_600_000 } });
    let run = app.trigger_with("fail", payload, json!({ "maxAttempts": 2 })).await;

    let waiting = until(&app, &run, "waited", |run| run["status"] == "QUEUED" && run["attemptCount"] == 1).await;
    assert_eq!(waiting["error"]["message"], "come back in an hour", "{waiting}");
    assert_eq!(waiting["isQueued"], true);
    assert_eq!(waiting["isFailed"], false);
    assert!(waiting.get("finishedAt").is_none(), "{waiting}");
    app.app().advance(Duration::from_secs(3_700));

    let failed = app.finished(&run).await;
    assert_eq!(failed["attemptCount"], 2, "{failed}");
    assert_eq!(failed["status"], "FAILED");
}

#[tokio::test]
async fn max_attempts_of_a_trigger_overrides_the_tasks() {
    let app = TestApp::start().await;
    app.deploy(guests::FAIL).await;
    for attempts in [1, 2, 5] {
        let run = app.trigger_with("fail", json!({}), json!({ "maxAttempts": attempts })).await;
        let run = app.finished(&run).await;
        assert_eq!(run["attemptCount"], attempts, "{run}");
        assert_eq!(run["status"], "FAILED");
    }
}

#[tokio::test]
async fn a_delayed_run_waits_for_its_time() {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    let run = app.trigger_with("echo", json!(1), json!({ "delay": "10m" })).await;

    let delayed = app.run(&run).await;
    assert_eq!(delayed["status"], "DELAYED", "{delayed}");
    assert_eq!(delayed["isQueued"], true);
    assert!(delayed["delayedUntil"].is_string(), "{delayed}");
    app.app().advance(Duration::from_secs(601));

    let run = app.finished(&run).await;
    assert_eq!(run["status"], "COMPLETED", "{run}");
    assert_eq!(app.history(id(&run)).await, ["DELAYED", "QUEUED", "EXECUTING", "COMPLETED"]);
    assert!(run["startedAt"].as_str() >= run["delayedUntil"].as_str(), "{run}");
}

#[tokio::test]
async fn a_delay_can_be_a_date_and_a_past_date_is_no_delay() {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    let at = dacapo::clock::Clock::system().now() + Duration::from_secs(7_200);
    let run = app.trigger_with("echo", json!(1), json!({ "delay": at.to_string() })).await;
    let until = app.run(&run).await["delayedUntil"].as_str().map(|text| text.parse().expect("a time"));
    assert_eq!(until.map(Timestamp::as_millisecond), Some(at.as_millisecond()));
    let day = at.to_string()[..10].to_owned();
    let midnight = format!("{day}T00:00:00Z").parse::<Timestamp>().unwrap() + Duration::from_secs(86_400);
    for date in [midnight.to_string()[..10].to_owned(), midnight.to_string()[..19].to_owned()] {
        let run = app.trigger_with("echo", json!(1), json!({ "delay": date })).await;
        assert_eq!(app.run(&run).await["delayedUntil"], midnight.to_string().replace('Z', ".000Z"), "in UTC: {date}");
    }
    let run = app.trigger_with("echo", json!(1), json!({ "delay": "2020-01-01T00:00:00Z" })).await;
    assert_eq!(app.finished(&run).await["status"], "COMPLETED");
    assert_eq!(app.history(&run).await, ["QUEUED", "EXECUTING", "COMPLETED"]);
}

#[tokio::test]
async fn a_run_that_is_queued_longer_than_its_ttl_expires() {
    let args = ServerArgs { max_concurrent_runs: Some(1), ..ServerArgs::default() };
    let app = TestApp::start_with(args).await;
    app.deploy(guests::SLEEP).await;
    let occupant = app.trigger("sleep", json!({ "ms": 600_000 })).await;
    app.until_status(&occupant, "EXECUTING").await;
    let run = app.trigger_with("sleep", json!({ "ms": 0 }), json!({ "ttl": "5s" })).await;
    assert_eq!(app.run(&run).await["ttl"], "5s");
    app.app().advance(Duration::from_secs(6));

    let expired = app.finished(&run).await;
    assert_eq!(expired["status"], "EXPIRED", "{expired}");
    assert_eq!(expired["isCompleted"], true);
    assert_eq!(expired["isFailed"], true);
    assert!(expired["finishedAt"].is_string(), "{expired}");
    assert_eq!(expired["expiredAt"], expired["finishedAt"]);
    assert_eq!(expired["attemptCount"], 0);
    assert_eq!(app.history(&run).await, ["QUEUED", "EXPIRED"]);
    assert_eq!(app.run(&occupant).await["status"], "EXECUTING", "a run that has started does not expire");
    cancel(&app, &occupant).await;
}

#[tokio::test]
async fn the_ttl_of_a_delayed_run_begins_when_it_is_queued() {
    let (app, sandbox) = one_slot().await;
    let occupant = occupy(&app, &sandbox).await;
    let run = app.trigger_with("t", json!(1), json!({ "delay": "5s", "ttl": "8s" })).await;
    app.app().advance(Duration::from_secs(6));
    app.until_status(&run, "QUEUED").await;
    app.app().advance(Duration::from_secs(4));
    assert_eq!(app.run(&run).await["status"], "QUEUED", "ten seconds old, but queued for four");
    app.app().advance(Duration::from_secs(5));
    assert_eq!(app.finished(&run).await["status"], "EXPIRED");
    cancel(&app, &occupant).await;
}

#[tokio::test]
async fn a_higher_priority_starts_first_and_equals_start_in_order() {
    let (app, sandbox) = one_slot().await;
    let occupant = occupy(&app, &sandbox).await;
    let first = app.trigger_with("t", json!("first"), json!({})).await;
    let second = app.trigger_with("t", json!("second"), json!({})).await;
    let urgent = app.trigger_with("t", json!("urgent"), json!({ "priority": 60 })).await;
    let patient = app.trigger_with("t", json!("patient"), json!({ "priority": -10 })).await;
    cancel(&app, &occupant).await;
    for run in [&first, &second, &urgent] {
        assert_eq!(app.finished(run).await["status"], "COMPLETED");
    }
    assert_eq!(app.run(&patient).await["status"], "QUEUED", "it comes ten seconds later");
    app.app().advance(Duration::from_secs(11));
    app.finished(&patient).await;
    let order: Vec<String> = sandbox.seen().into_iter().skip(1).map(|call| call.payload).collect();
    assert_eq!(order, ["\"urgent\"", "\"first\"", "\"second\"", "\"patient\""]);
}

#[tokio::test]
async fn runs_that_have_not_started_are_canceled_at_once() {
    let (app, sandbox) = one_slot().await;
    let occupant = occupy(&app, &sandbox).await;
    let queued = app.trigger("t", json!(1)).await;
    let delayed = app.trigger_with("t", json!(1), json!({ "delay": "1h" })).await;
    let pending = app.trigger("nobody-has-it", json!(1)).await;
    for (run, status) in [(&queued, "QUEUED"), (&delayed, "DELAYED"), (&pending, "PENDING_VERSION")] {
        assert_eq!(app.run(run).await["status"], status);
        assert_eq!(cancel(&app, run).await, json!({ "id": run }));
        let canceled = app.run(run).await;
        assert_eq!(canceled["status"], "CANCELED", "{canceled}");
        assert_eq!(canceled["isCancelled"], true);
        assert_eq!(canceled["isCompleted"], true);
        assert!(canceled["finishedAt"].is_string(), "{canceled}");
        assert_eq!(app.history(run).await, [status, "CANCELED"]);
        let result = app.get(&format!("/api/v1/runs/{run}/result")).await.ok();
        assert_eq!(result["error"]["type"], "INTERNAL_ERROR", "{result}");
        assert_eq!(result["error"]["code"], "TASK_RUN_CANCELLED");
    }
    cancel(&app, &occupant).await;
    app.app().advance(Duration::from_secs(7_200));
    app.upload("other", b"other bytes", "").await.ok();
    assert_eq!(app.call("t", json!("after")).await["status"], "COMPLETED");
    assert_eq!(sandbox.seen().len(), 2, "a canceled run is never called");
}

#[tokio::test]
async fn a_guest_that_never_yields_is_canceled_and_its_slot_is_free_again() {
    let args = ServerArgs { max_concurrent_runs: Some(1), ..ServerArgs::default() };
    let app = TestApp::start_with(args).await;
    app.deploy(guests::SPIN).await;
    app.deploy(guests::ECHO_V1).await;
    let spinning = app.trigger("spin", json!(null)).await;
    app.until_status(&spinning, "EXECUTING").await;
    let waiting = app.trigger("echo", json!("next")).await;

    cancel(&app, &spinning).await;

    assert_eq!(app.run(&spinning).await["status"], "CANCELED", "the answer comes after the change");
    let next = app.finished(&waiting).await;
    assert_eq!(next["status"], "COMPLETED", "{next}");
    assert_eq!(app.history(&spinning).await, ["QUEUED", "EXECUTING", "CANCELED"]);
    assert_eq!(app.run(&spinning).await["attemptCount"], 1, "a canceled run is not retried");
}

#[tokio::test]
async fn canceling_what_does_not_exist_is_a_404() {
    let app = TestApp::start().await;
    for run in ["run_00000000000000000000000007", "run_1", "nonsense"] {
        let answer = app.post_empty(&format!("/api/v2/runs/{run}/cancel")).await;
        assert_eq!(answer.error(404), "Run not found");
    }
}

#[tokio::test]
async fn a_stop_waits_for_running_attempts() {
    let (_dir, path) = data_dir();
    let sandbox = scripted(&["t"]);
    sandbox.then(Step::Last(Duration::from_millis(300)));
    let mut app = TestApp::open(path.clone(), ServerArgs::default(), Some(sandbox.clone())).await;
    app.upload("scripted", b"any bytes", "").await.ok();
    let run = app.trigger("t", json!(1)).await;
    sandbox.called(1).await;
    app.stop().await;
    let app = TestApp::open(path, ServerArgs::default(), Some(scripted(&[]))).await;
    let run = app.run(&run).await;
    assert_eq!(run["status"], "COMPLETED", "{run}");
    assert_eq!(run["attemptCount"], 1);
}

#[tokio::test]
async fn an_attempt_that_a_stop_interrupts_does_not_count_and_runs_again() {
    let (_dir, path) = data_dir();
    let args = ServerArgs { shutdown_grace: Some("0s".into()), ..ServerArgs::default() };
    let mut app = TestApp::open(path.clone(), args, None).await;
    app.deploy(guests::SPIN).await;
    let run = app.trigger_with("spin", json!("p"), json!({ "maxAttempts": 1 })).await;
    app.until_status(&run, "EXECUTING").await;
    app.stop().await;

    let sandbox = scripted(&["spin"]);
    let app = TestApp::open(path, ServerArgs::default(), Some(sandbox.clone())).await;
    let again = app.finished(&run).await;
    assert_eq!(again["status"], "COMPLETED", "{again}");
    assert_eq!(again["attemptCount"], 1, "the interrupted attempt does not count");
    assert_eq!(app.history(&run).await, ["QUEUED", "EXECUTING", "QUEUED", "EXECUTING", "COMPLETED"]);
    let seen = sandbox.seen();
    assert_eq!((seen[0].run.as_str(), seen[0].attempt, seen[0].payload.as_str()), (run.as_str(), 1, "\"p\""));
}

#[tokio::test]
async fn a_restart_finds_queued_and_delayed_runs() {
    let (_dir, path) = data_dir();
    let sandbox = scripted(&["t"]);
    let args = ServerArgs { max_concurrent_runs: Some(1), shutdown_grace: Some("0s".into()), ..ServerArgs::default() };
    let mut app = TestApp::open(path.clone(), args, Some(sandbox.clone())).await;
    app.upload("scripted", b"any bytes", "").await.ok();
    let occupant = occupy(&app, &sandbox).await;
    let queued = app.trigger("t", json!("queued")).await;
    let delayed = app.trigger_with("t", json!("delayed"), json!({ "delay": "1h" })).await;
    app.stop().await;

    let app = TestApp::open(path, ServerArgs::default(), Some(scripted(&["t"]))).await;
    for run in [&occupant, &queued] {
        assert_eq!(app.finished(run).await["status"], "COMPLETED");
    }
    assert_eq!(app.run(&delayed).await["status"], "DELAYED");
    app.app().advance(Duration::from_secs(3_601));
    assert_eq!(app.finished(&delayed).await["status"], "COMPLETED");
}

#[tokio::test]
async fn a_fault_of_the_host_is_retried_without_counting_as_an_attempt() {
    let (app, sandbox) = one_slot().await;
    sandbox.then(Step::End(Outcome::HostFault("the disk is full".into())));
    sandbox.then(Step::End(Outcome::HostFault("the disk is full".into())));
    sandbox.then(Step::End(Outcome::Returned("7".into())));
    let run = app.trigger_with("t", json!(1), json!({ "maxAttempts": 1 })).await;

    let run = wind_until_finished(&app, &run).await;

    assert_eq!(run["status"], "COMPLETED", "{run}");
    assert_eq!(run["output"], 7);
    assert_eq!(run["attemptCount"], 1);
    let attempts: Vec<u32> = sandbox.seen().iter().map(|call| call.attempt).collect();
    assert_eq!(attempts, [1, 1, 1]);
}

#[tokio::test]
async fn an_attempt_that_panics_is_made_again() {
    let (app, sandbox) = one_slot().await;
    sandbox.then(Step::Panic);
    let run = app.trigger("t", json!(1)).await;

    let run = wind_until_finished(&app, &run).await;

    assert_eq!(run["status"], "COMPLETED", "{run}");
    assert_eq!(sandbox.seen().len(), 2);
}

#[tokio::test]
async fn a_run_that_nobody_can_run_expires_in_the_end() {
    let (app, _) = one_slot().await;
    let pending = app.trigger("nobody-has-it", json!(1)).await;
    let patient = app.trigger_with("nobody-has-it", json!(2), json!({ "ttl": 0 })).await;
    app.until_status(&pending, "PENDING_VERSION").await;

    app.app().advance(Duration::from_secs(3_601));

    assert_eq!(app.finished(&pending).await["status"], "EXPIRED");
    assert_eq!(app.run(&patient).await["status"], "PENDING_VERSION");
}

#[tokio::test]
async fn times_that_no_clock_can_tell_are_refused_and_stop_nothing() {
    let (app, _) = one_slot().await;
    let later = app.trigger_with("t", json!(1), json!({ "delay": "1m" })).await;
    for options in [
        json!({ "delay": "1s", "ttl": 9_223_372_036_854_775_u64, "priority": -2_000_000 }),
        json!({ "ttl": 366 * 86_400 + 1 }),
        json!({ "delay": "1000w" }),
    ] {
        let answer = app.post("/api/v1/tasks/t/trigger", json!({ "payload": 1, "options": options })).await;
        assert!(answer.error(422).contains("366 days"), "{options}");
    }
    app.app().advance(Duration::from_secs(61));
    assert_eq!(app.finished(&later).await["status"], "COMPLETED");
}

#[tokio::test]
async fn five_faults_of_the_host_end_a_run_as_a_system_failure() {
    let (app, sandbox) = one_slot().await;
    for _ in 0..5 {
        sandbox.then(Step::End(Outcome::HostFault("secret detail of the host".into())));
    }
    let run = app.trigger("t", json!(1)).await;

    let run = wind_until_finished(&app, &run).await;

    assert_eq!(run["status"], "SYSTEM_FAILURE", "{run}");
    assert_eq!(run["isFailed"], true);
    let message = run["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("the server failed 5 times"), "{message}");
    assert!(!run.to_string().contains("secret detail"), "details are for the operator's log: {run}");
    assert_eq!(sandbox.seen().len(), 5);
}

/// As when the machine was asleep for longer than a lease holds: the attempt goes on, so that a
/// second one would do everything twice.
#[tokio::test]
async fn a_clock_that_jumps_ahead_does_not_run_a_living_attempt_again() {
    let sandbox = scripted(&["t"]);
    let app = TestApp::start_sandboxed(ServerArgs::default(), Some(sandbox.clone())).await;
    app.upload("scripted", b"any bytes", "").await.ok();
    let living = occupy(&app, &sandbox).await;
    let marker = app.trigger_with("t", json!("marker"), json!({ "delay": "60s" })).await;

    app.app().advance(Duration::from_secs(61));

    app.finished(&marker).await;
    app.call("t", json!("after")).await;
    assert_eq!(app.history(&living).await, ["QUEUED", "EXECUTING"]);
    let calls = sandbox.seen().into_iter().filter(|call| call.run == living).count();
    assert_eq!(calls, 1, "the attempt is alive and was not run beside itself");
    cancel(&app, &living).await;
    assert_eq!(app.run(&living).await["status"], "CANCELED");
}

#[tokio::test]
async fn a_full_queue_refuses_and_a_freed_place_is_usable_again() {
    let sandbox = scripted(&["t"]);
    let args = ServerArgs { max_concurrent_runs: Some(1), max_waiting_runs: Some(3), ..ServerArgs::default() };
    let app = TestApp::start_sandboxed(args, Some(sandbox.clone())).await;
    app.upload("scripted", b"any bytes", "").await.ok();
    let occupant = occupy(&app, &sandbox).await;
    let first = app.trigger_with("t", json!(1), json!({ "idempotencyKey": "one" })).await;
    app.trigger_with("t", json!(2), json!({ "delay": "1h" })).await;
    app.trigger("nobody-has-it", json!(3)).await;

    let refused = app.post("/api/v1/tasks/t/trigger", json!({ "payload": 4 })).await;
    assert_eq!(refused.json["code"], "queue_full", "{refused:?}");
    let text = refused.error(429);
    let expected = "3 runs are waiting to start in this environment, which is the limit; \
                    try again when some have started";
    assert_eq!(text, expected);
    let replay = app.post_empty(&format!("/api/v1/runs/{occupant}/replay")).await;
    assert_eq!(replay.error(429), expected, "a replay is a run like any other");
    let again = app.post("/api/v1/tasks/t/trigger", json!({ "options": { "idempotencyKey": "one" } })).await.ok();
    assert_eq!(again, json!({ "id": first, "isCached": true }), "a run that is there takes no place");

    cancel(&app, &first).await;
    let taken = app.trigger("t", json!(5)).await;
    app.post("/api/v1/tasks/t/trigger", json!({ "payload": 6 })).await.error(429);
    cancel(&app, &occupant).await;
    assert_eq!(app.finished(&taken).await["status"], "COMPLETED");
    assert_eq!(app.call("t", json!(7)).await["status"], "COMPLETED", "started runs have left their place");
}

/// One run of every status that a run can have, by status. The only slot is taken by the one that
/// executes.
async fn one_of_each(app: &TestApp, sandbox: &ScriptedSandbox) -> Vec<(&'static str, String)> {
    let mut runs = Vec::new();
    let ends = [
        ("COMPLETED", Outcome::Returned("1".into())),
        ("FAILED", task_error(RetryDecision::Never)),
        ("CRASHED", Outcome::Crashed(Crash { out_of_memory: false, message: "trap".into(), backtrace: None })),
        ("TIMED_OUT", Outcome::TimedOut(TimeLimit::Cpu(Duration::from_secs(1)))),
    ];
    for (status, outcome) in ends {
        sandbox.then(Step::End(outcome));
        runs.push((status, id(&app.call("t", json!(status)).await).to_owned()));
    }
    for _ in 0..5 {
        sandbox.then(Step::End(Outcome::HostFault("fault".into())));
    }
    let failure = app.trigger("t", json!("SYSTEM_FAILURE")).await;
    wind_until_finished(app, &failure).await;
    runs.push(("SYSTEM_FAILURE", failure));
    let canceled = app.trigger_with("t", json!("CANCELED"), json!({ "delay": "1h" })).await;
    cancel(app, &canceled).await;
    runs.push(("CANCELED", canceled));
    runs.push(("EXECUTING", occupy(app, sandbox).await));
    let expired = app.trigger_with("t", json!("EXPIRED"), json!({ "ttl": "1s" })).await;
    app.app().advance(Duration::from_secs(2));
    app.finished(&expired).await;
    runs.push(("EXPIRED", expired));
    runs.push(("QUEUED", app.trigger("t", json!("QUEUED")).await));
    runs.push(("DELAYED", app.trigger_with("t", json!("DELAYED"), json!({ "delay": "1h" })).await));
    runs.push(("PENDING_VERSION", app.trigger("nobody-has-it", json!("PENDING_VERSION")).await));
    for (status, run) in &runs {
        assert_eq!(app.run(run).await["status"], *status);
    }
    runs
}

#[tokio::test]
async fn a_final_status_never_changes() {
    let (app, sandbox) = one_slot().await;
    let runs = one_of_each(&app, &sandbox).await;
    let mut ends = 0;
    for (status, run) in &runs {
        let before = app.run(run).await;
        if before["isCompleted"] == false {
            continue;
        }
        ends += 1;
        assert_eq!(cancel(&app, run).await, json!({ "id": run }), "canceling what has ended is no error");
        app.app().advance(Duration::from_secs(1));
        assert_eq!(app.run(run).await, before, "{status}");
        assert_eq!(app.history(run).await.last().map(String::as_str), Some(*status));
    }
    assert_eq!(ends, 7);
}

#[tokio::test]
async fn a_run_of_any_status_can_be_replayed() {
    let (app, sandbox) = one_slot().await;
    let runs = one_of_each(&app, &sandbox).await;
    let mut replays = Vec::new();
    for (status, run) in &runs {
        let before = app.run(run).await;
        let replay = app.replay(run).await;
        let mut after = app.run(run).await;
        assert_eq!(after["replays"], json!([replay]), "{status}");
        after["replays"] = json!([]);
        assert_eq!(after, before, "a replay changes nothing of its source");
        replays.push((status, run, replay));
    }
    let executing = &runs.iter().find(|(status, _)| *status == "EXECUTING").unwrap().1;
    cancel(&app, executing).await;
    for (status, run, replay) in replays {
        let replay = match *status {
            "PENDING_VERSION" => app.run(&replay).await,
            _ => app.finished(&replay).await,
        };
        let expected = if *status == "PENDING_VERSION" { "PENDING_VERSION" } else { "COMPLETED" };
        assert_eq!(replay["status"], expected, "replay of {status}: {replay}");
        assert_eq!(replay["replayedFrom"], **run);
        assert_eq!(replay["isReplay"], true);
        let payload = if *status == "EXECUTING" { "occupant" } else { status };
        assert_eq!(replay["payload"], payload);
    }
}

#[tokio::test]
async fn a_run_of_an_unknown_task_waits_for_a_deployment_that_brings_it() {
    let app = TestApp::start().await;
    let run = app.trigger("echo", json!("early")).await;
    let pending = app.run(&run).await;
    assert_eq!(pending["status"], "PENDING_VERSION", "{pending}");
    assert_eq!(pending["isQueued"], true);

    app.deploy(guests::ECHO_V1).await;

    let run = app.finished(&run).await;
    assert_eq!(run["output"]["payload"], "early", "{run}");
    assert_eq!(app.history(id(&run)).await, ["PENDING_VERSION", "QUEUED", "EXECUTING", "COMPLETED"]);
}
