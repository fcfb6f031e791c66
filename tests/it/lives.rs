//! Random stories of real guests that wait, on a server that dies in between: stopped in order or cut
//! off where it stands, with guests kept in memory or dropped at once. Whatever happens in whatever
//! order:
//!
//! - every run ends, in the way and with the output that its script says, if nobody canceled it;
//! - an attempt counts once, has each of its children once, and remembers what it saw;
//! - what is written down of waits is of runs that wait, and of each of them something;
//! - a final status never changes, and no place in a queue is lost.

mod script;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use dacapo::clock::Clock;
use dacapo::config::ServerArgs;
use dacapo_tests::guests;
use proptest::prelude::*;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use crate::harness::{PATIENCE, TestApp};
use crate::rules::{Stage, check_events, tell};
use script::{LEFT_TO_FATE, NARROW, Script, WORD, any_script};

/// Stories, and the steps of the longest.
const STORIES: u32 = 6;
const STEPS: usize = 30;
/// Fewer than a run may lose its server.
const MAX_KILLS: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    Trigger(Script),
    /// Seconds.
    Advance(u64),
    /// Lets the server work for so many milliseconds.
    Let(u64),
    CompleteToken(usize),
    Cancel(usize),
    CancelChild(usize),
    /// Dies where it stands; whether guests that wait are dropped afterwards.
    Kill(bool),
    /// Stops in order and starts again.
    Restart(bool),
}

fn any_step() -> impl Strategy<Value = Step> {
    let one = any::<usize>;
    prop_oneof![
        10 => any_script().prop_map(Step::Trigger),
        8 => (1_u64..20).prop_map(Step::Advance),
        6 => (0_u64..30).prop_map(Step::Let),
        6 => one().prop_map(Step::CompleteToken),
        1 => one().prop_map(Step::Cancel),
        1 => one().prop_map(Step::CancelChild),
        3 => any::<bool>().prop_map(Step::Kill),
        2 => any::<bool>().prop_map(Step::Restart),
    ]
}

/// One life of the server: in a runtime of its own, with which everything in it dies at once.
struct Life {
    runtime: Runtime,
    app: TestApp,
}

/// The server through all its lives, and what is known of it.
struct World {
    life: Option<Life>,
    data: PathBuf,
    clock: Clock,
    kills: usize,
    /// What was triggered, in order.
    asked: Vec<(String, Script)>,
    /// Whom somebody canceled before they had ended.
    canceled: HashSet<String>,
    /// Runs as they were when they were first seen to have ended.
    ended: HashMap<String, Value>,
    _dir: TempDir,
}

impl Stage for World {
    type Step = Step;

    fn begin(clock: &Clock) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut world = Self {
            life: None,
            data: dir.path().join("data"),
            clock: clock.clone(),
            kills: 0,
            asked: Vec::new(),
            canceled: HashSet::new(),
            ended: HashMap::new(),
            _dir: dir,
        };
        world.live(false);
        world.with(async |app| {
            app.deploy(guests::SCRIPT).await;
            let named = json!({ "queue": { "name": NARROW } });
            let first = app.trigger_with("leaf", json!({}), named).await;
            app.finished(&first).await;
            let limit = json!({ "type": "custom", "concurrencyLimit": 2 });
            app.post(&format!("/api/v1/queues/{NARROW}/concurrency/override"), limit).await.ok();
        });
        world
    }

    fn take(&mut self, step: &Step) {
        match step.clone() {
            Step::Trigger(script) => {
                let run = self.with(async |app| app.trigger("script", script.payload()).await);
                self.asked.push((run, script));
            }
            Step::Advance(seconds) => self.with(async |app| app.app().advance(Duration::from_secs(seconds))),
            Step::Let(ms) => self.with(async |_| tokio::time::sleep(Duration::from_millis(ms)).await),
            Step::CompleteToken(which) => self.with(async |app| {
                let tokens = open_tokens(app).await;
                if let Some(token) = tokens.get(which % tokens.len().max(1)) {
                    complete(app, token).await;
                }
            }),
            Step::Cancel(which) => {
                let run = self.asked.get(which % self.asked.len().max(1)).map(|(run, _)| run.clone());
                self.cancel(run);
            }
            Step::CancelChild(which) => {
                let children = self.with(async |app| app.all_runs(&format!("filter[tag]={LEFT_TO_FATE}")).await);
                self.cancel(children.get(which % children.len().max(1)).map(id));
            }
            Step::Kill(drops_guests) => {
                self.kills += 1;
                self.die(self.kills > MAX_KILLS);
                self.live(drops_guests);
            }
            Step::Restart(drops_guests) => {
                self.die(true);
                self.live(drops_guests);
            }
        }
    }

    /// Lets everything come to its end, and looks at the whole.
    fn end(mut self) {
        self.with(async |app| wind_down(app).await);
        let (runs, events, queues) = self.with(async |app| {
            let mut runs = HashMap::new();
            let mut events = Vec::new();
            for run in app.all_runs("").await.iter().map(id) {
                let known = app.get(&format!("/api/v1/runs/{run}/events")).await.ok();
                events.push((run.clone(), known["events"].as_array().expect("a list").clone()));
                runs.insert(run.clone(), app.run(&run).await);
            }
            (runs, events, app.get("/api/v1/queues?perPage=100").await.ok())
        });
        for (run, events) in &events {
            check_events(&runs[run], events);
        }
        for (run, script) in &self.asked {
            match self.canceled.contains(run) {
                true => assert_eq!(runs[run]["status"], "CANCELED"),
                false => script.check(&runs[run]),
            }
        }
        for run in runs.values() {
            let with = |relative: &Value| self.canceled.contains(relative.as_str().unwrap_or_default());
            let may_be_canceled = with(&run["id"]) || with(&run["relatedRuns"]["parent"]["id"]);
            assert!(may_be_canceled || run["status"] != "CANCELED", "nobody canceled {run}");
        }
        for queue in queues["data"].as_array().expect("a list") {
            assert_eq!((&queue["running"], &queue["queued"]), (&json!(0), &json!(0)), "a place leaked: {queue}");
        }
        self.die(true);
        assert_eq!(self.count("SELECT COUNT(*) FROM run_waits"), 0, "nobody waits any more");
    }
}

