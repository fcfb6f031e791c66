//! Returns a text of `bytes` letters.

use dacapo::prelude::*;

#[derive(Deserialize)]
struct Size {
    bytes: usize,
}

dacapo::tasks![task("huge-output", |_, size: Size| Ok("x".repeat(size.bytes)))];
