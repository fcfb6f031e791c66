//! Where a guest may connect to: hosts by name and by address, and nowhere else.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dacapo_tests::guests;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::harness::TestApp;

/// Most bytes of a request that the site reads.
const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// A small web site on a port of this machine. It stops when it is dropped.
pub struct Site {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Site {
    /// Answers the first requests with these bytes in turn, and all others with the last of them.
    pub async fn start(answers: impl IntoIterator<Item = String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let mut answers: VecDeque<String> = answers.into_iter().collect();
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some(request) = read_request(&mut stream).await else { continue };
                seen.lock().expect("a lock").push(request);
                let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
                // The guest may be gone already.
                let _ = stream.write_all(answer.unwrap_or_default().as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { port, requests, serving }
    }

    /// A site that answers 200 and this body.
    pub async fn saying(body: &str) -> Self {
        Self::start([answer("200 OK", "", body)]).await
    }

    /// The address under this host.
    pub fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/page?q=1", self.port)
    }

    /// The requests so far, each with its head and its body.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("a lock").clone()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// An answer, to be sent as it is. `headers` end with a line break each.
pub fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
}

/// Reads the head, and as much of a body as it announces.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    let mut missing = None;
    while missing != Some(0) && request.len() < MAX_REQUEST_BYTES {
        let mut part = [0; 1_024];
        let count = stream.read(&mut part).await.ok().filter(|count| *count > 0)?;
        request.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&request).to_lowercase();
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        let length: Option<usize> = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let is_whole = match length {
            Some(length) => text.len() >= head.len() + 4 + length,
            None => !head.contains("transfer-encoding: chunked") || text.ends_with("\r\n0\r\n\r\n"),
        };
        missing = Some(usize::from(!is_whole));
    }
    Some(String::from_utf8_lossy(&request).into_owned())
}

/// Sets what the tasks of `dev` may connect to.
pub async fn allow(app: &TestApp, rules: &[&str]) {
    let changed = app.admin("PUT", "/admin/v1/environments/dev/egress", json!({ "rules": rules })).await.ok();
    assert_eq!(changed["egress"], json!(rules));
}

async fn start() -> TestApp {
    let app = TestApp::start().await;
    app.deploy(guests::FETCH).await;
    app
}

/// What the guest got, and what its log says.
async fn fetch(app: &TestApp, payload: Value) -> (Value, Vec<String>) {
    let run = app.call("fetch", payload).await;
    assert_eq!(run["status"], "COMPLETED", "{run}");
    let log = app.logs(run["id"].as_str().expect("a run has an id")).await;
    assert!(log.iter().all(|(level, _)| level == "warn"), "{log:?}");
    (run["output"].clone(), log.into_iter().map(|(_, line)| line).collect())
}

/// A request was blocked, and the log says why; the site has seen nothing.
async fn check_blocked(app: &TestApp, site: &Site, url: String, why: &str) {
    let (output, log) = fetch(app, json!({ "url": url })).await;
    let error = output["error"].as_str().unwrap_or_default();
    assert!(error.starts_with("the request was not allowed: "), "{url}: {output}");
    assert_eq!(output["isTransient"], false, "another try will not be allowed either");
    assert_eq!(log, [format!("request blocked: {why}")], "{url}");
    assert_eq!(site.requests(), Vec::<String>::new(), "{url}");
}

/// A request reached the site.
async fn check_allowed(app: &TestApp, site: &Site, url: String) {
    let before = site.requests().len();
    let (output, log) = fetch(app, json!({ "url": url })).await;
    assert_eq!(output["status"], 200, "{url}: {output} {log:?}");
    assert_eq!(log, Vec::<String>::new());
    assert_eq!(site.requests().len(), before + 1);
}

#[tokio::test]
async fn loopback_is_blocked_by_default_and_the_log_says_why() {
    let app = start().await;
    let site = Site::saying("hello").await;
    let port = site.port;
    let expected = format!("`127.0.0.1:{port}` is not in the environment's egress list");
    check_blocked(&app, &site, site.url("127.0.0.1"), &expected).await;
}

