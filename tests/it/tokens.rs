//! Public access tokens and additional keys: which are refused, what the others open, and that
//! browsers may use them.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp};
use crate::jwt::{claims, claims_of, sign, sign_as};

async fn with_echo() -> (TestApp, Value) {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    let claims = app.post_empty("/api/v1/auth/jwt/claims").await.ok();
    assert_eq!(claims["pub"], true);
    (app, claims["sub"].clone())
}

fn now_ms() -> i64 {
    dacapo::clock::Clock::system().now().as_millisecond()
}

/// A good token with these scopes.
fn token(app: &TestApp, environment: &Value, scopes: &[&str]) -> String {
    sign(&app.key, &claims(environment, scopes, now_ms()))
}

async fn get(app: &TestApp, bearer: &str, path: &str) -> Answer {
    app.send(bearer, Request::get(path), Body::empty()).await
}

async fn post(app: &TestApp, bearer: &str, path: &str, body: Value) -> Answer {
    app.send(bearer, Request::post(path).header("content-type", "application/json"), body.to_string()).await
}

async fn trigger(app: &TestApp, bearer: &str, task: &str) -> Answer {
    post(app, bearer, &format!("/api/v1/tasks/{task}/trigger"), json!({ "payload": 1 })).await
}

#[tokio::test]
async fn what_is_no_good_token_opens_nothing() {
    let (app, environment) = with_echo().await;
    let good = claims(&environment, &["admin"], now_ms());
    let but = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    let stg = app.admin("POST", "/admin/v1/keys", json!({ "environment": "stg" })).await.ok();
    let stg_key = stg["key"].as_str().unwrap();
    let mut cut = sign(&app.key, &good);
    cut.truncate(cut.len() - 2);
    let unsigned = sign_as(&json!({ "alg": "none" }), &app.key, &good);
    let unsigned = unsigned[..=unsigned.rfind('.').unwrap()].to_owned();
    let seconds = now_ms() / 1_000;

    assert_eq!(get(&app, &sign(&app.key, &good), "/api/v1/runs").await.status, 200, "the good one is good");
    for (what, bearer) in [
        ("has expired", sign(&app.key, &but("exp", json!(seconds - 1)))),
        ("not good yet", sign(&app.key, &but("nbf", json!(seconds + 100)))),
        ("no `exp`", sign(&app.key, &without("exp"))),
        ("`iss` must be", sign(&app.key, &but("iss", json!("https://id.example.com")))),
        ("no `iss`", sign(&app.key, &without("iss"))),
        ("`aud` must be", sign(&app.key, &but("aud", json!("https://api.example.com")))),
        ("no `aud`", sign(&app.key, &without("aud"))),
        ("`pub`", sign(&app.key, &but("pub", json!(false)))),
        ("`pub`", sign(&app.key, &without("pub"))),
        ("no key of the environment", sign(stg_key, &good)),
        ("no key of the environment", sign("", &good)),
        ("no key of the environment", sign(&app.admin_key, &good)),
        ("no key of the environment", sign(&app.key, &but("sub", json!("env_00000000000000000000000007")))),
        ("not the id of an environment", sign(&app.key, &but("sub", json!("dev")))),
        ("no environment", sign(&app.key, &without("sub"))),
        ("no key of the environment", cut),
        ("HS256", unsigned),
        ("HS256", sign_as(&json!({ "alg": "none" }), &app.key, &good)),
        ("HS256", sign_as(&json!({ "alg": "HS512" }), &app.key, &good)),
        ("HS256", sign_as(&json!({ "alg": "RS256" }), &app.key, &good)),
        ("not a JWT", "a.!.c".into()),
        ("no environment", "a.b28.c".into()),
    ] {
        let answer = get(&app, &bearer, "/api/v1/runs").await;
        assert_eq!(answer.json["code"], "unauthorized", "{what}: {answer:?}");
        let text = answer.error(401);
        assert!(text.contains(what) && !text.contains(&app.key), "{what}: {text}");
    }
    let long = sign(&app.key, &but("scopes", json!(vec!["read:runs:x"; 1_000])));
    assert_eq!(get(&app, &long, "/api/v1/runs").await.error(401), "Invalid or Missing API key");
}

