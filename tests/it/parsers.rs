//! Whatever arrives: parsers never panic and survive a round trip, the API never fails because of
//! what it was sent, and no order of requests breaks the rules of a run's life.

use std::collections::HashMap;
use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Request, Uri};
use dacapo::api::{self, MetadataOperation};
use dacapo::config::ServerArgs;
use dacapo::model::attempt::{Crash, Outcome, RetryDecision, TaskError};
use dacapo::model::digest::Digest;
use dacapo::model::duration;
use dacapo::model::egress::Rule;
use dacapo::model::id::{DeploymentId, EnvironmentId, KeyId, RunId, WorkerId};
use dacapo::model::task::TaskDefinition;
use dacapo::model::version::Version;
use dacapo::sandbox::scripted::{ScriptedSandbox, Step};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::harness::{Answer, TestApp};
use crate::rules::stories;

/// Requests of one test: enough to find what is not rare, and done in seconds.
const REQUESTS: u32 = 200;
/// Orders of requests.
const STORIES: u32 = 30;

/// What is read and written again is the same.
fn survives<T: FromStr + Display + PartialEq + Debug>(text: &str) -> Result<(), TestCaseError> {
    let Ok(value) = text.parse::<T>() else { return Ok(()) };
    let again = value.to_string();
    prop_assert_eq!(again.parse::<T>().ok(), Some(value), "{} became {}", text, again);
    Ok(())
}

proptest! {
    #[test]
    fn durations_are_the_sums_of_their_parts(parts in vec((0_u64..10_000, 0_usize..6), 1..10)) {
        let units = [("w", 604_800), ("d", 86_400), ("hr", 3_600), ("h", 3_600), ("m", 60), ("s", 1)];
        let text: String = parts.iter().map(|(number, unit)| format!("{number}{}", units[*unit].0)).collect();
        let seconds: u64 = parts.iter().map(|(number, unit)| number * units[*unit].1).sum();
        prop_assert_eq!(duration::parse(&text).map(|length| length.as_secs()), Ok(seconds), "{}", text);
    }

    #[test]
    fn no_text_makes_a_parser_of_durations_panic(text in ".*", near in "[0-9wdhrms]{0,110}") {
        let _ = duration::parse(&text);
        let _ = duration::parse(&near);
    }

    #[test]
    fn versions_survive_a_round_trip(date in 0_u32..100_000_000, number in 1_u32.., text in ".*", near in "[0-9]{6,10}[.][0-9]{0,12}") {
        let version = format!("{date:08}.{number}");
        prop_assert_eq!(version.parse::<Version>().map(|version| version.to_string()), Ok(version));
        survives::<Version>(&text)?;
        survives::<Version>(&near)?;
    }

    #[test]
    fn ids_survive_a_round_trip(bits: u128, text in ".*", body in "[0-9a-vA-Z]{24,28}") {
        let id = RunId::from_bits(bits);
        prop_assert_eq!(id.to_string().parse(), Ok(id));
        for prefix in ["run_", "env_", "key_", "deployment_", "worker_", ""] {
            for text in [format!("{prefix}{body}"), format!("{prefix}{text}")] {
                if let Ok(id) = text.parse::<RunId>() {
                    prop_assert_eq!(id.to_string(), text.clone(), "an id has one spelling");
                }
                survives::<EnvironmentId>(&text)?;
                survives::<KeyId>(&text)?;
                survives::<DeploymentId>(&text)?;
                survives::<WorkerId>(&text)?;
            }
        }
    }

    #[test]
    fn ids_are_ordered_like_their_text(one: u128, other: u128) {
        let (one, other) = (RunId::from_bits(one), RunId::from_bits(other));
        prop_assert_eq!(one.cmp(&other), one.to_string().cmp(&other.to_string()));
    }

    #[test]
    fn digests_survive_a_round_trip(bytes: [u8; 32], text in ".*", near in "[0-9a-fA-F]{62,66}") {
        let digest = Digest(bytes);
        prop_assert_eq!(digest.to_string().parse(), Ok(digest));
        survives::<Digest>(&text)?;
        survives::<Digest>(&near)?;
    }

    #[test]
    fn egress_rules_survive_a_round_trip(
        text in ".*",
        name in "(\\*[.])?[a-zA-Z0-9_-]{1,10}([.][a-z0-9]{1,5}){0,3}(:[0-9]{1,6})?",
        near in r"[\[\]0-9a-f:./*]{0,30}",
        v4 in any::<std::net::Ipv4Addr>(),
        v6 in any::<std::net::Ipv6Addr>(),
        (bits, port) in (0_u8..=128, any::<u16>()),
    ) {
        for text in [text, name, near] {
            survives::<Rule>(&text)?;
        }
        for text in [format!("{v4}"), format!("{v4}:{port}"), format!("{v6}"), format!("[{v6}]:{port}")] {
            prop_assert_eq!(text.parse::<Rule>().map(|rule| rule.to_string()), Ok(text.clone()));
        }
        for text in [format!("{v4}/{bits}"), format!("{v6}/{bits}"), format!("[{v6}/{bits}]:{port}")] {
            prop_assert!(text.parse::<Rule>().is_ok() || bits > 32, "{}", text);
            survives::<Rule>(&text)?;
        }
    }
}

