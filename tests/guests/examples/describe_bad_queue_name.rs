//! Has a task whose queue has a name that is not allowed.

use dacapo::prelude::*;

dacapo::tasks![task("bad", |_, _: Value| Ok(())).queue("e-mails, please!")];
