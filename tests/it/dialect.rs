//! That Postgres is a second dialect and not a second program: the schema is the same, and a real
//! PostgreSQL prepares every statement of storage as it stands.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use dacapo::clock::Clock;
use dacapo::config::ServerArgs;
use dacapo::model::id::BacktestId;
use dacapo::sandbox::scripted::{ScriptedSandbox, Step};
use dacapo::storage::Storage;
use dacapo_tests::guests;
use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::harness::TestApp;
use crate::jwt::{claims, sign};
use crate::postgres::Postgres;
use crate::storage::flat;

const VERBS: [&str; 4] = ["SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM "];
/// What the parts of a composed statement have beside verbs.
const CLAUSES: [&str; 5] = ["FROM ", "WHERE ", "RETURNING ", "ORDER BY ", "('"];

/// What a dialect has its own words for, and cannot prepare.
const TRANSACTIONS: [&str; 3] = ["BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"];

/// Every statement that was sent to a database by this process, without layout.
static SENT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn sent() -> BTreeSet<String> {
    SENT.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

struct Recorder;

impl<S: tracing::Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        event.record(&mut Statement);
    }
}

struct Statement;

impl Visit for Statement {
    fn record_str(&mut self, field: &Field, text: &str) {
        if field.name() == "sql" {
            SENT.lock().unwrap_or_else(PoisonError::into_inner).insert(flat(text));
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// Records from now on. Storage has threads of its own, so that this is for the whole process.
fn record() {
    let only_sql = Targets::new().with_target("dacapo::sql", LevelFilter::TRACE);
    let recorder = tracing_subscriber::registry().with(only_sql).with(Recorder);
    tracing::subscriber::set_global_default(recorder).expect("no other test listens to the whole process");
}

fn runtime_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime")
}

/// The files of a directory, by name.
fn files(dir: &str) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(runtime_dir().join(dir)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .map(|path| (path.file_name().unwrap().to_str().unwrap().into(), std::fs::read_to_string(path).unwrap()))
        .collect();
    files.sort();
    files
}

/// The statements of a migration, without comments and layout.
fn definitions(migration: &str) -> Vec<String> {
    let lines: Vec<&str> = migration.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    lines.join("\n").split(';').map(flat).collect()
}

#[test]
fn the_schemas_of_both_dialects_differ_in_types_only() {
    let (sqlite, postgres) = (files("migrations/sqlite"), files("migrations/postgres"));
    let names = |files: &[(String, String)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&sqlite), names(&postgres), "each migration is there for both");
    for ((name, sqlite), (_, postgres)) in sqlite.iter().zip(&postgres) {
        let (sqlite, postgres) = (definitions(sqlite), definitions(postgres));
        for (sqlite, postgres) in sqlite.iter().zip(&postgres) {
            assert_eq!(sqlite.replace(" BLOB", " BYTEA").replace(" WITHOUT ROWID", ""), *postgres, "{name}");
        }
        assert_eq!(sqlite.len(), postgres.len(), "{name}");
    }
}

#[test]
fn postgres_prepares_every_statement_of_storage() {
    let statements = statements();
    let unseen = unseen(&sent());
    assert!(unseen.is_empty(), "the walk in this file does not lead to these statements: {unseen:#?}");

    let refused = refused(&Postgres::start(), statements);

    assert!(refused.is_empty(), "{} of {} statements: {refused:#?}", refused.len(), statements.len());
}

/// Every statement that storage can make, but those that begin or end a transaction.
pub fn statements() -> &'static [String] {
    static WALKED: OnceLock<Vec<String>> = OnceLock::new();
    WALKED.get_or_init(|| {
        record();
        walk();
        sent().into_iter().filter(|statement| !TRANSACTIONS.contains(&statement.as_str())).collect()
    })
}

/// A database with the newest schema of SQLite, and nothing in it.
pub fn empty_database() -> rusqlite::Connection {
    let connection = rusqlite::Connection::open_in_memory().expect("memory");
    let schema = files("src/storage").into_iter().find(|(name, _)| name == "schema.rs").expect("the schema").1;
    let migrations_table = literals(&schema).into_iter().find(|text| text.starts_with("CREATE TABLE")).unwrap();
    connection.execute_batch(&migrations_table).unwrap();
    for (_, migration) in files("migrations/sqlite") {
        connection.execute_batch(&migration).unwrap();
    }
    connection
}

