//! The rules, and what must be remembered to look whether they hold.

use std::collections::{HashMap, HashSet};

use dacapo::clock::Clock;
use serde_json::{Value, json};

use super::gates::Gates;
use super::steps::{SHORT_KEY, SHORT_KEY_SECONDS, Trigger};
use super::world::{id, ids, send};
use crate::harness::TestApp;

/// What is known of a server from its answers.
#[derive(Default)]
pub struct Known {
    /// The server's.
    clock: Clock,
    /// Runs that were promised.
    pub acknowledged: Vec<String>,
    /// Triggers whose answer never came: they made a run, or none.
    pub cut_off: usize,
    /// Bulk actions and the runs they are for.
    pub bulks: Vec<(String, Vec<String>)>,
    /// Versions that were deployed.
    pub versions: Vec<String>,
    /// By task and idempotency key.
    keys: HashMap<(&'static str, String), Holder>,
    /// By task and debounce key.
    debounced: HashMap<(&'static str, String), String>,
    /// Every run as it was seen last, newest first.
    seen: Vec<Value>,
    /// Every run as it was when it was first seen to have ended.
    ended: HashMap<String, Value>,
}

/// The run that an idempotency key names, and between which moments, in milliseconds, it was made.
#[derive(Clone)]
struct Holder {
    run: String,
    sent_at: i64,
    answered_at: i64,
}

/// A run in full, with its events.
pub struct Trail {
    pub run: Value,
    pub events: Vec<Value>,
}

/// Ends after which an idempotency key makes a new run.
const FREES_ITS_KEY: [&str; 5] = ["FAILED", "CRASHED", "SYSTEM_FAILURE", "TIMED_OUT", "EXPIRED"];

/// What may follow a status: the diagram in `model/run.rs`.
fn may_follow(status: &str) -> &'static [&'static str] {
    match status {
        "" => &["PENDING_VERSION", "DELAYED", "QUEUED"],
        "PENDING_VERSION" => &["QUEUED", "CANCELED", "EXPIRED"],
        "DELAYED" => &["QUEUED", "PENDING_VERSION", "CANCELED"],
        "QUEUED" => &["EXECUTING", "PENDING_VERSION", "CANCELED", "EXPIRED"],
        "EXECUTING" => {
            &["WAITING", "QUEUED", "COMPLETED", "FAILED", "CRASHED", "TIMED_OUT", "SYSTEM_FAILURE", "CANCELED"]
        }
        "WAITING" => &["QUEUED", "CANCELED"],
        _ => &[],
    }
}

impl Known {
    /// Of a server with this clock, on which nothing has happened.
    pub fn new(clock: Clock) -> Self {
        Self { clock, ..Self::default() }
    }

    /// The run of this number, of all that were seen.
    pub fn run(&self, which: usize) -> Option<String> {
        (!self.seen.is_empty()).then(|| id(&self.seen[self.seen.len() - 1 - which % self.seen.len()]))
    }

    /// Triggers, and looks whether the answer is a run that it may be.
    pub async fn trigger(&mut self, app: &TestApp, trigger: &Trigger) {
        let key = trigger.key().map(|key| (trigger.task(), key));
        let holder = key.as_ref().and_then(|key| self.keys.get(key)).cloned();
        let was = match &holder {
            Some(holder) => app.run(&holder.run).await["status"].clone(),
            None => Value::Null,
        };
        let sent_at = ms(&self.clock);
        let receipt = send(app, trigger).await;
        let (run, answered_at) = (id(&receipt), ms(&self.clock));
        if receipt["isCached"] == true {
            let holder = holder.expect("somebody has the key");
            assert_eq!(run, holder.run, "a key names one run");
            assert!(!FREES_ITS_KEY.contains(&was.as_str().unwrap_or_default()), "the key of a run that is {was}");
            let is_over = trigger.key == Some(SHORT_KEY) && sent_at >= holder.answered_at + short_key_ms();
            assert!(!is_over, "the key counts no longer");
            return;
        }
        if let Some(holder) = holder {
            let now = app.run(&holder.run).await["status"].clone();
            let is_free = FREES_ITS_KEY.contains(&now.as_str().unwrap_or_default());
            let is_over = trigger.key == Some(SHORT_KEY) && answered_at >= holder.sent_at + short_key_ms();
            assert!(is_free || is_over, "{run} has the key of {}, which is {now}", holder.run);
        }
        if let Some(key) = key {
            self.keys.insert(key, Holder { run: run.clone(), sent_at, answered_at });
        }
        self.made(trigger, run);
    }

    /// A trigger has made a run, or pushed one back.
    fn made(&mut self, trigger: &Trigger, run: String) {
        let debounce = trigger.debounce().map(|key| (trigger.task(), key));
        if self.acknowledged.contains(&run) {
            let pushed = debounce.and_then(|key| self.debounced.get(&key));
            assert_eq!(pushed, Some(&run), "only a debounced run is answered with again");
            assert!(!self.ended.contains_key(&run), "a run that has ended is not pushed back");
            return;
        }
        if let Some(key) = debounce {
            self.debounced.insert(key, run.clone());
        }
        self.acknowledged.push(run);
    }

