//! Hooks: what the server calls around a run. Those of the end are called for every end, also of a run
//! that was canceled in its queue, or that crashed, so that what was reserved is always given back.

use dacapo::prelude::*;
use dacapo::runs::RunFailure;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Booking {
    seat: String,
    cents: i64,
    /// Where seats are reserved and given back. Without one that is only written to the log.
    seats: Option<String>,
}

fn book(_: &Context, booking: Booking) -> Result<String> {
    if booking.cents < 0 {
        return Err(TaskError::new("InvalidAmount", format!("{} is no amount", booking.cents)).abort());
    }
    Ok(format!("ticket for {}", booking.seat))
}

fn reserve(ctx: &Context, booking: Booking) -> Result<()> {
    tell(ctx, &booking, "reserve")
}

fn confirm(ctx: &Context, booking: Booking, ticket: String) -> Result<()> {
    info!("sold a {ticket}");
    tell(ctx, &booking, "confirm")
}

fn give_back(ctx: &Context, booking: Booking, failure: &RunFailure) -> Result<()> {
    warn!("giving {} back: {failure}", booking.seat);
    tell(ctx, &booking, "give-back")
}

/// A hook may be called twice, after a crash of the server: the run's id tells the service so.
fn tell(ctx: &Context, booking: &Booking, what: &str) -> Result<()> {
    info!(run = ctx.run.id; "{what} {}", booking.seat);
    if let Some(url) = &booking.seats {
        let body = json!({ "seat": booking.seat, "do": what, "for": ctx.run.id });
        http::post(url).json(body).send()?.error_for_status()?;
    }
    Ok(())
}

dacapo::tasks![
    task("book", book)
        .description("Books a seat, and gives it back whatever goes wrong.")
        .on_start(reserve)
        .on_success(confirm)
        .on_failure(give_back)
        .on_cancel(|ctx, booking| tell(ctx, &booking, "give-back"))
        .on_complete(|_, booking: Booking, outcome: Result<Value, _>| {
            info!(booked = outcome.is_ok(); "done with {}", booking.seat);
            Ok(())
        }),
];