/// What PostgreSQL does not accept as it stands, and why.
fn refused(postgres: &Postgres, statements: &[String]) -> Vec<String> {
    let storage = files("src/storage");
    let schema = &storage.iter().find(|(name, _)| name == "schema.rs").unwrap().1;
    let migrations_table = literals(schema).into_iter().find(|text| text.starts_with("CREATE TABLE")).unwrap();
    let mut script = format!("\\set ON_ERROR_STOP on\n{migrations_table};\n");
    script.extend(files("migrations/postgres").into_iter().map(|(_, migration)| migration));
    script.push_str("\\set ON_ERROR_STOP off\n");
    for (number, statement) in statements.iter().enumerate() {
        let statement = statement.replace('?', "$");
        script.push_str(&format!("PREPARE p{number} AS {statement};\n"));
        script.push_str(&format!("\\if :ERROR\n\\echo p{number} :LAST_ERROR_MESSAGE\n\\endif\n"));
    }
    // We bind texts, 64 bits and bytes; for a value of another type the dialect would need to convert.
    script.push_str(
        "SELECT name || ' takes ' || parameter_types::TEXT FROM pg_prepared_statements
         WHERE  NOT parameter_types::TEXT[] <@ ARRAY['text', 'bigint', 'bytea'];\n\\echo end\n",
    );
    let mut lines = postgres.run(&script);
    assert_eq!(lines.pop().as_deref(), Some("end"), "a statement has swallowed the rest of the script");
    let explain = |line: String| {
        let (name, problem) = line.split_once(' ').expect("a name and a problem");
        let number: usize = name[1..].parse().expect("a number");
        format!("{problem}: {}", statements[number])
    };
    lines.into_iter().map(explain).collect()
}

/// The string literals of Rust code, without layout.
fn literals(source: &str) -> Vec<String> {
    let lines: Vec<&str> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = lines.join("\n");
    assert!(!code.contains("\\\"") && !code.contains("'\"'"), "this test takes every quotation mark for a literal's");
    // A backslash at the end of a line goes on in the next.
    code.replace("\\\n", "\n").split('"').skip(1).step_by(2).map(flat).collect()
}

/// The SQL in the source of storage of which no statement was made.
fn unseen(sent: &BTreeSet<String>) -> Vec<String> {
    let mut sql: Vec<(String, String)> = Vec::new();
    for (file, source) in files("src/storage") {
        let parts = literals(&source).into_iter();
        let parts = parts.filter(|part| VERBS.iter().chain(&CLAUSES).any(|word| part.contains(word)));
        sql.extend(parts.map(|part| (file.clone(), part)));
    }
    assert!(sql.len() > 60, "the SQL is not where this test looks for it");
    let was_sent = |part: &str| sent.iter().any(|statement| contains(statement, part));
    sql.into_iter().filter(|(_, part)| !was_sent(part)).map(|(file, part)| format!("{file}: {part}")).collect()
}

/// Whether `part` is in the statement, where its `{placeholders}` may stand for anything.
fn contains(statement: &str, part: &str) -> bool {
    let pieces = part.split('{').map(|piece| piece.split_once('}').map_or(piece, |(_, piece)| piece));
    let mut rest = Some(statement);
    for piece in pieces {
        rest = rest.and_then(|rest| rest.split_once(piece)).map(|(_, rest)| rest);
    }
    rest.is_some()
}

