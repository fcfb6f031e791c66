//! Never ends, and never calls the host.

use dacapo::prelude::*;

fn spin(_: &Context, _: Value) -> Result<u64> {
    let mut turns = 0_u64;
    while std::hint::black_box(true) {
        turns = turns.wrapping_add(1);
    }
    Ok(turns)
}

dacapo::tasks![task("spin", spin)];
