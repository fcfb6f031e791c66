//! Has a task whose id is empty.

use dacapo::prelude::*;

dacapo::tasks![task("", |_, _: Value| Ok(()))];
