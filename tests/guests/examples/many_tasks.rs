//! Three tasks: one with every option of the definition, one that shares its queue, one without
//! any.

use std::time::Duration;

use dacapo::prelude::*;

fn id(ctx: &Context, _: Value) -> Result<String> {
    Ok(ctx.task.id.clone())
}

dacapo::tasks![
    task("everything", id)
        .description("Has every option.")
        .retry(
            Retry::attempts(7)
                .factor(1.5)
                .min_delay(Duration::from_millis(250))
                .max_delay(Duration::from_secs(45))
                .randomize(true)
        )
        .queue(Queue::new("shared").concurrency_limit(2))
        .max_duration(Duration::from_secs(120))
        .ttl(Duration::from_secs(600))
        .machine(Machine::Medium1x)
        .cron(Cron::new("0 3 * * 1-5").timezone("Europe/Berlin"))
        .payload_schema(r#"{ "type": "object", "required": ["timestamp"] }"#),
    task("shares-queue", id).queue("shared").cron("*/5 * * * *").retry(Retry::never()),
    task("nothing", id),
];
