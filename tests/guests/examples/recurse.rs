//! Calls itself `depth` times; without a payload, for ever. Its variables are not in linear memory,
//! so that it is the call stack that overflows (see `recurse_memory.rs` for the other one).

use dacapo::prelude::*;

#[inline(never)]
fn deeper(depth: u64) -> u64 {
    if depth == 0 {
        return 0;
    }
    // Two operations after the call: nothing that an optimiser could make a loop of.
    (deeper(depth - 1).wrapping_mul(31) ^ depth).rotate_left(7)
}

fn recurse(_: &Context, depth: Option<u64>) -> Result<u64> {
    Ok(deeper(depth.unwrap_or(u64::MAX)))
}

dacapo::tasks![task("recurse", recurse)];
