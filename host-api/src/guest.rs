//! What a component exports: the types of the WIT interface `guest`.
//!
//! They come from the guest, so nothing in them has been checked.

pub use crate::generated::exports::dacapo::task::guest::{
    Cron, MachinePreset, QueueDefinition, RetryDecision, RetryPolicy, TaskDefinition, TaskError,
};
