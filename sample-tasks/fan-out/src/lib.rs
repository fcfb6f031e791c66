//! Counts primes with 100 children at the same time: one batch, waited for together. The parent waits
//! without a place in its queue, and its children share a queue that runs four at once.

use dacapo::prelude::*;
use dacapo::runs::Child;

const PARTS: u64 = 100;

/// From the first number to before the second.
type Range = (u64, u64);

fn fan_out(_: &Context, limit: u64) -> Result<Value> {
    let outputs = runs::batch(ranges(limit).map(part)).trigger_and_wait::<u64>()?;

    let mut primes = 0;
    for output in outputs {
        primes += output?; // fails with the first child that did
    }
    Ok(json!({ "limit": limit, "primes": primes, "children": PARTS }))
}

fn part(range: Range) -> Child {
    // A retried attempt finds the children of the one before, and counts no part twice.
    let key = format!("{}-{}", range.0, range.1);
    runs::child("count-primes", range).idempotency_key(key).tag("part")
}

fn ranges(limit: u64) -> impl Iterator<Item = Range> {
    (0..PARTS).map(move |part| (limit * part / PARTS, limit * (part + 1) / PARTS))
}

fn count_primes(_: &Context, (from, to): Range) -> Result<u64> {
    let count = (from.max(2)..to).filter(|&number| is_prime(number)).count() as u64;
    metadata::parent().increment("done", 1.0 / PARTS as f64)?;
    Ok(count)
}

fn is_prime(number: u64) -> bool {
    (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| number % divisor != 0)
}

dacapo::tasks![
    task("fan-out", fan_out).description("Counts the primes below a limit, in 100 children."),
    task("count-primes", count_primes).queue(Queue::new("primes").concurrency_limit(4)),
];
