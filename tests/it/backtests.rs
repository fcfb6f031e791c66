//! Backtests among others: whose turn it is, what gates decide, and what becomes of those that cannot go on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use dacapo::clock::Clock;
use dacapo::config::ServerArgs;
use dacapo::model::attempt::Outcome;
use dacapo::model::digest::Digest;
use dacapo::model::id::{BacktestId, RunId};
use dacapo::model::task::TaskDefinition;
use dacapo::model::verdict::Verdict;
use dacapo::sandbox::scripted::{ScriptedSandbox, Step};
use dacapo::storage::{BacktestStep, NewBacktest, Storage, StoredReplay};
use dacapo_tests::guests;
use http_body_util::BodyExt;
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::harness::{PATIENCE, TestApp};

/// Runs of the task of this name are not recorded.
const UNRECORDED: &str = "unrecorded";

const BACKTESTS: &str = "/api/v1/backtests";

/// A server whose guests do what the script says, and return `null` otherwise.
pub struct Lab {
    pub app: Arc<TestApp>,
    pub sandbox: Arc<ScriptedSandbox>,
    _dir: tempfile::TempDir,
    tasks: &'static [&'static str],
}

impl Lab {
    /// Components have these tasks; the first version is current.
    pub async fn open(tasks: &'static [&'static str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (app, sandbox) = Self::start(&dir.path().join("data"), tasks).await;
        let lab = Self { app: Arc::new(app), sandbox, _dir: dir, tasks };
        lab.upload("one", "").await;
        lab
    }

    async fn start(data_dir: &Path, tasks: &[&str]) -> (TestApp, Arc<ScriptedSandbox>) {
        let definition =
            |task: &&str| TaskDefinition { keeps_journals: *task != UNRECORDED, ..TaskDefinition::new(*task) };
        let sandbox = Arc::new(ScriptedSandbox::new(tasks.iter().map(definition).collect()));
        let args = ServerArgs { shutdown_grace: Some("0s".into()), ..ServerArgs::default() };
        (TestApp::open(data_dir.to_owned(), args, Some(sandbox.clone())).await, sandbox)
    }

    async fn stopped(&mut self) {
        Arc::get_mut(&mut self.app).expect("nobody else asks it").stop().await;
    }

    /// Starts the server again, with an empty script.
    pub async fn restarted(&mut self, between: impl FnOnce(&Connection)) {
        self.stopped().await;
        let data_dir = self.app.data_dir().to_owned();
        between(&Connection::open(data_dir.join("dacapo.db")).expect("the database opens"));
        let (app, sandbox) = Self::start(&data_dir, self.tasks).await;
        (self.app, self.sandbox) = (Arc::new(app), sandbox);
    }

    /// Uploads a version of these bytes.
    pub async fn upload(&self, bytes: &str, query: &str) -> Value {
        self.app.upload("lab", bytes.as_bytes(), query).await.ok()
    }

    /// Uploads a version and leaves current what is; its version.
    pub async fn version(&self, bytes: &str) -> String {
        text(&self.upload(bytes, "&skipPromotion=true").await["deployment"]["version"])
    }

    /// Runs of a task that have ended; their ids.
    pub async fn runs(&self, task: &'static str, count: usize) -> Vec<String> {
        let mut runs = JoinSet::new();
        for n in 0..count {
            let app = self.app.clone();
            runs.spawn(async move { text(&app.call(task, json!(n)).await["id"]) });
        }
        runs.join_all().await
    }

    pub async fn begin(&self, request: Value) -> String {
        text(&self.app.post(BACKTESTS, request).await.ok()["id"])
    }

    /// Begins a backtest that is stuck in its first replay.
    pub async fn begin_stuck(&self, request: Value) -> String {
        self.sandbox.then(Step::Hang);
        let calls = self.sandbox.seen().len();
        let id = self.begin(request).await;
        self.sandbox.called(calls + 1).await;
        id
    }

    pub async fn over(&self, id: &str) -> Value {
        over(&self.app, id).await
    }

    async fn current(&self) -> String {
        text(&self.app.get("/api/v1/deployments/current").await.ok()["version"])
    }

    /// Makes a version current as the operator.
    async fn promote(&self, version: &str) {
        let request = Request::post(format!("/api/v1/deployments/{version}/promote"));
        let request = request.header("x-dacapo-environment", "dev");
        self.app.send(&self.app.admin_key, request, Body::empty()).await.ok();
    }
}

