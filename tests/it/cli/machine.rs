//! `backup`, `doctor`, `completions` and what `server` says before it serves.

use std::path::Path;
use std::process::Command;

use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::program::{Desk, Said, Server, command, data_dir, say, text};

/// Nobody listens here.
const NOWHERE: &str = "http://127.0.0.1:1";

fn alone(arguments: &[&str]) -> Said {
    command(arguments).output().expect("dacapo can be started").into()
}

#[test]
fn a_server_starts_from_a_backup_that_was_taken_while_it_ran() {
    let desk = Desk::new();
    desk.deploy("echo", guests::ECHO_V1);
    desk.does(&["envvars", "set", "TOKEN", "hush", "--secret"]);
    let run = text(&desk.json(&["trigger", "echo", "\"kept\"", "--wait"])["id"]);
    let copy = desk.dir.path().join("copy").display().to_string();

    let receipt = desk.json(&["backup", &copy]);
    assert_eq!((&receipt["dataDir"], &receipt["target"]), (&json!(desk.data_dir), &json!(copy)));
    let later = text(&desk.json(&["trigger", "echo"])["id"]);
    desk.say(&["backup", &copy]).ended(2).says("exists: name a new directory");
    let other = desk.dir.path().join("other").display().to_string();
    desk.does(&["backup", &other]).says("copied to").says(&format!("dacapo server --data-dir {other}"));

    let restored = Server::start(Path::new(&copy));
    let ask = |arguments: &[&str]| say(Path::new(&copy), &restored.url, arguments);
    let found = ask(&["runs", "get", &run, "--json"]).ended(0).json();
    assert_eq!((&found["payload"], &found["status"]), (&json!("kept"), &json!("COMPLETED")), "{found}");
    ask(&["runs", "get", &later]).ended(4).says("error: ");
    ask(&["runs", "replay", &run, "--wait"]).ended(0).says("\"payload\": \"kept\"");
    ask(&["envvars", "list"]).ended(0).says("(secret)");

    let (_dir, nothing) = data_dir();
    let target = desk.dir.path().join("third").display().to_string();
    say(&nothing, NOWHERE, &["backup", &target]).ended(2).says("there is no data directory");
    let nested = desk.dir.path().join("not/there").display().to_string();
    desk.say(&["backup", &nested]).ended(1).says("error: ");
}

fn checks(document: &Value) -> Vec<(String, String)> {
    let checks = document["checks"].as_array().expect("a list");
    checks.iter().map(|check| (text(&check["name"]), text(&check["state"]))).collect()
}

fn bad(document: &Value) -> Vec<String> {
    checks(document).into_iter().filter(|(_, state)| state == "bad").map(|(name, _)| name).collect()
}

#[test]
fn the_doctor_finds_nothing_where_all_is_well() {
    let desk = Desk::new();
    let shown = desk.does(&["doctor"]);
    for part in ["✓ data directory ", "✓ database ", "✓ server ", "✓ readiness ", "✓ server clock ", "✓ key "]
    {
        shown.says(part);
    }
    assert!(!shown.stdout.contains('✗') && shown.stderr.is_empty(), "{shown:?}");
    let document = desk.json(&["doctor"]);
    let names: Vec<String> = checks(&document).into_iter().map(|(name, _)| name).collect();
    for name in ["rust", "disk space", "address space", "overcommit", "open files", "clock", "server", "key"] {
        assert!(names.iter().any(|known| known == name), "{name} is missing: {document}");
    }
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_to_do() {
    let desk = Desk::new();
    let diagnose = |url: &str, arguments: &[&str]| {
        let said = say(&desk.data_dir, url, &[&["doctor", "--json"], arguments].concat()).ended(1);
        bad(&said.json())
    };
    assert_eq!(diagnose(NOWHERE, &[]), ["server"]);
    let unreached = say(&desk.data_dir, NOWHERE, &["doctor"]).ended(1);
    unreached.says("✗ server").says("not reached").says("→ cannot reach the server at http://127.0.0.1:1");
    let key = desk.file("wrong.key", "tr_dev_0000000000000000000000000000");
    assert_eq!(diagnose(&desk.server.url, &["--key-file", &key]), ["key"]);
    desk.say(&["doctor", "--key-file", &key]).ended(1).says("is refused").says("use a key of this server");
    assert_eq!(diagnose("nonsense", &[]), ["server"]);

    let (_dir, broken) = data_dir();
    std::fs::create_dir(&broken).expect("it can be made");
    std::fs::write(broken.join("dacapo.db"), "this is no database at all").expect("it can be written");
    let said = say(&broken, &desk.server.url, &["doctor"]).ended(1);
    said.says("✗ database").says("is not a database").says("→ restore a backup");
}

#[test]
fn completions_know_every_command() {
    let help = alone(&["--help"]).ended(0).stdout;
    let commands = help.split("Commands:").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("a list");
    let commands: Vec<&str> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"deploy") && commands.len() >= 13, "{commands:?}");
    for (shell, begins) in [("bash", "_dacapo()"), ("zsh", "#compdef dacapo"), ("fish", "# ")] {
        let script = alone(&["completions", shell]).ended(0).stdout;
        assert!(script.starts_with(begins), "{shell}: {script}");
        for command in commands.iter().copied().chain(["--skip-promotion", "--json", "replay"]) {
            let known = script.contains(command) || script.contains(command.trim_start_matches("--"));
            assert!(known, "{shell} does not know {command}");
        }
    }
    alone(&["completions", "telepathy"]).ended(2).says("possible values: bash");

    let (dir, _) = data_dir();
    let file = dir.path().join("dacapo.bash");
    std::fs::write(&file, alone(&["completions", "bash"]).stdout).expect("it can be written");
    let complete =
        "source \"$0\"; COMP_WORDS=(dacapo runs rep); COMP_CWORD=2; _dacapo dacapo rep runs; echo ${COMPREPLY[@]}";
    let completed = Command::new("bash").args(["-c", complete]).arg(&file).output().expect("bash can be started");
    assert_eq!(String::from_utf8_lossy(&completed.stdout).trim(), "replay", "{completed:?}");
}

#[test]
fn settings_can_be_printed_without_a_start() {
    let (_dir, path) = data_dir();
    let shown = path.display().to_string();
    let print = ["server", "--print-config", "--data-dir", &shown, "--max-concurrent-runs", "7"];
    alone(&print).ended(0).says("max-concurrent-runs = 7\n").says("listen = \"127.0.0.1:3040\"\n");
    let settings = alone(&[&print[..], &["--json"]].concat()).ended(0).json();
    assert_eq!((&settings["max-concurrent-runs"], &settings["data-dir"]), (&json!(7), &json!(shown)));
    assert!(!path.exists(), "nothing was made");
}
