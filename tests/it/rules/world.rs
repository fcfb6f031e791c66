//! A server that is used, and that dies now and then.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use dacapo::clock::Clock;
use dacapo::config::ServerArgs;
use dacapo::model::limits::PENDING_TTL;
use dacapo::model::task::{QueueDefinition, TaskDefinition};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::Stage;
use super::checks::{Known, Trail};
use super::gates::{Gates, Limits};
use super::steps::{QUEUES, Step, TASKS, Trigger};
use crate::harness::{PATIENCE, TestApp};

/// Attempts that the server makes at a time.
const WORKERS: u32 = 6;
/// The bytes of the components; the last one is deployed when a story ends.
const COMPONENTS: [&[u8]; 4] = [b"first", b"without u", b"with late", b"all"];

/// One life of the server: in a runtime of its own, with which everything in it dies at once.
struct Life {
    runtime: Runtime,
    app: TestApp,
}

/// The server through all its lives, and what is known of it.
pub struct World {
    life: Option<Life>,
    data: PathBuf,
    clock: Clock,
    gates: Gates,
    known: Known,
    environment_limit: Option<u64>,
    _dir: TempDir,
}

fn components() -> Vec<(&'static [u8], Vec<TaskDefinition>)> {
    let task = |id: usize, queue: Option<(&str, Option<u32>)>| {
        let queue = queue.map(|(name, concurrency_limit)| QueueDefinition { name: name.into(), concurrency_limit });
        TaskDefinition { queue, ..TaskDefinition::new(TASKS[id]) }
    };
    let [few, one] = QUEUES;
    let own = |id: usize, limit| {
        let name = format!("task/{}", TASKS[id]);
        let queue = Some(QueueDefinition { name, concurrency_limit: limit });
        TaskDefinition { queue, ..TaskDefinition::new(TASKS[id]) }
    };
    let tasks = [
        vec![task(0, Some((few, Some(2)))), own(1, Some(1))],
        vec![task(0, Some((few, Some(3))))],
        vec![task(0, Some((few, Some(1)))), task(1, None), task(2, Some((one, Some(1))))],
        vec![task(0, Some((few, None))), task(1, None), task(2, Some((one, None)))],
    ];
    COMPONENTS.into_iter().zip(tasks).collect()
}

impl Stage for World {
    type Step = Step;

    /// A server with the first component.
    fn begin(clock: &Clock) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut world = Self {
            life: None,
            data: dir.path().join("data"),
            gates: Gates::new(components()),
            known: Known::new(clock.clone()),
            clock: clock.clone(),
            environment_limit: None,
            _dir: dir,
        };
        world.live();
        world.change_limits(async |app, known| deploy(app, known, 0).await);
        world
    }

    /// Takes one step.
    fn take(&mut self, step: &Step) {
        match step.clone() {
            Step::Deploy(which) => self.change_limits(async |app, known| deploy(app, known, which).await),
            Step::Promote(which) => self.change_limits(async |app, known| {
                let version = &known.versions[which % known.versions.len()];
                app.post_empty(&format!("/api/v1/deployments/{version}/promote")).await.ok();
            }),
            // There may be nothing to roll back to.
            Step::RollBack => self.change_limits(async |app, _| {
                let answer = app.post_empty("/api/v1/deployments/rollback").await;
                assert!(!answer.status.is_server_error(), "{}", answer.json);
            }),
            Step::Pause(queue) => self.pause(queue, "pause"),
            Step::Resume(queue) => self.pause(queue, "resume"),
            Step::Limit(queue, limit) => self.change_limits(async |app, _| override_limit(app, queue, limit).await),
            Step::EnvironmentLimit(limit) => {
                self.environment_limit = limit.map(Into::into);
                self.change_limits(async |app, _| limit_environment(app, limit).await);
            }
            Step::Crash(trigger, moments) => self.crash(trigger, Duration::from_millis(moments.into())),
            step => self.with(async |app, known, gates| act(app, known, gates, step).await),
        }
    }

    /// Lets everything go, moves the time until nothing is left to happen, and looks at the whole.
    fn end(mut self) {
        self.environment_limit = None;
        self.change_limits(async |app, known| {
            for (queue, name) in QUEUES.iter().enumerate() {
                override_limit(app, queue, None).await;
                let resume = json!({ "type": "custom", "action": "resume" });
                app.post(&format!("/api/v1/queues/{name}/pause"), resume).await;
            }
            limit_environment(app, None).await;
            deploy(app, known, COMPONENTS.len() - 1).await;
        });
        self.gates.let_go();
        self.with(async |app, known, _| wind_down(app, known).await);
        let (trails, queues) = self.with(async |app, _, _| (trails(app).await, queues(app).await));
        self.known.check_all(&trails);
        for queue in queues {
            assert_eq!((&queue["running"], &queue["queued"]), (&json!(0), &json!(0)), "a place leaked: {queue}");
        }
        assert!(self.gates.open().is_empty());
        self.die();
    }
}

