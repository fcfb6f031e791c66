//! What a task says while it runs: streams, and spans and lines around a wait.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Gate, answers, start, start_dropping, text};
use crate::streams::Reader;

#[tokio::test]
async fn a_stream_is_read_while_its_task_writes_it() {
    let app = start().await;
    let gate = Gate::new(&app).await;
    let append = |chunk: Value| json!({ "append": { "stream": "words", "chunk": chunk } });
    let child = json!([
        { "append": { "of": "parent", "stream": "words", "chunk": "by a child" } },
        { "append": { "of": "root", "stream": "other", "chunk": {} } },
    ]);
    let steps = json!([
        append(json!("one")), { "pipe": { "stream": "words", "chunks": [2, [3], null] } }, gate.step(), append(json!(5)),
        { "await": { "task": "inside", "payload": child } }, append(json!(7)),
    ]);
    let run = app.trigger("inside", steps).await;
    let standing = gate.guest().await;
    let path = format!("/realtime/v1/streams/{run}/words");
    let mut reader = Reader::open(&app, &path, &[]).await;
    for (number, chunk) in ["\"one\"", "2", "[3]", "null"].into_iter().enumerate() {
        assert_eq!(reader.next().await, Some((number as u64, chunk.into())));
    }
    assert_eq!(app.run(&run).await["status"], "EXECUTING", "it is not at its end");
    standing.pass().await;
    let rest = reader.rest().await;
    let expected = [(4, "5"), (5, "\"by a child\""), (6, "7")].map(|(number, chunk)| (number, chunk.to_owned()));
    assert_eq!(rest, expected);
    answers(&app.finished(&run).await);
    let other = Reader::open(&app, &format!("/realtime/v1/streams/{run}/other"), &[]).await.rest().await;
    assert_eq!(other, [(0, "{}".into())]);
}

#[tokio::test]
async fn a_stream_has_its_limits() {
    let app = start().await;
    let append = |name: &str, chunk: String| json!({ "append": { "stream": name, "chunk": chunk } });
    let run = app
        .call(
            "inside",
            json!([append("", String::new()), append("$input/a", "x".into()), append("s", "x".repeat(128 << 10))]),
        )
        .await;
    let said = answers(&run);
    let bad_name = "the name of a stream must have 1 to 128 characters, of which `$` is not the first";
    assert_eq!(said[0], json!({ "error": bad_name }));
    assert_eq!(said[1], json!({ "error": bad_name }), "such names are the host's");
    assert_eq!(said[2], json!({ "error": "a chunk has 131074 bytes; the most is 131072" }));
}

/// The children of a span, by name.
fn within<'a>(span: &'a Value, message: &str) -> Vec<&'a Value> {
    let children = span["children"].as_array().expect("a list");
    children.iter().filter(|child| child["data"]["message"] == message).collect()
}

/// The texts of the lines in a span.
fn lines(span: &Value) -> Vec<&str> {
    let events = span["data"]["events"].as_array().expect("a list");
    let lines = events.iter().filter(|event| event["name"] == "log");
    lines.map(|event| text(&event["properties"], "message")).collect()
}

#[tokio::test]
async fn spans_and_lines_around_a_wait_appear_once() {
    for app in [start().await, start_dropping().await] {
        let log = |text: &str| json!({ "log": text });
        let inner = |name: &str| json!({ "span": { "name": name, "steps": [log(name)] } });
        let waiting = json!({ "span": { "name": "waits", "steps": [
            log("before"), inner("early"), { "wait_ms": 60_000 }, inner("late"), log("after"),
        ] } });
        let steps =
            json!([log("first"), { "span": { "name": "outer", "steps": [waiting, log("outside")] } }, log("last")]);
        let run = app.trigger("inside", steps).await;
        app.until_status(&run, "WAITING").await;
        app.app().advance(Duration::from_secs(60));
        answers(&app.finished(&run).await);

        let trace = app.get(&format!("/api/v1/runs/{run}/trace")).await.ok();
        let root = &trace["trace"]["rootSpan"];
        let attempts = within(root, "Attempt 1");
        assert_eq!(attempts.len(), 1, "{root}");
        assert_eq!(lines(attempts[0]), ["first", "last"]);
        let outer = within(attempts[0], "outer");
        assert_eq!((outer.len(), lines(outer[0])), (1, vec!["outside"]), "{root}");
        let waits = within(outer[0], "waits");
        assert_eq!((waits.len(), lines(waits[0])), (1, vec!["before", "after"]), "{root}");
        for name in ["early", "late"] {
            let inner = within(waits[0], name);
            assert_eq!((inner.len(), lines(inner[0])), (1, vec![name]), "{root}");
            assert_eq!(inner[0]["parentId"], waits[0]["id"]);
        }
        let messages: Vec<String> = app.logs(&run).await.into_iter().map(|(_, message)| message).collect();
        let logged = messages.iter().filter(|message| *message == "before").count();
        assert_eq!(logged, 1, "{messages:?}");
    }
}
