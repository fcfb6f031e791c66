//! What an attempt is told about itself, and what it may use: the same for runs, hooks and replays.

mod limits;
mod settings;

use jiff::Timestamp;

pub use self::limits::{AttemptLimits, limits_of, limits_with, max_attempts, max_duration};
pub use self::settings::{Settings, SettingsCache};
use crate::api::{RUNTIME, RUNTIME_VERSION};
use crate::model::run::Run as StoredRun;
use crate::model::task::{Machine, TaskDefinition};
use crate::sandbox::context::{
    Attempt, Batch, Context, Deployment as DeploymentContext, Entry, IdempotencyKeyScope, Machine as MachineContext,
    Organization, Project, Queue, Run, Task,
};
use crate::storage::Deployment;

/// The one organisation and the one project of a server, under names that the contract's clients
/// accept.
const ORGANIZATION_ID: &str = "org_default";
const PROJECT_ID: &str = "proj_default";
const DEFAULT_SLUG: &str = "default";
const DEFAULT_NAME: &str = "Default";

/// The context of the attempt that a run is at.
pub fn context_of(
    run: &StoredRun,
    task: &TaskDefinition,
    deployment: &Deployment,
    settings: &Settings,
    limits: &AttemptLimits,
) -> Context {
    Context {
        run: run_of(run, task, deployment, limits),
        attempt: Attempt { number: run.attempt, started_at: ms(run.updated_at) },
        task: Task { id: run.task.clone(), file_path: deployment.component.clone() },
        queue: Queue { id: run.queue.clone(), name: run.queue.clone() },
        environment: settings.environment.clone(),
        organization: Organization { id: ORGANIZATION_ID.into(), slug: DEFAULT_SLUG.into(), name: DEFAULT_NAME.into() },
        project: Project {
            id: PROJECT_ID.into(),
            ref_: PROJECT_ID.into(),
            slug: DEFAULT_SLUG.into(),
            name: DEFAULT_NAME.into(),
        },
        machine: machine_of(run.machine.or(task.machine).unwrap_or_default()),
        batch: run.origin.batch.map(|batch| Batch { id: batch.to_string() }),
        deployment: Some(DeploymentContext {
            id: deployment.id.to_string(),
            short_code: deployment.short_code(),
            version: deployment.version.to_string(),
        }),
        extra: extra(),
    }
}

fn run_of(run: &StoredRun, task: &TaskDefinition, deployment: &Deployment, limits: &AttemptLimits) -> Run {
    Run {
        id: run.id.to_string(),
        tags: run.tags.clone(),
        is_test: run.is_test,
        is_replay: run.origin.is_replay,
        replayed_from: run.replay_of.map(|source| source.to_string()),
        created_at: ms(run.created_at),
        // A claim that starts a run sets both to the same moment.
        started_at: ms(run.started_at.unwrap_or(run.updated_at)),
        idempotency_key: run.idempotency_key.clone(),
        idempotency_key_scope: run.idempotency_scope.as_deref().and_then(scope_of),
        max_attempts: max_attempts(run, Some(task)),
        max_duration_seconds: u32::try_from(max_duration(run, task, limits).as_secs()).unwrap_or(u32::MAX),
        priority: run.priority_ms as f64 / 1_000.0,
        version: deployment.version.to_string(),
        parent_run_id: run.origin.parent.map(|parent| parent.to_string()),
        root_run_id: run.origin.root.map(|root| root.to_string()),
    }
}

fn scope_of(word: &str) -> Option<IdempotencyKeyScope> {
    match word {
        "run" => Some(IdempotencyKeyScope::Run),
        "attempt" => Some(IdempotencyKeyScope::Attempt),
        "global" => Some(IdempotencyKeyScope::Global),
        _ => None,
    }
}

fn machine_of(machine: Machine) -> MachineContext {
    MachineContext { name: machine.name().into(), cpu: machine.cpus(), memory: machine.memory_gib(), cents_per_ms: 0.0 }
}

/// What the contract's context has and the records of `dacapo:task@1.0.0` have not. The names are
/// documented in `wit/context.wit`.
fn extra() -> Vec<Entry> {
    let entry = |name: &str, value: serde_json::Value| Entry { name: name.into(), value: value.to_string() };
    vec![
        entry("deployment.runtime", RUNTIME.into()),
        entry("deployment.runtimeVersion", RUNTIME_VERSION.into()),
        // Nobody is billed.
        entry("run.baseCostInCents", 0.into()),
    ]
}

fn ms(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}
