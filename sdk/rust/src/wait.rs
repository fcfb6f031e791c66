//! Waiting for what takes long: a moment, a wait token, other runs.
//!
//! A run that waits here costs nothing: it gives its place in its queue away, its memory may be
//! dropped, and its server may be stopped. It goes on exactly where it was. See
//! [Waiting](crate#waiting) for what a task must not do for that.
//!
//! ```
//! use dacapo::prelude::*;
//! use std::time::Duration;
//!
//! fn remind(_: &Context, address: String) -> Result<()> {
//!     http::post("https://mail.example/welcome").json(&address).send()?;
//!     wait::sleep(Duration::from_secs(3 * 24 * 3600));
//!     http::post("https://mail.example/remind").json(&address).send()?;
//!     Ok(())
//! }
//! ```
//!
//! # Several things at once
//!
//! What is waited for is a [`Pending`]: made by [`after`], [`at`] and [`for_token`], by
//! [`Child::start`](crate::runs::Child::start) and by [`Batch::start`](crate::runs::Batch::start).
//! Any number of them can be outstanding.
//!
//! ```no_run
//! use dacapo::prelude::*;
//! use std::time::Duration;
//!
//! fn order(_: &Context, id: u64) -> Result<()> {
//!     let invoice = runs::child("invoice", id).start::<String>();
//!     let parcel = runs::child("parcel", id).start::<u32>();
//!     let (invoice, parcel) = wait::all((invoice, parcel)); // both run at the same time
//!     info!("invoice {}, {} g", invoice?, parcel?);
//!
//!     let approval = tokens::token().create()?.pending::<bool>();
//!     match approval.within(Duration::from_secs(3600)) {
//!         Ok(approved) => info!("approved: {}", approved?),
//!         Err(_still_pending) => warn!("nobody answered within the hour"),
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Waiting once
//!
//! A retried attempt does everything again, and waits again, but for what an idempotency key guards; see
//! [`once()`].
//!
//! # Tests
//!
//! Outside a component, in a unit test for example, no time passes: every moment is there at once.
//! There are no tokens and no other runs; asking for them gives an error that says so.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;

use crate::bindings::dacapo::task::wait as wit;
use crate::task::milliseconds;

mod error;
mod join;
mod once;
mod pending;

pub use error::WaitError;
pub use join::{All, Each, all, any, each};
pub use once::{Once, once};
pub use pending::Pending;
pub(crate) use pending::unexpected;

/// Waits for a length of time.
///
/// Not the same as [`std::thread::sleep`], which keeps the run's place in its queue and its memory.
pub fn sleep(length: Duration) {
    after(length).wait();
}

/// Waits until a moment; not at all, where that has passed.
pub fn until(moment: SystemTime) {
    at(moment).wait();
}

/// Waits until a wait token is completed, and reads the value that it was completed with (`()` or
/// `Option` where there may be none).
pub fn token<T: DeserializeOwned + 'static>(id: &str) -> Result<T, WaitError> {
    for_token(id).wait()
}

/// There after a length of time, counted from now.
pub fn after(length: Duration) -> Pending<()> {
    Pending::of_host(|| wit::after(milliseconds(length)), |_| ())
}

/// There at a moment; at once, where that has passed.
pub fn at(moment: SystemTime) -> Pending<()> {
    Pending::of_host(|| wit::until(instant(moment)), |_| ())
}

/// There when a wait token was completed, or its time is over, or it turns out that there is none.
pub fn for_token<T: DeserializeOwned + 'static>(id: &str) -> Pending<Result<T, WaitError>> {
    if cfg!(not(target_arch = "wasm32")) {
        return Pending::ready(Err(WaitError::NoSuchToken("there are no tokens outside a component".into())));
    }
    match wit::token(id) {
        Ok(raw) => Pending::of_host(|| raw, error::read_token),
        Err(reason) => Pending::ready(Err(WaitError::NoSuchToken(reason))),
    }
}

/// A moment as the WIT counts it.
pub(crate) fn instant(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).map_or(0, milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_passes_outside_a_component() {
        sleep(Duration::from_secs(365 * 24 * 3600));
        until(UNIX_EPOCH + Duration::from_secs(1 << 40));
    }

    #[test]
    fn there_are_no_tokens_outside_a_component() {
        let error = token::<bool>("waitpoint_1").expect_err("there is none");
        assert!(matches!(error, WaitError::NoSuchToken(_)), "{error}");
    }

    #[test]
    fn a_moment_is_counted_in_milliseconds() {
        assert_eq!(instant(UNIX_EPOCH + Duration::from_millis(1_500)), 1_500);
        assert_eq!(instant(UNIX_EPOCH - Duration::from_secs(1)), 0);
    }
}
