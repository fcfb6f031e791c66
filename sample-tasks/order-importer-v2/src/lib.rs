//! Imports orders: the version that copes with all of `../orders.json`, the six on which
//! `order-importer-v1` fails included.

use dacapo::prelude::*;

#[derive(Deserialize)]
struct Order {
    id: String,
    currency: String,
    items: Vec<Item>,
    coupon: Option<String>,
    address: Option<Address>, // absent where the customer collects the order
}

#[derive(Deserialize)]
struct Item {
    sku: String,
    quantity: Value,
    price: Value,
}

#[derive(Deserialize)]
struct Address {
    country: String,
}

fn import_order(ctx: &Context, order: Order) -> Result<Value> {
    let mut total = 0;
    for item in &order.items {
        debug!(sku = item.sku, quantity = item.quantity; "importing an item");
        total += hundredths(&item.quantity)? / 100 * hundredths(&item.price)?;
    }
    let Order { id, currency, .. } = &order;
    total -= total * order.coupon.as_deref().map_or(0, discount) / 100;
    info!(order = id, total_cents = total, attempt = ctx.attempt.number; "imported {id}");
    let country = order.address.as_ref().map(|address| &address.country);
    Ok(json!({ "order": id, "currency": currency, "totalCents": total, "country": country }))
}

/// A number, or a text as people write one (`1,299.00`, `12,50`), in hundredths.
fn hundredths(number: &Value) -> Result<i64> {
    let text = number.as_str().map_or(number.to_string(), str::to_owned);
    let (whole, fraction) = match text.rfind(['.', ',']) {
        Some(mark) if text.len() - mark <= 3 => (&text[..mark], &text[mark + 1..]),
        _ => (text.as_str(), ""),
    };
    let digits = whole.replace(['.', ',', ' ', '\''], "") + &format!("{fraction:0<2}");
    digits.parse().map_err(|_| TaskError::new("InvalidNumber", format!("{text:?} is no number")).abort())
}

/// The percentage at the end of a coupon: 10 for `SPRING10`, 0 for `FREESHIP`.
fn discount(coupon: &str) -> i64 {
    let name = coupon.trim_end_matches(|c: char| c.is_ascii_digit());
    coupon[name.len()..].parse().unwrap_or(0)
}

dacapo::tasks![task("import-order", import_order).retry(Retry::attempts(2))];
