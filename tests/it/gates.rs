//! What versions must stand before they are made current.

use std::time::Duration;

use dacapo::config::ServerArgs;
use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, TestApp};

const POLICY: &str = "/admin/v1/environments/dev/backtest-policy";

/// Uploads a version of the sample task that imports orders.
async fn upload(app: &TestApp, guest: &str, query: &str) -> Value {
    app.upload("order-importer", &std::fs::read(guest).expect("the sample was built"), query).await.ok()
}

async fn demand(app: &TestApp, policy: Value) {
    app.admin("PUT", POLICY, json!({ "policy": policy })).await.ok();
}

/// Imports an order; the first version fails where the price is written with a comma.
async fn import(app: &TestApp, price: &str) -> Value {
    let items = json!([{ "sku": "MUG", "quantity": 2, "price": price }]);
    let order = json!({ "id": "A-1", "currency": "EUR", "items": items, "address": { "country": "DE" } });
    app.call("import-order", order).await
}

/// The backtest that an upload has begun, when it is over.
async fn decided(app: &TestApp, receipt: &Value) -> Value {
    assert!(receipt.get("promotion").is_none() && receipt["deployment"]["isCurrent"] == false, "{receipt}");
    let id = receipt["backtestId"].as_str().unwrap_or_else(|| panic!("it has to wait for a backtest: {receipt}"));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let item = app.get(&format!("/api/v1/backtests/{id}")).await.ok();
        if item["status"] != "PENDING" {
            return item;
        }
        assert!(tokio::time::Instant::now() < deadline, "the backtest does not end: {item}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn current(app: &TestApp) -> Value {
    app.get("/api/v1/deployments/current").await.ok()["version"].clone()
}

#[tokio::test]
async fn a_policy_lets_through_what_is_clean_and_keeps_back_what_is_not() {
    let app = TestApp::start().await;
    demand(&app, json!({ "last": 100, "allow": 0 })).await;

    // Nothing to compare with: current at once, and the answer says why.
    let first = upload(&app, guests::SAMPLE_ORDER_IMPORTER_V1, "").await;
    assert_eq!(first["promotion"]["tasks"], json!(["import-order"]), "{first}");
    assert_eq!((&first["deployment"]["isCurrent"], first.get("backtestId")), (&json!(true), None), "{first}");
    assert!(first["note"].as_str().is_some_and(|note| note.contains("nothing to compare")), "{first}");
    import(&app, "9.90").await;
    assert_eq!(import(&app, "1,299.00").await["isSuccess"], false);

    let second = upload(&app, guests::SAMPLE_ORDER_IMPORTER_V2, "").await;
    let backtest = decided(&app, &second).await;
    assert_eq!(backtest["verdicts"], json!({ "same": 1, "fixed": 1 }), "{backtest}");
    assert_eq!(
        (&backtest["isOpen"], &backtest["gate"]),
        (&json!(true), &json!({ "allow": 0, "minKnown": 50 })),
        "{backtest}"
    );
    assert_eq!(current(&app).await, second["deployment"]["version"]);

    assert_eq!(import(&app, "1,299.00").await["isSuccess"], true);
    let third = upload(&app, guests::SAMPLE_ORDER_IMPORTER_V1, "").await;
    let backtest = decided(&app, &third).await;
    assert_eq!((&backtest["isOpen"], &backtest["verdicts"]["newly-failing"]), (&json!(false), &json!(1)), "{backtest}");
    assert_eq!(current(&app).await, second["deployment"]["version"]);

    // By hand past the policy it takes the operator, and is on record; back, as ever.
    let version = third["deployment"]["version"].as_str().expect("a version");
    let promote = format!("/api/v1/deployments/{version}/promote");
    assert!(app.post_empty(&promote).await.error(403).contains("to pass the policy by takes the admin key"));
    assert_eq!(current(&app).await, second["deployment"]["version"]);
    let as_operator = axum::http::Request::post(&promote).header("x-dacapo-environment", "dev");
    app.send(&app.admin_key, as_operator, axum::body::Body::empty()).await.ok();
    let promoted = app.get("/api/v1/deployments/current").await.ok();
    assert_eq!((promoted["version"].as_str(), promoted["pastPolicyAt"].is_string()), (Some(version), true));
    app.post_empty("/api/v1/deployments/rollback").await.ok();
    let back = app.get("/api/v1/deployments/current").await.ok();
    assert_eq!((&back["version"], back.get("pastPolicyAt")), (&second["deployment"]["version"], None));
    app.post_empty(&promote).await.ok();
}

#[tokio::test]
async fn no_deployment_undercuts_the_policy_of_its_environment() {
    let app = TestApp::start().await;
    let two = upload(&app, guests::SAMPLE_ORDER_IMPORTER_V2, "").await;
    import(&app, "1,299.00").await;
    import(&app, "9.90").await;
    demand(&app, json!({ "last": 50 })).await;
    let loose = "&backtest=%7B%22last%22%3A1%2C%22allow%22%3A1000000000%7D";
    let receipt = upload(&app, guests::SAMPLE_ORDER_IMPORTER_V1, loose).await;
    assert!(receipt["note"].as_str().is_some_and(|note| note.contains("where it is stricter")), "{receipt}");
    let backtest = decided(&app, &receipt).await;
    assert_eq!((&backtest["done"], &backtest["gate"]["allow"]), (&json!(2), &json!(0)), "{backtest}");
    assert_eq!((&backtest["isOpen"], current(&app).await), (&json!(false), two["deployment"]["version"].clone()));

    let bytes = std::fs::read(guests::SAMPLE_ORDER_IMPORTER_V1).expect("a guest");
    let execute = "&backtest=%7B%22options%22%3A%7B%22children%22%3A%22execute%22%7D%7D";
    assert!(app.upload("order-importer", &bytes, execute).await.error(400).contains("the environment has a policy"));
    let version = receipt["deployment"]["version"].as_str().expect("a version");
    let gate = json!({ "version": version, "last": 1, "gate": { "allow": 1_000 } });
    assert!(app.post("/api/v1/backtests", gate).await.error(403).contains("`gate` is not for you to say"));
    app.post("/api/v1/backtests", json!({ "version": version })).await.ok();
}

/// What a comparison overlooks is kept with the source of a task, and comes with its versions.
#[tokio::test]
async fn rules_come_with_a_deployment_unless_the_policy_has_its_own() {
    let app = TestApp::start().await;
    let upload =
        async |guest: &str, query: &str| app.upload("echo", &std::fs::read(guest).expect("a guest"), query).await.ok();
    upload(guests::ECHO_V1, "").await;
    app.call("echo", json!(1)).await;
    let rules = "&backtest=%7B%22options%22%3A%7B%22rules%22%3A%7B%22*%22%3A%7B%22ignore-output%22%3A%5B%22%24%22%5D%7D%7D%7D%7D";
    demand(&app, json!({ "options": { "rules": {} } })).await;
    let receipt = upload(guests::ECHO_V2, rules).await;
    assert!(receipt["note"].as_str().is_some_and(|note| note.contains("has rules of its own")), "{receipt}");
    assert_eq!(decided(&app, &receipt).await["isOpen"], false);
    demand(&app, json!({})).await;
    let receipt = upload(guests::ECHO_V2, rules).await;
    assert_eq!(receipt.get("note"), None, "{receipt}");
    assert_eq!(decided(&app, &receipt).await["isOpen"], true);
    assert_eq!(current(&app).await, receipt["deployment"]["version"]);
}

#[tokio::test]
async fn a_gate_allows_as_many_differences_as_it_says() {
    let app = TestApp::start().await;
    upload(&app, guests::SAMPLE_ORDER_IMPORTER_V2, "").await;
    import(&app, "1,299.00").await;
    import(&app, "9.90").await;
    demand(&app, json!({ "allow": 1 })).await;
    let receipt = upload(&app, guests::SAMPLE_ORDER_IMPORTER_V1, "").await;
    let backtest = decided(&app, &receipt).await;
    assert_eq!((&backtest["isOpen"], &backtest["differences"]), (&json!(true), &json!(1)), "{backtest}");
    assert_eq!(current(&app).await, receipt["deployment"]["version"]);
}

#[tokio::test]
async fn only_runs_of_the_component_count() {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    app.call("echo", json!(1)).await;
    demand(&app, json!({})).await;
    let other = upload(&app, guests::SAMPLE_ORDER_IMPORTER_V1, "").await;
    assert!(other["promotion"].is_object(), "nobody has imported an order yet: {other}");
    import(&app, "9.90").await;
    let receipt = upload(&app, guests::SAMPLE_ORDER_IMPORTER_V2, "").await;
    assert_eq!(decided(&app, &receipt).await["verdicts"], json!({ "same": 1 }));
    // A version that has lost the task does not take its payloads.
    let lost = upload(&app, guests::META, "").await;
    let backtest = decided(&app, &lost).await;
    assert_eq!((&backtest["verdicts"], &backtest["isOpen"]), (&json!({ "payload-rejected": 1 }), &json!(false)));
}

#[tokio::test]
async fn what_was_quiet_for_longer_than_recordings_are_kept_is_not_tested() {
    let args = ServerArgs { journal_retention: Some("1d".into()), ..ServerArgs::default() };
    let app = TestApp::start_with(args).await;
    upload(&app, guests::SAMPLE_ORDER_IMPORTER_V2, "").await;
    let run = import(&app, "9.90").await;
    demand(&app, json!({})).await;
    app.app().advance(Duration::from_secs(2 * 86_400));
    let receipt = upload(&app, guests::SAMPLE_ORDER_IMPORTER_V1, "").await;
    assert!(receipt["promotion"].is_object(), "{receipt}");
    assert!(receipt["note"].as_str().is_some_and(|note| note.ends_with("nothing was tested")), "{receipt}");
    assert_eq!(app.run(run["id"].as_str().expect("an id")).await["status"], "COMPLETED", "the run is still there");
}

#[tokio::test]
async fn a_deployment_can_ask_for_a_backtest_of_its_own() {
    let app = TestApp::start().await;
    upload(&app, guests::SAMPLE_ORDER_IMPORTER_V2, "").await;
    import(&app, "1,299.00").await;
    let strict = "&backtest=%7B%22last%22%3A5%7D";
    let receipt = upload(&app, guests::SAMPLE_ORDER_IMPORTER_V1, strict).await;
    assert_eq!(decided(&app, &receipt).await["isOpen"], false);
    // The same bytes again are looked at again; what is current is not.
    let again = upload(&app, guests::SAMPLE_ORDER_IMPORTER_V1, strict).await;
    assert_eq!(again["isNew"], false);
    assert_eq!(decided(&app, &again).await["isOpen"], false);
    let version = again["deployment"]["version"].as_str().expect("a version");
    app.post_empty(&format!("/api/v1/deployments/{version}/promote")).await.ok();
    let current = upload(&app, guests::SAMPLE_ORDER_IMPORTER_V1, strict).await;
    assert!(current["note"].as_str().is_some_and(|note| note.ends_with("is current already")), "{current}");

    let refused = async |query: &str| {
        app.upload("order-importer", &std::fs::read(guests::ECHO_V1).expect("a guest"), query).await.error(400)
    };
    assert!(refused("&backtest=1").await.contains("`backtest` is no policy"));
    assert!(refused(&format!("{strict}&skipPromotion=true")).await.contains("`skipPromotion` asks for none"));
    assert!(refused("&backtest=%7B%22last%22%3A0%7D").await.contains("`last` must be 1 to 100,000"));
}

#[tokio::test]
async fn a_policy_is_shown_checked_and_taken_away() {
    let app = TestApp::start().await;
    demand(&app, json!({ "allow": 2, "tasks": ["import-order"] })).await;
    let list = app.admin("GET", "/admin/v1/environments", Value::Null).await.ok();
    let dev = list["data"].as_array().expect("a list").iter().find(|item| item["slug"] == "dev").expect("dev");
    assert_eq!(
        (&dev["backtestPolicy"]["allow"], &dev["backtestPolicy"]["tasks"]),
        (&json!(2), &json!(["import-order"]))
    );
    for (wrong, why) in [
        (json!({ "last": 0 }), "`last` must be"),
        (json!({ "mode": "live" }), "`mode` of a backtest"),
        (json!({ "tasks": [""] }), "`tasks` can name"),
        (json!({ "options": { "rules": { "*": { "absolute-tolerance": -1 } } } }), "`options.rules`"),
        (json!({ "colour": "red" }), "colour"),
    ] {
        let text = app.admin("PUT", POLICY, json!({ "policy": wrong })).await.error(400);
        assert!(text.contains(why), "{text}");
    }
    app.send(&app.key, axum::http::Request::put(POLICY), "{}").await.error(403);
    let none = app.admin("PUT", POLICY, json!({})).await.ok();
    assert_eq!(none.get("backtestPolicy"), None, "{none}");
}
