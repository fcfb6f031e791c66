//! Streams of runs: written line by line, read as server-sent events, while they grow and after.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use dacapo_tests::guests;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::harness::{Answer, PATIENCE, TestApp};
use crate::jwt::{claims, sign};

/// A server with a run that has not ended.
async fn with_run() -> (TestApp, String) {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    let run = app.trigger_with("echo", json!(1), json!({ "delay": "1h" })).await;
    (app, run)
}

async fn write(app: &TestApp, run: &str, stream: &str, resume: &str, lines: &str) -> Answer {
    let request = Request::post(format!("/realtime/v1/streams/{run}/self/{stream}"));
    app.send(&app.key, request.header("x-resume-from-chunk", resume), lines.to_owned()).await
}

/// One who reads a stream.
pub struct Reader(Response, String);

impl Reader {
    /// Begins to read the stream at this path.
    pub async fn open(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut request = Request::get(path).header("authorization", format!("Bearer {}", app.key));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = app.app().router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        Self(response, String::new())
    }

    /// The next event: its number and its data. `None`: the stream has ended.
    pub async fn next(&mut self) -> Option<(u64, String)> {
        loop {
            while let Some((event, rest)) = self.1.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.1 = rest;
                if event == ": ping" {
                    continue;
                }
                let id = event.lines().find_map(|line| line.strip_prefix("id: ")).expect("an event has an id");
                let data: Vec<&str> = event.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
                return Some((id.split_once('-').unwrap().1.parse().unwrap(), data.join("\n")));
            }
            let frame = tokio::time::timeout(PATIENCE, self.0.body_mut().frame()).await.expect("something comes");
            let bytes = frame?.unwrap().into_data().unwrap();
            self.1.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// All further events.
    pub async fn rest(&mut self) -> Vec<(u64, String)> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }
}

