//! `runs replay --mode sandbox`, `backtest`, and `deploy --backtest`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Command;

use dacapo_tests::guests::{SAMPLE_ORDER_IMPORTER_V1 as V1, SAMPLE_ORDER_IMPORTER_V2 as V2};
use serde_json::{Value, json};

use crate::program::{Desk, Said, command, text};

/// An order that both versions of the sample import.
const GOOD: &str =
    r#"{"id":"A-1","currency":"EUR","items":[{"sku":"MUG","quantity":2,"price":"9.90"}],"address":{"country":"DE"}}"#;
/// An order on which the first version fails.
const ODD: &str = r#"{"id":"A-2","currency":"EUR","items":[{"sku":"DESK","quantity":1,"price":"1,299.00"}],"address":{"country":"FR"}}"#;

/// Imports an order; the run's id.
#[track_caller]
fn import(desk: &Desk, order: &str) -> String {
    let said = desk.say(&["trigger", "import-order", order, "--wait", "--json"]);
    text(&serde_json::from_str::<Value>(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"))["id"])
}

/// Uploads a version of the sample and leaves current what is; its version.
#[track_caller]
fn upload(desk: &Desk, guest: &str) -> String {
    let receipt = desk.json(&["deploy", guest, "--name", "order-importer", "--skip-promotion"]);
    text(&receipt["deployment"]["version"])
}

fn runs(desk: &Desk) -> usize {
    desk.json(&["runs", "list", "-n", "100"])["data"].as_array().expect("a list").len()
}

#[track_caller]
fn current(desk: &Desk) -> String {
    text(&desk.json(&["deployments", "get"])["version"])
}

#[test]
fn a_run_is_replayed_in_the_sandbox_and_compared() {
    let desk = Desk::new();
    desk.deploy("order-importer", V1);
    let (good, odd) = (import(&desk, GOOD), import(&desk, ODD));
    let two = upload(&desk, V2);
    let made = runs(&desk);
    let replay = |run: &str, more: &[&str]| desk.say(&[&["runs", "replay", run, "--mode", "sandbox"], more].concat());

    let same = replay(&odd, &[]).ended(0);
    assert!(same.stdout.starts_with("verdict     same\n"), "{same:?}");
    let fixed = replay(&odd, &["--version", &two]).ended(0);
    assert!(fixed.stdout.starts_with("verdict     fixed\n"), "the verdict is first: {fixed:?}");
    fixed.says("ended       differently").says(&format!("on {two} in the sandbox; no run was made"));
    let other = replay(&good, &[&GOOD.replace("9.90", "5.00")]).ended(1);
    other.says("verdict     output-changed").says("output      $.totalCents").says("- 1980").says("+ 1000");
    let report = replay(&good, &["--version", &two, "--json"]).ended(0).json();
    assert_eq!(
        (&report["verdict"], &report["version"], &report["mode"]),
        (&json!("same"), &json!(two), &json!("sandbox"))
    );

    let rules = desk.file("rules.json", r#"{"import-order":{"ignore-output":["$.totalCents"]}}"#);
    replay(&good, &[&GOOD.replace("9.90", "5.00"), "--rules", &rules]).ended(0).says("verdict     same");
    let wrong = desk.file("wrong.json", r#"{"import-order":{"ignore":1}}"#);
    replay(&good, &["--rules", &wrong]).ended(2).says("the rules in ");
    assert_eq!(runs(&desk), made, "no run was made");

    let never = desk.json(&["trigger", "import-order", GOOD, "--delay", "1h"]);
    desk.does(&["runs", "cancel", &text(&never["id"])]);
    replay(&text(&never["id"]), &[]).ended(2).says("not-replayable");
    replay(&good, &["--tag", "a"]).ended(2).says("no run is made in the sandbox");
    replay(&good, &["--to", "staging"]).ended(4).says("no current version has the task `import-order`");
    let key = desk.file("staging.key", desk.does(&["keys", "create", "staging"]).stdout.trim_end());
    desk.json(&["deploy", V2, "--name", "order-importer", "--key-file", &key]);
    replay(&odd, &["--to", "staging"]).ended(0).says("verdict     fixed");
    assert_eq!(runs(&desk), made + 1, "no run was made");
    desk.say(&["runs", "replay", &good, "--unmatched", "fail"]).ended(2).says("--unmatched needs --mode sandbox");
}

#[test]
fn a_version_is_backtested_and_the_exit_code_says_how_it_went() {
    let desk = Desk::new();
    let one = desk.deploy("order-importer", V1);
    let odd = import(&desk, ODD);
    import(&desk, GOOD);
    let two = upload(&desk, V2);

    let clean = desk.does(&["backtest", "--version", &two]);
    clean.says(&format!("✓ {two} is clean: 2 runs, and none differs"));
    clean.says("same     1").says("fixed    1").says("1 run that failed succeeds now");
    desk.does(&["backtest", "--version", "latest", "--status", "failed"]).says("of 1 failed runs, 1 now succeed");
    let item = desk.json(&["backtest", "--version", &two, "--run", &odd]);
    assert_eq!((&item["status"], &item["verdicts"]), (&json!("COMPLETED"), &json!({ "fixed": 1 })), "{item}");

    desk.does(&["promote", &two]);
    let now_good = import(&desk, ODD);
    let file = |name: &str| desk.dir.path().join(name).display().to_string();
    let reports = ["json", "junit", "html"].map(|format| (format!("{format}={}", file(format)), file(format)));
    let mut arguments = vec!["backtest", "--version", &one, "--filter", "task=import-order"];
    reports.iter().for_each(|(report, _)| arguments.extend(["--report", report]));
    let differs = desk.say(&arguments).ended(1);
    differs.says(&format!("✗ {one} differs in 1 of 3 runs (0 allowed)")).says("what differs").says(&now_good);
    differs.says("newly-failing").says("fails with ");
    let written = reports.map(|(_, path)| std::fs::read_to_string(path).expect("it was written"));
    let json: Value = serde_json::from_str(&written[0]).expect("a JSON report");
    assert_eq!((&json["summary"]["differences"], json["runs"].as_array().map(Vec::len)), (&json!(1), Some(3)));
    assert!(written[1].starts_with("<?xml") && written[2].contains("<html"), "{written:?}");
    desk.does(&["backtest", "--version", &one, "--allow", "1"]).says("it differs in 1 of 3 runs, and 1 may");

    desk.say(&["backtest", "--version", &two, "--task", "nothing"]).ended(2).says("no run fits");
    desk.say(&["backtest", "--version", "20010101.1"]).ended(4).says("error: ");
    desk.say(&["backtest"]).ended(2).says("--version");
    desk.say(&["backtest", "--version", &two, "--filter", "colour=red"]).ended(2).says("the keys are ");
    desk.say(&["backtest", "--version", &two, "--report", "json=/no/such/dir/a"]).ended(2).says("cannot write");
}

#[test]
fn a_version_of_which_too_little_is_known_is_not_clean() {
    let desk = Desk::new();
    let one = desk.deploy("order-importer", V1);
    let mut arguments = vec!["backtest".to_owned(), "--version".into(), one, "--run".into(), import(&desk, GOOD)];
    for _ in 0..2 {
        let never = text(&desk.json(&["trigger", "import-order", GOOD, "--delay", "1h"])["id"]);
        desk.does(&["runs", "cancel", &never]);
        arguments.extend(["--run".into(), never]);
    }
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    desk.say(&arguments)
        .ended(1)
        .says("was hardly tested: of 3 runs, 1 could be replayed (50% asked for, --min-known)");
    arguments.extend(["--min-known", "30"]);
    desk.say(&arguments).ended(0).says("is clean");
    desk.say(&["backtest", "--version", arguments[2], "--min-known", "101"]).ended(2).says("101");
}

#[test]
fn a_version_is_compared_with_another_and_children_are_executed() {
    let desk = Desk::new();
    let one = desk.deploy("order-importer", V1);
    import(&desk, ODD);
    let two = upload(&desk, V2);
    // The first version failed then, and fails now; the second does not.
    desk.does(&["backtest", "--version", &one]).says("is clean: 1 run");
    desk.say(&["backtest", "--version", &one, "--against", &two]).ended(1).says("newly-failing");
    let item = desk.json(&["backtest", "--version", &two, "--against", "current"]);
    assert_eq!((&item["against"], &item["verdicts"]), (&json!(one), &json!({ "fixed": 1 })), "{item}");
    desk.say(&["backtest", "--version", &one, "--against", "20010101.1"]).ended(4).says("there is no version");

    desk.deploy("script", dacapo_tests::guests::SCRIPT);
    let run = text(&desk.json(&["trigger", "script", r#"[{"return":1}]"#])["id"]);
    desk.say(&["runs", "logs", &run, "--follow"]).ended(0);
    let made = runs(&desk);
    let payload = r#"[{"child":{"task":"leaf","payload":{"echo":7}}}]"#;
    let replay = |how: &str| {
        desk.say(&["runs", "replay", &run, payload, "--mode", "sandbox", "--children", how, "--json"]).ended(1).json()
    };
    let (recorded, executed) = (replay("recorded")["comparison"].clone(), replay("execute")["comparison"].clone());
    assert_eq!(recorded["effects"]["unmatched"]["items"][0]["target"], "leaf", "{recorded}");
    assert_eq!(executed["effects"]["unmatched"]["items"], json!([]), "{executed}");
    assert!(executed["output"]["items"][0]["after"].as_str().unwrap().contains(r#"{"output":7}"#), "{executed}");
    assert_eq!(runs(&desk), made, "no run was made");
}

#[test]
fn a_backtest_is_left_and_found_again() {
    let desk = Desk::new();
    let one = desk.deploy("order-importer", V1);
    import(&desk, GOOD);
    desk.does(&["backtest", "list"]).says("no backtests yet");
    let left = desk.does(&["backtest", "--version", &one, "--detach"]);
    let id = left.stdout.split(' ').find(|word| word.starts_with("backtest_")).expect("it names the backtest");
    left.says(&format!("come back with: dacapo backtest show {id} --wait"));
    desk.does(&["backtest", "show", id, "--wait"]).says(&format!("✓ {one} is clean: 1 run, and none differs"));
    let shown = desk.json(&["backtest", "show", "latest"]);
    assert_eq!((&shown["id"], &shown["done"]), (&json!(id), &json!(1)), "{shown}");
    let table = desk.does(&["backtest", "ls"]).stdout;
    assert!(table.starts_with("ID ") && table.contains(id) && table.contains("completed"), "{table}");
    desk.say(&["backtest", "abort", id]).ended(4).says("over already");
    desk.does(&["backtest", "delete", id]).says("is deleted");
    desk.say(&["backtest", "show", id]).ended(4).says("not found");
    desk.say(&["backtest", "--version", &one, "show", id]).ended(2);
}

/// A server whose one backtest never ends; it interrupts who asks how far that has come.
fn never_ending(listener: &TcpListener, interrupt: impl Fn()) {
    let item = r#"{"id":"backtest_1","status":"PENDING","version":"20260101.1","against":"recorded","planned":9,
                   "done":1,"verdicts":{"same":1},"differences":0,"createdAt":"2026-01-01T00:00:00Z"}"#;
    for stream in listener.incoming() {
        let mut stream = stream.expect("a connection");
        let mut lines = BufReader::new(stream.try_clone().expect("a stream"));
        let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
        lines.read_line(&mut first).expect("a request");
        while lines.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
            if let Some(bytes) = line.to_lowercase().strip_prefix("content-length:") {
                length = bytes.trim().parse().expect("a number");
            }
            line.clear();
        }
        let mut body = vec![0; length];
        lines.read_exact(&mut body).expect("a body");
        let asks = first.starts_with("GET");
        let answer = if asks { item } else { r#"{"id":"backtest_1"}"# };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
        stream.write_all(format!("{head}{answer}").as_bytes()).expect("somebody reads");
        if asks {
            return interrupt();
        }
    }
}

#[test]
fn an_interrupt_leaves_the_backtest_and_says_how_to_come_back() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let mut command = command(&["backtest", "--version", "20260101.1", "--url", &url]);
    let child = command.env("DACAPO_KEY", "tr_dev_x").spawn().expect("dacapo can be started");
    let id = child.id().to_string();
    never_ending(&listener, || {
        let sent = Command::new("kill").args(["-INT", &id]).status().expect("kill runs");
        assert!(sent.success(), "the signal was sent");
    });
    let said = Said::from(child.wait_with_output().expect("it ends")).ended(2);
    said.says("dacapo backtest show backtest_1 --wait").says("dacapo backtest abort backtest_1");
}

#[test]
fn a_version_is_promoted_when_it_does_what_old_runs_did() {
    let desk = Desk::new();
    let gated = |guest: &str, more: &[&str]| {
        let arguments = ["deploy", guest, "--name", "order-importer", "--backtest", "last=10,allow=0"];
        desk.say(&[&arguments, more].concat())
    };
    gated(V1, &[]).ended(0).says("current: import-order").says("no run of its tasks has ended yet");
    let one = current(&desk);
    import(&desk, GOOD);
    import(&desk, ODD);

    let open = gated(V2, &[]).ended(0);
    let two = current(&desk);
    assert_ne!(one, two);
    open.says(&format!("the gate is open: {two} was made current")).says("dacapo promote --previous");

    let odd = import(&desk, ODD);
    let closed = gated(V1, &[]).ended(1);
    closed.says("the gate is closed: 0 may differ").says("stays unpromoted").says(&odd);
    closed.says("make it current all the same with: dacapo promote ").says("dacapo backtest show backtest_");
    assert_eq!(current(&desk), two);
    let receipt = gated(V1, &["--json"]).ended(1).json();
    assert_eq!((&receipt["backtest"]["isOpen"], &receipt["isNew"]), (&json!(false), &json!(false)), "{receipt}");
    let left = gated(V1, &["--detach"]).ended(0);
    left.says("dacapo backtest show backtest_");

    desk.does(&["promote", "--previous"]).says(&format!("✓ {one} is current"));
    gated(V1, &["--skip-promotion"]).ended(2).says("cannot be used with");
    desk.say(&["deploy", V1, "--backtest", "last=no"]).ended(2).says("write for example last=1000,allow=0");
}

#[test]
fn an_environment_says_what_versions_must_stand() {
    let desk = Desk::new();
    desk.does(&["environments", "backtest", "dev"]).says("versions in dev become current at once");
    let set = desk.does(&["environments", "backtest", "dev", "last=50,allow=1,task=import-order"]);
    set.says("✓ versions in dev become current when no more than 1 of the newest 50 runs of import-order differ");
    let shown = desk.json(&["environments", "backtest", "dev"]);
    assert_eq!(shown["backtestPolicy"], json!({ "last": 50, "allow": 1, "tasks": ["import-order"], "options": {} }));
    desk.does(&["environments", "backtest", "dev", "--none"]).says("become current at once");
    desk.say(&["environments", "backtest", "dev", "last=0"]).ended(4).says("`last` must be 1 to 100,000");
}

/// A server that has one backtest, and breaks off in the middle of its report.
fn breaking_off(listener: &TcpListener) {
    let item = r#"{"id":"backtest_1","status":"COMPLETED","version":"20260101.1","against":"recorded","planned":1,
                   "done":1,"verdicts":{"same":1},"differences":0,"createdAt":"2026-01-01T00:00:00Z"}"#;
    for stream in listener.incoming().take(2) {
        let mut stream = stream.expect("a connection");
        let mut lines = BufReader::new(stream.try_clone().expect("a stream"));
        let (mut first, mut line) = (String::new(), String::new());
        lines.read_line(&mut first).expect("a request");
        while lines.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
            line.clear();
        }
        let answer = match first.contains("/report") {
            true => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n2\r\n{}\r\n".to_owned(),
            false => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{item}", item.len()),
        };
        stream.write_all(answer.as_bytes()).expect("somebody reads");
    }
}

#[test]
fn a_report_that_breaks_off_leaves_the_one_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("report.json");
    std::fs::write(&path, "before").expect("it can be written");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let report = format!("json={}", path.display());
    let mut command = command(&["backtest", "show", "backtest_1", "--report", &report, "--url", &url]);
    let child = command.env("DACAPO_KEY", "tr_dev_x").spawn().expect("dacapo can be started");
    breaking_off(&listener);
    let output = child.wait_with_output().expect("it ends");
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "before");
    assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 1, "nothing is left lying about");
}
