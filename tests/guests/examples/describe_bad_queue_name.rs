//! Has a task whose queue has a name of which nothing is left.

use dacapo::prelude::*;

dacapo::tasks![task("bad", |_, _: Value| Ok(())).queue("!?")];
