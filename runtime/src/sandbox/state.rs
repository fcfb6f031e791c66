//! What the store of one guest holds.

use dacapo_host_api::{TaskCtx, TaskView};

use super::memory::Memory;

/// The host's side of a guest.
pub(super) struct State {
    pub(super) task: TaskCtx,
    pub(super) memory: Memory,
}

impl TaskView for State {
    fn task(&mut self) -> &mut TaskCtx {
        &mut self.task
    }
}