#[tokio::test]
async fn a_token_ends_with_its_time_and_with_its_key() {
    let (app, environment) = with_echo().await;
    let made = app.admin("POST", "/admin/v1/keys", json!({ "environment": "dev" })).await.ok();
    let bearer = sign(made["key"].as_str().unwrap(), &claims(&environment, &["read:runs"], now_ms()));
    let lasting = token(&app, &environment, &["read:runs"]);
    assert_eq!(get(&app, &bearer, "/api/v1/runs").await.status, 200);

    let path = format!("/admin/v1/keys/{}", made["id"].as_str().unwrap());
    app.admin("DELETE", &path, Value::Null).await.ok();

    assert!(get(&app, &bearer, "/api/v1/runs").await.error(401).contains("no key of the environment"));
    assert_eq!(get(&app, &lasting, "/api/v1/runs").await.status, 200, "that of another key goes on");
    app.app().advance(Duration::from_secs(901));
    assert!(get(&app, &lasting, "/api/v1/runs").await.error(401).contains("has expired"));
}

#[tokio::test]
async fn a_run_is_read_by_whoever_may_read_it_its_task_a_tag_or_its_batch() {
    let (app, environment) = with_echo().await;
    let create = json!({ "runCount": 1, "taskIdentifiers": ["echo"] });
    let batch = app.post("/api/v3/batches", create).await.ok()["id"].as_str().unwrap().to_owned();
    let line = json!({ "index": 0, "task": "echo", "payload": 1, "options": { "tags": ["user:1", "x"] } });
    let items = Request::post(format!("/api/v3/batches/{batch}/items")).header("content-type", "application/x-ndjson");
    app.send(&app.key, items, line.to_string()).await.ok();
    let batch_path = format!("/api/v2/batches/{batch}");
    let run = app.get(&batch_path).await.ok()["runs"][0].as_str().unwrap().to_owned();
    app.finished(&run).await;
    let paths = [
        format!("/api/v3/runs/{run}"),
        format!("/api/v1/runs/{run}/result"),
        format!("/api/v1/runs/{run}/events"),
        format!("/api/v1/runs/{run}/logs"),
    ];
    let (of_run, of_batch) = (format!("read:runs:{run}"), format!("read:batch:{batch}"));
    for scope in
        [&of_run, "read:runs", "read:tasks:echo", "read:tags:user:1", "read:tags:x", &of_batch, "*:all", "admin"]
    {
        let bearer = token(&app, &environment, &["read:runs:run_1", scope]);
        for path in &paths {
            assert_eq!(get(&app, &bearer, path).await.status, 200, "{scope}: {path}");
        }
    }
    for scope in ["read:runs:run_1", "write:runs", "read:tasks:other", "read:tags:user", "trigger:tasks:echo", "read"] {
        let bearer = token(&app, &environment, &[scope]);
        for path in &paths {
            let answer = get(&app, &bearer, path).await;
            assert_eq!((&answer.json["code"], &answer.json["param"]), (&json!("unauthorized"), &json!("access_token")));
            assert_eq!(answer.error(403), "Unauthorized", "{scope}: {path}");
        }
    }
    for (scope, status) in [(of_batch.as_str(), 200), ("read:runs", 200), (&of_run, 403), ("read:batch:batch_1", 403)] {
        for path in [&batch_path, &format!("/api/v1/batches/{batch}/results")] {
            assert_eq!(get(&app, &token(&app, &environment, &[scope]), path).await.status, status, "{scope}: {path}");
        }
    }
    let nobody = "/api/v3/runs/run_00000000000000000000000007";
    get(&app, &token(&app, &environment, &["read:runs"]), nobody).await.error(404);
    let other = app.admin("POST", "/admin/v1/keys", json!({ "environment": "stg" })).await.ok();
    let other_environment = post(&app, other["key"].as_str().unwrap(), "/api/v1/auth/jwt/claims", json!({})).await.ok();
    let foreign = sign(other["key"].as_str().unwrap(), &claims(&other_environment["sub"], &["admin"], now_ms()));
    get(&app, &foreign, &paths[0]).await.error(404);
}

