//! The walls, each against a guest that runs at it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dacapo::config::ServerArgs;
use dacapo::model::limits::{MAX_LOG_BYTES_PER_ATTEMPT, MAX_LOG_LINES_PER_ATTEMPT, MAX_OUTPUT_BYTES};
use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::harness::{PATIENCE, TestApp};

const MIB: usize = 1024 * 1024;
const TRAPPED: &str = "trap: wasm `unreachable` instruction executed";

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}"))
}

/// Triggers a task with options and waits for its end.
async fn call_with(app: &TestApp, task: &str, payload: Value, options: Value) -> Value {
    let id = app.trigger_with(task, payload, options).await;
    app.finished(&id).await
}

/// A server with one guest.
async fn app_with(guest: &str) -> TestApp {
    let app = TestApp::start().await;
    app.deploy(guest).await;
    app
}

/// A guest crashed with this text, and was not tried again.
#[track_caller]
fn check_crash(run: &Value, name: &str, message: &str) {
    assert_eq!(run["status"], "CRASHED", "{run}");
    assert_eq!(run["error"]["name"], name, "{run}");
    assert_eq!(run["error"]["message"], message);
    assert_eq!(run["attemptCount"], 1);
    assert_eq!(run["output"], Value::Null);
}

/// Every entry of a run's log, over all pages.
async fn whole_log(app: &TestApp, run: &Value) -> Vec<Value> {
    let (mut log, mut after) = (Vec::new(), 0);
    loop {
        let path = format!("/api/v1/runs/{}/logs?after={after}", text(&run["id"]));
        let page = app.get(&path).await.ok();
        log.extend(page["logs"].as_array().expect("a list").iter().cloned());
        after = page["next"].as_u64().expect("a number");
        if page["isComplete"] == true {
            return log;
        }
    }
}

async fn cancel(app: &TestApp, id: &str) -> Value {
    app.post_empty(&format!("/api/v2/runs/{id}/cancel")).await.ok();
    app.finished(id).await
}

async fn still_runs_echo(app: &TestApp) {
    app.deploy(guests::ECHO_V1).await;
    assert_eq!(app.call("echo", json!({ "n": 1 })).await["status"], "COMPLETED");
}

// CPU and wall time.

#[tokio::test]
async fn a_busy_loop_ends_when_its_cpu_time_is_used_up() {
    let app = app_with(guests::SPIN).await;
    let run = call_with(&app, "spin", json!(null), json!({ "maxDuration": 1 })).await;

    assert_eq!(run["status"], "TIMED_OUT", "{run}");
    assert_eq!(run["error"]["name"], "TimeLimitExceeded");
    let expected = "used more than its max duration of 1 s of CPU time; raise `maxDuration` if it needs more";
    assert_eq!(run["error"]["message"], expected);
    assert_eq!(run["attemptCount"], 1, "what ran into a limit is not tried again");
    assert!(run["durationMs"].as_u64() >= Some(1_000), "it is CPU time that is limited: {run}");
    let result = app.get(&format!("/api/v1/runs/{}/result", text(&run["id"]))).await.ok();
    assert_eq!(result["error"]["code"], "MAX_DURATION_EXCEEDED", "{result}");
}

#[tokio::test]
async fn a_busy_loop_gets_its_machine_s_share_of_a_core() {
    let app = app_with(guests::SPIN).await;
    let run = call_with(&app, "spin", json!(null), json!({ "machine": "micro", "maxDuration": 1 })).await;

    assert_eq!(run["status"], "TIMED_OUT", "{run}");
    let moment = |field: &str| text(&run[field]).parse::<jiff::Timestamp>().unwrap();
    let wall_ms = (moment("finishedAt") - moment("startedAt")).total(jiff::Unit::Millisecond).unwrap();
    let cpu_ms = run["durationMs"].as_f64().unwrap();
    assert!(wall_ms > 2.0 * cpu_ms, "a quarter of a core takes four times as long: {run}");
}

#[tokio::test]
async fn busy_loops_do_not_keep_other_runs_from_finishing() {
    let app = app_with(guests::SPIN).await;
    app.deploy(guests::ECHO_V1).await;
    let mut loops = Vec::new();
    for _ in 0..8 {
        loops.push(app.trigger("spin", json!(null)).await);
    }
    for id in &loops {
        app.until_status(id, "EXECUTING").await;
    }

    for number in 0..20 {
        assert_eq!(app.call("echo", json!(number)).await["output"]["payload"], number);
    }

    for id in &loops {
        assert_eq!(app.run(id).await["status"], "EXECUTING", "the loops went on all the time");
        assert_eq!(cancel(&app, id).await["status"], "CANCELED");
    }
    assert_eq!(app.call("echo", json!("after")).await["status"], "COMPLETED");
}

