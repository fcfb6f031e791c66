//! Asks for a price, then sends a mail; knows gifts. With `early`, the mail comes first. Version 2.

use dacapo::prelude::*;

#[derive(Deserialize)]
struct Order {
    kind: String,
    price: String,
    mail: String,
    #[serde(default)]
    early: bool,
}

fn order(ctx: &Context, order: Order) -> Result<Value> {
    metadata::set("began", true)?;
    if order.early {
        http::post(&order.mail).body("soon").send()?;
    }
    let key = std::env::var("PRICE_KEY").unwrap_or_default();
    let price = http::get(order.price).header("x-api-key", key).send()?.text();
    metadata::set("price", &price)?;
    if order.kind == "lost" {
        return Err(TaskError::new("Lost", "nobody knows").abort());
    }
    let price = if order.kind == "gift" { "nothing".to_owned() } else { price };
    http::post(order.mail).body(format!("that is {price}")).send()?;
    Ok(json!({ "price": price, "run": ctx.run.id, "version": 2 }))
}

dacapo::tasks![task("mend", order).retry(Retry::attempts(3))];
