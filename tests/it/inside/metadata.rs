//! Metadata that a task and others change at the same time.

use serde_json::{Value, json};

use super::{Gate, answers, ask, children, put_metadata, start, start_dropping};

fn change(of: &str, op: &str, key: &str, value: Value) -> Value {
    json!({ "change": { "of": of, "op": op, "key": key, "value": value } })
}

#[tokio::test]
async fn what_others_change_while_a_task_runs_is_not_lost() {
    let app = start().await;
    let gate = Gate::new(&app).await;
    let steps = json!([
        change("this-run", "increment", "n", json!(1)), change("this-run", "set", "a", json!(1)), gate.step(),
        change("this-run", "increment", "n", json!(1)), change("this-run", "append", "l", json!("task")),
        { "wait_ms": 1 }, { "get": "by" }, change("this-run", "set", "b", json!(2)),
    ]);
    let run = app.trigger("inside", steps).await;
    let standing = gate.guest().await;
    put_metadata(
        &app,
        &run,
        json!({ "operations": [
        { "type": "increment", "key": "n", "value": 10 }, { "type": "append", "key": "l", "value": "http" },
        { "type": "set", "key": "by", "value": "somebody" },
    ] }),
    )
    .await;
    standing.pass().await;

    let run = app.finished(&run).await;

    let answers = answers(&run);
    assert_eq!(answers[6], "somebody", "after a wait it sees what others did");
    let metadata = &run["metadata"];
    assert_eq!(metadata["n"].as_f64(), Some(12.0), "{run}");
    let mut list = metadata["l"].as_array().expect("a list").clone();
    list.sort_by_key(ToString::to_string);
    assert_eq!((json!(list), &metadata["by"]), (json!(["http", "task"]), &json!("somebody")));
    assert_eq!((&metadata["a"], &metadata["b"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn a_change_that_cannot_be_made_any_more_is_lost_and_the_log_says_so() {
    let app = start().await;
    let gate = Gate::new(&app).await;
    let run = app.trigger("inside", json!([gate.step(), change("this-run", "increment", "n", json!(1))])).await;
    let standing = gate.guest().await;
    put_metadata(&app, &run, json!({ "metadata": { "n": "a word" } })).await;
    standing.pass().await;

    let done = app.finished(&run).await;

    assert_eq!(done["metadata"], json!({ "n": "a word" }), "{done}");
    let lost = "changes of the metadata are lost: `n` is not a number";
    assert_eq!(app.logs(&run).await, [("warn".into(), lost.into())]);
}

#[tokio::test]
async fn parent_and_root_are_changed_by_every_operation() {
    for app in [start().await, start_dropping().await] {
        let grandchild = json!([
            change("parent", "set", "x", json!({ "y": 1 })),
            change("parent", "delete", "gone", Value::Null),
            change("root", "append", "l", json!(1)),
            change("root", "append", "l", json!(2)),
            change("root", "remove", "l", json!(1)),
            change("root", "increment", "$.count.below", json!(2)),
            change("root", "increment", "l", json!(1)),
        ]);
        let child = json!([
            change("this-run", "set", "gone", json!(1)),
            { "await": { "task": "inside", "payload": grandchild } },
            change("root", "increment", "$.count.below", json!(1)),
            change("parent", "increment", "$.count.below", json!(1)),
        ]);
        let steps = json!([
            change("parent", "set", "own", json!("it has no parent")),
            change("root", "increment", "$.count.own", json!(1)),
            { "await": { "task": "inside", "payload": child } },
            { "get": "$.count.below" },
        ]);

        let run = app.call("inside", steps).await;

        let answers = answers(&run);
        assert_eq!(answers[3].as_f64(), Some(4.0), "a parent that has waited sees it: {run}");
        assert_eq!(run["metadata"]["l"], json!([2]));
        assert_eq!(run["metadata"]["own"], "it has no parent");
        assert_eq!(run["metadata"]["count"]["own"].as_f64(), Some(1.0));
        assert_eq!(run["metadata"]["count"]["below"].as_f64(), Some(4.0));
        let refused = &answers[2]["output"][1]["output"][6];
        assert_eq!(*refused, json!({ "error": "the metadata have no number under \"l\"" }));
        let child = app.run(&children(&run)[0]).await;
        assert_eq!(child["metadata"], json!({ "x": { "y": 1 } }));
    }
}

#[tokio::test]
async fn tags_are_added_to_relatives() {
    let app = start().await;
    let many: Vec<String> = (0..9).map(|n| format!("tag-{n}")).collect();
    let tags = |of: &str, tags: Value| json!({ "tags": { "of": of, "tags": tags } });
    let child = json!([
        tags("this-run", json!(["own"])),
        tags("parent", json!(["of the parent"])),
        tags("root", json!(many)),
        tags("root", json!(["one too many"])),
        tags("root", json!([""])),
    ]);

    let run = app.call("inside", json!([{ "await": { "task": "inside", "payload": child } }])).await;

    let said = answers(&run)[0]["output"].clone();
    assert_eq!(said[3], json!({ "error": "a run can have 10 tags at most" }), "{said}");
    assert_eq!(said[4], json!({ "error": "a tag must have 1 to 128 characters" }));
    assert_eq!(run["tags"].as_array().map(Vec::len), Some(10), "{run}");
    assert_eq!(app.run(&children(&run)[0]).await["tags"], json!(["own"]));
    let found = app.get("/api/v1/runs?filter[tag]=tag-8").await.ok();
    assert_eq!(found["data"][0]["id"], run["id"], "it is found by them");
    let alone = ask(&app, json!([tags("parent", json!(["alone"]))])).await;
    assert_eq!(alone, [Value::Null], "a run without a parent is meant itself");
}
