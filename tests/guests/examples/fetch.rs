//! Sends the request `{url, method?, headers?, body?, timeoutMs?, maxBytes?}`; returns the status,
//! the headers and the body, or the error.

use std::collections::BTreeMap;
use std::time::Duration;

use dacapo::prelude::*;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fetch {
    url: String,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<String>,
    timeout_ms: Option<u64>,
    max_bytes: Option<usize>,
}

fn fetch(_: &Context, fetch: Fetch) -> Result<Value> {
    let mut request = http::Request::new(fetch.method.as_deref().unwrap_or("GET"), fetch.url);
    for (name, value) in &fetch.headers {
        request = request.header(name, value);
    }
    if let Some(body) = fetch.body {
        request = request.body(body);
    }
    if let Some(ms) = fetch.timeout_ms {
        request = request.timeout(Duration::from_millis(ms));
    }
    if let Some(bytes) = fetch.max_bytes {
        request = request.max_bytes(bytes);
    }
    Ok(match request.send() {
        Ok(response) => {
            let headers: BTreeMap<_, _> =
                response.headers().map(|(name, value)| (name, String::from_utf8_lossy(value))).collect();
            json!({ "status": response.status(), "headers": headers, "body": response.text() })
        }
        Err(error) => json!({ "error": error.to_string(), "isTransient": error.is_transient() }),
    })
}

dacapo::tasks![task("fetch", fetch)];
