//! Wait tokens that a task makes, completes and waits for.

use std::time::Duration;

use serde_json::{Value, json};

use super::{answers, ask, start, start_dropping, text};

#[tokio::test]
async fn a_token_has_what_was_asked_for() {
    let app = start().await;
    let token = json!({ "token": { "timeout_ms": 60_000, "key": "k", "tags": ["a", "b"] } });
    let said = ask(&app, json!([token, token, { "token": {} }])).await;
    assert_eq!(
        (&said[0]["cached"], &said[1]["cached"], &said[2]["cached"]),
        (&json!(false), &json!(true), &json!(false))
    );
    assert_eq!(said[0]["id"], said[1]["id"], "the key finds it");
    let again = ask(&app, json!([token])).await;
    assert_eq!((&again[0]["id"], &again[0]["cached"]), (&said[0]["id"], &json!(true)), "from another run, too");

    let id = text(&said[0], "id");
    assert!(text(&said[0], "url").contains(&format!("/api/v1/waitpoints/tokens/{id}/callback/")), "{said:?}");
    let request = axum::http::Request::get(format!("/api/v1/waitpoints/tokens/{id}")).header("host", "dacapo.test");
    let shown = app.send(&app.key, request, axum::body::Body::empty()).await.ok();
    assert_eq!((&shown["tags"], &shown["status"]), (&json!(["a", "b"]), &json!("WAITING")), "{shown}");
    assert_eq!(shown["idempotencyKey"], "k");
    let moment = |name: &str| text(&shown, name).parse::<jiff::Timestamp>().expect("a moment").as_millisecond();
    assert_eq!(moment("timeoutAt") - moment("createdAt"), 60_000);
}

#[tokio::test]
async fn a_task_completes_a_token_and_another_has_waited_for_it() {
    for app in [start().await, start_dropping().await] {
        let made = ask(&app, json!([{ "token": {} }])).await;
        let id = text(&made[0], "id").to_owned();
        let waiting = app.trigger("inside", json!([{ "wait_token": id }])).await;
        app.until_status(&waiting, "WAITING").await;
        let complete = |value: Value| json!({ "complete": { "id": id, "value": value } });
        let said =
            ask(&app, json!([complete(json!({ "ok": [1] })), complete(json!("late")), { "wait_token": id }])).await;
        assert_eq!(said, [Value::Null, Value::Null, json!({ "ok": [1] })], "the first value stays");
        assert_eq!(answers(&app.finished(&waiting).await), [json!({ "ok": [1] })]);
    }
}

#[tokio::test]
async fn a_token_that_nobody_completes_times_out() {
    for app in [start().await, start_dropping().await] {
        let made = ask(&app, json!([{ "token": { "timeout_ms": 60_000 } }])).await;
        let run = app.trigger("inside", json!([{ "wait_token": made[0]["id"] }])).await;
        app.until_status(&run, "WAITING").await;
        app.app().advance(Duration::from_secs(61));
        let said = answers(&app.finished(&run).await);
        assert!(said[0]["error"].as_str().is_some_and(|text| text.contains("time")), "{said:?}");
    }
}

#[tokio::test]
async fn a_token_of_another_environment_is_not_found() {
    let app = start().await;
    let staging = app.admin("POST", "/admin/v1/keys", json!({ "environment": "stg" })).await.ok();
    let request = axum::http::Request::post("/api/v1/waitpoints/tokens").header("host", "dacapo.test");
    let theirs = app.send(text(&staging, "key"), request, "{}").await.ok();
    let id = text(&theirs, "id");
    let nobody = "waitpoint_00000000000000000000000007";
    let steps = |id: &str| json!([{ "wait_token": id }, { "complete": { "id": id, "value": 1 } }]);

    let said = ask(&app, steps(id)).await;

    assert!(said.iter().all(|answer| answer["error"].as_str().is_some_and(|text| text.contains("no"))), "{said:?}");
    let of_nobody = ask(&app, steps(nobody)).await;
    assert_eq!(json!(said).to_string().replace(id, nobody), json!(of_nobody).to_string(), "nothing tells it from none");
    let garbage = ask(&app, steps("garbage")).await;
    assert!(garbage.iter().all(|answer| answer["error"].is_string()), "{garbage:?}");
    let request = axum::http::Request::get(format!("/api/v1/waitpoints/tokens/{id}")).header("host", "dacapo.test");
    let shown = app.send(text(&staging, "key"), request, axum::body::Body::empty()).await.ok();
    assert_eq!(shown["status"], "WAITING");
}
