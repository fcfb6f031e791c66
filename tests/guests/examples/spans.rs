//! Opens spans within spans, one of which fails, and writes lines in each.

use dacapo::prelude::*;

fn spans(ctx: &Context, _: Value) -> Result<()> {
    info!(attempt = ctx.attempt.number; "before");
    let outer = span("outer").attribute("size", 3).attribute("label", "three");
    for number in 0..2 {
        let _inner = span("inner").attribute("number", number);
        debug!("order.id" = format!("A-{number}"), nested = json!({ "n": [1, 2] }); "within {number}");
    }
    let failed = span("failed").run(|| Err::<(), _>(TaskError::new("Small", "went wrong")));
    warn!("after {}", failed.unwrap_err().name);
    outer.set_attribute("size", 4);
    drop(outer);
    let _left_open = span("left open");
    trace!("a trace");
    error!("an error");
    println!("on standard output");
    eprint!("on standard error, without an end");
    Ok(())
}

dacapo::tasks![task("spans", spans)];
