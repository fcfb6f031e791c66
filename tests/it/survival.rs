//! A server that is killed again and again while runs wait, have children and call others: every run
//! comes to its end, once, and nothing that a run had waited past happens twice.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use dacapo_tests::guests;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::harness::PATIENCE;
use crate::process::Client;
use crate::program::{Server, data_dir};

const KILLS: usize = 10;
/// Runs that are triggered before each kill, and after the last.
const RUNS: usize = 30;
/// Children that a parent waits for.
const CHILDREN: usize = 4;

/// Counts requests by their paths, and answers them.
struct Site {
    port: u16,
    counts: Arc<Mutex<HashMap<String, usize>>>,
}

impl Site {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let counts: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        let seen = counts.clone();
        // It ends with the process of the test.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let seen = seen.clone();
                thread::spawn(move || answer(stream, &seen));
            }
        });
        Self { port, counts }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn count(&self, path: &str) -> usize {
        self.counts.lock().expect("a lock").get(path).copied().unwrap_or(0)
    }
}

/// Answers one request; a client that was killed gets none.
fn answer(mut stream: TcpStream, seen: &Mutex<HashMap<String, usize>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
    let mut line = String::new();
    if reader.read_line(&mut line).is_err() {
        return;
    }
    let Some(path) = line.split(' ').nth(1).map(str::to_owned) else { return };
    while reader.read_line(&mut line).is_ok_and(|read| read > 2) {}
    *seen.lock().expect("a lock").entry(path).or_default() += 1;
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
}

/// What a run does, and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Calls, waits for a moment, calls, waits, calls.
    Steps,
    /// Calls, waits for a batch of children and one more, calls.
    Parent,
    /// Calls, waits for a token that the test completes, calls.
    Token,
    /// Waits for a child that fails, and fails.
    Failing,
    /// Calls, and never waits.
    Plain,
}

const KINDS: [Kind; 5] = [Kind::Steps, Kind::Parent, Kind::Token, Kind::Failing, Kind::Plain];

impl Kind {
    /// Its script. Its calls are `/<number>/<waits before it>`.
    fn script(self, number: usize, site: &Site) -> Value {
        let call = |waits: usize| json!({ "http": site.url(&format!("/{number}/{waits}")) });
        let leaf = |payload: Value| json!({ "task": "leaf", "payload": payload });
        match self {
            Self::Steps => json!([call(0), { "wait_ms": 30 }, call(1), { "wait_ms": 60 }, call(2)]),
            Self::Parent => {
                let children: Vec<Value> = (0..CHILDREN).map(|n| leaf(json!({ "echo": n, "sleep_ms": 5 }))).collect();
                let waiting = leaf(json!({ "echo": "late", "wait_ms": 20 }));
                json!([call(0), { "all": [{ "children": children }, { "child": waiting }] }, call(1)])
            }
            Self::Token => {
                json!([call(0), { "create_token": { "key": format!("token-{number}") } }, { "token": "$last" }, call(1)])
            }
            Self::Failing => json!([{ "child": leaf(json!({ "fail": "on purpose" })) }, { "fail_before": 4 }]),
            Self::Plain => json!([call(0), { "sleep_ms": 5 }]),
        }
    }

    fn status(self) -> &'static str {
        if self == Self::Failing { "FAILED" } else { "COMPLETED" }
    }

    /// Children of a run of one attempt.
    fn children(self) -> Option<usize> {
        match self {
            Self::Parent => Some(CHILDREN + 1),
            Self::Steps | Self::Token | Self::Plain => Some(0),
            Self::Failing => None,
        }
    }
}

/// A run that was acknowledged.
struct Run {
    id: String,
    number: usize,
    kind: Kind,
}

/// The calls that runs had waited past when the server was dead, with how often each had been made.
type Past = HashMap<String, usize>;

/// What lies behind the waits that are on record.
fn past(data_dir: &Path, runs: &[Run], site: &Site) -> Past {
    let connection = Connection::open(data_dir.join("dacapo.db")).expect("the database opens");
    let sql = "SELECT COUNT(*) FROM run_events WHERE run_id = ?1 AND status = 'waiting'";
    let mut past = Past::new();
    for run in runs {
        let waits: u32 = connection.query_row(sql, [&run.id], |row| row.get(0)).expect("a number");
        for before in 0..waits {
            let path = format!("/{}/{before}", run.number);
            past.insert(path.clone(), site.count(&path));
        }
    }
    past
}

fn allow(url: &str, data_dir: &Path) {
    let key = std::fs::read_to_string(data_dir.join("admin.key")).expect("the first start made a key");
    let request = ureq::put(format!("{url}/admin/v1/environments/dev/egress"));
    let request = request.header("authorization", format!("Bearer {}", key.trim()));
    let answer = request.send_json(json!({ "rules": ["127.0.0.1"] })).expect("the server answers");
    assert!(answer.status().is_success(), "{}", answer.status());
}

