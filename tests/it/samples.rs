//! The sample tasks do what their comments say.

use std::time::Duration;

use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, TestApp};
use crate::network::{Site, allow, answer};

async fn app_with(guest: &str) -> TestApp {
    let app = TestApp::start().await;
    app.deploy(guest).await;
    app
}

fn id(run: &Value) -> &str {
    run["id"].as_str().expect("a run has an id")
}

#[tokio::test]
async fn hello_greets() {
    let app = app_with(guests::SAMPLE_HELLO).await;
    let run = app.call("hello", json!({ "name": "Ada" })).await;
    assert_eq!(run["output"], "Hello, Ada!", "{run}");
    assert_eq!(app.logs(id(&run)).await, [("info".to_owned(), "greeting Ada".to_owned())]);
}

#[tokio::test]
async fn six_orders_fail_on_the_first_version_and_none_of_their_replays_on_the_second() {
    let orders = concat!(env!("CARGO_MANIFEST_DIR"), "/../sample-tasks/orders.json");
    let orders: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(orders).expect("a file")).expect("JSON");
    assert_eq!(orders.len(), 20);
    let app = TestApp::start().await;
    let first = std::fs::read(guests::SAMPLE_ORDER_IMPORTER_V1).expect("the sample was built");
    let second = std::fs::read(guests::SAMPLE_ORDER_IMPORTER_V2).expect("the sample was built");
    app.upload("order-importer", &first, "").await.ok();
    let mut runs = Vec::new();
    for order in &orders {
        runs.push(app.trigger("import-order", order.clone()).await);
    }
    let mut failed = Vec::new();
    for (run, order) in runs.iter().zip(&orders) {
        let run = app.finished(run).await;
        if run["isSuccess"] == true {
            assert_eq!(run["output"]["order"], order["id"]);
        } else {
            assert!(!run["error"]["message"].as_str().unwrap_or_default().is_empty(), "{run}");
            failed.push((run, order));
        }
    }
    assert_eq!(failed.len(), 6, "{failed:#?}");

    let receipt = app.upload("order-importer", &second, "").await.ok();
    for (source, order) in failed {
        let replay = app.replay(id(&source)).await;
        let replay = app.finished(&replay).await;
        assert_eq!(replay["status"], "COMPLETED", "{replay}");
        assert_eq!(replay["output"]["order"], order["id"]);
        assert!(replay["output"]["totalCents"].as_i64() > Some(0), "{replay}");
        assert_eq!(replay["replayedFrom"], source["id"]);
        assert_eq!(replay["version"], receipt["deployment"]["version"]);
    }
}

#[tokio::test]
async fn fetch_page_tries_again_when_the_site_is_not_ready() {
    let app = app_with(guests::SAMPLE_FETCH_RETRY).await;
    allow(&app, &["127.0.0.1"]).await;
    let busy = || answer("503 Service Unavailable", "", "busy");
    let site = Site::start([busy(), busy(), answer("200 OK", "", "twelve bytes")]).await;

    let run = app.call("fetch-page", json!({ "url": site.url("127.0.0.1") })).await;

    assert_eq!(run["output"], json!({ "status": 200, "length": 12 }), "{run}");
    assert_eq!(run["attemptCount"], 3);
    assert_eq!(site.requests().len(), 3);
    let log = app.logs(id(&run)).await;
    let levels: Vec<&str> = log.iter().map(|(level, _)| level.as_str()).collect();
    assert_eq!(levels, ["warn", "warn", "info"], "{log:?}");
    assert!(log[0].1.starts_with("status 503 from http://127.0.0.1:"), "{log:?}");
}

#[tokio::test]
async fn fetch_page_gives_up_at_once_when_the_page_is_not_there() {
    let app = app_with(guests::SAMPLE_FETCH_RETRY).await;
    allow(&app, &["127.0.0.1"]).await;
    let site = Site::start([answer("404 Not Found", "", "nothing here")]).await;

    let run = app.call("fetch-page", json!({ "url": site.url("127.0.0.1") })).await;

    assert_eq!(run["status"], "FAILED", "{run}");
    assert_eq!(run["attemptCount"], 1);
    assert_eq!(site.requests().len(), 1);
    let message = run["error"]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("status 404 from http://127.0.0.1:"), "{run}");
    assert_eq!(run["error"]["name"], "HttpError");
}

