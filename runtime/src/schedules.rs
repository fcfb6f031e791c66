//! The verbs on schedules: create, change, and fire what is due.
//!
//! Whatever fired while nobody was there fires once, as of the last missed moment. A run that a
//! schedule fires is a run like any other, on the version that is current when it starts; its
//! payload is [`ScheduledPayload`], which no task's schema is asked about.

use std::collections::HashSet;

use jiff::Timestamp;

use crate::api::ScheduledPayload;
use crate::clock::Clock;
use crate::model::admission::{self, Refusal, Request};
use crate::model::id::{EnvironmentId, ScheduleId};
use crate::model::limits;
use crate::model::run::{NewRun, Origin};
use crate::model::schedule::{BadTiming, ScheduleKind, Timing};
use crate::model::task::is_task_id;
use crate::runs::Defaults;
use crate::storage::{self, Activation, EnvironmentKind, Fired, NewSchedule, Schedule, ScheduleSettings, Storage};

/// Schedules that one pass fires at most.
const MAX_FIRES: u32 = 100;

/// The verbs. Clones share everything.
#[derive(Clone)]
pub struct Schedules {
    storage: Storage,
    clock: Clock,
    defaults: Defaults,
}

/// When what runs, as a caller says it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The task.
    pub task: String,
    /// Five fields.
    pub cron: String,
    /// IANA name.
    pub timezone: String,
    /// The caller's own name for it.
    pub external_id: Option<String>,
}

/// Why a schedule was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The pattern or the zone is wrong.
    #[error(transparent)]
    BadTiming(#[from] BadTiming),
    /// Something else about it is.
    #[error("{0}")]
    BadPlan(String),
    /// There is none of this name.
    #[error("there is no such schedule")]
    NoSuchSchedule,
    /// It belongs to its task's code.
    #[error("the schedule is declared by its task: change the code and deploy it")]
    Declared,
    /// There are as many as there may be.
    #[error("an environment can have {} schedules at most", limits::MAX_SCHEDULES)]
    TooMany,
    /// Storage failed.
    #[error("storage failed")]
    Storage(#[from] storage::Error),
}

/// What a pass over the due schedules left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing that can fire now.
    Nothing,
    /// Schedules that wait for room in a queue.
    Held,
    /// More due schedules than one pass takes.
    More,
}

impl Schedules {
    /// The verbs on the schedules of `storage`.
    pub fn new(storage: Storage, clock: Clock, defaults: Defaults) -> Self {
        Self { storage, clock, defaults }
    }

    /// Makes a schedule, or changes the one with this key.
    pub async fn create(
        &self,
        environment: EnvironmentId,
        deduplication_key: String,
        plan: Plan,
    ) -> Result<Schedule, ScheduleError> {
        check_text("`deduplicationKey`", &deduplication_key)?;
        let now = self.clock.now();
        let settings = settings(plan, now)?;
        let id = crate::secrets::schedule_id(now);
        let new = NewSchedule { id, environment, deduplication_key, settings, created_at: now };
        let stored = self.storage.put_schedule(new, limits::MAX_SCHEDULES).await?;
        stored.ok_or(ScheduleError::TooMany)
    }

    /// Changes a schedule that somebody made over the API.
    pub async fn update(
        &self,
        environment: EnvironmentId,
        id: ScheduleId,
        plan: Plan,
    ) -> Result<Schedule, ScheduleError> {
        let settings = settings(plan, self.clock.now())?;
        match self.storage.change_schedule(environment, id, settings).await? {
            Some(schedule) => Ok(schedule),
            None => Err(self.why_not(environment, id).await?),
        }
    }

    /// Lets a schedule fire again, from now on.
    pub async fn activate(&self, environment: EnvironmentId, id: ScheduleId) -> Result<Schedule, ScheduleError> {
        self.turn(environment, id, Activation::On { now: self.clock.now() }).await
    }

    /// Lets a schedule fire no more.
    pub async fn deactivate(&self, environment: EnvironmentId, id: ScheduleId) -> Result<Schedule, ScheduleError> {
        self.turn(environment, id, Activation::Off).await
    }

    async fn turn(
        &self,
        environment: EnvironmentId,
        id: ScheduleId,
        activation: Activation,
    ) -> Result<Schedule, ScheduleError> {
        let turned = self.storage.activate_schedule(environment, id, activation).await?;
        turned.ok_or(ScheduleError::NoSuchSchedule)
    }

    /// Removes a schedule that somebody made over the API.
    pub async fn delete(&self, environment: EnvironmentId, id: ScheduleId) -> Result<(), ScheduleError> {
        if self.storage.delete_schedule(environment, id).await? {
            return Ok(());
        }
        Err(self.why_not(environment, id).await?)
    }

    /// Why an imperative schedule of this name was not found.
    async fn why_not(&self, environment: EnvironmentId, id: ScheduleId) -> Result<ScheduleError, storage::Error> {
        let found = self.storage.schedule(environment, id).await?;
        Ok(match found.map(|found| found.kind) {
            Some(ScheduleKind::Declarative) => ScheduleError::Declared,
            Some(ScheduleKind::Imperative) | None => ScheduleError::NoSuchSchedule,
        })
    }

