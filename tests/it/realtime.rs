//! Realtime feeds, as the protocol has them: a snapshot, then news by long polling.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use dacapo::config::ServerArgs;
use dacapo::model::limits::MAX_FEED_BYTES;
use dacapo_tests::guests;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::harness::{Answer, PATIENCE, TestApp};
use crate::jwt::{claims, sign};

async fn with_echo() -> TestApp {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    app
}

/// A subscriber, as the client keeps it.
struct Feed {
    path: String,
    key: String,
    offset: String,
    handle: String,
}

impl Feed {
    /// Subscribes, and answers with the rows that there are.
    async fn open(app: &TestApp, path: &str) -> (Self, Vec<Value>) {
        Self::open_with(app, &app.key, path).await
    }

    async fn open_with(app: &TestApp, key: &str, path: &str) -> (Self, Vec<Value>) {
        let mut feed = Self { path: path.into(), key: key.into(), offset: "-1".into(), handle: String::new() };
        let answer = app.send(key, Request::get(feed.url("")), Body::empty()).await;
        for name in ["electric-schema", "electric-up-to-date"] {
            assert!(answer.headers.contains_key(name), "{name}: {answer:?}");
        }
        assert_eq!(answer.headers["electric-schema"], "{}");
        let rows = feed.take(answer);
        assert!(rows.iter().all(|row| row["operation"] == "insert"), "{rows:?}");
        (feed, rows)
    }

    fn url(&self, more: &str) -> String {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        let Self { path, offset, handle, .. } = self;
        let handle = if handle.is_empty() { String::new() } else { format!("&handle={handle}") };
        format!("{path}{separator}log=full&offset={offset}{handle}{more}")
    }

