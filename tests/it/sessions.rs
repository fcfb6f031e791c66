//! Operators who are logged in: the cookie in place of the admin key.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp};

/// An operator's browser.
pub struct Browser<'a> {
    app: &'a TestApp,
    cookie: String,
    csrf: String,
}

impl<'a> Browser<'a> {
    pub async fn login(app: &'a TestApp) -> Self {
        let answer = login(app, &app.admin_key).await;
        let set = answer.headers[header::SET_COOKIE].to_str().expect("text").to_owned();
        let cookie = set.split(';').next().expect("a pair").to_owned();
        let csrf = answer.ok()["csrfToken"].as_str().expect("a text").to_owned();
        Self { app, cookie, csrf }
    }

    /// A request as its page would send it, but for the header that `without` names.
    async fn send_without(&self, without: &str, method: &str, path: &str, body: Value) -> Answer {
        let headers = [
            ("cookie", self.cookie.as_str()),
            ("x-csrf-token", &self.csrf),
            ("x-dacapo-environment", "dev"),
            ("content-type", "application/json"),
        ];
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers.into_iter().filter(|(name, _)| *name != without) {
            request = request.header(name, value);
        }
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        self.app.send_as_is(request.body(body).expect("a request")).await
    }

    pub async fn send(&self, method: &str, path: &str, body: Value) -> Answer {
        self.send_without("", method, path, body).await
    }
}

async fn login(app: &TestApp, key: &str) -> Answer {
    let request = Request::post("/api/v1/session").header(header::CONTENT_TYPE, "application/json");
    let body = json!({ "adminKey": key }).to_string();
    app.send_as_is(request.body(Body::from(body)).expect("a request")).await
}

#[tokio::test]
async fn a_session_opens_what_the_admin_key_opens() {
    let app = TestApp::start().await;
    let browser = Browser::login(&app).await;
    let environments = browser.send("GET", "/admin/v1/environments", Value::Null).await.ok();
    assert!(environments["data"].as_array().is_some_and(|list| !list.is_empty()), "{environments}");
    let run = browser.send("POST", "/api/v1/tasks/later/trigger", json!({ "payload": 1 })).await.ok();
    let found = browser.send("GET", &format!("/api/v3/runs/{}", run["id"].as_str().expect("an id")), Value::Null).await;
    assert_eq!(found.ok()["status"], "PENDING_VERSION");
    let shown = browser.send("GET", "/api/v1/session", Value::Null).await.ok();
    assert_eq!(shown["csrfToken"], json!(browser.csrf));
}

#[tokio::test]
async fn a_cookie_is_out_of_reach_of_scripts_and_other_sites() {
    let app = TestApp::start().await;
    let answer = login(&app, &app.admin_key).await;
    let set = answer.headers[header::SET_COOKIE].to_str().expect("text");
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=604800"] {
        assert!(set.contains(part), "{part} in {set}");
    }
    assert!(!answer.ok().to_string().contains(&app.admin_key), "the key does not come back");
}

#[tokio::test]
async fn a_change_needs_what_only_the_page_knows() {
    let app = TestApp::start().await;
    let browser = Browser::login(&app).await;
    let trigger = "/api/v1/tasks/later/trigger";
    let refused = browser.send_without("x-csrf-token", "POST", trigger, json!({ "payload": 1 })).await;
    assert_eq!((refused.status, &refused.json["code"]), (StatusCode::FORBIDDEN, &json!("forbidden")));
    let other = Browser::login(&app).await;
    let mixed = Browser { csrf: other.csrf.clone(), cookie: browser.cookie.clone(), app: &app };
    assert_eq!(mixed.send("POST", trigger, json!({ "payload": 1 })).await.status, StatusCode::FORBIDDEN);
    assert_eq!(mixed.send("DELETE", "/api/v1/session", Value::Null).await.status, StatusCode::FORBIDDEN);
    assert_eq!(browser.send("GET", "/api/v1/runs", Value::Null).await.ok()["data"], json!([]), "nothing was made");
}

#[tokio::test]
async fn a_session_ends() {
    let app = TestApp::start().await;
    let (one, other) = (Browser::login(&app).await, Browser::login(&app).await);
    let ended = one.send("DELETE", "/api/v1/session", Value::Null).await;
    assert_eq!(ended.status, StatusCode::NO_CONTENT);
    assert!(ended.headers[header::SET_COOKIE].to_str().expect("text").contains("Max-Age=0"));
    assert_eq!(one.send("GET", "/api/v1/session", Value::Null).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(one.send("GET", "/api/v1/runs", Value::Null).await.status, StatusCode::UNAUTHORIZED);
    other.send("GET", "/api/v1/runs", Value::Null).await.ok();
    app.app().advance(std::time::Duration::from_secs(7 * 86_400));
    assert_eq!(other.send("GET", "/api/v1/runs", Value::Null).await.status, StatusCode::UNAUTHORIZED, "it is too old");
}

#[tokio::test]
async fn a_new_session_ends_the_one_that_it_replaces() {
    let app = TestApp::start().await;
    let (old, other) = (Browser::login(&app).await, Browser::login(&app).await);
    let request = Request::post("/api/v1/session")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::COOKIE, &old.cookie);
    let body = json!({ "adminKey": app.admin_key }).to_string();
    app.send_as_is(request.body(Body::from(body)).expect("a request")).await.ok();
    assert_eq!(old.send("GET", "/api/v1/runs", Value::Null).await.status, StatusCode::UNAUTHORIZED);
    other.send("GET", "/api/v1/runs", Value::Null).await.ok();
}

#[tokio::test]
async fn other_keys_begin_no_session() {
    let app = TestApp::start().await;
    for key in [app.key.as_str(), "", "dcp_admin_guessed"] {
        let answer = login(&app, key).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{key}");
        assert!(!answer.headers.contains_key(header::SET_COOKIE));
    }
    let guessed = Browser { app: &app, cookie: "dacapo_session=guessed".into(), csrf: String::new() };
    assert_eq!(guessed.send("GET", "/api/v1/runs", Value::Null).await.status, StatusCode::UNAUTHORIZED);
}
