//! `keys`, `environments` and `envvars`.

use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::program::{Desk, hear, text};

#[test]
fn a_key_is_made_used_and_revoked() {
    let desk = Desk::new();
    let made = desk.does(&["keys", "create", "staging"]);
    let key = made.stdout.trim_end().to_owned();
    assert!(key.starts_with("tr_stg_") && !key.contains(char::is_whitespace), "scripts get the key alone: {made:?}");
    made.says("opens stg; keep it, it is not shown again");
    let file = desk.file("staging.key", &key);
    desk.does(&["runs", "list", "--key-file", &file]).says("no runs");
    let wrong = desk.say(&["runs", "list", "--key-file", &file, "-e", "prod"]).ended(2);
    wrong.says("opens stg, but --environment says prod");

    let list = desk.json(&["keys", "list"]);
    let keys = list["data"].as_array().expect("a list");
    let in_staging: Vec<&Value> = keys.iter().filter(|key| key["environment"] == "stg").collect();
    let id = in_staging.iter().map(|key| text(&key["id"])).find(|id| made.stderr.contains(id)).expect("it is listed");
    let table = desk.does(&["keys", "ls"]).stdout;
    assert!(table.starts_with("ID ") && table.contains(&id) && !table.contains(&key), "{table}");

    desk.does(&["keys", "revoke", &id]).says(&format!("✓ {id} opens nothing now"));
    let refused = desk.say(&["runs", "list", "--key-file", &file]).ended(4);
    refused.says("error: ").says(&format!("the key came from {file}"));
    assert!(!refused.text().contains(&key), "a key is no text for errors");
    let listed = desk.json(&["keys", "list"]);
    let listed = listed["data"].as_array().expect("a list").iter().find(|key| key["id"] == id.as_str());
    assert!(listed.is_some_and(|key| key["revokedAt"].is_string()), "{listed:?}");
    desk.say(&["keys", "revoke", "key_00000000000000000000000000"]).ended(4).says("error: ");
    desk.say(&["keys", "create", "moon"]).ended(2).says("possible values: dev, staging, production");
    let created = desk.json(&["keys", "create", "dev"]);
    assert!(text(&created["key"]).starts_with("tr_dev_"), "{created}");
    let additional = desk.does(&["keys", "create", "dev", "--additional"]).stdout;
    assert!(additional.starts_with("tr_dev_sk_"), "{additional}");
    let file = desk.file("additional.key", additional.trim_end());
    desk.does(&["runs", "list", "--key-file", &file]).says("no runs");
}

#[test]
fn the_operator_of_a_machine_works_in_all_environments() {
    let desk = Desk::new();
    let admin = desk.data_dir.join("admin.key").display().to_string();
    desk.does(&["deploy", guests::ECHO_V1, "--name", "echo", "-e", "production"]);
    desk.does(&["trigger", "echo", "1", "--wait", "-e", "production", "--key-file", &admin]).says("✓ echo completed");
    desk.does(&["runs", "list", "-e", "production"]).says("echo");
    desk.does(&["runs", "list"]).says("no runs");
    desk.does(&["runs", "list", "--key-file", &admin]).says("no runs");
}

#[test]
fn only_the_admin_key_manages_keys() {
    let desk = Desk::new();
    let dev = desk.data_dir.join("dev.key").display().to_string();
    desk.say(&["keys", "list", "--key-file", &dev]).ended(4).says("error: ");
    std::fs::remove_file(desk.data_dir.join("admin.key")).expect("it is there");
    desk.say(&["keys", "list"]).ended(2).says("no admin key: set DACAPO_ADMIN_KEY");
    desk.say(&["environments", "list"]).ended(2).says("no admin key");
    desk.does(&["runs", "list"]);
}

#[test]
fn environments_say_where_their_tasks_may_connect_to() {
    let desk = Desk::new();
    let list = desk.json(&["environments", "list"]);
    let slugs: Vec<String> = list["data"].as_array().expect("a list").iter().map(|item| text(&item["slug"])).collect();
    assert!(["dev", "stg", "prod"].iter().all(|slug| slugs.iter().any(|listed| listed == slug)), "{list}");
    let table = desk.does(&["environments", "ls"]).stdout;
    assert!(table.starts_with("ENVIRONMENT ") && table.lines().count() == slugs.len() + 1, "{table}");

    let replaced = desk.does(&["environments", "egress", "staging", "api.example.com:443", "127.0.0.1:8080"]);
    replaced.says("✓ tasks of stg may connect to: api.example.com:443, 127.0.0.1:8080");
    let shown = desk.does(&["environments", "egress", "staging"]).stdout;
    assert_eq!(shown, "api.example.com:443\n127.0.0.1:8080\n");
    let none = desk.json(&["environments", "egress", "staging", "--none"]);
    assert_eq!(none["egress"], json!([]), "{none}");
    desk.does(&["environments", "egress", "staging"]).says("nothing is allowed");
    assert_eq!(desk.json(&["environments", "egress", "staging"])["egress"], json!([]));
    desk.say(&["environments", "egress", "staging", "a b"]).ended(4).says("error: ");
    desk.say(&["environments", "egress", "staging", "a:1", "--none"]).ended(2).says("cannot be used with");
}

#[test]
fn variables_are_set_imported_and_removed_and_tasks_see_them() {
    let desk = Desk::new();
    desk.deploy("env", guests::ENV);
    desk.does(&["envvars", "list"]).says("no variables");
    desk.does(&["envvars", "set", "PLAIN", "-1"]).says("✓ PLAIN is set in dev");
    let heard = hear(desk.command(&["envvars", "set", "TOKEN", "--secret"]), "hush\n").ended(0);
    assert!(!heard.text().contains("hush"), "{heard:?}");
    let file = desk.file(".env", "# fine\nexport NAME=\"A da\"\nPLAIN=2\n");
    assert_eq!(desk.json(&["envvars", "import", &file])["success"], true);

    let table = desk.does(&["envvars", "ls"]).stdout;
    assert!(table.contains("NAME   A da\n") && table.contains("TOKEN  (secret)\n"), "{table}");
    let list = desk.json(&["envvars", "list"]).to_string();
    assert!(list.contains("PLAIN") && !list.contains("hush"), "{list}");
    let variables = || -> Value {
        let result = desk.json(&["trigger", "env", "--wait"]);
        let output: Value = serde_json::from_str(&text(&result["output"])).expect("JSON");
        output["env"].clone()
    };
    let seen = variables();
    assert_eq!((&seen["PLAIN"], &seen["TOKEN"], &seen["NAME"]), (&json!("-1"), &json!("hush"), &json!("A da")));

    desk.does(&["envvars", "import", &file, "--override"]).says("✓ 2 variables are imported into dev");
    desk.does(&["envvars", "unset", "TOKEN"]).says("✓ TOKEN is removed from dev");
    let seen = variables();
    assert_eq!((&seen["PLAIN"], seen.get("TOKEN")), (&json!("2"), None));
    desk.say(&["envvars", "unset", "TOKEN"]).ended(4).says("error: ");
    desk.say(&["envvars", "set", "1=2", "x"]).ended(4).says("error: ");
    let bad = desk.file("bad.env", "A=1\nsecret");
    let refused = desk.say(&["envvars", "import", &bad]).ended(2);
    assert!(refused.says("line 2: write NAME=value").stderr.lines().count() == 1, "{refused:?}");
    let empty = desk.file("empty.env", "\n");
    desk.say(&["envvars", "import", &empty]).ended(2).says("names no variables");
}