/// JSON of up to so many levels.
fn nested_json(levels: usize) -> impl Strategy<Value = Value> {
    (vec(any::<bool>(), 0..levels), any::<i64>()).prop_map(|(lists, leaf)| {
        lists.into_iter().fold(leaf.into(), |inner, list| if list { json!([inner]) } else { json!({ "a": inner }) })
    })
}

/// A change of metadata, near the limit of levels or far beyond it.
fn any_change() -> impl Strategy<Value = MetadataOperation> {
    let path = prop_oneof![0_usize..40, Just(2_040)];
    let key = path.prop_map(|steps| if steps == 0 { "a".to_owned() } else { format!("${}", ".a".repeat(steps)) });
    (0..6, key, nested_json(40), any::<i32>()).prop_map(|(kind, key, value, by)| match kind {
        0 => MetadataOperation::Set(key, value),
        1 => MetadataOperation::Append(key, value),
        2 => MetadataOperation::Increment(key, by.into()),
        3 => MetadataOperation::Remove(key, value),
        4 => MetadataOperation::Delete(key),
        _ => MetadataOperation::Update([(key, value)].into_iter().collect()),
    })
}

proptest! {
    #[test]
    fn whatever_metadata_accept_can_be_read_back(changes in vec(any_change(), 1..12)) {
        let mut metadata = serde_json::Map::new();
        for change in changes {
            metadata = api::apply(&metadata, change).unwrap_or(metadata);
            let text = serde_json::to_string(&metadata).unwrap();
            let read = serde_json::from_str::<serde_json::Map<_, _>>(&text).ok();
            prop_assert_eq!(read.as_ref(), Some(&metadata));
        }
    }
}

/// Any JSON, small.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop_oneof![Just("10m"), Just("0s"), Just("application/json"), Just("{}"), Just("dev"), Just("A")]
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((".{0,8}", inner), 0..5).prop_map(|pairs| pairs.into_iter().collect()),
        ]
    })
}

/// An object with some of these keys.
fn object_of(keys: &'static [&'static str]) -> impl Strategy<Value = Value> {
    vec((proptest::sample::select(keys), any_json()), 0..5)
        .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

const TRIGGER_OPTIONS: &[&str] = &[
    "queue",
    "concurrencyKey",
    "delay",
    "ttl",
    "idempotencyKey",
    "idempotencyKeyTTL",
    "idempotencyKeyOptions",
    "priority",
    "tags",
    "metadata",
    "maxAttempts",
    "maxDuration",
    "machine",
    "lockToVersion",
    "debounce",
    "test",
    "payloadType",
    "payloadSize",
];
const REPLAY_FIELDS: &[&str] = &[
    "payload",
    "payloadType",
    "metadata",
    "tags",
    "queue",
    "concurrencyKey",
    "machine",
    "version",
    "region",
    "delay",
    "ttl",
    "idempotencyKey",
    "idempotencyKeyTTL",
    "maxAttempts",
    "maxDuration",
    "priority",
    "unknown",
];
const OTHER_FIELDS: &[&str] =
    &["name", "value", "isSecret", "variables", "override", "environment", "rules", "unknown"];

/// A body: bytes, JSON, or JSON with the keys of a request.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let text = |value: Value| value.to_string().into_bytes();
    let trigger = (any_json(), object_of(TRIGGER_OPTIONS));
    prop_oneof![
        1 => vec(any::<u8>(), 0..64),
        1 => any_json().prop_map(text),
        1 => any_json().prop_flat_map(move |value| {
            let whole = text(value);
            (0..=whole.len()).prop_map(move |length| whole[..length].to_vec())
        }),
        4 => trigger.prop_map(move |(payload, options)| text(json!({ "payload": payload, "options": options }))),
        4 => object_of(REPLAY_FIELDS).prop_map(text),
        2 => object_of(OTHER_FIELDS).prop_map(text),
    ]
}

