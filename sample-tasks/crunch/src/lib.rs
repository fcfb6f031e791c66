//! Nothing but work for the CPU: counts primes, and shows in the run's metadata how far it is.

use std::time::Duration;

use dacapo::prelude::*;

#[derive(Deserialize)]
struct Range {
    /// Primes up to this number are counted.
    limit: u32,
}

fn crunch(_: &Context, range: Range) -> Result<Value> {
    let step = (range.limit / 20).max(1);
    let mut primes = 0;
    for number in 0..=range.limit {
        primes += u32::from(is_prime(number));
        if number.is_multiple_of(step) {
            metadata::set("progress", f64::from(number) / f64::from(range.limit.max(1)))?;
            metadata::set("primes", primes)?;
        }
    }
    info!(primes = primes; "counted to {}", range.limit);
    Ok(json!({ "limit": range.limit, "primes": primes }))
}

fn is_prime(number: u32) -> bool {
    number > 1 && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}

dacapo::tasks![
    task("crunch", crunch)
        .description("Counts primes.")
        .max_duration(Duration::from_secs(300))
        .machine(Machine::Small2x),
];