#[tokio::test]
async fn waiting_has_a_limit_of_its_own() {
    let args = ServerArgs { max_host_wait: Some("1s".into()), ..ServerArgs::default() };
    let app = TestApp::start_with(args).await;
    app.deploy(guests::SLEEP).await;

    let run = call_with(&app, "sleep", json!({ "ms": 3_600_000 }), json!({ "maxDuration": 1 })).await;

    assert_eq!(run["status"], "TIMED_OUT", "{run}");
    assert_eq!(run["error"]["name"], "TimeLimitExceeded");
    assert_eq!(run["error"]["message"], "did not end within 2 s, waiting in host calls included");
    assert_eq!(call_with(&app, "sleep", json!({ "ms": 1 }), json!({})).await["output"], 1);
}

#[tokio::test]
async fn waiting_uses_no_cpu_time() {
    let app = app_with(guests::SLEEP).await;
    let run = call_with(&app, "sleep", json!({ "ms": 1_200 }), json!({ "maxDuration": 1 })).await;
    assert_eq!(run["status"], "COMPLETED", "{run}");
    assert_eq!(run["output"], 1_200);
}

#[tokio::test]
async fn work_within_the_limit_is_measured_and_completes() {
    let app = app_with(guests::WORK).await;
    let run = app.call("work", json!({ "ms": 200 })).await;
    assert_eq!(run["status"], "COMPLETED", "{run}");
    assert!(run["output"].as_u64() > Some(0), "{run}");
    assert!(run["durationMs"].as_u64() > Some(0), "{run}");
}

// Memory, stack, output.

#[tokio::test]
async fn memory_ends_where_the_machine_ends() {
    let app = app_with(guests::HOG).await;

    let micro = call_with(&app, "hog", json!({ "mib": 1_000 }), json!({ "machine": "micro" })).await;
    assert_eq!(micro["status"], "COMPLETED", "a guest that copes with the refusal goes on: {micro}");
    let blocks = micro["output"].as_u64().expect("a number");
    assert!((200..256).contains(&blocks), "{blocks} MiB on a machine of 256 MiB");
    let peak = micro["peakMemoryBytes"].as_u64().expect("a number");
    assert!(peak <= 256 << 20 && peak >= blocks << 20, "{peak}");

    let small = call_with(&app, "hog", json!({ "mib": 300 }), json!({ "machine": "small-1x" })).await;
    assert_eq!(small["output"], 300, "{small}");
}

#[tokio::test]
async fn a_guest_that_cannot_cope_without_memory_crashes_for_want_of_it() {
    let app = app_with(guests::HUGE_OUTPUT).await;

    let payload = json!({ "bytes": 300 * MIB });
    let run = call_with(&app, "huge-output", payload, json!({ "machine": "micro" })).await;

    let expected =
        format!("out of memory: the machine of the run has 256 MiB: memory allocation of {} bytes failed", 300 * MIB);
    check_crash(&run, "OutOfMemory", &expected);
    let result = app.get(&format!("/api/v1/runs/{}/result", text(&run["id"]))).await.ok();
    assert_eq!(result["error"]["code"], "TASK_PROCESS_OOM_KILLED", "{result}");
}

#[tokio::test]
async fn a_table_that_grows_without_end_ends_at_the_limit() {
    let app = app_with(guests::TABLES).await;

    let run = app.call("tables", json!(null)).await;

    assert_eq!(run["status"], "COMPLETED", "a guest that copes with the refusal goes on: {run}");
    assert_eq!(run["output"], 100_000, "elements");
    assert_eq!(run["attemptCount"], 1);
    // The next instance begins with an empty table.
    assert_eq!(app.call("tables", json!(null)).await["output"], 100_000);
    still_runs_echo(&app).await;
}

#[tokio::test]
async fn memory_of_all_guests_together_is_bounded() {
    let args = ServerArgs { max_task_memory: Some("64MiB".into()), ..ServerArgs::default() };
    let app = TestApp::start_with(args).await;
    app.deploy(guests::HOG).await;
    app.deploy(guests::HUGE_OUTPUT).await;
    let run = app.call("hog", json!({ "mib": 200 })).await;
    assert_eq!(run["status"], "COMPLETED", "{run}");
    assert!(run["output"].as_u64() < Some(64), "{run}");
    // What it had is free again.
    let again = app.call("hog", json!({ "mib": 40 })).await;
    assert_eq!(again["output"], 40, "{again}");
    // One that cannot do without would never get more here: to try again would not help.
    let starved =
        call_with(&app, "huge-output", json!({ "bytes": 100 * MIB }), json!({ "machine": "medium-2x" })).await;
    let bytes = 100 * MIB;
    let expected = format!(
        "out of memory: this host gives a run 64 MiB at most, less than its machine has: \
         memory allocation of {bytes} bytes failed"
    );
    check_crash(&starved, "OutOfMemory", &expected);
    assert_eq!(starved["attemptCount"], 1);
}

