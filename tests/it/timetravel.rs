//! Time travel: exact re-execution of a run from its journal, recordings as files, and going on where a run failed.

use axum::body::Body;
use axum::http::Request;
use dacapo::backtest::file;
use dacapo::backtest::source::Original;
use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::harness::TestApp;
use crate::network::{Site, allow, answer};

const SECRET: &str = "open-sesame-7431";

/// A shop: it says prices, and takes mails.
struct Shop {
    app: TestApp,
    prices: Site,
    mails: Site,
}

impl Shop {
    /// With these answers to mails.
    async fn open(mails: impl IntoIterator<Item = String>) -> Self {
        let app = TestApp::start().await;
        allow(&app, &["127.0.0.1"]).await;
        let variables = "/api/v1/projects/proj_default/envvars/dev";
        app.post(variables, json!({ "name": "PRICE_KEY", "value": SECRET })).await.ok();
        app.deploy(guests::MEND_V1).await;
        let prices = answer("200 OK", "set-cookie: crumbs-8812\r\nlocation: /?token=tk-551\r\n", "42");
        Self { app, prices: Site::start([prices]).await, mails: Site::start(mails).await }
    }

    fn order(&self, kind: &str) -> Value {
        json!({ "kind": kind, "price": self.prices.url("127.0.0.1"), "mail": self.mails.url("127.0.0.1") })
    }

    /// Orders something, once; the id of the run, which has ended so.
    async fn ordered(&self, kind: &str, status: &str) -> String {
        let run = self.app.trigger_with("mend", self.order(kind), json!({ "maxAttempts": 1 })).await;
        let ended = self.app.finished(&run).await;
        assert_eq!(ended["status"], status, "{ended}");
        run
    }

    /// Requests for prices and mails so far.
    fn asked(&self) -> (usize, usize) {
        (self.prices.requests().len(), self.mails.requests().len())
    }

    async fn rerun(&self, run: &str) -> Value {
        self.app.post_empty(&format!("/api/v1/runs/{run}/rerun?steps=true")).await.ok()
    }

    async fn recording(&self, run: &str, query: &str) -> String {
        self.app.get(&format!("/api/v1/runs/{run}/recording{query}")).await.ok().to_string()
    }
}

fn fine() -> String {
    answer("200 OK", "", "thanks")
}

fn contains(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|window| window == part.as_bytes())
}

#[tokio::test]
async fn a_run_is_executed_again_exactly_and_nobody_is_asked() {
    let shop = Shop::open([fine()]).await;
    let run = shop.ordered("book", "COMPLETED").await;
    assert_eq!(shop.asked(), (1, 1));
    shop.app.deploy(guests::MEND_V2).await;

    let again = shop.rerun(&run).await;
    assert_eq!((&again["same"], &again["end"]), (&json!(true), &json!({ "kind": "completed" })), "{again}");
    assert_eq!(
        (again["version"].as_str(), again.get("mismatch")),
        (shop.app.run(&run).await["version"].as_str(), None)
    );
    let steps = again["steps"].as_array().unwrap();
    assert_eq!(steps.len() as u64, again["calls"].as_u64().unwrap());
    let step = |call: &str| steps.iter().find(|step| step["call"].as_str().unwrap().starts_with(call)).unwrap();
    assert!(step("http GET http://127.0.0.1:")["arguments"].as_str().unwrap().contains("x-api-key: [redacted]"));
    assert_eq!(step("incoming-body.read")["answer"], "42");
    assert!(!again.to_string().contains(SECRET), "steps show no secrets: {again}");
    assert_eq!(shop.asked(), (1, 1), "nobody was asked again");
    assert_eq!(shop.app.all_runs("").await.len(), 1, "no run was made");

    let failed = shop.ordered("lost", "FAILED").await;
    let again = shop.rerun(&failed).await;
    assert_eq!((&again["same"], &again["end"]["name"]), (&json!(true), &json!("Lost")), "{again}");
    shop.app.get("/api/v1/runs/run_00000000000000000000000000/recording").await.error(404);
    shop.app.post_empty(&format!("/api/v1/runs/{run}/rerun?steps=perhaps")).await.error(400);
}

#[tokio::test]
async fn a_crash_is_seen_again_with_the_functions_it_happened_in() {
    let shop = Shop::open([fine()]).await;
    let run = shop.ordered("gift", "CRASHED").await;
    let again = shop.rerun(&run).await;
    assert_eq!((&again["same"], &again["end"]["kind"]), (&json!(true), &json!("crash")), "{again}");
    assert!(again["end"]["message"].as_str().unwrap().contains("no idea what a gift costs"), "{again}");
    assert!(again["stack"].as_str().unwrap().contains("mend_v1::order"), "{again}");
}

