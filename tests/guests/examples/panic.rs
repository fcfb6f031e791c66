//! Panics, with the payload as the message.

use dacapo::prelude::*;

fn panic(_: &Context, message: Option<String>) -> Result<()> {
    panic!("{}", message.unwrap_or("at the disco".into()))
}

dacapo::tasks![task("panic", panic)];
