//! What is remembered: opening, locking, query plans, backups, and that nothing that was
//! acknowledged is lost.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dacapo::app::App;
use dacapo::clock::Clock;
use dacapo::config::ServerArgs;
use dacapo::model::attempt::Outcome;
use dacapo::model::task::TaskDefinition;
use dacapo::sandbox::scripted::{ScriptedSandbox, Step};
use dacapo_tests::guests;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{PATIENCE, TestApp};

fn database(data_dir: &Path) -> Connection {
    Connection::open(data_dir.join("dacapo.db")).expect("the database opens")
}

/// Starts a server; what is wrong is answered as text.
async fn start(data_dir: &Path) -> Result<App, String> {
    let args =
        ServerArgs { listen: Some("127.0.0.1:0".into()), data_dir: Some(data_dir.into()), ..ServerArgs::default() };
    let sandbox = Arc::new(ScriptedSandbox::new(Vec::new()));
    let config = args.into_config().expect("good settings");
    App::start_with(config, Clock::system(), Some(sandbox)).await.map_err(|error| error.to_string())
}

async fn with_scripted_task() -> (TestApp, Arc<ScriptedSandbox>) {
    let sandbox = Arc::new(ScriptedSandbox::new(vec![TaskDefinition::new("t")]));
    let args = ServerArgs { shutdown_grace: Some("0s".into()), ..ServerArgs::default() };
    let app = TestApp::start_sandboxed(args, Some(sandbox.clone())).await;
    app.upload("scripted", b"any bytes", "").await.ok();
    (app, sandbox)
}

/// Triggers `count` runs at the same time and answers with their ids.
async fn trigger_at_once(app: &Arc<TestApp>, task: &'static str, count: usize) -> Vec<String> {
    let mut triggers = JoinSet::new();
    for n in 0..count {
        let app = app.clone();
        triggers.spawn(async move { app.trigger(task, json!(n)).await });
    }
    triggers.join_all().await
}

#[tokio::test]
async fn a_data_directory_of_a_newer_program_is_refused() {
    let mut app = TestApp::start().await;
    app.stop().await;
    let connection = database(app.data_dir());
    let sql = "INSERT INTO schema_migrations (version, applied_at) SELECT MAX(version) + 6, 0 FROM schema_migrations";
    connection.execute(sql, []).unwrap();
    let found: i64 = connection.query_row("SELECT MAX(version) FROM schema_migrations", [], |row| row.get(0)).unwrap();
    drop(connection);

    let refusal = start(app.data_dir()).await.err().expect("a newer schema is refused");

    let known = found - 6;
    let expected = format!(
        "the data directory was written by a newer dacapo (schema {found}, this program knows {known}); \
         install that version or restore an older backup"
    );
    assert_eq!(refusal, expected);
    let again = start(app.data_dir()).await.err();
    assert_eq!(again, Some(expected), "a refusal changes nothing");
}

#[tokio::test]
async fn a_data_directory_belongs_to_one_server_at_a_time() {
    let mut app = TestApp::start().await;
    let refusal = start(app.data_dir()).await.err().expect("a second server is refused");
    let shown = app.data_dir().display();
    let expected =
        format!("another dacapo server uses {shown}; stop it first, or give this one a directory of its own");
    assert_eq!(refusal, expected);
    assert_eq!(app.get("/api/v1/runs").await.status, 200, "the first goes on");
    app.stop().await;
    // The directory is free again.
    TestApp::open(app.data_dir().to_owned(), ServerArgs::default(), None).await.stop().await;
}

#[tokio::test]
async fn a_server_without_the_key_of_its_data_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    start(dir.path()).await.unwrap().stop().await.unwrap();
    let path = dir.path().join("server.key");
    let genuine = std::fs::read(&path).unwrap();

    std::fs::remove_file(&path).unwrap();
    let advice = "which encrypts the API keys and variables of this data directory: \
                  restore the file server.key from a backup, or set DACAPO_SERVER_KEY to its content";
    let missing = start(dir.path()).await.err().unwrap();
    assert_eq!(missing, format!("the server key is missing, {advice}"));
    assert!(!path.exists(), "no other key was made");

    std::fs::write(&path, "ab".repeat(32)).unwrap();
    let other = start(dir.path()).await.err().unwrap();
    assert_eq!(other, format!("the server key is not the one, {advice}"));

    std::fs::write(&path, genuine).unwrap();
    start(dir.path()).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_data_directory_opens_again_with_everything_in_it() {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    let run = app.call("echo", json!({ "n": 1 })).await;
    let id = run["id"].as_str().unwrap().to_owned();
    let (events, deployments) = (app.history(&id).await, app.get("/api/v1/deployments").await.ok());

    let app = app.restart().await;

    assert_eq!(app.run(&id).await, run);
    assert_eq!(app.history(&id).await, events);
    assert_eq!(app.get("/api/v1/deployments").await.ok(), deployments);
    assert_eq!(app.call("echo", json!(2)).await["status"], "COMPLETED");
    let migrations: i64 = database(app.data_dir())
        .query_row("SELECT COUNT(*) - MAX(version) FROM schema_migrations", [], |row| row.get(0))
        .unwrap();
    assert_eq!(migrations, 0, "no migration was applied twice");
}

