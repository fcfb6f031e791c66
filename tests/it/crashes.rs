//! What a server that is killed in the middle of something leaves behind: no place in a queue is
//! lost, and what was half done is done once.

use std::collections::HashSet;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use dacapo_tests::guests;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::harness::PATIENCE;
use crate::process::Client;
use crate::program::{Server, data_dir};

/// Fewer than a run may lose its server.
const KILLS: usize = 4;

/// Lets a server run for a random moment, kills it and starts it again.
fn kill_and_start(server: Server, data_dir: &Path) -> Server {
    thread::sleep(Duration::from_secs_f64(0.06 * dacapo::secrets::chance()));
    server.kill();
    Server::start(data_dir)
}

/// Waits until there is what is looked for.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} does not happen");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A run that sleeps, in a queue.
fn sleeper(client: &Client, url: &str, queue: &str, ms: u64) -> String {
    let body = json!({ "payload": { "ms": ms }, "options": { "queue": { "name": queue } } });
    let receipt = client.post(url, "/api/v1/tasks/sleep/trigger", &body).expect("it is acknowledged");
    text(&receipt["id"])
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().expect("a list")
}

/// A number that the database of a stopped server knows.
fn count(data_dir: &Path, sql: &str) -> i64 {
    let connection = Connection::open(data_dir.join("dacapo.db")).expect("the database opens");
    connection.query_row(sql, [], |row| row.get(0)).expect("a number")
}

#[test]
fn killing_the_server_leaks_no_place_of_a_queue_or_an_environment() {
    let (_dir, path) = data_dir();
    let mut server = Server::start(&path);
    let client = Client::new(&path);
    client.deploy(&server.url, guests::SLEEP);
    let mut runs = vec![sleeper(&client, &server.url, "narrow", 1)];
    let limit = json!({ "type": "custom", "concurrencyLimit": 2 });
    client.post(&server.url, "/api/v1/queues/narrow/concurrency/override", &limit).expect("the queue is known");
    client.limit_environment(&server.url, &path, 3);
    let queue = |url: &str| client.get(url, "/api/v1/queues/narrow?type=custom").1;

    for _ in 0..KILLS {
        for n in 0..12 {
            runs.push(sleeper(&client, &server.url, if n % 3 == 0 { "wide" } else { "narrow" }, 30));
        }
        assert!(queue(&server.url)["running"].as_u64().is_some_and(|running| running <= 2));
        server = kill_and_start(server, &path);
    }

    for run in &runs {
        assert_eq!(client.finished(&server.url, run)["status"], "COMPLETED");
    }
    let empty = queue(&server.url);
    assert_eq!((&empty["running"], &empty["queued"]), (&json!(0), &json!(0)), "{empty}");
    // All places of the queue can be taken, and the one that the environment has beside them.
    let last = ["narrow", "narrow", "wide"].map(|queue| sleeper(&client, &server.url, queue, 3_600_000));
    for run in &last {
        until("a run starts", || {
            let run = client.get(&server.url, &format!("/api/v3/runs/{run}")).1;
            (run["status"] == "EXECUTING").then_some(())
        });
    }
    assert_eq!(queue(&server.url)["running"], 2);
    server.kill();
    let ends = "SELECT COUNT(*) FROM run_events WHERE status NOT IN ('queued', 'executing')";
    assert_eq!(count(&path, ends), runs.len() as i64, "every run has ended once");
}