#[tokio::test]
async fn a_list_takes_a_scope_for_all_it_may_show() {
    let (app, environment) = with_echo().await;
    let all = "/api/v1/runs";
    let of = |tasks: &str| format!("/api/v1/runs?filter[taskIdentifier]={tasks}");
    for (scopes, path, status) in [
        (&["read:runs"][..], all.to_owned(), 200),
        (&["read:tasks"], all.to_owned(), 200),
        (&["read:tasks:echo"], all.to_owned(), 403),
        (&["read:runs:run_1"], all.to_owned(), 403),
        (&["read:tasks:echo"], of("echo"), 200),
        (&["read:tasks:echo"], of("echo,other"), 403),
        (&["read:tasks:echo", "read:tasks:other"], of("echo,other"), 200),
    ] {
        assert_eq!(get(&app, &token(&app, &environment, scopes), &path).await.status, status, "{scopes:?}: {path}");
    }
}

#[tokio::test]
async fn canceling_and_replaying_take_the_right_to_write() {
    let (app, environment) = with_echo().await;
    for scope in ["write:runs:{run}", "write:tasks:echo", "write:runs"] {
        let run = app.trigger_with("echo", json!(1), json!({ "delay": "1h" })).await;
        let reader = token(&app, &environment, &["read:runs", "trigger:tasks", "write:runs:run_1"]);
        let writer = token(&app, &environment, &[&scope.replace("{run}", &run)]);
        for path in [format!("/api/v1/runs/{run}/replay"), format!("/api/v2/runs/{run}/cancel")] {
            post(&app, &reader, &path, json!({})).await.error(403);
            post(&app, &writer, &path, json!({})).await.ok();
        }
        assert_eq!(app.run(&run).await["status"], "CANCELED", "{scope}");
    }
}

#[tokio::test]
async fn a_trigger_by_token_answers_with_a_token_for_its_run() {
    let (app, environment) = with_echo().await;
    let bearer = token(&app, &environment, &["trigger:tasks:echo"]);
    trigger(&app, &bearer, "other").await.error(403);
    trigger(&app, &token(&app, &environment, &["batchTrigger:tasks:echo", "read:tasks"]), "echo").await.error(403);
    let answer = trigger(&app, &bearer, "echo").await;
    assert!(answer.headers.get("x-trigger-jwt-claims").is_none());
    let pass = answer.headers["x-trigger-jwt"].to_str().unwrap().to_owned();
    let run = answer.ok()["id"].as_str().unwrap().to_owned();
    let scopes = json!([format!("read:runs:{run}"), format!("write:inputStreams:{run}")]);
    assert_eq!((&claims_of(&pass)["scopes"], &claims_of(&pass)["sub"]), (&scopes, &environment));
    assert_eq!(get(&app, &pass, &format!("/api/v3/runs/{run}")).await.ok()["id"], json!(run));
    get(&app, &bearer, &format!("/api/v3/runs/{run}")).await.error(403);
    trigger(&app, &pass, "echo").await.error(403);
    let by_key = trigger(&app, &app.key, "echo").await;
    assert!(by_key.headers.get("x-trigger-jwt").is_none() && by_key.headers.contains_key("x-trigger-jwt-claims"));
}

#[tokio::test]
async fn a_one_time_token_makes_one_run() {
    let (app, environment) = with_echo().await;
    let mut claims = claims(&environment, &["trigger:tasks:echo", "write:runs", "read:runs"], now_ms());
    claims["otu"] = json!(true);
    let bearer = sign(&app.key, &claims);
    let keyed = |key: &str| {
        Request::post("/api/v1/tasks/echo/trigger").header("x-trigger-request-idempotency-key", key.to_owned())
    };
    let first = app.send(&bearer, keyed("one"), json!({ "payload": 1 }).to_string()).await.ok();
    let again = app.send(&bearer, keyed("one"), json!({ "payload": 1 }).to_string()).await.ok();
    assert_eq!(again["id"], first["id"], "another try of the same request is no other use");

    let used = "the one-time token has been used already";
    assert_eq!(app.send(&bearer, keyed("two"), json!({ "payload": 1 }).to_string()).await.error(422), used);
    assert_eq!(trigger(&app, &bearer, "echo").await.error(422), used);
    let replay = format!("/api/v1/runs/{}/replay", first["id"].as_str().unwrap());
    assert_eq!(post(&app, &bearer, &replay, json!({})).await.error(422), used);
    assert_eq!(app.get("/api/v1/runs").await.ok()["data"].as_array().unwrap().len(), 1);
    assert_eq!(get(&app, &bearer, "/api/v1/runs").await.status, 200, "looking is no use");
    let app = app.restart().await;
    assert_eq!(trigger(&app, &bearer, "echo").await.error(422), used, "also after a restart");
}

