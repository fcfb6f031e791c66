//! Large payloads: links to upload and download them, and the runs that are given them.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use dacapo::model::limits::{MAX_PAYLOAD_BYTES, OBJECT_LINK_TTL};
use dacapo_tests::guests;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::harness::TestApp;

const PATH: &str = "trigger/packet_one/payload.json";
const ENCODED: &str = "trigger%2Fpacket_one%2Fpayload.json";
const DATED: &str = r#"{"json":{"d":"1970-01-01T00:00:00.000Z"},"meta":{"values":{"d":["Date"]}}}"#;
const SUPER_JSON: &str = "application/super+json";

async fn with_echo() -> TestApp {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    app
}

/// Asks for a link, of which the path and the query are returned.
async fn link(app: &TestApp, method: &str, encoded: &str) -> String {
    let version = if method == "PUT" { "v2" } else { "v1" };
    let request = Request::builder().method(method).uri(format!("/api/{version}/packets/{encoded}"));
    let link = app.send(&app.key, request.header("host", "dacapo.test"), Body::empty()).await.ok();
    let url = link["presignedUrl"].as_str().expect("a link");
    url.strip_prefix("http://dacapo.test").unwrap_or_else(|| panic!("{url}")).to_owned()
}

/// Uses a link, as everybody can who has it.
async fn follow(app: &TestApp, method: &str, link: &str, content_type: &str, body: impl Into<Body>) -> Followed {
    let request = Request::builder().method(method).uri(link).header("content-type", content_type);
    let response = app.app().router().oneshot(request.body(body.into()).unwrap()).await.unwrap();
    let status = response.status();
    let content_type = response.headers().get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap().to_owned());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Followed { status, content_type, text: String::from_utf8(body.into()).unwrap() }
}

struct Followed {
    status: StatusCode,
    content_type: Option<String>,
    text: String,
}

async fn upload(app: &TestApp, encoded: &str, content_type: &str, text: &str) {
    let link = link(app, "PUT", encoded).await;
    let uploaded = follow(app, "PUT", &link, content_type, text.to_owned()).await;
    assert!(uploaded.status.is_success(), "{}: {}", uploaded.status, uploaded.text);
}

fn stored(path: &str) -> Value {
    json!({ "payload": path, "options": { "payloadType": "application/store", "payloadSize": 1 } })
}

#[tokio::test]
async fn a_packet_is_uploaded_triggered_and_reaches_the_task_as_plain_json() {
    let app = with_echo().await;
    upload(&app, ENCODED, SUPER_JSON, DATED).await;

    let receipt = app.post("/api/v1/tasks/echo/trigger", stored(PATH)).await.ok();

    let run = app.finished(receipt["id"].as_str().unwrap()).await;
    assert_eq!(run["status"], "COMPLETED", "{run}");
    assert_eq!(run["output"]["payload"], json!({ "d": "1970-01-01T00:00:00.000Z" }));
    assert_eq!(run["payload"], json!({ "d": "1970-01-01T00:00:00.000Z" }));
}

#[tokio::test]
async fn a_packet_comes_back_as_it_was_uploaded() {
    let app = with_echo().await;
    for (content_type, text) in [
        (SUPER_JSON, DATED),
        ("application/json", "{\"a\": 1}"),
        ("text/plain", "grüße\n"),
        ("Text/Plain; charset=UTF-8", ""),
    ] {
        upload(&app, ENCODED, content_type, text).await;
        let found = follow(&app, "GET", &link(&app, "GET", ENCODED).await, "", Body::empty()).await;
        let essence = content_type.split(';').next().unwrap().to_lowercase();
        assert_eq!((found.content_type, found.text), (Some(essence), text.to_owned()), "the last upload counts");
    }
}