#[tokio::test]
async fn deep_recursion_overflows_the_guests_stack_and_nothing_else() {
    let app = app_with(guests::RECURSE).await;
    let run = app.call("recurse", json!(null)).await;
    check_crash(&run, "Crash", "trap: stack overflow (the stack has 1024 KiB)");
    let stack = text(&run["error"]["stackTrace"]);
    assert!(stack.contains("deeper"), "{stack}");
    assert!(stack.lines().count() <= 64, "{stack}");
    assert_eq!(app.call("recurse", json!(1_000)).await["status"], "COMPLETED");
    still_runs_echo(&app).await;
}

#[tokio::test]
async fn recursion_through_memory_ends_at_the_edge_of_the_memory() {
    let app = app_with(guests::RECURSE_MEMORY).await;
    let run = app.call("recurse-memory", json!(null)).await;
    check_crash(&run, "Crash", "trap: out of bounds memory access");
    assert!(text(&run["error"]["stackTrace"]).contains("deeper"), "{run}");
    assert_eq!(app.call("recurse-memory", json!(100)).await["status"], "COMPLETED");
    still_runs_echo(&app).await;
}

#[tokio::test]
async fn an_output_is_as_large_as_the_limit_and_no_larger() {
    let app = app_with(guests::HUGE_OUTPUT).await;

    // Two bytes are for the quotation marks.
    let largest = app.call("huge-output", json!({ "bytes": MAX_OUTPUT_BYTES - 2 })).await;
    assert_eq!(largest["status"], "COMPLETED", "{}", largest["error"]);
    assert_eq!(text(&largest["output"]).len(), MAX_OUTPUT_BYTES - 2);

    for bytes in [MAX_OUTPUT_BYTES - 1, MAX_OUTPUT_BYTES + MIB, 100 * MIB] {
        let run = app.call("huge-output", json!({ "bytes": bytes })).await;
        check_crash(&run, "Crash", "returned an output that is larger than 10485760 bytes");
    }
}

#[tokio::test]
async fn an_output_that_is_not_json_is_a_crash() {
    let app = app_with(guests::INVALID_JSON).await;
    for output in [json!(null), json!("nonsense"), json!(""), json!("1 2"), json!("\"\u{1}\"")] {
        let run = app.call("invalid-json", output.clone()).await;
        assert_eq!(run["status"], "CRASHED", "{output}: {run}");
        let message = text(&run["error"]["message"]);
        assert!(message.starts_with("returned something that is not JSON: "), "{output}: {message}");
    }
    assert_eq!(app.call("invalid-json", json!("[1, 2]")).await["output"], json!([1, 2]));
}

// Logs.

#[tokio::test]
async fn a_flood_of_lines_is_cut_off_and_says_so() {
    let app = app_with(guests::LOG_FLOOD).await;
    let run = app.call("log-flood", json!({ "lines": 30_000, "bytes": 40 })).await;
    assert_eq!(run["status"], "COMPLETED", "{run}");

    let log = whole_log(&app, &run).await;

    assert_eq!(log.len(), MAX_LOG_LINES_PER_ATTEMPT + 1);
    let last = log.last().expect("a line");
    let expected =
        "the log is full: 20000 more lines, spans or attributes were dropped (limits: 10000 lines, 4194304 bytes)";
    assert_eq!(last["message"], expected);
    assert_eq!((&last["level"], &last["source"]), (&json!("warn"), &json!("host")));
    let sources: BTreeSet<&str> = log.iter().map(|line| text(&line["source"])).collect();
    assert_eq!(sources, BTreeSet::from(["host", "stderr", "stdout", "task"]));
    assert_eq!(log[0]["message"], "x".repeat(40));
    assert_eq!(log[0]["attributes"], json!({ "number": 0 }));
    let seqs: Vec<u64> = log.iter().map(|line| line["seq"].as_u64().expect("a number")).collect();
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]));
}

