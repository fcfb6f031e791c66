//! Who may do what: keys, environments, and what nobody may read.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::{UNAUTHORIZED, admin_in, get_with, id, id_key, new_key, with_echo};
use crate::harness::TestApp;

#[tokio::test]
async fn nothing_opens_without_a_good_key() {
    let app = TestApp::start().await;
    for (method, path) in [
        ("POST", "/api/v1/tasks/echo/trigger"),
        ("GET", "/api/v1/runs"),
        ("GET", "/api/v3/runs/run_00000000000000000000000007"),
        ("GET", "/api/v1/runs/run_00000000000000000000000007/result"),
        ("GET", "/api/v1/runs/run_00000000000000000000000007/events"),
        ("GET", "/api/v1/runs/run_00000000000000000000000007/logs"),
        ("POST", "/api/v1/runs/run_00000000000000000000000007/replay"),
        ("POST", "/api/v2/runs/run_00000000000000000000000007/cancel"),
        ("GET", "/api/v1/deployments"),
        ("POST", "/api/v1/deployments?name=x"),
        ("GET", "/api/v1/deployments/current"),
        ("POST", "/api/v1/deployments/rollback"),
        ("GET", "/api/v1/projects/p/envvars/dev"),
        ("POST", "/api/v1/projects/p/envvars/dev/import"),
        ("DELETE", "/api/v1/projects/p/envvars/dev/A"),
        ("GET", "/admin/v1/environments"),
        ("PUT", "/admin/v1/environments/dev/egress"),
        ("GET", "/admin/v1/keys"),
        ("POST", "/admin/v1/keys"),
        ("DELETE", "/admin/v1/keys/key_00000000000000000000000007"),
    ] {
        for key in ["", "tr_dev_aaaaaaaaaaaaaaaaaaaaaaaa", &"x".repeat(5_000)] {
            let answer = app.send(key, Request::builder().method(method).uri(path), "{}").await;
            assert_eq!(answer.json["code"], "unauthorized", "{method} {path}: {answer:?}");
            assert_eq!(answer.error(401), UNAUTHORIZED, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_header_that_is_no_bearer_is_no_key() {
    use tower::ServiceExt;
    let app = TestApp::start().await;
    for value in [None, Some(app.key.clone()), Some(format!("Basic {}", app.key)), Some("Bearer".to_owned())] {
        let mut request = Request::get("/api/v1/runs");
        if let Some(value) = &value {
            request = request.header("authorization", value);
        }
        let answer = app.app().router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 401, "{value:?}");
    }
    let lower = Request::get("/api/v1/runs").header("authorization", format!("bearer  {} ", app.key));
    let answer = app.app().router().oneshot(lower.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200, "schemes are not case-sensitive");
}

#[tokio::test]
async fn a_key_sees_only_its_own_environment() {
    let app = with_echo().await;
    let run = id(&app.call("echo", json!(1)).await);
    let staging = id_key(&new_key(&app, "staging").await);
    for path in [
        format!("/api/v3/runs/{run}"),
        format!("/api/v1/runs/{run}/result"),
        format!("/api/v1/runs/{run}/events"),
        format!("/api/v1/runs/{run}/logs"),
    ] {
        assert_eq!(get_with(&app, &staging, &path).await.error(404), "Run not found", "{path}");
    }
    for path in [format!("/api/v2/runs/{run}/cancel"), format!("/api/v1/runs/{run}/replay")] {
        let answer = app.send(&staging, Request::post(&path), Body::empty()).await;
        assert_eq!(answer.error(404), "Run not found", "{path}");
    }
    let list = get_with(&app, &staging, "/api/v1/runs").await.ok();
    assert_eq!(list["data"], json!([]));
    let deployments = get_with(&app, &staging, "/api/v1/deployments").await.ok();
    assert_eq!(deployments["data"], json!([]));
    let variables = get_with(&app, &staging, "/api/v1/projects/p/envvars/dev").await;
    assert_eq!(variables.error(403), "the key belongs to another environment");
}

#[tokio::test]
async fn the_admin_key_opens_every_environment_that_a_header_names() {
    let app = with_echo().await;
    let run = id(&app.call("echo", json!(1)).await);
    let path = format!("/api/v3/runs/{run}");
    let answer = get_with(&app, &app.admin_key, &path).await;
    assert_eq!(answer.error(400), "with the admin key, name an environment in the header x-dacapo-environment");
    assert_eq!(admin_in(&app, "dev", "GET", &path, Value::Null).await.ok()["id"], run);
    assert_eq!(admin_in(&app, "development", "GET", &path, Value::Null).await.ok()["id"], run);
    admin_in(&app, "staging", "GET", &path, Value::Null).await.error(404);
    let text = admin_in(&app, "moon", "GET", &path, Value::Null).await.error(404);
    assert_eq!(text, "there is no such environment: choose dev, staging, production or preview");
}

#[tokio::test]
async fn the_key_of_an_environment_does_not_open_admin_routes() {
    let app = TestApp::start().await;
    for path in ["/admin/v1/environments", "/admin/v1/keys"] {
        let text = app.get(path).await.error(403);
        assert_eq!(text, "this takes the admin key, not the key of an environment");
    }
    app.post("/admin/v1/keys", json!({ "environment": "dev" })).await.error(403);
}

#[tokio::test]
async fn a_key_is_shown_once_and_stops_working_at_once_when_it_is_revoked() {
    let app = with_echo().await;
    for (environment, slug) in [("dev", "dev"), ("staging", "stg"), ("production", "prod")] {
        let created = new_key(&app, environment).await;
        assert_eq!(created["environment"], slug);
        let key = id_key(&created);
        let prefix = format!("tr_{slug}_");
        let body = key.strip_prefix(&prefix).unwrap_or_else(|| panic!("{key} begins with {prefix}"));
        assert!(body.len() == 24 && body.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{key}");
        assert_eq!(get_with(&app, &key, "/api/v1/runs").await.status, 200);

        let listed = app.admin("GET", "/admin/v1/keys", Value::Null).await.ok();
        assert!(!listed.to_string().contains(&key), "a list never shows a key: {listed}");
        let find = |list: &Value| {
            let keys = list["data"].as_array().unwrap();
            keys.iter().find(|item| item["id"] == created["id"]).expect("the key is listed").clone()
        };
        let item = find(&listed);
        assert_eq!(item["hint"], format!("{prefix}…{}", &key[key.len() - 4..]));
        assert!(item.get("revokedAt").is_none(), "{item}");

        let path = format!("/admin/v1/keys/{}", id(&created));
        assert_eq!(app.admin("DELETE", &path, Value::Null).await.ok(), json!({ "success": true }));
        assert_eq!(get_with(&app, &key, "/api/v1/runs").await.error(401), UNAUTHORIZED);
        let listed = app.admin("GET", "/admin/v1/keys", Value::Null).await.ok();
        assert!(find(&listed)["revokedAt"].is_string(), "{listed}");
        let again = app.admin("DELETE", &path, Value::Null).await.error(404);
        assert_eq!(again, "there is no such key, or it was revoked before");
    }
    assert_eq!(app.get("/api/v1/runs").await.status, 200, "other keys go on working");
}

#[tokio::test]
async fn a_key_for_an_unknown_environment_is_refused() {
    let app = TestApp::start().await;
    app.admin("POST", "/admin/v1/keys", json!({ "environment": "moon" })).await.error(404);
    app.admin("POST", "/admin/v1/keys", json!({ "environment": "dev", "extra": 1 })).await.error(400);
    app.admin("DELETE", "/admin/v1/keys/nonsense", Value::Null).await.error(404);
}

#[tokio::test]
async fn the_data_directory_holds_neither_keys_nor_variables_in_plain_text() {
    let mut app = TestApp::start().await;
    let key = id_key(&new_key(&app, "prod").await);
    let variables = json!({ "name": "TOKEN", "value": "a-very-secret-value", "isSecret": true });
    app.post("/api/v1/projects/p/envvars/dev", variables).await.ok();
    let variables = json!({ "name": "OPEN", "value": "a-value-that-may-be-shown" });
    app.post("/api/v1/projects/p/envvars/dev", variables).await.ok();
    assert_eq!(get_with(&app, &key, "/api/v1/runs").await.status, 200);
    let dev_key = app.key.clone();
    app.stop().await;
    for file in ["dacapo.db", "dacapo.db-wal"] {
        let Ok(bytes) = std::fs::read(app.data_dir().join(file)) else { continue };
        for secret in [&key[8..], &dev_key[7..], "a-very-secret-value", "a-value-that-may-be-shown"] {
            let holds = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!holds, "{file} holds {secret}");
        }
    }
}
