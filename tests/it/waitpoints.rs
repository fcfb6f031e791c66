//! Wait tokens: made, completed once, timed out, and found.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use dacapo::config::ServerArgs;
use serde_json::{Value, json};

use crate::harness::{Answer, PATIENCE, TestApp};

const TOKENS: &str = "/api/v1/waitpoints/tokens";
const HOUR: Duration = Duration::from_secs(3_600);

/// `POST path` with the name under which a caller knows the server.
async fn post(app: &TestApp, path: &str, body: Value) -> Answer {
    let request = Request::post(path).header("host", "dacapo.test").header("content-type", "application/json");
    app.send(&app.key, request, body.to_string()).await
}

async fn get(app: &TestApp, path: &str) -> Answer {
    app.send(&app.key, Request::get(path).header("host", "dacapo.test"), Body::empty()).await
}

async fn create(app: &TestApp, body: Value) -> Value {
    post(app, TOKENS, body).await.ok()
}

fn id(token: &Value) -> &str {
    token["id"].as_str().expect("a token has an id")
}

async fn retrieve(app: &TestApp, token: &Value) -> Value {
    get(app, &format!("{TOKENS}/{}", id(token))).await.ok()
}

async fn complete(app: &TestApp, token: &Value, body: Value) -> Answer {
    post(app, &format!("{TOKENS}/{}/complete", id(token)), body).await
}

/// The path of a token's callback address.
fn callback(token: &Value) -> String {
    token["url"].as_str().unwrap().strip_prefix("http://dacapo.test").expect("our name").to_owned()
}

/// A request without a key.
async fn call_back(app: &TestApp, path: &str, body: impl Into<Body>) -> Answer {
    app.send("", Request::post(path), body).await
}

