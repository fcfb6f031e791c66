//! Sleeps for `ms` milliseconds: waits in the host, uses no CPU time.

use std::time::Duration;

use dacapo::prelude::*;

#[derive(Deserialize)]
struct Sleep {
    ms: u64,
}

fn sleep(_: &Context, sleep: Sleep) -> Result<u64> {
    std::thread::sleep(Duration::from_millis(sleep.ms));
    Ok(sleep.ms)
}

dacapo::tasks![task("sleep", sleep)];