fn trigger(client: &Client, url: &str, number: usize, site: &Site) -> Run {
    let kind = KINDS[number % KINDS.len()];
    let options = json!({ "queue": { "name": "narrow" } });
    let body = json!({ "payload": kind.script(number, site), "options": options });
    let receipt = client.post(url, "/api/v1/tasks/script/trigger", &body).expect("it is acknowledged");
    Run { id: receipt["id"].as_str().expect("an id").to_owned(), number, kind }
}

/// Completes the tokens that there are; those that are completed stay so.
fn complete_tokens(client: &Client, url: &str) {
    let (_, page) = client.get(url, "/api/v1/waitpoints/tokens?filter[status]=WAITING&page[size]=100");
    for token in page["data"].as_array().expect("a list") {
        let id = token["id"].as_str().expect("an id");
        client.post(url, &format!("/api/v1/waitpoints/tokens/{id}/complete"), &json!({ "data": 1 }));
    }
}

#[test]
fn whatever_is_killed_when_each_run_ends_once_and_nothing_past_a_wait_is_done_again() {
    let (_dir, path) = data_dir();
    let site = Site::start();
    let mut server = Server::start(&path);
    let client = Client::new(&path);
    client.deploy(&server.url, guests::SCRIPT);
    allow(&server.url, &path);
    let mut runs: Vec<Run> = vec![trigger(&client, &server.url, 0, &site)];
    let limit = json!({ "type": "custom", "concurrencyLimit": 8 });
    client.post(&server.url, "/api/v1/queues/narrow/concurrency/override", &limit).expect("the queue is known");

    let mut snapshots: Vec<Past> = Vec::new();
    for _ in 0..KILLS {
        for _ in 0..RUNS {
            runs.push(trigger(&client, &server.url, runs.len(), &site));
        }
        complete_tokens(&client, &server.url);
        thread::sleep(Duration::from_secs_f64(0.1 + 0.3 * dacapo::secrets::chance()));
        server.kill();
        snapshots.push(past(&path, &runs, &site));
        server = Server::start(&path);
    }
    assert!(snapshots.iter().any(|past| !past.is_empty()), "some runs had waited when the server was killed");

    end(&client, &server.url, &runs);
    for run in &runs {
        check(&client, &server.url, run, &site);
    }
    for (path, count) in snapshots.iter().flatten() {
        assert_eq!(site.count(path), *count, "{path} was called again although its run had waited past it");
    }
    let queue = client.get(&server.url, "/api/v1/queues/narrow?type=custom").1;
    assert_eq!((&queue["running"], &queue["queued"]), (&json!(0), &json!(0)), "no place is lost: {queue}");
    server.kill();
    let connection = Connection::open(path.join("dacapo.db")).expect("the database opens");
    let twice = "SELECT COUNT(*) FROM (
                     SELECT run_id FROM run_events
                     WHERE  status NOT IN ('queued', 'executing', 'waiting')
                     GROUP  BY run_id HAVING COUNT(*) <> 1)";
    let left = "SELECT (SELECT COUNT(*) FROM run_waits) + (SELECT COUNT(*) FROM runs WHERE finished_at IS NULL)";
    for (what, sql) in [("no run ends twice", twice), ("nothing is left waiting", left)] {
        let count: i64 = connection.query_row(sql, [], |row| row.get(0)).expect("a number");
        assert_eq!(count, 0, "{what}");
    }
}

/// Waits until all have ended.
fn end(client: &Client, url: &str, runs: &[Run]) {
    let deadline = Instant::now() + 2 * PATIENCE;
    for run in runs {
        loop {
            complete_tokens(client, url);
            let found = client.get(url, &format!("/api/v3/runs/{}", run.id)).1;
            if found["isCompleted"] == true {
                break;
            }
            let events = || client.get(url, &format!("/api/v1/runs/{}/events", run.id)).1;
            assert!(Instant::now() < deadline, "{:?} does not end: {found}\n{}", run.kind, events());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The end of a run is the right one, and it has the children that it asked for, each once.
fn check(client: &Client, url: &str, run: &Run, site: &Site) {
    let found = client.get(url, &format!("/api/v3/runs/{}", run.id)).1;
    assert_eq!(found["status"], run.kind.status(), "{:?}: {found}", run.kind);
    let children = found["relatedRuns"]["children"].as_array().map_or(0, Vec::len);
    if let Some(expected) = run.kind.children() {
        assert_eq!(children, expected, "{:?}: {found}", run.kind);
    }
    let last = match run.kind {
        Kind::Steps => 2,
        Kind::Parent | Kind::Token => 1,
        Kind::Plain => 0,
        Kind::Failing => return,
    };
    for call in 0..=last {
        assert!(site.count(&format!("/{}/{call}", run.number)) >= 1, "{:?} made all its calls", run.kind);
    }
}