/// Does everything that storage can do, in two lives of a server. The second begins as after a
/// crash, with a copy of the data that the first had while it worked.
fn walk() {
    let dir = tempfile::tempdir().unwrap();
    let (data_dir, crashed) = (dir.path().join("data"), dir.path().join("crashed"));
    let live = || tokio::runtime::Runtime::new().unwrap();
    let (lost, left) = live().block_on(async {
        let app = TestApp::open(data_dir, ServerArgs::default(), None).await;
        change_settings(&app).await;
        log_in_and_out(&app).await;
        deploy(&app).await;
        wait_for_a_deployment(&app).await;
        run(&app).await;
        send_a_batch(&app).await;
        list(&app).await;
        change(&app).await;
        queue(&app).await;
        bulk(&app).await;
        backtests(&app).await;
        schedule(&app).await;
        wait_for_tokens(&app).await;
        wait_in_a_task(&app).await;
        realtime(&app).await;
        count(&app).await;
        go_on(&app).await;
        let left = app.trigger_with("echo", json!(1), json!({ "priority": -3_600, "ttl": "2h" })).await;
        app.upload("one", &std::fs::read(guests::META).unwrap(), "").await.ok();
        let lost = app.trigger("sleep", json!({ "ms": 600_000 })).await;
        app.until_status(&lost, "EXECUTING").await;
        // What a crash would leave behind: in the copy the run executes, and nobody knows of it.
        dacapo::app::backup(app.data_dir(), &crashed).await.expect("the backup is made");
        (lost, left)
    });
    live().block_on(async {
        let storage = Storage::open(&crashed, &Clock::system()).unwrap();
        storage.backtest_faltered(BacktestId::from_bits(7)).await.unwrap();
        storage.close().await;
    });
    live().block_on(send_to_a_full_queue());
    live().block_on(crate::waits::walk(&dir.path().join("waits")));
    live().block_on(async {
        let sandbox = Arc::new(ScriptedSandbox::new(Vec::new()));
        sandbox.then(Step::Panic);
        let mut app = TestApp::open(crashed.clone(), ServerArgs::default(), Some(sandbox)).await;
        // The first life's clock was ahead.
        app.app().advance(Duration::from_secs(3_700));
        app.finished(&lost).await;
        app.until_status(&left, "PENDING_VERSION").await;
        app.app().advance(Duration::from_secs(7_201));
        assert_eq!(app.finished(&left).await["status"], "EXPIRED");
        // Counts of so long ago are forgotten by the pass that queues the first run: before the next one.
        app.app().advance(Duration::from_secs(91 * 86_400));
        for _ in 0..2 {
            let run = app.trigger_with("echo", json!(1), json!({ "delay": "1s" })).await;
            app.app().advance(Duration::from_secs(1));
            app.until_status(&run, "PENDING_VERSION").await;
        }
        app.stop().await;
    });
}

async fn change_settings(app: &TestApp) {
    let variables = "/api/v1/projects/p/envvars/dev";
    app.post(variables, json!({ "name": "A", "value": "1" })).await.ok();
    app.post(&format!("{variables}/import"), json!({ "variables": { "A": "2", "B": "2" } })).await.ok();
    app.get(variables).await.ok();
    app.send(&app.key, Request::delete(format!("{variables}/A")), Body::empty()).await.ok();
    app.admin("PUT", "/admin/v1/environments/dev/egress", json!({ "rules": [] })).await.ok();
    // To a branch that does not exist, whose environment is made.
    let upload = Request::post("/api/v1/deployments?name=one").header("x-trigger-branch", "b");
    app.send(&app.key, upload, std::fs::read(guests::ECHO_V1).unwrap()).await.ok();
    let key = app.admin("POST", "/admin/v1/keys", json!({ "environment": "dev" })).await.ok();
    app.admin("GET", "/admin/v1/keys", Value::Null).await.ok();
    app.admin("DELETE", &format!("/admin/v1/keys/{}", text(&key, "id")), Value::Null).await.ok();
}

/// What operators at the page do.
async fn log_in_and_out(app: &TestApp) {
    let browser = crate::sessions::Browser::login(app).await;
    browser.send("GET", "/api/v1/session", Value::Null).await.ok();
    browser.send("DELETE", "/api/v1/session", Value::Null).await;
}

/// What the page shows in numbers; counts and errors of long ago are forgotten.
async fn count(app: &TestApp) {
    app.call("sleep", json!("is no object")).await;
    app.get("/api/v1/overview?period=7d").await.ok();
    app.get("/api/v1/tasks/sleep/statistics?period=7d").await.ok();
    app.get("/api/v1/errors").await.ok();
    app.get("/api/v1/runs/count?filter[isTest]=true").await.ok();
}

