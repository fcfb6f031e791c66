//! What a run can know about itself: the types of the WIT interface `context`.
//!
//! The embedder fills them in; nothing here interprets them.

pub use crate::generated::dacapo::task::context::{
    Attempt, Batch, Context, Deployment, Environment, EnvironmentKind, IdempotencyKeyScope, Machine, Organization,
    Project, Queue, Run, Task,
};
pub use crate::generated::dacapo::task::types::Entry;
