//! A drip sequence: e-mails with days between them. Each is sent by a child under an idempotency key,
//! so that a retried attempt does not send it again; who unsubscribes meanwhile ends the sequence by
//! completing a token.

use std::time::Duration;

use dacapo::prelude::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Days to wait, and what is sent then.
const SEQUENCE: [(u32, &str); 3] = [(0, "welcome"), (1, "first-steps"), (3, "offer")];

#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Mail {
    address: String,
    /// Takes e-mails as `{to, template}`. Without one they are only written to the log.
    mailer: Option<String>,
    template: Option<String>,
}

fn drip(ctx: &Context, customer: Mail) -> Result<Value> {
    let unsubscribed = tokens::token().idempotency_key(format!("drip-{}", ctx.run.id)).create()?;
    metadata::set("unsubscribe", &unsubscribed.id)?;
    let mut unsubscribed = unsubscribed.pending::<()>();

    for (sent, (days, template)) in SEQUENCE.into_iter().enumerate() {
        unsubscribed = match unsubscribed.within(DAY * days) {
            Ok(_) => return Ok(json!({ "sent": sent, "unsubscribed": true })),
            Err(pending) => pending,
        };
        let mail = Mail { template: Some(template.into()), ..customer.clone() };
        runs::child("send-mail", mail).idempotency_key(template).trigger_and_wait::<()>()?;
        metadata::append("sent", template)?;
    }
    Ok(json!({ "sent": SEQUENCE.len(), "unsubscribed": false }))
}

fn send_mail(_: &Context, mail: Mail) -> Result<()> {
    info!(template = mail.template; "sending to {}", mail.address);
    if let Some(url) = &mail.mailer {
        let body = json!({ "to": mail.address, "template": mail.template });
        http::post(url).json(body).send()?.error_for_status()?;
    }
    Ok(())
}

dacapo::tasks![
    task("drip", drip).description("Sends three e-mails in four days."),
    task("send-mail", send_mail).retry(Retry::attempts(5).max_delay(Duration::from_secs(60))),
];