#[tokio::test]
async fn csv_report_writes_and_sums_up_a_file() {
    let app = app_with(guests::SAMPLE_CSV_REPORT).await;
    let rows = json!([{ "label": "a \"b\"", "amount": 1.5 }, { "label": "c, d", "amount": 2 }]);
    let run = app.call("csv-report", json!({ "title": "March", "rows": rows })).await;

    assert_eq!(run["output"]["summary"], json!({ "title": "March", "rows": 2, "sum": 3.5 }), "{run}");
    assert_eq!(run["output"]["csv"], "label,amount\n\"a \"\"b\"\"\",1.5\n\"c, d\",2\n");
    let log = app.logs(id(&run)).await;
    let messages: Vec<&str> = log.iter().map(|(_, message)| message.as_str()).collect();
    assert_eq!(messages, ["write", "sum", "wrote /scratch/report.csv"]);
}

#[tokio::test]
async fn nightly_cleanup_deletes_what_is_older_than_30_days() {
    let app = TestApp::start().await;
    let receipt = app.deploy(guests::SAMPLE_NIGHTLY_CLEANUP).await;
    let task = &receipt["deployment"]["tasks"][0];
    assert_eq!((&task["cron"], &task["timezone"]), (&json!("15 3 * * *"), &json!("Europe/Berlin")));

    let files = json!([
        { "name": "old.log", "modified": "2026-10-21" },
        { "name": "edge.log", "modified": "2026-10-22T08:00:00Z" },
        { "name": "new.log", "modified": "2026-11-20" },
    ]);
    let payload = json!({ "timestamp": "2026-11-21T02:15:00.000Z", "files": files });
    let run = app.call("nightly-cleanup", payload).await;

    assert_eq!(run["output"], json!({ "deleted": ["old.log"], "kept": 2 }), "{run}");
    assert_eq!(app.logs(id(&run)).await, [("info".to_owned(), "deleting old.log".to_owned())]);
    let nothing = app.call("nightly-cleanup", Value::Null).await;
    assert_eq!(nothing["output"], json!({ "deleted": [], "kept": 0 }), "{nothing}");
}

#[tokio::test]
async fn crunch_counts_primes_and_shows_its_progress() {
    let app = app_with(guests::SAMPLE_CRUNCH).await;
    let run = app.call("crunch", json!({ "limit": 100_000 })).await;
    assert_eq!(run["output"], json!({ "limit": 100_000, "primes": 9_592 }), "{run}");
    assert_eq!(run["metadata"]["progress"].as_f64(), Some(1.0));
    assert_eq!(run["metadata"]["primes"], 9_592);
    assert_eq!(app.logs(id(&run)).await, [("info".to_owned(), "counted to 100000".to_owned())]);
}

const DAY: Duration = Duration::from_secs(24 * 3600);

#[tokio::test]
async fn approval_asks_and_waits_for_whoever_answers() {
    let app = app_with(guests::SAMPLE_APPROVAL).await;
    allow(&app, &["127.0.0.1"]).await;
    let chat = Site::saying("thanks").await;
    let expense = json!({ "what": "a boat", "cents": 1, "askAt": chat.url("127.0.0.1") });
    let run = app.trigger("approval", expense).await;
    let waiting = app.until_status(&run, "WAITING").await;
    let token = waiting["metadata"]["token"].as_str().expect("the token's id").to_owned();
    assert!(chat.requests()[0].contains(&format!("/api/v1/waitpoints/tokens/{token}/callback/")));

    let answer = json!({ "data": { "approved": true, "by": "Ada" } });
    app.post(&format!("/api/v1/waitpoints/tokens/{token}/complete"), answer).await.ok();

    assert_eq!(app.finished(&run).await["output"], json!({ "approved": true, "by": "Ada" }));
    assert_eq!(chat.requests().len(), 1);
}

