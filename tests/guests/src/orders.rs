//! A shop in three versions. It asks a site for a price, sends a mail through a child, and answers with the
//! total; version 1 cannot do refunds, 2 can, but spoils gifts, reports exports to somebody new and
//! needs more memory for parcels; 3 only does refunds.

use dacapo::prelude::*;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
    V3,
}

#[derive(Deserialize)]
pub struct Order {
    id: u32,
    /// `plain`, `refund`, `gift`, `export` or `parcel`.
    kind: String,
    /// Where prices are, and mails go.
    site: String,
}

pub fn run(version: Version, _: &Context, order: Order) -> Result<Value> {
    let Order { id, kind, site } = order;
    let price: u64 = http::get(format!("{site}/price/{id}")).send()?.text().len() as u64;
    let mail = json!({ "site": site, "text": format!("order {id} has come") });
    let sent: Value = runs::child("mail", mail).trigger_and_wait()?;
    match (kind.as_str(), version) {
        ("refund", Version::V1) => return Err(TaskError::new("NoRefunds", format!("order {id} is a refund"))),
        ("gift", Version::V2) => return Err(TaskError::new("NoGifts", format!("order {id} is a gift"))),
        ("export", Version::V2) => {
            let reported = http::post("http://customs.example/report").body(id.to_string()).send();
            info!("reported: {}", reported.is_ok());
        }
        ("parcel", Version::V2) => {
            let boxes = vec![id as u8; 32 << 20];
            info!("{} boxes", std::hint::black_box(boxes).len());
        }
        _ => {}
    }
    Ok(json!({ "id": id, "total": price * 2, "mail": sent }))
}

#[derive(Deserialize)]
pub struct Mail {
    site: String,
    text: String,
}

/// Sends a mail.
pub fn mail(_: &Context, mail: Mail) -> Result<Value> {
    let response = http::post(format!("{}/mail", mail.site)).body(mail.text).send()?;
    Ok(json!(response.status()))
}