    /// The rows of an answer, after which the feed stands where it says.
    fn take(&mut self, answer: Answer) -> Vec<Value> {
        let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
        assert_eq!((header("content-type"), header("cache-control")), ("application/json".into(), "no-store".into()));
        (self.offset, self.handle) = (header("electric-offset"), header("electric-handle"));
        assert!(!header("electric-cursor").is_empty());
        let mut messages = answer.ok().as_array().expect("a list of messages").clone();
        assert_eq!(messages.pop(), Some(json!({ "headers": { "control": "up-to-date" } })));
        let row = |message: Value| {
            let mut row = message["value"].clone();
            assert_eq!(message["key"], format!(r#""public"."TaskRun"/"{}""#, row["id"].as_str().unwrap()));
            row["operation"] = message["headers"]["operation"].clone();
            row
        };
        messages.into_iter().map(row).collect()
    }

    /// Its place in the sequence of changes.
    fn number(&self) -> u64 {
        self.offset.strip_suffix("_0").unwrap().parse().unwrap()
    }

    /// Waits for news.
    async fn next(&mut self, app: &TestApp) -> Vec<Value> {
        let request = Request::get(self.url("&live=true&cursor=1"));
        let answer = tokio::time::timeout(PATIENCE, app.send(&self.key, request, Body::empty())).await;
        self.take(answer.expect("a held request is answered"))
    }

    /// Follows one run until it has ended, and answers with its last row and every status seen.
    async fn follow_to_the_end(&mut self, app: &TestApp, mut rows: Vec<Value>) -> (Value, Vec<String>) {
        let mut seen = Vec::new();
        loop {
            for row in rows {
                seen.push(row["status"].as_str().unwrap().to_owned());
                if !row["completedAt"].is_null() {
                    return (row, seen);
                }
            }
            rows = self.next(app).await;
        }
    }
}

fn batch_feed(batch: &str) -> String {
    format!("/realtime/v1/batches/{batch}")
}

#[tokio::test]
async fn a_run_is_followed_to_its_end() {
    let app = with_echo().await;
    let options = json!({ "delay": "1h", "tags": ["a"], "metadata": { "m": 1 }, "test": true });
    let run = app.trigger_with("echo", json!({ "n": 1 }), options).await;
    let path = format!("/realtime/v1/runs/{run}");
    let (mut feed, rows) = Feed::open(&app, &path).await;
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0]["friendlyId"], &rows[0]["status"]), (&json!(run), &json!("DELAYED")));

    app.app().advance(Duration::from_secs(3_601));
    let (last, _) = feed.follow_to_the_end(&app, rows).await;

    assert_eq!((&last["status"], &last["operation"]), (&json!("COMPLETED_SUCCESSFULLY"), &json!("update")));
    assert_eq!(
        (&last["taskIdentifier"], &last["isTest"], &last["runTags"]),
        (&json!("echo"), &json!(true), &json!(["a"]))
    );
    assert_eq!((&last["payload"], &last["metadata"]), (&json!(r#"{"n":1}"#), &json!(r#"{"m":1}"#)));
    assert!(last["output"].as_str().unwrap().contains(&run), "{last}");
    for column in ["createdAt", "updatedAt", "startedAt", "completedAt"] {
        let text = last[column].as_str().unwrap();
        assert!(!text.ends_with('Z') && text.len() == "2026-01-02T03:04:05.678".len(), "{column}: {text}");
    }
    let (_, again) = Feed::open(&app, &path).await;
    assert_eq!((&again[0]["status"], again.len()), (&last["status"], 1), "who comes late sees the end");
    let (_, short) = Feed::open(&app, &format!("{path}?skipColumns=payload,output,friendlyId,updatedAt")).await;
    assert!(short[0].get("payload").is_none() && short[0].get("output").is_none());
    assert!(short[0]["friendlyId"].is_string() && short[0]["updatedAt"].is_string(), "the client needs these");
}

#[tokio::test]
async fn a_change_between_two_polls_is_not_missed() {
    let app = with_echo().await;
    let run = app.trigger_with("echo", json!(1), json!({ "delay": "1h", "tags": ["t"] })).await;
    let (mut one, _) = Feed::open(&app, &format!("/realtime/v1/runs/{run}")).await;
    let (mut tagged, _) = Feed::open(&app, "/realtime/v1/runs?tags=t").await;
    assert_eq!(app.app().watched_topics(), 0, "between two polls nothing is held");

    app.post_empty(&format!("/api/v2/runs/{run}/cancel")).await.ok();
    let other = app.trigger_with("echo", json!(1), json!({ "delay": "1h", "tags": ["t"] })).await;

    let rows = one.next(&app).await;
    assert_eq!((&rows[0]["status"], rows.len()), (&json!("CANCELED"), 1));
    let rows = tagged.next(&app).await;
    assert_eq!(rows.iter().map(|row| row["id"].clone()).collect::<Vec<_>>(), [json!(run), json!(other)]);
    let catch_up = app.get(&one.url("")).await;
    assert_eq!(one.take(catch_up), Vec::<Value>::new(), "without `live`, nothing new is an answer");
}

#[tokio::test]
async fn every_end_has_its_time() {
    let app = TestApp::start().await;
    for guest in [guests::ECHO_V1, guests::FAIL, guests::TRAP, guests::SLEEP] {
        app.deploy(guest).await;
    }
    let canceled = app.trigger_with("echo", json!(1), json!({ "delay": "1h" })).await;
    let executing = app.trigger("sleep", json!({ "ms": 600_000 })).await;
    let expired = app.trigger_with("nobody-has-it", json!(1), json!({ "ttl": "10s" })).await;
    app.until_status(&executing, "EXECUTING").await;
    app.app().advance(Duration::from_secs(11));
    for run in [&canceled, &executing] {
        app.post_empty(&format!("/api/v2/runs/{run}/cancel")).await.ok();
    }
    let completed = app.trigger("echo", json!(1)).await;
    let failed = app.trigger("fail", json!({ "retry": "never", "message": "no mugs" })).await;
    let crashed = app.trigger("trap", json!({})).await;
    for (run, status) in [
        (completed, "COMPLETED_SUCCESSFULLY"),
        (failed, "COMPLETED_WITH_ERRORS"),
        (crashed, "CRASHED"),
        (canceled, "CANCELED"),
        (executing, "CANCELED"),
        (expired, "EXPIRED"),
    ] {
        let (mut feed, rows) = Feed::open(&app, &format!("/realtime/v1/runs/{run}")).await;
        let (last, _) = feed.follow_to_the_end(&app, rows).await;
        assert_eq!(last["status"], status);
        assert_eq!(last["expiredAt"].is_string(), status == "EXPIRED", "{last}");
        assert_eq!(last["error"].is_object(), status != "COMPLETED_SUCCESSFULLY", "{last}");
    }
}

#[tokio::test]
async fn a_feed_of_tags_shows_the_runs_with_any_of_them() {
    let app = with_echo().await;
    let later = |tags: Value| json!({ "delay": "1h", "tags": tags });
    let a = app.trigger_with("echo", json!(1), later(json!(["a", "x"]))).await;
    app.trigger_with("echo", json!(1), later(json!(["x"]))).await;
    let (mut feed, rows) = Feed::open(&app, "/realtime/v1/runs?tags=a,b").await;
    assert_eq!(rows.iter().map(|row| row["id"].clone()).collect::<Vec<_>>(), [json!(a)]);
    app.trigger_with("echo", json!(1), later(json!(["x"]))).await;
    let b = app.trigger_with("echo", json!(1), later(json!(["b"]))).await;
    let rows = feed.next(&app).await;
    assert_eq!(rows.iter().map(|row| row["id"].clone()).collect::<Vec<_>>(), [json!(b)]);

    app.app().advance(Duration::from_secs(7_200));
    let (_, rows) = Feed::open(&app, "/realtime/v1/runs?tags=a,b&createdAt=1h").await;
    assert_eq!(rows, Vec::<Value>::new(), "both are older");
    for (query, why) in [
        ("", "`tags`"),
        ("?tags=,", "`tags`"),
        ("?tags=a&createdAt=soon", "`createdAt`"),
        ("?tags=a&offset=now", "`offset`"),
        ("?tags=a&offset=1_0&handle=zz", "`handle`"),
    ] {
        let text = app.get(&format!("/realtime/v1/runs{query}")).await.error(400);
        assert!(text.contains(why), "{query}: {text}");
    }
}

#[tokio::test]
async fn a_feed_of_a_batch_shows_its_runs() {
    let app = with_echo().await;
    let batch = app.post("/api/v3/batches", json!({ "runCount": 2 })).await.ok()["id"].as_str().unwrap().to_owned();
    let (mut feed, rows) = Feed::open(&app, &format!("/realtime/v1/batches/{batch}")).await;
    assert_eq!(rows, Vec::<Value>::new(), "an empty feed is one");
    let items = Request::post(format!("/api/v3/batches/{batch}/items")).header("content-type", "application/x-ndjson");
    let lines = [0, 1].map(|index| json!({ "index": index, "task": "echo", "payload": index }).to_string());
    app.send(&app.key, items, lines.join("\n")).await.ok();
    let mut ended = std::collections::BTreeSet::new();
    while ended.len() < 2 {
        let rows = feed.next(&app).await;
        ended.extend(rows.iter().filter(|row| row["completedAt"].is_string()).map(|row| row["id"].to_string()));
    }
    app.get("/realtime/v1/batches/batch_00000000000000000000000001").await.error(404);
    app.get("/realtime/v1/runs/run_00000000000000000000000001").await.error(404);
}

#[tokio::test]
async fn who_goes_away_leaves_nothing_behind_and_a_stop_answers_who_waits() {
    let mut app = with_echo().await;
    let run = app.trigger_with("echo", json!(1), json!({ "delay": "1h", "tags": ["t"] })).await;
    let (feed, _) = Feed::open(&app, &format!("/realtime/v1/runs/{run}")).await;
    let (tagged, _) = Feed::open(&app, "/realtime/v1/runs?tags=t").await;
    let held = |feed: &Feed| {
        let request = Request::get(feed.url("&live=true")).header("authorization", format!("Bearer {}", app.key));
        tokio::spawn(app.app().router().oneshot(request.body(Body::empty()).unwrap()))
    };
    let (one, two) = (held(&feed), held(&tagged));
    while app.app().watched_topics() < 2 {
        tokio::task::yield_now().await;
    }
    one.abort();
    assert!(one.await.unwrap_err().is_cancelled());
    assert_eq!(app.app().watched_topics(), 1, "only the other is watched");

    app.stop().await;

    let answer = tokio::time::timeout(Duration::from_secs(10), two).await.expect("a stop ends held requests");
    assert_eq!(answer.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn who_hears_nothing_goes_on_from_where_the_changes_are_by_then() {
    let app = TestApp::start_holding(Duration::from_secs(1)).await;
    let later = |tag: &str| json!({ "delay": "1h", "tags": [tag] });
    let mine = app.trigger_with("echo", json!(1), later("mine")).await;
    let batch = app.post("/api/v3/batches", json!({ "runCount": 2 })).await.ok()["id"].as_str().unwrap().to_owned();
    let paths = ["/realtime/v1/runs?tags=mine".into(), format!("/realtime/v1/runs/{mine}"), batch_feed(&batch)];
    for path in paths {
        let (mut feed, _) = Feed::open(&app, &path).await;
        let mut is_there = false;
        // On a busy machine a hold may end before the others are done.
        for _ in 0..20 {
            let others = async {
                while app.app().watched_topics() == 0 {
                    tokio::task::yield_now().await;
                }
                app.trigger_with("echo", json!(1), later("theirs")).await;
                Feed::open(&app, "/realtime/v1/runs?tags=none").await.0.number()
            };
            let (rows, by_then) = tokio::join!(feed.next(&app), others);
            assert_eq!(rows, Vec::<Value>::new(), "{path}: nothing of it has changed");
            is_there = feed.number() == by_then;
            if is_there {
                break;
            }
        }
        assert!(is_there, "{path}: the position must be that of the end of the hold");
    }
}

#[tokio::test]
async fn a_batch_shows_the_runs_that_its_items_found() {
    let app = with_echo().await;
    let keyed = |key: &str| json!({ "delay": "1h", "idempotencyKey": key, "idempotencyKeyTTL": "1d" });
    let older = app.trigger_with("echo", json!("older"), keyed("one")).await;
    let announce =
        async || app.post("/api/v3/batches", json!({ "runCount": 3 })).await.ok()["id"].as_str().unwrap().to_owned();
    let send = async |batch: &str, options: &[Value]| {
        let items = Request::post(format!("/api/v3/batches/{batch}/items"));
        let items = items.header("content-type", "application/x-ndjson");
        let line = |(index, options)| json!({ "index": index, "task": "echo", "options": options }).to_string();
        let lines: Vec<String> = options.iter().enumerate().map(line).collect();
        app.send(&app.key, items, lines.join("\n")).await.ok();
    };
    let (first, second) = (announce().await, announce().await);
    send(&first, &[keyed("two")]).await;
    let of_first = app.get(&format!("/api/v2/batches/{first}")).await.ok()["runs"][0].as_str().unwrap().to_owned();
    let environment = app.post_empty("/api/v1/auth/jwt/claims").await.ok()["sub"].clone();
    let scopes = format!("read:batch:{second}");
    let said = claims(&environment, &[&scopes], dacapo::clock::Clock::system().now().as_millisecond());
    let token = sign(&app.key, &said);
    let (mut feed, rows) = Feed::open_with(&app, &token, &batch_feed(&second)).await;
    assert_eq!(rows, Vec::<Value>::new());

    send(&second, &[keyed("one"), keyed("two"), keyed("three")]).await;

    let runs = app.get(&format!("/api/v2/batches/{second}")).await.ok()["runs"].clone();
    assert_eq!((&runs[0], &runs[1]), (&json!(older), &json!(of_first)));
    let mut known: Vec<&str> = runs.as_array().unwrap().iter().map(|run| run.as_str().unwrap()).collect();
    known.sort_unstable();
    let names = |rows: &[Value]| rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&feed.next(&app).await), known, "they are news");
    assert_eq!(names(&Feed::open_with(&app, &token, &batch_feed(&second)).await.1), known);
    let listed = app.get(&format!("/api/v1/runs?filter[batch]={second}")).await.ok();
    known.reverse();
    assert_eq!(names(listed["data"].as_array().unwrap()), known);
    let change = async {
        while app.app().watched_topics() == 0 {
            tokio::task::yield_now().await;
        }
        app.post_empty(&format!("/api/v2/runs/{older}/cancel")).await.ok();
    };
    let (rows, ()) = tokio::join!(feed.next(&app), change);
    assert_eq!((names(&rows), &rows[0]["status"]), (vec![older], &json!("CANCELED")), "and what becomes of them");
}

#[tokio::test]
async fn a_feed_of_many_has_as_many_bytes_as_an_answer_may_have() {
    let app = with_echo().await;
    app.deploy(guests::FAIL).await;
    let text = |row: &Value, name: &str| row[name].as_str().map_or(0, str::len);
    let mut runs = Vec::new();
    for _ in 0..34 {
        let options = json!({ "delay": "1h", "tags": ["t"], "metadata": { "m": "x".repeat(250_000) } });
        runs.push(app.trigger_with("echo", json!(1), options).await);
    }
    let long = json!({ "retry": "never", "message": "m".repeat(60_000) });
    for _ in 0..10 {
        let failed = app.trigger_with("fail", long.clone(), json!({ "tags": ["t"] })).await;
        app.finished(&failed).await;
        runs.push(failed);
    }

    let (_, rows) = Feed::open(&app, "/realtime/v1/runs?tags=t").await;

    assert_eq!(rows.iter().map(|row| row["id"].as_str().unwrap()).collect::<Vec<_>>(), runs, "every run is there");
    let of_metadata: usize = rows.iter().map(|row| text(row, "metadata")).sum();
    let of_messages: usize = rows.iter().map(|row| text(&row["error"], "message")).sum();
    let of_payloads: usize = rows.iter().map(|row| text(row, "payload")).sum();
    let bytes = of_metadata + of_messages + of_payloads;
    assert!((MAX_FEED_BYTES - 250_100..=MAX_FEED_BYTES + (384 << 10)).contains(&bytes), "{bytes}");
    assert!(of_metadata >= 33 * 250_000 && of_messages < 10 * 60_000, "{of_metadata} {of_messages}");
}

#[tokio::test]
async fn nothing_is_missed_between_holds_that_end() {
    const RUNS: usize = 40;
    let app = TestApp::start_holding(Duration::ZERO).await;
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(app.trigger_with("echo", json!(1), json!({ "delay": "1h", "tags": ["t"] })).await);
    }
    let (mut feed, _) = Feed::open(&app, "/realtime/v1/runs?tags=t").await;
    let cancel = async {
        for run in &runs {
            app.post_empty(&format!("/api/v2/runs/{run}/cancel")).await.ok();
        }
    };
    let hear = async {
        let mut heard = std::collections::BTreeSet::new();
        while heard.len() < RUNS {
            let rows = feed.next(&app).await;
            heard.extend(rows.iter().filter(|row| row["status"] == "CANCELED").map(|row| row["id"].to_string()));
        }
    };
    let both = async { tokio::join!(cancel, hear) };
    tokio::time::timeout(PATIENCE, both).await.expect("every change is heard of");
}

#[tokio::test]
async fn after_a_restart_a_feed_begins_again() {
    let app = TestApp::start_with(ServerArgs::default()).await;
    app.deploy(guests::ECHO_V1).await;
    let run = app.trigger_with("echo", json!(1), json!({ "delay": "1h", "tags": ["t"] })).await;
    for path in [format!("/realtime/v1/runs/{run}"), "/realtime/v1/runs?tags=t".into()] {
        let (feed, _) = Feed::open(&app, &path).await;
        let unknown = Feed { handle: "0000000000000001".into(), ..feed };
        let answer = app.get(&unknown.url("&live=true")).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json),
            (409, &json!([{ "headers": { "control": "must-refetch" } }]))
        );
        assert_ne!(answer.headers["electric-handle"], "0000000000000001");
    }
}

