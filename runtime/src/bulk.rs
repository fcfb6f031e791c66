//! The verbs on many runs: cancel or replay whatever fits a filter, or a list.
//!
//! An action is stored and then done step by step, oldest run first, by a loop that calls
//! [`Bulks::step`]. Live traffic goes first: a step does little, and a replay is made only while few
//! runs are waiting for a worker. What is done to a run is recorded with it, so that a step that was
//! cut off is simply taken again.

use crate::api::{BulkRequest, BulkSelection};
use crate::clock::Clock;
use crate::model::bulk::{BulkKind, BulkStatus};
use crate::model::id::{BulkId, EnvironmentId, Id, RunId};
use crate::model::limits;
use crate::model::run::{Origin, Run};
use crate::runs::{Runs, TriggerError};
use crate::secrets;
use crate::selection::{self, SelectionError};
use crate::storage::{self, Acted, Bulk, MemberAction, NewBulk, Page, Place, RunFilter, Storage};

/// Actions that are worked on at a time.
const MAX_ACTIVE: u32 = 100;

/// The verbs. Clones share everything.
#[derive(Clone)]
pub struct Bulks {
    storage: Storage,
    runs: Runs,
    clock: Clock,
    max_waiting: u64,
}

/// Why an action was refused.
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    /// It asks for something that cannot be.
    #[error("{0}")]
    Refused(String),
    /// It names runs that cannot be meant.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// There is none of this name.
    #[error("Bulk action not found")]
    NoSuchBulk,
    /// It is over.
    #[error("the bulk action is over already")]
    Over,
    /// Storage failed.
    #[error("storage failed")]
    Storage(#[from] storage::Error),
}

impl Bulks {
    /// `max_waiting` runs of an environment may wait to start.
    pub fn new(storage: Storage, runs: Runs, clock: Clock, max_waiting: u64) -> Self {
        Self { storage, runs, clock, max_waiting }
    }

    /// Stores an action; it begins at once.
    pub async fn create(&self, environment: EnvironmentId, request: BulkRequest) -> Result<BulkId, BulkError> {
        let now = self.clock.now();
        let refuse = |text: &str| Err(BulkError::Refused(text.into()));
        if request.name.as_ref().is_some_and(|name| name.chars().count() > limits::MAX_BULK_NAME_CHARS) {
            return refuse("`name` can have 255 characters at most");
        }
        let selection = match (request.filter, request.run_ids) {
            (Some(filter), None) => {
                let filter = selection::fixed(filter, now)?;
                selection::run_filter(&self.storage, environment, &filter).await?;
                BulkSelection { filter: Some(filter), run_ids: None }
            }
            (None, Some(ids)) => BulkSelection { filter: None, run_ids: Some(selection::run_ids(ids)?) },
            _ => return refuse("name either a `filter` or `runIds`"),
        };
        let id = secrets::bulk_id(now);
        let selection = selection.to_json();
        let kind = request.action.into();
        let bulk = NewBulk { id, environment, kind, name: request.name, selection, created_at: now };
        self.storage.insert_bulk(bulk).await?;
        Ok(id)
    }

    /// Ends an action where it is.
    pub async fn abort(&self, environment: EnvironmentId, id: BulkId) -> Result<(), BulkError> {
        self.storage.bulk(environment, id).await?.ok_or(BulkError::NoSuchBulk)?;
        match self.storage.end_bulk(id, BulkStatus::Aborted, self.clock.now()).await? {
            true => Ok(()),
            false => Err(BulkError::Over),
        }
    }

    /// Takes a step of every pending action. `false`: there is none.
    pub async fn step(&self) -> Result<bool, storage::Error> {
        let pending = self.storage.pending_bulks(MAX_ACTIVE).await?;
        for bulk in &pending {
            match self.step_of(bulk).await {
                Ok(()) => {}
                Err(storage::Error::Closed) => return Err(storage::Error::Closed),
                // The others go on; this one is tried again with the next step.
                Err(error) => tracing::error!(bulk.id = %bulk.id, %error, "a step of a bulk action failed"),
            }
        }
        Ok(!pending.is_empty())
    }

