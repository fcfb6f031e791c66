//! What an attempt does beyond its own run: it triggers others, makes tokens, tells its relatives
//! something, and waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use dacapo_host_api::world::{
    Answer, BatchHandle, BatchItem, CallNumber, HostFault, Outcome, Relative, RunHandle, Timeout, Token, TokenOptions,
    TriggerError as Refused, Wait,
};
use dacapo_host_api::{MetadataChange, MetadataError};
use tokio::sync::{mpsc, oneshot};

use super::attempt::Shared;
use super::request::{self, Asker};
use super::services::Recorder;
use crate::edits::{self, EditError};
use crate::model::admission::{Delay, Request};
use crate::model::hook::Hook;
use crate::model::id::{DeploymentId, EnvironmentId, RunId, WaitpointId};
use crate::model::limits;
use crate::model::run::Run;
use crate::model::{stream, tag};
use crate::runs::{TriggerError, Triggered};
use crate::sandbox::World;
use crate::storage::{Appended, Edited, Error, NewChunks};
use crate::waitpoints::{WaitpointError, Wish};

/// The entry of an attempt.
const TASK: &str = "task";

/// A guest waits: what for, and where the answer goes.
pub(super) struct Ask {
    pub(super) wait: Wait,
    pub(super) answer: oneshot::Sender<Answer<Vec<(u32, Outcome)>>>,
}

/// The world of one attempt.
pub(super) struct RunWorld {
    shared: Arc<Shared>,
    me: Me,
    recorder: Recorder,
    /// What the guest was called for: the task, or a hook of it.
    entry: &'static str,
    /// The number of the lease that must hold; `None`: none.
    lease: Option<Arc<AtomicU64>>,
    /// Where waits go; `None`: the guest may not wait.
    asks: Option<mpsc::Sender<Ask>>,
}

/// What others must know of the run.
#[derive(Debug, Clone, Copy)]
struct Me {
    run: RunId,
    attempt: u32,
    environment: EnvironmentId,
    deployment: DeploymentId,
    parent: Option<RunId>,
    root: Option<RunId>,
}

impl RunWorld {
    /// The world of a run's guest, in which nothing can be waited for.
    pub(super) fn new(shared: Arc<Shared>, run: &Run, deployment: DeploymentId, recorder: Recorder) -> Self {
        let me = Me {
            run: run.id,
            attempt: run.attempt,
            environment: run.environment,
            deployment,
            parent: run.origin.parent,
            root: run.origin.root,
        };
        Self { shared, me, recorder, entry: TASK, lease: None, asks: None }
    }

    /// The same for a hook.
    pub(super) fn of_hook(self, hook: Hook) -> Self {
        Self { entry: hook.as_str(), ..self }
    }

    /// The same for an attempt, which acts only while its lease holds; and what the guest waits for, as
    /// it comes.
    pub(super) fn of_attempt(self, lease: Arc<AtomicU64>) -> (Self, mpsc::Receiver<Ask>) {
        let (asks, asked) = mpsc::channel(1);
        (Self { lease: Some(lease), asks: Some(asks), ..self }, asked)
    }

    fn asker(&self) -> Asker {
        Asker { run: self.me.run, attempt: self.me.attempt }
    }

    fn relative(&self, relative: Relative) -> RunId {
        let other = match relative {
            Relative::ThisRun => None,
            Relative::Parent => self.me.parent,
            Relative::Root => self.me.root,
        };
        other.unwrap_or(self.me.run)
    }

    /// Writes what the run did to its metadata: whoever it triggers now comes after that.
    async fn write_metadata(&self) -> Answer<()> {
        let Some(edit) = self.recorder.take_metadata() else { return Ok(()) };
        let (run, now) = ((self.me.run, self.me.attempt), self.shared.clock.now());
        self.shared.storage.tell(run, Vec::new(), Some(edit), now).await.map_err(fault)
    }

