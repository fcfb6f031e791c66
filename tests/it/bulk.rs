//! Bulk actions: every run of a selection once, with a row that says what became of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dacapo::config::ServerArgs;
use dacapo::model::id::RunId;
use dacapo::model::task::TaskDefinition;
use dacapo::sandbox::scripted::{ScriptedSandbox, Step};
use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::harness::TestApp;

/// A server in `data` that works on `workers` runs at a time, whose first calls hang.
async fn scripted(data: &Path, workers: u32, hangs: usize) -> TestApp {
    let sandbox = Arc::new(ScriptedSandbox::new(vec![TaskDefinition::new("t")]));
    (0..hangs).for_each(|_| sandbox.then(Step::Hang));
    let args =
        ServerArgs { shutdown_grace: Some("0s".into()), max_concurrent_runs: Some(workers), ..ServerArgs::default() };
    let app = TestApp::open(data.to_owned(), args, Some(sandbox)).await;
    app.upload("scripted", b"any bytes", "").await.ok();
    app
}

/// Runs of `t` that have ended, oldest first.
async fn ended(app: &TestApp, count: usize) -> Vec<String> {
    let mut runs = Vec::new();
    for n in 0..count {
        runs.push(app.call("t", json!(n)).await["id"].as_str().unwrap().to_owned());
    }
    runs
}

