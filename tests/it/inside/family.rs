//! What a run knows of itself and its family, and what stays the same while it waits.

use std::time::Duration;

use serde_json::{Value, json};

use super::{answers, children, start, start_dropping, text};

#[tokio::test]
async fn a_context_says_the_same_before_and_after_a_wait() {
    for app in [start().await, start_dropping().await] {
        let asks = json!([{ "context": {} }, { "wait_ms": 60_000 }, { "context": {} }, { "fail_before": 2 }]);
        let asked = json!({ "task": "inside", "payload": asks, "tags": ["t"] });
        let steps = json!([{ "await": { "task": "inside", "payload": [{ "await_batch": [asked] }] } }]);
        let run = app.trigger("inside", steps).await;
        let mut grandchild = None;
        for _ in 0..2 {
            app.until_status(&run, "WAITING").await;
            let child = loop {
                if let [child] = &children(&app.run(&run).await)[..] {
                    break child.clone();
                }
            };
            app.until_status(&child, "WAITING").await;
            let below = children(&app.run(&child).await)[0].clone();
            app.until_status(&below, "WAITING").await;
            app.app().advance(Duration::from_secs(60));
            if grandchild.is_none() {
                // Its first attempt fails after the wait, and the second waits once more.
                while app.run(&below).await["attemptCount"] != 2 {
                    tokio::task::yield_now().await;
                }
            }
            grandchild = Some((child, below));
        }

        let run = app.finished(&run).await;

        let (child, below) = grandchild.expect("a grandchild");
        let said = answers(&run)[0]["output"][0][0]["output"].clone();
        assert_eq!(said[0], said[2], "{said}");
        let context = &said[0];
        let shown = app.run(&below).await;
        assert_eq!((&context["id"], &context["attempt"]), (&json!(below), &json!(2)));
        assert_eq!((&context["parent"], &context["root"]), (&json!(child), &run["id"]));
        assert_eq!((&context["batch"], &shown["triggerFunction"]), (&shown["batchId"], &json!("batchTriggerAndWait")));
        assert!(text(context, "batch").starts_with("batch_"));
        let started = |name: &str| context[name].as_u64().expect("a moment");
        assert!(
            started("attempt_started") >= started("run_started") + 60_000,
            "the second attempt began later: {said}"
        );
        assert_eq!((&shown["depth"], &shown["relatedRuns"]["root"]["id"]), (&json!(2), &run["id"]));
        assert_eq!(shown["relatedRuns"]["parent"]["id"], json!(child));
        let batch = app.get(&format!("/api/v2/batches/{}", text(context, "batch"))).await.ok();
        assert_eq!((&batch["runs"], &batch["status"]), (&json!([below]), &json!("COMPLETED")), "{batch}");
    }
}

#[tokio::test]
async fn each_attempt_begins_anew() {
    let app = start_dropping().await;
    let child = json!({ "await": { "task": "seen" } });
    let steps = json!([child, { "context": {} }, { "wait_ms": 1 }, child, { "fail_before": 3 }, child]);
    let run = app.call("inside", steps).await;
    let said = answers(&run);
    assert_eq!((&said[1]["attempt"], &run["attemptCount"]), (&json!(3), &json!(3)));
    let made = children(&run);
    assert_eq!(made.len(), 2 + 2 + 3, "nothing of one attempt's journal is taken for another's: {run}");
    let seen: Vec<&Value> = [0, 3, 5].map(|place| &said[place]["output"]["context"]["id"]).into();
    assert_eq!(json!(seen), json!(made[4..]));
}
