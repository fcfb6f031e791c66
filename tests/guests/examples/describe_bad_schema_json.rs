//! Has a task whose payload schema is not JSON.

use dacapo::prelude::*;

dacapo::tasks![task("bad", |_, _: Value| Ok(())).payload_schema("{")];
