//! A task that was harmless then tries everything to get out now, itself or in a child that is executed in its place:
//! during a replay nothing of it works, and all of it is listed.

use std::path::Path;

use axum::body::Body;
use axum::http::Request;
use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::harness::TestApp;
use crate::network::{Site, allow, answer};

const SECRET: &str = "hush-hush-7431";
/// What works when it is no replay.
const WORKS: &[&str] =
    &["get", "post", "variable", "trigger", "await", "batch", "complete", "create", "tags", "parent", "stream"];
/// All that it tries.
const ATTEMPTS: usize = 19;
/// What a replay only notes; the guest is told that it was done.
const NOTED: &[&str] = &["complete", "create", "tags", "parent", "stream"];
/// The files that it asks for, as the host sees them: a C library looks `/etc` up in the working directory.
const FILES: [&str; 5] = ["etc/passwd", "../../etc/passwd", "proc/self/environ", "etc", "tmp/adversary"];

struct Prison {
    app: TestApp,
    open: Site,
    redirect: Site,
    denied: Site,
}

/// All that a guest could have left behind.
#[derive(Debug, PartialEq)]
struct Traces {
    requests: [usize; 3],
    runs: usize,
    tokens: usize,
    token: Value,
    source: Value,
    has_written: bool,
}

impl Prison {
    async fn start() -> Self {
        let app = TestApp::start().await;
        app.deploy(guests::ADVERSARY).await;
        let variable = json!({ "name": "SECRET", "value": SECRET });
        app.post("/api/v1/projects/proj_default/envvars/dev", variable).await.ok();
        let denied = Site::saying("denied").await;
        let location = format!("location: {}\r\n", denied.url("127.0.0.1"));
        let redirect = Site::start([answer("302 Found", &location, "")]).await;
        let open = Site::saying("open").await;
        let host = |site: &Site| site.url("127.0.0.1").replace("http://", "").replace("/page?q=1", "");
        allow(&app, &[&host(&open), &host(&redirect)]).await;
        Self { app, open, redirect, denied }
    }

    async fn token(&self) -> String {
        let request = Request::post("/api/v1/waitpoints/tokens").header("content-type", "application/json");
        let made = self.app.send(&self.app.key, request.header("host", "localhost"), "{}").await.ok();
        made["id"].as_str().unwrap().to_owned()
    }

    fn plan(&self, token: &str) -> Value {
        let url = |site: &Site| site.url("127.0.0.1");
        json!({ "open": url(&self.open), "redirect": url(&self.redirect), "denied": url(&self.denied), "token": token })
    }

    async fn traces(&self, source: &str, token: &str) -> Traces {
        let get = async |path: String| {
            let request = Request::get(path).header("host", "localhost");
            self.app.send(&self.app.key, request, Body::empty()).await.ok()
        };
        let source = self.app.run(source).await;
        Traces {
            requests: [&self.open, &self.redirect, &self.denied].map(|site| site.requests().len()),
            runs: self.app.all_runs("").await.len(),
            tokens: get("/api/v1/waitpoints/tokens".into()).await["data"].as_array().unwrap().len(),
            token: get(format!("/api/v1/waitpoints/tokens/{token}")).await["status"].clone(),
            source: json!([source["tags"], source["metadata"], source["updatedAt"]]),
            has_written: Path::new("/tmp/adversary").exists(),
        }
    }
}

/// Items of a list of a report.
fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().cloned().unwrap_or_default()
}

/// Kinds and targets of calls, in order of the alphabet.
fn calls(list: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut calls: Vec<String> =
        items(list).iter().map(|call| format!("{} {}", text(&call["kind"]), text(&call["target"]))).collect();
    calls.sort();
    calls
}

/// How a replay is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Case {
    /// In a child that is executed.
    within: bool,
    mode: &'static str,
}

impl Case {
    const ALL: [Self; 4] = [
        Self { within: false, mode: "sandbox" },
        Self { within: false, mode: "shadow" },
        Self { within: true, mode: "sandbox" },
        Self { within: true, mode: "shadow" },
    ];

