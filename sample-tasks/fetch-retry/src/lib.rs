//! Asks another service, and knows which failures pass: no connection, a timeout and the statuses
//! 408, 429 and 5xx are retried with growing delays; a 404 or 403, for example, ends the run.

use std::time::Duration;

use dacapo::prelude::*;

#[derive(Deserialize)]
struct Page {
    url: String,
}

fn fetch_page(ctx: &Context, page: Page) -> Result<Value> {
    let response = http::get(&page.url)
        .timeout(Duration::from_secs(10))
        .send()
        .and_then(http::Response::error_for_status)
        .map_err(|error| {
            warn!(url = page.url, attempt = ctx.attempt.number; "{error}");
            let is_transient = error.is_transient();
            let error = TaskError::from(error);
            if is_transient { error } else { error.abort() }
        })?;
    info!(url = page.url, status = response.status(); "fetched");
    Ok(json!({ "status": response.status(), "length": response.bytes().len() }))
}

dacapo::tasks![
    task("fetch-page", fetch_page)
        .description("Fetches a page and returns its status and its length in bytes.")
        .retry(Retry::attempts(5).min_delay(Duration::from_secs(1)).max_delay(Duration::from_secs(30)))
        .queue(dacapo::Queue::new("fetch").concurrency_limit(4)),
];
