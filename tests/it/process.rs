//! The real process: its announcement, its signals, and that killing it at any moment loses nothing
//! that was acknowledged and finishes nothing twice.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use dacapo_tests::guests;
use rusqlite::Connection;
use serde_json::{Value, json};
use ureq::Agent;

use crate::harness::PATIENCE;
use crate::program::{Server, data_dir, say, server_command};

const KILLS: usize = 6;
const CLIENTS: usize = 4;
/// Triggers that are acknowledged between two kills, at least.
const LOAD: usize = 25;

/// A caller with the key of the dev environment.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    /// What goes into the header.
    pub key: String,
}

impl Client {
    pub fn new(data_dir: &Path) -> Self {
        let config = Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false);
        let key = std::fs::read_to_string(data_dir.join("dev.key")).expect("the first start made a key");
        Self { agent: config.build().into(), key: format!("Bearer {}", key.trim()) }
    }

    pub fn deploy(&self, url: &str, guest: &str) {
        let bytes = std::fs::read(guest).expect("the guest was built");
        let request = self.agent.post(format!("{url}/api/v1/deployments?name=guest"));
        let mut answer = request.header("authorization", &self.key).send(&bytes[..]).expect("the server answers");
        let text = answer.body_mut().read_to_string().unwrap_or_default();
        assert!(answer.status().is_success(), "{text}");
    }

    /// `None` where there was no answer, or none that acknowledges.
    fn trigger(&self, url: &str, body: &Value) -> Option<String> {
        let receipt = self.post(url, "/api/v1/tasks/echo/trigger", body)?;
        Some(receipt["id"].as_str()?.to_owned())
    }

    /// The same, for what any request answers.
    pub fn post(&self, url: &str, path: &str, body: &Value) -> Option<Value> {
        let request = self.agent.post(format!("{url}{path}"));
        let mut answer = request.header("authorization", &self.key).send_json(body).ok()?;
        if !answer.status().is_success() {
            return None;
        }
        answer.body_mut().read_json().ok()
    }

    /// Sets the most runs of the dev environment that execute at a time.
    pub fn limit_environment(&self, url: &str, data_dir: &Path, limit: u32) {
        let key = std::fs::read_to_string(data_dir.join("admin.key")).expect("the first start made a key");
        let request = self.agent.put(format!("{url}/admin/v1/environments/dev/concurrency"));
        let request = request.header("authorization", format!("Bearer {}", key.trim()));
        let answer = request.send_json(json!({ "limit": limit })).expect("the server answers");
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    pub fn get(&self, url: &str, path: &str) -> (u16, Value) {
        let request = self.agent.get(format!("{url}{path}")).header("authorization", &self.key);
        let mut answer = request.call().expect("the server answers");
        let status = answer.status().as_u16();
        (status, answer.body_mut().read_json().expect("JSON"))
    }

    /// Waits until the run has ended, and answers with it.
    pub fn finished(&self, url: &str, run: &str) -> Value {
        let (status, result) = self.get(url, &format!("/api/v1/runs/{run}/result?wait=30s"));
        let found = self.get(url, &format!("/api/v3/runs/{run}")).1;
        let events = || self.get(url, &format!("/api/v1/runs/{run}/events")).1;
        assert_eq!(status, 200, "an acknowledged run does not end: {result}\n{found}\n{}", events());
        found
    }
}

#[test]
fn the_server_says_where_it_is_and_where_its_keys_are() {
    let (_dir, path) = data_dir();
    let mut child = server_command(&path, &[]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("listening on http://127.0.0.1:");
    let port: u16 = address.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("an address: {line}"));
    let mut stderr = child.stderr.take().unwrap();
    let server = Server { child, url: format!("http://127.0.0.1:{port}") };
    let (status, body) = Client::new(&path).get(&server.url, "/api/v1/runs");
    assert_eq!((status, &body["data"]), (200, &json!([])));
    assert_eq!(server.terminate(), Some(0));
    let mut text = String::new();
    stderr.read_to_string(&mut text).unwrap();
    let shown = path.display();
    assert!(text.contains(&format!("{shown}/dev.key, {shown}/admin.key")), "{text}");
    assert!(!text.contains("tr_dev_"), "keys are not for logs: {text}");
}