#[tokio::test]
async fn a_packet_of_the_largest_size_is_taken_and_one_byte_more_is_not() {
    let app = with_echo().await;
    let largest = format!("\"{}\"", "x".repeat(MAX_PAYLOAD_BYTES - 2));
    upload(&app, ENCODED, "application/json", &largest).await;
    let run = app.post("/api/v1/tasks/echo/trigger", stored(PATH)).await.ok();
    let end = app.get(&format!("/api/v1/runs/{}/result?wait=60s", run["id"].as_str().unwrap())).await.ok();
    // What echo adds is too much: the payload was whole.
    assert!(end["error"].to_string().contains("output"), "{}", end["error"]);
    let found = follow(&app, "GET", &link(&app, "GET", ENCODED).await, "", Body::empty()).await;
    assert!(found.text == largest, "the packet comes back whole");

    let more = follow(&app, "PUT", &link(&app, "PUT", ENCODED).await, "application/json", largest + " ").await;

    assert_eq!((more.status.as_u16(), more.text.contains("Request body too large")), (413, true));
    let found = follow(&app, "GET", &link(&app, "GET", ENCODED).await, "", Body::empty()).await;
    assert_eq!(found.text.len(), MAX_PAYLOAD_BYTES, "what was there stands");
}

#[tokio::test]
async fn a_link_is_good_for_one_use_of_one_object_and_not_for_ever() {
    let app = with_echo().await;
    upload(&app, ENCODED, SUPER_JSON, DATED).await;
    upload(&app, "other", SUPER_JSON, DATED).await;
    let put = link(&app, "PUT", ENCODED).await;
    let get = link(&app, "GET", ENCODED).await;
    let object = |link: &str| link.split(['/', '?']).nth(5).unwrap().to_owned();
    let expires = |link: &str| link.split(['=', '&']).nth(1).unwrap().to_owned();
    let other_environment = |link: &str| {
        let environment = link.split('/').nth(4).unwrap();
        assert!(environment.starts_with("env_"), "{link}");
        let last = if environment.ends_with('0') { "1" } else { "0" };
        link.replace(environment, &format!("{}{last}", &environment[..environment.len() - 1]))
    };
    let other_object = get.replace(&object(&get), &object(&link(&app, "GET", "other").await));
    let later: i64 = expires(&get).parse::<i64>().unwrap() + 1;
    let wrong = [
        ("GET", put.clone()),
        ("PUT", get.clone()),
        ("GET", other_object),
        ("GET", other_environment(&get)),
        ("GET", get.replace(&expires(&get), &later.to_string())),
        ("GET", format!("{get}0")),
        ("GET", get.split('&').next().unwrap().to_owned()),
        ("GET", get.split('?').next().unwrap().to_owned()),
        ("PUT", put.replace("signature=", "signature=x")),
    ];
    for (method, link) in wrong {
        let refused = follow(&app, method, &link, SUPER_JSON, "{}").await;
        assert_eq!(refused.status, 403, "{method} {link}: {}", refused.text);
        assert!(refused.text.contains("ask for another"), "{}", refused.text);
    }
    for (method, link) in [("PUT", &put), ("GET", &get)] {
        assert!(follow(&app, method, link, SUPER_JSON, DATED).await.status.is_success());
    }

    app.app().advance(OBJECT_LINK_TTL + Duration::from_secs(1));

    for (method, link) in [("PUT", put), ("GET", get)] {
        assert_eq!(follow(&app, method, &link, SUPER_JSON, "{}").await.status, 403, "{method} has expired");
    }
}

#[tokio::test]
async fn a_packet_belongs_to_its_environment() {
    let app = with_echo().await;
    upload(&app, ENCODED, SUPER_JSON, DATED).await;
    let staging = app.admin("POST", "/admin/v1/keys", json!({ "environment": "stg" })).await.ok()["key"].take();
    let staging = staging.as_str().unwrap();

    let found = app.send(staging, Request::get(format!("/api/v1/packets/{ENCODED}")), Body::empty()).await;
    let trigger = Request::post("/api/v1/tasks/echo/trigger").header("content-type", "application/json");
    let triggered = app.send(staging, trigger, stored(PATH).to_string()).await;

    assert_eq!(found.error(404), format!("no packet was uploaded as `{PATH}`"));
    assert_eq!(triggered.error(422), format!("no packet was uploaded as `{PATH}`"));
}

