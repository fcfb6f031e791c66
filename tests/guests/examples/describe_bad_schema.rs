//! Has a task whose payload schema is JSON, but no schema.

use dacapo::prelude::*;

dacapo::tasks![task("bad", |_, _: Value| Ok(())).payload_schema(r#"{"type":"numeral"}"#)];