#[tokio::test]
async fn a_flood_of_bytes_is_cut_off_and_long_lines_are_shortened() {
    let app = app_with(guests::LOG_FLOOD).await;
    let run = app.call("log-flood", json!({ "lines": 400, "bytes": 100_000 })).await;
    assert_eq!(run["status"], "COMPLETED", "{run}");

    let log = whole_log(&app, &run).await;

    let (last, lines) = log.split_last().expect("a line");
    let bytes: usize = lines.iter().map(|line| text(&line["message"]).len()).sum();
    assert!(bytes <= MAX_LOG_BYTES_PER_ATTEMPT && bytes > MAX_LOG_BYTES_PER_ATTEMPT / 2, "{bytes}");
    assert!(lines.iter().all(|line| text(&line["message"]).len() == 32 * 1024));
    let expected = format!("the log is full: {} more lines, spans", 400 - lines.len());
    assert!(text(&last["message"]).starts_with(&expected), "{last}");
}

#[tokio::test]
async fn spans_and_what_is_written_in_them_are_in_the_log() {
    let app = app_with(guests::SPANS).await;
    let run = app.call("spans", json!({})).await;
    assert_eq!(run["status"], "COMPLETED", "{run}");
    let log = whole_log(&app, &run).await;
    let named = |message: &str| -> Vec<&Value> { log.iter().filter(|entry| entry["message"] == message).collect() };
    let one = |message: &str| -> &Value {
        let found = named(message);
        assert_eq!(found.len(), 1, "{message}: {log:#?}");
        found[0]
    };

    let before = one("before");
    assert_eq!((&before["level"], &before["source"]), (&json!("info"), &json!("task")));
    assert_eq!(before["attributes"], json!({ "attempt": 1 }));
    assert_eq!(before["spanId"], Value::Null);

    let outer = one("outer");
    assert_eq!((&outer["kind"], &outer["level"]), (&json!("span"), &json!("info")));
    assert_eq!(outer["attributes"], json!({ "size": 4, "label": "three" }));
    assert_eq!(outer["parentSpanId"], Value::Null);
    assert!(outer["durationMs"].is_number(), "{outer}");
    assert!(outer["spanId"].is_u64(), "{outer}");

    let inner = named("inner");
    assert_eq!(inner.len(), 2);
    for (number, span) in inner.iter().enumerate() {
        assert_eq!(span["kind"], "span");
        assert_eq!(span["parentSpanId"], outer["spanId"]);
        assert_eq!(span["attributes"], json!({ "number": number }));
        let line = one(&format!("within {number}"));
        assert_eq!((&line["kind"], &line["level"]), (&json!("line"), &json!("debug")));
        assert_eq!(line["spanId"], span["spanId"]);
        assert_eq!(line["attributes"], json!({ "order.id": format!("A-{number}"), "nested": { "n": [1, 2] } }));
    }

    let failed = one("failed");
    assert_eq!((&failed["kind"], &failed["level"]), (&json!("span"), &json!("error")));
    assert_eq!(failed["parentSpanId"], outer["spanId"]);
    assert!(text(&failed["attributes"]["error"]).contains("went wrong"), "{failed}");
    let warning = one("after Small");
    assert_eq!((&warning["level"], &warning["spanId"]), (&json!("warn"), &outer["spanId"]));

    let left_open = one("left open");
    assert_eq!(left_open["kind"], "span");
    // A line without an end is written at the very end, when no span is open any more.
    for (message, level, source, span) in [
        ("a trace", "trace", "task", &left_open["spanId"]),
        ("an error", "error", "task", &left_open["spanId"]),
        ("on standard output", "info", "stdout", &left_open["spanId"]),
        ("on standard error, without an end", "warn", "stderr", &Value::Null),
    ] {
        let line = one(message);
        assert_eq!((text(&line["level"]), text(&line["source"])), (level, source));
        assert_eq!(line["spanId"], *span, "{line}");
    }
}

// Files.

/// The directory in which scratch directories are made.
fn scratch_of(app: &TestApp) -> PathBuf {
    app.data_dir().join("scratch")
}