#[tokio::test]
async fn behind_a_proxy_a_link_names_what_the_caller_knows() {
    let app = with_echo().await;
    for (forwarded, expected) in [("https", "https"), ("HTTPS, http", "https"), ("http", "http"), ("gopher", "http")] {
        let request = Request::put("/api/v2/packets/x").header("host", "tasks.example:8443");
        let link = app.send(&app.key, request.header("x-forwarded-proto", forwarded), Body::empty()).await.ok();
        let url = link["presignedUrl"].as_str().unwrap();
        assert!(url.starts_with(&format!("{expected}://tasks.example:8443/api/v1/objects/env_")), "{url}");
        assert_eq!(link["storagePath"], "x");
    }
}

#[tokio::test]
async fn what_is_not_a_packet_is_refused() {
    let app = with_echo().await;
    let put = link(&app, "PUT", ENCODED).await;
    let untyped = follow(&app, "PUT", &put, "image/png", "{}").await;
    assert_eq!((untyped.status.as_u16(), untyped.text.contains("text/plain")), (415, true), "{}", untyped.text);
    let not_text = follow(&app, "PUT", &put, SUPER_JSON, vec![0xff]).await;
    assert_eq!((not_text.status.as_u16(), not_text.text.contains("not UTF-8")), (400, true));
    let long = "p".repeat(513);
    for bad in ["%0A", &long] {
        let request = Request::put(format!("/api/v2/packets/{bad}")).header("host", "h");
        let error = app.send(&app.key, request, Body::empty()).await.error(400);
        assert!(error.starts_with("the path of a packet must have 1 to 512 characters"), "{error}");
    }
    let keyless = Request::put("/api/v2/packets/x").header("host", "h");
    assert_eq!(app.send("tr_dev_nobody", keyless, Body::empty()).await.status, 401);
    for (payload, status) in [(json!(1), 400), (Value::Null, 400), (json!("nothing"), 422)] {
        let body = json!({ "payload": payload, "options": { "payloadType": "application/store" } });
        let answer = app.post("/api/v1/tasks/echo/trigger", body).await;
        assert_eq!(answer.status, status, "{}", answer.json);
    }
    // What was uploaded is looked at when a trigger names it.
    upload(&app, ENCODED, SUPER_JSON, "{").await;
    let error = app.post("/api/v1/tasks/echo/trigger", stored(PATH)).await.error(400);
    assert!(error.starts_with("the payload is not superjson"), "{error}");
}

#[tokio::test]
async fn a_run_has_its_payload_whole_so_that_no_link_is_needed() {
    let app = with_echo().await;
    let run = app.trigger("echo", json!(1)).await;
    for field in ["payload", "output"] {
        let error = app.get(&format!("/api/v1/runs/{run}/packets/{field}")).await.error(404);
        assert_eq!(error, format!("the {field} is not offloaded: retrieve the run"));
    }
    let other = app.get(&format!("/api/v1/runs/{run}/packets/other")).await.error(404);
    assert_eq!(other, "a run has a `payload` and an `output`");
    let nobody = "/api/v1/runs/run_00000000000000000000000001/packets/payload";
    assert_eq!(app.get(nobody).await.error(404), "Run not found");
    app.finished(&run).await;
}

#[tokio::test]
async fn an_item_of_a_batch_may_name_a_packet() {
    let app = with_echo().await;
    upload(&app, ENCODED, SUPER_JSON, DATED).await;
    let batch = app.post("/api/v3/batches", json!({ "runCount": 2 })).await.ok()["id"].take();
    let batch = batch.as_str().unwrap();
    let item = |index: u32, path: &str| {
        let mut item = stored(path);
        item["index"] = json!(index);
        item["task"] = json!("echo");
        item.to_string()
    };
    let lines = format!("{}\n{}\n", item(0, PATH), item(1, "nothing"));
    let request = Request::post(format!("/api/v3/batches/{batch}/items"));
    app.send(&app.key, request.header("content-type", "application/x-ndjson"), lines).await.ok();

    let batch = app.get(&format!("/api/v2/batches/{batch}")).await.ok();
    let run = app.finished(batch["runs"][0].as_str().unwrap()).await;
    assert_eq!(run["output"]["payload"], json!({ "d": "1970-01-01T00:00:00.000Z" }));
    assert_eq!(batch["processing"]["errors"][0]["error"], "no packet was uploaded as `nothing`");
}

