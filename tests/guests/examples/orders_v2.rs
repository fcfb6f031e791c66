//! Version 2 of the task `order`: see `guests::orders`.

use dacapo::prelude::*;
use guests::orders::{Order, Version, mail, run};

fn order(ctx: &Context, order: Order) -> Result<Value> {
    run(Version::V2, ctx, order)
}

dacapo::tasks![task("order", order).retry(Retry::never()), task("mail", mail).retry(Retry::never()),];
