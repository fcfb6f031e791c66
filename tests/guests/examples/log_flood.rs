//! Writes `lines` lines of `bytes` letters: half to the log, half to standard output and error.

use dacapo::prelude::*;

#[derive(Deserialize)]
struct Flood {
    lines: usize,
    bytes: usize,
}

fn log_flood(_: &Context, flood: Flood) -> Result<usize> {
    let line = "x".repeat(flood.bytes);
    for number in 0..flood.lines {
        match number % 4 {
            0 | 1 => info!(number = number; "{line}"),
            2 => println!("{line}"),
            _ => eprintln!("{line}"),
        }
    }
    Ok(flood.lines)
}

dacapo::tasks![task("log-flood", log_flood)];