impl World {
    fn live(&mut self) {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let args = ServerArgs { max_concurrent_runs: Some(WORKERS), ..ServerArgs::default() };
        let sandbox = Arc::new(self.gates.clone());
        let app = TestApp::open_at(self.data.clone(), args, Some(sandbox), self.clock.clone());
        let app = runtime.block_on(app);
        self.life = Some(Life { runtime, app });
    }

    /// Drops everything where it stands, as a kill does; waits for what was handed to the disk.
    fn die(&mut self) {
        let Life { runtime, app } = self.life.take().expect("it lives");
        drop(runtime);
        drop(app);
        let lock = File::options().write(true).open(self.data.join("dacapo.lock")).expect("the lock's file");
        lock.lock().expect("the dead hold no lock");
    }

    /// Does something that needs the server, then waits until the server and the gates agree on
    /// what executes, and looks whether all rules hold.
    fn with<T>(&mut self, act: impl AsyncFnOnce(&TestApp, &mut Known, &Gates) -> T) -> T {
        let Life { runtime, app } = self.life.as_ref().expect("it lives");
        runtime.block_on(async {
            let done = act(app, &mut self.known, &self.gates).await;
            agree(app, &self.gates).await;
            self.known.check(&app.all_runs("").await, &self.gates);
            done
        })
    }

    /// Does something that may change limits. While it happens, any limit may count.
    fn change_limits(&mut self, act: impl AsyncFnOnce(&TestApp, &mut Known)) {
        self.gates.limit(Limits::default());
        let queues = self.with(async |app, known, gates| {
            act(app, known).await;
            agree(app, gates).await;
            queue_limits(app).await
        });
        self.gates.limit(Limits { queues, environment: self.environment_limit });
    }

    fn pause(&mut self, queue: usize, action: &str) {
        self.change_limits(async |app, _| {
            let path = format!("/api/v1/queues/{}/pause", QUEUES[queue]);
            let answer = app.post(&path, json!({ "type": "custom", "action": action })).await;
            // Nobody has named it yet.
            assert!([200, 404].contains(&answer.status.as_u16()), "{}", answer.json);
        });
    }

    /// Dies a few moments after a trigger was sent, which counts if it was answered before.
    fn crash(&mut self, trigger: Trigger, moments: Duration) {
        let trigger = Trigger { key: None, debounce: None, ..trigger };
        let Life { runtime, app } = self.life.as_ref().expect("it lives");
        let answered = runtime.block_on(async {
            tokio::select! {
                biased;
                answer = send(app, &trigger) => Some(answer),
                () = tokio::time::sleep(moments) => None,
            }
        });
        match answered {
            Some(receipt) => self.known.acknowledged.push(id(&receipt)),
            None => self.known.cut_off += 1,
        }
        self.die();
        self.live();
        self.with(async |_, _, _| {});
    }
}

/// What needs neither new limits nor a new life.
async fn act(app: &TestApp, known: &mut Known, gates: &Gates, step: Step) {
    match step {
        Step::Trigger(trigger) => known.trigger(app, &trigger).await,
        Step::Batch(triggers) => known.acknowledged.extend(batch(app, &triggers).await),
        Step::End(which, end) => gates.end(which, end.outcome()),
        Step::Cancel(which) => {
            let Some(run) = known.run(which) else { return };
            gates.cancel(&run);
            app.post_empty(&format!("/api/v2/runs/{run}/cancel")).await.ok();
            assert_eq!(app.run(&run).await["isCompleted"], true, "a run that was canceled has ended");
        }
        Step::Replay(which) => {
            let Some(run) = known.run(which) else { return };
            let replay = app.replay(&run).await;
            known.acknowledged.push(replay);
        }
        Step::Reschedule(which, seconds) => {
            let Some(run) = known.run(which) else { return };
            let delay = json!({ "delay": format!("{seconds}s") });
            let answer = app.post(&format!("/api/v1/runs/{run}/reschedule"), delay).await;
            if !answer.status.is_success() {
                assert_eq!(answer.error(400), "Cannot reschedule a run that is not delayed");
            }
        }
        Step::BulkCancel(which) => {
            let runs: Vec<String> = which.into_iter().filter_map(|which| known.run(which)).collect();
            runs.iter().for_each(|run| gates.cancel(run));
            bulk(app, known, "cancel", runs).await;
        }
        Step::BulkReplay(which) => {
            let runs = which.into_iter().filter_map(|which| known.run(which)).collect();
            bulk(app, known, "replay", runs).await;
        }
        Step::Advance(seconds) => app.app().advance(Duration::from_secs(seconds)),
        step => unreachable!("{step:?} is taken elsewhere"),
    }
}