#[tokio::test]
async fn no_token_replays_in_the_sandbox() {
    let (app, environment) = with_echo().await;
    let run = app.call("echo", json!(1)).await["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/runs/{run}/replay");
    let mut once = claims(&environment, &["write:runs", "read:runs"], now_ms());
    once["otu"] = json!(true);
    let once = sign(&app.key, &once);
    for bearer in [&once, &token(&app, &environment, &["admin"])] {
        for mode in ["sandbox", "shadow"] {
            let text = post(&app, bearer, &path, json!({ "mode": mode, "payload": 2 })).await.error(403);
            assert!(text.contains("does not open the modes `sandbox` and `shadow`"), "{text}");
        }
    }
    assert_eq!(post(&app, &app.key, &path, json!({ "mode": "sandbox" })).await.ok()["verdict"], "same");
    post(&app, &once, &path, json!({ "mode": "live" })).await.ok();
    post(&app, &once, &path, json!({})).await.error(422);
}

#[tokio::test]
async fn a_batch_takes_a_scope_for_every_task_of_its_items() {
    let (app, environment) = with_echo().await;
    let mut once = claims(&environment, &["batchTrigger:tasks:echo"], now_ms());
    once["otu"] = json!(true);
    let bearer = sign(&app.key, &once);
    let create = |tasks: Value| json!({ "runCount": 1, "taskIdentifiers": tasks });
    post(&app, &bearer, "/api/v3/batches", create(json!(["echo", "other"]))).await.error(403);
    let reader = token(&app, &environment, &["read:batch", "trigger:tasks"]);
    post(&app, &reader, "/api/v3/batches", json!({ "runCount": 1 })).await.error(403);

    let answer = post(&app, &bearer, "/api/v3/batches", create(json!(["echo"]))).await;
    let pass = answer.headers["x-trigger-jwt"].to_str().unwrap().to_owned();
    let batch = answer.ok()["id"].as_str().unwrap().to_owned();
    assert_eq!(claims_of(&pass)["scopes"], json!([format!("read:batch:{batch}")]));
    let used = post(&app, &bearer, "/api/v3/batches", create(json!(["echo"]))).await;
    assert_eq!(used.error(422), "the one-time token has been used already");

    let path = format!("/api/v3/batches/{batch}/items");
    let items = |task: &str| json!({ "index": 0, "task": task, "payload": 1 }).to_string();
    let request = || Request::post(&path).header("content-type", "application/x-ndjson");
    app.send(&reader, request(), items("echo")).await.error(403);
    app.send(&bearer, request(), items("other")).await.error(403);
    assert_eq!(app.send(&bearer, request(), items("echo")).await.ok()["sealed"], true);
    let shown = get(&app, &pass, &format!("/api/v2/batches/{batch}")).await.ok();
    let run = shown["runs"][0].as_str().unwrap().to_owned();
    assert_eq!(get(&app, &pass, &format!("/api/v3/runs/{run}")).await.status, 200, "its runs can be followed");
    let all = token(&app, &environment, &["batchTrigger:batch"]);
    post(&app, &all, "/api/v3/batches", create(json!(["whatever"]))).await.ok();
}

#[tokio::test]
async fn the_announcement_of_a_batch_can_be_tried_again_with_its_one_time_token() {
    let (app, environment) = with_echo().await;
    let once = |number: i64| {
        let mut once = claims(&environment, &["batchTrigger:tasks:echo"], now_ms());
        (once["otu"], once["jti"]) = (json!(true), json!(number));
        sign(&app.key, &once)
    };
    let create = async |bearer: &str, key: &str, body: &Value| {
        let request = Request::post("/api/v3/batches").header("x-trigger-request-idempotency-key", key);
        app.send(bearer, request, body.to_string()).await
    };
    let used = "the one-time token has been used already";
    let body = json!({ "runCount": 1 });
    let bearer = once(1);
    let first = create(&bearer, "a", &body).await.ok();

    assert_eq!(create(&bearer, "a", &body).await.ok(), first, "its answer was lost");

    assert_eq!(first["isCached"], false);
    assert_eq!(create(&bearer, "b", &body).await.error(422), used, "another request");
    assert_eq!(post(&app, &bearer, "/api/v3/batches", body.clone()).await.error(422), used);
    let other = create(&bearer, "a", &json!({ "runCount": 2 })).await.error(422);
    assert!(other.starts_with("x-trigger-request-idempotency-key belongs to another request"), "{other}");
    assert_ne!(create(&app.key, "c", &body).await.ok()["id"], first["id"]);
    // The caller's own key has the same effect.
    let (bearer, body) = (once(2), json!({ "runCount": 1, "idempotencyKey": "k" }));
    let first = create(&bearer, "d", &body).await.ok();
    assert_eq!(create(&bearer, "d", &body).await.ok(), first);
    assert_eq!(post(&app, &bearer, "/api/v3/batches", body).await.ok(), first);
    // A day later it is another request.
    let body = json!({ "runCount": 1 });
    let first = create(&app.key, "e", &body).await.ok();
    app.app().advance(Duration::from_secs(86_401));
    assert_ne!(create(&app.key, "e", &body).await.ok()["id"], first["id"]);
}

