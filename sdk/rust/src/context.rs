//! What a run can know about itself.
//!
//! Plain values, fixed when the attempt starts. Every type here implements [`Default`] and is
//! `#[non_exhaustive]`, so that a test of a task can begin with `Context::default()` and later
//! versions can add fields:
//!
//! ```
//! use dacapo::Context;
//!
//! let mut ctx = Context::default();
//! ctx.attempt.number = 2;
//! assert!(!ctx.run.is_replay);
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::bindings::dacapo::task::context as wit;

/// What a task is told about the run it is part of.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Context {
    /// The run: one triggering of the task.
    pub run: Run,
    /// The attempt: one execution of the run.
    pub attempt: Attempt,
    /// The task.
    pub task: Task,
    /// The queue that the run came through.
    pub queue: Queue,
    /// Where the run belongs: development, production, …
    pub environment: Environment,
    /// The owner of the project.
    pub organization: Organization,
    /// The project that the task belongs to.
    pub project: Project,
    /// The memory and the CPUs that the attempt has.
    pub machine: Machine,
    /// The batch that the run was triggered with.
    pub batch: Option<Batch>,
    /// The deployment that the task's code comes from.
    pub deployment: Option<Deployment>,
    /// What the server says beyond all this: dotted names, JSON texts. See [`Context::extra`].
    pub extra: BTreeMap<String, String>,
}

impl Context {
    /// What the server says under one of the names that the WIT interface `context` lists, or a
    /// newer server adds; `None` where it says nothing, or something that is not a `T`.
    ///
    /// ```
    /// # let ctx = dacapo::Context::default();
    /// let runtime: Option<String> = ctx.extra("deployment.runtime");
    /// ```
    pub fn extra<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.extra.get(name)?).ok()
    }
}

/// One triggering of a task.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Run {
    /// `run_…`
    pub id: String,
    /// The tags it was triggered with.
    pub tags: Vec<String>,
    /// Whether it was triggered as a test.
    pub is_test: bool,
    /// Whether it does again what an earlier run did. Guard with it what must not happen twice:
    /// an e-mail, a payment.
    pub is_replay: bool,
    /// The id of the run that this one replays.
    pub replayed_from: Option<String>,
    /// When it was triggered, in milliseconds since 1970-01-01T00:00:00Z.
    pub created_at_ms: u64,
    /// When its first attempt started, in milliseconds since 1970-01-01T00:00:00Z.
    pub started_at_ms: u64,
    /// The idempotency key as the caller gave it.
    pub idempotency_key: Option<String>,
    /// Within what the key is unique.
    pub idempotency_key_scope: Option<IdempotencyKeyScope>,
    /// Attempts in all, the first included.
    pub max_attempts: u32,
    /// The most CPU time that an attempt may use.
    pub max_duration: Duration,
    /// Head start in the queue, in seconds.
    pub priority: f64,
    /// The deployed version that runs, for example `20261121.1`.
    pub version: String,
    /// The run that triggered this one.
    pub parent_run_id: Option<String>,
    /// The first run of the family.
    pub root_run_id: Option<String>,
}

/// Within what an idempotency key is unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdempotencyKeyScope {
    /// Within the run that triggered.
    Run,
    /// Within the attempt that triggered.
    Attempt,
    /// Within the environment.
    Global,
}

/// One execution of a run.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Attempt {
    /// 1 for the first. (`Context::default()`, which belongs to no run, says 0.)
    pub number: u32,
    /// When it started, in milliseconds since 1970-01-01T00:00:00Z.
    pub started_at_ms: u64,
}

/// The task that runs.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Task {
    /// The id it was registered with.
    pub id: String,
    /// The name under which its component was deployed.
    pub file_path: String,
}

/// The queue that a run came through.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Queue {
    /// `queue_…`
    pub id: String,
    /// `task/<task id>` for a task's own queue.
    pub name: String,
}

/// Where a run belongs.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Environment {
    /// The environment's id.
    pub id: String,
    /// `dev`, `stg`, `prod` or `preview`.
    pub slug: String,
    /// What it is for.
    pub kind: EnvironmentKind,
    /// The branch, in a preview environment.
    pub branch_name: Option<String>,
}

/// What an environment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub enum EnvironmentKind {
    #[default]
    Development,
    Staging,
    Production,
    Preview,
}

