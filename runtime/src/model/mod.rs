//! What Dacapo decides, as pure functions over plain values.
//!
//! Nothing here reads a clock, touches a file, waits, or knows JSON, SQL or WebAssembly: time and
//! chance are arguments. Start with [`run`] (what can happen to a run) and [`attempt`] (what follows when it is tried).

pub mod admission;
pub mod attempt;
pub mod batch;
pub mod branch;
pub mod bulk;
pub mod digest;
pub mod duration;
pub mod egress;
pub mod id;
pub mod limits;
pub mod retry;
pub mod run;
pub mod schedule;
pub mod scope;
pub mod task;
pub mod version;
pub mod waitpoint;

pub use jiff::Timestamp;
