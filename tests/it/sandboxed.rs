//! Replays in the sandbox: nothing leaves it, and the report says what would have been.

use std::sync::Arc;

use axum::http::Request;
use dacapo::config::ServerArgs;
use dacapo_tests::guests;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::eviction::script;
use crate::harness::TestApp;
use crate::network::{Site, allow};

/// Scripts that are tried.
const SCRIPTS: u32 = 60;

async fn replayed(app: &TestApp, run: &str, body: Value) -> Value {
    app.post(&format!("/api/v1/runs/{run}/replay"), body).await.ok()
}

/// Whatever a run did, its own version does it again in the sandbox: with the same answers, and without
/// asking anybody.
#[test]
fn a_run_is_the_same_on_its_own_version() {
    let runtime = Arc::new(Runtime::new().expect("a runtime"));
    let (app, site) = runtime.block_on(async {
        let app = TestApp::start().await;
        app.deploy(guests::SCRIPT).await;
        allow(&app, &["127.0.0.1"]).await;
        (app, Site::saying("said").await)
    });
    let config = Config { cases: SCRIPTS, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&script(), |mut script| {
            script.extend([json!({ "clock": true }), json!({ "random": true })]);
            let text = Value::from(script).to_string().replace("{site}", &site.url("127.0.0.1"));
            let script: Value = serde_json::from_str(&text).expect("JSON stays JSON");
            runtime.block_on(async {
                let run = app.call("script", script).await;
                let (requests, runs) = (site.requests().len(), app.all_runs("").await.len());
                let id = run["id"].as_str().expect("a run has an id");
                let report = replayed(&app, id, json!({ "mode": "sandbox" })).await;
                assert_eq!(report["verdict"], "same", "{run:#}\n{report:#}");
                assert_eq!((site.requests().len(), app.all_runs("").await.len()), (requests, runs));
            });
            Ok(())
        })
        .expect("no script tells the difference");
    runtime.block_on(async move { drop((app, site)) });
}

/// Orders of these kinds, in turn: of 20, 1 refund, 1 gift, 1 export, 2 parcels.
fn kind(order: usize) -> &'static str {
    match order % 20 {
        3 => "refund",
        7 => "gift",
        11 => "export",
        13 | 17 => "parcel",
        _ => "plain",
    }
}

struct Shop {
    app: TestApp,
    site: Site,
}

/// Orders of the story.
const ORDERS: usize = 500;

impl Shop {
    /// Version 1 has done all orders, and versions 2 and 3 are there, but not current.
    async fn open() -> Self {
        let app = TestApp::start().await;
        app.upload("orders", &std::fs::read(guests::ORDERS_V1).unwrap(), "").await.ok();
        allow(&app, &["127.0.0.1"]).await;
        let site = Site::saying("price").await;
        let mut runs = Vec::new();
        for order in 0..ORDERS {
            let url = site.url("127.0.0.1");
            let site = url.split_once("/page").unwrap().0;
            runs.push(app.trigger("order", json!({ "id": order, "kind": kind(order), "site": site })).await);
        }
        for run in &runs {
            app.finished(run).await;
        }
        for bytes in [guests::ORDERS_V2, guests::ORDERS_V3] {
            app.upload("orders", &std::fs::read(bytes).unwrap(), "&skipPromotion=true").await.ok();
        }
        Self { app, site }
    }

    async fn versions(&self) -> Vec<String> {
        let listed = self.app.get("/api/v1/deployments?page[size]=10").await.ok();
        let listed = listed["data"].as_array().cloned().unwrap_or_default();
        listed.iter().rev().map(|one| one["version"].as_str().unwrap().to_owned()).collect()
    }

    async fn current(&self) -> String {
        self.app.get("/api/v1/deployments/current").await.ok()["version"].as_str().unwrap().into()
    }

    /// Does a backtest to its end.
    async fn backtest(&self, request: Value) -> Value {
        let made = self.app.post("/api/v1/backtests", request).await.ok();
        let path = format!("/api/v1/backtests/{}", made["id"].as_str().unwrap());
        loop {
            let item = self.app.get(&path).await.ok();
            if item["status"] != "PENDING" {
                return item;
            }
            tokio::task::yield_now().await;
        }
    }