#[test]
fn a_terminated_server_exits_in_order_and_loses_nothing() {
    let (_dir, path) = data_dir();
    let server = Server::start(&path);
    let client = Client::new(&path);
    client.deploy(&server.url, guests::ECHO_V1);
    let body = json!({ "payload": "x", "options": { "delay": "1s" } });
    let runs: Vec<String> = (0..50)
        .map(|n| {
            let body = if n % 10 == 0 { body.clone() } else { json!({ "payload": n }) };
            client.trigger(&server.url, &body).expect("it is acknowledged")
        })
        .collect();

    assert_eq!(server.terminate(), Some(0));

    let server = Server::start(&path);
    for run in &runs {
        let run = client.finished(&server.url, run);
        assert_eq!(run["status"], "COMPLETED", "{run}");
    }
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_second_server_on_one_data_directory_fails_and_says_why() {
    let (_dir, path) = data_dir();
    let server = Server::start(&path);
    let second = server_command(&path, &[]).output().unwrap();
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("another dacapo server uses {}", path.display())), "{text}");
    assert!(text.contains("stop it first, or give this one a directory of its own"), "{text}");
    assert_eq!(Client::new(&path).get(&server.url, "/readyz").0, 200, "the first goes on");
    server.kill();
    let third = Server::start(&path);
    assert_eq!(third.terminate(), Some(0), "a killed server leaves no lock behind");
}

#[test]
fn bad_settings_are_named() {
    let (_dir, path) = data_dir();
    let mut child = server_command(&path, &[]).args(["--shutdown-grace", "long"]).spawn().unwrap();
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    let code = child.wait().unwrap().code();
    assert!(code.is_some_and(|code| code != 0), "{code:?}");
    assert!(text.contains("`shutdown-grace`: `long` is not a duration"), "{text}");
    assert!(!path.exists(), "nothing was made");
}

#[test]
fn who_triggers_or_replays_what_is_not_deployed_is_told_what_the_run_waits_for() {
    let (_dir, path) = data_dir();
    let server = Server::start(&path);
    let waits = "waits for a version: deploy a component that has the task `echo`";

    let early = say(&path, &server.url, &["trigger", "echo"]).text();
    assert!(early.contains("✓ echo triggered: run_") && early.contains(waits), "{early}");
    let replay = say(&path, &server.url, &["runs", "replay", "latest"]).text();
    assert!(replay.contains(" replayed: run_") && replay.contains(waits), "{replay}");
    let json = say(&path, &server.url, &["trigger", "echo", "--json"]).text();
    assert!(serde_json::from_str::<Value>(&json).is_ok(), "machines get the answer and nothing else: {json}");

    Client::new(&path).deploy(&server.url, guests::ECHO_V1);
    let late = say(&path, &server.url, &["trigger", "echo"]).text();
    assert!(late.contains("✓ echo triggered: run_") && !late.contains("waits for"), "{late}");
    let elsewhere = say(&path, &server.url, &["runs", "replay", "latest", "--to", "staging"]).text();
    assert!(elsewhere.contains(" replayed: run_") && elsewhere.contains(waits), "{elsewhere}");
}

#[test]
fn the_doctor_knows_data_of_a_newer_dacapo() {
    let (_dir, path) = data_dir();
    let server = Server::start(&path);
    let used = say(&path, &server.url, &["doctor"]).text();
    assert!(used.contains("dacapo.db (a server uses it now), schema "), "{used}");
    // Killed, the newest changes are in the log of the database only.
    server.kill();
    let unused = say(&path, "http://127.0.0.1:1", &["doctor"]).text();
    assert!(unused.contains("dacapo.db (no server uses it now), schema "), "{unused}");

    let database = Connection::open(path.join("dacapo.db")).expect("the database opens");
    let sql = "INSERT INTO schema_migrations (version, applied_at) VALUES (999, 0)";
    assert_eq!(database.execute(sql, []).expect("good SQL"), 1);
    drop(database);

    let newer = say(&path, "http://127.0.0.1:1", &["doctor"]).text();
    assert!(newer.contains("schema 999: it was written by a newer dacapo, this program knows "), "{newer}");
    assert!(newer.contains("install that version or restore an older backup"), "{newer}");
}