#[tokio::test]
async fn a_run_with_an_uploaded_payload_is_replayed_also_into_another_environment() {
    let app = with_echo().await;
    let component = std::fs::read(guests::ECHO_V1).unwrap();
    let deploy = Request::post("/api/v1/deployments?name=echo").header("x-dacapo-environment", "stg");
    app.send(&app.admin_key, deploy, component).await.ok();
    let long = "x".repeat(2 << 20);
    let text =
        json!({ "json": { "long": long, "d": "1970-01-01T00:00:00.000Z" }, "meta": { "values": { "d": ["Date"] } } });
    upload(&app, ENCODED, SUPER_JSON, &text.to_string()).await;
    let source = app.post("/api/v1/tasks/echo/trigger", stored(PATH)).await.ok()["id"].take();
    let source = source.as_str().unwrap();
    app.finished(source).await;
    // What was uploaded may be something else by now.
    upload(&app, ENCODED, SUPER_JSON, "{\"json\":0}").await;

    let here = app.finished(&app.replay(source).await).await;
    let path = format!("/api/v1/runs/{source}/replay?environment=stg");
    let as_admin = |method: &str, path: &str| Request::builder().method(method).uri(path.to_owned());
    let refused = app.post_empty(&path).await;
    let there = as_admin("POST", &path).header("x-dacapo-environment", "dev");
    let there = app.send(&app.admin_key, there, Body::empty()).await.ok()["id"].take();
    let there = format!("/api/v1/runs/{}/result?wait=60s", there.as_str().unwrap());
    let there = as_admin("GET", &there).header("x-dacapo-environment", "stg");
    let there = app.send(&app.admin_key, there, Body::empty()).await.ok();

    assert_eq!(refused.status, 403, "one environment's key does not open another");
    let expected = json!({ "long": long, "d": "1970-01-01T00:00:00.000Z" });
    assert!(here["output"]["payload"] == expected, "the replay has the source's payload");
    let there: Value = serde_json::from_str(there["output"].as_str().expect("an output")).unwrap();
    assert_eq!((&there["ctx"]["environment"], &there["ctx"]["isReplay"]), (&json!("stg"), &json!(true)));
    assert!(there["payload"] == expected, "and so has the one in another environment");
}

#[tokio::test]
async fn a_large_output_comes_back_whole() {
    let app = TestApp::start().await;
    app.deploy(guests::HUGE_OUTPUT).await;
    let run = app.call("huge-output", json!({ "bytes": 2 << 20 })).await;
    assert_eq!(run["status"], "COMPLETED");
    assert_eq!(run["output"].as_str().map(str::len), Some(2 << 20));
}

#[tokio::test]
async fn an_upload_waits_a_day_for_its_trigger() {
    let app = with_echo().await;
    upload(&app, "p", "application/json", "[1]").await;
    let trigger = async || app.post("/api/v1/tasks/echo/trigger", stored("p")).await;
    let run = trigger().await.ok();
    app.app().advance(Duration::from_secs(86_401));
    // Upkeep looks when it has something to do.
    app.trigger_with("echo", json!(1), json!({ "delay": "1s" })).await;

    while trigger().await.status.is_success() {
        tokio::task::yield_now().await;
    }

    let gone = trigger().await;
    assert_eq!(gone.error(422), "no packet was uploaded as `p`");
    assert_eq!(app.run(run["id"].as_str().unwrap()).await["payload"], json!([1]), "the run has its own");
}