#[test]
fn a_bulk_replay_that_is_killed_replays_each_run_once() {
    const SOURCES: usize = 100;
    let (_dir, path) = data_dir();
    let mut server = Server::start(&path);
    let client = Client::new(&path);
    client.deploy(&server.url, guests::ECHO_V1);
    let trigger = |n: usize| {
        let receipt = client.post(&server.url, "/api/v1/tasks/echo/trigger", &json!({ "payload": n }));
        text(&receipt.expect("it is acknowledged")["id"])
    };
    let sources: Vec<String> = (0..SOURCES).map(trigger).collect();
    for run in &sources {
        client.finished(&server.url, run);
    }
    // No run has this id: a member that fails.
    let nobody = "run_00000000000000000000000007".to_owned();
    let asked: Vec<&String> = sources.iter().chain([&nobody]).collect();
    let asked = json!({ "action": "replay", "runIds": asked });
    let bulk = client.post(&server.url, "/api/v1/bulk-actions", &asked).expect("it is acknowledged");
    let path_of = |tail: &str| format!("/api/v1/bulk-actions/{}{tail}", text(&bulk["id"]));
    // The oldest is the one that fails: it stands on the page of another cursor.
    let after = format!("/members?page[size]=100&page[after]={nobody}");
    let members = |url: &str| list(&client.get(url, &path_of(&after)).1["data"]).clone();
    let miscounted = "SELECT COUNT(*) FROM bulk_actions b
                      WHERE  b.done <> (SELECT COUNT(*) FROM bulk_members m
                                        WHERE  m.bulk_id = b.id AND m.outcome = 'done')
                      OR     b.not_done <> (SELECT COUNT(*) FROM bulk_members m
                                            WHERE  m.bulk_id = b.id AND m.outcome <> 'done')";

    let mut killed_midway = 0;
    for _ in 0..KILLS {
        let done = members(&server.url).len();
        until("a replay", || (members(&server.url).len() > done || done == SOURCES).then_some(()));
        server.kill();
        assert_eq!(count(&path, miscounted), 0, "a kill leaves what is counted as it is recorded");
        killed_midway += usize::from(done < SOURCES);
        server = Server::start(&path);
    }
    until("the end of the action", || (client.get(&server.url, &path_of("")).1["status"] == "COMPLETED").then_some(()));

    assert!(killed_midway > 0);
    let counts = client.get(&server.url, &path_of("")).1["counts"].clone();
    assert_eq!(counts, json!({ "total": SOURCES + 1, "success": SOURCES, "failure": 1 }));
    let first = client.get(&server.url, &path_of("/members?page[size]=1")).1["data"][0].clone();
    assert_eq!((&first["runId"], &first["outcome"]), (&json!(nobody), &json!("failed")));
    let members = members(&server.url);
    assert_eq!(members.iter().map(|member| text(&member["runId"])).collect::<Vec<_>>(), sources, "oldest first");
    for member in &members {
        let replay = client.finished(&server.url, &text(&member["newRunId"]));
        assert_eq!((&replay["replayedFrom"], &replay["status"]), (&member["runId"], &json!("COMPLETED")));
    }
    assert_eq!(server.terminate(), Some(0));
    let replays = "SELECT COUNT(*) FROM runs WHERE bulk_id IS NOT NULL";
    assert_eq!(count(&path, replays), SOURCES as i64, "no replay that nobody knows of");
}

#[test]
fn a_batch_that_is_cut_off_by_a_kill_and_sent_again_has_each_item_once() {
    const ITEMS: usize = 400;
    let (_dir, path) = data_dir();
    let mut server = Server::start(&path);
    let client = Client::new(&path);
    client.deploy(&server.url, guests::ECHO_V1);
    let batch = client.post(&server.url, "/api/v3/batches", &json!({ "runCount": ITEMS })).expect("it is acknowledged");
    let batch = text(&batch["id"]);
    let line = |n: usize| format!("{}\n", json!({ "index": n, "task": "echo", "payload": { "n": n } }));
    let lines: Vec<String> = (0..ITEMS).map(line).collect();
    let retrieve = |url: &str| client.get(url, &format!("/api/v2/batches/{batch}")).1;

    let mut before = 0;
    for kill in 1..=KILLS {
        // Part of the batch, and then nothing more, on a connection that stays open.
        let part = ITEMS * kill / (KILLS + 1);
        let mut connection = begin_items(&client, &server.url, &batch, lines.concat().len());
        connection.write_all(lines[..part].concat().as_bytes()).expect("the server listens");
        before = until("another item", || {
            let known = list(&retrieve(&server.url)["runs"]).len();
            (known > before).then_some(known)
        });
        server = kill_and_start(server, &path);
    }
    assert_eq!(retrieve(&server.url)["status"], "PENDING");
    let mut connection = begin_items(&client, &server.url, &batch, lines.concat().len());
    connection.write_all(lines.concat().as_bytes()).expect("the server listens");
    let whole = until("the end of the batch", || {
        let found = retrieve(&server.url);
        (found["status"] == "COMPLETED").then_some(found)
    });

    let runs: Vec<String> = list(&whole["runs"]).iter().map(text).collect();
    assert_eq!(runs.iter().collect::<HashSet<_>>().len(), ITEMS, "each item has a run of its own");
    for (n, run) in runs.iter().enumerate() {
        assert_eq!(client.finished(&server.url, run)["output"]["payload"]["n"], n);
    }
    assert_eq!(server.terminate(), Some(0));
    assert_eq!(count(&path, "SELECT COUNT(*) FROM runs"), ITEMS as i64, "no run that the batch does not know of");
}

