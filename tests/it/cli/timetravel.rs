//! `runs rerun`, `runs export`, `rerun` and `test`: with a server, and with nothing but files.

use std::path::Path;

use dacapo::backtest::file;
use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::program::{Desk, Said, command, text};

/// What a command says that needs no server.
fn alone(arguments: &[&str]) -> Said {
    command(arguments).output().expect("dacapo can be started").into()
}

fn triggered(desk: &Desk, task: &str, payload: &Value) -> String {
    text(&desk.json(&["trigger", task, &payload.to_string()])["id"])
}

/// Triggers a run, and waits for its end, whichever it is.
fn ended(desk: &Desk, task: &str, payload: &Value) -> String {
    let run = triggered(desk, task, payload);
    desk.say(&["runs", "logs", &run, "--follow"]).ended(0);
    run
}

#[test]
fn a_run_is_executed_again_here_and_elsewhere() {
    let desk = Desk::new();
    desk.deploy("script", guests::SCRIPT);
    let steps = json!([{ "clock": true }, { "random": true }, { "metadata": { "a": 1 } }, { "env": "HOME" }]);
    let run = ended(&desk, "script", &steps);
    desk.does(&["runs", "rerun", &run]).says("✓ run_").says("the same output, the same ");
    desk.does(&["runs", "rerun", "latest", "--step"]).says("wall-clock.now").says("metadata.set(a)");
    assert_eq!(desk.json(&["runs", "rerun", &run])["same"], true);

    let file = desk.dir.path().join("run.json").display().to_string();
    desk.does(&["runs", "export", &run, "-o", &file]).says("run.json was written");
    desk.say(&["runs", "export", &run, "-o", &file]).ended(2).says("cannot write");
    let written: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(written, desk.json(&["runs", "export", &run]));
    assert_eq!((&written["format"], &written["runId"]), (&json!(1), &json!(run)));

    let alone_with = |component: &str| alone(&["rerun", &file, "--component", component]);
    alone_with(guests::SCRIPT).ended(0).says("the same output, the same ");
    alone_with(guests::ECHO_V1).ended(2).says("takes the very same file");
    let steps = alone(&["rerun", &file, "--component", guests::SCRIPT, "--step", "--json"]).ended(0).json();
    assert_eq!(steps["steps"].as_array().unwrap().len() as u64, steps["calls"].as_u64().unwrap());

    let mut other = written.clone();
    other["payload"] = json!([{ "random": true }, { "clock": true }]);
    let other = desk.file("other.json", &other.to_string());
    let differs = alone(&["rerun", &other, "--component", guests::SCRIPT]).ended(1);
    differs.says("did not do the same again").says("the task is not deterministic: as call ");
    let broken = desk.file("broken.json", "{}");
    alone(&["rerun", &broken, "--component", guests::SCRIPT]).ended(2).says("it is no recording file");

    desk.say(&["runs", "replay", &run, "--from-failure"]).ended(4).says("the run did not fail");
    let broken = json!([{ "child": { "task": "leaf", "payload": { "fail": "a leaf falls" } } }, { "fail": "no" }]);
    let broken = text(&desk.json(&["trigger", "script", &broken.to_string(), "--max-attempts", "1"])["id"]);
    desk.say(&["runs", "logs", &broken, "--follow"]).ended(0);
    desk.does(&["runs", "rerun", &broken]).says("failed the same way").says("    at examples/script.rs:");
    let forward = desk.does(&["runs", "replay", &broken, "--from-failure"]);
    forward.says("it goes on with call ").says("runs.trigger-and-wait(leaf), which was answered").says("a leaf falls");
    desk.say(&["runs", "replay", &broken, "--from-failure"]).ended(4).says("goes on from there already");
    desk.does(&["runs", "replay", &broken, "--from-failure", "--force"]).says("it goes on with call ");

    let crashed = ended(&desk, "script", &json!([{ "clock": true }, { "trap": "boom" }]));
    let again = desk.does(&["runs", "rerun", &crashed]);
    again.says("failed the same way").says("boom").says("    at script::");
}

