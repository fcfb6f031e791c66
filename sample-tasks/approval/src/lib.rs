//! Asks somebody, and waits for the answer for a week, which costs nothing meanwhile. Whoever posts
//! `{"approved": true, "by": "Ada"}` to the URL in the message answers; so does a client that
//! completes the token named in the run's metadata.

use std::time::Duration;

use dacapo::prelude::*;
use dacapo::wait::WaitError;

const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Expense {
    what: String,
    cents: u64,
    /// Where the question is posted, for example the webhook of a chat.
    ask_at: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    approved: bool,
    by: String,
}

fn approval(_: &Context, expense: Expense) -> Result<Value> {
    let token = tokens::token().timeout(WEEK).tag("approval").create()?;
    metadata::set("token", &token.id)?;
    if let Some(url) = &expense.ask_at {
        let text = format!("May we spend {} cents for {}? Answer at {}", expense.cents, expense.what, token.url);
        http::post(url).json(json!({ "text": text })).send()?.error_for_status()?;
    }

    match token.wait::<Answer>() {
        Ok(answer) => {
            info!(by = answer.by, approved = answer.approved; "{} was decided", expense.what);
            Ok(json!({ "approved": answer.approved, "by": answer.by }))
        }
        Err(WaitError::TimedOut) => Ok(json!({ "approved": false, "by": null })),
        Err(error) => Err(TaskError::from(error).abort()),
    }
}

dacapo::tasks![task("approval", approval).description("Asks for an approval and waits for it.")];
