//! Returns the payload and what the context says, with the version 2 of its code.

use dacapo::prelude::*;

fn echo(ctx: &Context, payload: Value) -> Result<Value> {
    Ok(json!({
        "version": 2,
        "payload": payload,
        "ctx": {
            "runId": ctx.run.id,
            "isReplay": ctx.run.is_replay,
            "replayedFrom": ctx.run.replayed_from,
            "attempt": ctx.attempt.number,
            "version": ctx.run.version,
            "tags": ctx.run.tags,
            "environment": ctx.environment.slug,
            "task": ctx.task.id,
            "queue": ctx.queue.name,
            "runtime": ctx.extra::<String>("deployment.runtime"),
            "runtimeVersion": ctx.extra::<String>("deployment.runtimeVersion"),
            "baseCostInCents": ctx.extra::<f64>("run.baseCostInCents"),
            "unknown": ctx.extra::<Value>("run.unknown"),
        },
    }))
}

dacapo::tasks![task("echo", echo)];
