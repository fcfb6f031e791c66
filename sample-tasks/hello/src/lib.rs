//! The smallest task: a typed payload, a log line, an output.

use dacapo::prelude::*;

#[derive(Deserialize)]
struct Greeting {
    name: String,
}

fn hello(ctx: &Context, greeting: Greeting) -> Result<String> {
    info!(run = ctx.run.id; "greeting {}", greeting.name);
    Ok(format!("Hello, {}!", greeting.name))
}

dacapo::tasks![task("hello", hello)];