/// Waits until an action has looked at some of its runs, but not at all.
async fn halfway(app: &TestApp, bulk: &str) {
    for _ in 0..1_000 {
        if members(app, bulk).await.len() >= 10 {
            let found = app.get(&format!("/api/v1/bulk-actions/{bulk}")).await.ok();
            assert_eq!(found["status"], "PENDING", "live traffic goes first");
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{bulk} does not begin");
}

pub async fn begin(app: &TestApp, body: Value) -> String {
    let answer = app.post("/api/v1/bulk-actions", body).await;
    assert_eq!(answer.status.as_u16(), 202, "{}", answer.json);
    answer.json["id"].as_str().expect("an id").to_owned()
}

/// The action, when it is over.
pub async fn over(app: &TestApp, bulk: &str) -> Value {
    for _ in 0..1_000 {
        let found = app.get(&format!("/api/v1/bulk-actions/{bulk}")).await.ok();
        if found["status"] != "PENDING" {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{bulk} does not end");
}

async fn members(app: &TestApp, bulk: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut query = "?page[size]=7".to_owned();
    loop {
        let page = app.get(&format!("/api/v1/bulk-actions/{bulk}/members{query}")).await.ok();
        all.extend(page["data"].as_array().unwrap().iter().cloned());
        match page["pagination"]["next"].as_str() {
            Some(next) => query = format!("?page[size]=7&page[after]={next}"),
            None => return all,
        }
    }
}

fn texts(members: &[Value], field: &str) -> Vec<String> {
    members.iter().map(|member| member[field].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn failed_runs_are_replayed_oldest_first_each_once() {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    app.deploy(guests::FLAKY).await;
    let mut failed = Vec::new();
    for n in 0..40 {
        failed.push(app.trigger_with("flaky", json!({ "succeedOn": 9, "n": n }), json!({ "maxAttempts": 1 })).await);
    }
    for run in &failed {
        assert_eq!(app.finished(run).await["status"], "FAILED");
    }
    app.call("echo", json!("is not asked for")).await;

    let bulk = begin(&app, json!({ "action": "replay", "name": "again", "filter": { "status": "FAILED" } })).await;
    let found = over(&app, &bulk).await;

    assert_eq!(found["type"], "REPLAY");
    assert_eq!(found["status"], "COMPLETED");
    assert_eq!(found["name"], "again");
    assert_eq!(found["counts"], json!({ "total": 40, "success": 40, "failure": 0 }));
    let members = members(&app, &bulk).await;
    assert_eq!(texts(&members, "runId"), failed, "oldest first");
    let mut replays = texts(&members, "newRunId");
    assert!(replays.is_sorted(), "made in the order of their sources");
    for (replay, source) in replays.iter().zip(&failed) {
        let replay = app.finished(replay).await;
        assert_eq!((&replay["replayedFrom"], &replay["isReplay"]), (&json!(source), &json!(true)));
    }
    let listed = app.get(&format!("/api/v1/runs?filter[bulkAction]={bulk}&page[size]=100")).await.ok();
    replays.reverse();
    assert_eq!(texts(listed["data"].as_array().unwrap(), "id"), replays);
    let found = over(&app, &bulk).await;
    assert_eq!(found["outcomes"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum::<u64>(), 40);
    let page = app.get("/api/v1/bulk-actions?page[size]=1").await.ok();
    assert_eq!(page["data"][0]["id"], *bulk);
}

#[tokio::test]
async fn runs_that_are_named_are_canceled_and_others_say_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let app = scripted(&dir.path().join("data"), 4, 1).await;
    let executing = app.trigger("t", json!(1)).await;
    app.until_status(&executing, "EXECUTING").await;
    let delayed = app.trigger_with("t", json!(2), json!({ "delay": "1h" })).await;
    let ended = ended(&app, 1).await.remove(0);
    let nobody = RunId::from_bits(7).to_string();
    let ids = [&delayed, &executing, &ended, &nobody, &delayed];

    let bulk = begin(&app, json!({ "action": "cancel", "runIds": ids })).await;

    let found = over(&app, &bulk).await;
    assert_eq!(found["counts"], json!({ "total": 4, "success": 2, "failure": 2 }));
    assert_eq!(found["outcomes"], Value::Null);
    let members = members(&app, &bulk).await;
    assert_eq!(texts(&members, "runId"), [&nobody, &executing, &delayed, &ended].map(ToString::to_string));
    assert_eq!(texts(&members, "outcome"), ["failed", "done", "done", "skipped"]);
    assert_eq!(texts(&members, "reason"), ["Run not found", "", "", "the run had ended already"]);
    for run in [&executing, &delayed] {
        assert_eq!(app.finished(run).await["status"], "CANCELED");
    }
}

#[tokio::test]
async fn an_action_goes_on_after_a_crash_and_does_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut app = scripted(&data, 4, 0).await;
    let sources = ended(&app, 60).await;
    app.stop().await;
    // Workers that hang, so that the queue fills up and the action has to wait in its middle.
    let mut app = scripted(&data, 4, 4).await;
    let bulk = begin(&app, json!({ "action": "replay", "filter": { "taskIdentifier": ["t"] } })).await;
    halfway(&app, &bulk).await;
    app.stop().await;

    let app = scripted(&data, 4, 0).await;
    let found = over(&app, &bulk).await;

    assert_eq!(found["counts"], json!({ "total": 60, "success": 60, "failure": 0 }));
    assert_eq!(texts(&members(&app, &bulk).await, "runId"), sources);
    for source in &sources {
        assert_eq!(app.run(source).await["replays"].as_array().unwrap().len(), 1, "{source}");
    }
}

#[tokio::test]
async fn an_action_is_stopped_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut app = scripted(&data, 1, 0).await;
    ended(&app, 60).await;
    app.stop().await;
    let app = scripted(&data, 1, 1).await;
    let bulk = begin(&app, json!({ "action": "replay", "filter": { "taskIdentifier": "t" } })).await;
    halfway(&app, &bulk).await;

    let aborted = app.post_empty(&format!("/api/v1/bulk-actions/{bulk}/abort")).await.ok();

    assert_eq!(aborted["id"], *bulk);
    let found = over(&app, &bulk).await;
    assert_eq!(found["status"], "ABORTED");
    assert!(found["counts"]["total"].as_u64().unwrap() < 60, "{found}");
    let again = app.post_empty(&format!("/api/v1/bulk-actions/{bulk}/abort")).await;
    assert_eq!(again.error(409), "the bulk action is over already");
}

#[tokio::test]
async fn a_payload_that_no_longer_fits_is_a_member_that_failed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut app = scripted(&data, 4, 0).await;
    let source = ended(&app, 1).await.remove(0);
    app.stop().await;
    let mut strict = TaskDefinition::new("t");
    strict.payload_schema = Some(r#"{ "type": "object" }"#.into());
    let sandbox = Arc::new(ScriptedSandbox::new(vec![strict]));
    let app = TestApp::open(data, ServerArgs::default(), Some(sandbox)).await;
    app.upload("scripted", b"other bytes", "").await.ok();

    let bulk = begin(&app, json!({ "action": "replay", "runIds": [source], "targetRegion": "eu" })).await;

    assert_eq!(over(&app, &bulk).await["counts"], json!({ "total": 1, "success": 0, "failure": 1 }));
    let member = members(&app, &bulk).await.remove(0);
    assert_eq!((&member["outcome"], &member["newRunId"]), (&json!("failed"), &Value::Null));
    let reason = member["reason"].as_str().unwrap();
    assert!(reason.starts_with("the payload does not fit the schema of task `t`: "), "{reason}");
}

#[tokio::test]
async fn a_filter_whose_every_condition_is_empty_does_not_mean_all_runs() {
    let app = TestApp::start().await;
    app.trigger_with("t", json!(1), json!({ "delay": "1h" })).await;
    let none = "`filter` must have at least one condition";
    for (filter, text) in [
        (json!({}), none),
        (json!({ "status": null, "tag": null, "batch": null, "from": null, "isTest": null }), none),
        (json!({ "region": "eu" }), none),
        (json!({ "region": [] }), none),
        (json!({ "status": [] }), "`filter.status` or `filter.queue` names nothing"),
        (json!({ "queue": [] }), "`filter.status` or `filter.queue` names nothing"),
        (json!({ "taskIdentifier": [] }), "`filter.taskIdentifier` names nothing"),
        (json!({ "taskIdentifier": "" }), "`filter.taskIdentifier` names nothing"),
        (json!({ "version": [""] }), "`filter.version` names nothing"),
        (json!({ "tag": ["", ""] }), "`filter.tag` names nothing"),
        (json!({ "machine": "" }), "`filter.machine` names nothing"),
        (json!({ "batch": "" }), "`filter.batch` is not an id"),
        (json!({ "schedule": "" }), "`filter.schedule` is not an id"),
        (json!({ "bulkAction": "" }), "`filter.bulkAction` is not an id"),
        (json!({ "period": "" }), "`filter.period`: "),
        (json!({ "from": "" }), "Invalid body: "),
        (json!({ "status": [], "queue": [], "tag": "", "region": "eu" }), "`filter.status` or"),
        // Beside one that is not empty, too.
        (json!({ "isTest": false, "tag": [] }), "`filter.tag` names nothing"),
    ] {
        for action in ["cancel", "replay"] {
            let body = json!({ "action": action, "filter": filter.clone() });
            let found = app.post("/api/v1/bulk-actions", body).await.error(400);
            assert!(found.starts_with(text), "{filter}: {found}");
        }
    }
    assert_eq!(app.get("/api/v1/bulk-actions").await.ok()["data"], json!([]));
}

#[tokio::test]
async fn an_action_that_fails_does_not_stop_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut app = scripted(&data, 4, 0).await;
    let source = ended(&app, 1).await.remove(0);
    let mut broken = Vec::new();
    for action in ["cancel", "replay"] {
        broken.push(begin(&app, json!({ "action": action, "runIds": [RunId::from_bits(7).to_string()] })).await);
        over(&app, broken.last().unwrap()).await;
    }
    app.stop().await;
    // As if the disk had changed what is to be done.
    let database = rusqlite::Connection::open(data.join("dacapo.db")).unwrap();
    let spoil = "UPDATE bulk_actions SET status = 'pending', completed_at = NULL, selection = '?'";
    assert_eq!(database.execute(spoil, []).unwrap(), 2);
    drop(database);

    let app = scripted(&data, 4, 0).await;
    let bulk = begin(&app, json!({ "action": "replay", "runIds": [source] })).await;

    assert_eq!(over(&app, &bulk).await["counts"], json!({ "total": 1, "success": 1, "failure": 0 }));
    for bulk in &broken {
        assert_eq!(app.get(&format!("/api/v1/bulk-actions/{bulk}")).await.ok()["status"], "PENDING");
        app.post_empty(&format!("/api/v1/bulk-actions/{bulk}/abort")).await.ok();
        assert_eq!(over(&app, bulk).await["status"], "ABORTED", "one gets rid of it");
    }
}

#[tokio::test]
async fn an_action_that_cannot_be_is_refused_and_nothing_is_done() {
    let app = TestApp::start().await;
    let many: Vec<String> = (0..501).map(|bits| RunId::from_bits(bits).to_string()).collect();
    for (body, text) in [
        (json!({ "action": "replay" }), "name either a `filter` or `runIds`"),
        (json!({ "action": "replay", "filter": {} }), "`filter` must have at least one condition"),
        // There is one region, so that this would be all runs.
        (json!({ "action": "cancel", "filter": { "region": "eu" } }), "`filter` must have at least one condition"),
        (json!({ "action": "replay", "filter": { "status": "DONE" } }), "Invalid body: neither a value that is known"),
        (json!({ "action": "replay", "filter": { "color": "red" } }), "Invalid body: unknown field `color`"),
        (json!({ "action": "replay", "filter": { "batch": "b" } }), "`filter.batch` is not an id of its kind"),
        (json!({ "action": "replay", "filter": { "version": "newest" } }), "`filter.version` must be a version"),
        (json!({ "action": "replay", "filter": { "period": "long" } }), "`filter.period`: `long` is not a duration"),
        (json!({ "action": "replay", "filter": { "tag": vec!["t"; 21] } }), "`filter.tag` can name 20 at most"),
        (json!({ "action": "delete", "runIds": [many[1]] }), "Invalid body: unknown variant `delete`"),
        (json!({ "action": "cancel", "runIds": [] }), "`runIds` must name 1 to 500 runs"),
        (json!({ "action": "cancel", "runIds": many }), "`runIds` must name 1 to 500 runs"),
        (json!({ "action": "cancel", "runIds": ["run_1"] }), "`runIds`: `run_1` is not the id of a run"),
        (json!({ "action": "cancel", "runIds": [many[1]], "name": "n".repeat(256) }), "`name` can have 255"),
    ] {
        let found = app.post("/api/v1/bulk-actions", body.clone()).await.error(400);
        assert!(found.starts_with(text), "{body}: {found}");
    }
    assert_eq!(app.get("/api/v1/bulk-actions").await.ok()["data"], json!([]));
    for path in ["bulk_1", "bulk_00000000000000000000000007"] {
        assert_eq!(app.get(&format!("/api/v1/bulk-actions/{path}")).await.error(404), "Bulk action not found");
        let aborted = app.post_empty(&format!("/api/v1/bulk-actions/{path}/abort")).await;
        assert_eq!(aborted.error(404), "Bulk action not found");
    }
}
