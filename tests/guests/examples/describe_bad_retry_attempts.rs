//! Has a task of which no attempt would be made.

use dacapo::prelude::*;

dacapo::tasks![task("bad", |_, _: Value| Ok(())).retry(Retry::attempts(0))];
