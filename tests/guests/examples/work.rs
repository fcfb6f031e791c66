//! Uses the CPU for `ms` milliseconds, then returns how many turns it made.

use std::time::{Duration, Instant};

use dacapo::prelude::*;

#[derive(Deserialize)]
struct Work {
    ms: u64,
}

fn work(_: &Context, work: Work) -> Result<u64> {
    let start = Instant::now();
    let mut turns = 0_u64;
    while start.elapsed() < Duration::from_millis(work.ms) {
        for _ in 0..10_000 {
            turns = std::hint::black_box(turns + 1);
        }
    }
    Ok(turns)
}

dacapo::tasks![task("work", work)];