/// Waits until the runs that the server shows as executing are those of the open calls.
async fn agree(app: &TestApp, gates: &Gates) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut executing = ids(&app.all_runs("filter[status]=EXECUTING").await);
        executing.sort();
        let open = gates.open();
        if executing == open {
            return;
        }
        assert!(Instant::now() < deadline, "executing: {executing:?}, called: {open:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Moves the time until every run has ended. Those of the task that never comes end when they have
/// waited for it as long as anything may.
async fn wind_down(app: &TestApp, known: &Known) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut left = app.all_runs("").await;
        left.retain(|run| run["isCompleted"] == false);
        if left.is_empty() && known.bulks_are_over(app).await {
            return;
        }
        assert!(Instant::now() < deadline, "these do not end: {left:?}");
        let never_comes = |run: &Value| run["status"] == "PENDING_VERSION" && run["taskIdentifier"] == TASKS[3];
        let only_time_helps = left.iter().all(never_comes);
        app.app().advance(if only_time_helps { PENDING_TTL } else { Duration::from_secs(5) });
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn deploy(app: &TestApp, known: &mut Known, which: usize) {
    let receipt = app.upload("rules", COMPONENTS[which], "").await.ok();
    let version = receipt["deployment"]["version"].as_str().expect("a version").to_owned();
    if !known.versions.contains(&version) {
        known.versions.push(version);
    }
}

async fn override_limit(app: &TestApp, queue: usize, limit: Option<u32>) {
    let path = format!("/api/v1/queues/{}/concurrency", QUEUES[queue]);
    let answer = match limit {
        Some(limit) => {
            let body = json!({ "type": "custom", "concurrencyLimit": limit });
            app.post(&format!("{path}/override"), body).await
        }
        None => app.post(&format!("{path}/reset"), json!({ "type": "custom" })).await,
    };
    match answer.status.as_u16() {
        200 => assert_eq!(answer.json["concurrency"]["override"], json!(limit)),
        // Nobody has named it yet.
        status => assert_eq!(status, 404, "{}", answer.json),
    }
}

async fn limit_environment(app: &TestApp, limit: Option<u32>) {
    let body = limit.map_or(json!({}), |limit| json!({ "limit": limit }));
    app.admin("PUT", "/admin/v1/environments/dev/concurrency", body).await.ok();
}

/// Sends a trigger, and answers with its receipt.
pub async fn send(app: &TestApp, trigger: &Trigger) -> Value {
    let body = json!({ "payload": trigger.payload(), "options": trigger.options() });
    app.post(&format!("/api/v1/tasks/{}/trigger", trigger.task()), body).await.ok()
}

/// Sends a batch, then again: no item makes a second run.
async fn batch(app: &TestApp, triggers: &[Trigger]) -> Vec<String> {
    let item = |(index, trigger): (usize, &Trigger)| {
        let trigger = Trigger { key: None, debounce: None, ..trigger.clone() };
        let (task, payload, options) = (trigger.task(), trigger.payload(), trigger.options());
        format!("{}\n", json!({ "index": index, "task": task, "payload": payload, "options": options }))
    };
    let lines: String = triggers.iter().enumerate().map(item).collect();
    let batch = id(&app.post("/api/v3/batches", json!({ "runCount": triggers.len() })).await.ok());
    for accepted in [triggers.len(), 0] {
        let request = Request::post(format!("/api/v3/batches/{batch}/items"));
        let request = request.header("content-type", "application/x-ndjson");
        let sent = app.send(&app.key, request, lines.clone()).await.ok();
        assert_eq!((&sent["itemsAccepted"], &sent["sealed"]), (&json!(accepted), &json!(true)), "{sent}");
    }
    let whole = app.get(&format!("/api/v2/batches/{batch}")).await.ok();
    let runs = whole["runs"].as_array().expect("a list");
    assert_eq!(runs.len(), triggers.len(), "{whole}");
    runs.iter().map(|run| run.as_str().expect("an id").to_owned()).collect()
}

async fn bulk(app: &TestApp, known: &mut Known, action: &str, mut runs: Vec<String>) {
    runs.sort();
    runs.dedup();
    if runs.is_empty() {
        return;
    }
    let answer = app.post("/api/v1/bulk-actions", json!({ "action": action, "runIds": runs })).await.ok();
    known.bulks.push((id(&answer), runs));
}

/// Every run in full, with its events.
async fn trails(app: &TestApp) -> Vec<Trail> {
    let mut trails = Vec::new();
    for run in ids(&app.all_runs("").await) {
        let events = app.get(&format!("/api/v1/runs/{run}/events")).await.ok();
        let events = events["events"].as_array().expect("a list").clone();
        trails.push(Trail { run: app.run(&run).await, events });
    }
    trails
}

async fn queues(app: &TestApp) -> Vec<Value> {
    let page = app.get("/api/v1/queues?perPage=100").await.ok();
    page["data"].as_array().expect("a list").clone()
}

/// The limits that count now, by the stored name of the queue.
async fn queue_limits(app: &TestApp) -> HashMap<String, u64> {
    let limit = |queue: &Value| match queue["paused"] == true {
        true => Some(0),
        false => queue["concurrencyLimit"].as_u64(),
    };
    let name = |queue: &Value| {
        let name = queue["name"].as_str().expect("a name");
        if queue["type"] == "task" { format!("task/{name}") } else { name.to_owned() }
    };
    queues(app).await.iter().filter_map(|queue| Some((name(queue), limit(queue)?))).collect()
}

pub fn id(value: &Value) -> String {
    value["id"].as_str().expect("an id").to_owned()
}

pub fn ids(values: &[Value]) -> Vec<String> {
    values.iter().map(id).collect()
}
