//! What an attempt may use: what its run says, else its task, else the server.

use std::time::Duration;

use crate::model::run::Run;
use crate::model::task::{Machine, TaskDefinition};
use crate::sandbox;

/// What the server gives where neither run nor task say.
#[derive(Debug, Clone, Copy)]
pub struct AttemptLimits {
    /// CPU time of an attempt whose task does not say.
    pub default_max_duration: Duration,
    /// Wall time of an attempt beyond its CPU time: how long it may wait in host calls.
    pub max_host_wait: Duration,
    /// Files of an attempt.
    pub scratch_bytes: u64,
}

/// Attempts in all: the run's own number, else the policy's.
pub fn max_attempts(run: &Run, task: Option<&TaskDefinition>) -> u32 {
    let policy = task.and_then(|task| task.retry.clone()).unwrap_or_default();
    run.max_attempts.unwrap_or(policy.max_attempts)
}

/// The CPU time of an attempt.
pub fn max_duration(run: &Run, task: &TaskDefinition, limits: &AttemptLimits) -> Duration {
    let seconds = run.max_duration_seconds.or(task.max_duration_seconds);
    seconds.map_or(limits.default_max_duration, |seconds| Duration::from_secs(seconds.into()))
}

/// What an attempt of a run may use.
pub fn limits_of(run: &Run, task: &TaskDefinition, limits: &AttemptLimits) -> sandbox::Limits {
    limits_with(run.machine, max_duration(run, task, limits), task, limits)
}

/// What an attempt may use on a machine, or else on the task's, with this CPU time. A machine that nobody named gives its memory, and does not hold back: it is
/// not what anyone chose.
pub fn limits_with(
    machine: Option<Machine>,
    cpu: Duration,
    task: &TaskDefinition,
    limits: &AttemptLimits,
) -> sandbox::Limits {
    let machine = machine.or(task.machine);
    let whole_core = sandbox::Limits::default().millicores;
    let millicores = machine.map_or(whole_core, |machine| machine.millicores().min(whole_core));
    sandbox::Limits {
        memory_bytes: machine.unwrap_or_default().memory_bytes(),
        cpu,
        millicores,
        wall: cpu * whole_core / millicores + limits.max_host_wait,
        scratch_bytes: limits.scratch_bytes,
        ..sandbox::Limits::default()
    }
}