    /// The request of an item, which finds its run again when the call is done again.
    async fn request(&self, item: BatchItem, awaited: bool, key: &CallKey) -> Answer<Result<Request, Refused>> {
        let task = item.task_id.clone();
        let asked = match request::request(item, self.asker(), self.shared.clock.now()) {
            Ok(asked) => asked,
            Err(problem) => return Ok(Err(Refused::Invalid(problem))),
        };
        let (mut request, version) = asked;
        request.request_key = Some(key.0.clone());
        request.parent_lease = self.lease.as_ref().map(|lease| lease.load(Ordering::Acquire));
        request.origin.awaited = awaited;
        request.locked = match version {
            Some(version) => match self.deployment_of(&version).await? {
                Ok(deployment) => Some(deployment),
                Err(refused) => return Ok(Err(refused)),
            },
            None if awaited && request.external_deployment.is_none() => self.own_deployment_of(&task).await?,
            None => None,
        };
        Ok(Ok(request))
    }

    async fn deployment_of(&self, version: &str) -> Answer<Result<DeploymentId, Refused>> {
        let unknown = || Refused::Invalid(format!("`version`: there is no version {}", shortened(version)));
        let Ok(version) = version.parse() else { return Ok(Err(unknown())) };
        let found = self.shared.storage.deployment_of_version(self.me.environment, version).await.map_err(fault)?;
        Ok(found.map(|deployment| deployment.id).ok_or_else(unknown))
    }

    /// This run's deployment, where it has the task. The tasks of an environment may come from several
    /// components: what is not in this one has no version in common with it.
    async fn own_deployment_of(&self, task: &str) -> Answer<Option<DeploymentId>> {
        let found = self.shared.storage.task(self.me.deployment, task).await.map_err(fault)?;
        Ok(found.map(|_| self.me.deployment))
    }
}

/// What names a call of a run whenever it is done: its number, and all that it asks.
struct CallKey(String);

impl RunWorld {
    /// `asked` as JSON, which everything that a guest asks can be written as.
    fn key(&self, call: CallNumber, asked: serde_json::Result<Vec<u8>>) -> CallKey {
        let asked = blake3::hash(&asked.unwrap_or_default()).to_hex();
        let Me { run, attempt, .. } = self.me;
        CallKey(format!("call {} of {} in attempt {attempt} of {run}: {}", call.0, self.entry, &asked[..32]))
    }

    /// Refuses to let the run wait for itself, or for one that waits for it, which a key can name.
    async fn refuse_own_line(&self, found: &[Triggered]) -> Answer<Result<(), Refused>> {
        if !found.iter().any(|run| run.is_cached) {
            return Ok(Ok(()));
        }
        let mut next = Some(self.me.run);
        while let Some(id) = next {
            if found.iter().any(|run| run.run == id) {
                let text = "the idempotency key names this run, or one above it: it would wait for itself for ever";
                return Ok(Err(Refused::Invalid(text.into())));
            }
            let run = self.shared.storage.run(self.me.environment, id).await.map_err(fault)?;
            next = run.and_then(|run| run.origin.parent);
        }
        Ok(Ok(()))
    }
}

#[async_trait]
impl World for RunWorld {
    fn now(&self) -> u64 {
        u64::try_from(self.shared.clock.now().as_millisecond()).unwrap_or(0)
    }

    fn can_wait(&self) -> bool {
        self.asks.is_some()
    }

    async fn trigger(&self, call: CallNumber, item: BatchItem, awaited: bool) -> Answer<Result<RunHandle, Refused>> {
        let key = self.key(call, serde_json::to_vec(&(&item, awaited)));
        let request = match self.request(item, awaited, &key).await? {
            Ok(request) => request,
            Err(refused) => return Ok(Err(refused)),
        };
        let runs = &self.shared.runs;
        self.write_metadata().await?;
        match runs.trigger(runs.new_id(), self.me.environment, request).await {
            Ok(triggered) => {
                let refused = if awaited { self.refuse_own_line(&[triggered]).await? } else { Ok(()) };
                Ok(refused.map(|()| handle(triggered)))
            }
            Err(error) => refusal(error).map(Err),
        }
    }

