//! Rules that are stored for an environment, whole ends of replays, and runs that are compared beside each other.

use axum::http::Request;
use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::harness::{Answer, TestApp};

const RULES: &str = "/api/v1/replay-rules";

async fn put(app: &TestApp, key: &str, rules: Value) -> Answer {
    let request = Request::put(RULES).header("content-type", "application/json").header("x-dacapo-environment", "dev");
    app.send(key, request, json!({ "rules": rules }).to_string()).await
}

/// A run of version 1 of `echo`, and version 2, which says so in its output.
async fn echoed() -> (TestApp, String) {
    let app = TestApp::start().await;
    app.deploy(guests::ECHO_V1).await;
    let run = app.call("echo", json!({ "n": 1 })).await["id"].as_str().expect("an id").to_owned();
    app.deploy(guests::ECHO_V2).await;
    (app, run)
}

async fn replayed(app: &TestApp, run: &str, body: Value) -> Value {
    app.post(&format!("/api/v1/runs/{run}/replay"), body).await.ok()
}

async fn backtest(app: &TestApp, request: &Value) -> Value {
    let made = app.post("/api/v1/backtests", request.clone()).await.ok();
    let path = format!("/api/v1/backtests/{}", made["id"].as_str().unwrap());
    loop {
        let item = app.get(&path).await.ok();
        if item["status"] != "PENDING" {
            return item;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn stored_rules_hold_under_those_of_a_request() {
    let (app, run) = echoed().await;
    assert_eq!(app.get(RULES).await.ok(), json!({ "rules": {} }));
    let sandbox = json!({ "mode": "sandbox" });
    assert_eq!(replayed(&app, &run, sandbox.clone()).await["verdict"], "output-changed");
    let rules = json!({ "echo": { "ignore-output": ["$.version", "$.ctx"] } });

    let stored = put(&app, &app.key, rules.clone()).await.ok();

    assert_eq!((&stored["rules"], stored["updatedAt"].is_string()), (&rules, true));
    assert_eq!(app.get(RULES).await.ok(), stored);
    assert_eq!(replayed(&app, &run, sandbox.clone()).await["verdict"], "same");
    let own = json!({ "mode": "sandbox", "options": { "rules": { "echo": { "ignore-effects": ["tags"] } } } });
    assert_eq!(replayed(&app, &run, own).await["verdict"], "same", "lists are joined");
    let many: Vec<String> = (0..100).map(|n| format!("$.a{n}")).collect();
    let own = json!({ "mode": "sandbox", "options": { "rules": { "echo": { "ignore-output": many } } } });
    let refused = app.post(&format!("/api/v1/runs/{run}/replay"), own).await.error(400);
    assert!(refused.starts_with("`options.rules`, together with the stored rules of the environment: "), "{refused}");
    assert_eq!(put(&app, &app.key, json!({})).await.ok(), json!({ "rules": {} }));
    assert_eq!(app.get(RULES).await.ok(), json!({ "rules": {} }));
    assert_eq!(replayed(&app, &run, sandbox).await["verdict"], "output-changed");
}

#[tokio::test]
async fn rules_that_are_none_are_refused_and_a_policy_keeps_them_for_the_operator() {
    let app = TestApp::start().await;
    for (rules, text) in [
        (json!({ "echo": { "ignore-output": ["version"] } }), "`rules`: the rules of task `echo`: `ignore-output`: "),
        (json!({ "echo": { "relative-tolerance": 2 } }), "`rules`: the rules of task `echo`: `relative-tolerance`: "),
        (json!({ "echo": { "ignore-everything": true } }), ""),
        (json!({ "": {} }), "`rules`: a task id has 1 to "),
    ] {
        let refused = put(&app, &app.key, rules).await.error(400);
        assert!(refused.starts_with(text), "{refused}");
    }
    assert_eq!(app.get(RULES).await.ok(), json!({ "rules": {} }));
    let policy = json!({ "policy": { "allow": 0 } });
    app.admin("PUT", "/admin/v1/environments/dev/backtest-policy", policy).await.ok();
    let rules = json!({ "*": { "ignore-output": ["$"] } });
    let refused = put(&app, &app.key, rules.clone()).await.error(403);
    assert!(refused.contains("the admin key"), "{refused}");
    put(&app, &app.admin_key, rules.clone()).await.ok();
    assert_eq!(app.get(RULES).await.ok()["rules"], rules);
}

#[tokio::test]
async fn a_backtest_says_what_was_asked_for_and_keeps_the_rules_of_then() {
    let (app, run) = echoed().await;
    let version = app.get("/api/v1/deployments/current").await.ok()["version"].take();
    let rules = json!({ "echo": { "ignore-output": ["$.version", "$.ctx"] } });
    put(&app, &app.key, rules.clone()).await.ok();
    let named = json!({ "version": version, "runIds": [run], "mode": "sandbox" });

    let first = backtest(&app, &named).await;

    assert_eq!(first["verdicts"], json!({ "same": 1 }), "{first}");
    let request = &first["request"];
    assert_eq!(
        (&request["version"], &request["runIds"], &request["mode"]),
        (&version, &json!([run]), &json!("sandbox"))
    );
    let list = app.get("/api/v1/backtests").await.ok();
    assert!(list["data"][0].get("request").is_none(), "{list}");
    let connection = rusqlite::Connection::open(app.data_dir().join("dacapo.db")).unwrap();
    let kept: String = connection.query_row("SELECT rules FROM backtests", [], |row| row.get(0)).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), rules);
    drop(connection);
    put(&app, &app.key, json!({})).await.ok();
    let again = backtest(&app, request).await;
    assert_eq!(
        again["verdicts"],
        json!({ "output-changed": 1 }),
        "the rules of the environment are not of the request"
    );
    assert_eq!(again["request"], *request);

    let options = json!({ "rules": { "echo": { "ignore-output": ["$.version", "$.ctx"] } } });
    let filter = json!({ "taskIdentifier": "echo", "isReplay": false });
    let gate = json!({ "allow": 3, "minKnown": 10 });
    let asked = json!({ "version": version, "filter": filter, "last": 10, "options": options, "gate": gate });
    let gated = backtest(&app, &asked).await;
    let request = &gated["request"];
    for name in ["version", "last", "options", "gate"] {
        assert_eq!(request[name], asked[name], "{name}");
    }
    assert_eq!((&request["filter"]["taskIdentifier"], &request["filter"]["isReplay"]), (&json!("echo"), &json!(false)));
    assert!(request["filter"]["from"].is_string() && request["filter"]["to"].is_string(), "{request}");
    assert_eq!(backtest(&app, request).await["verdicts"], gated["verdicts"]);
}

#[tokio::test]
async fn a_replay_in_the_sandbox_shows_the_whole_of_its_end() {
    let app = TestApp::start().await;
    app.deploy(guests::SCRIPT).await;
    app.post("/api/v1/projects/p/envvars/dev", json!({ "name": "PASS", "value": "open-sesame-7431" })).await.ok();
    let end = async |task: &str, payload: Value| {
        let run = app.call(task, payload).await;
        let report = replayed(&app, run["id"].as_str().unwrap(), json!({ "mode": "sandbox" })).await;
        let then = &report["then"];
        assert_eq!(
            (then.get("output"), then.get("outputIsCut")),
            (report["now"].get("output"), report["now"].get("outputIsCut"))
        );
        assert_eq!(then["error"]["message"], report["now"]["error"]["message"]);
        (run, report["now"].clone())
    };

    let script =
        json!([{ "env": "PASS" }, { "log": "it is open-sesame-7431" }, { "return": { "text": "x".repeat(9_000) } }]);
    let (run, now) = end("script", script).await;
    assert_eq!(now["output"], run["output"]);
    let line = json!({ "level": "info", "source": "task", "message": "it is [redacted]" });
    assert_eq!((&now["logs"], now.get("logsAreCut"), now.get("error")), (&json!([line]), None, None), "{now}");

    let (run, now) = end("script", json!([{ "env": "PASS" }, { "return": "it is open-sesame-7431" }])).await;
    assert_eq!((&run["output"], &now["output"]), (&json!("it is open-sesame-7431"), &json!("it is [redacted]")));

    let (_, now) = end("leaf", json!({ "fail": "no luck" })).await;
    assert!(now.get("output").is_none(), "{now}");
    assert!(now["error"]["message"].as_str().is_some_and(|message| message.contains("no luck")), "{now}");

    let talk: Vec<Value> = (0..1_001).map(|n| json!({ "log": n.to_string() })).collect();
    let (_, now) = end("script", talk.into()).await;
    assert_eq!((now["logs"].as_array().map(Vec::len), &now["logsAreCut"]), (Some(1_000), &json!(true)));

    let (_, now) = end("script", json!([{ "return": "x".repeat((1 << 20) + 1) }])).await;
    assert_eq!((now.get("output"), &now["outputIsCut"]), (None, &json!(true)));
}

#[tokio::test]
async fn a_live_replay_is_compared_with_the_run_that_it_replays() {
    let (app, run) = echoed().await;
    let replay = app.replay(&run).await;
    app.finished(&replay).await;
    let path = format!("/api/v1/runs/{replay}/comparison");

    let found = app.get(&path).await.ok();

    let (then, now) = (&found["then"], &found["now"]);
    assert_eq!((&then["runId"], &now["runId"]), (&json!(run), &json!(replay)));
    assert_eq!((&then["isRecorded"], &now["isRecorded"], found.get("notes")), (&json!(true), &json!(true), None));
    assert_eq!(found["areCallsCompared"], true);
    assert_ne!(then["version"], now["version"]);
    let comparison = &found["comparison"];
    assert_eq!(
        (&comparison["verdict"], &comparison["ends"]["now"]["kind"]),
        (&json!("output-changed"), &json!("completed"))
    );
    let change = json!({ "path": "$.version", "before": "1", "after": "2" });
    let changes = comparison["output"]["items"].as_array().expect("a list");
    assert!(changes.contains(&change), "{changes:?}");
    assert_eq!(app.get(&format!("{path}?with={run}")).await.ok(), found);
    let same = app.get(&format!("{path}?with={replay}")).await.ok();
    assert_eq!(same["comparison"]["verdict"], "same");
    put(&app, &app.key, json!({ "echo": { "ignore-output": ["$.version", "$.ctx"] } })).await.ok();
    assert_eq!(app.get(&path).await.ok()["comparison"]["verdict"], "same", "the stored rules hold");

    // One that has no recording.
    let connection = rusqlite::Connection::open(app.data_dir().join("dacapo.db")).unwrap();
    connection.execute("UPDATE runs SET is_replayable = 0 WHERE id = ?1", [&run]).unwrap();
    let found = app.get(&path).await.ok();
    assert_eq!((&found["then"]["isRecorded"], &found["now"]["isRecorded"]), (&json!(false), &json!(true)));
    assert_eq!(found["areCallsCompared"], false);
    assert!(
        found["notes"][0].as_str().is_some_and(|note| note.starts_with(&format!("{run} has no recording"))),
        "{found}"
    );

    let refused = app.get(&format!("/api/v1/runs/{run}/comparison")).await.error(400);
    assert!(refused.starts_with("the run replays no other"), "{refused}");
    let waiting = app.trigger("nobody-has-it", json!(1)).await;
    let refused = app.get(&format!("{path}?with={waiting}")).await.error(422);
    assert_eq!(refused, format!("the runs cannot be compared: {waiting}: it has not ended"));
    app.post_empty(&format!("/api/v2/runs/{waiting}/cancel")).await.ok();
    app.get(&format!("{path}?with=run_00000000000000000000000001")).await.error(404);
}

#[tokio::test]
async fn what_two_runs_asked_for_is_compared() {
    let app = TestApp::start().await;
    app.deploy(guests::SCRIPT).await;
    let run = async |tag: &str| {
        app.call("script", json!([{ "tags": ["both"] }, { "tags": [tag] }])).await["id"].as_str().unwrap().to_owned()
    };
    let (then, now) = (run("a").await, run("b").await);

    let found = app.get(&format!("/api/v1/runs/{now}/comparison?with={then}")).await.ok();

    let effects = &found["comparison"]["effects"];
    let changed = &effects["changed"]["items"][0];
    assert_eq!(
        (&changed["kind"], &changed["before"], &changed["after"]),
        (&json!("tags"), &json!("a"), &json!("b")),
        "{found}"
    );
    assert_eq!((&found["comparison"]["verdict"], &effects["matched"]), (&json!("effects-changed"), &json!(1)));
}