async fn until_timed_out(app: &TestApp, token: &Value) -> Value {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let shown = retrieve(app, token).await;
        if shown["status"] == "TIMED_OUT" {
            return shown;
        }
        assert!(tokio::time::Instant::now() < deadline && shown["status"] == "WAITING", "{shown}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn ids(app: &TestApp, query: &str) -> Vec<String> {
    let page = get(app, &format!("{TOKENS}?{query}")).await.ok();
    page["data"].as_array().unwrap().iter().map(|token| id(token).to_owned()).collect()
}

#[tokio::test]
async fn a_token_is_completed_once() {
    let app = TestApp::start().await;
    let answer = post(&app, TOKENS, json!({ "tags": ["a", "b"] })).await;
    let claims: Value = serde_json::from_str(answer.headers["x-trigger-jwt-claims"].to_str().unwrap()).unwrap();
    assert_eq!(claims["pub"], true);
    let token = answer.ok();
    assert_eq!(token["isCached"], false);
    let waiting = retrieve(&app, &token).await;
    assert_eq!((&waiting["status"], &waiting["tags"]), (&json!("WAITING"), &json!(["a", "b"])));
    assert_eq!(waiting["url"], token["url"]);
    for absent in ["completedAt", "timeoutAt", "output", "outputType", "outputIsError", "idempotencyKey"] {
        assert_eq!(waiting.get(absent), None, "{absent}");
    }

    let done = complete(&app, &token, json!({ "data": { "n": [1, null, "é"] } })).await.ok();

    assert_eq!(done, json!({ "success": true }));
    let completed = retrieve(&app, &token).await;
    assert_eq!(completed["status"], "COMPLETED");
    assert_eq!(completed["output"], r#"{"n":[1,null,"é"]}"#);
    assert_eq!((&completed["outputType"], &completed["outputIsError"]), (&json!("application/json"), &json!(false)));
    assert!(completed["completedAt"].is_string());
    assert_eq!(complete(&app, &token, json!({ "data": "late" })).await.ok(), json!({ "success": true }));
    assert_eq!(retrieve(&app, &token).await, completed, "the first answer counts");
}

#[tokio::test]
async fn of_many_who_complete_a_token_at_once_one_counts() {
    let app = std::sync::Arc::new(TestApp::start().await);
    let token = create(&app, json!({})).await;
    let tries: Vec<_> = (0..8)
        .map(|n| {
            let (app, token) = (app.clone(), token.clone());
            tokio::spawn(async move {
                complete(&app, &token, json!({ "data": n })).await.ok();
                retrieve(&app, &token).await["output"].take()
            })
        })
        .collect();
    let mut seen = std::collections::BTreeSet::new();
    for tried in tries {
        seen.insert(tried.await.unwrap().to_string());
    }
    assert_eq!(seen.len(), 1, "everybody sees the same answer: {seen:?}");
}

#[tokio::test]
async fn a_token_without_data_has_no_output() {
    let app = TestApp::start().await;
    let (empty, null) = (create(&app, json!({})).await, create(&app, json!({})).await);
    let path = format!("{TOKENS}/{}/complete", id(&empty));
    app.send(&app.key, Request::post(&path), Body::empty()).await.ok();
    complete(&app, &null, json!({ "data": null })).await.ok();
    for token in [empty, null] {
        let shown = retrieve(&app, &token).await;
        assert_eq!((&shown["status"], shown.get("outputIsError")), (&json!("COMPLETED"), None), "{shown}");
    }
}

#[tokio::test]
async fn a_callback_completes_its_token_without_a_key_and_no_other() {
    let app = TestApp::start().await;
    let (token, other) = (create(&app, json!({})).await, create(&app, json!({})).await);
    let path = callback(&token);
    let code = path.rsplit_once('/').unwrap().1;
    assert_eq!(code.len(), 64);
    let for_other = format!("{TOKENS}/{}/callback/{code}", id(&other));
    let wrong = "0".repeat(64);
    for code in ["x", "", &code[1..], &wrong, &code.to_uppercase()] {
        let path = format!("{TOKENS}/{}/callback/{code}", id(&token));
        let answer = call_back(&app, &path, "{}").await;
        assert_eq!(answer.status, if code.is_empty() { 404 } else { 401 }, "{path}: {}", answer.json);
    }
    assert_eq!(call_back(&app, &for_other, "{}").await.error(401), "Invalid callback hash");
    assert!(call_back(&app, &path, "{").await.error(400).starts_with("Invalid JSON"));
    assert_eq!(call_back(&app, &path, vec![b' '; 2 << 20]).await.error(413), "Request body too large");
    let nowhere = format!("{TOKENS}/nonsense/callback/{code}");
    assert_eq!(call_back(&app, &nowhere, "{}").await.error(404), "Waitpoint not found");
    assert_eq!(retrieve(&app, &token).await["status"], "WAITING", "nothing of that changed anything");

    assert_eq!(call_back(&app, &path, " [1, 2]\n").await.ok(), json!({ "success": true }));
    assert_eq!(call_back(&app, &path, "3").await.ok(), json!({ "success": true }));

    assert_eq!(retrieve(&app, &token).await["output"], "[1, 2]");
    assert_eq!(retrieve(&app, &other).await["status"], "WAITING");
    let app = app.restart().await;
    let again = call_back(&app, &callback(&other), "").await.ok();
    assert_eq!(again, json!({ "success": true }), "addresses outlive a restart");
    assert_eq!(retrieve(&app, &other).await["status"], "COMPLETED");
}

#[tokio::test]
async fn a_callback_address_is_the_one_under_which_the_caller_knows_the_server() {
    let app = TestApp::start().await;
    let request = Request::post(TOKENS).header("host", "tasks.example").header("x-forwarded-proto", "https");
    let token = app.send(&app.key, request, "{}").await.ok();
    assert!(token["url"].as_str().unwrap().starts_with("https://tasks.example/api/v1/waitpoints/tokens/waitpoint_"));
}

#[tokio::test]
async fn a_token_times_out_and_says_so() {
    let app = TestApp::start().await;
    let soon = create(&app, json!({ "timeout": "1h" })).await;
    let later = create(&app, json!({ "timeout": "3h" })).await;
    let never = create(&app, json!({})).await;
    let timeout_at = retrieve(&app, &soon).await["timeoutAt"].as_str().unwrap().to_owned();

    app.app().advance(HOUR);

    let over = until_timed_out(&app, &soon).await;
    assert_eq!((&over["outputIsError"], &over["outputType"]), (&json!(true), &json!("application/json")));
    let error: Value = serde_json::from_str(over["output"].as_str().unwrap()).unwrap();
    let message = format!("Waitpoint timed out at {timeout_at}");
    assert_eq!(error, json!({ "code": "TRIGGER_WAITPOINT_TIMEOUT", "message": message }));
    assert_eq!(complete(&app, &soon, json!({ "data": 1 })).await.ok(), json!({ "success": true }));
    assert_eq!(call_back(&app, &callback(&soon), "1").await.ok(), json!({ "success": true }));
    assert_eq!(retrieve(&app, &soon).await, over, "it is too late");
    for token in [&later, &never] {
        assert_eq!(retrieve(&app, token).await["status"], "WAITING");
    }
    app.app().advance(100 * HOUR);
    until_timed_out(&app, &later).await;
    complete(&app, &never, json!({ "data": 1 })).await.ok();
    assert_eq!(retrieve(&app, &never).await["status"], "COMPLETED");
}

#[tokio::test]
async fn a_date_is_a_timeout_also_one_that_has_passed() {
    let app = TestApp::start().await;
    let token = create(&app, json!({ "timeout": "2026-01-02T03:04:05.678Z" })).await;
    let done = complete(&app, &token, json!({ "data": "too late, whether upkeep has looked or not" })).await.ok();
    assert_eq!(done, json!({ "success": true }));
    let over = until_timed_out(&app, &token).await;
    assert_eq!(over["timeoutAt"], "2026-01-02T03:04:05.678Z");
    assert!(over["output"].as_str().unwrap().contains("2026-01-02T03:04:05.678Z"));
}

#[tokio::test]
async fn a_token_times_out_while_its_server_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let token = {
        let mut app = TestApp::open(data.clone(), ServerArgs::default(), None).await;
        let token = create(&app, json!({ "timeout": "1h" })).await;
        app.stop().await;
        token
    };
    let app = TestApp::open(data, ServerArgs::default(), None).await;
    app.app().advance(2 * HOUR);
    until_timed_out(&app, &token).await;
}

#[tokio::test]
async fn a_key_finds_its_token_until_it_expires() {
    let app = TestApp::start().await;
    let body = json!({ "idempotencyKey": "k", "idempotencyKeyTTL": "2h", "tags": "one" });
    let first = create(&app, body.clone()).await;
    complete(&app, &first, json!({ "data": 1 })).await.ok();
    let again = create(&app, body.clone()).await;
    assert_eq!((&again["id"], &again["isCached"], &again["url"]), (&first["id"], &json!(true), &first["url"]));
    let shown = retrieve(&app, &first).await;
    assert_eq!((&shown["idempotencyKey"], &shown["tags"]), (&json!("k"), &json!(["one"])));
    assert!(shown["idempotencyKeyExpiresAt"].is_string());
    let stg = app.admin("POST", "/admin/v1/keys", json!({ "environment": "stg" })).await.ok();
    let request = Request::post(TOKENS).header("host", "dacapo.test");
    let elsewhere = app.send(stg["key"].as_str().unwrap(), request, body.to_string()).await.ok();
    assert_eq!(elsewhere["isCached"], false, "a key counts in its environment");

    app.app().advance(2 * HOUR);

    let next = create(&app, body).await;
    assert_eq!(next["isCached"], false);
    assert_ne!(next["id"], first["id"]);
    assert_eq!(ids(&app, "filter[idempotencyKey]=k").await, [id(&next)]);
}

#[tokio::test]
async fn tokens_are_found_and_paged() {
    let app = TestApp::start().await;
    let mut tokens = Vec::new();
    for tags in [json!(["a"]), json!(["b"]), json!(["a", "b"]), json!([]), json!(["c"])] {
        tokens.push(create(&app, json!({ "tags": tags })).await);
    }
    complete(&app, &tokens[1], json!({ "data": "x" })).await.ok();
    let late = create(&app, json!({ "timeout": "1s" })).await;
    app.app().advance(HOUR);
    until_timed_out(&app, &late).await;
    let newest_first = |places: &[usize]| places.iter().map(|place| id(&tokens[*place]).to_owned()).collect::<Vec<_>>();

    assert_eq!(ids(&app, "filter[status]=WAITING").await, newest_first(&[4, 3, 2, 0]));
    assert_eq!(ids(&app, "filter[status]=COMPLETED,TIMED_OUT").await, [id(&late), id(&tokens[1])]);
    assert_eq!(ids(&app, "filter[tags]=a,c").await, newest_first(&[4, 2, 0]));
    assert_eq!(ids(&app, "filter[tags]=b&filter[status]=WAITING").await, newest_first(&[2]));
    assert_eq!(ids(&app, "filter[createdAt][period]=30m").await, Vec::<String>::new());
    assert_eq!(ids(&app, "filter[createdAt][period]=2h").await.len(), 6);
    let middle = retrieve(&app, &tokens[2]).await["createdAt"].as_str().unwrap().to_owned();
    assert!(ids(&app, &format!("filter[createdAt][from]={middle}")).await.contains(&id(&tokens[2]).to_owned()));
    assert!(!ids(&app, &format!("filter[createdAt][to]={middle}")).await.contains(&id(&late).to_owned()));
    assert_eq!(ids(&app, "filter[createdAt][to]=0").await, Vec::<String>::new());

    let page = get(&app, &format!("{TOKENS}?page[size]=2&filter[tags]=a,b,c")).await.ok();
    let first: Vec<_> = page["data"].as_array().unwrap().iter().map(|token| id(token).to_owned()).collect();
    assert_eq!((first, page["pagination"].get("previous")), (newest_first(&[4, 2]), None));
    let next = page["pagination"]["next"].as_str().unwrap().to_owned();
    let page = get(&app, &format!("{TOKENS}?page[size]=2&filter[tags]=a,b,c&page[after]={next}")).await.ok();
    assert_eq!(page["data"][0]["id"], tokens[1]["id"]);
    assert_eq!(page["data"][0].get("output"), None, "lists are light");
    assert_eq!(page["pagination"].get("next"), None);
    let back = page["pagination"]["previous"].as_str().unwrap();
    let query = format!("page[size]=2&filter[tags]=a,b,c&page[after]={next}&page[before]={back}");
    assert_eq!(ids(&app, &query).await, newest_first(&[4, 2]), "the younger cursor counts");
}

#[tokio::test]
async fn what_is_wrong_with_a_token_is_said() {
    let app = TestApp::start().await;
    let refused = async |body: Value, status| post(&app, TOKENS, body).await.error(status);
    let many: Vec<String> = (0..11).map(|n| n.to_string()).collect();
    assert_eq!(refused(json!({ "tags": many }), 422).await, "a wait token can have 10 tags at most");
    assert_eq!(refused(json!({ "tags": ["x".repeat(129)] }), 422).await, "a tag must have 1 to 128 characters");
    assert!(refused(json!({ "timeout": "soon" }), 400).await.starts_with("`timeout` must be a duration"));
    assert_eq!(refused(json!({ "timeout": "9000w" }), 422).await, "`timeout` must be within 366 days");
    assert_eq!(refused(json!({ "timeout": "9999-01-01T00:00:00Z" }), 422).await, "`timeout` must be within 366 days");
    assert!(refused(json!({ "idempotencyKey": "" }), 422).await.starts_with("`idempotencyKey` must have"));
    let ttl = json!({ "idempotencyKey": "k", "idempotencyKeyTTL": "soon" });
    assert!(refused(ttl, 400).await.starts_with("`idempotencyKeyTTL`: "));
    assert!(refused(json!([]), 400).await.contains("must be a JSON object"));
    assert_eq!(ids(&app, "").await.len(), 0, "nothing of that made a token");

    for (query, problem) in [
        ("filter[status]=DONE", "Query Error: filter[status]: `DONE` is not WAITING"),
        ("filter[tag]=a", "Query Error: `filter[tag]` is not offered here"),
        ("page[after]=nonsense", "`page[after]` is not a cursor"),
        ("page[size]=101", "`page[size]` must be 1 to 100"),
        ("filter[createdAt][period]=soon", "Query Error: filter[createdAt][period]: "),
    ] {
        assert!(get(&app, &format!("{TOKENS}?{query}")).await.error(400).starts_with(problem), "{query}");
    }

    let token = create(&app, json!({})).await;
    let big = complete(&app, &token, json!({ "data": "x".repeat(2 << 20) })).await;
    assert_eq!(big.error(413), "Request body too large");
    let path = format!("{TOKENS}/{}", id(&token));
    let broken = app.send(&app.key, Request::post(format!("{path}/complete")), "{").await;
    assert!(broken.error(400).starts_with("Invalid JSON"));
    assert_eq!(retrieve(&app, &token).await["status"], "WAITING");
    for nobody in ["waitpoint_00000000000000000000000001", "nonsense"] {
        let nobody = json!({ "id": nobody });
        assert_eq!(get(&app, &format!("{TOKENS}/{}", id(&nobody))).await.error(404), "Waitpoint not found");
        assert_eq!(complete(&app, &nobody, json!({})).await.error(404), "Waitpoint not found");
    }
    let stg = app.admin("POST", "/admin/v1/keys", json!({ "environment": "stg" })).await.ok();
    let stranger = stg["key"].as_str().unwrap();
    let request = Request::get(&path).header("host", "dacapo.test");
    assert_eq!(app.send(stranger, request, Body::empty()).await.error(404), "Waitpoint not found");
    let request = Request::post(format!("{path}/complete"));
    assert_eq!(app.send(stranger, request, "{}").await.error(404), "Waitpoint not found");
    assert_eq!(app.send("nobody", Request::post(TOKENS), "{}").await.status, 401);
}

#[tokio::test]
async fn lists_and_timeouts_are_served_by_indexes() {
    let app = TestApp::start().await;
    create(&app, json!({ "tags": ["a"] })).await;
    let connection = rusqlite::Connection::open(app.data_dir().join("dacapo.db")).unwrap();
    for (sql, index) in [
        ("SELECT id FROM waitpoints WHERE environment_id = ?1 ORDER BY id DESC LIMIT 26", "waitpoints_by_environment"),
        (
            "SELECT id FROM waitpoints WHERE environment_id = ?1 AND (status = ?2) ORDER BY id DESC LIMIT 26",
            "waitpoints_by_status",
        ),
        ("SELECT id FROM waitpoints WHERE environment_id = ?1 AND idempotency_key = ?2", "waitpoints_by_key"),
        (
            "SELECT MIN(timeout_at) FROM waitpoints WHERE status = 'waiting' AND timeout_at IS NOT NULL",
            "waitpoints_due",
        ),
        (
            "SELECT id FROM waitpoints WHERE status = 'waiting' AND timeout_at IS NOT NULL AND timeout_at <= ?1
             ORDER BY timeout_at, id LIMIT ?2",
            "waitpoints_due",
        ),
        ("SELECT environment_id, COUNT(*) FROM waitpoints WHERE status = 'waiting' GROUP BY 1", "waitpoints_waiting"),
    ] {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let mut rows = statement.raw_query();
        let mut plan = String::new();
        while let Some(row) = rows.next().unwrap() {
            plan += &row.get::<_, String>(3).unwrap();
        }
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
    }
}