#[tokio::test]
async fn a_recording_is_a_file_and_secrets_are_left_out_unless_asked_for() {
    let shop = Shop::open([fine()]).await;
    let options = json!({ "tags": [SECRET], "idempotencyKey": SECRET });
    let run = shop.app.trigger_with("mend", shop.order("book"), options).await;
    assert_eq!(shop.app.finished(&run).await["status"], "COMPLETED");
    let whole = file::read(&shop.recording(&run, "?secrets=true").await).unwrap();
    assert!(!whole.is_redacted && whole.source.context.run.id == run);
    let secrets = [SECRET, "crumbs-8812", "tk-551"];
    assert!(secrets.iter().all(|secret| contains(&whole.journal, secret)), "all that it was told is in the file");
    let redacted = file::read(&shop.recording(&run, "").await).unwrap();
    assert!(redacted.is_redacted);
    for secret in secrets {
        assert!(!contains(&redacted.journal, secret), "{secret}");
    }
    let told = |original: &Original| original.source.recording.context.clone().unwrap().run;
    assert_eq!((&*told(&whole).tags[0], &*told(&redacted).tags[0]), (SECRET, "[redacted]"));
    assert_eq!(told(&redacted).id, run);
    assert_eq!(redacted.source.recording.len(), whole.source.recording.len());
    assert_eq!(redacted.source.observed.end, whole.source.observed.end);
    assert_eq!(redacted.source.observed.effects, whole.source.observed.effects);

    let text = shop.recording(&run, "?secrets=true").await;
    let problem = |from: &str, to: &str| file::read(&text.replacen(from, to, 1)).unwrap_err().to_string();
    assert!(problem("\"format\":1", "\"format\":2").contains("has the format 2"));
    assert!(problem("\"component\":\"", "\"component\":\"x").starts_with("`component`: not a SHA-256"));
    assert!(problem("\"journal\":\"", "\"journal\":\"AAAA").starts_with("`journal`: "));
    assert!(file::read("{}").unwrap_err().to_string().starts_with("it is no recording file: "));
    assert!(shop.app.get(&format!("/api/v1/runs/{run}/recording?redact=true")).await.error(400).contains("secrets"));
    // A token that reads this run does not open what it was told.
    let app = &shop.app;
    let claims = json!({ "scopes": [format!("read:runs:{run}")] });
    let token = app.post("/api/v1/auth/public-tokens", claims).await;
    if let Some(token) = token.json["token"].as_str() {
        let answer = app.send(token, Request::get(format!("/api/v1/runs/{run}/recording")), Body::empty()).await;
        assert!(answer.status.is_client_error(), "{answer:?}");
    }
}

#[tokio::test]
async fn a_failed_run_goes_on_where_it_failed() {
    // The first mail gets no answer at all.
    let shop = Shop::open([String::new(), fine()]).await;
    let failed = shop.ordered("book", "FAILED").await;
    assert_eq!(shop.asked(), (1, 1));
    let path = format!("/api/v1/runs/{failed}/replay");
    // One that is canceled before it begins has done nothing, and is in nobody's way.
    let queue = |action: &str| json!({ "type": "task", "action": action });
    shop.app.post("/api/v1/queues/mend/pause", queue("pause")).await.ok();
    let canceled = shop.app.post(&path, json!({ "fromFailure": true })).await.ok();
    shop.app.post(&path, json!({ "fromFailure": true })).await.error(409);
    let cancel = format!("/api/v2/runs/{}/cancel", canceled["id"].as_str().unwrap());
    shop.app.post_empty(&cancel).await.ok();
    shop.app.post("/api/v1/queues/mend/pause", queue("resume")).await.ok();
    let receipt = shop.app.post(&path, json!({ "fromFailure": true })).await.ok();
    let new = receipt["id"].as_str().unwrap();
    let ended = shop.app.finished(new).await;
    assert_eq!(ended["status"], "COMPLETED", "{ended}");
    assert_eq!(shop.asked(), (1, 2), "the price is not asked for again, and the mail goes out");
    assert_eq!((&ended["output"]["price"], &ended["output"]["run"]), (&json!("42"), &json!(new)));
    assert_eq!((&ended["isReplay"], &ended["replayedFrom"]), (&json!(true), &json!(failed)));
    assert_eq!(ended["metadata"]["price"], "42", "what it had done to its metadata is there");
    let again = shop.rerun(new).await;
    assert_eq!(again["same"], true, "its journal is whole: {again}");

    shop.app.post(&format!("/api/v1/runs/{new}/replay"), json!({ "fromFailure": true })).await.error(422);
    for body in [json!({ "fromFailure": true, "payload": 1 }), json!({ "fromFailure": true, "maxAttempts": 2 })] {
        shop.app.post(&path, body).await.error(422);
    }
    shop.app.post(&path, json!({ "fromFailure": true, "mode": "sandbox" })).await.error(400);
    shop.app.post(&path, json!({ "force": true })).await.error(400);
    assert_eq!(shop.app.all_runs("").await.len(), 3);

    let why = shop.app.post(&path, json!({ "fromFailure": true })).await.error(409);
    assert!(why.contains(new) && why.contains("`force`"), "{why}");
    assert_eq!((shop.asked(), shop.app.all_runs("").await.len()), ((1, 2), 3), "nothing was done");
    let forced = shop.app.post(&path, json!({ "fromFailure": true, "force": true })).await.ok();
    assert_eq!(shop.app.finished(forced["id"].as_str().unwrap()).await["status"], "COMPLETED");
    assert_eq!(shop.asked(), (1, 3));
}

