//! Fails until the attempt that the payload names: `{"succeedOn": n}`.

use std::time::Duration;

use dacapo::prelude::*;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Flaky {
    succeed_on: u32,
}

fn flaky(ctx: &Context, flaky: Flaky) -> Result<u32> {
    if ctx.attempt.number < flaky.succeed_on {
        let message = format!("attempt {} fails", ctx.attempt.number);
        return Err(TaskError::new("Flaky", message));
    }
    Ok(ctx.attempt.number)
}

dacapo::tasks![task("flaky", flaky).retry(
    Retry::attempts(5).min_delay(Duration::from_millis(20)).max_delay(Duration::from_millis(50)).randomize(false)
),];
