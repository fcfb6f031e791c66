//! What the page shows beside runs: lists of batches, what comes next, and who did what.

use axum::body::Body;
use axum::http::Request;
use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::harness::TestApp;

/// Sends a batch of these items; those that are not there yet follow never.
async fn batch(app: &TestApp, announced: usize, items: &[Value]) -> String {
    let made = app.post("/api/v3/batches", json!({ "runCount": announced })).await.ok();
    let id = made["id"].as_str().expect("an id").to_owned();
    let lines: String = items.iter().map(|item| format!("{item}\n")).collect();
    let request = Request::post(format!("/api/v3/batches/{id}/items")).header("content-type", "application/x-ndjson");
    app.send(&app.key, request, lines).await.ok();
    id
}

#[tokio::test]
async fn batches_are_listed_newest_first_with_what_became_of_their_items() {
    let app = TestApp::start().await;
    app.deploy(guests::SCRIPT).await;
    let item = |index: u32, task: &str, payload: Value| json!({ "index": index, "task": task, "payload": payload });
    let items = [
        item(0, "leaf", json!({ "echo": 1 })),
        item(1, "leaf", json!({ "fail": "no" })),
        item(2, "", json!(1)),
        item(3, "nobody-has-it", json!(1)),
    ];
    let mixed = batch(&app, 4, &items).await;
    let open = batch(&app, 2, &[item(0, "leaf", json!({ "echo": 1 }))]).await;
    for batch in [&mixed, &open] {
        let shown = app.get(&format!("/api/v2/batches/{batch}")).await.ok();
        for run in shown["runs"].as_array().unwrap().iter().take(2) {
            app.finished(run.as_str().unwrap()).await;
        }
    }

    let list = app.get("/api/v1/batches").await.ok();

    let data = list["data"].as_array().expect("a list");
    assert_eq!(data.iter().map(|batch| batch["id"].clone()).collect::<Vec<_>>(), [json!(open), json!(mixed)]);
    assert_eq!((&data[0]["status"], &data[0]["runCount"]), (&json!("PENDING"), &json!(2)));
    assert_eq!(data[1]["counts"], json!({ "succeeded": 1, "failed": 1, "unfinished": 1, "withoutRun": 1 }));
    assert_eq!(data[1]["status"], "PROCESSING");
    for batch in data {
        let path = format!("/api/v2/batches/{}", batch["id"].as_str().unwrap());
        assert_eq!(app.get(&path).await.ok()["status"], batch["status"], "as it says itself");
    }
    let first = app.get("/api/v1/batches?page[size]=1").await.ok();
    assert_eq!((&first["data"][0]["id"], first["data"].as_array().map(Vec::len)), (&json!(open), Some(1)));
    let next = first["pagination"]["next"].as_str().expect("there is another page");
    let second = app.get(&format!("/api/v1/batches?page[size]=1&page[after]={next}")).await.ok();
    assert_eq!(second["data"][0]["id"], mixed);
    let previous = second["pagination"]["previous"].as_str().expect("there was a page before");
    let back = app.get(&format!("/api/v1/batches?page[size]=1&page[before]={previous}")).await.ok();
    assert_eq!(back["data"][0]["id"], open);
    app.get("/api/v1/batches?filter[status]=PENDING").await.error(400);
    for run in app.all_runs("filter[taskIdentifier]=nobody-has-it").await {
        app.post_empty(&format!("/api/v2/runs/{}/cancel", run["id"].as_str().unwrap())).await.ok();
    }
}

#[tokio::test]
async fn a_schedule_shows_its_next_five_times() {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    let plan = json!({ "task": "echo", "cron": "*/10 * * * *", "deduplicationKey": "one" });
    let made = app.post("/api/v1/schedules", plan).await.ok();
    let path = format!("/api/v1/schedules/{}", made["id"].as_str().unwrap());

    let found = app.get(&path).await.ok();

    let at = |text: &Value| text.as_str().expect("a time").parse::<jiff::Timestamp>().expect("a time");
    let upcoming: Vec<jiff::Timestamp> = found["upcoming"].as_array().expect("a list").iter().map(at).collect();
    assert_eq!((upcoming.len(), upcoming[0]), (5, at(&found["nextRun"])));
    for pair in upcoming.windows(2) {
        assert_eq!(pair[1].duration_since(pair[0]).as_secs(), 600);
    }
    assert_eq!(made["upcoming"], found["upcoming"]);
    let list = app.get("/api/v1/schedules").await.ok();
    assert!(list["data"][0].get("upcoming").is_none(), "{list}");
    let stopped = app.post_empty(&format!("{path}/deactivate")).await.ok();
    assert!(stopped.get("upcoming").is_none(), "{stopped}");
    app.send(&app.key, Request::delete(&path), Body::empty()).await.ok();
}

#[tokio::test]
async fn a_deployment_says_who_uploaded_it() {
    let app = TestApp::start().await;
    let bytes = std::fs::read(guests::ECHO_V1).unwrap();
    let upload = async |key: &str, name: &str, branch: Option<&str>| {
        let request = Request::post(format!("/api/v1/deployments?name={name}")).header("x-dacapo-environment", "dev");
        let request = if let Some(branch) = branch { request.header("x-trigger-branch", branch) } else { request };
        app.send(key, request, bytes.clone()).await.ok()["deployment"].take()
    };

    let (by_key, by_admin) = (upload(&app.key, "one", None).await, upload(&app.admin_key, "two", None).await);

    let hint = by_key["deployedBy"].as_str().expect("a hint").to_owned();
    assert_eq!(hint, format!("tr_dev_…{}", &app.key[app.key.len() - 4..]), "and not the key");
    assert_eq!(by_admin["deployedBy"], "admin");
    assert_eq!(upload(&app.key, "three", Some("b")).await["deployedBy"], hint);
    assert_eq!(upload(&app.admin_key, "one", None).await["deployedBy"], hint, "who was the first");
    let list = app.get("/api/v1/deployments").await.ok();
    let by: Vec<&Value> = list["data"].as_array().unwrap().iter().map(|item| &item["deployedBy"]).collect();
    assert_eq!(by, [&json!("admin"), &json!(hint)]);
    let path = format!("/api/v1/deployments/{}", by_key["version"].as_str().unwrap());
    assert_eq!(app.get(&path).await.ok()["deployedBy"], hint);
}

#[tokio::test]
async fn a_session_names_the_version_of_the_server() {
    let app = TestApp::start().await;
    let browser = crate::sessions::Browser::login(&app).await;
    let session = browser.send("GET", "/api/v1/session", Value::Null).await.ok();
    assert_eq!(session["version"], env!("CARGO_PKG_VERSION"));
}
