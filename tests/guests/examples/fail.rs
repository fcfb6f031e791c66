//! Always fails, in the way the payload says: `{"name", "message", "retry"}`, where `retry` is
//! `"policy"`, `"never"` or `{"afterMs": n}`.

use std::time::Duration;

use dacapo::prelude::*;

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Failure {
    name: String,
    message: String,
    retry: Decision,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum Decision {
    Policy,
    Never,
    #[serde(untagged, rename_all = "camelCase")]
    After {
        after_ms: u64,
    },
}

impl Default for Failure {
    fn default() -> Self {
        Self { name: "Failure".into(), message: "failed as told".into(), retry: Decision::Policy }
    }
}

fn fail(_: &Context, failure: Option<Failure>) -> Result<()> {
    let failure = failure.unwrap_or_default();
    let error = TaskError::new(failure.name, failure.message);
    Err(match failure.retry {
        Decision::Policy => error,
        Decision::Never => error.abort(),
        Decision::After { after_ms } => error.retry_after(Duration::from_millis(after_ms)),
    })
}

dacapo::tasks![task("fail", fail).retry(
    Retry::attempts(3).min_delay(Duration::from_millis(20)).max_delay(Duration::from_millis(50)).randomize(false)
),];