#[tokio::test]
async fn other_routes_take_no_token_whatever_its_scopes() {
    let (app, environment) = with_echo().await;
    let run = app.trigger("echo", json!(1)).await;
    let bearer = token(&app, &environment, &["admin", "*:all", "write:all"]);
    for (method, path) in [
        ("POST", "/api/v1/auth/jwt/claims".to_owned()),
        ("POST", "/api/v1/auth/public-tokens".to_owned()),
        ("GET", "/api/v1/projects/p/envvars/dev".to_owned()),
        ("POST", "/api/v1/deployments?name=x".to_owned()),
        ("GET", "/api/v1/deployments".to_owned()),
        ("GET", "/api/v1/schedules".to_owned()),
        ("GET", "/api/v1/queues".to_owned()),
        ("PUT", format!("/api/v1/runs/{run}/metadata")),
        ("POST", format!("/api/v1/runs/{run}/tags")),
        ("POST", format!("/api/v1/runs/{run}/reschedule")),
    ] {
        let answer = app.send(&bearer, Request::builder().method(method).uri(&path), "{}").await;
        let text = answer.error(403);
        assert_eq!(text, "a public access token does not open this, whatever its scopes: use an API key", "{path}");
    }
    let text = get(&app, &bearer, "/admin/v1/keys").await.error(403);
    assert_eq!(text, "this takes the admin key, not a public access token");
    let elsewhere = Request::get("/api/v1/runs").header("x-dacapo-environment", "stg");
    let list = app.send(&bearer, elsewhere, Body::empty()).await.ok();
    assert_eq!(list["data"].as_array().unwrap().len(), 1, "a header does not lead a token elsewhere");
}