/// Waits until no attempt's files are left.
async fn until_scratch_is_empty(app: &TestApp) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while std::fs::read_dir(scratch_of(app)).expect("a directory").next().is_some() {
        assert!(tokio::time::Instant::now() < deadline, "a scratch directory is left behind");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn files_have_a_quota_however_they_are_written() {
    let args = ServerArgs { scratch_quota: Some("1MiB".into()), ..ServerArgs::default() };
    let app = TestApp::start_with(args).await;
    app.deploy(guests::DISK).await;

    for mode in ["one-file", "many-files", "small-files", "set-len"] {
        let run = app.call("disk", json!({ "mib": 4, "mode": mode })).await;
        assert_eq!(run["status"], "COMPLETED", "{mode}: {run}");
        // What a guest's C library makes of a stream that failed is "I/O error"; the log says more.
        let error = text(&run["output"]["error"]);
        let is_known = error.starts_with("No space left on device") || error.starts_with("I/O error");
        assert!(is_known, "{mode}: {run}");
        let written = run["output"]["written"].as_u64().expect("a number");
        assert!(written > 0 && written <= MIB as u64, "{mode}: {written}");
        if mode == "small-files" {
            // Each name costs 4 KiB, so that a million empty files are no way around the quota.
            assert!(written <= MIB as u64 / 5, "{written}");
        }
        let log = app.logs(text(&run["id"])).await;
        let expected = ("warn".to_owned(), "no space left in /scratch: its quota is 1048576 bytes".to_owned());
        assert_eq!(log, [expected], "{mode}: it is said once");
    }
    until_scratch_is_empty(&app).await;
}

#[tokio::test]
async fn room_that_is_given_back_can_be_used_again() {
    let args = ServerArgs { scratch_quota: Some("2MiB".into()), ..ServerArgs::default() };
    let app = TestApp::start_with(args).await;
    app.deploy(guests::DISK).await;
    for mode in ["overwrite", "delete-and-rewrite"] {
        let run = app.call("disk", json!({ "mib": 8, "mode": mode })).await;
        assert_eq!(run["output"], json!({ "written": 8 * MIB, "error": null }), "{mode}: {run}");
    }
    until_scratch_is_empty(&app).await;
}

#[tokio::test]
async fn each_attempt_begins_with_an_empty_scratch_directory() {
    let app = app_with(guests::ESCAPE).await;
    for _ in 0..2 {
        let run = app.call("escape", json!({ "path": ["/scratch"] })).await;
        let results = &run["output"]["/scratch"];
        assert_eq!(results["list"], "ok 0", "{run}");
        assert_eq!(results["write"], "ok 1", "and leaves something in it: {run}");
    }
    until_scratch_is_empty(&app).await;
}

/// What `wit/world.wit` says of paths.
#[tokio::test]
async fn every_path_lies_in_the_scratch_directory() {
    let app = app_with(guests::ESCAPE).await;
    // What the guest does to a directory ends with a file `x` in it.
    let same = ["/scratch/x", "/x", "x", "./x", "scratch/x"];
    let paths: Vec<&str> = ["/scratch"].into_iter().chain(same).collect();

    let run = app.call("escape", json!({ "path": paths })).await;

    let output = &run["output"];
    assert_eq!(output["/scratch"]["rename"], "ok 1", "{run}");
    for path in same {
        assert_eq!(output[path]["read"], "ok 1", "{path}: {run}");
        let linked = text(&output[path]["symlink"]);
        assert_eq!(linked.starts_with("error "), path.starts_with('/'), "{path}: {linked}");
    }
}

#[tokio::test]
async fn the_files_of_a_guest_that_is_stopped_are_removed() {
    let app = app_with(guests::DISK).await;
    let endless = json!({ "mib": 1_000_000_000, "mode": "overwrite" });
    let id = app.trigger("disk", endless.clone()).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while std::fs::read_dir(scratch_of(&app)).expect("a directory").next().is_none() {
        assert!(tokio::time::Instant::now() < deadline, "the guest never wrote");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    assert_eq!(cancel(&app, &id).await["status"], "CANCELED");
    until_scratch_is_empty(&app).await;

    let run = call_with(&app, "disk", endless, json!({ "maxDuration": 1 })).await;
    assert_eq!(run["status"], "TIMED_OUT", "what the host does for a guest is its CPU time, too: {run}");
    until_scratch_is_empty(&app).await;
}

/// Every file below a directory with its content.
fn tree(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut found, mut stack) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = stack.pop() {
        for entry in std::fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                stack.push(path.clone());
                found.push((path, Vec::new()));
            } else {
                let content = std::fs::read(&path).expect("a file");
                found.push((path, content));
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn no_path_leads_out_of_the_scratch_directory() {
    let app = app_with(guests::ESCAPE).await;
    let outside = tempfile::tempdir().expect("a directory");
    std::fs::write(outside.path().join("secret"), "x".repeat(12_345)).expect("a file");
    std::fs::create_dir(outside.path().join("inside")).expect("a directory");
    let before = tree(outside.path());
    let host = outside.path().to_str().expect("UTF-8");
    let up = "../".repeat(24);
    let mut paths = Vec::new();
    for target in [host.to_owned(), format!("{host}/secret"), format!("{host}/inside")] {
        paths.push(target.clone());
        paths.push(format!("{up}{}", target.trim_start_matches('/')));
        paths.push(format!("/scratch/{up}{}", target.trim_start_matches('/')));
        paths.push(format!("/scratch/..{target}"));
        paths.push(format!("/{target}"));
        paths.push(format!("./.{target}"));
    }
    // What lies beside the scratch directories: the keys and the database.
    for file in ["admin.key", "server.key", "dev.key", "dacapo.db", "compiled"] {
        paths.extend([format!("../../{file}"), format!("../{file}"), format!("/scratch/../../{file}")]);
    }

    let run = app.call("escape", json!({ "path": paths })).await;

    assert_eq!(run["status"], "COMPLETED", "{run}");
    for (path, results) in run["output"].as_object().expect("an object") {
        for (way, result) in results.as_object().expect("an object") {
            // A link may point anywhere as long as nothing goes through it.
            let is_refused = text(result).starts_with("error ") || way == "symlink";
            assert!(is_refused, "{way} of {path}: {result}");
        }
    }
    assert_eq!(tree(outside.path()), before);
    assert!(!app.data_dir().join("escaped").exists());
    assert!(!app.data_dir().join("x").exists());
    until_scratch_is_empty(&app).await;
}

#[tokio::test]
async fn the_usual_ways_out_are_closed() {
    let app = app_with(guests::ESCAPE).await;
    let run = app.call("escape", json!(null)).await;
    assert_eq!(run["status"], "COMPLETED", "{run}");
    let output = run["output"].as_object().expect("an object");
    assert!(output.len() > 10, "{run}");

    for (path, results) in output {
        for way in ["read", "hardLink", "readThroughSymlink", "listThroughSymlink", "writeThroughSymlink"] {
            assert!(text(&results[way]).starts_with("error "), "{way} of {path}: {results}");
        }
        // To a guest `/` may be its own directory; anything else cannot even be listed.
        for way in ["list", "write", "overwrite", "rename"] {
            let is_own = path == "/";
            assert!(is_own || text(&results[way]).starts_with("error "), "{way} of {path}: {results}");
        }
    }
    // Of `/` a guest never sees more than what it has made itself.
    let listed = text(&output["/"]["list"]);
    let names: Option<usize> = listed.strip_prefix("ok ").and_then(|count| count.parse().ok());
    assert!(names.is_none_or(|names| names <= 2 * output.len()), "{listed}");
    for path in ["/tmp/escaped", "/escaped", "/etc/escaped", "/x"] {
        assert!(!Path::new(path).exists(), "{path}");
    }
}

// The host's own things.

#[tokio::test]
async fn a_guest_sees_the_variables_of_its_environment_and_nothing_of_the_hosts() {
    let app = app_with(guests::ENV).await;
    let empty = app.call("env", json!({})).await;
    assert_eq!(empty["output"]["env"], json!({}), "{empty}");
    assert_eq!(empty["output"]["args"], json!([]));
    assert_eq!(empty["output"]["cwd"], "/", "its scratch directory, to wasi-libc");

    let variables = "/api/v1/projects/default/envvars/dev";
    app.post(variables, json!({ "name": "GREETING", "value": "hi = \"ho\"\n✉" })).await.ok();
    app.post(variables, json!({ "name": "TOKEN", "value": "s3cret", "isSecret": true })).await.ok();
    app.admin("POST", "/api/v1/projects/default/envvars/prod", json!({ "name": "OTHER", "value": "no" })).await;

    let run = app.call("env", json!({})).await;
    assert_eq!(run["output"]["env"], json!({ "GREETING": "hi = \"ho\"\n✉", "TOKEN": "s3cret" }), "{run}");
    assert!(std::env::var("PATH").is_ok(), "the host has variables of its own");
}

#[tokio::test]
async fn changed_and_deleted_variables_count_for_the_next_run() {
    let app = app_with(guests::ENV).await;
    let variables = "/api/v1/projects/default/envvars/dev";
    app.post(variables, json!({ "name": "MODE", "value": "old" })).await.ok();
    assert_eq!(app.call("env", json!({})).await["output"]["env"], json!({ "MODE": "old" }));

    let put = |value: &str| json!({ "value": value }).to_string();
    let request = axum::http::Request::put(format!("{variables}/MODE")).header("content-type", "application/json");
    app.send(&app.key, request, put("new")).await.ok();
    assert_eq!(app.call("env", json!({})).await["output"]["env"], json!({ "MODE": "new" }));

    let request = axum::http::Request::delete(format!("{variables}/MODE"));
    app.send(&app.key, request, axum::body::Body::empty()).await.ok();
    assert_eq!(app.call("env", json!({})).await["output"]["env"], json!({}));
}

#[tokio::test]
async fn a_variable_can_be_changed_when_there_are_as_many_as_there_may_be() {
    let app = TestApp::start().await;
    let variables = "/api/v1/projects/default/envvars/dev";
    let all: serde_json::Map<String, Value> = (0..500).map(|number| (format!("V{number}"), json!("old"))).collect();
    app.post(&format!("{variables}/import"), json!({ "variables": all })).await.ok();

    let more = app.post(variables, json!({ "name": "MORE", "value": "1" })).await.error(422);
    assert_eq!(more, "an environment can have 500 variables at most");
    let request = axum::http::Request::put(format!("{variables}/V7")).header("content-type", "application/json");
    let changed = app.send(&app.key, request, json!({ "value": "new" }).to_string()).await;
    assert_eq!(changed.status, 200, "{}", changed.json);
}

#[tokio::test]
async fn exit_is_no_way_to_return() {
    let app = app_with(guests::EXIT).await;
    let zero = app.call("exit", json!({ "code": 0 })).await;
    check_crash(&zero, "Crash", "called exit(0); return a value instead");
    for code in [1, 3, -1] {
        let other = app.call("exit", json!({ "code": code })).await;
        check_crash(&other, "Crash", "called exit with a status other than 0; return an error instead");
    }
    still_runs_echo(&app).await;
}

#[tokio::test]
async fn a_panic_says_its_message_and_leaves_it_in_the_log() {
    let app = app_with(guests::PANIC).await;
    let run = app.call("panic", json!("no luck today")).await;

    assert_eq!(run["status"], "CRASHED", "{run}");
    let message = text(&run["error"]["message"]);
    assert!(message.starts_with(TRAPPED), "{message}");
    assert!(message.contains("panicked at ") && message.contains("panic.rs:6:5"), "{message}");
    assert!(message.ends_with("no luck today"), "{message}");
    let log = app.logs(text(&run["id"])).await;
    assert!(log.iter().any(|(level, line)| level == "warn" && line.contains("panicked at ")), "{log:?}");
    assert!(log.iter().any(|(_, line)| line == "no luck today"), "{log:?}");
    let result = app.get(&format!("/api/v1/runs/{}/result", text(&run["id"]))).await.ok();
    assert_eq!(result["error"]["code"], "TASK_RUN_CRASHED", "{result}");
}

#[tokio::test]
async fn a_trap_shows_the_functions_that_led_to_it() {
    let app = app_with(guests::TRAP).await;
    let run = app.call("trap", json!({})).await;

    check_crash(&run, "Crash", TRAPPED);
    let stack = text(&run["error"]["stackTrace"]);
    let place = |name: &str| stack.lines().position(|frame| frame.contains(name));
    let (inner, outer) = (place("inner_function"), place("outer_function"));
    assert!(inner.is_some() && inner < outer, "{stack}");
    assert!(stack.lines().all(|frame| !frame.contains("::h")), "names carry no hashes: {stack}");
}

#[tokio::test]
async fn every_attempt_has_a_fresh_instance() {
    let app = app_with(guests::COUNTER).await;
    for _ in 0..5 {
        assert_eq!(app.call("counter", json!({})).await["output"], 1);
    }
}

// Metadata.

#[tokio::test]
async fn metadata_that_a_task_sets_are_visible_when_it_has_ended() {
    let app = app_with(guests::META).await;
    let ops = json!([
        { "op": "set", "key": "status", "value": { "step": 1 } },
        { "op": "increment", "key": "count", "by": 2.5 },
        { "op": "increment", "key": "count", "by": -0.5 },
        { "op": "append", "key": "files", "value": "a" },
        { "op": "append", "key": "files", "value": "b" },
        { "op": "remove", "key": "files", "value": "a" },
        { "op": "set", "key": "gone", "value": 1 },
        { "op": "delete", "key": "gone" },
        { "op": "get", "key": "status" },
        { "op": "increment", "key": "status", "by": 1 },
    ]);
    let run = call_with(&app, "meta", ops, json!({ "metadata": { "given": true } })).await;

    let expected = json!({ "given": true, "status": { "step": 1 }, "count": 2, "files": ["b"] });
    let shown = &run["metadata"];
    assert_eq!(shown["count"].as_f64(), Some(2.0), "{run}");
    for key in ["given", "status", "files"] {
        assert_eq!(shown[key], expected[key], "{run}");
    }
    assert_eq!(shown.get("gone"), None);
    assert_eq!(run["output"]["all"], *shown, "the task sees what callers see");
    let results = run["output"]["results"].as_array().expect("a list");
    assert_eq!(results[8], json!({ "value": { "step": 1 } }));
    assert_eq!(results[9], json!({ "error": "the metadata have no number under \"status\"" }));
}

#[tokio::test]
async fn metadata_are_visible_while_the_task_runs() {
    let app = app_with(guests::META).await;
    let ops = json!([{ "op": "set", "key": "progress", "value": 0.5 }, { "op": "sleep", "ms": 3_600_000 }]);
    let id = app.trigger("meta", ops).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let run = app.run(&id).await;
        assert_eq!(run["isCompleted"], false, "{run}");
        if run["metadata"]["progress"] == 0.5 {
            assert_eq!(run["status"], "EXECUTING");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the metadata never appeared: {run}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let canceled = cancel(&app, &id).await;
    assert_eq!(canceled["status"], "CANCELED");
    assert_eq!(canceled["metadata"]["progress"], 0.5, "what was said before stays");
}

#[tokio::test]
async fn metadata_outlive_a_failure_and_a_crash() {
    let app = app_with(guests::META).await;
    for (end, status) in [("fail", "FAILED"), ("trap", "CRASHED")] {
        let ops = json!([{ "op": "set", "key": "step", "value": "last" }, { "op": end }]);
        let run = call_with(&app, "meta", ops, json!({ "maxAttempts": 1 })).await;
        assert_eq!(run["status"], status, "{run}");
        assert_eq!(run["metadata"], json!({ "step": "last" }));
    }
}

#[tokio::test]
async fn metadata_are_bounded() {
    let app = app_with(guests::META).await;
    let ops = json!([
        { "op": "fill", "key": "a", "bytes": 200 * 1024 },
        { "op": "fill", "key": "b", "bytes": 200 * 1024 },
        { "op": "fill", "key": "c", "bytes": 10 * 1024 * 1024 },
        { "op": "set", "key": "d", "value": 1 },
    ]);
    let run = app.call("meta", ops).await;
    assert_eq!(run["status"], "COMPLETED", "{}", run["error"]);
    let refused = json!({ "error": "the metadata would be larger than 262144 bytes" });
    assert_eq!(run["output"]["results"], json!(["ok", refused, refused, "ok"]));
    let keys: Vec<&String> = run["metadata"].as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["a", "d"]);
}

// All of them.

#[tokio::test]
async fn after_all_hostile_guests_the_same_server_still_runs_echo() {
    let app = TestApp::start_with(ServerArgs { scratch_quota: Some("1MiB".into()), ..ServerArgs::default() }).await;
    let hostile = [
        (guests::SPIN, "spin", json!(null), "TIMED_OUT"),
        (guests::HOG, "hog", json!({ "mib": 1_000 }), "COMPLETED"),
        (guests::TABLES, "tables", json!(null), "COMPLETED"),
        (guests::RECURSE, "recurse", json!(null), "CRASHED"),
        (guests::RECURSE_MEMORY, "recurse-memory", json!(null), "CRASHED"),
        (guests::HUGE_OUTPUT, "huge-output", json!({ "bytes": 100 * MIB }), "CRASHED"),
        (guests::LOG_FLOOD, "log-flood", json!({ "lines": 20_000, "bytes": 1_000 }), "COMPLETED"),
        (guests::DISK, "disk", json!({ "mib": 16, "mode": "many-files" }), "COMPLETED"),
        (guests::ESCAPE, "escape", json!(null), "COMPLETED"),
        (guests::EXIT, "exit", json!({ "code": 7 }), "CRASHED"),
        (guests::PANIC, "panic", json!("on purpose"), "CRASHED"),
        (guests::TRAP, "trap", json!({}), "CRASHED"),
        (guests::INVALID_JSON, "invalid-json", json!(null), "CRASHED"),
    ];
    app.deploy(guests::ECHO_V1).await;
    for (guest, ..) in &hostile {
        app.deploy(guest).await;
    }
    let mut running = Vec::new();
    for (_, task, payload, status) in hostile {
        for _ in 0..2 {
            let options = json!({ "maxDuration": 2, "machine": "micro" });
            let id = app.trigger_with(task, payload.clone(), options).await;
            running.push((id, task, status));
        }
    }

    let beside = app.call("echo", json!("beside them")).await;
    assert_eq!(beside["status"], "COMPLETED", "{beside}");
    for (id, task, status) in running {
        let run = app.finished(&id).await;
        assert_eq!(run["status"], status, "{task}: {run}");
        assert_eq!(run["attemptCount"], 1, "{task}");
    }

    let after = app.call("echo", json!("after them")).await;
    assert_eq!(after["output"]["payload"], "after them", "{after}");
    until_scratch_is_empty(&app).await;
    // And it can still be stopped in order, and started again.
    let app = app.restart().await;
    assert_eq!(app.call("echo", json!("again")).await["status"], "COMPLETED");
}
