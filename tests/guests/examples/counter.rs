//! Counts its calls in a `static`: always 1, since every attempt has a fresh instance.

use std::sync::atomic::{AtomicU32, Ordering};

use dacapo::prelude::*;

static CALLS: AtomicU32 = AtomicU32::new(0);

dacapo::tasks![task("counter", |_, _: Value| Ok(CALLS.fetch_add(1, Ordering::Relaxed) + 1))];
