//! The server's HTTP API, as far as the commands use it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::Response;

/// Longest time for any request. A held one is given up by the server long before.
const TIMEOUT: Duration = Duration::from_secs(120);

/// One environment of one server.
pub(crate) struct Client {
    agent: Agent,
    url: String,
    key: String,
}

impl Client {
    /// A client with the environment's key.
    pub(crate) fn new(url: &str, key: &str) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT));
        Self { agent: config.build().into(), url: url.to_owned(), key: key.to_owned() }
    }

    /// Triggers a task and returns the run's id.
    pub(crate) fn trigger(&self, task: &str, payload: &Value) -> Result<String> {
        let body = json!({ "payload": payload });
        id_of(&self.post(&format!("/api/v1/tasks/{task}/trigger"), &body)?)
    }

    /// Replays a run and returns the new run's id.
    pub(crate) fn replay(&self, run: &str) -> Result<String> {
        id_of(&self.post(&format!("/api/v1/runs/{run}/replay"), &json!({}))?)
    }

    /// Waits until a run has ended and returns it in full.
    pub(crate) fn finished_run(&self, run: &str) -> Result<Value> {
        // Four waits of 30 seconds: more than a retried task of the samples needs.
        for _ in 0..4 {
            let path = format!("/api/v1/runs/{run}/result?wait=30s");
            if self.request("GET", &path, None)?.0 == 200 {
                return self.get(&format!("/api/v3/runs/{run}"));
            }
        }
        let seen = self.get(&format!("/api/v3/runs/{run}"))?;
        bail!("run {run} has not ended within two minutes; it is {}", seen["status"])
    }

    /// Uploads a component under a name and returns the receipt.
    pub(crate) fn deploy(&self, name: &str, component: &[u8]) -> Result<Value> {
        self.upload(&format!("name={name}"), component)
    }

    /// The same, but what was current stays so.
    pub(crate) fn deploy_unpromoted(&self, name: &str, component: &[u8]) -> Result<Value> {
        self.upload(&format!("name={name}&skipPromotion=true"), component)
    }

    fn upload(&self, query: &str, component: &[u8]) -> Result<Value> {
        let url = format!("{}/api/v1/deployments?{query}", self.url);
        let response = self
            .agent
            .post(&url)
            .header("authorization", format!("Bearer {}", self.key))
            .header("content-type", "application/wasm")
            .send(component)
            .with_context(|| format!("POST {url}"))?;
        expect_success("POST", &url, read(response)?)
    }

    /// `GET`, with a JSON answer.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        expect_success("GET", path, self.request("GET", path, None)?)
    }

    /// `PUT` with a JSON body and a JSON answer.
    pub(crate) fn put(&self, path: &str, body: &Value) -> Result<Value> {
        expect_success("PUT", path, self.request("PUT", path, Some(body))?)
    }

    /// `POST` with a JSON body and a JSON answer.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        expect_success("POST", path, self.request("POST", path, Some(body))?)
    }

    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, String)> {
        let url = format!("{}{path}", self.url);
        let authorization = format!("Bearer {}", self.key);
        let response = match body {
            None => self.agent.get(&url).header("authorization", authorization).call(),
            Some(body) => {
                let request = if method == "PUT" { self.agent.put(&url) } else { self.agent.post(&url) };
                let request = request.header("authorization", authorization).header("content-type", "application/json");
                request.send(body.to_string())
            }
        };
        read(response.with_context(|| format!("{method} {url}"))?)
    }
}

fn read(mut response: Response<ureq::Body>) -> Result<(u16, String)> {
    let status = response.status().as_u16();
    Ok((status, response.body_mut().read_to_string()?))
}

fn expect_success(method: &str, path: &str, (status, body): (u16, String)) -> Result<Value> {
    if !(200..300).contains(&status) {
        bail!("{method} {path} answered {status}: {body}");
    }
    serde_json::from_str(&body).with_context(|| format!("{method} {path} answered {body}"))
}

fn id_of(answer: &Value) -> Result<String> {
    Ok(answer["id"].as_str().with_context(|| format!("no id in {answer}"))?.to_owned())
}
