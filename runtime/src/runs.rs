//! The verbs on runs: trigger, replay, cancel.
//!
//! Whoever wants a run comes through [`Runs::trigger`]: the API, a replay and, later, schedules and
//! other runs. It finds the task's definition, checks the payload against its schema, lets
//! `model::admission` decide how the run begins, and stores it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::api;
use crate::clock::Clock;
use crate::model::admission::{self, DefaultTtl, Overrides, Refusal, Request};
use crate::model::id::{BatchId, DeploymentId, EnvironmentId, RunId};
use crate::model::limits;
use crate::model::run::{NewRun, Origin};
use crate::model::task::TaskDefinition;
use crate::payload_schema::PayloadSchema;
use crate::storage::{
    self, Canceled, EnvironmentKind, FamilyInserted, Forward, Inserted, ItemInserted, NewBatch, NewBatchItem,
    NewFamily, Storage,
};

/// Compiled schemas that are kept.
const MAX_SCHEMAS: usize = 1_000;

/// Schemas of tasks.
type Schemas = HashMap<(DeploymentId, String), Arc<PayloadSchema>>;

/// The verbs. Clones share everything.
#[derive(Clone)]
pub struct Runs {
    storage: Storage,
    clock: Clock,
    defaults: Defaults,
    schemas: Arc<Mutex<Schemas>>,
    /// Payloads that are being checked, one per core: more would only wait for each other.
    checks: Arc<Semaphore>,
}

/// What holds for every run that is made.
#[derive(Debug, Clone, Copy)]
pub struct Defaults {
    /// Runs of an environment that may wait to start.
    pub max_waiting: u64,
    /// How long a run may wait in its queue, where nobody says.
    pub ttl: DefaultTtl,
}

/// A run that was made, or found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Triggered {
    /// The run.
    pub run: RunId,
    /// Whether the idempotency key named an older run.
    pub is_cached: bool,
    /// Whether the run was there before: by either key.
    pub is_new: bool,
}

/// A run that goes on where another one failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forwarded {
    /// It was made, or its key named an older one.
    Inserted(Triggered),
    /// This one does already; nothing was stored.
    Already(RunId),
}

/// A batch that was made, or found, with all its runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// The batch.
    pub batch: BatchId,
    /// In the order of the requests.
    pub runs: Vec<Triggered>,
}

/// Why there is no run.
#[derive(Debug, thiserror::Error)]
pub enum TriggerError {
    /// The request asks for something that cannot be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The payload is not what its type says.
    #[error(transparent)]
    BadPayload(#[from] api::BadPacket),
    /// The payload does not fit the task's schema.
    #[error("the payload does not fit the schema of task `{task}`")]
    PayloadRejected {
        /// The task.
        task: String,
        /// What does not fit, with the place.
        problems: Vec<String>,
    },
    /// The run to replay does not exist.
    #[error("run {0} does not exist")]
    NoSuchRun(RunId),
    /// The run that is said to trigger it does not exist.
    #[error("the run {0} that `parentRunId` names does not exist")]
    NoSuchParent(RunId),
    /// The version it is locked to does not have the task.
    #[error("the version that it is locked to has no task `{0}`")]
    NoSuchTask(String),
    /// The one-time token was used before.
    #[error("the one-time token has been used already")]
    TokenUsed,
    /// The attempt that triggers it is over.
    #[error("the attempt that triggers it is over: it was canceled, or lost its lease")]
    ParentGone,
    /// So many runs are waiting already.
    #[error("{waiting} runs are waiting to start in this environment, which is the limit")]
    QueueFull {
        /// Runs that have not started.
        waiting: u64,
    },
    /// Storage failed.
    #[error("storage failed")]
    Storage(#[from] storage::Error),
}

impl Runs {
    /// The verbs on the runs of `storage`.
    pub fn new(storage: Storage, clock: Clock, defaults: Defaults) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { storage, clock, defaults, schemas: Arc::default(), checks: Arc::new(Semaphore::new(cores)) }
    }

    /// A name for a run that is to be triggered, so that one can ask for its end before it begins.
    pub fn new_id(&self) -> RunId {
        crate::secrets::run_id(self.clock.now())
    }

    /// Makes a run named `id`, unless a key of the request names an older one.
    pub async fn trigger(
        &self,
        id: RunId,
        environment: EnvironmentId,
        request: Request,
    ) -> Result<Triggered, TriggerError> {
        let run = self.admit(id, environment, request).await?;
        triggered(id, self.storage.insert_run(run, self.defaults.max_waiting).await?)
    }

    /// Records an item of a batch, which makes its run. `false`: it was recorded before. It is sent
    /// at once, so that runs are stored in the order of these calls; the future resolves when it is
    /// on disk.
    pub fn insert_item(
        &self,
        item: NewBatchItem,
    ) -> Result<impl Future<Output = Result<bool, TriggerError>> + Send + 'static, TriggerError> {
        let inserted = self.storage.insert_batch_item(item, self.defaults.max_waiting)?;
        Ok(async move {
            match inserted.await? {
                ItemInserted::New => Ok(true),
                ItemInserted::WasThere => Ok(false),
                ItemInserted::QueueFull { waiting } => Err(TriggerError::QueueFull { waiting }),
            }
        })
    }

