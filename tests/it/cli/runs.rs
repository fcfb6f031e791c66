//! `trigger` and `runs`.

use std::time::Instant;

use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::harness::PATIENCE;
use crate::program::{Desk, hear, text};

/// The output of a result, or a payload: JSON within JSON.
fn output(result: &Value) -> Value {
    serde_json::from_str(&text(&result["output"])).expect("an output is JSON")
}

fn desk_with(name: &str, guest: &str) -> Desk {
    let desk = Desk::new();
    desk.deploy(name, guest);
    desk
}

#[test]
fn a_payload_is_an_argument_a_file_or_standard_input() {
    let desk = desk_with("echo", guests::ECHO_V1);
    let payload = |result: Value| output(&result)["payload"].clone();
    assert_eq!(payload(desk.json(&["trigger", "echo", "{\"a\": [1]}", "--wait"])), json!({ "a": [1] }));
    assert_eq!(payload(desk.json(&["trigger", "echo", "-5", "--wait"])), -5);
    assert_eq!(payload(desk.json(&["trigger", "echo", "--wait"])), json!(null));
    let file = desk.file("payload.json", "\n{\"from\": \"a file\"}\n");
    assert_eq!(payload(desk.json(&["trigger", "echo", "--payload-file", &file, "--wait"])), json!({"from": "a file"}));
    let heard = hear(desk.command(&["trigger", "echo", "-", "--wait", "--json"]), "{\"from\": \"a pipe\"}");
    assert_eq!(payload(heard.ended(0).json()), json!({ "from": "a pipe" }));

    desk.say(&["trigger", "echo", "{a: 1}"]).ended(2).says("the payload is not JSON").says("put it in single quotes");
    desk.say(&["trigger", "echo", "1", "--payload-file", &file]).ended(2).says("cannot be used with");
    desk.say(&["trigger", "echo", "--payload-file", "/does/not/exist"]).ended(2).says("cannot read /does/not/exist");
    hear(desk.command(&["trigger", "echo", "-"]), "nonsense").ended(2).says("the payload is not JSON");
    assert_eq!(desk.json(&["runs", "list"])["data"].as_array().map(Vec::len), Some(5), "those made no runs");
}

