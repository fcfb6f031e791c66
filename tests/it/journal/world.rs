//! A world that remembers what it was asked for, and says yes.

use async_trait::async_trait;
use dacapo::sandbox::World;
use dacapo::sandbox::context::{
    Attempt, Context, Environment, EnvironmentKind, Machine, Organization, Project, Queue, Run, Task,
};
use dacapo::sandbox::world::{
    Answer, BatchHandle, BatchItem, CallNumber, Outcome, Relative, RunHandle, Token, TokenOptions, TriggerError, Wait,
};
use dacapo_host_api::{MetadataChange, MetadataError};
use tokio::sync::watch;

use super::Seen;

pub(super) struct FakeWorld {
    seen: Seen,
    /// The wait that never ends; 0: all end at once.
    waits: u32,
    waited: watch::Sender<u32>,
}

impl FakeWorld {
    pub(super) fn new(seen: Seen, waits: u32) -> Self {
        Self { seen, waits, waited: watch::Sender::new(0) }
    }

    /// The wait that never ends has begun.
    pub(super) async fn is_waiting(&self) {
        let mut waited = self.waited.subscribe();
        let _ = waited.wait_for(|waited| self.waits > 0 && *waited == self.waits).await;
    }

    fn note(&self, what: String) {
        self.seen.lock().unwrap().push(what);
    }

    fn run(&self) -> RunHandle {
        RunHandle { id: "run_1".into(), is_cached: false }
    }
}

#[async_trait]
impl World for FakeWorld {
    fn now(&self) -> u64 {
        1_800_000_000_000
    }

    fn can_wait(&self) -> bool {
        true
    }

    async fn trigger(&self, call: CallNumber, item: BatchItem, _: bool) -> Answer<Result<RunHandle, TriggerError>> {
        self.note(format!("{}: trigger {}", call.0, item.task_id));
        Ok(Ok(self.run()))
    }

    async fn trigger_batch(
        &self,
        call: CallNumber,
        items: Vec<BatchItem>,
        _: bool,
    ) -> Answer<Result<BatchHandle, TriggerError>> {
        self.note(format!("{}: batch of {}", call.0, items.len()));
        Ok(Ok(BatchHandle { id: "batch_1".into(), runs: items.iter().map(|_| self.run()).collect() }))
    }

    async fn create_token(&self, call: CallNumber, _: TokenOptions) -> Answer<Result<Token, String>> {
        self.note(format!("{}: token", call.0));
        Ok(Ok(Token { id: "waitpoint_1".into(), url: String::new(), is_cached: false }))
    }

    async fn complete_token(&self, id: String, _: Option<String>) -> Answer<Result<(), String>> {
        self.note(format!("complete {id}"));
        Ok(Ok(()))
    }

    async fn find_token(&self, id: String) -> Answer<Result<(), String>> {
        self.note(format!("find {id}"));
        Ok(Ok(()))
    }

    async fn change_metadata(&self, _: Relative, change: MetadataChange) -> Answer<Result<(), MetadataError>> {
        self.note(format!("change {change:?}"));
        Ok(Ok(()))
    }

    async fn add_tags(&self, _: Relative, tags: Vec<String>) -> Answer<Result<(), String>> {
        self.note(format!("tags {tags:?}"));
        Ok(Ok(()))
    }

    async fn append(&self, _: Relative, name: String, chunks: Vec<String>) -> Answer<Result<(), String>> {
        self.note(format!("append {name} {chunks:?}"));
        Ok(Ok(()))
    }

    async fn wait(&self, wait: Wait) -> Answer<Vec<(u32, Outcome)>> {
        self.note(format!("wait {} {}", wait.of.len(), if wait.all { "all" } else { "any" }));
        self.waited.send_modify(|waited| *waited += 1);
        if *self.waited.borrow() == self.waits {
            std::future::pending::<()>().await;
        }
        Ok((0..).zip(&wait.of).map(|(place, _)| (place, Outcome::Elapsed)).collect())
    }
}

/// The context of a first attempt.
pub fn context() -> Context {
    Context {
        run: Run {
            id: "run_06f2k3v8d5n0q1r7t4b9c6e2ha".into(),
            tags: Vec::new(),
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
        task: Task { id: "journal".into(), file_path: String::new() },
        queue: Queue { id: "queue".into(), name: "task/journal".into() },
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