async fn deploy(app: &TestApp) {
    let early = app.trigger("echo", json!("waits for its version")).await;
    let upload = async |guest: &str| app.upload("one", &std::fs::read(guest).unwrap(), "").await.ok();
    let first = upload(guests::ECHO_V1).await["deployment"].take();
    app.finished(&early).await;
    upload(guests::ECHO_V1).await;
    upload(guests::META).await;
    for path in ["", "/current"] {
        app.get(&format!("/api/v1/deployments{path}")).await.ok();
    }
    for name in ["id", "version"] {
        app.get(&format!("/api/v1/deployments/{}", text(&first, name))).await.ok();
    }
    app.post_empty("/api/v1/deployments/rollback").await.ok();
    app.post_empty(&format!("/api/v1/deployments/{}/promote", text(&first, "version"))).await.ok();
    let policy = "/admin/v1/environments/dev/backtest-policy";
    app.admin("PUT", policy, json!({ "policy": { "allow": 1 } })).await.ok();
    assert!(upload(guests::ECHO_V2).await["backtestId"].is_string());
    app.admin("PUT", policy, json!({})).await.ok();
    for guest in [guests::FLAKY, guests::HOOKS, guests::META, guests::SLEEP, guests::SPANS] {
        app.deploy(guest).await;
    }
}

async fn wait_for_a_deployment(app: &TestApp) {
    let run = app.trigger_with("echo", json!(1), json!({ "externalDeploymentId": "c" })).await;
    let bytes = std::fs::read(guests::ECHO_V2).unwrap();
    app.upload("labelled", &bytes, "&externalId=c&skipPromotion=true").await.ok();
    app.finished(&run).await;
    let branch = json!({ "externalDeploymentId": "nobody's" });
    cancel(app, &app.trigger_with("echo", json!(1), branch).await).await;
}

async fn run(app: &TestApp) {
    for (task, payload) in [
        ("flaky", json!({ "succeedOn": 2 })),
        ("spans", Value::Null),
        ("hooks", json!({ "end": "well" })),
        // Long enough for a report while it runs.
        ("meta", json!([{ "op": "set", "key": "a", "value": 1 }, { "op": "sleep", "ms": 800 }])),
    ] {
        let run = app.call(task, payload).await;
        assert_eq!(run["status"], "COMPLETED", "{run}");
        app.history(text(&run, "id")).await;
        app.logs(text(&run, "id")).await;
        app.replay(text(&run, "id")).await;
    }
    let options = json!({ "idempotencyKey": "one", "delay": "1h", "ttl": "1h" });
    let delayed = app.trigger_with("echo", json!(1), options.clone()).await;
    assert_eq!(app.trigger_with("echo", json!(1), options).await, delayed);
    cancel(app, &delayed).await;
    cancel(app, &delayed).await;
    let executing = app.trigger("sleep", json!({ "ms": 600_000 })).await;
    app.until_status(&executing, "EXECUTING").await;
    cancel(app, &executing).await;
}