#[test]
fn of_a_run_that_waits_it_is_said_for_what() {
    let desk = desk_with("script", guests::SCRIPT);
    desk.does(&["trigger", "script", r#"[{"create_token": {}}, {"token": "$last"}]"#]);
    let deadline = Instant::now() + PATIENCE;
    let waiting = loop {
        let run = desk.json(&["runs", "get", "latest"]);
        if run["status"] == "WAITING" {
            break run;
        }
        assert!(Instant::now() < deadline, "{run}");
    };
    let token = text(&waiting["metadata"]["token"]["id"]);
    assert_eq!(waiting["waitsFor"], json!([{ "type": "TOKEN", "id": token }]));
    desk.say(&["runs", "get", "latest"]).ended(0).says("WAITING").says("waits for").says(&token);
    desk.say(&["runs", "list", "--status", "waiting"]).ended(0).says("WAITING");
    desk.does(&["runs", "cancel", "latest"]).says("✓ canceled: run_");
    assert!(desk.json(&["runs", "get", "latest"]).get("waitsFor").is_none(), "it waits no more");
}

#[test]
fn waiting_for_a_run_ends_as_the_run_does() {
    let desk = desk_with("echo", guests::ECHO_V1);
    let done = desk.does(&["trigger", "echo", "\"x\"", "--wait"]);
    let shown: Value = serde_json::from_str(&done.stdout).expect("the output is all that standard output says");
    assert_eq!((&shown["payload"], done.stderr.starts_with("✓ echo completed (run_")), (&json!("x"), true), "{done:?}");

    desk.deploy("fail", guests::FAIL);
    let payload = r#"{"name": "TooBad", "message": "no luck", "retry": "never"}"#;
    let failed = desk.say(&["trigger", "fail", payload, "--wait"]).ended(1);
    assert!(failed.stdout.is_empty() && failed.stderr.contains("✗ fail did not complete (run_"), "{failed:?}");
    failed.says("TooBad: no luck");
    let result = desk.say(&["trigger", "fail", payload, "--wait", "--json"]).ended(1).json();
    assert_eq!((&result["ok"], &result["error"]["message"]), (&json!(false), &json!("no luck")), "{result}");
    desk.say(&["runs", "replay", "latest", "--wait"]).ended(1).says("TooBad: no luck");

    desk.deploy("sleep", guests::SLEEP);
    let long = desk.say(&["trigger", "sleep", "{\"ms\": 600000}", "--wait", "--timeout", "1s"]).ended(1);
    long.says("has not ended within").says("it goes on, see `dacapo runs get run_");
    desk.does(&["runs", "cancel", "latest"]).says("✓ canceled: run_");
    desk.say(&["trigger", "sleep", "--timeout", "1s"]).ended(2).says("--wait");
    desk.say(&["trigger", "sleep", "--wait", "--timeout", "soon"]).ended(2).says("is not a length of time");
}

#[test]
fn options_of_a_trigger_reach_the_run() {
    let desk = desk_with("echo", guests::ECHO_V1);
    let options = ["--tag", "blue", "--tag", "new", "--idempotency-key", "once", "--metadata", "{\"by\": \"hand\"}"];
    let trigger = [&["trigger", "echo", "1", "--delay", "1h", "--max-attempts", "2"], &options[..]].concat();
    let first = desk.does(&trigger);
    let second = desk.does(&trigger);
    let id = |said: &str| said.split("run_").nth(1).map(|rest| rest.chars().take(26).collect::<String>());
    assert!(first.stdout.contains("✓ echo triggered: run_"), "{first:?}");
    assert!(second.stdout.contains("✓ echo was triggered before with this key: run_"), "{second:?}");
    assert_eq!(id(&first.stdout), id(&second.stdout));
    let run = desk.json(&["runs", "get", "latest"]);
    assert_eq!((&run["tags"], &run["status"]), (&json!(["blue", "new"]), &json!("DELAYED")), "{run}");
    assert_eq!((&run["idempotencyKey"], &run["metadata"]), (&json!("once"), &json!({ "by": "hand" })), "{run}");
    let shown = desk.does(&["runs", "get", "latest"]);
    shown.says("DELAYED").says("blue, new").says("delayed until ").says("once").says("\"by\": \"hand\"");
    desk.say(&["trigger", "echo", "--metadata", "{"]).ended(2).says("--metadata is not JSON");
    desk.say(&["trigger", "echo", "--delay", "never"]).ended(4).says("error: ");
}

#[test]
fn runs_are_listed_and_shown() {
    let desk = Desk::new();
    let none = desk.does(&["runs", "list"]);
    assert!(none.stdout.is_empty() && none.stderr.contains("no runs; trigger one with"), "{none:?}");
    desk.say(&["runs", "get", "latest"]).ended(2).says("there are no runs yet");

    desk.deploy("echo", guests::ECHO_V1);
    desk.deploy("fail", guests::FAIL);
    let good = text(&desk.json(&["trigger", "echo", "{\"n\": 1}", "--wait", "--tag", "blue"])["id"]);
    let bad = desk.say(&["trigger", "fail", "--wait", "--json"]).ended(1).json();
    let bad = text(&bad["id"]);

    let table = desk.does(&["runs", "list"]).stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    assert!(lines[0].starts_with("RUN ") && lines[0].ends_with("TAGS"), "{table}");
    assert!(lines[1].starts_with(&bad) && lines[1].contains("  fail ") && lines[1].contains(" FAILED "), "{table}");
    assert!(lines[2].starts_with(&good) && lines[2].contains(" COMPLETED ") && lines[2].ends_with("blue"), "{table}");

    let ids = |arguments: &[&str]| -> Vec<String> {
        let list = desk.json(&[&["runs", "list"], arguments].concat());
        list["data"].as_array().expect("a list").iter().map(|run| text(&run["id"])).collect()
    };
    assert_eq!(ids(&[]), [bad.clone(), good.clone()]);
    assert_eq!(ids(&["--status", "completed", "--period", "1h"]), [good.as_str()]);
    assert_eq!(ids(&["--task", "fail", "--status", "failed", "--status", "timed-out"]), [bad.as_str()]);
    let page = desk.does(&["runs", "ls", "-n", "1"]);
    let more = page.stderr.trim().strip_prefix("more: --after ").unwrap_or_else(|| panic!("{page:?}"));
    assert_eq!(ids(&["--after", more]), [good.as_str()]);
    desk.say(&["runs", "list", "--status", "odd"]).ended(4).says("error: ");
    desk.say(&["runs", "list", "-n", "101"]).ended(2).says("1..=100");

    let shown = desk.does(&["runs", "get", &good]);
    let first = shown.stdout.lines().next().unwrap_or_default();
    assert_eq!(first, format!("{good}  echo  COMPLETED"));
    for part in ["\npayload\n{\n  \"n\": 1\n}\n", "\noutput\n{\n", "\nevents\nAT ", " EXECUTING ", "tags "] {
        shown.says(part);
    }
    desk.does(&["runs", "get", &bad]).says("Failure: failed as told").says("attempts  ");
    assert_eq!(desk.json(&["runs", "get", &good])["payload"], json!({ "n": 1 }));
    // Both ids begin with the time, and may well share that.
    assert_eq!(desk.json(&["runs", "get", &bad[..29]])["id"], json!(bad), "the beginning of an id will do");
    desk.say(&["runs", "get", "run_"]).ended(2).says("several runs begin with run_");
    desk.say(&["runs", "get", "run_zzz"]).ended(2).says("none of the newest 100 runs begins with run_zzz");
    desk.say(&["runs", "get", "fail"]).ended(2).says("`fail` is not a run");
}

#[test]
fn logs_are_shown_and_followed_to_the_end() {
    let desk = desk_with("spans", guests::SPANS);
    let run = text(&desk.json(&["trigger", "spans"])["id"]);
    let followed = desk.does(&["runs", "logs", &run, "--follow"]).stdout;
    let whole = desk.does(&["runs", "logs", &run]).stdout;
    assert_eq!(followed, whole, "whoever follows misses nothing");
    for part in [" info  before", " warn  after Small", "stdout: on standard output", "\"label\":\"three\""] {
        assert!(whole.contains(part), "`{part}` is missing: {whole}");
    }
    assert!(whole.lines().any(|line| line.contains("outer took ") && line.contains(" ms")), "{whole}");

    let page = desk.json(&["runs", "logs", "latest"]);
    let lines = page["logs"].as_array().expect("a list");
    assert_eq!((lines.len(), &page["isComplete"]), (whole.lines().count(), &json!(true)), "{page}");
    let followed = desk.does(&["runs", "logs", &run, "-f", "--json"]).stdout;
    let followed: Vec<Value> = followed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(&followed, lines, "one line of JSON per log line");
}

#[test]
fn more_logs_than_a_page_holds_are_shown_whole() {
    let desk = desk_with("log-flood", guests::LOG_FLOOD);
    desk.does(&["trigger", "log-flood", "{\"lines\": 2500, \"bytes\": 10}", "--wait"]);
    assert_eq!(desk.does(&["runs", "logs", "latest"]).stdout.lines().count(), 2_500);
    assert_eq!(desk.json(&["runs", "logs", "latest"])["logs"].as_array().map(Vec::len), Some(2_500));
}

#[test]
fn a_run_is_canceled_before_it_starts_and_while_it_runs() {
    let desk = desk_with("spin", guests::SPIN);
    let delayed = text(&desk.json(&["trigger", "spin", "--delay", "1h"])["id"]);
    assert_eq!(desk.json(&["runs", "cancel", "latest"])["id"], json!(delayed));
    assert_eq!(desk.json(&["runs", "get", &delayed])["status"], "CANCELED");

    let running = text(&desk.json(&["trigger", "spin"])["id"]);
    let waiting = desk.command(&["runs", "logs", &running, "--follow"]).spawn().expect("dacapo can be started");
    desk.does(&["runs", "cancel", &running]).says(&format!("✓ canceled: {running}"));
    // Ends with the run.
    assert!(waiting.wait_with_output().expect("it ends").status.success());
    let run = desk.json(&["runs", "get", &running]);
    assert_eq!((&run["status"], &run["isCancelled"]), (&json!("CANCELED"), &json!(true)), "{run}");
}

#[test]
fn a_replay_runs_an_old_payload_on_what_is_current_now() {
    let desk = Desk::new();
    let one = desk.deploy("echo", guests::ECHO_V1);
    let source = text(&desk.json(&["trigger", "echo", "\"old\"", "--wait", "--tag", "blue"])["id"]);
    desk.deploy("echo", guests::ECHO_V2);

    let result = desk.json(&["runs", "replay", &source, "--wait"]);
    let echoed = output(&result);
    assert_eq!((&echoed["version"], &echoed["payload"]), (&json!(2), &json!("old")));
    assert_eq!(echoed["ctx"]["replayedFrom"], json!(source));
    let replay = text(&result["id"]);
    let shown = desk.does(&["runs", "get", &replay]).stdout;
    assert!(shown.lines().any(|line| line.starts_with("replay of ") && line.ends_with(&source)), "{shown}");
    desk.does(&["runs", "get", &source]).says(&replay);
    desk.does(&["runs", "list"]).says("echo (replay)");

    let other = desk.json(&["runs", "replay", &source, "\"new\"", "--version", &one, "--tag", "red", "--wait"]);
    let echoed = output(&other);
    assert_eq!((&echoed["version"], &echoed["payload"]), (&json!(1), &json!("new")));
    assert_eq!(echoed["ctx"]["tags"], json!(["red"]));
    desk.does(&["runs", "replay", &source, "--idempotency-key", "k"]).says(&format!("✓ {source} replayed: run_"));
    desk.does(&["runs", "replay", &source, "--idempotency-key", "k"]).says("was replayed before with this key: run_");
    let receipt = desk.json(&["runs", "replay", "latest", "--delay", "1h"]);
    assert!(text(&receipt["id"]).starts_with("run_"), "{receipt}");
    desk.say(&["runs", "replay", &source, "--to", "staging", "--wait"]).ended(2).says("cannot be used with");
}