/// Does these steps, the last of which fails, and goes on from the failure: where, and the new run, which has ended.
async fn goes_on(app: &TestApp, mut steps: Vec<Value>) -> (Value, Value) {
    steps.push(json!({ "fail": "no" }));
    let failed = app.trigger_with("script", json!(steps), json!({ "maxAttempts": 1 })).await;
    assert_eq!(app.finished(&failed).await["status"], "FAILED");
    let receipt = app.post(&format!("/api/v1/runs/{failed}/replay"), json!({ "fromFailure": true })).await.ok();
    (receipt["goesOn"].clone(), app.finished(receipt["id"].as_str().unwrap()).await)
}

#[tokio::test]
async fn the_failing_call_is_the_one_with_the_last_bad_news() {
    let app = TestApp::start().await;
    app.deploy(guests::SCRIPT).await;
    allow(&app, &["127.0.0.1"]).await;
    let get = |site: &Site| json!({ "http": site.url("127.0.0.1") });
    let broken = || answer("500 Oops", "", "");
    let fine = || Site::saying("fine");

    // What follows the news is only about the run itself.
    let site = Site::start([broken(), answer("200 OK", "", "well")]).await;
    let (place, _) = goes_on(&app, vec![get(&site), json!({ "tags": ["t"] }), json!({ "metadata": { "a": 1 } })]).await;
    let name = site.url("127.0.0.1").replace("/page?q=1", "");
    assert_eq!((&place["name"], &place["answer"]), (&json!(format!("http GET {name}")), &json!("500")));
    assert_eq!(site.requests().len(), 2, "it was asked again");

    // A child that failed is triggered again, and what came before is not done again.
    let other = fine().await;
    let leaf = json!({ "child": { "task": "leaf", "payload": { "fail": "a leaf falls" } } });
    let (place, _) = goes_on(&app, vec![get(&other), leaf.clone()]).await;
    assert_eq!(place["name"], "runs.trigger-and-wait(leaf)");
    assert!(place["answer"].as_str().unwrap().contains("a leaf falls"), "{place}");
    assert_eq!((other.requests().len(), app.all_runs("filter[taskIdentifier]=leaf").await.len()), (1, 2));

    // It had gone on after the news; but the code does not get any further with them.
    let (site, other) = (Site::start([broken(), answer("200 OK", "", "well")]).await, fine().await);
    let (place, _) = goes_on(&app, vec![get(&site), get(&other)]).await;
    assert_eq!((&place["answer"], site.requests().len(), other.requests().len()), (&json!("500"), 2, 2), "{place}");
}

#[tokio::test]
async fn a_run_that_crashed_goes_on_in_mended_code() {
    let shop = Shop::open([fine()]).await;
    let crashed = shop.ordered("gift", "CRASHED").await;
    assert_eq!(shop.asked(), (1, 0));
    let path = format!("/api/v1/runs/{crashed}/replay");
    let why = shop.app.post(&path, json!({ "fromFailure": true })).await.error(409);
    assert!(why.contains("no idea what a gift costs") && why.contains("nothing was done"), "{why}");
    assert_eq!((shop.asked(), shop.app.all_runs("").await.len()), ((1, 0), 1));

    let mended = shop.app.upload("mend", &std::fs::read(guests::MEND_V2).unwrap(), "&skipPromotion=true").await.ok();
    let version = mended["deployment"]["version"].as_str().unwrap();
    let receipt = shop.app.post(&path, json!({ "fromFailure": true, "version": version })).await.ok();
    let ended = shop.app.finished(receipt["id"].as_str().unwrap()).await;
    assert_eq!(ended["output"]["price"], "nothing", "{ended}");
    assert_eq!((&ended["version"], shop.asked()), (&json!(version), (1, 1)), "{ended}");
    assert_eq!(receipt["goesOn"].as_object().unwrap().len(), 1, "there were no bad news: {receipt}");
}

#[tokio::test]
async fn a_version_that_asks_otherwise_is_refused_and_nothing_is_done() {
    let shop = Shop::open([fine()]).await;
    let mut order = shop.order("gift");
    order["early"] = json!(true);
    let crashed = shop.app.trigger_with("mend", order, json!({ "maxAttempts": 1 })).await;
    assert_eq!(shop.app.finished(&crashed).await["status"], "CRASHED");
    shop.app.deploy(guests::MEND_V2).await;
    let path = format!("/api/v1/runs/{crashed}/replay");
    let why = shop.app.post(&path, json!({ "fromFailure": true })).await.error(409);
    assert!(why.contains("as call 2 the journal has `environment.get-environment`"), "{why}");
    assert_eq!((shop.asked(), shop.app.all_runs("").await.len()), ((1, 0), 1));
}