/// A backtest when it is over.
async fn over(app: &TestApp, id: &str) -> Value {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let item = app.get(&format!("{BACKTESTS}/{id}")).await.ok();
        if item["status"] != "PENDING" {
            return item;
        }
        assert!(tokio::time::Instant::now() < deadline, "it does not end: {item}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text: {value}")).to_owned()
}

fn gated(version: &str) -> Value {
    json!({ "version": version, "gate": { "allow": 0 } })
}

#[tokio::test]
async fn a_gate_does_not_undo_what_was_decided_later() {
    let mut lab = Lab::open(&["t"]).await;
    lab.runs("t", 1).await;
    let (two, three) = (lab.version("two").await, lab.version("three").await);
    let gate = lab.begin_stuck(gated(&two)).await;
    lab.promote(&three).await;
    lab.restarted(|_| {}).await;
    let item = lab.over(&gate).await;
    assert_eq!((&item["status"], &item["verdicts"]), (&json!("FAILED"), &json!({ "same": 1 })), "{item}");
    assert!(text(&item["reason"]).contains(&format!("version {three} was made current while")), "{item}");
    assert_eq!((item.get("isOpen"), lab.current().await), (None, three));
}

#[tokio::test]
async fn a_gate_leaves_the_decision_to_a_newer_one() {
    let mut lab = Lab::open(&["t"]).await;
    lab.runs("t", 1).await;
    let (two, three) = (lab.version("two").await, lab.version("three").await);
    let first = lab.begin_stuck(gated(&two)).await;
    let second = lab.begin(gated(&three)).await;
    lab.restarted(|_| {}).await;
    let (first, second_item) = (lab.over(&first).await, lab.over(&second).await);
    assert!(text(&first["reason"]).contains(&second), "{first}");
    assert_eq!((&second_item["isOpen"], lab.current().await), (&json!(true), three), "{second_item}");
}

#[tokio::test]
async fn a_gate_of_what_is_current_already_changes_nothing() {
    let mut lab = Lab::open(&["t"]).await;
    lab.runs("t", 1).await;
    let two = lab.version("two").await;
    let gate = lab.begin_stuck(gated(&two)).await;
    lab.promote(&two).await;
    lab.restarted(|_| {}).await;
    assert_eq!(lab.over(&gate).await["isOpen"], true);
    let before = lab.app.post_empty("/api/v1/deployments/rollback").await.ok();
    assert_ne!(before["version"], two, "it was promoted once");
}