#[tokio::test]
async fn a_stream_is_read_while_it_grows_and_ends_with_its_run() {
    let (app, run) = with_run().await;
    let opened = app.send(&app.key, Request::put(format!("/realtime/v1/streams/{run}/self/s")), Body::empty()).await;
    assert_eq!((opened.status.as_u16(), opened.json), (202, json!({ "version": "v1" })));
    let mut reader = Reader::open(&app, &format!("/realtime/v1/streams/{run}/s"), &[]).await;

    write(&app, &run, "s", "0", "{\"a\":1}\n\"two\"\n").await.ok();
    assert_eq!(reader.next().await, Some((0, r#"{"a":1}"#.into())));
    assert_eq!(reader.next().await, Some((1, r#""two""#.into())));
    let append = format!("/realtime/v1/streams/{run}/self/s/append");
    app.send(&app.key, Request::post(append), "plain\ntext").await.ok();
    assert_eq!(reader.next().await, Some((2, "plain\ntext".into())));
    write(&app, &run, "other", "0", "1\n").await.ok();
    let (_, rows) = (0, app.get(&format!("/realtime/v1/runs/{run}?offset=-1")).await.ok());
    assert_eq!(rows[0]["value"]["realtimeStreams"], json!(["other", "s"]));
    app.post_empty(&format!("/api/v2/runs/{run}/cancel")).await.ok();
    assert_eq!(reader.next().await, None);

    let path = format!("/realtime/v1/streams/{run}/s");
    assert_eq!(Reader::open(&app, &path, &[]).await.rest().await.len(), 3, "all of it, later");
    let resumed = Reader::open(&app, &path, &[("last-event-id", "1700000000000-1")]).await.rest().await;
    assert_eq!(resumed, [(2, "plain\ntext".into())]);
    assert_eq!(Reader::open(&app, &path, &[("last-event-id", "0")]).await.rest().await.len(), 2);
    let latest = Reader::open(&app, &path, &[("x-trigger-stream-start", "latest")]).await.rest().await;
    assert_eq!(latest, []);
    assert_eq!(app.app().watched_topics(), 0);
}

#[tokio::test]
async fn a_writer_resumes_without_repeating_itself() {
    let (app, run) = with_run().await;
    let last = async || {
        let request = Request::head(format!("/realtime/v1/streams/{run}/self/s"));
        let answer = app.send(&app.key, request, Body::empty()).await;
        answer.headers["x-last-chunk-index"].to_str().unwrap().to_owned()
    };
    assert_eq!(last().await, "-1");
    write(&app, &run, "s", "0", "0\n1\n2\n").await.ok();
    assert_eq!(last().await, "2");
    write(&app, &run, "s", "2", "2\n3\n").await.ok();
    assert_eq!(last().await, "3", "what was there is not stored again");
    write(&app, &run, "s", "1", "1\n2\n").await.ok();
    write(&app, &run, "s", "0", "\"another writer\"").await.ok();
    app.post_empty(&format!("/api/v2/runs/{run}/cancel")).await.ok();
    let all = Reader::open(&app, &format!("/realtime/v1/streams/{run}/s"), &[]).await.rest().await;
    let texts: Vec<String> = all.into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["0", "1", "2", "3", "\"another writer\""]);
}

#[tokio::test]
async fn something_is_said_to_a_run() {
    let (app, run) = with_run().await;
    let path = format!("/realtime/v1/streams/{run}/input/approval");
    let environment = app.post_empty("/api/v1/auth/jwt/claims").await.ok()["sub"].clone();
    let now = dacapo::clock::Clock::system().now().as_millisecond();
    let token = |scope: &str| sign(&app.key, &claims(&environment, &[scope], now));
    let say = async |bearer: &str, data: Value| {
        let request = Request::post(&path).header("content-type", "application/json");
        app.send(bearer, request, data.to_string()).await
    };
    assert_eq!(say(&app.key, json!({ "data": { "ok": [1] } })).await.ok(), json!({ "ok": true }));
    say(&token(&format!("write:inputStreams:{run}")), json!({ "data": "yes" })).await.ok();
    say(&token("read:runs"), json!({ "data": "no" })).await.error(403);
    let mut reader = Reader::open(&app, &path, &[]).await;
    assert_eq!(reader.next().await, Some((0, r#"{"ok":[1]}"#.into())));
    assert_eq!(reader.next().await, Some((1, r#""yes""#.into())));
    let mut same = Reader::open(&app, &format!("/realtime/v1/streams/{run}/$input%2Fapproval"), &[]).await;
    assert_eq!(same.next().await, Some((0, r#"{"ok":[1]}"#.into())));
    let shown = app.get(&format!("/realtime/v1/runs/{run}?offset=-1")).await.ok();
    assert_eq!(shown[0]["value"]["realtimeStreams"], json!([]), "it is not what the run says");
    app.post_empty(&format!("/api/v2/runs/{run}/cancel")).await.ok();
    assert!(say(&app.key, json!({ "data": 1 })).await.error(422).contains("has ended"));
}

#[tokio::test]
async fn what_cannot_be_a_stream_is_refused() {
    let (app, run) = with_run().await;
    let long = "x".repeat(129);
    assert!(write(&app, &run, "$input%2Fa", "0", "1").await.error(400).contains("name of a stream"));
    assert!(write(&app, &run, &long, "0", "1").await.error(400).contains("name of a stream"));
    assert!(write(&app, &run, "s", "x", "1").await.error(400).contains("x-resume-from-chunk"));
    assert!(write(&app, &run, "s", "0", &"x".repeat(129 * 1024)).await.error(413).contains("128 KiB"));
    let full = write(&app, &run, "s", "0", &"1\n".repeat(10_001)).await;
    assert!(full.error(422).contains("10,000 chunks"));
    for number in 0..20 {
        let stored = write(&app, &run, &format!("s{number}"), "0", "1").await;
        assert_eq!(stored.status.as_u16(), if number < 19 { 200 } else { 422 }, "with `s` these are 20: {stored:?}");
    }
    let path = format!("/realtime/v1/streams/{run}/s");
    for (name, value) in [("timeout-seconds", "0"), ("timeout-seconds", "601"), ("last-event-id", "x")] {
        let answer = app.send(&app.key, Request::get(&path).header(name, value), Body::empty()).await;
        assert!(answer.error(400).contains(name), "{name}: {value}");
    }
    app.get("/realtime/v1/streams/run_00000000000000000000000001/s").await.error(404);
    let elsewhere = Request::post(format!("/realtime/v1/streams/{run}/cousin/s"));
    app.send(&app.key, elsewhere, "1").await.error(400);
}

#[tokio::test]
async fn a_reader_is_not_kept_when_nothing_comes_or_when_it_goes_away() {
    let (app, run) = with_run().await;
    let path = format!("/realtime/v1/streams/{run}/s");
    let mut patient = Reader::open(&app, &path, &[("timeout-seconds", "1")]).await;
    assert_eq!(patient.next().await, None, "nothing has come for a second");
    let leaving = Reader::open(&app, &path, &[]).await;
    drop(leaving);
    let gone = async {
        while app.app().watched_topics() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("nobody watches any more");
}