    /// Fires what is due at `now`. A schedule that has to wait, because its environment has no room
    /// or its run cannot be stored, holds up no other.
    pub async fn fire_due(&self, now: Timestamp) -> Result<Left, storage::Error> {
        let mut left = Left::Nothing;
        let mut full = HashSet::new();
        let mut fires = 0;
        let mut last = None;
        loop {
            let due = self.storage.due_schedules(now, last, MAX_FIRES).await?;
            let more = due.len() == MAX_FIRES as usize;
            for schedule in due {
                last = schedule.next_fire_at.map(|at| (at, schedule.id)).or(last);
                if full.contains(&schedule.environment) {
                    continue;
                }
                fires += 1;
                let environment = schedule.environment;
                match self.fire_or_say_why(schedule, now).await? {
                    Some(Fired::Now | Fired::NotDue) => {}
                    Some(Fired::QueueFull) => {
                        full.insert(environment);
                        left = Left::Held;
                    }
                    None => left = Left::Held,
                }
            }
            if !more {
                return Ok(left);
            }
            if fires >= MAX_FIRES {
                return Ok(Left::More);
            }
        }
    }

    /// Fires one schedule. `None`: that failed, for this one alone.
    async fn fire_or_say_why(&self, schedule: Schedule, now: Timestamp) -> Result<Option<Fired>, storage::Error> {
        let (id, task) = (schedule.id, schedule.task.clone());
        match self.fire(schedule, now).await {
            Ok(fired) => {
                match fired {
                    Fired::Now => tracing::debug!(schedule.id = %id, task.id = task, "schedule fired"),
                    Fired::NotDue => {}
                    Fired::QueueFull => {
                        tracing::warn!(schedule.id = %id, task.id = task, "schedules wait: too many runs are waiting");
                    }
                }
                Ok(Some(fired))
            }
            Err(error @ (storage::Error::Closed | storage::Error::Busy)) => Err(error),
            Err(error) => {
                tracing::error!(schedule.id = %id, task.id = task, %error, "a schedule could not fire");
                Ok(None)
            }
        }
    }

    /// Fires one schedule. One that cannot fire any more, because what was accepted once cannot be
    /// read now, is deactivated.
    async fn fire(&self, schedule: Schedule, now: Timestamp) -> Result<Fired, storage::Error> {
        let Some(due) = schedule.next_fire_at else { return Ok(Fired::NotDue) };
        let timing = match Timing::parse(&schedule.cron, &schedule.timezone) {
            Ok(timing) => timing,
            Err(error) => return self.give_up(&schedule, &error).await,
        };
        let fired_at = timing.last_due(due, now);
        let upcoming = timing.upcoming(fired_at, limits::UPCOMING_FIRES);
        match self.run_of(&schedule, (fired_at, upcoming), now).await? {
            Ok(run) => self.storage.fire(schedule, run, (fired_at, timing.next(now)), self.defaults.max_waiting).await,
            Err(refusal) => self.give_up(&schedule, &refusal).await,
        }
    }

    async fn give_up(
        &self,
        schedule: &Schedule,
        why: &(dyn std::error::Error + Sync),
    ) -> Result<Fired, storage::Error> {
        tracing::error!(schedule.id = %schedule.id, error = %why, "a schedule cannot fire and is deactivated");
        self.storage.activate_schedule(schedule.environment, schedule.id, Activation::Off).await?;
        Ok(Fired::NotDue)
    }

    /// The run that a schedule fires.
    async fn run_of(
        &self,
        schedule: &Schedule,
        (fired_at, upcoming): (Timestamp, Vec<Timestamp>),
        now: Timestamp,
    ) -> Result<Result<NewRun, Refusal>, storage::Error> {
        let Schedule { environment, task, .. } = schedule;
        let definition = match self.storage.current_deployment_of(*environment, task).await? {
            Some(deployment) => self.storage.task(deployment, task).await?,
            None => None,
        };
        let payload = ScheduledPayload {
            schedule_id: schedule.id.to_string(),
            kind: schedule.kind.into(),
            timestamp: fired_at,
            last_timestamp: schedule.last_fire_at,
            external_id: schedule.external_id.clone(),
            timezone: schedule.timezone.clone(),
            upcoming,
        };
        let request = Request {
            origin: Origin { schedule: Some(schedule.id), ..Origin::default() },
            ..Request::new(task.clone(), payload.packet())
        };
        let kind = self.storage.environment_kind(*environment).await?;
        let ttl = self.defaults.ttl.of(kind == EnvironmentKind::Development);
        Ok(admission::admit(crate::secrets::run_id(now), *environment, request, definition.as_deref(), ttl))
    }
}

/// What is stored of a plan, which is checked.
fn settings(plan: Plan, now: Timestamp) -> Result<ScheduleSettings, ScheduleError> {
    let Plan { task, cron, timezone, external_id } = plan;
    if !is_task_id(&task) {
        return Err(ScheduleError::BadPlan("`task` must be the id of a task".into()));
    }
    external_id.as_deref().map_or(Ok(()), |id| check_text("`externalId`", id))?;
    let timing = Timing::parse(&cron, &timezone)?;
    let next_fire_at = timing.next(now);
    Ok(ScheduleSettings { task, cron, timezone: timing.zone_name().into(), external_id, next_fire_at })
}

fn check_text(name: &str, text: &str) -> Result<(), ScheduleError> {
    let max = limits::MAX_SCHEDULE_KEY_CHARS;
    if text.is_empty() || text.chars().count() > max || text.chars().any(char::is_control) {
        let problem = format!("{name} must have 1 to {max} characters, none of them a control character");
        return Err(ScheduleError::BadPlan(problem));
    }
    Ok(())
}