    /// What holds at every moment.
    pub fn check(&mut self, runs: &[Value], gates: &Gates) {
        let broken = gates.broken();
        assert!(broken.is_empty(), "{broken:#?}");
        let listed: HashSet<String> = ids(runs).into_iter().collect();
        assert_eq!(listed.len(), runs.len(), "a list has every run once");
        for run in &self.acknowledged {
            assert!(listed.contains(run), "run {run} was acknowledged, and is lost");
        }
        for run in runs {
            let is_final = may_follow(run["status"].as_str().expect("a status")).is_empty();
            assert_eq!(run["finishedAt"].is_string(), is_final, "{run}");
            assert_eq!(run["isCompleted"], is_final, "{run}");
            if is_final {
                let first = self.ended.entry(id(run)).or_insert_with(|| run.clone());
                assert_eq!(first, run, "a run that has ended changed");
            }
        }
        for run in self.ended.keys() {
            assert!(listed.contains(run), "run {run} has ended, and is lost");
        }
        check_keys(runs);
        self.seen = runs.to_vec();
    }

    /// Whether every bulk action is over; then each has done what it does to each of its runs once.
    pub async fn bulks_are_over(&self, app: &TestApp) -> bool {
        for (bulk, runs) in &self.bulks {
            let found = app.get(&format!("/api/v1/bulk-actions/{bulk}")).await.ok();
            if found["status"] == "PENDING" {
                return false;
            }
            assert_eq!(found["status"], "COMPLETED");
            let members = app.get(&format!("/api/v1/bulk-actions/{bulk}/members?page[size]=100")).await.ok();
            let members = members["data"].as_array().expect("a list");
            let mut sources: Vec<&str> = members.iter().filter_map(|member| member["runId"].as_str()).collect();
            sources.sort_unstable();
            assert_eq!(&sources, runs, "a row for each");
            for member in members {
                let Some(replay) = member["newRunId"].as_str() else { continue };
                assert_eq!(app.run(replay).await["replayedFrom"], member["runId"]);
            }
        }
        true
    }

    /// What holds when nothing is left to happen.
    pub fn check_all(&self, trails: &[Trail]) {
        for Trail { run, events } in trails {
            check_events(run, events);
        }
        let promised: HashSet<&String> = self.acknowledged.iter().collect();
        assert_eq!(promised.len(), self.acknowledged.len(), "no two answers promise the same new run");
        let mut replays: HashMap<&Value, usize> = HashMap::new();
        let others: Vec<&Value> =
            trails.iter().map(|trail| &trail.run).filter(|run| !promised.contains(&id(run))).collect();
        let (made_by_bulk, strays): (Vec<&Value>, Vec<&Value>) =
            others.into_iter().partition(|run| run["isReplay"] == true);
        assert!(strays.len() <= self.cut_off, "nobody asked for one of these: {strays:?}");
        made_by_bulk.iter().for_each(|run| *replays.entry(&run["replayedFrom"]).or_default() += 1);
        for (source, count) in replays {
            let asked = self.bulks.iter().filter(|(_, runs)| runs.iter().any(|run| source == run)).count();
            assert!(count <= asked, "{source} was replayed {count} times by {asked} bulk actions");
        }
    }
}

/// A key that does not expire names one run that has not failed.
fn check_keys(runs: &[Value]) {
    let mut holders: HashMap<(&str, &str), &Value> = HashMap::new();
    let short = format!("key-{SHORT_KEY}");
    for run in runs {
        let Some(key) = run["idempotencyKey"].as_str().filter(|key| *key != short) else { continue };
        if FREES_ITS_KEY.iter().any(|status| run["status"] == *status) {
            continue;
        }
        let task = run["taskIdentifier"].as_str().expect("a task");
        if let Some(other) = holders.insert((task, key), run) {
            panic!("two runs of one key: {other} and {run}");
        }
    }
}

/// The events of a run follow the diagram, and lead to where it is.
pub fn check_events(run: &Value, events: &[Value]) {
    let mut before = "";
    let mut attempt = 0;
    for (event, seq) in events.iter().zip(1..) {
        let status = event["status"].as_str().expect("a status");
        assert!(may_follow(before).contains(&status), "{status} after `{before}`: {events:?}");
        assert_eq!(event["seq"], json!(seq), "{events:?}");
        if status == "EXECUTING" {
            let next = event["attempt"].as_u64().expect("a number");
            assert!(next == attempt + 1 || (next == attempt && attempt > 0), "attempt {next} after {attempt}");
            attempt = next;
        }
        before = status;
    }
    assert_eq!(run["status"], *before, "{events:?}");
    assert!(may_follow(before).is_empty(), "{run} is left behind");
}

fn ms(clock: &Clock) -> i64 {
    clock.now().as_millisecond()
}

fn short_key_ms() -> i64 {
    SHORT_KEY_SECONDS as i64 * 1_000
}
