//! What a new version would have done with old inputs, and how that differs from what was done then.
//!
//! [`replay`] executes an old input in the sandbox: no effect leaves it, and what the guest asks for
//! is answered from what the run was answered then, which [`source`] knows. [`jobs`] has the verbs:
//! one run, or many; [`policy`] decides what a version must stand before it is made current. Runs that it
//! triggers are answered from there as well, or executed in their turn: [`children`].
//!
//! [`rerun`] executes a run again as it was, on its own version; [`mod@file`] takes one to another machine; [`forward`] lets
//! a failed one go on live, from where it failed. [`calls`] lists what a run has asked for.
//!
//! [`compare`] decides what differs and what it comes to, as [`rules`] tell it to look; [`report`] writes it
//! down. These three are pure: no clock, no I/O, no `async`.

mod beside;
mod calls;
pub mod children;
pub mod compare;
mod door;
pub mod file;
pub mod forward;
mod gate;
pub mod jobs;
pub mod judge;
pub mod noise;
mod opened;
mod plan;
pub mod policy;
pub mod replay;
pub mod report;
pub mod rerun;
pub mod rules;
mod services;
mod shown;
pub mod source;
mod steps;
pub mod stored;
pub mod stubs;

/// Most replays at a time. They have places of their own, and take none from runs.
pub const MAX_CONCURRENT_REPLAYS: u32 = 16;
/// Most requests at a time that only look at recordings.
pub const MAX_CONCURRENT_READERS: usize = 2;
/// Most guests of replays at a time: one each, and the runs that it triggers, one within the other.
pub const MAX_GUESTS: u32 = MAX_CONCURRENT_REPLAYS * (1 + children::MAX_DEPTH);