/// A server whose task `t` returns null, and a run of it.
fn server() -> (Runtime, TestApp, String) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    let sandbox = Arc::new(ScriptedSandbox::new(vec![TaskDefinition::new("t")]));
    let (app, run) = runtime.block_on(async {
        let app = TestApp::start_sandboxed(ServerArgs::default(), Some(sandbox)).await;
        app.upload("scripted", b"any bytes", "").await.ok();
        let run = app.trigger("t", json!(1)).await;
        app.finished(&run).await;
        (app, run)
    });
    (runtime, app, run)
}

fn requests() -> TestRunner {
    TestRunner::new(Config { cases: REQUESTS, max_shrink_iters: 200, failure_persistence: None, ..Config::default() })
}

/// Good answers are JSON; bad ones are the caller's fault and say what is wrong.
fn check(what: &str, answer: &Answer) -> Result<(), TestCaseError> {
    prop_assert!(!answer.status.is_server_error(), "{}: {} {}", what, answer.status, answer.json);
    if !answer.status.is_success() {
        prop_assert!(answer.status.is_client_error(), "{}: {}", what, answer.status);
        let text = answer.json["error"].as_str().unwrap_or_default();
        prop_assert!(!text.is_empty(), "{}: {} {}", what, answer.status, answer.json);
        prop_assert!(text.len() < 2_000, "{}: an error repeats what was sent: {}", what, text);
    }
    Ok(())
}

/// Sends bodies to a route that a key opens.
fn any_body_is_answered(method: &'static str, path: impl Fn(&str) -> String, is_admin: bool) {
    let (runtime, app, run) = server();
    let path = path(&run);
    let key = if is_admin { &app.admin_key } else { &app.key };
    let sent = requests().run(&any_body(), |body| {
        let what = format!("{method} {path} {}", String::from_utf8_lossy(&body));
        let answer = runtime.block_on(app.send(key, Request::builder().method(method).uri(&path), body));
        check(&what, &answer)
    });
    if let Err(error) = sent {
        panic!("{error}");
    }
    let alive = runtime.block_on(app.call("t", json!("after")));
    assert_eq!(alive["status"], "COMPLETED", "the server still works");
}

#[test]
fn any_body_of_a_trigger_is_answered() {
    any_body_is_answered("POST", |_| "/api/v1/tasks/t/trigger".into(), false);
}

#[test]
fn any_body_of_a_replay_is_answered() {
    any_body_is_answered("POST", |run| format!("/api/v1/runs/{run}/replay"), false);
}

#[test]
fn any_body_about_variables_is_answered() {
    any_body_is_answered("POST", |_| "/api/v1/projects/p/envvars/dev".into(), false);
    any_body_is_answered("POST", |_| "/api/v1/projects/p/envvars/dev/import".into(), false);
    any_body_is_answered("PUT", |_| "/api/v1/projects/p/envvars/dev/A".into(), false);
}

#[test]
fn any_body_about_keys_and_egress_is_answered() {
    any_body_is_answered("POST", |_| "/admin/v1/keys".into(), true);
    any_body_is_answered("PUT", |_| "/admin/v1/environments/dev/egress".into(), true);
}

/// A query: names that are known or not, values that fit or not.
fn any_query() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        4 => proptest::sample::select(&[
            "page[size]", "page[after]", "page[before]", "filter[status]", "filter[taskIdentifier]",
            "filter[createdAt][from]", "filter[createdAt][to]", "filter[createdAt][period]", "wait", "limit", "after",
        ][..]).prop_map(str::to_owned),
        1 => "[!-~]{0,10}",
    ];
    let value = prop_oneof![
        "[!-~]{0,20}",
        "-?[0-9]{1,25}",
        "[0-9]{1,6}[smhdw]",
        "[0-9a-f]{0,20}-run_[0-7][0-9a-v]{25}",
        "(COMPLETED|QUEUED|,|x){0,4}",
        "(%[0-9a-fA-F]{2}){0,6}",
        "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:00:00Z",
    ];
    vec((name, value), 0..4).prop_map(|pairs| {
        pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    })
}

#[test]
fn any_query_is_answered() {
    let (runtime, app, run) = server();
    let paths = [
        "/api/v1/runs".to_owned(),
        format!("/api/v1/runs/{run}/logs"),
        format!("/api/v1/runs/{run}/result"),
        "/api/v1/deployments".to_owned(),
    ];
    let sent = requests().run(&any_query(), |query| {
        for path in &paths {
            let path = format!("{path}?{query}");
            if path.parse::<Uri>().is_err() {
                continue;
            }
            let answer = runtime.block_on(app.get(&path));
            check(&path, &answer)?;
        }
        Ok(())
    });
    if let Err(error) = sent {
        panic!("{error}");
    }
}