    async fn step_of(&self, bulk: &Bulk) -> Result<(), storage::Error> {
        let most = match bulk.kind {
            BulkKind::Cancel => limits::MAX_BULK_CANCELS_PER_STEP,
            BulkKind::Replay => {
                let most = limits::MAX_BULK_REPLAYS_PER_STEP;
                let ready = self.storage.ready_runs(self.clock.now(), most).await?;
                let own = self.storage.unstarted_replays(bulk.id, most).await?;
                most - ready.max(own)
            }
        };
        if most == 0 {
            return Ok(());
        }
        let Some(sources) = self.next_runs(bulk, most).await? else {
            self.storage.end_bulk(bulk.id, BulkStatus::Completed, self.clock.now()).await?;
            return Ok(());
        };
        for source in sources {
            let action = match bulk.kind {
                BulkKind::Cancel => MemberAction::Cancel,
                BulkKind::Replay => self.replay(bulk, source).await?,
            };
            let which = (bulk.id, bulk.environment);
            let now = self.clock.now();
            match self.storage.act_on_member(which, (source, action), now, self.max_waiting).await? {
                Acted::Recorded => {}
                Acted::QueueFull | Acted::Over => break,
            }
        }
        Ok(())
    }

    /// The next runs of an action's selection, oldest first; `None`: there are no more.
    async fn next_runs(&self, bulk: &Bulk, most: u32) -> Result<Option<Vec<RunId>>, storage::Error> {
        let corrupt = |what: String| storage::Error::Corrupt(format!("the selection of {}: {what}", bulk.id));
        let selection = BulkSelection::from_json(&bulk.selection).map_err(|error| corrupt(error.to_string()))?;
        let last = bulk.last_run.unwrap_or(RunId::FIRST);
        let mut next: Vec<RunId> = match (selection.filter, selection.run_ids) {
            (Some(filter), _) => {
                let filter = match selection::run_filter(&self.storage, bulk.environment, &filter).await {
                    Ok(filter) => filter,
                    Err(SelectionError::Storage(error)) => return Err(error),
                    Err(error) => return Err(corrupt(error.to_string())),
                };
                let page = self.page(bulk.environment, filter, last, most).await?;
                // A replay that this action has just made may be of its own first millisecond.
                let others = page.items.iter().filter(|run| run.origin.bulk != Some(bulk.id));
                others.map(|run| run.id).collect()
            }
            (None, ids) => ids.unwrap_or_default().iter().filter_map(|id| id.parse().ok()).collect(),
        };
        next.retain(|run| *run > last);
        next.sort_unstable();
        next.truncate(most as usize);
        Ok(Some(next).filter(|next| !next.is_empty()))
    }

    /// The runs behind `last`, oldest first. Where hardly any run fits, many pages are empty.
    async fn page(
        &self,
        environment: EnvironmentId,
        filter: RunFilter,
        last: RunId,
        most: u32,
    ) -> Result<Page<Run>, storage::Error> {
        let mut place = Place::Before(last);
        loop {
            let page = self.storage.runs(environment, filter.clone(), place, most).await?;
            match page.go_on {
                Some(on) if page.items.is_empty() => place = on,
                Some(_) | None => return Ok(page),
            }
        }
    }

    async fn replay(&self, bulk: &Bulk, source: RunId) -> Result<MemberAction, storage::Error> {
        let origin = Origin { bulk: Some(bulk.id), is_replay: true, ..Origin::default() };
        match self.runs.prepare_replay(bulk.environment, source, origin).await {
            Ok(run) => Ok(MemberAction::Replay(Box::new(run))),
            Err(TriggerError::Storage(error)) => Err(error),
            Err(TriggerError::NoSuchRun(_)) => Ok(MemberAction::Refuse("Run not found".into())),
            Err(TriggerError::PayloadRejected { task, problems }) => {
                let text = format!("the payload does not fit the schema of task `{task}`: {}", problems.join("; "));
                Ok(MemberAction::Refuse(text))
            }
            Err(error) => Ok(MemberAction::Refuse(error.to_string())),
        }
    }
}