#[tokio::test]
async fn no_spelling_of_loopback_gets_around_the_block() {
    let app = start().await;
    let site = Site::saying("hello").await;
    for host in [
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "localhost",
        "LOCALHOST.",
        "127.0.0.1.",
        "user@127.0.0.1",
    ] {
        let (output, _) = fetch(&app, json!({ "url": site.url(host) })).await;
        assert!(output["error"].is_string(), "{host}: {output}");
        assert_eq!(site.requests(), Vec::<String>::new(), "{host}");
    }
}

#[tokio::test]
async fn an_address_is_allowed_by_a_rule_for_it() {
    let app = start().await;
    let site = Site::saying("hello from here").await;
    allow(&app, &["127.0.0.1"]).await;

    let headers = json!({ "x-greeting": "hi" });
    let request = json!({ "url": site.url("127.0.0.1"), "method": "POST", "headers": headers, "body": "some text" });
    let (output, log) = fetch(&app, request).await;

    assert_eq!(output["status"], 200, "{output}");
    assert_eq!(output["body"], "hello from here");
    assert_eq!(output["headers"]["content-length"], "15");
    assert_eq!(log, Vec::<String>::new());
    let [request] = site.requests().try_into().expect("one request");
    let (head, body) = request.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("POST /page?q=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("x-greeting: hi"), "{head}");
    assert!(head.to_lowercase().contains(&format!("host: 127.0.0.1:{}", site.port)), "{head}");
    assert!(body.contains("some text"), "{body}");
}

#[tokio::test]
async fn a_rule_for_another_port_or_network_does_not_allow() {
    let app = start().await;
    let site = Site::saying("hello").await;
    let port = site.port;
    let expected = format!("`127.0.0.1:{port}` is not in the environment's egress list");
    let other_port = format!("127.0.0.1:{}", if port == 1 { 2 } else { port - 1 });
    for rules in [&[other_port.as_str()][..], &["10.0.0.0/8", "127.0.0.2"], &["*"], &["localhost"], &[]] {
        allow(&app, rules).await;
        check_blocked(&app, &site, site.url("127.0.0.1"), &expected).await;
    }

    let own_port = format!("127.0.0.1:{port}");
    for (number, rule) in [own_port.as_str(), "127.0.0.0/8"].into_iter().enumerate() {
        allow(&app, &[rule]).await;
        check_allowed(&app, &site, site.url("127.0.0.1")).await;
        assert_eq!(site.requests().len(), number + 1);
    }
}

#[tokio::test]
async fn a_name_that_leads_inside_needs_a_rule_for_its_address_too() {
    let app = start().await;
    let site = Site::saying("hello").await;
    for rules in [&["*"][..], &["localhost"], &["localhost", "*"]] {
        allow(&app, rules).await;
        let (output, log) = fetch(&app, json!({ "url": site.url("localhost") })).await;
        let error = output["error"].as_str().unwrap_or_default();
        assert!(error.starts_with("the request was not allowed: "), "{rules:?}: {output}");
        let [line] = log.as_slice() else { panic!("one line: {log:?}") };
        assert!(line.starts_with("request blocked: `localhost` resolves to "), "{line}");
        assert!(line.ends_with(", which is not public and not in the environment's egress list"), "{line}");
        assert_eq!(site.requests(), Vec::<String>::new());
    }
    // The other way round it is the name that is missing.
    allow(&app, &["127.0.0.0/8"]).await;
    let expected = format!("`localhost:{}` is not in the environment's egress list", site.port);
    check_blocked(&app, &site, site.url("localhost"), &expected).await;

    allow(&app, &["localhost", "127.0.0.1"]).await;
    check_allowed(&app, &site, site.url("localhost")).await;
}

#[tokio::test]
async fn what_is_no_longer_allowed_is_blocked_at_once() {
    let app = start().await;
    let site = Site::saying("hello").await;
    allow(&app, &["127.0.0.1"]).await;
    check_allowed(&app, &site, site.url("127.0.0.1")).await;

    allow(&app, &[]).await;

    let (output, _) = fetch(&app, json!({ "url": site.url("127.0.0.1") })).await;
    assert!(output["error"].is_string(), "{output}");
    assert_eq!(site.requests().len(), 1);
}

#[tokio::test]
async fn the_rules_of_one_environment_are_not_those_of_another() {
    let app = start().await;
    let site = Site::saying("hello").await;
    app.admin("PUT", "/admin/v1/environments/prod/egress", json!({ "rules": ["127.0.0.1"] })).await.ok();
    let expected = format!("`127.0.0.1:{}` is not in the environment's egress list", site.port);
    check_blocked(&app, &site, site.url("127.0.0.1"), &expected).await;
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let app = start().await;
    allow(&app, &["127.0.0.1"]).await;
    let target = Site::saying("inside").await;
    let location = format!("location: {}\r\n", target.url("127.0.0.1"));
    let site = Site::start([answer("302 Found", &location, "")]).await;

    let (output, _) = fetch(&app, json!({ "url": site.url("127.0.0.1") })).await;

    assert_eq!(output["status"], 302, "{output}");
    assert_eq!(output["headers"]["location"], target.url("127.0.0.1"));
    assert_eq!(site.requests().len(), 1);
    assert_eq!(target.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn the_guest_is_told_that_a_connection_was_refused() {
    let app = start().await;
    allow(&app, &["127.0.0.1"]).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://127.0.0.1:{}/", free.local_addr().expect("an address").port());
    drop(free);

    let (output, log) = fetch(&app, json!({ "url": url })).await;

    let error = output["error"].as_str().unwrap_or_default();
    assert!(error.starts_with("no connection: ") && error.to_lowercase().contains("refused"), "{output}");
    assert_eq!(output["isTransient"], true);
    assert_eq!(log, Vec::<String>::new());
}

#[tokio::test]
async fn the_guest_is_told_that_a_name_does_not_resolve() {
    let app = start().await;
    let (output, _) = fetch(&app, json!({ "url": "http://no-such-host.invalid/" })).await;
    let error = output["error"].as_str().unwrap_or_default();
    assert!(error.starts_with("no connection: "), "{output}");
    assert_eq!(output["isTransient"], true);
}

#[tokio::test]
async fn a_site_that_breaks_off_or_talks_nonsense_is_an_error_of_the_request() {
    let app = start().await;
    allow(&app, &["127.0.0.1"]).await;
    let cut_off = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this".to_owned();
    let endless_head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(1_000_000));
    for answer in [String::new(), "nonsense\r\n\r\n".to_owned(), cut_off, endless_head] {
        let site = Site::start([answer.clone()]).await;
        let (output, _) = fetch(&app, json!({ "url": site.url("127.0.0.1") })).await;
        let begin: String = answer.chars().take(40).collect();
        assert!(output["error"].is_string(), "{begin:?}: {output}");
    }
}

#[tokio::test]
async fn a_site_that_says_nothing_does_not_hold_the_guest_for_ever() {
    let app = start().await;
    allow(&app, &["127.0.0.1"]).await;
    // Connections are taken by the kernel, and nobody answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://127.0.0.1:{}/", silent.local_addr().expect("an address").port());
    let (output, _) = fetch(&app, json!({ "url": url, "timeoutMs": 200 })).await;
    assert_eq!(output["error"], "no complete response within 200ms");
    assert_eq!(output["isTransient"], true);

    // A guest that waits can be canceled.
    let id = app.trigger("fetch", json!({ "url": url, "timeoutMs": 600_000 })).await;
    app.until_status(&id, "EXECUTING").await;
    app.post_empty(&format!("/api/v2/runs/{id}/cancel")).await.ok();
    assert_eq!(app.finished(&id).await["status"], "CANCELED");
}

#[tokio::test]
async fn a_guest_can_bound_what_it_receives() {
    let app = start().await;
    allow(&app, &["127.0.0.1"]).await;
    let site = Site::saying(&"x".repeat(100_000)).await;
    let (output, _) = fetch(&app, json!({ "url": site.url("127.0.0.1"), "maxBytes": 1_000 })).await;
    assert_eq!(output["error"], "the response is larger than 1000 bytes");
    let (output, _) = fetch(&app, json!({ "url": site.url("127.0.0.1") })).await;
    assert_eq!(output["body"].as_str().map(str::len), Some(100_000));
}

#[tokio::test]
async fn other_schemes_and_hosts_that_are_none_are_refused() {
    let app = start().await;
    for url in ["ftp://example.com/", "file:///etc/passwd", "http://", "http:///x", "not a url", ""] {
        let (output, _) = fetch(&app, json!({ "url": url })).await;
        let error = output["error"].as_str().unwrap_or_default();
        assert!(error.starts_with("the request is not valid: "), "{url}: {output}");
    }
    let (output, _) = fetch(&app, json!({ "url": "http://127.0.0.1/", "method": "CONNECT" })).await;
    assert!(output["error"].is_string(), "{output}");
}

#[tokio::test]
async fn rules_that_are_wrong_are_refused_and_change_nothing() {
    let app = start().await;
    let site = Site::saying("hello").await;
    let path = "/admin/v1/environments/dev/egress";
    let rest = "is not an egress rule: write a name, `*.name`, `*`, an address or a network such as `10.0.0.0/8`, with or \
                without `:port`";
    for rule in ["http://example.com", "10.0.0.0/33", "a b", "example.com:x", "*x", "", "[::1", "1.2.3", "-:"] {
        let error = app.admin("PUT", path, json!({ "rules": ["127.0.0.1", rule] })).await.error(400);
        assert_eq!(error, format!("`{rule}` {rest}"));
    }
    let many = vec!["a.example"; 501];
    let error = app.admin("PUT", path, json!({ "rules": many })).await.error(422);
    assert_eq!(error, "an environment can have 500 egress rules at most");
    let unknown = app.admin("PUT", path, json!({ "rules": [], "more": 1 })).await.error(400);
    assert!(unknown.contains("unknown field `more`"), "{unknown}");
    assert_eq!(app.admin("PUT", "/admin/v1/environments/nowhere/egress", json!({ "rules": [] })).await.status, 404);

    let environments = app.admin("GET", "/admin/v1/environments", Value::Null).await.ok();
    let list = environments["data"].as_array().expect("a list");
    let dev = list.iter().find(|environment| environment["slug"] == "dev").expect("dev");
    assert_eq!(dev["egress"], json!(["*"]), "the default: public hosts only");
    let expected = format!("`127.0.0.1:{}` is not in the environment's egress list", site.port);
    check_blocked(&app, &site, site.url("127.0.0.1"), &expected).await;
}

#[tokio::test]
async fn only_the_operator_sets_the_rules() {
    let app = start().await;
    let request = axum::http::Request::put("/admin/v1/environments/dev/egress");
    let answer = app.send(&app.key, request, json!({ "rules": ["127.0.0.1"] }).to_string()).await;
    assert!([401, 403].contains(&answer.status.as_u16()), "{}: {}", answer.status, answer.json);
    let site = Site::saying("hello").await;
    let expected = format!("`127.0.0.1:{}` is not in the environment's egress list", site.port);
    check_blocked(&app, &site, site.url("127.0.0.1"), &expected).await;
}

#[tokio::test]
async fn rules_outlive_a_restart() {
    let app = start().await;
    let site = Site::saying("hello").await;
    allow(&app, &["127.0.0.1"]).await;
    let app = app.restart().await;
    let deadline = Duration::from_secs(60);
    tokio::time::timeout(deadline, check_allowed(&app, &site, site.url("127.0.0.1"))).await.expect("an answer");
}