    /// Makes the runs of a batch that the run `parent` triggers: all of them, or none. A second call
    /// with the same `request_key` finds the runs of the first. An error may say which request it is
    /// about.
    pub async fn trigger_family(
        &self,
        environment: EnvironmentId,
        parent: RunId,
        request_key: String,
        requests: Vec<Request>,
    ) -> Result<Family, (Option<usize>, TriggerError)> {
        let now = self.clock.now();
        let batch = NewBatch {
            id: crate::secrets::batch_id(now),
            environment,
            run_count: u32::try_from(requests.len()).unwrap_or(u32::MAX),
            idempotency_key: None,
            keys_count_since: now,
            request_key: Some(request_key),
            requests_count_since: Timestamp::MIN,
            parent: Some(parent),
            created_at: now,
            one_time_token: None,
        };
        let mut runs = Vec::with_capacity(requests.len());
        for (index, mut request) in requests.into_iter().enumerate() {
            request.origin.batch = Some(batch.id);
            let run = self.admit(self.new_id(), environment, request).await;
            runs.push(run.map_err(|error| (Some(index), error))?);
        }
        let inserted = self.storage.insert_family(NewFamily { batch, runs }, self.defaults.max_waiting).await;
        match inserted.map_err(|error| (None, error.into()))? {
            FamilyInserted::Stored { batch, runs } => {
                let triggered = |(run, is_cached)| Triggered { run, is_cached, is_new: !is_cached };
                Ok(Family { batch, runs: runs.into_iter().map(triggered).collect() })
            }
            FamilyInserted::QueueFull { waiting } => Err((None, TriggerError::QueueFull { waiting })),
            FamilyInserted::ParentGone => Err((None, TriggerError::ParentGone)),
            FamilyInserted::OtherRequest => {
                let text = "the batch of this call is another one";
                Err((None, TriggerError::Refused(Refusal(text.into()))))
            }
        }
    }

    /// The run named `id` that a request asks for, which is not stored yet.
    pub async fn admit(
        &self,
        id: RunId,
        environment: EnvironmentId,
        mut request: Request,
    ) -> Result<NewRun, TriggerError> {
        self.adopt(environment, &mut request).await?;
        if let (None, Some(label)) = (request.locked, &request.external_deployment) {
            request.locked = self.storage.deployment_of_label(environment, label.clone()).await?;
        }
        let deployment = match (request.locked, &request.external_deployment) {
            (Some(locked), _) => Some(locked),
            (None, Some(_not_there_yet)) => None,
            (None, None) => self.storage.current_deployment_of(environment, &request.task).await?,
        };
        let definition = match deployment {
            Some(deployment) => self.storage.task(deployment, &request.task).await?,
            None => None,
        };
        match (&definition, deployment) {
            (Some(definition), Some(deployment)) => {
                self.check_payload(deployment, definition, &request).await?;
            }
            (None, Some(_)) if request.locked.is_some() => return Err(TriggerError::NoSuchTask(request.task)),
            _ => drop(api::plain_json(&request.payload)?),
        }
        let kind = self.storage.environment_kind(environment).await?;
        let ttl = self.defaults.ttl.of(kind == EnvironmentKind::Development);
        Ok(admission::admit(id, environment, request, definition.as_deref(), ttl)?)
    }

    /// Gives a run that another one triggers its place in the tree.
    async fn adopt(&self, environment: EnvironmentId, request: &mut Request) -> Result<(), TriggerError> {
        let Some(id) = request.origin.parent else { return Ok(()) };
        let parent = self.storage.run(environment, id).await?.ok_or(TriggerError::NoSuchParent(id))?;
        if parent.origin.depth >= limits::MAX_DEPTH {
            return Err(Refusal("runs can trigger runs 64 levels deep at most".into()).into());
        }
        request.is_test |= parent.is_test;
        request.origin = Origin {
            root: Some(parent.origin.root.unwrap_or(parent.id)),
            depth: parent.origin.depth + 1,
            is_replay: request.origin.is_replay || parent.origin.is_replay,
            ..request.origin
        };
        Ok(())
    }

    /// Runs the payload of `source` again: a new run of the same task, on the version that is
    /// current in `target`, whatever became of the source.
    ///
    /// A queue that is known where the source is and not in `target` means nothing there: such a
    /// replay joins the queue of its task, unless `overrides` names one.
    pub async fn replay(
        &self,
        environment: EnvironmentId,
        source: RunId,
        target: EnvironmentId,
        overrides: Overrides,
    ) -> Result<Triggered, TriggerError> {
        let mut request = self.request_to_replay(environment, source).await?;
        if target != environment
            && let Some(queue) = request.queue.clone()
            && self.storage.queue(target, queue).await?.is_none()
        {
            request.queue = None;
        }
        self.trigger(self.new_id(), target, overrides.apply(request)).await
    }