    /// The kinds of the orders that came to a verdict, each once.
    async fn kinds(&self, backtest: &Value, verdict: &str) -> Vec<String> {
        let id = backtest["id"].as_str().unwrap();
        let path = format!("/api/v1/backtests/{id}/replays?page[size]=100&verdict={verdict}");
        let page = self.app.get(&path).await.ok();
        let mut kinds = Vec::new();
        for replay in page["data"].as_array().unwrap() {
            let run = self.app.run(replay["runId"].as_str().unwrap()).await;
            kinds.push(run["payload"]["kind"].as_str().unwrap_or("mail").to_owned());
        }
        kinds.sort();
        kinds.dedup();
        kinds
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backtest_says_what_a_version_would_have_done_and_a_gate_keeps_it_out() {
    let shop = Shop::open().await;
    let (requests, runs) = (shop.site.requests().len(), shop.app.all_runs("").await.len());
    let [v1, v2, v3] = <[String; 3]>::try_from(shop.versions().await).expect("three versions");

    let rules = json!({ "order": { "max-memory-factor": 2.0 } });
    let filter = json!({ "taskIdentifier": "order" });
    let gated = |version: &str| {
        json!({
            "version": version, "filter": filter, "last": 1_000, "options": { "rules": rules }, "gate": { "allow": 0 },
        })
    };
    let refused = shop.backtest(gated(&v2)).await;
    assert_eq!(refused["status"], "COMPLETED", "{refused}");
    let verdicts = json!({
        "same": 375, "fixed": 25, "effects-changed": 25, "newly-failing": 25, "over-budget": 50,
    });
    assert_eq!(refused["verdicts"], verdicts);
    for (verdict, kind) in
        [("fixed", "refund"), ("newly-failing", "gift"), ("effects-changed", "export"), ("over-budget", "parcel")]
    {
        assert_eq!(shop.kinds(&refused, verdict).await, [kind], "{verdict}");
    }
    assert_eq!((&refused["isOpen"], &refused["differences"], shop.current().await), (&json!(false), &json!(100), v1));

    let accepted = shop.backtest(gated(&v3)).await;
    assert_eq!(accepted["verdicts"], json!({ "same": 475, "fixed": 25 }));
    assert_eq!((&accepted["isOpen"], shop.current().await), (&json!(true), v3));

    assert_eq!(shop.site.requests().len(), requests, "nobody was asked");
    assert_eq!(shop.app.all_runs("").await.len(), runs, "no run was made");
}

/// The targets of calls that nobody answered.
fn unmatched(report: &Value) -> Vec<(String, String)> {
    let listed = report["comparison"]["effects"]["unmatched"]["items"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    listed.iter().map(|call| (text(&call["kind"]), text(&call["target"]))).collect()
}

/// A guest that was harmless then tries everything now: nothing of it works, and all of it is listed.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_the_sandbox() {
    let app = TestApp::start().await;
    app.deploy(guests::SCRIPT).await;
    allow(&app, &["127.0.0.1"]).await;
    let secret = json!({ "name": "SECRET", "value": "hush" });
    app.post("/api/v1/projects/default/envvars/dev", secret).await;
    let site = Site::saying("said").await;
    let source = app.call("script", json!([{ "return": "harmless" }])).await;
    let source = source["id"].as_str().unwrap();
    let runs = app.all_runs("").await.len();

    let url = site.url("127.0.0.1");
    let payload = json!([
        { "http": url },
        { "http": "http://internal.example/" },
        { "env": "SECRET" },
        { "trigger": { "task": "leaf", "payload": { "echo": 1 } } },
        { "batch": [{ "task": "leaf" }, { "task": "leaf" }] },
        { "create_token": {} },
        { "complete_token": 1 },
        { "tags": ["left"] },
        { "stream": { "name": "s", "chunks": [1] } },
    ]);
    for mode in ["sandbox", "shadow"] {
        let hostile = json!({ "mode": mode, "payload": payload });
        let report = replayed(&app, source, hostile).await;
        let expected = [
            ("http", format!("GET {url}")),
            ("http", "GET http://internal.example/".into()),
            ("trigger", "leaf".into()),
            ("batch-trigger", "2".into()),
            ("environment", "environment variables".into()),
        ];
        let expected = expected.map(|(kind, target)| (kind.to_owned(), target));
        // In the shadow, what may be read is read: here the one that the environment allows.
        let asked = usize::from(mode == "shadow");
        assert_eq!(site.requests().len(), asked, "{mode}");
        assert_eq!(unmatched(&report), expected[2 * asked..], "{mode}: {report:#}");
        assert!(!report.to_string().contains("hush"), "{mode}");
    }
    assert_eq!(app.all_runs("").await.len(), runs, "no run was made");
    let tokens = Request::get("/api/v1/waitpoints/tokens").header("host", "localhost");
    let tokens = app.send(&app.key, tokens, "").await.ok();
    assert_eq!(tokens["data"], json!([]), "no token was made");
    assert_eq!(app.run(source).await["tags"], json!([]), "nothing was done to the source");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_recording_does_not_answer_follows_the_policy() {
    let app = TestApp::start().await;
    app.deploy(guests::SCRIPT).await;
    let source = app.call("script", json!([{ "return": "harmless" }])).await;
    let source = source["id"].as_str().unwrap();
    let payload =
        json!([{ "http": "http://new.example/price" }, { "child": { "task": "leaf", "payload": { "echo": 7 } } }]);
    let with = async |options: Value| {
        let body = json!({ "mode": "sandbox", "payload": payload, "options": options });
        let report = replayed(&app, source, body).await;
        let after = |path: &str| {
            let changes = report["comparison"]["output"]["items"].as_array().unwrap();
            let change = changes.iter().find(|change| change["path"] == path);
            change.map_or(Value::Null, |change| change["after"].clone())
        };
        (report["verdict"].clone(), after("$"), report["comparison"]["ends"]["now"].clone())
    };

    let (verdict, _, end) = with(json!({ "unmatched": "fail" })).await;
    assert_eq!((&verdict, &end["name"]), (&json!("newly-failing"), &json!("UnmatchedCall")));

    let stubs = json!({ "http": [{ "url": "http://new.example/*", "body": "12" }], "runs": { "leaf": 8 } });
    let (verdict, output, _) = with(json!({ "unmatched": "stub", "stubs": stubs })).await;
    assert_eq!(verdict, "output-changed");
    let expected = json!([{ "body": "12", "status": 200 }, { "output": 8 }]).to_string();
    assert_eq!(output, json!(expected));

    let (_, output, _) = with(json!({ "children": "execute" })).await;
    assert!(output.as_str().unwrap().contains(r#"{"output":7}"#), "{output}");
}

/// A run that did nothing then, and what it does now with `payload`, whose children are executed.
async fn executed(app: &TestApp, payload: Value) -> Value {
    let source = app.call("script", json!([{ "return": "harmless" }])).await;
    let body = json!({ "mode": "sandbox", "payload": payload, "options": { "children": "execute" } });
    replayed(app, source["id"].as_str().unwrap(), body).await
}

/// The end of a replay, or what it returned.
fn end(report: &Value) -> &Value {
    &report["comparison"]["ends"]["now"]
}

/// As many runs, one within the other, as there are places for replays, and one more.
#[tokio::test(flavor = "multi_thread")]
async fn runs_within_runs_do_not_wait_for_each_others_places() {
    let app = TestApp::start().await;
    app.deploy(guests::SCRIPT).await;
    let depth = dacapo::backtest::children::MAX_DEPTH;
    assert!(depth >= dacapo::backtest::MAX_CONCURRENT_REPLAYS);
    let innermost = json!([{ "return": "at the bottom" }]);
    let payload = (0..depth).fold(innermost, |inner, _| json!([{ "child": { "task": "script", "payload": inner } }]));
    let report = executed(&app, payload).await;
    assert_eq!(end(&report)["kind"], "completed", "{report:#}");
    assert!(report["comparison"]["output"].to_string().contains("at the bottom"), "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_executed_child_uses_is_not_its_parents() {
    let app =
        TestApp::start_with(ServerArgs { default_max_duration: Some("1s".into()), ..ServerArgs::default() }).await;
    app.deploy(guests::SCRIPT).await;
    let spin = json!({ "child": { "task": "leaf", "payload": { "spin": true } } });
    let report = executed(&app, json!([spin, spin])).await;
    // Each has used up all that its parent may use.
    assert_eq!(end(&report)["kind"], "completed", "{report:#}");
    assert_eq!(report["verdict"], "output-changed");
}

/// What came first then comes first again, though the child is executed at once.
#[tokio::test(flavor = "multi_thread")]
async fn recorded_waits_are_the_same_with_children_that_are_executed() {
    let app = TestApp::start().await;
    app.deploy(guests::SCRIPT).await;
    let child = json!({ "child": { "task": "script", "payload": [{ "wait_ms": 500 }] } });
    let source = app.call("script", json!([{ "any": [child, { "wait_ms": 5 }] }])).await;
    assert_eq!(source["output"][0][0], 1, "the moment came first: {source}");
    for run in app.all_runs("").await {
        app.finished(run["id"].as_str().unwrap()).await;
    }
    let body = json!({ "mode": "sandbox", "options": { "children": "execute" } });
    let report = replayed(&app, source["id"].as_str().unwrap(), body).await;
    assert_eq!(report["verdict"], "same", "{report:#}");
}

/// What a call says counts as a whole, whether it is shown or not.
#[tokio::test(flavor = "multi_thread")]
async fn whole_urls_and_all_options_of_triggers_are_compared() {
    let app = TestApp::start().await;
    app.deploy(guests::SCRIPT).await;
    allow(&app, &["127.0.0.1"]).await;
    let site = Site::saying("said").await;
    let trigger = |tag: &str| json!([{ "trigger": { "task": "leaf", "payload": { "echo": 1 }, "delay_ms": 3_600_000, "tags": [tag] } }]);
    let source = app.call("script", trigger("a")).await;
    let source = source["id"].as_str().unwrap();
    let with = async |source: &str, payload: Value| {
        let report = replayed(&app, source, json!({ "mode": "sandbox", "payload": payload })).await;
        let effects = report["comparison"]["effects"].clone();
        let count = |list: &str| effects[list]["items"].as_array().unwrap().len();
        (report["verdict"].clone(), count("changed"), count("unmatched"), report)
    };
    let (verdict, changed, ..) = with(source, trigger("a")).await;
    assert_eq!((verdict, changed), (json!("same"), 0));
    let (verdict, changed, unmatched, _) = with(source, trigger("b")).await;
    assert_eq!((verdict, changed, unmatched), (json!("effects-changed"), 1, 0));

    let url = |token: &str| site.url("127.0.0.1").replace("q=1", &format!("token={token}"));
    let source = app.call("script", json!([{ "http": url("a") }])).await;
    let (_, changed, unmatched, report) = with(source["id"].as_str().unwrap(), json!([{ "http": url("b") }])).await;
    assert_eq!((changed, unmatched), (1, 1), "{report:#}");
    let effects = &report["comparison"]["effects"];
    assert!(effects.to_string().contains("token=[redacted]") && !effects.to_string().contains("token=b"), "{effects}");
}

/// What tasks were given and answered is in comparisons: whoever has the database alone cannot read it.
#[tokio::test(flavor = "multi_thread")]
async fn comparisons_are_sealed_where_they_are_stored() {
    let mut app = TestApp::start().await;
    app.upload("echo", &std::fs::read(guests::ECHO_V1).unwrap(), "").await.ok();
    app.call("echo", json!({ "n": "a-telling-payload" })).await;
    let next = app.upload("echo", &std::fs::read(guests::ECHO_V2).unwrap(), "&skipPromotion=true").await.ok();
    let request = json!({ "version": next["deployment"]["version"] });
    let made = app.post("/api/v1/backtests", request).await.ok();
    let path = format!("/api/v1/backtests/{}", made["id"].as_str().unwrap());
    while app.get(&path).await.ok()["status"] == "PENDING" {
        tokio::task::yield_now().await;
    }
    let page = app.get(&format!("{path}/replays")).await.ok();
    assert!(page["data"][0]["comparison"]["output"].to_string().contains("$.version"), "{page}");
    let report = app.get(&format!("{path}/report")).await.ok();
    assert!(report.to_string().contains("$.version"), "{report}");
    app.stop().await;
    let connection = rusqlite::Connection::open(app.data_dir().join("dacapo.db")).unwrap();
    let stored: Vec<u8> =
        connection.query_row("SELECT comparison FROM backtest_replays", [], |row| row.get(0)).unwrap();
    assert!(!String::from_utf8_lossy(&stored).contains("version"), "{stored:?}");
}

/// A version that needs a variable that was set after the run.
#[tokio::test(flavor = "multi_thread")]
async fn variables_that_the_recording_lacks_are_named_and_seen_on_request() {
    let app = TestApp::start().await;
    app.deploy(guests::SCRIPT).await;
    let set = async |name: &str, value: &str| {
        let variables = "/api/v1/projects/proj_default/envvars/dev";
        app.post(variables, json!({ "name": name, "value": value })).await.ok();
    };
    set("OLD", "then").await;
    let source = app.call("script", json!([{ "env": "OLD" }])).await;
    let source = source["id"].as_str().unwrap();
    set("NEW", "brand-new-7431").await;
    let payload = json!([{ "env": "NEW" }]);
    let with = async |options: Value| {
        let body = json!({ "mode": "sandbox", "payload": payload, "options": options });
        let report = replayed(&app, source, body).await;
        let after = report["comparison"]["output"]["items"][0]["after"].clone();
        (after, report["comparison"]["newVariables"]["items"].clone(), report)
    };
    let (after, new, report) = with(json!({})).await;
    assert_eq!((after, new), (json!("null"), json!(["NEW"])), "{report:#}");
    let (after, new, report) = with(json!({ "variables": "current" })).await;
    assert_eq!((after, new), (json!("\"[redacted]\""), json!(["NEW"])), "{report:#}");
    assert!(!report.to_string().contains("brand-new"), "{report:#}");
}

/// The version of another environment, with its settings, on what a run of this one was given.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_tried_on_the_version_of_another_environment() {
    let app = TestApp::start().await;
    for guest in [guests::SCRIPT, guests::ECHO_V2, guests::ECHO_V1] {
        app.upload(if guest == guests::SCRIPT { "script" } else { "echo" }, &std::fs::read(guest).unwrap(), "")
            .await
            .ok();
    }
    let site = Site::saying("said").await;
    let script = app.call("script", json!([{ "return": "harmless" }])).await["id"].take();
    let echo = app.call("echo", json!({ "n": 1 })).await["id"].take();
    let made = app.admin("POST", "/admin/v1/keys", json!({ "environment": "stg" })).await.ok();
    let staging = made["key"].as_str().unwrap();
    let variable = json!({ "name": "NEW", "value": "brand-new-7431" });
    let variables =
        Request::post("/api/v1/projects/proj_default/envvars/stg").header("content-type", "application/json");
    app.send(staging, variables, variable.to_string()).await.ok();
    app.admin("PUT", "/admin/v1/environments/stg/egress", json!({ "rules": ["127.0.0.1"] })).await.ok();
    let replayed = async |run: &Value, body: Value| {
        let path = format!("/api/v1/runs/{}/replay?environment=stg", run.as_str().unwrap());
        app.post(&path, body.clone()).await.error(403);
        let request = Request::post(path).header("content-type", "application/json");
        app.send(&app.admin_key, request.header("x-dacapo-environment", "dev"), body.to_string()).await
    };
    let sandbox = || json!({ "mode": "sandbox" });
    assert!(replayed(&echo, sandbox()).await.error(400).contains("no current version has the task `echo`"));

    let mut versions = Vec::new();
    for guest in [guests::SCRIPT, guests::ECHO_V2] {
        let name = if guest == guests::SCRIPT { "script" } else { "echo" };
        let upload = Request::post(format!("/api/v1/deployments?name={name}"));
        let made = app.send(staging, upload, std::fs::read(guest).unwrap()).await.ok();
        versions.push(made["deployment"]["version"].as_str().unwrap().to_owned());
    }
    let report = replayed(&echo, sandbox()).await.ok();
    assert_eq!((&report["version"], &report["verdict"]), (&json!(versions[1]), &json!("output-changed")), "{report:#}");
    let changed = report["comparison"]["output"]["items"].as_array().unwrap();
    assert!(changed.iter().any(|one| one["path"] == "$.version" && one["after"] == "2"), "{report:#}");
    // What it is told is what its run was told.
    assert!(!report["comparison"]["output"].to_string().contains("$.ctx.environment"), "{report:#}");
    let named = replayed(&echo, json!({ "mode": "sandbox", "version": versions[1] })).await.ok();
    assert_eq!(named["version"], report["version"]);
    let third = json!({ "mode": "sandbox", "version": "20010101.9" });
    assert!(replayed(&echo, third).await.error(400).contains("there is no version 20010101.9"));

    let payload = json!([{ "env": "NEW" }, { "http": site.url("127.0.0.1") }]);
    let body = json!({ "mode": "shadow", "payload": payload, "options": { "variables": "current" } });
    let here = app.post(&format!("/api/v1/runs/{}/replay", script.as_str().unwrap()), body.clone()).await.ok();
    assert_eq!(here["comparison"].get("newVariables"), None, "{here:#}");
    assert_eq!(site.requests().len(), 0, "it is not allowed here");
    let there = replayed(&script, body).await.ok();
    assert_eq!(there["comparison"]["newVariables"]["items"], json!(["NEW"]), "{there:#}");
    assert_eq!(site.requests().len(), 1, "{there:#}");
    let output = there["comparison"]["output"].to_string();
    assert!(output.contains("[redacted]") && !there.to_string().contains("brand-new"), "{there:#}");
    let listed = app.send(staging, Request::get("/api/v1/runs"), "").await.ok();
    assert_eq!(listed["data"], json!([]), "no run was made");
}
