//! Runs that trigger runs: `fan-out` a batch of `unit`s, `tree` children of its own kind, `fire` some
//! that nobody waits for, `join` two children and a moment at once.

use std::time::Duration;

use dacapo::prelude::*;

/// Returns the number; fails for a negative one, after having waited `waitMs`.
fn unit(ctx: &Context, Unit { n, wait_ms }: Unit) -> Result<Value> {
    if wait_ms > 0 {
        wait::sleep(Duration::from_millis(wait_ms));
    }
    metadata::parent().increment("units", 1)?;
    if n < 0 {
        return Err(TaskError::new("Negative", format!("{n} is less than 0")).abort());
    }
    Ok(json!({ "n": n, "parent": ctx.run.parent_run_id, "root": ctx.run.root_run_id, "version": ctx.run.version }))
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Unit {
    n: i64,
    #[serde(default)]
    wait_ms: u64,
}

/// One batch of units; returns the sum of their numbers, and the errors.
fn fan_out(_: &Context, numbers: Vec<i64>) -> Result<Value> {
    let units = numbers.into_iter().map(|n| Unit { n, wait_ms: 0 });
    let (mut sum, mut errors) = (0, Vec::new());
    for output in runs::batch_trigger_and_wait::<Value>("unit", units)? {
        match output {
            Ok(output) => sum += output["n"].as_i64().unwrap_or_default(),
            Err(error) => errors.push(error.failure().map(ToString::to_string)),
        }
    }
    Ok(json!({ "sum": sum, "errors": errors }))
}

/// Counts the leaves of a tree of runs that is so deep and has so many branches at each.
fn tree(_: &Context, (depth, branches): (u32, u32)) -> Result<u64> {
    if depth == 0 {
        return Ok(1);
    }
    metadata::root().increment("nodes", 1)?;
    let children: Vec<_> = (0..branches).map(|_| runs::child("tree", (depth - 1, branches)).start::<u64>()).collect();
    wait::all(children).into_iter().try_fold(0, |sum, leaves| Ok(sum + leaves?))
}

/// Triggers so many units, one by one and as a batch, and returns their ids without waiting.
fn fire(_: &Context, count: i64) -> Result<Vec<String>> {
    let alone = runs::child("unit", Unit { n: 0, wait_ms: 0 }).tag("alone").trigger()?;
    let batch = runs::batch((0..count).map(|n| runs::child("unit", Unit { n, wait_ms: 0 }).tag("batch"))).trigger()?;
    Ok([alone].into_iter().chain(batch.runs).map(|run| run.id).collect())
}

/// Waits for two children and a moment at the same time.
fn join(_: &Context, wait_ms: u64) -> Result<Value> {
    let first = runs::child("unit", Unit { n: 1, wait_ms }).start::<Value>();
    let second = runs::child("unit", Unit { n: 2, wait_ms }).start::<Value>();
    let (first, second, ()) = wait::all((first, second, wait::after(Duration::from_millis(wait_ms))));
    Ok(json!([first?["n"], second?["n"]]))
}

/// Waits for a child that fails, as `?` does it.
fn fails_with_its_child(_: &Context, _: Value) -> Result<()> {
    runs::trigger_and_wait::<()>("unit", Unit { n: -1, wait_ms: 0 })?;
    Ok(())
}

dacapo::tasks![
    task("unit", unit).retry(Retry::never()),
    task("fan-out", fan_out),
    task("tree", tree),
    task("fire", fire),
    task("join", join),
    task("fails-with-its-child", fails_with_its_child).retry(Retry::never()),
];
