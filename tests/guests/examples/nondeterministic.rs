//! Behaves differently when it is brought back: decides by when a file of its own was written, which is
//! no answer that the host keeps. `{"differ": "call" | "argument", "waitMs": 5}`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dacapo::prelude::*;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct How {
    differ: String,
    wait_ms: u64,
}

fn nondeterministic(_: &Context, how: How) -> Result<()> {
    std::fs::write("/scratch/file", "")?;
    let written = std::fs::metadata("/scratch/file")?.modified()?.duration_since(UNIX_EPOCH)?.subsec_nanos();
    match how.differ.as_str() {
        // Asks one clock or the other, in an order that is hardly the same twice.
        "call" => (0..32).for_each(|bit| {
            if written.rotate_left(bit) & 1 == 0 {
                std::hint::black_box(Instant::now());
            } else {
                std::hint::black_box(SystemTime::now());
            }
        }),
        "argument" => drop(runs::child("echo", written).trigger()?),
        _ => return Err(TaskError::new("Unknown", how.differ).abort()),
    }
    wait::sleep(Duration::from_millis(how.wait_ms));
    Ok(())
}

fn echo(_: &Context, value: Value) -> Result<Value> {
    Ok(value)
}

dacapo::tasks![task("nondeterministic", nondeterministic), task("echo", echo)];
