//! A context such as the worker makes for every attempt: a guest decodes all of it.

use dacapo_host_api::context::{
    Attempt, Context, Environment, EnvironmentKind, Machine, Organization, Project, Queue, Run, Task,
};

/// The context of a first attempt of `task`.
pub(crate) fn context(task: &str) -> Context {
    Context {
        run: Run {
            id: "run_06f2k3v8d5n0q1r7t4b9c6e2ha".into(),
            tags: vec!["bench".into()],
            is_test: false,
            is_replay: false,
            replayed_from: None,
            created_at: 1_800_000_000_000,
            started_at: 1_800_000_000_001,
            idempotency_key: None,
            idempotency_key_scope: None,
            max_attempts: 3,
            max_duration_seconds: 300,
            priority: 0.0,
            version: "20261121.1".into(),
            parent_run_id: None,
            root_run_id: None,
        },
        attempt: Attempt { number: 1, started_at: 1_800_000_000_001 },
        task: Task { id: task.into(), file_path: String::new() },
        queue: Queue { id: "queue".into(), name: format!("task/{task}") },
        environment: Environment {
            id: "env_dev".into(),
            slug: "dev".into(),
            kind: EnvironmentKind::Development,
            branch_name: None,
        },
        organization: Organization { id: "org".into(), slug: "org".into(), name: "Org".into() },
        project: Project { id: "project".into(), ref_: "proj".into(), slug: "p".into(), name: "P".into() },
        machine: Machine { name: "small-1x".into(), cpu: 0.5, memory: 0.5, cents_per_ms: 0.0 },
        batch: None,
        deployment: None,
        extra: Vec::new(),
    }
}