/// The owner of a project.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names say it")]
pub struct Organization {
    pub id: String,
    pub slug: String,
    pub name: String,
}

/// What a task belongs to.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names say it")]
pub struct Project {
    pub id: String,
    /// `proj_…`, the name that clients use.
    pub external_ref: String,
    pub slug: String,
    pub name: String,
}

/// What an attempt may use.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Machine {
    /// The preset, for example `small-1x`.
    pub name: String,
    /// CPUs.
    pub cpu: f64,
    /// Memory in GiB.
    pub memory_gib: f64,
    /// What it costs, in cents for a millisecond.
    pub cents_per_ms: f64,
}

/// Runs that were triggered together.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Batch {
    /// `batch_…`
    pub id: String,
}

/// One version of the code.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Deployment {
    /// `deployment_…`
    pub id: String,
    /// A short name for people.
    pub short_code: String,
    /// `YYYYMMDD.N`
    pub version: String,
}

thread_local! {
    /// The run and the attempt that this instance was made for. It has one thread.
    static CURRENT: RefCell<(String, u32)> = const { RefCell::new((String::new(), 0)) };
}

/// Takes what the host says when it calls.
pub(crate) fn begin(context: wit::Context) -> Context {
    let context = Context::from(context);
    CURRENT.set((context.run.id.clone(), context.attempt.number));
    context
}

/// The id of the run and the number of the attempt; empty and 0 outside a component.
pub(crate) fn current() -> (String, u32) {
    CURRENT.with_borrow(Clone::clone)
}

impl From<wit::Context> for Context {
    fn from(context: wit::Context) -> Self {
        Self {
            run: context.run.into(),
            attempt: Attempt { number: context.attempt.number, started_at_ms: context.attempt.started_at },
            task: Task { id: context.task.id, file_path: context.task.file_path },
            queue: Queue { id: context.queue.id, name: context.queue.name },
            environment: context.environment.into(),
            organization: Organization {
                id: context.organization.id,
                slug: context.organization.slug,
                name: context.organization.name,
            },
            project: Project {
                id: context.project.id,
                external_ref: context.project.ref_,
                slug: context.project.slug,
                name: context.project.name,
            },
            machine: Machine {
                name: context.machine.name,
                cpu: context.machine.cpu,
                memory_gib: context.machine.memory,
                cents_per_ms: context.machine.cents_per_ms,
            },
            batch: context.batch.map(|batch| Batch { id: batch.id }),
            deployment: context.deployment.map(|deployment| Deployment {
                id: deployment.id,
                short_code: deployment.short_code,
                version: deployment.version,
            }),
            extra: context.extra.into_iter().map(|entry| (entry.name, entry.value)).collect(),
        }
    }
}

impl From<wit::Run> for Run {
    fn from(run: wit::Run) -> Self {
        Self {
            id: run.id,
            tags: run.tags,
            is_test: run.is_test,
            is_replay: run.is_replay,
            replayed_from: run.replayed_from,
            created_at_ms: run.created_at,
            started_at_ms: run.started_at,
            idempotency_key: run.idempotency_key,
            idempotency_key_scope: run.idempotency_key_scope.map(|scope| match scope {
                wit::IdempotencyKeyScope::Run => IdempotencyKeyScope::Run,
                wit::IdempotencyKeyScope::Attempt => IdempotencyKeyScope::Attempt,
                wit::IdempotencyKeyScope::Global => IdempotencyKeyScope::Global,
            }),
            max_attempts: run.max_attempts,
            max_duration: Duration::from_secs(run.max_duration_seconds.into()),
            priority: run.priority,
            version: run.version,
            parent_run_id: run.parent_run_id,
            root_run_id: run.root_run_id,
        }
    }
}

impl From<wit::Environment> for Environment {
    fn from(environment: wit::Environment) -> Self {
        Self {
            id: environment.id,
            slug: environment.slug,
            kind: match environment.kind {
                wit::EnvironmentKind::Development => EnvironmentKind::Development,
                wit::EnvironmentKind::Staging => EnvironmentKind::Staging,
                wit::EnvironmentKind::Production => EnvironmentKind::Production,
                wit::EnvironmentKind::Preview => EnvironmentKind::Preview,
            },
            branch_name: environment.branch_name,
        }
    }
}
