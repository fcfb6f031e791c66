//! `deploy`, `promote` and `deployments`.

use dacapo_tests::guests;
use serde_json::json;

use crate::program::{Desk, text};

/// Which version of its code the task `echo` runs now.
#[track_caller]
fn code_version(desk: &Desk) -> u64 {
    let result = desk.json(&["trigger", "echo", "1", "--wait"]);
    let output: serde_json::Value = serde_json::from_str(&text(&result["output"])).expect("JSON");
    output["version"].as_u64().expect("a number")
}

#[test]
fn a_version_is_deployed_promoted_and_rolled_back() {
    let desk = Desk::new();
    let none = desk.does(&["deployments", "list"]);
    assert_eq!((none.stdout.as_str(), none.stderr.contains("nothing is deployed")), ("", true), "{none:?}");

    let first = desk.does(&["deploy", guests::ECHO_V1, "--name", "echo"]);
    let line = first.stdout.lines().next().unwrap_or_default();
    let version = line.strip_prefix("✓ echo deployed ").and_then(|rest| rest.split(' ').next());
    let one = version.unwrap_or_else(|| panic!("it names the version: {first:?}")).to_owned();
    assert!(one.ends_with(".1") && line.contains("KiB"), "{line}");
    first.says("current: echo");
    let again = desk.does(&["deploy", guests::ECHO_V1, "--name", "echo"]);
    again.says(&format!("✓ echo the same bytes were deployed before: {one} "));

    let receipt = desk.json(&["deploy", guests::ECHO_V2, "--name", "echo", "--skip-promotion"]);
    assert_eq!((&receipt["isNew"], receipt.get("promotion")), (&json!(true), None), "{receipt}");
    let two = text(&receipt["deployment"]["version"]);
    let hint = desk.does(&["deploy", guests::ECHO_V2, "--name", "echo", "--skip-promotion"]);
    assert!(hint.stderr.contains(&format!("not current; make it so with: dacapo promote {two}")), "{hint:?}");
    assert_eq!(code_version(&desk), 1);

    let promoted = desk.does(&["promote", &two]);
    promoted.says(&format!("✓ {two} is current")).says("current: echo");
    assert_eq!(code_version(&desk), 2);
    let rolled_back = desk.json(&["promote", "--previous"]);
    assert_eq!((&rolled_back["version"], &rolled_back["tasks"]), (&json!(one), &json!(["echo"])));
    assert_eq!(code_version(&desk), 1);
}

#[test]
fn versions_are_listed_and_shown() {
    let desk = Desk::new();
    let one = desk.deploy("echo", guests::ECHO_V1);
    let two = desk.deploy("echo", guests::ECHO_V2);

    let table = desk.does(&["deployments", "list"]).stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("VERSION ") && lines[0].contains(" COMPONENT ") && lines.len() == 3, "{table}");
    assert!(lines[1].starts_with(&two) && lines[1].ends_with("current"), "the newest is first: {table}");
    assert!(lines[2].starts_with(&one) && !lines[2].ends_with("current"), "{table}");
    let page = desk.does(&["deployments", "ls", "-n", "1"]);
    let more = page.stderr.trim().strip_prefix("more: --after ").unwrap_or_else(|| panic!("{page:?}"));
    let rest = desk.json(&["deployments", "list", "--after", more]);
    assert_eq!((rest["data"].as_array().map(Vec::len), &rest["data"][0]["version"]), (Some(1), &json!(one)));

    let shown = desk.does(&["deployments", "get"]);
    for part in [two.as_str(), "state     current", "sha-256 ", "wasi:", "tasks\nID ", "\necho "] {
        shown.says(part);
    }
    desk.does(&["deployments", "get", &one]).says("not current");
    let deployment = desk.json(&["deployments", "get", &one]);
    assert_eq!((&deployment["isCurrent"], &deployment["tasks"][0]["id"]), (&json!(false), &json!("echo")));
}

#[test]
fn a_refused_component_is_explained_and_what_is_current_stays() {
    let desk = Desk::new();
    let one = desk.deploy("guest", guests::ECHO_V1);

    let sockets = desk.say(&["deploy", guests::SOCKETS, "--name", "guest"]).ended(4);
    assert!(sockets.stdout.is_empty() && sockets.stderr.starts_with("error: "), "{sockets:?}");
    sockets.says("imports `wasi:sockets/").says("which tasks do not get");
    let body = desk.say(&["deploy", guests::SOCKETS, "--name", "guest", "--json"]).ended(4).error();
    assert_eq!(body["code"], "component_refused", "{body}");
    let text = desk.file("task.wasm", "not a component");
    desk.say(&["deploy", &text]).ended(4).says("component");
    let twice = desk.say(&["deploy", guests::DESCRIBE_DUPLICATE]).ended(4);
    let problem = twice.stderr.lines().next().unwrap_or_default();
    assert_eq!(twice.stderr.trim_end(), problem, "what is wrong is said once");

    desk.say(&["deploy", "/does/not/exist.wasm"]).ended(2).says("cannot read the component /does/not/exist.wasm");
    let dir = desk.dir.path().display().to_string();
    desk.say(&["deploy", &dir]).ended(2).says("is not a file: name the .wasm file itself");
    desk.say(&["promote", "20010101.1"]).ended(4).says("error: ");
    desk.say(&["promote", "--previous"]).ended(4).says("error: ");
    desk.say(&["promote"]).ended(2).says("--previous");
    desk.say(&["promote", &one, "--previous"]).ended(2).says("cannot be used with");
    desk.say(&["deployments", "get", "20010101.1"]).ended(4).says("error: ");

    let list = desk.json(&["deployments", "list"]);
    let versions = list["data"].as_array().expect("a list");
    assert_eq!((versions.len(), &versions[0]["version"], &versions[0]["isCurrent"]), (1, &json!(one), &json!(true)));
}
