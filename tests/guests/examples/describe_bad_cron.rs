//! Has a task whose schedule cannot be read.

use dacapo::prelude::*;

dacapo::tasks![task("bad", |_, _: Value| Ok(())).cron("every morning")];