/// Clients that trigger until they are told to stop, through every death of the server. A trigger
/// that is not answered is sent again with its idempotency key.
struct Load {
    url: Arc<Mutex<String>>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    clients: Vec<thread::JoinHandle<Vec<(String, String)>>>,
}

impl Load {
    fn begin(client: &Client, url: &str) -> Self {
        let url = Arc::new(Mutex::new(url.to_owned()));
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let spawn = |name: usize| {
            let (client, url, stop, acknowledged) = (client.clone(), url.clone(), stop.clone(), acknowledged.clone());
            thread::spawn(move || {
                let mut runs = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let key = format!("{name}-{}", runs.len());
                    let body = json!({ "payload": key, "options": { "idempotencyKey": key } });
                    let to = url.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    match client.trigger(&to, &body) {
                        Some(run) => {
                            runs.push((key, run));
                            acknowledged.fetch_add(1, Ordering::Relaxed);
                        }
                        None => thread::sleep(Duration::from_millis(5)),
                    }
                }
                runs
            })
        };
        let clients = (0..CLIENTS).map(spawn).collect();
        Self { url, stop, acknowledged, clients }
    }

    /// Waits until so many more triggers have been acknowledged.
    fn wait(&self, more: usize) {
        let wanted = self.acknowledged.load(Ordering::Relaxed) + more;
        let deadline = Instant::now() + PATIENCE;
        while self.acknowledged.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < deadline, "the server does not acknowledge any more");
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn moved(&self, url: &str) {
        *self.url.lock().unwrap_or_else(PoisonError::into_inner) = url.to_owned();
    }

    /// Every acknowledged run with its key.
    fn end(self) -> Vec<(String, String)> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().expect("a client does not panic")).collect()
    }
}

#[test]
fn killing_the_server_at_any_moment_loses_nothing_and_finishes_nothing_twice() {
    let (_dir, path) = data_dir();
    let mut server = Server::start(&path);
    let client = Client::new(&path);
    client.deploy(&server.url, guests::ECHO_V1);
    let load = Load::begin(&client, &server.url);
    for _ in 0..KILLS {
        load.wait(LOAD);
        thread::sleep(Duration::from_secs_f64(0.05 * dacapo::secrets::chance()));
        server.kill();
        server = Server::start(&path);
        load.moved(&server.url);
    }
    load.wait(LOAD);
    let acknowledged = load.end();

    for (key, run) in &acknowledged {
        let run = client.finished(&server.url, run);
        assert_eq!(run["status"], "COMPLETED", "{run}");
        assert_eq!(run["output"]["payload"], *key, "{run}");
    }
    assert!(acknowledged.len() >= LOAD * KILLS, "{} runs", acknowledged.len());
    assert_eq!(server.terminate(), Some(0));
    check_database(&path, &acknowledged);
}

/// Every acknowledged run is there once, and has one end.
fn check_database(data_dir: &Path, acknowledged: &[(String, String)]) {
    let connection = Connection::open(data_dir.join("dacapo.db")).expect("the database opens");
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a number");
    let state: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
    assert_eq!(state, "ok");
    let doubled = count("SELECT COUNT(*) - COUNT(DISTINCT idempotency_key) FROM runs");
    assert_eq!(doubled, 0, "a trigger that was sent again made no second run");
    // Each client may have died with one trigger that was stored and not acknowledged.
    let extra = count("SELECT COUNT(*) FROM runs") - acknowledged.len() as i64;
    assert!((0..=CLIENTS as i64).contains(&extra), "{extra} runs more than were acknowledged");
    let mut statement = connection
        .prepare(
            "SELECT r.status, COUNT(*) FROM runs r JOIN run_events e ON e.run_id = r.id
             WHERE  r.id = ?1 AND r.idempotency_key = ?2
             AND    e.status NOT IN ('queued', 'executing') GROUP BY r.id",
        )
        .expect("good SQL");
    for (key, run) in acknowledged {
        let found: (String, i64) =
            statement.query_row([run, key], |row| Ok((row.get(0)?, row.get(1)?))).expect("the run is there");
        assert_eq!(found, ("completed".into(), 1), "run {run} has one end");
    }
}