    async fn trigger_batch(
        &self,
        call: CallNumber,
        items: Vec<BatchItem>,
        awaited: bool,
    ) -> Answer<Result<BatchHandle, Refused>> {
        let key = self.key(call, serde_json::to_vec(&(&items, awaited)));
        let mut requests = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            match self.request(item, awaited, &key).await? {
                Ok(request) => requests.push(Request { request_key: None, ..request }),
                Err(refused) => return Ok(Err(of_item(index, refused))),
            }
        }
        self.write_metadata().await?;
        match self.shared.runs.trigger_family(self.me.environment, self.me.run, key.0, requests).await {
            Ok(family) => {
                let refused = if awaited { self.refuse_own_line(&family.runs).await? } else { Ok(()) };
                let runs = family.runs.into_iter().map(handle).collect();
                Ok(refused.map(|()| BatchHandle { id: family.batch.to_string(), runs }))
            }
            Err((index, error)) => Ok(Err(match (index, refusal(error)?) {
                (Some(index), refused) => of_item(index, refused),
                (None, refused) => refused,
            })),
        }
    }

    async fn create_token(&self, call: CallNumber, options: TokenOptions) -> Answer<Result<Token, String>> {
        let key = self.key(call, serde_json::to_vec(&options));
        let wish = match wish(options) {
            Ok(wish) => Wish { call_key: Some(key.0), ..wish },
            Err(problem) => return Ok(Err(problem)),
        };
        match self.shared.waitpoints.create(self.me.environment, wish).await {
            Ok((waitpoint, is_new)) => {
                let url = self.shared.waitpoints.callback_url(&self.shared.public_url, waitpoint.id);
                Ok(Ok(Token { id: waitpoint.id.to_string(), url, is_cached: !is_new }))
            }
            Err(error) => token_refusal(error).map(Err),
        }
    }

    async fn complete_token(&self, id: String, value: Option<String>) -> Answer<Result<(), String>> {
        let Ok(id) = id.parse::<WaitpointId>() else { return Ok(Err(no_token(&id))) };
        if let Some(Err(error)) =
            value.as_ref().map(|value| serde_json::from_str::<&serde_json::value::RawValue>(value))
        {
            return Ok(Err(format!("the value is not JSON: {error}")));
        }
        match self.shared.waitpoints.complete(self.me.environment, id, value).await {
            Ok(()) => Ok(Ok(())),
            Err(error) => token_refusal(error).map(Err),
        }
    }

    async fn find_token(&self, id: String) -> Answer<Result<(), String>> {
        let Ok(token) = id.parse::<WaitpointId>() else { return Ok(Err(no_token(&id))) };
        let found = self.shared.storage.waitpoint(token).await.map_err(fault)?;
        let is_ours = found.is_some_and(|found| found.environment == self.me.environment);
        Ok(if is_ours { Ok(()) } else { Err(no_token(&id)) })
    }

    async fn change_metadata(&self, of: Relative, change: MetadataChange) -> Answer<Result<(), MetadataError>> {
        let target = self.relative(of);
        if target == self.me.run {
            return Ok(self.recorder.change_metadata(change));
        }
        let operation = match edits::guest_operation(change) {
            Ok(operation) => operation,
            Err(error) => return Ok(Err(error)),
        };
        let (storage, now) = (&self.shared.storage, self.shared.clock.now());
        let wanted = vec![(target, vec![operation])];
        match edits::change_metadata(storage, self.me.environment, wanted, now).await {
            Ok(()) => Ok(Ok(())),
            Err(EditError::BadOperation(error)) => Ok(Err(edits::metadata_error(error))),
            Err(EditError::TooLarge) => Ok(Err(MetadataError::TooLarge(limits::MAX_METADATA_BYTES as u32))),
            Err(error @ EditError::NoSuchRun(_)) => Err(HostFault(error.to_string())),
            Err(EditError::Storage(error)) => Err(fault(error)),
        }
    }

    async fn add_tags(&self, to: Relative, tags: Vec<String>) -> Answer<Result<(), String>> {
        if let Err(problem) = tag::check_each(&tags) {
            return Ok(Err(problem.into()));
        }
        let (storage, now) = (&self.shared.storage, self.shared.clock.now());
        match storage.add_tags(self.me.environment, self.relative(to), tags, now).await.map_err(fault)? {
            Edited::Now => Ok(Ok(())),
            Edited::TooMany => Ok(Err(tag::TOO_MANY.into())),
            Edited::NoSuchRun => Ok(Err("the run does not exist any more".into())),
        }
    }

    async fn append(&self, of: Relative, name: String, chunks: Vec<String>) -> Answer<Result<(), String>> {
        let checked = stream::check_name(&name);
        let checked = checked.and_then(|()| chunks.iter().try_for_each(|chunk| stream::check_chunk(chunk.len())));
        if let Err(problem) = checked {
            return Ok(Err(problem.into()));
        }
        let chunks = NewChunks { stream: name, first: None, data: chunks, at: self.shared.clock.now() };
        match self.shared.storage.append_chunks(self.relative(of), chunks).await.map_err(fault)? {
            Appended::Now => Ok(Ok(())),
            Appended::TooMany => Ok(Err(stream::FULL.into())),
        }
    }

    async fn wait(&self, wait: Wait) -> Answer<Vec<(u32, Outcome)>> {
        let gone = || HostFault("nobody answers the guest any more".into());
        let (answer, answered) = oneshot::channel();
        let asks = self.asks.as_ref().ok_or_else(gone)?;
        asks.send(Ask { wait, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

fn handle(run: Triggered) -> RunHandle {
    RunHandle { id: run.run.to_string(), is_cached: run.is_cached }
}

fn fault(error: Error) -> HostFault {
    HostFault(error.to_string())
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

fn no_token(id: &str) -> String {
    format!("there is no wait token {}", shortened(id))
}

/// What the guest is told when a run was not triggered; a fault of storage is the host's.
fn refusal(error: TriggerError) -> Answer<Refused> {
    let text = error.to_string();
    match error {
        TriggerError::PayloadRejected { problems, .. } => Ok(Refused::PayloadRejected(problems)),
        TriggerError::QueueFull { .. } => Ok(Refused::QueueFull(text)),
        TriggerError::Storage(error) => Err(fault(error)),
        TriggerError::ParentGone => Err(HostFault(text)),
        TriggerError::Refused(_)
        | TriggerError::BadPayload(_)
        | TriggerError::NoSuchRun(_)
        | TriggerError::NoSuchParent(_)
        | TriggerError::NoSuchTask(_)
        | TriggerError::TokenUsed => Ok(Refused::Invalid(text)),
    }
}

/// Says which item of a batch was refused.
fn of_item(index: usize, refused: Refused) -> Refused {
    let of = |problem: String| format!("item {index}: {problem}");
    match refused {
        Refused::Invalid(problem) => Refused::Invalid(of(problem)),
        Refused::PayloadRejected(problems) => Refused::PayloadRejected(problems.into_iter().map(of).collect()),
        Refused::QueueFull(problem) => Refused::QueueFull(problem),
    }
}

fn token_refusal(error: WaitpointError) -> Answer<String> {
    match error {
        WaitpointError::Storage(error) => Err(fault(error)),
        refused => Ok(refused.to_string()),
    }
}

fn wish(options: TokenOptions) -> Result<Wish, String> {
    let timeout = match options.timeout {
        None => None,
        Some(Timeout::After(length)) => Some(Delay::For(std::time::Duration::from_millis(length))),
        Some(Timeout::At(at)) => Some(Delay::Until(request::moment(at)?)),
    };
    Ok(Wish {
        timeout,
        idempotency_key: options.idempotency_key,
        idempotency_key_ttl: options.idempotency_key_ttl.map(std::time::Duration::from_millis),
        tags: options.tags,
        call_key: None,
    })
}