#[tokio::test]
async fn a_token_sees_what_its_scopes_open() {
    let app = with_echo().await;
    let environment = app.post_empty("/api/v1/auth/jwt/claims").await.ok()["sub"].clone();
    let later = |tags: Value| json!({ "delay": "1h", "tags": tags });
    let mine = app.trigger_with("echo", json!(1), later(json!(["mine"]))).await;
    let theirs = app.trigger_with("echo", json!(1), later(json!(["theirs"]))).await;
    let mut said = claims(&environment, &["read:tags:mine"], dacapo::clock::Clock::system().now().as_millisecond());
    said["realtime"] = json!({ "skipColumns": ["payload"] });
    let token = sign(&app.key, &said);

    let (_, rows) = Feed::open_with(&app, &token, &format!("/realtime/v1/runs/{mine}")).await;
    assert!(rows[0].get("payload").is_none() && rows[0]["status"] == "DELAYED", "{rows:?}");
    let (mut feed, rows) = Feed::open_with(&app, &token, "/realtime/v1/runs?tags=mine,theirs").await;
    assert_eq!(rows.iter().map(|row| row["id"].clone()).collect::<Vec<_>>(), [json!(mine)], "and no others");
    for run in [&theirs, &mine] {
        app.post_empty(&format!("/api/v2/runs/{run}/cancel")).await.ok();
    }
    let rows = feed.next(&app).await;
    assert_eq!(rows.iter().map(|row| row["id"].clone()).collect::<Vec<_>>(), [json!(mine)], "also of what is new");
    for path in [format!("/realtime/v1/runs/{theirs}"), "/realtime/v1/runs?tags=theirs".into()] {
        app.send(&token, Request::get(&path), Body::empty()).await.error(403);
    }
}
