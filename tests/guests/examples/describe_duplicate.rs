//! Has two tasks of the same id.

use dacapo::prelude::*;

dacapo::tasks![task("twin", |_, _: Value| Ok(1)), task("twin", |_, _: Value| Ok(2))];
