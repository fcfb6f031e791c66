//! Has a task that may not use any CPU time.

use dacapo::prelude::*;

dacapo::tasks![task("bad", |_, _: Value| Ok(())).max_duration(std::time::Duration::ZERO)];
