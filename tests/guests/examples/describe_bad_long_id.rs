//! Has a task whose id is one character too long.

use dacapo::prelude::*;

dacapo::tasks![task(&"x".repeat(129), |_, _: Value| Ok(()))];
