//! Canned answers, as somebody wrote them.

use bytes::Bytes;

use crate::api::{HttpStub, ReplayStubs};
use crate::model::limits;
use crate::sandbox::tape::Stub;

/// Reads them; the error is for people.
///
/// # Errors
///
/// If there are too many, or one of them is no answer.
pub fn read(stubs: Option<&ReplayStubs>) -> Result<Vec<Stub>, String> {
    let Some(ReplayStubs { http, runs }) = stubs else { return Ok(Vec::new()) };
    if http.len() + runs.len() > limits::MAX_REPLAY_STUBS {
        return Err(format!("`options.stubs`: there can be {} at most", limits::MAX_REPLAY_STUBS));
    }
    let runs = runs.iter().map(|(task, output)| Stub::Run { task: task.clone(), output: Ok(output.to_string()) });
    let http = http
        .iter()
        .enumerate()
        .map(|(place, stub)| response(stub).map_err(|problem| format!("`options.stubs.http[{place}]`: {problem}")));
    http.chain(runs.map(Ok)).collect()
}

fn response(stub: &HttpStub) -> Result<Stub, String> {
    let HttpStub { method, url, status, headers, body } = stub;
    let status = status.unwrap_or(200);
    if !(100..=999).contains(&status) {
        return Err("`status` must be 100 to 999".into());
    }
    if url.is_empty() {
        return Err("`url` is empty; `*` stands for every URL".into());
    }
    let mut headers: Vec<(String, String)> =
        headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    for (name, value) in &headers {
        if axum::http::HeaderName::try_from(name).is_err() || axum::http::HeaderValue::try_from(value).is_err() {
            return Err(format!("`headers`: `{name}` is not a header"));
        }
    }
    let body = match body {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => text.clone(),
        json => {
            if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                headers.push(("content-type".into(), "application/json".into()));
            }
            json.to_string()
        }
    };
    Ok(Stub::Http { method: method.clone(), url: url.clone(), status, headers, body: Bytes::from(body) })
}
