//! Has a task whose retry factor is no number.

use dacapo::prelude::*;

dacapo::tasks![task("bad", |_, _: Value| Ok(())).retry(Retry::attempts(3).factor(f64::NAN))];