    /// What the guest was told of an attempt: that it worked, or not.
    fn works(self, name: &str) -> bool {
        let is_run = self.within && ["trigger", "await", "batch"].contains(&name);
        let is_read = self.mode == "shadow" && name == "get";
        NOTED.contains(&name) || is_run || is_read
    }

    fn check_told(self, report: &Value) {
        let told = items(&report["comparison"]["output"]);
        for change in &told {
            let (path, after) = (change["path"].as_str().unwrap(), change["after"].as_str().unwrap());
            let name = path.trim_start_matches("$.").trim_start_matches("$[\"").trim_end_matches("\"]");
            assert_eq!(after.starts_with("\"ok "), self.works(name), "{name}: {after}, {self:?}");
        }
        assert_eq!(told.len(), ATTEMPTS, "{self:?}: {report:#}");
    }

    fn check_listed(self, report: &Value, prison: &Prison) {
        let comparison = &report["comparison"];
        let effects = if self.within { &items(&comparison["children"])[0]["effects"] } else { &comparison["effects"] };
        let [open, redirect, denied] =
            [&prison.open, &prison.redirect, &prison.denied].map(|site| site.url("127.0.0.1"));
        let mut unmatched = vec!["environment environment variables".to_owned(), format!("http POST {open}")];
        let added = calls(&effects["added"]);
        match self.mode {
            "sandbox" => {
                let read = [&*open, &redirect, &denied, "http://adversary.invalid/secret"];
                unmatched.extend(read.map(|url| format!("http GET {url}")));
            }
            // It was sent on its way, and stopped there.
            _ => assert!(added.contains(&format!("http GET {denied}")), "{self:?}: {report:#}"),
        }
        if !self.within {
            unmatched.extend(["batch-trigger 2", "trigger accomplice", "trigger accomplice"].map(str::to_owned));
        }
        unmatched.sort();
        assert_eq!(calls(&effects["unmatched"]), unmatched, "{self:?}: {report:#}");
        for kind in ["complete-token", "create-token", "tags", "metadata", "stream", "trigger", "batch-trigger"] {
            assert!(added.iter().any(|call| call.starts_with(kind)), "{kind} is not listed, {self:?}: {report:#}");
        }
        for file in FILES {
            assert!(added.contains(&format!("file {file}")), "{file} is not listed, {self:?}: {report:#}");
        }
        assert_eq!(items(&effects["newHosts"]).len(), 4, "{self:?}: {report:#}");
        assert_eq!(report["verdict"], "output-changed", "{self:?}: {report:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adversary_gets_nowhere_and_is_seen() {
    let prison = Prison::start().await;
    let app = &prison.app;
    // It does know how to: live, what is allowed works.
    let live = app.call("adversary", json!({ "plan": prison.plan(&prison.token().await) })).await;
    let attempts = live["output"].as_object().unwrap();
    assert_eq!(attempts.len(), ATTEMPTS);
    for (name, came) in attempts {
        assert_eq!(came.as_str().unwrap().starts_with("ok "), WORKS.contains(&&**name), "{name}: {came}");
    }
    let token = prison.token().await;
    for case @ Case { within, mode } in Case::ALL {
        let source = app.call("adversary", json!({ "within": within })).await;
        let source = source["id"].as_str().unwrap();
        let before = prison.traces(source, &token).await;
        let options = json!({ "children": if within { "execute" } else { "recorded" } });
        let payload = json!({ "within": within, "plan": prison.plan(&token) });
        let body = json!({ "mode": mode, "payload": payload, "options": options });
        let report = app.post(&format!("/api/v1/runs/{source}/replay"), body).await.ok();

        // In the shadow, two pages may be read.
        let [open, redirect, denied] = before.requests;
        let read = usize::from(mode == "shadow");
        let expected = Traces { requests: [open + read, redirect + read, denied], ..before };
        assert_eq!(prison.traces(source, &token).await, expected, "{case:?}: {report:#}");
        assert!(!report.to_string().contains(SECRET), "{case:?}: {report:#}");
        case.check_told(&report);
        case.check_listed(&report, &prison);
    }
}
