//! Every hook posts what it is told to the URL in the payload, where there is one, and writes a log
//! line, and adds its name to the metadata. `{end: "fail" | "trap" | "spin" | "wait" | …, url?, badHook?}`.

use std::time::Duration;

use dacapo::prelude::*;
use dacapo::runs::RunFailure;

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    /// How the run ends; any other word is its output.
    #[serde(default)]
    end: String,
    url: Option<String>,
    /// The hook that fails.
    bad_hook: Option<String>,
}

fn body(_: &Context, told: Told) -> Result<String> {
    match told.end.as_str() {
        "fail" => Err(TaskError::new("Told", "failed as told").abort()),
        "trap" => panic!("trapped as told"),
        "spin" => loop {
            std::hint::black_box(());
        },
        "wait" => {
            wait::sleep(Duration::from_secs(24 * 3600));
            Ok("waited".into())
        }
        output => Ok(output.into()),
    }
}

fn report(hook: &str, ctx: &Context, told: Told, outcome: Value) -> Result<()> {
    metadata::append("hooks", hook)?;
    info!(outcome = outcome; "{hook}");
    if let Some(url) = &told.url {
        let report = json!({ "hook": hook, "run": ctx.run.id, "attempt": ctx.attempt.number, "outcome": outcome });
        http::post(url).json(report).send()?.error_for_status()?;
    }
    if told.bad_hook.as_deref() == Some(hook) {
        return Err(TaskError::new("BadHook", "failed as told"));
    }
    Ok(())
}

fn failure_json(failure: &RunFailure) -> Value {
    json!({ "status": format!("{:?}", failure.status), "name": failure.name, "message": failure.message })
}

dacapo::tasks![
    task("hooks", body)
        .max_duration(Duration::from_secs(1))
        .on_start(|ctx, told: Told| report("on-start", ctx, told, Value::Null))
        .on_success(|ctx, told: Told, output: String| report("on-success", ctx, told, json!(output)))
        .on_failure(|ctx, told: Told, failure| report("on-failure", ctx, told, failure_json(failure)))
        .on_cancel(|ctx, told: Told| report("on-cancel", ctx, told, Value::Null))
        .on_complete(|ctx, told: Told, outcome: Result<String, _>| {
            report("on-complete", ctx, told, outcome.map_or_else(failure_json, |output| json!(output)))
        }),
    task("one-hook", body).on_success(|ctx, told: Told, output: Value| report("on-success", ctx, told, output)),
    task("no-hooks", body),
];
