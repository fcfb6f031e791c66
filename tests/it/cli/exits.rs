//! Exit codes as `dacapo --help` documents them, and what goes to a terminal and to a pipe.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use dacapo_tests::guests;
use serde_json::Value;

use crate::program::{Desk, command, say};

/// Answers one request with this, and is gone.
fn impostor(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody comes");
        let mut request = [0; 4096];
        // The head of a GET comes in one piece.
        let _ = stream.read(&mut request);
        let _ = stream.write_all(answer.as_bytes());
    });
    url
}

const FAILED: &str = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 43\r\n\r\n\
                      {\"error\":\"too busy\",\"code\":\"unavailable\"}\r\n";
const STRANGE: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 13\r\n\r\n<html></html>";
const MOVED: &str = "HTTP/1.1 302 Found\r\nconnection: close\r\nlocation: http://a/\r\ncontent-length: 0\r\n\r\n";

#[test]
fn every_documented_exit_code_is_given_for_its_reason() {
    let help = command(&["--help"]).output().expect("dacapo can be started");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let codes = help.split("Exit codes:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("a table");
    let documented: Vec<i32> = codes
        .lines()
        // What is long goes on in another line.
        .filter_map(|line| Some(line.trim().chars().next()?.to_digit(10)? as i32))
        .collect();

    let desk = Desk::new();
    desk.deploy("fail", guests::FAIL);
    let wrong_key = desk.file("wrong.key", "tr_dev_0000000000000000000000000000");
    let empty = desk.dir.path().join("nothing");
    let ask = |url: &str, arguments: &[&str]| say(&desk.data_dir, url, arguments);
    let here = desk.server.url.as_str();
    let cases = [
        (0, ask(here, &["runs", "list"]), "no runs"),
        (1, ask(here, &["trigger", "fail", "--max-attempts", "1", "--wait"]), "failed as told"),
        (1, ask("http://127.0.0.1:1", &["doctor"]), "not reached"),
        (2, ask(here, &["runs", "lost"]), "unrecognized subcommand 'lost'"),
        (2, ask(here, &["deploy"]), "<FILE.wasm>"),
        (2, ask("127.0.0.1:3040", &["runs", "list"]), "is not a base URL"),
        (2, ask(here, &["runs", "list", "--key-file", "/does/not/exist"]), "cannot read the key file"),
        (3, ask("http://127.0.0.1:1", &["runs", "list"]), "cannot reach the server at http://127.0.0.1:1: start one"),
        (3, ask("http://127.0.0.1:1", &["deploy", guests::FAIL]), "cannot reach the server"),
        (4, ask(here, &["runs", "get", "run_00000000000000000000000000"]), "Run not found"),
        (4, ask(here, &["runs", "list", "--key-file", &wrong_key]), "the key came from"),
        (4, say(&empty, here, &["runs", "list"]), "no key was given: set DACAPO_KEY"),
        (5, ask(&impostor(FAILED), &["runs", "list"]), "the server failed (503): too busy"),
        (5, ask(&impostor(STRANGE), &["runs", "list"]), "does not answer as a dacapo server does"),
        (5, ask(&impostor(MOVED), &["runs", "list"]), "give the final URL"),
    ];
    let mut given: Vec<i32> = Vec::new();
    for (code, said, reason) in cases {
        said.ended(code).says(reason);
        given.push(code);
    }
    given.dedup();
    assert_eq!(given, documented, "{help}");
}

#[test]
fn errors_are_json_where_json_was_asked_for() {
    let desk = Desk::new();
    let ask = |url: &str, arguments: &[&str]| say(&desk.data_dir, url, &[&["--json"], arguments].concat());
    let here = desk.server.url.as_str();
    let cases = [
        (2, ask(here, &["runs", "lost"]), "usage"),
        (2, ask(here, &["trigger"]), "usage"),
        (2, ask(here, &["runs", "get", "latest"]), "usage"),
        (2, ask("nonsense", &["runs", "list"]), "usage"),
        (3, ask("http://127.0.0.1:1", &["runs", "list"]), "unreachable"),
        (4, ask(here, &["runs", "get", "run_00000000000000000000000000"]), "not_found"),
        (5, ask(&impostor(FAILED), &["runs", "list"]), "unavailable"),
        (5, ask(&impostor(STRANGE), &["runs", "list"]), "server_failed"),
    ];
    for (exit, said, code) in cases {
        let body = said.ended(exit).error();
        assert_eq!(body["code"], code, "{body}");
    }
}

#[test]
fn every_command_answers_machines_with_one_json_document() {
    let desk = Desk::new();
    let (copy, variables) = (desk.dir.path().join("copy").display().to_string(), desk.file(".env", "B=2"));
    let one = desk.deploy("echo", guests::ECHO_V1);
    desk.deploy("echo", guests::ECHO_V2);
    let commands: &[&[&str]] = &[
        &["deploy", guests::ECHO_V2, "--name", "echo"],
        &["promote", &one],
        &["promote", "--previous"],
        &["deployments", "list"],
        &["deployments", "get"],
        &["trigger", "echo", "1"],
        &["trigger", "echo", "1", "--wait"],
        &["runs", "list"],
        &["runs", "get", "latest"],
        &["runs", "logs", "latest"],
        &["runs", "replay", "latest"],
        &["runs", "replay", "latest", "--wait"],
        &["runs", "replay", "latest", "--to", "staging"],
        &["runs", "cancel", "latest"],
        &["envvars", "set", "A", "1"],
        &["envvars", "import", &variables],
        &["envvars", "list"],
        &["envvars", "unset", "A"],
        &["environments", "list"],
        &["environments", "egress", "dev"],
        &["environments", "egress", "dev", "--none"],
        &["keys", "create", "prod"],
        &["keys", "list"],
        &["backup", &copy],
        &["doctor"],
    ];
    for command in commands {
        let document = desk.json(command);
        assert!(matches!(document, Value::Object(_) | Value::Array(_)), "{command:?}: {document}");
    }
    let keys = desk.json(&["keys", "list"]);
    let id = keys["data"][0]["id"].as_str().expect("an id");
    assert_eq!(desk.json(&["keys", "revoke", id])["success"], true);
}

#[test]
fn help_and_version_go_to_standard_output() {
    for (arguments, expected) in [
        (&["--help"][..], "Exit codes:"),
        (&["trigger", "--help"], "Exit codes:"),
        (&["--version"], "dacapo 0."),
        (&["runs", "--help", "--json"], "Usage: dacapo runs"),
    ] {
        let said = command(arguments).output().expect("dacapo can be started");
        let text = String::from_utf8_lossy(&said.stdout);
        assert!(said.status.success() && text.contains(expected) && said.stderr.is_empty(), "{arguments:?}: {said:?}");
    }
}

#[test]
fn colours_are_for_terminals_and_no_task_can_bring_its_own() {
    let desk = Desk::new();
    desk.deploy("fail", guests::FAIL);
    let payload = "{\"message\": \"\\u001b[2Jgone\", \"retry\": \"never\"}";
    let plain = desk.say(&["trigger", "fail", payload, "--wait"]).ended(1);
    assert!(!plain.text().contains('\x1b'), "{plain:?}");
    plain.says("\\u{1b}[2Jgone");
    let listed = |variable: &str| {
        let listed = desk.command(&["runs", "list"]).env(variable, "1").output().expect("dacapo can be started");
        String::from_utf8_lossy(&listed.stdout).into_owned()
    };
    let forced = listed("CLICOLOR_FORCE");
    assert!(forced.lines().nth(1).is_some_and(|line| line.contains("\x1b[") && line.contains("FAILED")), "{forced:?}");
    assert!(!listed("NO_COLOR").contains('\x1b'));
    let shown = desk.command(&["runs", "get", "latest"]).env("CLICOLOR_FORCE", "1").output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("\x1b[") && !shown.contains("\x1b[2J"), "{shown:?}");
}