impl World {
    fn live(&mut self, drops_guests: bool) {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let parked_time = drops_guests.then(|| "0s".into());
        let args = ServerArgs { max_concurrent_runs: Some(8), parked_time, ..ServerArgs::default() };
        let app = runtime.block_on(TestApp::open_at(self.data.clone(), args, None, self.clock.clone()));
        self.life = Some(Life { runtime, app });
    }

    /// Ends a life, and looks at what it left behind.
    fn die(&mut self, in_order: bool) {
        let Life { runtime, mut app } = self.life.take().expect("it lives");
        if in_order {
            runtime.block_on(app.stop());
        }
        drop(runtime);
        drop(app);
        let lock = File::options().write(true).open(self.data.join("dacapo.lock")).expect("the lock's file");
        lock.lock().expect("the dead hold no lock");
        for (what, sql) in [
            (
                "who does not wait has nothing to wait for",
                "SELECT COUNT(*) FROM run_waits w JOIN runs r ON r.id = w.run_id WHERE r.status <> 'waiting'",
            ),
            (
                "who waits has something to wait for",
                "SELECT COUNT(*) FROM runs r
                 WHERE  r.status = 'waiting' AND NOT EXISTS (SELECT 1 FROM run_waits w WHERE w.run_id = r.id)",
            ),
            (
                "no worker is named on a run that no worker has",
                "SELECT COUNT(*) FROM runs WHERE worker_id IS NOT NULL AND status <> 'executing'",
            ),
        ] {
            assert_eq!(self.count(sql), 0, "{what}");
        }
    }

    /// A number that the database of the dead server knows.
    fn count(&self, sql: &str) -> i64 {
        let connection = Connection::open(self.data.join("dacapo.db")).expect("the database opens");
        connection.query_row(sql, [], |row| row.get(0)).expect("a number")
    }

    fn with<T>(&mut self, act: impl AsyncFnOnce(&TestApp) -> T) -> T {
        let Life { runtime, app } = self.life.as_ref().expect("it lives");
        let (done, runs) = runtime.block_on(async { (act(app).await, app.all_runs("").await) });
        for run in runs.into_iter().filter(|run| run["isCompleted"] == true) {
            let first = self.ended.entry(id(&run)).or_insert_with(|| run.clone());
            assert_eq!(*first, run, "a run that has ended changed");
        }
        done
    }

    fn cancel(&mut self, run: Option<String>) {
        let Some(run) = run else { return };
        let now = self.with(async |app| {
            app.post_empty(&format!("/api/v2/runs/{run}/cancel")).await.ok();
            app.run(&run).await
        });
        assert_eq!(now["isCompleted"], true, "a run that was canceled has ended");
        if now["status"] == "CANCELED" {
            self.canceled.insert(run);
        }
    }
}

/// Completes tokens and moves the time until every run has ended.
async fn wind_down(app: &TestApp) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut left = app.all_runs("").await;
        left.retain(|run| run["isCompleted"] == false);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "these do not end: {left:?}");
        for token in open_tokens(app).await {
            complete(app, &token).await;
        }
        app.app().advance(Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn open_tokens(app: &TestApp) -> Vec<String> {
    let request = Request::get("/api/v1/waitpoints/tokens?filter[status]=WAITING&page[size]=100");
    let page = app.send(&app.key, request.header("host", "test"), Body::empty()).await.ok();
    page["data"].as_array().expect("a list").iter().map(id).collect()
}

async fn complete(app: &TestApp, token: &str) {
    app.post(&format!("/api/v1/waitpoints/tokens/{token}/complete"), json!({ "data": WORD })).await.ok();
}

fn id(value: &Value) -> String {
    value["id"].as_str().expect("an id").to_owned()
}

#[test]
fn whatever_happens_between_its_lives_a_server_brings_every_run_to_its_end() {
    tell::<World>(STORIES, (any_step(), STEPS), 30);
}
