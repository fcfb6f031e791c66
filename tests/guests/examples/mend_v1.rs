//! Asks for a price, then sends a mail; has a bug with gifts. Version 1.

use dacapo::prelude::*;

#[derive(Deserialize)]
struct Order {
    kind: String,
    price: String,
    mail: String,
}

fn order(ctx: &Context, order: Order) -> Result<Value> {
    metadata::set("began", true)?;
    let key = std::env::var("PRICE_KEY").unwrap_or_default();
    let price = http::get(order.price).header("x-api-key", key).send()?.text();
    metadata::set("price", &price)?;
    if order.kind == "gift" {
        panic!("no idea what a gift costs");
    }
    http::post(order.mail).body(format!("that is {price}")).send()?;
    Ok(json!({ "price": price, "run": ctx.run.id, "version": 1 }))
}

dacapo::tasks![task("mend", order)];