/// The beginning of a request that sends the items of a batch: so many bytes follow.
fn begin_items(client: &Client, url: &str, batch: &str, bytes: usize) -> TcpStream {
    let address = url.strip_prefix("http://").expect("an address");
    let mut connection = TcpStream::connect(address).expect("the server listens");
    let head = format!(
        "POST /api/v3/batches/{batch}/items HTTP/1.1\r\nhost: h\r\nauthorization: {}\r\n\
         content-type: application/x-ndjson\r\ncontent-length: {bytes}\r\n\r\n",
        client.key
    );
    connection.write_all(head.as_bytes()).expect("the server listens");
    connection
}

/// Triggers a run for each number below `count`, from several threads.
fn trigger_many(client: &Client, url: &str, count: usize) {
    const THREADS: usize = 4;
    thread::scope(|scope| {
        for part in 0..THREADS {
            scope.spawn(move || {
                for n in (part..count).step_by(THREADS) {
                    client
                        .post(url, "/api/v1/tasks/echo/trigger", &json!({ "payload": n }))
                        .expect("it is acknowledged");
                }
            });
        }
    });
}

#[test]
fn a_backtest_that_is_killed_counts_each_run_once() {
    const SOURCES: usize = 10_000;
    let (_dir, path) = data_dir();
    let mut server = Server::start(&path);
    let client = Client::new(&path);
    client.deploy(&server.url, guests::ECHO_V1);
    trigger_many(&client, &server.url, SOURCES);
    until("the last run ends", || {
        let queue = client.get(&server.url, "/api/v1/queues/echo?type=task").1;
        (queue["queued"] == 0 && queue["running"] == 0).then_some(())
    });
    let version = text(&client.get(&server.url, "/api/v1/deployments/current").1["version"]);
    let asked = json!({ "version": version, "last": SOURCES });
    let made = client.post(&server.url, "/api/v1/backtests", &asked).expect("it is acknowledged");
    let backtest = format!("/api/v1/backtests/{}", text(&made["id"]));

    let mut seen = 0;
    for _ in 0..KILLS {
        // It goes on before it is killed again.
        seen = until("the backtest goes on", || {
            let done = client.get(&server.url, &backtest).1["done"].as_u64()?;
            (done > seen).then_some(done)
        });
        server = kill_and_start(server, &path);
    }
    assert!(seen < SOURCES as u64, "it was killed in its middle");
    let done = until("the backtest ends", || {
        let item = client.get(&server.url, &backtest).1;
        (item["status"] == "COMPLETED").then_some(item)
    });
    assert_eq!((&done["done"], &done["verdicts"]), (&json!(SOURCES), &json!({ "same": SOURCES })));
    server.kill();
    assert_eq!(count(&path, "SELECT COUNT(*) FROM backtest_replays"), SOURCES as i64);
    assert_eq!(count(&path, "SELECT COUNT(*) FROM runs"), SOURCES as i64, "no run was made");
}