#[test]
fn a_crash_shows_lines_of_the_source_where_the_component_has_them() {
    let desk = Desk::new();
    desk.deploy("lines", guests::LINES);
    let run = ended(&desk, "lines", &json!(null));
    let on_server = desk.does(&["runs", "rerun", &run]);
    assert!(!on_server.says("    at falls").text().contains("lines.wat"), "a server reads no debug information");
    let file = desk.dir.path().join("run.json").display().to_string();
    desk.does(&["runs", "export", &run, "-o", &file]);
    alone(&["rerun", &file, "--component", guests::LINES]).ended(0).says("    at falls (/guests/lines.wat:28");
}

#[test]
fn secrets_are_in_files_only_if_they_are_wanted_there() {
    const SECRET: &str = "open-sesame-7431";
    let desk = Desk::new();
    desk.deploy("script", guests::SCRIPT);
    desk.does(&["envvars", "set", "KEY", SECRET]);
    let run = ended(&desk, "script", &json!([{ "env": "KEY" }]));
    let path = |name: &str| desk.dir.path().join(name).display().to_string();
    let read = |path: &str| {
        let text = std::fs::read_to_string(path).expect("it was written");
        let journal = file::read(&text).expect("a recording").journal;
        format!("{text}{}", String::from_utf8_lossy(&journal))
    };
    desk.does(&["runs", "export", &run, "-o", &path("without.json")]);
    desk.does(&["runs", "export", &run, "-o", &path("with.json"), "--with-secrets"]);
    assert!(!read(&path("without.json")).contains(SECRET));
    assert!(read(&path("with.json")).contains(SECRET));
    desk.does(&["test", "--record", &run, "--dir", &path("kept")]);
    assert!(!read(&format!("{}/script-{run}.json", path("kept"))).contains(SECRET));
    // What the run answered is left out on both sides.
    alone(&["test", guests::SCRIPT, &path("kept")]).ended(0).says("1 passed");
    // What is not marked as secret may stay, unless a secret is in it.
    desk.does(&["envvars", "set", "REGION", "eu-central-1"]);
    desk.does(&["envvars", "set", "KEY", SECRET, "--secret"]);
    desk.does(&["envvars", "set", "LINK", &format!("key={SECRET}&region=eu-central-1")]);
    let run = ended(&desk, "script", &json!([{ "env": "KEY" }, { "env": "REGION" }, { "env": "LINK" }]));
    desk.does(&["runs", "export", &run, "-o", &path("redacted.json")]);
    desk.does(&["runs", "export", &run, "-o", &path("plain.json"), "--with-plain"]);
    assert!(!read(&path("redacted.json")).contains("eu-central-1"));
    let plain = read(&path("plain.json"));
    assert!(plain.contains("key=[redacted]&region=eu-central-1") && !plain.contains(SECRET), "{plain}");
    desk.say(&["test", guests::SCRIPT, "--with-plain"]).ended(2).says("--with-plain is for --record");
    alone(&["rerun", &path("with.json"), "--component", guests::SCRIPT]).ended(0);
}

