//! A run whose guest is dropped at every wait does the same as one whose guest stays in memory.

use std::sync::Arc;

use dacapo::config::ServerArgs;
use dacapo_tests::guests;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::harness::TestApp;
use crate::network::{Site, allow};

/// Scripts that are tried.
const SCRIPTS: u32 = 40;

/// A step of the guest `script` that answers the same whenever it is done.
fn step() -> impl Strategy<Value = Value> {
    let simple = prop_oneof![
        3 => pending(),
        1 => vec(leaf(), 1..5).prop_map(|children| json!({ "children": children })),
        1 => vec(pending(), 0..4).prop_map(|of| json!({ "all": of })),
        1 => pending().prop_map(|first| json!({ "any": [first, { "wait_ms": 1_000_000_000 }] })),
        1 => Just(json!({ "within": { "ms": 1_000_000_000, "of": { "wait_ms": 1 } } })),
        1 => leaf().prop_map(|child| json!({ "trigger": child })),
        1 => Just(json!({ "round_trip": true })),
        1 => "[a-c]{1,3}".prop_map(|text| json!({ "file": text })),
        1 => "[a-c]{1,3}".prop_map(|text| json!({ "log": text })),
        1 => (0..3).prop_map(|n| json!({ "metadata": { "n": n } })),
        1 => Just(json!({ "parent_increment": "count" })),
        1 => (0..3).prop_map(|n| json!({ "tags": [format!("tag-{n}")] })),
        1 => (0..3).prop_map(|n| json!({ "stream": { "name": "s", "chunks": [n, n + 1] } })),
        1 => Just(json!({ "env": "HOME" })),
        1 => Just(json!({ "sleep_ms": 1 })),
        1 => Just(json!({ "http": "{site}" })),
        2 => (0..6, 0..3).prop_map(|(bytes, ms)| {
            json!({ "http_across": { "url": "{site}", "bytes": bytes, "ms": ms } })
        }),
        1 => Just(json!({ "fail_before": 2 })),
    ];
    prop_oneof![8 => simple.clone(), 1 => vec(simple, 0..3).prop_map(|steps| json!({ "span": steps }))]
}

fn pending() -> impl Strategy<Value = Value> {
    prop_oneof![(0..4).prop_map(|ms| json!({ "wait_ms": ms })), leaf().prop_map(|child| json!({ "child": child })),]
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (0..100).prop_map(|n| json!({ "echo": n })),
        1 => (0..3).prop_map(|ms| json!({ "echo": "late", "wait_ms": ms })),
        1 => Just(json!({ "fail": "on purpose" })),
        1 => Just(json!({ "trap": "on purpose" })),
    ]
    .prop_map(|payload| json!({ "task": "leaf", "payload": payload }))
}

/// A script; some make a token first, complete it and wait for it.
pub fn script() -> impl Strategy<Value = Vec<Value>> {
    let token = [json!({ "create_token": {} }), json!({ "complete_token": { "n": 1 } }), json!({ "token": "$last" })];
    (vec(step(), 0..7), proptest::bool::weighted(0.3)).prop_map(move |(steps, has_token)| {
        let begins = if has_token { token.to_vec() } else { Vec::new() };
        begins.into_iter().chain(steps).collect()
    })
}

/// All that anybody can see of a run.
#[derive(Debug, PartialEq)]
struct Seen {
    status: Value,
    output: Value,
    error: Value,
    metadata: Value,
    tags: Value,
    logs: Vec<(String, String)>,
    children: usize,
    requests: usize,
    spans: usize,
}

struct Server {
    app: TestApp,
    site: Site,
}

impl Server {
    async fn start(parked_time: &str) -> Self {
        let args = ServerArgs { parked_time: Some(parked_time.into()), ..ServerArgs::default() };
        let app = TestApp::start_with(args).await;
        app.deploy(guests::SCRIPT).await;
        allow(&app, &["127.0.0.1"]).await;
        Self { app, site: Site::saying("said").await }
    }

    async fn run(&self, script: &[Value]) -> Seen {
        let text = Value::from(script).to_string().replace("{site}", &self.site.url("127.0.0.1"));
        let script: Value = serde_json::from_str(&text).expect("JSON stays JSON");
        let before = self.site.requests().len();
        let run = self.app.call("script", script).await;
        let id = run["id"].as_str().expect("a run has an id");
        let related = run["relatedRuns"]["children"].as_array().map_or(0, Vec::len);
        let mut metadata = run["metadata"].clone();
        if let Some(token) = metadata.get_mut("token") {
            // Ids differ.
            *token = Value::Null;
        }
        let trace = self.app.get(&format!("/api/v1/runs/{id}/trace")).await.ok().to_string();
        Seen {
            status: run["status"].clone(),
            output: run["output"].clone(),
            error: run["error"]["message"].clone(),
            metadata,
            tags: run["tags"].clone(),
            logs: self.app.logs(id).await,
            children: related,
            requests: self.site.requests().len() - before,
            spans: trace.matches(r#""message":"span""#).count(),
        }
    }
}

#[test]
fn what_a_run_does_is_the_same_when_its_guest_is_dropped_at_every_wait() {
    let runtime = Arc::new(Runtime::new().expect("a runtime"));
    let (kept, dropped) = runtime.block_on(async { (Server::start("1h").await, Server::start("0s").await) });
    let completed = std::cell::Cell::new(0);
    let config = Config { cases: SCRIPTS, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&script(), |script| {
            let (kept, dropped) = runtime.block_on(async { (kept.run(&script).await, dropped.run(&script).await) });
            completed.set(completed.get() + u32::from(kept.status == "COMPLETED"));
            prop_assert_eq!(kept, dropped);
            Ok(())
        })
        .expect("no script tells the difference");
    assert!(completed.get() > SCRIPTS / 2, "{} of {SCRIPTS} scripts came to their end", completed.get());
    runtime.block_on(async move { drop((kept, dropped)) });
}