#[tokio::test]
async fn what_the_server_could_not_execute_is_tried_again_alone_and_counts_against_the_version() {
    let lab = Lab::open(&["t"]).await;
    let runs = lab.runs("t", 1).await;
    let full = || Step::End(Outcome::HostFull("memory".into()));

    lab.sandbox.then(full());
    let two = lab.version("two").await;
    let gate = lab.begin(gated(&two)).await;
    let item = lab.over(&gate).await;
    assert_eq!((&item["isOpen"], &item["verdicts"]), (&json!(true), &json!({ "same": 1 })), "{item}");
    assert_eq!(item["isClean"], true);

    (0..3).for_each(|_| lab.sandbox.then(full()));
    let three = lab.version("three").await;
    let gate = lab.begin(gated(&three)).await;
    let item = lab.over(&gate).await;
    assert_eq!((&item["verdicts"], &item["differences"]), (&json!({ "not-replayable": 1 }), &json!(1)), "{item}");
    assert_eq!((&item["isOpen"], lab.current().await), (&json!(false), two));
    let replays = lab.app.get(&format!("{BACKTESTS}/{gate}/replays")).await.ok();
    let replay = &replays["data"][0];
    assert_eq!((&replay["runId"], &replay["differs"]), (&json!(runs[0]), &json!(true)), "{replay}");
    let junit = lab.app.get(&format!("{BACKTESTS}/{gate}/report?format=junit")).await.ok();
    assert!(
        text(&junit).contains(r#"failures="1""#) && text(&junit).contains("<failure type=\"not-replayable\""),
        "{junit}"
    );
}

#[tokio::test]
async fn what_fails_for_other_reasons_than_its_neighbours_is_not_tried_again() {
    let lab = Lab::open(&["t"]).await;
    lab.runs("t", 1).await;
    lab.sandbox.then(Step::End(Outcome::HostFault("no luck".into())));
    let (two, calls) = (lab.version("two").await, lab.sandbox.seen().len());
    let item = lab.over(&lab.begin(gated(&two)).await).await;
    assert_eq!((&item["isOpen"], &item["differences"]), (&json!(false), &json!(1)), "{item}");
    assert_eq!(lab.sandbox.seen().len(), calls + 1);
}

#[tokio::test]
async fn a_backtest_that_is_stopped_leaves_its_step_to_others() {
    let lab = Lab::open(&["t"]).await;
    lab.runs("t", 2).await;
    let two = lab.version("two").await;
    for is_deleted in [false, true] {
        let stuck = lab.begin_stuck(json!({ "version": two })).await;
        lab.app.post_empty(&format!("{BACKTESTS}/{stuck}/abort")).await.ok();
        if is_deleted {
            let path = format!("{BACKTESTS}/{stuck}");
            lab.app.send(&lab.app.key, Request::delete(path), Body::empty()).await.ok();
        }
        let next = lab.begin(json!({ "version": two })).await;
        assert_eq!(lab.over(&next).await["verdicts"], json!({ "same": 2 }));
    }
}

#[tokio::test]
async fn a_step_that_ended_within_a_page_goes_on_behind_its_last_run() {
    let mut lab = Lab::open(&["t"]).await;
    let mut runs = lab.runs("t", 5).await;
    runs.sort();
    let two = lab.version("two").await;
    let id = lab.begin_stuck(json!({ "version": two, "runIds": runs })).await;
    lab.restarted(|connection| {
        let ended = "UPDATE backtests SET last_run = ?2, done = 3, same = 3 WHERE id = ?1";
        assert_eq!(connection.execute(ended, [&id, &runs[2]]).unwrap(), 1);
    })
    .await;
    let item = lab.over(&id).await;
    assert_eq!((&item["done"], &item["verdicts"]), (&json!(5), &json!({ "same": 5 })), "{item}");
    assert_eq!(lab.sandbox.seen().len(), 2);
}

#[tokio::test]
async fn a_gate_stays_closed_where_too_little_is_known() {
    let mut lab = Lab::open(&["a", "b", "c"]).await;
    let runs = lab.runs("a", 4).await;
    lab.runs("b", 1).await;
    let two = lab.version("two").await;
    let forget = |connection: &Connection| {
        for run in &runs[1..] {
            connection.execute("UPDATE runs SET is_replayable = 0 WHERE id = ?1", [run]).unwrap();
        }
    };
    lab.restarted(forget).await;
    let item = lab.over(&lab.begin(gated(&two)).await).await;
    assert_eq!((&item["status"], &item["verdicts"]), (&json!("FAILED"), &json!({ "same": 2, "not-replayable": 3 })));
    assert!(
        text(&item["reason"]).contains("1 of 4 of `a` runs could be replayed, and the gate asks for 50%"),
        "{item}"
    );
    assert_ne!(lab.current().await, two);

    let modest = json!({ "version": two, "gate": { "allow": 0, "minKnown": 25 } });
    let item = lab.over(&lab.begin(modest).await).await;
    assert_eq!((&item["isOpen"], &item["untested"]), (&json!(true), &json!(["c"])), "{item}");
    assert_eq!(item["isClean"], false, "one task is not tested");
    assert_eq!((&item["gate"], lab.current().await), (&json!({ "allow": 0, "minKnown": 25 }), two.clone()));

    let refused = json!({ "version": two, "gate": { "allow": 0, "minKnown": 101 } });
    assert!(lab.app.post(BACKTESTS, refused).await.error(400).contains("`minKnown`"));
}

#[tokio::test]
async fn a_task_without_recordings_can_be_deployed_under_a_policy() {
    let lab = Lab::open(&["recorded", UNRECORDED]).await;
    lab.runs(UNRECORDED, 3).await;
    lab.app.admin("PUT", "/admin/v1/environments/dev/backtest-policy", json!({ "policy": {} })).await.ok();
    let receipt = lab.upload("two", "").await;
    assert!(receipt["promotion"].is_object(), "{receipt}");
    assert!(text(&receipt["note"]).ends_with("nothing was tested"), "{receipt}");

    lab.runs("recorded", 1).await;
    let receipt = lab.upload("three", "").await;
    let item = lab.over(&text(&receipt["backtestId"])).await;
    assert_eq!((&item["isOpen"], &item["untested"]), (&json!(true), &json!([UNRECORDED])), "{item}");
    assert_eq!(item["verdicts"], json!({ "same": 1, "not-replayable": 3 }), "{item}");
    assert_eq!(lab.current().await, text(&receipt["deployment"]["version"]));
}

#[tokio::test]
async fn the_runs_of_a_gate_are_shared_among_tasks() {
    let lab = Lab::open(&["common", "rare"]).await;
    let rare = lab.runs("rare", 2).await;
    lab.runs("common", 30).await;
    let two = lab.version("two").await;
    let tasks = async |request: Value| {
        let id = lab.begin(request).await;
        let item = lab.over(&id).await;
        let replays = lab.app.get(&format!("{BACKTESTS}/{id}/replays?page[size]=100")).await.ok();
        let of =
            |task: &str| replays["data"].as_array().unwrap().iter().filter(|one| one["taskIdentifier"] == task).count();
        (item["done"].clone(), of("common"), of("rare"))
    };
    assert_eq!(tasks(json!({ "version": two, "last": 10 })).await, (json!(10), 10, 0));
    assert_eq!(tasks(json!({ "version": two, "last": 10, "gate": { "allow": 0 } })).await, (json!(10), 8, 2));
    let sampled = json!({ "version": two, "last": 20, "sample": 4, "gate": { "allow": 0 } });
    assert_eq!(tasks(sampled).await, (json!(4), 2, 2));
    assert_eq!(tasks(json!({ "version": two, "sample": 20 })).await, (json!(20), 19, 1), "spread over all");
    assert_eq!(tasks(json!({ "version": two, "runIds": rare })).await, (json!(2), 0, 2));
}

#[tokio::test]
async fn gates_go_first_and_others_take_turns() {
    let mut lab = Lab::open(&["t"]).await;
    lab.runs("t", 300).await;
    let mut versions = Vec::new();
    for bytes in ["two", "three", "four"] {
        versions.push(lab.version(bytes).await);
    }
    let first = lab.begin_stuck(json!({ "version": versions[0] })).await;
    let second = lab.begin(json!({ "version": versions[1] })).await;
    let gate = lab.begin(gated(&versions[2])).await;
    lab.restarted(|_| {}).await;
    for id in [&first, &second, &gate] {
        assert_eq!(lab.over(id).await["verdicts"], json!({ "same": 300 }));
    }
    let [two, three, four] = ["two", "three", "four"].map(|bytes| Digest::of(bytes.as_bytes()));
    let mut turns: Vec<Digest> = lab.sandbox.seen().iter().map(|seen| seen.component).collect();
    turns.dedup();
    assert_eq!(turns, [four, two, three, two, three, two, three]);
}

#[tokio::test]
async fn a_step_ends_in_time_and_lets_others_go_on() {
    let lab = Lab::open(&["t"]).await;
    lab.runs("t", 20).await;
    let (two, three) = (lab.version("two").await, lab.version("three").await);
    let calls = lab.sandbox.seen().len();
    // As many as are replayed at a time, each for longer than a step.
    (0..16).for_each(|_| lab.sandbox.then(Step::Last(Duration::from_millis(2_100))));
    let long = lab.begin(json!({ "version": two })).await;
    lab.sandbox.called(calls + 16).await;
    let other = lab.begin(json!({ "version": three })).await;
    for id in [&long, &other] {
        assert_eq!(lab.over(id).await["verdicts"], json!({ "same": 20 }));
    }
    let [two, three] = ["two", "three"].map(|bytes| Digest::of(bytes.as_bytes()));
    let mut turns: Vec<Digest> = lab.sandbox.seen()[calls..].iter().map(|seen| seen.component).collect();
    turns.dedup();
    assert_eq!(turns, [two, three, two]);
}

#[tokio::test]
async fn trouble_is_kept_as_such_and_a_comparison_that_cannot_be_opened_is_none() {
    let mut lab = Lab::open(&["t"]).await;
    let runs = lab.runs("t", 2).await;
    let two = lab.version("two").await;
    lab.sandbox.then(Step::End(Outcome::HostFault("no luck".into())));
    let id = lab.begin(json!({ "version": two })).await;
    lab.over(&id).await;
    lab.restarted(|_| {}).await;
    let path = format!("{BACKTESTS}/{id}/replays");
    let page = lab.app.get(&path).await.ok();
    let troubled: Vec<&Value> = page["data"].as_array().unwrap().iter().filter(|one| one["differs"] == true).collect();
    assert_eq!((troubled.len(), &troubled[0]["verdict"]), (1, &json!("not-replayable")), "{page}");
    assert!(text(&troubled[0]["note"]).contains("no luck"), "{page}");
    let item = lab.app.get(&format!("{BACKTESTS}/{id}")).await.ok();
    assert_eq!((&item["differences"], &item["done"]), (&json!(1), &json!(2)), "{item}");

    lab.restarted(|connection| {
        let spoil = "UPDATE backtest_replays SET comparison = x'00' WHERE comparison IS NOT NULL";
        assert_eq!(connection.execute(spoil, []).unwrap(), 1);
    })
    .await;
    let error = lab.app.get(&path).await.error(500);
    assert!(runs.iter().all(|run| !error.contains(run.as_str())), "what went wrong inside is for the log: {error}");
}

/// So that many small ones do not keep a long one from going on.
#[tokio::test]
async fn the_turn_of_a_new_backtest_comes_after_those_that_are_under_way() {
    let mut lab = Lab::open(&["t"]).await;
    lab.runs("t", 2).await;
    let two = lab.version("two").await;
    let id = lab.begin_stuck(gated(&two)).await;
    lab.stopped().await;

    let storage = Storage::open(lab.app.data_dir(), &Clock::system()).unwrap();
    let long = storage.pending_backtest().await.unwrap().unwrap().backtest;
    let step = BacktestStep { backtest: long.id, from: None, to: RunId::from_bits(9), replays: Vec::new() };
    assert!(storage.keep_replays(step).await.unwrap(), "it has had a turn");
    let new = NewBacktest {
        id: BacktestId::from_bits(u128::MAX),
        environment: long.environment,
        deployment: long.deployment,
        against: None,
        request: "{}".into(),
        planned: 1,
        pages: None,
        gate: long.gate,
        rules: "{}".into(),
        created_at: long.created_at,
    };
    assert!(storage.insert_backtest(new, 50).await.unwrap());
    assert_eq!(storage.pending_backtest().await.unwrap().unwrap().backtest.id.to_string(), id);
    storage.close().await;
}

#[tokio::test]
async fn a_step_that_two_servers_take_counts_once() {
    let mut lab = Lab::open(&["t"]).await;
    lab.runs("t", 2).await;
    let two = lab.version("two").await;
    lab.begin_stuck(json!({ "version": two })).await;
    lab.stopped().await;

    let storage = Storage::open(lab.app.data_dir(), &Clock::system()).unwrap();
    let found = storage.pending_backtest().await.unwrap().unwrap();
    let step = |source: u128, verdict| {
        let source = RunId::from_bits(source);
        let task = "t".to_owned();
        let replay = StoredReplay { source, task, verdict, is_troubled: false, comparison: None, note: None };
        BacktestStep { backtest: found.backtest.id, from: found.backtest.last_run, to: source, replays: vec![replay] }
    };
    assert!(storage.keep_replays(step(9, Verdict::Fixed)).await.unwrap());
    assert!(!storage.keep_replays(step(8, Verdict::Same)).await.unwrap(), "somebody else was there before");
    let after = storage.pending_backtest().await.unwrap().unwrap().backtest;
    assert_eq!((after.done, after.counts.of(Verdict::Fixed), after.counts.total()), (1, 1, 1));
    assert_eq!(after.last_run, Some(RunId::from_bits(9)), "it does not go back");
    storage.close().await;
}

#[tokio::test]
async fn a_run_that_cannot_be_read_is_not_replayable_and_a_backtest_that_fails_lets_others_go_on() {
    let mut lab = Lab::open(&["t"]).await;
    let runs = lab.runs("t", 2).await;
    let (two, three) = (lab.version("two").await, lab.version("three").await);
    lab.restarted(|connection| {
        connection.execute("UPDATE runs SET tags = 'none' WHERE id = ?1", [&runs[0]]).unwrap();
        let spoil = "UPDATE deployment_tasks SET machine = 'none' WHERE deployment_id IN
                     (SELECT id FROM deployments WHERE version = ?1)";
        assert_eq!(connection.execute(spoil, [&two]).unwrap(), 1);
    })
    .await;
    let spoilt = lab.begin(json!({ "version": two })).await;
    let good = lab.begin(json!({ "version": three })).await;
    let item = lab.over(&good).await;
    assert_eq!(item["verdicts"], json!({ "same": 1, "not-replayable": 1 }), "{item}");
    assert_eq!(lab.app.get(&format!("{BACKTESTS}/{spoilt}")).await.ok()["status"], "PENDING", "it is tried again");
    let page = lab.app.get(&format!("{BACKTESTS}/{good}/replays?verdict=not-replayable")).await.ok();
    assert_eq!(page["data"][0]["runId"], runs[0]);
    assert!(text(&page["data"][0]["note"]).contains("cannot be read"), "{page}");
    let item = lab.over(&spoilt).await;
    assert_eq!((&item["status"], &item["done"]), (&json!("FAILED"), &json!(0)), "{item}");
    assert!(text(&item["reason"]).contains("5 steps failed"), "{item}");
}

#[tokio::test]
async fn settings_that_cannot_be_opened_are_no_property_of_a_run() {
    let mut lab = Lab::open(&["t"]).await;
    let run = lab.runs("t", 1).await.remove(0);
    let variable = json!({ "name": "NAME", "value": "value" });
    lab.app.post("/api/v1/projects/p/envvars/dev", variable).await.ok();
    let two = lab.version("two").await;
    lab.restarted(|connection| {
        assert_eq!(connection.execute("UPDATE variables SET sealed = x'00'", []).unwrap(), 1);
    })
    .await;
    let text_of = async |path: &str, body: Value| lab.app.post(path, body).await.error(500);
    assert!(!text_of(&format!("/api/v1/runs/{run}/rerun"), json!({})).await.contains("NAME"));
    text_of(&format!("/api/v1/runs/{run}/replay"), json!({ "mode": "sandbox" })).await;
    let item = lab.over(&lab.begin(json!({ "version": two })).await).await;
    assert_eq!((&item["status"], &item["done"]), (&json!("FAILED"), &json!(0)), "{item}");
}

#[tokio::test]
async fn current_is_what_is_current_of_the_component() {
    let app = TestApp::start().await;
    let echo = async |guest: &str, query: &str| {
        let bytes = std::fs::read(guest).expect("the guest was built");
        text(&app.upload("echo", &bytes, query).await.ok()["deployment"]["version"])
    };
    let one = echo(guests::ECHO_V1, "").await;
    app.call("echo", json!(1)).await;
    let two = echo(guests::ECHO_V2, "&skipPromotion=true").await;
    let other = text(&app.deploy(guests::SLEEP).await["deployment"]["version"]);
    let compared = async |against: &str| {
        let made = app.post(BACKTESTS, json!({ "version": two, "against": against })).await.ok();
        over(&app, &text(&made["id"])).await
    };
    let item = compared("current").await;
    assert_eq!((&item["against"], &item["done"]), (&json!(one), &json!(1)), "{item}");
    assert_eq!(item["verdicts"].get("payload-rejected"), None, "{item}");
    // What the other version lacks is not the fault of this one.
    let item = compared(&other).await;
    assert_eq!((&item["verdicts"], &item["differences"]), (&json!({ "not-replayable": 1 }), &json!(0)), "{item}");
    assert_eq!(item["isClean"], false, "nothing is known");
}

#[tokio::test]
async fn so_many_replays_may_wait_and_no_more() {
    const INSIDE: usize = 16;
    const WAITING: usize = 32;
    const TURNED_AWAY: usize = 5;
    let lab = Lab::open(&["t"]).await;
    let run = lab.runs("t", 1).await.remove(0);
    let calls = lab.sandbox.seen().len();
    let mut requests = JoinSet::new();
    for n in 0..INSIDE + WAITING + TURNED_AWAY {
        lab.sandbox.then(Step::Hang);
        let (app, run) = (lab.app.clone(), run.clone());
        requests.spawn(async move {
            match n % 2 {
                0 => app.post(&format!("/api/v1/runs/{run}/replay"), json!({ "mode": "sandbox" })).await,
                _ => app.post_empty(&format!("/api/v1/runs/{run}/rerun")).await,
            }
        });
    }
    for _ in 0..TURNED_AWAY {
        let answer = tokio::time::timeout(PATIENCE, requests.join_next()).await.expect("it is turned away");
        let answer = answer.expect("a request").expect("an answer");
        assert_eq!(answer.headers.get("retry-after").map(|seconds| seconds.as_bytes()), Some(b"1".as_slice()));
        assert!(answer.error(429).contains("32 replays wait already"));
    }
    lab.sandbox.called(calls + INSIDE).await;
    assert_eq!(lab.sandbox.seen().len(), calls + INSIDE);
    // A recording takes as much memory.
    let exported = lab.app.get(&format!("/api/v1/runs/{run}/recording")).await;
    assert!(exported.error(429).contains("32 replays wait already"));
    requests.shutdown().await;
}

#[tokio::test]
async fn backtests_are_deleted_when_they_are_over_and_forgotten_in_time() {
    let mut lab = Lab::open(&["t"]).await;
    lab.runs("t", 3).await;
    let two = lab.version("two").await;
    let asked = json!({ "version": two, "sample": 2 });
    let [deleted, old] = [lab.begin(asked.clone()).await, lab.begin(asked.clone()).await];
    for id in [&deleted, &old] {
        lab.over(id).await;
    }
    let path = |id: &str| format!("{BACKTESTS}/{id}");
    let delete = async |id: &str| lab.app.send(&lab.app.key, Request::delete(path(id)), Body::empty()).await;
    delete(&deleted).await.ok();
    delete(&deleted).await.error(404);
    lab.app.get(&path(&deleted)).await.error(404);
    let stuck = lab.begin_stuck(asked).await;
    assert!(delete(&stuck).await.error(409).contains("abort it first"));

    lab.app.app().advance(Duration::from_secs(31 * 86_400));
    let rows = |id: &str| {
        let connection = Connection::open(lab.app.data_dir().join("dacapo.db")).unwrap();
        let count = |table: &str, column: &str| -> i64 {
            let sql = format!("SELECT COUNT(*) FROM {table} WHERE {column} = ?1");
            connection.query_row(&sql, [id], |row| row.get(0)).unwrap()
        };
        let of = ["backtest_replays", "backtest_tasks", "backtest_pages"].map(|table| count(table, "backtest_id"));
        of.iter().sum::<i64>() + count("backtests", "id")
    };
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while rows(&deleted) + rows(&old) > 0 {
        assert!(tokio::time::Instant::now() < deadline, "they are not forgotten");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    lab.app.get(&path(&old)).await.error(404);
    assert_eq!(lab.app.get(&path(&stuck)).await.ok()["status"], "PENDING", "it is not over");
    lab.stopped().await;
}

#[tokio::test]
async fn an_environment_has_so_many_pending_backtests_and_no_more() {
    let lab = Lab::open(&["t"]).await;
    lab.runs("t", 1).await;
    let two = lab.version("two").await;
    let first = lab.begin_stuck(json!({ "version": two })).await;
    for _ in 1..50 {
        lab.begin(json!({ "version": two })).await;
    }
    let answer = lab.app.post(BACKTESTS, json!({ "version": two })).await;
    assert!(answer.error(429).contains("50 backtests of the environment are under way"));
    lab.app.post_empty(&format!("{BACKTESTS}/{first}/abort")).await.ok();
    lab.begin(json!({ "version": two })).await;
}

#[tokio::test]
async fn a_report_that_breaks_off_is_no_whole_answer() {
    let mut lab = Lab::open(&["t"]).await;
    let runs = lab.runs("t", 2).await;
    let two = lab.version("two").await;
    let id = lab.begin(json!({ "version": two })).await;
    lab.over(&id).await;
    let path = format!("{BACKTESTS}/{id}/report?format=json");
    assert_eq!(lab.app.get(&path).await.ok()["runs"].as_array().map(Vec::len), Some(2));
    let spoil = "UPDATE backtest_replays SET verdict = 'none' WHERE source_id = ?1";
    lab.restarted(|connection| assert_eq!(connection.execute(spoil, [&runs[1]]).unwrap(), 1)).await;
    let request = Request::get(&path).header("authorization", format!("Bearer {}", lab.app.key));
    let request = request.body(Body::empty()).expect("a good request");
    let response = lab.app.app().router().oneshot(request).await.expect("the router answers");
    assert!(response.status().is_success());
    assert!(response.into_body().collect().await.is_err(), "nobody takes it for whole");
}
