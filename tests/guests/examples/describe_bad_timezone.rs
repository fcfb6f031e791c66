//! Has a task whose time zone does not exist.

use dacapo::prelude::*;

dacapo::tasks![task("bad", |_, _: Value| Ok(())).cron(Cron::new("0 3 * * *").timezone("Mars/Olympus"))];