/// The text without layout.
pub fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// How SQLite would answer; what is bound plays no part in it.
#[track_caller]
fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("good SQL");
    let mut rows = statement.raw_query();
    let mut plan = Vec::new();
    while let Some(row) = rows.next().expect("a plan") {
        plan.push(row.get("detail").expect("a detail"));
    }
    plan
}

#[track_caller]
fn check_plan(connection: &Connection, sql: &str, index: &str) {
    let plan = plan(connection, sql);
    let text = plan.join("\n");
    assert!(!text.contains("TEMP B-TREE"), "{sql}\nsorts:\n{text}");
    assert!(text.contains(&format!("INDEX {index}")), "{sql}\ndoes not use {index}:\n{text}");
    // Without a range there is nothing to search for: the first entry of a partial index is taken.
    let takes_the_first = !sql.contains("<=") && sql.contains("LIMIT 1");
    for line in plan.iter().filter(|line| line.starts_with("SCAN")) {
        assert!(takes_the_first && line.contains(index), "{sql}\nscans:\n{text}");
    }
}

#[tokio::test]
async fn the_queue_is_read_through_its_partial_indexes() {
    let app = TestApp::start().await;
    let connection = database(app.data_dir());
    let upkeep = include_str!("../../runtime/src/storage/upkeep.rs");
    let wakes = include_str!("../../runtime/src/storage/wakes.rs");
    let source = flat(include_str!("../../runtime/src/storage/queue.rs")) + &flat(upkeep) + &flat(wakes);
    for (sql, index) in [
        (
            "FROM runs WHERE status = 'queued' AND held = 0 AND dequeue_at <= ?1 ORDER BY dequeue_at, id LIMIT ?2",
            "runs_ready",
        ),
        (
            "SELECT dequeue_at FROM runs WHERE status = 'queued' AND held = 0 ORDER BY dequeue_at, id LIMIT 1",
            "runs_ready",
        ),
        (
            "SELECT r.id FROM runs r WHERE r.status = 'delayed' AND r.dequeue_at <= ?1 ORDER BY r.dequeue_at, r.id LIMIT ?2",
            "runs_delayed",
        ),
        (
            "FROM runs r WHERE r.status = 'queued' AND r.expires_at IS NOT NULL AND r.expires_at <= ?1 \
             ORDER BY r.expires_at, r.id LIMIT ?2",
            "runs_expiring",
        ),
        (
            "FROM runs r WHERE r.status = 'pending-version' AND r.expires_at IS NOT NULL AND r.expires_at <= ?1 \
             ORDER BY r.expires_at, r.id LIMIT ?2",
            "runs_parked_expiring",
        ),
        ("SELECT MIN(dequeue_at) AS at FROM runs WHERE status = 'delayed'", "runs_delayed"),
        ("SELECT MIN(expires_at) AS at FROM runs WHERE status = 'queued' AND expires_at IS NOT NULL", "runs_expiring"),
        ("SELECT MIN(due_at) AS at FROM run_waits WHERE due_at IS NOT NULL", "run_waits_due"),
        (
            "SELECT run_id, place, item, needs_all FROM run_waits \
             WHERE due_at IS NOT NULL AND due_at <= ?1 ORDER BY due_at, run_id LIMIT ?2",
            "run_waits_due",
        ),
        (
            "SELECT run_id, place, item, needs_all FROM run_waits WHERE target_run = ?1 ORDER BY run_id LIMIT ?2",
            "run_waits_for_run",
        ),
        (
            "SELECT run_id, place, item, needs_all FROM run_waits WHERE target_token = ?1 ORDER BY run_id LIMIT ?2",
            "run_waits_for_token",
        ),
        ("UPDATE run_waits SET target_run = NULL, due_at = ?2 WHERE target_run = ?1", "run_waits_for_run"),
        ("SELECT 1 FROM run_waits WHERE target_run IS NOT NULL LIMIT 1", "run_waits_for_run"),
    ] {
        assert!(source.contains(sql), "the queue does not ask this any more, so the test is blind: {sql}");
        let columns = if sql.starts_with("FROM") { "SELECT status, output " } else { "" };
        check_plan(&connection, &format!("{columns}{sql}"), index);
    }
}

