//! What holds for every request: errors, health, and the end.

use axum::body::Body;
use axum::http::Request;
use dacapo::config::ServerArgs;
use serde_json::{Value, json};

use super::with_echo;
use crate::harness::TestApp;

#[tokio::test]
async fn errors_have_the_contracts_shape() {
    let app = with_echo().await;
    let answer = app.get("/api/v1/nothing/here").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.error(404), "there is no GET /api/v1/nothing/here");
    let answer = app.send(&app.key, Request::delete("/api/v1/runs"), Body::empty()).await;
    assert_eq!(answer.headers["content-type"], "application/json");
    assert!(answer.headers["allow"].to_str().unwrap().contains("GET"), "{:?}", answer.headers);
    assert_eq!(answer.error(405), "Method not allowed");
    for body in ["{", "{\"payload\": tru", "nonsense", "{} {}", "\u{0}"] {
        let answer = app.send(&app.key, Request::post("/api/v1/tasks/echo/trigger"), body).await;
        let text = answer.error(400);
        assert!(text.starts_with("Invalid JSON: "), "{body}: {text}");
    }
    for body in ["[]", "7", "\"text\"", "null", "{\"options\": 7}"] {
        let answer = app.send(&app.key, Request::post("/api/v1/tasks/echo/trigger"), body).await;
        let text = answer.error(400);
        let whole = body.starts_with('{') || text.starts_with("Invalid body: it must be a JSON object");
        assert!(whole && !text.contains("struct Trigger"), "{body}: {text}");
    }
    let answer = app.post_empty("/api/v1/tasks/echo/trigger").await;
    assert_eq!(answer.error(400), "Request body is empty");
    let answer = app.send(&app.key, Request::post("/api/v1/tasks/echo/trigger"), vec![b'{', 0xff, b'}']).await;
    answer.error(400);
    assert_eq!(app.get("/api/v3/runs/nonsense").await.error(404), "Run not found");
    assert_eq!(app.get("/api/v3/runs/%FF").await.error(400), "the path is not valid UTF-8");
}

#[tokio::test]
async fn health_and_readiness_need_no_key() {
    use http_body_util::BodyExt;
    use tower::ServiceExt;
    let mut app = TestApp::start_with(ServerArgs::default()).await;
    let router = app.app().router();
    let get = async |path: &str| {
        let answer = router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status.as_u16(), serde_json::from_slice::<Value>(&body).unwrap())
    };
    let (status, body) = get("/healthz").await;
    assert_eq!((status, &body["status"]), (200, &json!("ok")));
    assert!(body["version"].is_string(), "{body}");
    assert_eq!(get("/readyz").await, (200, json!({ "status": "ready" })));
    app.stop().await;
    assert_eq!(get("/healthz").await.0, 200, "the process still lives");
    let (status, body) = get("/readyz").await;
    assert_eq!((status, &body["error"]), (503, &json!("the server is shutting down")));
}

#[tokio::test]
async fn what_comes_after_a_stop_is_refused_as_unavailable() {
    let mut app = with_echo().await;
    let router = app.app().router();
    let key = app.key.clone();
    app.stop().await;
    use tower::ServiceExt;
    let request = Request::post("/api/v1/tasks/echo/trigger").header("authorization", format!("Bearer {key}"));
    let answer = router.oneshot(request.body(Body::from("{}")).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 503, "a run that is not stored is not acknowledged");
}