/// With an item whose payload was uploaded, and others that find no place, or a run by its key.
async fn send_a_batch(app: &TestApp) {
    let link = app.send(&app.key, Request::put("/api/v2/packets/p").header("host", "h"), Body::empty()).await.ok();
    let link = text(&link, "presignedUrl").strip_prefix("http://h").unwrap();
    app.send(&app.key, Request::put(link).header("content-type", "application/json"), "1").await.ok();
    let announced = json!({ "runCount": 3, "idempotencyKey": "batch" });
    let batch = app.post("/api/v3/batches", announced.clone()).await.ok();
    let again = Request::post("/api/v3/batches").header("x-trigger-request-idempotency-key", "request");
    app.send(&app.key, again, announced.to_string()).await.ok();
    let id = text(&batch, "id");
    let items = [
        json!({ "index": 0, "task": "echo", "payload": "p", "options": {
            "payloadType": "application/store", "idempotencyKey": "item" } }),
        json!({ "index": 1, "task": "echo", "options": { "idempotencyKey": "item" } }),
        json!({ "index": 2, "task": "" }),
    ];
    let lines: String = items.iter().map(|item| format!("{item}\n")).collect();
    let path = format!("/api/v3/batches/{id}/items");
    let request = Request::post(path).header("content-type", "application/x-ndjson");
    assert_eq!(app.send(&app.key, request, lines).await.ok()["sealed"], true);
    let shown = app.get(&format!("/api/v2/batches/{id}")).await.ok();
    app.finished(shown["runs"][0].as_str().expect("the first item has a run")).await;
    let page = app.get("/api/v1/batches?page[size]=1").await.ok();
    let cursor = page["pagination"]["next"].as_str().unwrap_or(id);
    app.get(&format!("/api/v1/batches?page[before]={cursor}")).await.ok();
    let rules = Request::put("/api/v1/replay-rules").header("content-type", "application/json");
    app.send(&app.key, rules, r#"{"rules":{"*":{"ignore-effects":["tags"]}}}"#).await.ok();
    let rules = Request::put("/api/v1/replay-rules").header("content-type", "application/json");
    app.send(&app.key, rules, r#"{"rules":{}}"#).await.ok();
}

/// An item that finds the queue full leaves nothing behind, nor does a trigger with a one-time token.
async fn send_to_a_full_queue() {
    let app = TestApp::start_with(ServerArgs { max_waiting_runs: Some(1), ..ServerArgs::default() }).await;
    let batch = app.post("/api/v3/batches", json!({ "runCount": 2 })).await.ok();
    let item = |index: u32| format!("{}\n", json!({ "index": index, "task": "nobody" }));
    let request = Request::post(format!("/api/v3/batches/{}/items", text(&batch, "id")));
    let request = request.header("content-type", "application/x-ndjson");
    app.send(&app.key, request, item(0) + &item(1)).await.error(429);
    // A debounced trigger finds out late that there is no place, and gives its token back.
    let token = one_time_token(&app, &["trigger:tasks"]).await;
    let debounced = json!({ "payload": 1, "options": { "debounce": { "key": "d", "delay": "1h" } } });
    app.send(&token, Request::post("/api/v1/tasks/nobody/trigger"), debounced.to_string()).await.error(429);
}

/// A token that opens its scopes once.
async fn one_time_token(app: &TestApp, scopes: &[&str]) -> String {
    let environment = app.post_empty("/api/v1/auth/jwt/claims").await.ok()["sub"].clone();
    let mut once = claims(&environment, scopes, dacapo::clock::Clock::system().now().as_millisecond());
    once["otu"] = json!(true);
    sign(&app.key, &once)
}

/// Batches, tokens, feeds and streams.
async fn wait_in_a_task(app: &TestApp) {
    app.upload("script", &std::fs::read(guests::SCRIPT).unwrap(), "").await.ok();
    let run = app.trigger("script", json!([{ "create_token": {} }, { "token": "$last" }])).await;
    app.until_status(&run, "WAITING").await;
    app.post_empty(&format!("/api/v2/runs/{run}/cancel")).await.ok();
}

/// A run that failed goes on, and fails again: it may connect to nowhere.
async fn go_on(app: &TestApp) {
    app.deploy(guests::MEND_V1).await;
    let order = json!({ "kind": "book", "price": "http://127.0.0.1:1/", "mail": "http://127.0.0.1:1/" });
    let failed = app.trigger_with("mend", order, json!({ "maxAttempts": 1 })).await;
    assert_eq!(app.finished(&failed).await["status"], "FAILED");
    let path = format!("/api/v1/runs/{failed}/replay");
    let receipt = app.post(&path, json!({ "fromFailure": true })).await.ok();
    assert_eq!(app.finished(receipt["id"].as_str().unwrap()).await["status"], "FAILED");
    app.post(&path, json!({ "fromFailure": true })).await.error(409);
}

async fn realtime(app: &TestApp) {
    let token = one_time_token(app, &["trigger:tasks", "batchTrigger:tasks"]).await;
    let delayed = json!({ "payload": 1, "options": { "delay": "1h", "tags": ["t"] } }).to_string();
    let run = app.send(&token, Request::post("/api/v1/tasks/echo/trigger"), delayed).await.ok();
    let run = text(&run, "id");
    let create = || Request::post("/api/v3/batches");
    app.send(&token, create(), json!({ "runCount": 1 }).to_string()).await.error(422);
    let batch = app.post("/api/v3/batches", json!({ "runCount": 1, "idempotencyKey": "b" })).await.ok();
    let batch = text(&batch, "id");
    let stream = format!("/realtime/v1/streams/{run}/self/s");
    // So many that their bytes are counted.
    app.send(&app.key, Request::post(&stream), "1\n".repeat(100)).await.ok();
    app.send(&app.key, Request::head(&stream), Body::empty()).await;
    for path in [format!("runs/{run}?"), "runs?tags=t&".into(), format!("batches/{batch}?")] {
        let feed = app.get(&format!("/realtime/v1/{path}offset=-1")).await;
        let header = |name: &str| feed.headers[name].to_str().unwrap().to_owned();
        let (offset, handle) = (header("electric-offset"), header("electric-handle"));
        let live = !path.starts_with("batches");
        let held = format!("/realtime/v1/{path}offset={offset}&handle={handle}&live={live}");
        if live {
            let metadata = format!("/api/v1/runs/{run}/metadata");
            let change = async {
                while app.app().watched_topics() == 0 {
                    tokio::task::yield_now().await;
                }
                let body = json!({ "metadata": { "n": path } }).to_string();
                app.send(&app.key, Request::put(metadata), body).await.ok()
            };
            tokio::join!(app.get(&held), change).0.ok();
        } else {
            // Somebody else's change: is the run one of the batch?
            app.post(&format!("/api/v1/runs/{run}/tags"), json!({ "tags": ["another"] })).await.ok();
            app.get(&held).await.ok();
        }
    }
    cancel(app, run).await;
    app.get(&format!("/realtime/v1/streams/{run}/s")).await;
}

/// Lists runs by every combination of conditions.
async fn list(app: &TestApp) {
    // So many of one task that a list asks which condition has the fewest.
    let batch = app.post("/api/v3/batches", json!({ "runCount": 300 })).await.ok();
    let options = json!({ "delay": "1h", "tags": ["many"] });
    let item = |index: u32| format!("{}\n", json!({ "index": index, "task": "echo", "options": options }));
    let items = Request::post(format!("/api/v3/batches/{}/items", text(&batch, "id")));
    let items = items.header("content-type", "application/x-ndjson");
    app.send(&app.key, items, (0..300).map(item).collect::<String>()).await.ok();
    for filter in ["filter[tag]=many&filter[status]=CANCELED", "filter[taskIdentifier]=echo&filter[isTest]=true"] {
        app.get(&format!("/api/v1/runs?{filter}")).await.ok();
        app.get(&format!("/api/v1/runs?{filter}&page[before]=run_00000000000000000000000001")).await.ok();
    }
    let newest = app.get("/api/v1/runs?page[size]=1").await.ok();
    let cursor = newest["pagination"]["next"].as_str().expect("there are older runs");
    for place in [String::new(), format!("page[after]={cursor}"), format!("page[before]={cursor}")] {
        let filters = [
            "filter[status]=COMPLETED,QUEUED",
            "filter[taskIdentifier]=echo,meta",
            "filter[createdAt][from]=0",
            "filter[createdAt][to]=4102444800000",
            "filter[tag]=a,b",
            "filter[isTest]=true",
            "filter[isTest]=false",
        ];
        for conditions in 0..1 << filters.len() {
            let chosen = (0..filters.len()).filter(|bit| conditions & (1 << bit) != 0).map(|bit| filters[bit]);
            let query: Vec<&str> = chosen.chain([place.as_str()]).filter(|part| !part.is_empty()).collect();
            app.get(&format!("/api/v1/runs?{}", query.join("&"))).await.ok();
        }
        app.get(&format!("/api/v1/runs?filter[isReplay]=true&{place}")).await.ok();
        let id = "00000000000000000000000007";
        for filter in [
            format!("batch]=batch_{id}"),
            format!("bulkAction]=bulk_{id}"),
            format!("schedule]=sched_{id}"),
            format!("replayedFrom]=run_{id}"),
            "isReplay]=false".into(),
            "machine]=micro,small-1x".into(),
            "queue]=a,task/echo".into(),
            "version]=20200101.1,20200101.2".into(),
        ] {
            app.get(&format!("/api/v1/runs?filter[{filter}&filter[status]=COMPLETED&{place}")).await.ok();
            app.get(&format!("/api/v1/runs?filter[taskIdentifier]=echo&filter[{filter}&{place}")).await.ok();
            app.get(&format!("/api/v1/runs?filter[tag]=a&filter[{filter}&{place}")).await.ok();
        }
    }
}

async fn change(app: &TestApp) {
    let debounce = |mode: &str| json!({ "debounce": { "key": "d", "delay": "1h", "mode": mode }, "tags": ["a"] });
    let delayed = app.trigger_with("echo", json!(1), debounce("leading")).await;
    assert_eq!(app.trigger_with("echo", json!(2), debounce("trailing")).await, delayed);
    app.post(&format!("/api/v1/runs/{delayed}/reschedule"), json!({ "delay": "2h" })).await.ok();
    app.post(&format!("/api/v1/runs/{delayed}/tags"), json!({ "tags": ["b"] })).await.ok();
    let operations = json!({ "operations": [{ "type": "set", "key": "a", "value": 1 }] });
    let put = Request::put(format!("/api/v1/runs/{delayed}/metadata")).header("content-type", "application/json");
    app.send(&app.key, put, operations.to_string()).await.ok();
    let child = json!({ "parentRunId": delayed, "idempotencyKey": "child", "delay": "1h" });
    app.trigger_with("echo", json!(3), child).await;
    app.post("/api/v1/idempotencyKeys/child/reset", json!({ "taskIdentifier": "echo" })).await.ok();
    app.run(&delayed).await;
    cancel(app, &delayed).await;
}

async fn queue(app: &TestApp) {
    let custom = |kind: &str| json!({ "type": "custom", "action": kind });
    app.call("echo", json!(1)).await;
    app.finished(&app.trigger_with("echo", json!(1), json!({ "queue": { "name": "q" } })).await).await;
    let found = app.get("/api/v1/queues/q?type=custom").await.ok();
    app.get(&format!("/api/v1/queues/{}", text(&found, "id"))).await.ok();
    app.get("/api/v1/queues").await.ok();
    let limit = json!({ "type": "custom", "concurrencyLimit": 1 });
    app.post("/api/v1/queues/q/concurrency/override", limit).await.ok();
    app.post("/api/v1/queues/q/pause", custom("pause")).await.ok();
    let held = app.trigger_with("echo", json!(1), json!({ "queue": { "name": "q" } })).await;
    app.admin("PUT", "/admin/v1/environments/dev/concurrency", json!({ "limit": 10 })).await.ok();
    app.call("echo", json!(1)).await;
    app.post("/api/v1/queues/q/pause", custom("resume")).await.ok();
    app.finished(&held).await;
    app.post("/api/v1/queues/q/concurrency/reset", json!({ "type": "custom" })).await.ok();
    // The oldest that wait for the only place are so many and may not pass.
    app.admin("PUT", "/admin/v1/environments/dev/concurrency", json!({ "limit": 1 })).await.ok();
    let busy = app.trigger("sleep", json!({ "ms": 600_000 })).await;
    app.until_status(&busy, "EXECUTING").await;
    app.post("/api/v1/queues/q/pause", custom("pause")).await.ok();
    let mut held = Vec::new();
    for n in 0..51 {
        held.push(app.trigger_with("echo", json!(n), json!({ "queue": { "name": "q" } })).await);
    }
    let passes = app.trigger("echo", json!(1)).await;
    cancel(app, &busy).await;
    app.finished(&passes).await;
    app.admin("PUT", "/admin/v1/environments/dev/concurrency", json!({})).await.ok();
    app.post("/api/v1/queues/q/pause", custom("resume")).await.ok();
    for run in &held {
        app.finished(run).await;
    }
}

/// A backtest that is done, one that is stopped, and what is asked of them.
async fn backtests(app: &TestApp) {
    let current = app.get("/api/v1/deployments/current").await.ok();
    let version = text(&current, "version");
    let path = "/api/v1/backtests";
    for (place, last) in [3, 1_000].into_iter().enumerate() {
        let asked = json!({ "version": version, "last": last, "against": "current" });
        let made = app.post(path, asked).await.ok();
        let path = format!("{path}/{}", text(&made, "id"));
        if place == 1 {
            app.post_empty(&format!("{path}/abort")).await;
        }
        while app.get(&path).await.ok()["status"] == "PENDING" {
            tokio::task::yield_now().await;
        }
        app.get(&format!("{path}/replays")).await.ok();
        app.get(&format!("{path}/replays?verdict=same")).await.ok();
    }
    let page = app.get("/api/v1/backtests?page[size]=1").await.ok();
    let cursor = text(&page["pagination"], "next").to_owned();
    app.get(&format!("/api/v1/backtests?page[before]={cursor}")).await.ok();
    let newest = format!("{path}/{}", text(&page["data"][0], "id"));
    app.send(&app.key, Request::delete(&newest), Body::empty()).await.ok();
    app.send(&app.key, Request::delete(&newest), Body::empty()).await.error(404);
    let left = "SELECT COUNT(*) FROM backtests WHERE is_deleted = 1";
    let connection = rusqlite::Connection::open(app.data_dir().join("dacapo.db")).unwrap();
    while connection.query_row(left, [], |row| row.get::<_, u32>(0)).unwrap() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn bulk(app: &TestApp) {
    for (action, filter) in
        [("replay", json!({ "queue": { "type": "custom", "name": "q" } })), ("cancel", json!({ "tag": "x" }))]
    {
        let made = app.post("/api/v1/bulk-actions", json!({ "action": action, "filter": filter })).await.ok();
        let path = format!("/api/v1/bulk-actions/{}", text(&made, "id"));
        while app.get(&path).await.ok()["status"] == "PENDING" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        app.get(&format!("{path}/members")).await.ok();
    }
    let page = app.get("/api/v1/bulk-actions?page[size]=1").await.ok();
    let cursor = text(&page["pagination"], "next").to_owned();
    app.get(&format!("/api/v1/bulk-actions?page[before]={cursor}")).await.ok();
    app.get(&format!("/api/v1/deployments?page[before]={}", "deployment_00000000000000000000000007")).await.ok();
}

/// Makes, changes, fires and removes schedules.
async fn schedule(app: &TestApp) {
    app.deploy(guests::SAMPLE_NIGHTLY_CLEANUP).await;
    let plan = json!({ "task": "echo", "cron": "* * * * *", "deduplicationKey": "one" });
    let made = app.post("/api/v1/schedules", plan.clone()).await.ok();
    app.post("/api/v1/schedules", plan.clone()).await.ok();
    app.get("/api/v1/schedules").await.ok();
    let path = format!("/api/v1/schedules/{}", text(&made, "id"));
    app.send(&app.key, Request::put(&path), plan.to_string()).await.ok();
    app.post_empty(&format!("{path}/deactivate")).await.ok();
    app.post_empty(&format!("{path}/activate")).await.ok();
    app.app().advance(Duration::from_secs(61));
    let runs = format!("/api/v1/runs?filter[schedule]={}", text(&made, "id"));
    while app.get(&runs).await.ok()["data"][0].is_null() {
        tokio::task::yield_now().await;
    }
    app.send(&app.key, Request::delete(&path), Body::empty()).await.ok();
}

/// Makes, completes, lists and loses wait tokens.
async fn wait_for_tokens(app: &TestApp) {
    let path = "/api/v1/waitpoints/tokens";
    let create = async |body: Value| {
        let request = Request::post(path).header("host", "dacapo.test");
        app.send(&app.key, request, body.to_string()).await.ok()
    };
    let get = async |query: &str| {
        let request = Request::get(format!("{path}{query}")).header("host", "dacapo.test");
        app.send(&app.key, request, Body::empty()).await.ok()
    };
    let token = create(json!({ "idempotencyKey": "one", "tags": ["a"] })).await;
    create(json!({ "idempotencyKey": "one" })).await;
    app.post(&format!("{path}/{}/complete", text(&token, "id")), json!({ "data": 1 })).await.ok();
    let late = create(json!({ "timeout": "2020-01-01T00:00:00Z" })).await;
    while get(&format!("/{}", text(&late, "id"))).await["status"] != "TIMED_OUT" {
        tokio::task::yield_now().await;
    }
    let times = "filter[createdAt][from]=0&filter[createdAt][to]=4102444800000";
    let filters = "filter[status]=COMPLETED&filter[tags]=a,b&filter[idempotencyKey]=one";
    let cursor = text(&token, "id");
    for place in [String::new(), format!("page[after]={cursor}"), format!("page[before]={cursor}")] {
        get(&format!("?{place}")).await;
        get(&format!("?{times}&{filters}&{place}")).await;
        for filter in filters.split('&') {
            get(&format!("?{filter}&{place}")).await;
        }
    }
}

async fn cancel(app: &TestApp, run: &str) {
    app.post_empty(&format!("/api/v2/runs/{run}/cancel")).await.ok();
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().expect("a text")
}
