//! Runs that trigger runs, through the SDK for Rust.

use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::harness::TestApp;

async fn start() -> TestApp {
    let app = TestApp::start().await;
    app.deploy(guests::CHILDREN).await;
    app
}

fn id(run: &Value) -> &str {
    run["id"].as_str().expect("a run has an id")
}

#[tokio::test]
async fn a_batch_gives_outputs_and_errors_in_its_order() {
    let app = start().await;

    let run = app.call("fan-out", json!([1, -2, 3, -4, 5])).await;

    let errors = ["failed: Negative: -2 is less than 0", "failed: Negative: -4 is less than 0"];
    assert_eq!(run["output"], json!({ "sum": 9, "errors": errors }), "{run}");
    assert_eq!(run["metadata"]["units"], 5, "each child has changed the metadata of its parent: {run}");
}

#[tokio::test]
async fn an_empty_batch_is_refused() {
    let app = start().await;
    let run = app.call("fan-out", json!([])).await;
    assert_eq!((&run["status"], &run["error"]["name"]), (&json!("FAILED"), &json!("TriggerError")), "{run}");
}

#[tokio::test]
async fn a_tree_of_runs_comes_together_at_its_root() {
    let app = start().await;

    let run = app.call("tree", json!([3, 2])).await;

    assert_eq!(run["output"], 8, "{run}");
    assert_eq!(run["metadata"]["nodes"], 1 + 2 + 4, "each node has counted itself at the root: {run}");
}

#[tokio::test]
async fn nobody_waits_for_children_that_were_only_triggered() {
    let app = start().await;

    let parent = app.call("fire", json!(3)).await;

    let children: Vec<String> = serde_json::from_value(parent["output"].clone()).expect("a list of ids");
    assert_eq!(children.len(), 4);
    for (place, child) in children.iter().enumerate() {
        let child = app.finished(child).await;
        assert_eq!(child["output"]["parent"], parent["id"], "{child}");
        assert_eq!(child["output"]["root"], parent["id"]);
        assert_eq!(child["tags"], json!([if place == 0 { "alone" } else { "batch" }]));
    }
    assert_eq!(app.history(id(&parent)).await, ["QUEUED", "EXECUTING", "COMPLETED"]);
}

#[tokio::test]
async fn children_and_a_moment_are_waited_for_together() {
    let app = start().await;
    let run = app.call("join", json!(20)).await;
    assert_eq!(run["output"], json!([1, 2]), "{run}");
    let waits = app.history(id(&run)).await.iter().filter(|status| *status == "WAITING").count();
    assert_eq!(waits, 1, "it waits once for all three");
}

#[tokio::test]
async fn a_child_that_fails_fails_its_parent() {
    let app = start().await;

    let run = app.call("fails-with-its-child", Value::Null).await;

    assert_eq!((&run["status"], &run["error"]["name"]), (&json!("FAILED"), &json!("ChildError")), "{run}");
    let message = run["error"]["message"].as_str().expect("a text");
    assert!(message.ends_with(r#"(task "unit") failed: Negative: -1 is less than 0"#), "{message}");
}
