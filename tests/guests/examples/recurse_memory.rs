//! Calls itself `depth` times, without a payload for ever, and keeps its variables in linear memory: it
//! runs out of the stack there (an access out of bounds) before the call stack is full.

use dacapo::prelude::*;

#[inline(never)]
fn deeper(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 8]);
    if depth == 0 { 0 } else { deeper(depth - 1).wrapping_add(std::hint::black_box(frame)[7]) }
}

fn recurse_memory(_: &Context, depth: Option<u64>) -> Result<u64> {
    Ok(deeper(depth.unwrap_or(u64::MAX)))
}

dacapo::tasks![task("recurse-memory", recurse_memory)];
