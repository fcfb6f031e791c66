//! Imports orders, and fails on 6 of the 20 in `../orders.json`: deploy `order-importer-v2`, which
//! has the same task, and replay them.

use dacapo::prelude::*;

#[derive(Deserialize)]
struct Order {
    id: String,
    currency: String,
    items: Vec<Item>,
    coupon: Option<String>,
    address: Address,
}

#[derive(Deserialize)]
struct Item {
    sku: String,
    quantity: i64,
    price: Value,
}

#[derive(Deserialize)]
struct Address {
    country: String,
}

fn import_order(ctx: &Context, order: Order) -> Result<Value> {
    let Order { id, currency, .. } = &order;
    if !["EUR", "USD", "GBP"].contains(&currency.as_str()) {
        let message = format!("no prices in {currency}");
        return Err(TaskError::new("UnknownCurrency", message));
    }
    let mut total = 0;
    for item in &order.items {
        debug!(sku = item.sku, quantity = item.quantity; "importing an item");
        total += item.quantity * cents(&item.price)?;
    }
    total -= total * order.coupon.as_deref().map_or(0, discount) / 100;
    info!(order = id, total_cents = total, attempt = ctx.attempt.number; "imported {id}");
    let country = &order.address.country;
    Ok(json!({ "order": id, "currency": currency, "totalCents": total, "country": country }))
}

/// A price, a number or a text, in cents.
fn cents(price: &Value) -> Result<i64> {
    let amount = match price {
        Value::String(text) => text.parse()?,
        other => other.as_f64().unwrap_or_default(),
    };
    Ok((amount * 100.0).round() as i64)
}

/// The percentage at the end of a coupon: 10 for `SPRING10`.
fn discount(coupon: &str) -> i64 {
    let percentage = &coupon[coupon.len() - 2..];
    percentage.parse().expect("a coupon ends with a percentage")
}

dacapo::tasks![task("import-order", import_order).retry(Retry::attempts(2))];