#[tokio::test]
async fn approval_is_a_no_after_a_week() {
    let app = app_with(guests::SAMPLE_APPROVAL).await;
    let run = app.trigger("approval", json!({ "what": "a boat", "cents": 1 })).await;
    app.until_status(&run, "WAITING").await;

    app.app().advance(7 * DAY);

    assert_eq!(app.finished(&run).await["output"], json!({ "approved": false, "by": null }));
}

#[tokio::test]
async fn fan_out_counts_with_a_hundred_children() {
    let app = app_with(guests::SAMPLE_FAN_OUT).await;
    let run = app.call("fan-out", json!(10_000)).await;

    assert_eq!(run["output"], json!({ "limit": 10_000, "primes": 1_229, "children": 100 }), "{run}");
    let done = run["metadata"]["done"].as_f64().expect("a number");
    assert!((done - 1.0).abs() < 1e-9, "every child has counted itself: {done}");
    let children = app.get("/api/v1/runs?filter[taskIdentifier]=count-primes&page[size]=100").await.ok();
    assert_eq!(children["data"].as_array().map(Vec::len), Some(100));
}

#[tokio::test]
async fn drip_sends_three_mails_in_four_days() {
    let app = app_with(guests::SAMPLE_DRIP).await;
    allow(&app, &["127.0.0.1"]).await;
    let mailer = Site::saying("sent").await;
    let customer = json!({ "address": "ada@example.com", "mailer": mailer.url("127.0.0.1") });
    let run = app.trigger("drip", customer).await;
    for (day, days) in [(1, 1), (2, 3)] {
        sent(&app, &run, day).await;
        app.app().advance(DAY * days);
    }

    let run = app.finished(&run).await;
    assert_eq!(run["output"], json!({ "sent": 3, "unsubscribed": false }), "{run}");
    assert_eq!(run["metadata"]["sent"], json!(["welcome", "first-steps", "offer"]));
    assert_eq!(mailer.requests().len(), 3);
}

#[tokio::test]
async fn drip_ends_for_who_unsubscribes() {
    let app = app_with(guests::SAMPLE_DRIP).await;
    let run = app.trigger("drip", json!({ "address": "ada@example.com" })).await;
    let waiting = sent(&app, &run, 1).await;
    let token = waiting["metadata"]["unsubscribe"].as_str().expect("the token's id").to_owned();

    app.post(&format!("/api/v1/waitpoints/tokens/{token}/complete"), json!({})).await.ok();

    assert_eq!(app.finished(&run).await["output"], json!({ "sent": 1, "unsubscribed": true }));
}

/// The run, once it has sent so many mails and waits for the next day.
async fn sent(app: &TestApp, run: &str, mails: usize) -> Value {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let seen = app.until_status(run, "WAITING").await;
        if seen["metadata"]["sent"].as_array().map_or(0, Vec::len) == mails {
            return seen;
        }
        assert!(tokio::time::Instant::now() < deadline, "mail {mails} was never sent: {seen}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn hooks_give_a_seat_back_whatever_goes_wrong() {
    let app = app_with(guests::SAMPLE_HOOKS).await;
    allow(&app, &["127.0.0.1"]).await;
    let seats = Site::saying("fine").await;
    let booking = |cents: i64| json!({ "seat": "12A", "cents": cents, "seats": seats.url("127.0.0.1") });

    let sold = app.call("book", booking(100)).await;
    assert_eq!(sold["output"], "ticket for 12A", "{sold}");
    told(&seats, &["reserve", "confirm"]).await;

    let failed = app.call("book", booking(-1)).await;
    assert_eq!(failed["error"]["name"], "InvalidAmount", "{failed}");
    told(&seats, &["reserve", "confirm", "reserve", "give-back"]).await;

    let canceled = app.trigger_with("book", booking(100), json!({ "delay": "1h" })).await;
    app.post_empty(&format!("/api/v2/runs/{canceled}/cancel")).await.ok();
    told(&seats, &["reserve", "confirm", "reserve", "give-back", "give-back"]).await;
}

/// Waits until the service was told to do these things, in this order.
async fn told(seats: &Site, expected: &[&str]) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let requests = seats.requests();
        let done: Vec<&str> =
            requests.iter().filter_map(|request| request.split(r#""do":""#).nth(1)?.split('"').next()).collect();
        if done == expected {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline && done.len() <= expected.len(), "{done:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