#[test]
fn any_path_and_key_are_answered() {
    let (runtime, app, _) = server();
    let segment = prop_oneof!["[!-~&&[^?#/]]{0,20}", "(%[0-9a-fA-F]{2}){0,6}", "run_[0-9a-v]{20,30}"];
    let sent = requests().run(&(segment, "[ -~]{0,40}"), |(segment, key)| {
        for path in ["/api/v3/runs/", "/api/v1/deployments/", "/api/v1/projects/p/envvars/", "/nowhere/"] {
            let path = format!("{path}{segment}");
            if path.parse::<Uri>().is_err() {
                continue;
            }
            check(&path, &runtime.block_on(app.get(&path)))?;
            let answer = runtime.block_on(app.send(&key, Request::get("/api/v1/runs"), axum::body::Body::empty()));
            prop_assert_eq!(answer.status.as_u16(), 401, "{}", key);
        }
        Ok(())
    });
    if let Err(error) = sent {
        panic!("{error}");
    }
}

/// One thing that happens.
#[derive(Debug, Clone)]
enum Act {
    /// A trigger: with one of a few idempotency keys, delayed, of a task nobody has, or not.
    Trigger {
        key: Option<u8>,
        delayed: bool,
        unknown: bool,
    },
    /// The next call of the task ends so.
    Script(u8),
    /// Of the run with this number, modulo all runs.
    Cancel(usize),
    Replay(usize),
    Advance(u64),
    /// Waits until a run that is queued has been looked at.
    Look(usize),
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (proptest::option::of(0_u8..3), proptest::bool::weighted(0.3), proptest::bool::weighted(0.1))
            .prop_map(|(key, delayed, unknown)| Act::Trigger { key, delayed, unknown }),
        3 => (0_u8..6).prop_map(Act::Script),
        2 => any::<usize>().prop_map(Act::Cancel),
        2 => any::<usize>().prop_map(Act::Replay),
        2 => (1_u64..40).prop_map(Act::Advance),
        2 => any::<usize>().prop_map(Act::Look),
    ]
}

fn step(number: u8) -> Step {
    let failed = |retry| Outcome::Failed(TaskError { name: "Told".into(), message: "told".into(), stack: None, retry });
    match number {
        0 => Step::Hang,
        1 => Step::End(failed(RetryDecision::Never)),
        2 => Step::End(failed(RetryDecision::After(Duration::from_secs(5)))),
        3 => Step::End(Outcome::Crashed(Crash { out_of_memory: true, message: "told".into(), backtrace: None })),
        4 => Step::End(Outcome::HostFault("told".into())),
        _ => Step::End(Outcome::Returned("1".into())),
    }
}

/// What is known of all runs of a story.
struct Story {
    app: TestApp,
    sandbox: Arc<ScriptedSandbox>,
    runs: Vec<String>,
    ended: HashMap<String, Value>,
    keys: HashMap<u8, String>,
}

impl Story {
    async fn begin() -> Self {
        let sandbox = Arc::new(ScriptedSandbox::new(vec![TaskDefinition::new("t")]));
        let args =
            ServerArgs { max_concurrent_runs: Some(2), shutdown_grace: Some("0s".into()), ..ServerArgs::default() };
        let app = TestApp::start_sandboxed(args, Some(sandbox.clone())).await;
        app.upload("scripted", b"any bytes", "").await.ok();
        Self { app, sandbox, runs: Vec::new(), ended: HashMap::new(), keys: HashMap::new() }
    }

    fn run(&self, number: usize) -> Option<String> {
        (!self.runs.is_empty()).then(|| self.runs[number % self.runs.len()].clone())
    }

