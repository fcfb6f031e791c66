//! A storage without a server: the verbs that a worker speaks, at moments that a test chooses.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dacapo::clock::Clock;
use dacapo::model::Timestamp;
use dacapo::model::admission::{Request, admit};
use dacapo::model::attempt::{Settlement, Usage};
use dacapo::model::id::{BatchId, DeploymentId, EnvironmentId, RunId, WaitpointId, WorkerId, next};
use dacapo::model::run::{NewRun, Packet, PacketFormat, Run};
use dacapo::model::task::TaskDefinition;
use dacapo::model::wait::{Awaited, WaitOutcome};
use dacapo::storage::{
    AttemptEnd, ClaimRequest, Claimed, Environment, EnvironmentKind, Inserted, Lease, LogKind, LogRow, NewBatch,
    NewFamily, NewWaitpoint, Storage, Suspended, Suspension,
};

/// A storage, its clock, and a worker.
pub struct Desk {
    pub storage: Storage,
    pub clock: Clock,
    pub environment: EnvironmentId,
    pub worker: WorkerId,
    data_dir: PathBuf,
    last: Cell<u128>,
}

impl Desk {
    pub async fn open(data_dir: &Path) -> Self {
        let clock = Clock::system();
        let storage = loop {
            // Of a storage that was dropped, the writer ends a moment later.
            match Storage::open(data_dir, &clock) {
                Err(dacapo::storage::Error::InUse(_)) => tokio::task::yield_now().await,
                opened => break opened.expect("storage opens"),
            }
        };
        let environment = EnvironmentId::from_bits(1);
        let made = Environment {
            id: environment,
            slug: "dev".into(),
            kind: EnvironmentKind::Development,
            egress: Vec::new(),
            concurrency_limit: None,
            backtest_policy: None,
            branch: None,
            created_at: Timestamp::UNIX_EPOCH,
        };
        storage.insert_environment(made).await.unwrap();
        let (worker, last) = (WorkerId::from_bits(7), Cell::new(0));
        Self { storage, clock, environment, worker, data_dir: data_dir.into(), last }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A moment that has not come.
    pub fn after(&self, length: Duration) -> Timestamp {
        self.now().checked_add(length).unwrap()
    }

    fn bits(&self) -> u128 {
        self.last.set(next(self.now().as_millisecond(), 0, self.last.get()));
        self.last.get()
    }

    /// A run that could be stored, queued at once.
    pub fn new_run(&self) -> NewRun {
        let payload = Packet { data: Some("1".into()), format: PacketFormat::Json };
        let request = Request { locked: Some(DeploymentId::from_bits(1)), ..Request::new("t", payload) };
        let task = TaskDefinition::new("t");
        admit(RunId::from_bits(self.bits()), self.environment, request, Some(&task), None).unwrap()
    }

    pub async fn insert(&self, run: NewRun) -> RunId {
        let id = run.id;
        assert_eq!(self.storage.insert_run(run, 1_000_000).await.unwrap(), Inserted::New);
        id
    }

    /// The next run of the queue.
    pub async fn claim(&self) -> Claimed {
        let request = ClaimRequest { worker: self.worker, max_runs: 1 };
        self.storage.claim(request).unwrap().await.unwrap().pop().expect("a run")
    }

    /// Triggers a run and claims it: nothing else is in the queue.
    pub async fn start(&self) -> Claimed {
        let run = self.insert(self.new_run()).await;
        let claimed = self.claim().await;
        assert_eq!(claimed.run.id, run, "nothing else is queued");
        claimed
    }

    /// A wish of the attempt to wait for these.
    pub fn suspension(&self, lease: Lease, waits: Vec<Awaited>, all: bool) -> Suspension {
        Suspension {
            lease,
            waits,
            all,
            journal: Some(b"segment".to_vec()),
            replayable: true,
            usage: Usage::default(),
            cpu_before: Duration::ZERO,
            logs: Vec::new(),
            metadata: None,
            at: self.now(),
        }
    }

    pub async fn wait_for_any(&self, lease: Lease, waits: Vec<Awaited>) -> Suspended {
        self.storage.suspend(self.suspension(lease, waits, false)).await.unwrap()
    }

    pub async fn wait_for_all(&self, lease: Lease, waits: Vec<Awaited>) -> Suspended {
        self.storage.suspend(self.suspension(lease, waits, true)).await.unwrap()
    }

    /// Starts a run that waits for any of these.
    pub async fn waiting(&self, waits: Vec<Awaited>) -> Lease {
        let lease = self.start().await.lease;
        assert_eq!(self.wait_for_any(lease, waits).await, Suspended::Waiting);
        lease
    }

    pub fn end(&self, lease: Lease, settlement: Settlement) -> AttemptEnd {
        AttemptEnd {
            lease,
            settlement,
            usage: Usage::default(),
            cpu_before: Duration::ZERO,
            metadata: None,
            logs: Vec::new(),
            journal: None,
            replayable: None,
            keeps_journal: true,
            at: self.now(),
        }
    }

    pub async fn complete(&self, lease: Lease, output: &str) {
        assert!(self.storage.settle(self.end(lease, Settlement::Completed(output.into()))).await.unwrap());
    }

    pub async fn token(&self, timeout_at: Option<Timestamp>) -> WaitpointId {
        let id = WaitpointId::from_bits(self.bits());
        let (environment, created_at) = (self.environment, self.now());
        let new = NewWaitpoint {
            id,
            environment,
            tags: Vec::new(),
            call_key: None,
            idempotency: None,
            created_at,
            timeout_at,
        };
        self.storage.insert_waitpoint(new, 1_000_000).await.unwrap();
        id
    }

    /// A batch of these runs.
    pub fn family(&self, runs: Vec<NewRun>, request_key: &str) -> NewFamily {
        let batch = NewBatch {
            id: BatchId::from_bits(self.bits()),
            environment: self.environment,
            run_count: runs.len() as u32,
            idempotency_key: None,
            keys_count_since: Timestamp::MIN,
            request_key: Some(request_key.into()),
            requests_count_since: Timestamp::MIN,
            parent: None,
            created_at: self.now(),
            one_time_token: None,
        };
        NewFamily { batch, runs }
    }

    pub async fn run(&self, run: RunId) -> Run {
        self.storage.run(self.environment, run).await.unwrap().expect("the run is known")
    }

    pub async fn status(&self, run: RunId) -> &'static str {
        self.run(run).await.status.as_str()
    }

    pub async fn history(&self, run: RunId) -> Vec<&'static str> {
        self.storage.events(run).await.unwrap().iter().map(|event| event.status.as_str()).collect()
    }

    pub async fn outcomes(&self, awaited: Vec<Awaited>) -> Vec<Option<WaitOutcome>> {
        self.storage.outcomes(self.environment, awaited, self.now()).await.unwrap()
    }

    /// How many rows say what runs wait for.
    pub fn rows(&self, table: &str) -> i64 {
        let connection = rusqlite::Connection::open(self.data_dir.join("dacapo.db")).unwrap();
        connection.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }

    /// What upkeep does at a moment.
    pub async fn upkeep(&self, at: Timestamp) -> Option<Timestamp> {
        self.storage.upkeep(at, self.worker).await.unwrap()
    }
}

/// A line of the task's log.
pub fn line(message: &str, at: Timestamp) -> LogRow {
    LogRow {
        attempt: 1,
        at,
        kind: LogKind::Line,
        level: "info".into(),
        source: "task".into(),
        message: message.into(),
        attributes: None,
        span: None,
        parent_span: None,
        duration_us: None,
    }
}