#[tokio::test]
async fn for_an_additional_key_the_server_makes_the_tokens() {
    let (app, _) = with_echo().await;
    let made = app.admin("POST", "/admin/v1/keys", json!({ "environment": "dev", "additional": true })).await.ok();
    let key = made["key"].as_str().unwrap().to_owned();
    let body = key.strip_prefix("tr_dev_sk_").unwrap_or_else(|| panic!("{key}"));
    assert!(body.len() == 24 && body.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{key}");
    let listed = app.admin("GET", "/admin/v1/keys", Value::Null).await.ok();
    let item = listed["data"].as_array().unwrap().iter().find(|item| item["id"] == made["id"]).unwrap();
    assert_eq!(item["hint"], format!("tr_dev_sk_…{}", &key[key.len() - 4..]));

    let answer = trigger(&app, &key, "echo").await;
    assert!(answer.headers.get("x-trigger-jwt-claims").is_none());
    let pass = answer.headers["x-trigger-jwt"].to_str().unwrap().to_owned();
    let path = format!("/api/v3/runs/{}", answer.ok()["id"].as_str().unwrap());
    assert_eq!(get(&app, &pass, &path).await.status, 200);

    let ask = json!({ "scopes": ["read:runs"], "expirationTime": "2h", "realtime": { "skipColumns": ["payload"] } });
    let made_token = post(&app, &key, "/api/v1/auth/public-tokens", ask).await.ok();
    let bearer = made_token["token"].as_str().unwrap().to_owned();
    let claims = claims_of(&bearer);
    let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert_eq!((life, &claims["realtime"]["skipColumns"]), (7_200, &json!(["payload"])));
    assert_eq!(get(&app, &bearer, &path).await.status, 200);
    trigger(&app, &bearer, "echo").await.error(403);
    let once = json!({ "scopes": ["trigger:tasks:echo"], "oneTimeUse": true, "expirationTime": now_ms() / 1_000 + 60 });
    let once = post(&app, &key, "/api/v1/auth/public-tokens", once).await.ok();
    trigger(&app, once["token"].as_str().unwrap(), "echo").await.ok();
    trigger(&app, once["token"].as_str().unwrap(), "echo").await.error(422);

    app.admin("DELETE", &format!("/admin/v1/keys/{}", made["id"].as_str().unwrap()), Value::Null).await.ok();
    for bearer in [&key, &pass, &bearer] {
        get(&app, bearer, &path).await.error(401);
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_is_not_made() {
    let (app, _) = with_echo().await;
    let path = "/api/v1/auth/public-tokens";
    for (ask, why) in [
        (json!({ "scopes": [] }), "`scopes`"),
        (json!({ "scopes": vec!["read:runs"; 101] }), "`scopes`"),
        (json!({ "scopes": ["read"] }), "a scope is"),
        (json!({ "scopes": ["read::x"] }), "a scope is"),
        (json!({ "scopes": [format!("read:tags:{}", "x".repeat(600))] }), "a scope is"),
        (json!({ "scopes": ["read:runs"], "expirationTime": "soon" }), "`expirationTime`"),
        (json!({ "scopes": ["read:runs"], "expirationTime": "0s" }), "`expirationTime`"),
        (json!({ "scopes": ["read:runs"], "expirationTime": "400d" }), "`expirationTime`"),
        (json!({ "scopes": ["read:runs"], "expirationTime": 1 }), "`expirationTime`"),
        (json!({ "scopes": ["read:runs"], "realtime": { "skipColumns": ["x".repeat(600)] } }), "skipColumns"),
        (json!({ "scopes": vec![format!("read:tags:{}", "x".repeat(400)); 50] }), "8192"),
    ] {
        let text = app.post(path, ask.clone()).await.error(400);
        assert!(text.contains(why), "{ask}: {text}");
    }
    let request = Request::post(path).header("x-dacapo-environment", "dev");
    let by_admin = app.send(&app.admin_key, request, json!({ "scopes": ["read:runs"] }).to_string()).await;
    assert!(by_admin.error(403).contains("use one, not the admin key"));
}

/// What a browser asks before it lets a page ask.
async fn preflight(app: &TestApp, path: &str) -> (u16, HeaderMap) {
    let request = Request::builder()
        .method("OPTIONS")
        .uri(path)
        .header("origin", "https://shop.example.com")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,trigger-version");
    let answer = app.send("", request, Body::empty()).await;
    (answer.status.as_u16(), answer.headers)
}

#[tokio::test]
async fn pages_of_any_origin_may_use_tokens() {
    let (app, environment) = with_echo().await;
    for path in [
        "/api/v1/tasks/echo/trigger",
        "/api/v3/runs/run_1",
        "/api/v1/runs",
        "/api/v3/batches",
        "/api/v3/batches/b/items",
    ] {
        let (status, headers) = preflight(&app, path).await;
        assert_eq!((status, &headers["access-control-allow-origin"]), (200, &"*".parse().unwrap()), "{path}");
        assert_eq!(headers["access-control-allow-headers"], "authorization,content-type,trigger-version");
        assert!(headers["access-control-allow-methods"].to_str().unwrap().contains("POST"));
    }
    for path in ["/admin/v1/keys", "/api/v1/projects/p/envvars/dev", "/api/v1/deployments"] {
        let (_, headers) = preflight(&app, path).await;
        assert!(!headers.contains_key("access-control-allow-origin"), "{path}: {headers:?}");
    }
    let request = Request::get("/api/v1/runs").header("origin", "https://shop.example.com");
    for bearer in [token(&app, &environment, &["read:runs"]), "nonsense".into()] {
        let request = Request::get("/api/v1/runs").header("origin", request.headers_ref().unwrap()["origin"].clone());
        let answer = app.send(&bearer, request, Body::empty()).await;
        assert_eq!(answer.headers["access-control-allow-origin"], "*", "a page may read refusals, too");
        assert_eq!(answer.headers["access-control-expose-headers"], "*");
    }
}