    async fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
        match act {
            Act::Trigger { key, delayed, unknown } => self.trigger(*key, *delayed, *unknown).await?,
            Act::Script(number) => self.sandbox.then(step(*number)),
            Act::Cancel(number) => {
                let Some(run) = self.run(*number) else { return Ok(()) };
                self.app.post_empty(&format!("/api/v2/runs/{run}/cancel")).await.ok();
                let status = self.app.run(&run).await["isCompleted"].clone();
                prop_assert_eq!(status, json!(true), "a run that was canceled has ended");
            }
            Act::Replay(number) => {
                let Some(run) = self.run(*number) else { return Ok(()) };
                let replay = self.app.replay(&run).await;
                prop_assert!(!self.runs.contains(&replay), "a replay is a new run");
                self.runs.push(replay);
            }
            Act::Advance(seconds) => self.app.app().advance(Duration::from_secs(*seconds)),
            Act::Look(number) => {
                let Some(run) = self.run(*number) else { return Ok(()) };
                self.app.get(&format!("/api/v1/runs/{run}/result?wait=0s")).await;
            }
        }
        for run in self.runs.clone() {
            self.check(&run).await?;
        }
        Ok(())
    }

    async fn trigger(&mut self, key: Option<u8>, delayed: bool, unknown: bool) -> Result<(), TestCaseError> {
        // Keys belong to a task, so that only those of `t` are followed.
        let (task, key) = if unknown { ("nobody-has-it", None) } else { ("t", key) };
        let mut options = json!({});
        if let Some(key) = key {
            options["idempotencyKey"] = json!(format!("key-{key}"));
        }
        if delayed {
            options["delay"] = json!("20s");
        }
        let holder = key.and_then(|key| self.keys.get(&key)).cloned();
        let body = json!({ "payload": self.runs.len(), "options": options });
        let receipt = self.app.post(&format!("/api/v1/tasks/{task}/trigger"), body).await.ok();
        let id = receipt["id"].as_str().expect("a receipt has an id").to_owned();
        if receipt["isCached"] == true {
            prop_assert_eq!(Some(&id), holder.as_ref(), "a key names one run");
            return Ok(());
        }
        prop_assert!(!self.runs.contains(&id), "a new run is new");
        if let Some(holder) = holder {
            let status = self.app.run(&holder).await["status"].clone();
            let frees = ["FAILED", "CRASHED", "SYSTEM_FAILURE", "TIMED_OUT", "EXPIRED"];
            prop_assert!(
                frees.iter().any(|free| status == *free),
                "a second run of the key of a run that is {}",
                status
            );
        }
        if let Some(key) = key {
            self.keys.insert(key, id.clone());
        }
        self.runs.push(id);
        Ok(())
    }

    async fn check(&mut self, id: &str) -> Result<(), TestCaseError> {
        let mut run = self.app.run(id).await;
        let finals = ["COMPLETED", "CANCELED", "FAILED", "CRASHED", "SYSTEM_FAILURE", "TIMED_OUT", "EXPIRED"];
        let is_final = finals.iter().any(|status| run["status"] == *status);
        prop_assert_eq!(run["finishedAt"].is_string(), is_final, "{}", run);
        prop_assert_eq!(run["isCompleted"].as_bool(), Some(is_final), "{}", run);
        prop_assert_eq!(run["isSuccess"].as_bool(), Some(run["status"] == "COMPLETED"), "{}", run);
        prop_assert_eq!(run.get("output").is_some(), run["status"] == "COMPLETED", "{}", run);
        // The only thing about an ended run that grows.
        run["replays"] = json!([]);
        if is_final {
            let first = self.ended.entry(id.to_owned()).or_insert_with(|| run.clone());
            prop_assert_eq!(&*first, &run, "a run that has ended changed");
        }
        Ok(())
    }

    /// Ends everything, and looks at what was recorded.
    async fn end(mut self) -> Result<(), TestCaseError> {
        for run in self.runs.clone() {
            self.app.post_empty(&format!("/api/v2/runs/{run}/cancel")).await.ok();
        }
        for run in self.runs.clone() {
            self.check(&run).await?;
            let history = self.app.history(&run).await;
            let ends = history
                .iter()
                .filter(|status| !["QUEUED", "DELAYED", "PENDING_VERSION", "EXECUTING"].contains(&status.as_str()));
            prop_assert_eq!(ends.count(), 1, "run {} ends once: {:?}", run, history);
            prop_assert_eq!(history.last().map(|status| json!(status)), Some(self.ended[&run]["status"].clone()));
        }
        self.app.stop().await;
        Ok(())
    }
}

#[test]
fn no_order_of_requests_breaks_the_rules_of_a_runs_life() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let config =
        Config { cases: stories(STORIES), max_shrink_iters: 100, failure_persistence: None, ..Config::default() };
    let told = TestRunner::new(config).run(&vec(any_act(), 1..25), |acts| {
        runtime.block_on(async {
            let mut story = Story::begin().await;
            for act in &acts {
                story.act(act).await?;
            }
            story.end().await
        })
    });
    if let Err(error) = told {
        panic!("{error}");
    }
}
