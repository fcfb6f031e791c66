//! A payload schema: an object with an integer `n`. Returns `n + 1`.

use dacapo::prelude::*;

#[derive(Deserialize)]
struct Numbered {
    n: i64,
}

dacapo::tasks![task("schema", |_, payload: Numbered| Ok(payload.n + 1)).payload_schema(
    r#"{
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": { "n": { "type": "integer" } },
            "required": ["n"]
        }"#
),];