#[tokio::test]
async fn a_change_of_one_run_is_found_by_its_key() {
    let app = TestApp::start().await;
    let connection = database(app.data_dir());
    let claim = "UPDATE runs SET status = 'executing' WHERE id = ?1 AND status = 'queued' AND lease = ?2";
    let settle = "UPDATE runs SET status = 'completed' WHERE id = ?1 AND lease = ?2 AND status = 'executing'";
    let source = flat(include_str!("../../runtime/src/storage/queue.rs"))
        + &flat(include_str!("../../runtime/src/storage/settlements.rs"));
    for sql in [claim, settle] {
        let condition = sql.find("WHERE").map(|at| &sql[at..]).unwrap();
        assert!(source.contains(condition), "the queue does not ask this any more, so the test is blind: {sql}");
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let mut rows = statement.raw_query();
        let mut found = false;
        while let Some(row) = rows.next().unwrap() {
            let line: String = row.get("detail").unwrap();
            assert!(!line.starts_with("SCAN"), "{sql}\n{line}");
            found |= line.starts_with("SEARCH runs USING PRIMARY KEY (id=?");
        }
        assert!(found, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_can_be_made_while_the_server_works() {
    let app = Arc::new(TestApp::start().await);
    app.deploy(guests::ECHO_V1).await;
    app.post("/api/v1/projects/p/envvars/dev", json!({ "name": "A", "value": "kept" })).await.ok();
    let before = trigger_at_once(&app, "echo", 40).await;
    let delayed = app.trigger_with("echo", json!("delayed"), json!({ "delay": "1h" })).await;
    let meanwhile = tokio::spawn({
        let app = app.clone();
        async move { trigger_at_once(&app, "echo", 100).await }
    });
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("copy");

    dacapo::app::backup(app.data_dir(), &target).await.expect("the backup is made");

    let meanwhile = meanwhile.await.unwrap();
    for run in &meanwhile {
        assert_eq!(app.finished(run).await["status"], "COMPLETED", "the server goes on");
    }
    let copy = TestApp::open(target.clone(), ServerArgs::default(), None).await;
    for run in &before {
        let run = copy.finished(run).await;
        assert_eq!(run["status"], "COMPLETED", "{run}");
    }
    assert_eq!(copy.run(&delayed).await["status"], "DELAYED");
    assert_eq!(copy.get("/api/v1/projects/p/envvars/dev/A").await.ok()["value"], "kept");
    assert_eq!(copy.call("echo", json!("new")).await["status"], "COMPLETED", "the components were copied");
    let state: String = database(&target).query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(state, "ok");
    let again = dacapo::app::backup(app.data_dir(), &target).await;
    assert!(again.is_err(), "a backup overwrites nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_much_data_ends_although_others_write_all_the_time() {
    let app = Arc::new(TestApp::start().await);
    let kept = app.trigger_with("t", json!("x".repeat(8 << 20)), json!({ "delay": "1h" })).await;
    for _ in 0..3 {
        app.trigger_with("t", json!("x".repeat(8 << 20)), json!({ "delay": "1h" })).await;
    }
    let writing = tokio::spawn({
        let app = app.clone();
        async move {
            loop {
                trigger_at_once(&app, "t", 2).await;
            }
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("copy");

    let backup = dacapo::app::backup(app.data_dir(), &target);
    tokio::time::timeout(PATIENCE, backup).await.expect("the backup ends").expect("the backup is made");

    assert!(!writing.is_finished(), "others wrote all the time");
    writing.abort();
    let connection = database(&target);
    let state: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(state, "ok");
    let sql = "SELECT COUNT(*) FROM runs WHERE id = ?1";
    assert_eq!(connection.query_row(sql, [kept], |row| row.get::<_, i64>(0)).unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_in_the_database_after_a_stop() {
    let (app, _sandbox) = with_scripted_task().await;
    let app = Arc::new(app);
    let acknowledged = trigger_at_once(&app, "t", 200).await;
    let mut app = Arc::into_inner(app).expect("nobody else has it");
    app.stop().await;
    let connection = database(app.data_dir());
    let mut statement = connection.prepare("SELECT id FROM runs").unwrap();
    let stored: HashSet<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let missing: Vec<_> = acknowledged.iter().filter(|id| !stored.contains(*id)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(stored.len(), acknowledged.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_are_triggered_at_once_are_distinct_and_all_finish() {
    let (app, sandbox) = with_scripted_task().await;
    let app = Arc::new(app);
    let runs = trigger_at_once(&app, "t", 200).await;
    assert_eq!(runs.iter().collect::<HashSet<_>>().len(), 200);
    for run in &runs {
        let run = app.finished(run).await;
        assert_eq!(run["status"], "COMPLETED", "{run}");
    }
    let seen = sandbox.seen();
    assert_eq!(seen.len(), 200, "every run was called once");
    assert_eq!(seen.iter().map(|call| &call.run).collect::<HashSet<_>>().len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_with_one_idempotency_key_make_one_run() {
    let (app, sandbox) = with_scripted_task().await;
    let app = Arc::new(app);
    let mut triggers = JoinSet::new();
    for n in 0..50 {
        let app = app.clone();
        let body = json!({ "payload": n, "options": { "idempotencyKey": "one" } });
        triggers.spawn(async move { app.post("/api/v1/tasks/t/trigger", body).await.ok() });
    }
    let receipts = triggers.join_all().await;
    let first: Vec<&Value> = receipts.iter().filter(|receipt| receipt["isCached"] == false).collect();
    assert_eq!(first.len(), 1, "{receipts:?}");
    assert!(receipts.iter().all(|receipt| receipt["id"] == first[0]["id"]), "{receipts:?}");
    app.finished(first[0]["id"].as_str().unwrap()).await;
    assert_eq!(sandbox.seen().len(), 1);
}

#[tokio::test]
async fn every_status_has_its_event_and_every_end_its_time() {
    let (mut app, sandbox) = with_scripted_task().await;
    sandbox.then(Step::End(Outcome::Returned("1".into())));
    app.call("t", json!(1)).await;
    sandbox.then(Step::End(Outcome::HostFault("fault".into())));
    let run = app.trigger("t", json!(2)).await;
    app.finished(&run).await;
    sandbox.then(Step::Hang);
    let hanging = app.trigger("t", json!(3)).await;
    sandbox.called(4).await;
    let canceled = app.trigger_with("t", json!(4), json!({ "delay": "1h" })).await;
    app.post_empty(&format!("/api/v2/runs/{canceled}/cancel")).await.ok();
    app.trigger_with("t", json!(5), json!({ "delay": "1h" })).await;
    let due = app.trigger_with("t", json!(6), json!({ "delay": "2s" })).await;
    app.app().advance(Duration::from_secs(3));
    app.finished(&due).await;
    app.trigger("nobody-has-it", json!(7)).await;
    app.stop().await;

    let connection = database(app.data_dir());
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT COUNT(*) FROM runs"), 7);
    let wrong = "SELECT COUNT(*) FROM runs r WHERE r.status <> (
                     SELECT e.status FROM run_events e WHERE e.run_id = r.id ORDER BY e.seq DESC LIMIT 1)";
    assert_eq!(count(wrong), 0, "the last event of a run says its status");
    let untimed = "SELECT COUNT(*) FROM runs r JOIN run_events e ON e.run_id = r.id
                   WHERE  r.finished_at IS NOT NULL AND e.status = r.status AND e.at <> r.finished_at";
    assert_eq!(count(untimed), 0, "the event of the end has its time");
    let gaps =
        "SELECT COUNT(*) FROM (SELECT COUNT(*) AS n, MAX(seq) AS last FROM run_events GROUP BY run_id) WHERE n <> last";
    assert_eq!(count(gaps), 0, "events are numbered from 1");
    let finals = "('completed', 'failed', 'crashed', 'timed-out', 'canceled', 'expired', 'system-failure')";
    assert_eq!(count(&format!("SELECT COUNT(*) FROM runs WHERE (finished_at IS NOT NULL) <> (status IN {finals})")), 0);
    assert_eq!(count(&format!("SELECT COUNT(*) FROM run_events WHERE status IN {finals}")), 4);
    let status: String =
        connection.query_row("SELECT status FROM runs WHERE id = ?1", [&hanging], |row| row.get(0)).unwrap();
    assert_eq!(status, "queued", "what a stop interrupts is queued again");
    assert_eq!(count("SELECT COUNT(*) FROM workers"), 0, "the worker has signed off");
}
