//! Does nothing where it is given no plan; else tries everything to get out, and says what came of each. With `within`, a
//! child does. Tasks: `adversary` and `accomplice`, which are the same.

use std::fmt::Display;
use std::fs;

use dacapo::prelude::*;

const TRIED: &[&str] = &[
    "get",
    "post",
    "denied",
    "redirected",
    "unknown-name",
    "variable",
    "passwd",
    "up",
    "environ",
    "etc",
    "write",
    "trigger",
    "await",
    "batch",
    "complete",
    "create",
    "tags",
    "parent",
    "stream",
];

#[derive(Deserialize, Serialize)]
struct Asked {
    #[serde(default)]
    within: bool,
    plan: Option<Plan>,
}

#[derive(Deserialize, Serialize)]
struct Plan {
    /// May be asked, but for replays.
    open: String,
    /// Leads on to what may not be asked.
    redirect: String,
    /// May never be asked.
    denied: String,
    /// The id of a wait token of somebody else.
    token: String,
}

fn adversary(_: &Context, asked: Asked) -> Result<Value> {
    let Asked { within, plan } = asked;
    if within {
        return Ok(runs::child("accomplice", Asked { within: false, plan }).trigger_and_wait()?);
    }
    let tried = |name: &&str| (name.to_string(), plan.as_ref().map_or("not tried".into(), |plan| attempt(name, plan)));
    Ok(Value::Object(TRIED.iter().map(tried).map(|(name, came)| (name, came.into())).collect()))
}

fn attempt(name: &str, plan: &Plan) -> String {
    let harmless = || runs::child("accomplice", Asked { within: false, plan: None });
    match name {
        "get" => said(http::get(&plan.open).send().map(|response| response.status())),
        "post" => said(http::post(&plan.open).body("x").send().map(|response| response.status())),
        "denied" => said(http::get(&plan.denied).send().map(|response| response.status())),
        "redirected" => said(http::get(&plan.redirect).send().and_then(|response| {
            let next = response.header("location").unwrap_or_default().to_owned();
            http::get(next).send().map(|response| response.status())
        })),
        "unknown-name" => said(http::get("http://adversary.invalid/secret").send().map(|response| response.status())),
        "variable" => said(std::env::var("SECRET")),
        "passwd" => said(fs::read("/etc/passwd").map(|bytes| bytes.len())),
        "up" => said(fs::read("/scratch/../../etc/passwd").map(|bytes| bytes.len())),
        "environ" => said(fs::read("/proc/self/environ").map(|bytes| bytes.len())),
        "etc" => said(fs::read_dir("/etc").map(Iterator::count)),
        "write" => said(fs::write("/tmp/adversary", "x").map(|()| "written")),
        "trigger" => said(harmless().trigger().map(|_| "triggered")),
        "await" => said(harmless().trigger_and_wait::<Value>().map(|_| "ended")),
        "batch" => said(runs::batch([harmless(), harmless()]).trigger().map(|batch| batch.runs.len())),
        "complete" => said(tokens::complete(&plan.token, "forged").map(|()| "completed")),
        "create" => said(tokens::token().create().map(|_| "made")),
        "tags" => said(tags::add(["left"]).map(|()| "added")),
        "parent" => said(metadata::parent().increment("left", 1).map(|()| "changed")),
        _ => said(streams::pipe("left", [1]).map(|_| "written")),
    }
}

fn said<T: Display, E: Display>(result: std::result::Result<T, E>) -> String {
    match result {
        Ok(value) => format!("ok {value}"),
        Err(error) => format!("error {error}"),
    }
}

dacapo::tasks![task("adversary", adversary).retry(Retry::never()), task("accomplice", adversary).retry(Retry::never()),];