    /// The replay of `source` in its own environment, named `id`, which is not stored yet.
    pub async fn admit_replay(
        &self,
        (id, environment): (RunId, EnvironmentId),
        source: RunId,
        overrides: Overrides,
    ) -> Result<NewRun, TriggerError> {
        let request = self.request_to_replay(environment, source).await?;
        self.admit(id, environment, overrides.apply(request)).await
    }

    /// Makes a run whose first attempt is brought back from this journal, sealed, unless its source has one already; with
    /// `force`, also then.
    pub async fn insert_forward(&self, run: NewRun, journal: Vec<u8>, force: bool) -> Result<Forwarded, TriggerError> {
        let id = run.id;
        let max_waiting = self.defaults.max_waiting;
        Ok(match self.storage.insert_resuming_run(run, journal, (max_waiting, force)).await? {
            Forward::Inserted(inserted) => Forwarded::Inserted(triggered(id, inserted)?),
            Forward::Already(other) => Forwarded::Already(other),
        })
    }

    /// The replay of `source` in its own environment, to be stored; it comes from `origin`.
    pub async fn prepare_replay(
        &self,
        environment: EnvironmentId,
        source: RunId,
        origin: Origin,
    ) -> Result<NewRun, TriggerError> {
        let request = self.request_to_replay(environment, source).await?;
        self.admit(self.new_id(), environment, Request { origin, ..request }).await
    }

    async fn request_to_replay(&self, environment: EnvironmentId, source: RunId) -> Result<Request, TriggerError> {
        let no_such_run = || TriggerError::NoSuchRun(source);
        let run = self.storage.run(environment, source).await?.ok_or_else(no_such_run)?;
        let (payload, metadata) = self.storage.payload(source).await?.ok_or_else(no_such_run)?;
        Ok(admission::replay_of(&run, payload, metadata))
    }

    /// Ends a run that has not ended.
    pub async fn cancel(&self, environment: EnvironmentId, run: RunId) -> Result<Canceled, storage::Error> {
        self.storage.cancel(environment, run, self.clock.now()).await
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn check_payload(
        &self,
        deployment: DeploymentId,
        task: &Arc<TaskDefinition>,
        request: &Request,
    ) -> Result<(), TriggerError> {
        let payload = api::plain_json(&request.payload)?;
        let problems = self.payload_problems(deployment, task, payload).await?;
        if problems.is_empty() {
            return Ok(());
        }
        Err(TriggerError::PayloadRejected { task: task.id.clone(), problems })
    }

    /// What is wrong with a payload by the task's schema, away from the async threads: it may take long.
    pub async fn payload_problems(
        &self,
        deployment: DeploymentId,
        task: &Arc<TaskDefinition>,
        payload: String,
    ) -> Result<Vec<String>, TriggerError> {
        if task.payload_schema.is_none() {
            return Ok(Vec::new());
        }
        let closed = |_| TriggerError::Storage(storage::Error::Closed);
        let permit = self.checks.clone().acquire_owned().await.map_err(closed)?;
        let (runs, definition) = (self.clone(), task.clone());
        let checking = tokio::task::spawn_blocking(move || {
            // Kept until the check ends, even where the caller has gone.
            let _permit = permit;
            let Some(schema) = runs.schema(deployment, &definition) else { return Ok(Vec::new()) };
            let payload = serde_json::from_str(&payload).map_err(api::BadPacket::Json)?;
            Ok::<_, TriggerError>(schema.problems(&payload))
        });
        match checking.await {
            Ok(problems) => problems,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(TriggerError::Storage(storage::Error::Closed)),
            },
        }
    }

    /// The compiled schema. A schema that cannot be used is refused at the deploy; one that cannot
    /// be used now was accepted by an older server, and is not enforced.
    fn schema(&self, deployment: DeploymentId, task: &TaskDefinition) -> Option<Arc<PayloadSchema>> {
        let key = (deployment, task.id.clone());
        let schemas = || self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = schemas().get(&key) {
            return Some(known.clone());
        }
        let schema = Arc::new(PayloadSchema::parse(task.payload_schema.as_ref()?).ok()?);
        let mut schemas = schemas();
        if schemas.len() >= MAX_SCHEMAS {
            schemas.clear();
        }
        schemas.insert(key, schema.clone());
        Some(schema)
    }
}

fn triggered(id: RunId, inserted: Inserted) -> Result<Triggered, TriggerError> {
    match inserted {
        Inserted::New => Ok(Triggered { run: id, is_cached: false, is_new: true }),
        Inserted::Existing { run, by_idempotency_key } => {
            Ok(Triggered { run, is_cached: by_idempotency_key, is_new: false })
        }
        Inserted::TokenUsed => Err(TriggerError::TokenUsed),
        Inserted::ParentGone => Err(TriggerError::ParentGone),
        Inserted::QueueFull { waiting } => Err(TriggerError::QueueFull { waiting }),
    }
}
