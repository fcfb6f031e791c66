//! Rate limits per key: what is refused when, and what is told.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use dacapo::config::ServerArgs;
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp};
use crate::jwt::{claims, sign};

/// A server that is limited to one request a second, and five at once.
async fn limited() -> TestApp {
    let args = ServerArgs { rate_limit: Some(1), rate_limit_burst: Some(5), ..ServerArgs::default() };
    TestApp::start_with(args).await
}

async fn get(app: &TestApp, bearer: &str, path: &str) -> Answer {
    app.send(bearer, Request::get(path), Body::empty()).await
}

/// Asks until that is too often. Time goes on, but not for so long.
async fn until_refused(app: &TestApp, bearer: &str) -> Answer {
    for _ in 0..1_000 {
        let answer = get(app, bearer, "/api/v1/runs").await;
        if answer.status != 200 {
            return answer;
        }
    }
    panic!("1000 requests were answered");
}

fn number(answer: &Answer, name: &str) -> i64 {
    answer.headers[name].to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_when_to_ask_again() {
    let app = limited().await;
    let first = app.get("/api/v1/runs").await;
    assert_eq!((number(&first, "x-ratelimit-limit"), number(&first, "x-ratelimit-remaining")), (5, 4));
    let refused = until_refused(&app, &app.key).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.headers["content-type"]),
        (429, &"application/problem+json".parse().unwrap())
    );
    assert_eq!((number(&refused, "x-ratelimit-limit"), number(&refused, "x-ratelimit-remaining")), (5, 0));
    assert_eq!(
        (number(&refused, "retry-after"), &refused.headers["access-control-allow-origin"]),
        (1, &"*".parse().unwrap())
    );
    let reset = number(&refused, "x-ratelimit-reset");
    let now_ms = dacapo::clock::Clock::system().now().as_millisecond();
    assert!((now_ms - 60_000..=now_ms + 1_000).contains(&reset), "milliseconds since 1970: {reset}");
    let body = &refused.json;
    let expected = json!({
        "title": "Rate Limit Exceeded", "status": 429, "type": body["type"], "detail": body["detail"], "reset": reset,
        "limit": 5, "remaining": 0, "secondsUntilReset": 1, "error": body["error"],
    });
    assert_eq!(*body, expected);
    assert!(body["error"].as_str().unwrap().contains("try again in 1 s"), "{body}");
    app.app().advance(Duration::from_secs(1));
    let answer = app.get("/api/v1/runs/nothing/result").await;
    assert_eq!((answer.status.as_u16(), answer.headers.contains_key("x-ratelimit-reset")), (404, true));
}

#[tokio::test]
async fn everybody_has_a_bucket_of_their_own() {
    let app = limited().await;
    let environment = app.post_empty("/api/v1/auth/jwt/claims").await.ok()["sub"].take();
    let other = app.admin("POST", "/admin/v1/keys", json!({ "environment": "dev" })).await.ok();
    let other = other["key"].as_str().unwrap();
    let now_ms = dacapo::clock::Clock::system().now().as_millisecond();
    let token = sign(&app.key, &claims(&environment, &["read:runs"], now_ms));
    until_refused(&app, &app.key).await;
    assert_eq!(number(&get(&app, other, "/api/v1/runs").await, "x-ratelimit-remaining"), 4);
    assert_eq!(number(&get(&app, &token, "/api/v1/runs").await, "x-ratelimit-remaining"), 4);
    // A token that nobody signed uses up nothing.
    let forged = sign("nobody's", &claims(&environment, &["read:runs"], now_ms));
    for _ in 0..20 {
        let answer = get(&app, &forged, "/api/v1/runs").await;
        assert_eq!((answer.status.as_u16(), answer.headers.contains_key("x-ratelimit-limit")), (401, false));
    }
    assert_eq!(get(&app, &token, "/api/v1/runs").await.status, 200);
    let another = sign(other, &claims(&environment, &["read:runs", "read:tags"], now_ms));
    assert_eq!(until_refused(&app, &another).await.status, 429);
    assert_eq!(get(&app, &token, "/api/v1/runs").await.status, 429, "the tokens of an environment have one");
    for _ in 0..20 {
        app.admin("GET", "/admin/v1/environments", Value::Null).await.ok();
        let request = Request::get("/api/v1/runs").header("x-dacapo-environment", "dev");
        app.send(&app.admin_key, request, Body::empty()).await.ok();
    }
}

#[tokio::test]
async fn without_a_limit_nothing_is_said_of_it() {
    let app = TestApp::start().await;
    let answer = app.get("/api/v1/runs").await;
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("x-ratelimit")), "{answer:?}");
}