#[test]
fn recordings_are_replayed_with_canned_answers_and_executed_children() {
    let desk = Desk::new();
    desk.deploy("script", guests::SCRIPT);
    let run = ended(&desk, "script", &json!([{ "return": "harmless" }]));
    let dir = desk.dir.path().join("kept").display().to_string();
    desk.does(&["test", "--record", &run, "--dir", &dir]);
    let path = format!("{dir}/script-{run}.json");
    let mut file: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    file["payload"] =
        json!([{ "http": "http://new.example/a" }, { "child": { "task": "leaf", "payload": { "echo": 7 } } }]);
    std::fs::write(&path, file.to_string()).unwrap();
    let stubs = json!({ "http": [{ "url": "http://new.example/*", "body": "twelve" }], "runs": { "leaf": 8 } });
    let stubs = desk.file("stubs.json", &stubs.to_string());

    let after = |more: &[&str]| {
        let said = alone(&[&["test", guests::SCRIPT, &dir, "--json"], more].concat()).ended(1).json();
        said["fixtures"][0]["comparison"].clone()
    };
    let blocked = after(&[]);
    assert_eq!(blocked["effects"]["unmatched"]["items"].as_array().map(Vec::len), Some(2), "{blocked}");
    let stubbed = after(&["--stubs", &stubs]);
    assert!(stubbed["output"].to_string().contains("twelve"), "{stubbed}");
    assert_eq!(stubbed["effects"]["unmatched"]["items"], json!([]), "{stubbed}");
    assert_eq!(after(&["--unmatched", "fail"])["ends"]["now"]["name"], "UnmatchedCall");
    let executed = after(&["--children", "execute"]);
    let after = executed["output"]["items"][0]["after"].as_str().unwrap();
    assert!(after.contains(r#"{"output":7}"#), "{executed}");

    // A child that has no recording is not executed, and ends as it ended then.
    let run = ended(&desk, "script", &json!([{ "child": { "task": "leaf", "payload": { "echo": 7 } } }]));
    let parents = desk.dir.path().join("parents").display().to_string();
    desk.does(&["test", "--record", &run, "--dir", &parents]);
    let said = alone(&["test", guests::SCRIPT, &parents, "--children", "execute", "--json"]).ended(0).json();
    let child = &said["fixtures"][0]["comparison"]["children"]["items"][0];
    assert_eq!((&child["task"], &child["notExecuted"]), (&json!("leaf"), &json!(true)), "{said}");

    alone(&["test", guests::SCRIPT, &dir, "--variables", "current"]).ended(2).says("there is no environment here");
    desk.say(&["test", "--record", &run, "--stubs", &stubs]).ended(2).says("--stubs is for replays");
}

#[test]
fn recorded_runs_are_tests() {
    let desk = Desk::new();
    desk.deploy("echo", guests::ECHO_V1);
    let run = ended(&desk, "echo", &json!({ "n": 1 }));
    let other = ended(&desk, "echo", &json!({ "n": 2 }));
    let dir = desk.dir.path().join("kept").display().to_string();
    let file = format!("echo-{run}.json");
    desk.does(&["test", "--record", &run, &other, "--dir", &dir]).says(&file);
    assert!(Path::new(&dir).join(&file).is_file());

    let test = |component: &str, more: &[&str]| alone(&[&["test", component, &dir], more].concat());
    test(guests::ECHO_V1, &[]).ended(0).says(&format!("{file} same")).says("2 passed, 0 different");
    let differs = test(guests::ECHO_V2, &[]).ended(1);
    differs.says("secrets were left out of the file");
    differs.says(&format!("{file} output-changed: ")).says("$.version").says("0 passed, 2");
    let json = test(guests::ECHO_V2, &["--json"]).ended(1).json();
    assert_eq!((&json["different"], &json["fixtures"][0]["verdict"]), (&json!(2), &json!("output-changed")));
    assert!(json["fixtures"][0]["comparison"]["output"].to_string().contains("$.version"), "{json}");
    let rules = desk.file("rules.json", &json!({ "echo": { "ignore-output": ["$.version", "$.ctx"] } }).to_string());
    test(guests::ECHO_V2, &["--rules", &rules]).ended(0).says("2 passed");
    test(guests::FAIL, &[]).ended(1).says("payload-rejected: version ");

    std::fs::write(Path::new(&dir).join("z.json"), "[]").unwrap();
    test(guests::ECHO_V1, &[]).ended(2).says("z.json not-replayable: ").says("2 passed, 0 different, 1 could not");
    test("/does/not/exist.wasm", &[]).ended(2).says("cannot read /does/not/exist.wasm");
    alone(&["test", guests::ECHO_V1, "/does/not/exist"]).ended(2).says("cannot read /does/not/exist");
    alone(&["test"]).ended(2);
}
