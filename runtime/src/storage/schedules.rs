//! Schedules, and the runs that they fire.
//!
//! A schedule that may fire has the moment at which it does next. Firing moves that moment and
//! stores the run in one transaction that expects the moment as it was found: no crash and no second
//! look can make two runs of one moment.

use jiff::Timestamp;

use super::insert::insert_run;
use super::sql::{Row, Tx, values};
use super::{Error, Inserted, Storage};
use crate::model::id::{DeploymentId, EnvironmentId, ScheduleId};
use crate::model::run::NewRun;
use crate::model::schedule::{ScheduleKind, Timing, UTC};

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Its name.
    pub id: ScheduleId,
    /// Where its runs run.
    pub environment: EnvironmentId,
    /// Who made it.
    pub kind: ScheduleKind,
    /// What it runs.
    pub task: String,
    /// Five fields.
    pub cron: String,
    /// IANA name.
    pub timezone: String,
    /// The caller's own name for it.
    pub external_id: Option<String>,
    /// Of the caller; of a declarative schedule, its task.
    pub deduplication_key: String,
    /// Whether it fires.
    pub is_active: bool,
    /// When it fired last.
    pub last_fire_at: Option<Timestamp>,
    /// When it fires next. `None`: never, because it is inactive or its pattern has no further match.
    pub next_fire_at: Option<Timestamp>,
}

/// What a caller can set of a schedule.
#[derive(Debug, Clone)]
pub struct ScheduleSettings {
    /// What it runs.
    pub task: String,
    /// Five fields.
    pub cron: String,
    /// IANA name.
    pub timezone: String,
    /// The caller's own name for it.
    pub external_id: Option<String>,
    /// When it fires next, if it is active.
    pub next_fire_at: Option<Timestamp>,
}

/// An imperative schedule that is to be stored.
#[derive(Debug, Clone)]
pub struct NewSchedule {
    /// Its name, where it is new.
    pub id: ScheduleId,
    /// Where its runs run.
    pub environment: EnvironmentId,
    /// The schedule that has it is changed instead.
    pub deduplication_key: String,
    /// Everything else.
    pub settings: ScheduleSettings,
    /// Now.
    pub created_at: Timestamp,
}

/// A page of schedules, and how many there are.
pub type SchedulePage = (Vec<Schedule>, u64);

/// What became of a schedule that was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fired {
    /// Its run is stored, and the schedule has moved on.
    Now,
    /// It was not due any more; nothing changed.
    NotDue,
    /// So many runs are waiting in the environment that the schedule must wait, too; nothing changed.
    QueueFull,
}

/// The columns of [`read_schedule`].
macro_rules! schedule_columns {
    () => {
        "id, environment_id, kind, task_id, cron, timezone, external_id, deduplication_key, is_active, last_fire_at,
         next_fire_at"
    };
}

impl Storage {
    /// Stores an imperative schedule, or changes the one of its key. `None`: there are `max` in the
    /// environment already.
    pub async fn put_schedule(&self, new: NewSchedule, max: u64) -> Result<Option<Schedule>, Error> {
        self.writer.write(move |tx| put_schedule(tx, &new, max)).await
    }

    /// Changes an imperative schedule. Where its timing stays, what it owes stays owed. `None`: there
    /// is none of this name.
    pub async fn change_schedule(
        &self,
        environment: EnvironmentId,
        id: ScheduleId,
        settings: ScheduleSettings,
    ) -> Result<Option<Schedule>, Error> {
        let sql = "UPDATE schedules
                   SET    task_id = ?3, cron = ?4, timezone = ?5, external_id = ?6,
                          next_fire_at = CASE WHEN is_active = 0 THEN NULL
                                              WHEN cron = ?4 AND timezone = ?5 THEN next_fire_at
                                              ELSE ?7 END
                   WHERE  id = ?1 AND environment_id = ?2 AND kind = 'imperative'";
        self.writer
            .write(move |tx| {
                let ScheduleSettings { task, cron, timezone, external_id, next_fire_at } = &settings;
                let values = values![id, environment, task, cron, timezone, external_id.as_ref(), *next_fire_at];
                if tx.execute(sql, values)? == 0 {
                    return Ok(None);
                }
                wake(tx, *next_fire_at);
                schedule(tx, environment, id)
            })
            .await
    }

    /// Lets a schedule fire again, or no more; one that is so already stays as it is. Answers with
    /// the schedule as it is then. `None`: there is none of this name.
    pub async fn activate_schedule(
        &self,
        environment: EnvironmentId,
        id: ScheduleId,
        activation: Activation,
    ) -> Result<Option<Schedule>, Error> {
        let deactivate = "UPDATE schedules SET is_active = 0, next_fire_at = NULL
                          WHERE  id = ?1 AND environment_id = ?2 AND is_active = 1";
        self.writer
            .write(move |tx| {
                match activation {
                    Activation::On { now } => activate(tx, environment, id, now)?,
                    Activation::Off => drop(tx.execute(deactivate, values![id, environment])?),
                }
                schedule(tx, environment, id)
            })
            .await
    }

    /// Removes an imperative schedule. `false`: there is none of this name.
    pub async fn delete_schedule(&self, environment: EnvironmentId, id: ScheduleId) -> Result<bool, Error> {
        let sql = "DELETE FROM schedules WHERE id = ?1 AND environment_id = ?2 AND kind = 'imperative'";
        self.writer.write(move |tx| Ok(tx.execute(sql, values![id, environment])? == 1)).await
    }

    /// A schedule of an environment.
    pub async fn schedule(&self, environment: EnvironmentId, id: ScheduleId) -> Result<Option<Schedule>, Error> {
        self.read(move |tx| schedule(tx, environment, id)).await
    }

    /// Schedules of an environment, oldest first, from `offset` on.
    pub async fn schedules(&self, environment: EnvironmentId, offset: u64, limit: u32) -> Result<SchedulePage, Error> {
        let sql = concat!(
            "SELECT ",
            schedule_columns!(),
            " FROM schedules WHERE environment_id = ?1 ORDER BY id LIMIT ?2 OFFSET ?3"
        );
        self.read(move |tx| {
            let page = tx.rows(sql, values![environment, limit, offset], read_schedule)?;
            Ok((page, count_schedules(tx, environment)?))
        })
        .await
    }

    /// Schedules that are due at `now`, of all environments, longest due first, behind the one that
    /// `after` names by when it was due.
    pub async fn due_schedules(
        &self,
        now: Timestamp,
        after: Option<(Timestamp, ScheduleId)>,
        limit: u32,
    ) -> Result<Vec<Schedule>, Error> {
        let sql = concat!(
            "SELECT ",
            schedule_columns!(),
            " FROM schedules
              WHERE  next_fire_at IS NOT NULL AND next_fire_at <= ?1 AND next_fire_at >= ?2
              AND    (next_fire_at > ?2 OR id > ?3)
              ORDER BY next_fire_at, id
              LIMIT  ?4"
        );
        let (due_at, id) = after.unwrap_or((Timestamp::MIN, ScheduleId::from_bits(0)));
        self.read(move |tx| tx.rows(sql, values![now, due_at, id, limit], read_schedule)).await
    }

    /// Stores the run of a schedule that is still due as it was found, and moves the schedule on to
    /// `next`. The run has fired at `fired_at`.
    pub async fn fire(
        &self,
        found: Schedule,
        run: NewRun,
        fires: (Timestamp, Option<Timestamp>),
        max_waiting: u64,
    ) -> Result<Fired, Error> {
        let listeners = self.listeners.clone();
        self.writer
            .write(move |tx| {
                let waiting = listeners.waiting(run.environment, &tx.effects);
                if waiting >= max_waiting {
                    return Ok(Fired::QueueFull);
                }
                if !move_on(tx, &found, fires)? {
                    return Ok(Fired::NotDue);
                }
                match insert_run(tx, &run, waiting, max_waiting)? {
                    Inserted::New => Ok(Fired::Now),
                    Inserted::Existing { .. }
                    | Inserted::TokenUsed
                    | Inserted::ParentGone
                    | Inserted::QueueFull { .. } => {
                        Err(Error::Corrupt(format!("the run of schedule {} was not stored", found.id)))
                    }
                }
            })
            .await
    }
}

/// Whether a schedule is to fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// It fires, unless it did before, from the first moment after this one.
    On {
        /// Now.
        now: Timestamp,
    },
    /// It does not fire.
    Off,
}

/// Activates a schedule that is inactive and whose timing is as it was found.
fn activate(tx: &mut Tx<'_>, environment: EnvironmentId, id: ScheduleId, now: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE schedules SET is_active = 1, next_fire_at = ?3
               WHERE  id = ?1 AND environment_id = ?2 AND is_active = 0 AND cron = ?4 AND timezone = ?5";
    let Some(found) = schedule(tx, environment, id)? else { return Ok(()) };
    let next = Timing::parse(&found.cron, &found.timezone).ok().and_then(|timing| timing.next(now));
    if tx.execute(sql, values![id, environment, next, &found.cron, &found.timezone])? == 1 {
        wake(tx, next);
    }
    Ok(())
}

fn put_schedule(tx: &mut Tx<'_>, new: &NewSchedule, max: u64) -> Result<Option<Schedule>, Error> {
    let change = "UPDATE schedules
                  SET    task_id = ?3, cron = ?4, timezone = ?5, external_id = ?6,
                         next_fire_at = CASE WHEN is_active = 0 THEN NULL
                                             WHEN cron = ?4 AND timezone = ?5 THEN next_fire_at
                                             ELSE ?7 END
                  WHERE  environment_id = ?1 AND kind = 'imperative' AND deduplication_key = ?2";
    let insert = "INSERT INTO schedules (
                      id, environment_id, kind, task_id, cron, timezone, external_id, deduplication_key, is_active,
                      created_at, next_fire_at)
                  VALUES (?1, ?2, 'imperative', ?3, ?4, ?5, ?6, ?7, 1, ?8, ?9)";
    let NewSchedule { id, environment, deduplication_key, settings, created_at } = new;
    let ScheduleSettings { task, cron, timezone, external_id, next_fire_at } = settings;
    let external_id = external_id.as_ref();
    wake(tx, *next_fire_at);
    let values = values![*environment, deduplication_key, task, cron, timezone, external_id, *next_fire_at];
    if tx.execute(change, values)? == 0 {
        if count_schedules(tx, *environment)? >= max {
            return Ok(None);
        }
        let key = deduplication_key;
        let values = values![*id, *environment, task, cron, timezone, external_id, key, *created_at, *next_fire_at];
        tx.execute(insert, values)?;
    }
    let sql = concat!(
        "SELECT ",
        schedule_columns!(),
        " FROM schedules WHERE environment_id = ?1 AND kind = 'imperative' AND deduplication_key = ?2"
    );
    tx.row(sql, values![*environment, deduplication_key], read_schedule)
}

fn schedule(tx: &Tx<'_>, environment: EnvironmentId, id: ScheduleId) -> Result<Option<Schedule>, Error> {
    let sql = concat!("SELECT ", schedule_columns!(), " FROM schedules WHERE id = ?1 AND environment_id = ?2");
    tx.row(sql, values![id, environment], read_schedule)
}

fn count_schedules(tx: &Tx<'_>, environment: EnvironmentId) -> Result<u64, Error> {
    let sql = "SELECT COUNT(*) FROM schedules WHERE environment_id = ?1";
    Ok(tx.row(sql, values![environment], |row| row.column())?.unwrap_or(0))
}

/// Moves a schedule on that is as it was found: from the moment at which it was due.
fn move_on(tx: &mut Tx<'_>, found: &Schedule, (fired_at, next): (Timestamp, Option<Timestamp>)) -> Result<bool, Error> {
    let sql = "UPDATE schedules SET last_fire_at = ?3, next_fire_at = ?4
               WHERE  id = ?1 AND next_fire_at = ?2 AND is_active = 1 AND task_id = ?5 AND cron = ?6 AND timezone = ?7";
    let Schedule { id, next_fire_at, task, cron, timezone, .. } = found;
    let values = values![*id, *next_fire_at, fired_at, next, task, cron, timezone];
    let moved = tx.execute(sql, values)? == 1;
    if moved {
        wake(tx, next);
    }
    Ok(moved)
}

/// Makes the declarative schedules of an environment those of its current tasks: one for every task
/// of `deployment` that has a pattern, none for a task that has none any more. A schedule whose
/// timing stays fires as if nothing had happened, or stays inactive.
pub(super) fn declare_schedules(
    tx: &mut Tx<'_>,
    environment: EnvironmentId,
    deployment: DeploymentId,
    now: Timestamp,
) -> Result<(), Error> {
    let declared = "SELECT task_id, cron_pattern, cron_timezone
                    FROM   deployment_tasks WHERE deployment_id = ?1 AND cron_pattern IS NOT NULL";
    let put = "INSERT INTO schedules (
                   id, environment_id, kind, task_id, cron, timezone, deduplication_key, is_active, created_at,
                   next_fire_at)
               VALUES (?1, ?2, 'declarative', ?3, ?4, ?5, ?3, 1, ?6, ?7)
               ON CONFLICT (environment_id, kind, deduplication_key) DO UPDATE
               SET    cron = excluded.cron, timezone = excluded.timezone,
                      next_fire_at = CASE WHEN schedules.is_active = 0 THEN NULL
                                          WHEN schedules.cron = excluded.cron AND schedules.timezone = excluded.timezone
                                          THEN schedules.next_fire_at
                                          ELSE excluded.next_fire_at END";
    let remove = "DELETE FROM schedules
                  WHERE  environment_id = ?1 AND kind = 'declarative' AND NOT EXISTS (
                             SELECT 1
                             FROM   current_tasks c
                             JOIN   deployment_tasks t ON t.deployment_id = c.deployment_id AND t.task_id = c.task_id
                             WHERE  c.environment_id = ?1 AND c.task_id = schedules.task_id
                             AND    t.cron_pattern IS NOT NULL)";
    let declared: Vec<(String, String, Option<String>)> =
        tx.rows(declared, values![deployment], |row| Ok((row.column()?, row.column()?, row.column()?)))?;
    for (task, pattern, zone) in declared {
        // A pattern that cannot be read now was accepted by an older server; it does not fire.
        let timing = Timing::parse(&pattern, zone.as_deref().unwrap_or(UTC)).ok();
        let zone = timing.as_ref().map_or(UTC, Timing::zone_name);
        let next = timing.as_ref().and_then(|timing| timing.next(now));
        let id = crate::secrets::schedule_id(now);
        tx.execute(put, values![id, environment, &task, &pattern, zone, now, next])?;
        wake(tx, next);
    }
    tx.execute(remove, values![environment]).map(drop)
}

/// Wakes upkeep for the next fire.
fn wake(tx: &mut Tx<'_>, next_fire_at: Option<Timestamp>) {
    if let Some(at) = next_fire_at {
        tx.effects.timer_set(at);
    }
}

fn read_schedule(row: &mut Row<'_>) -> Result<Schedule, Error> {
    Ok(Schedule {
        id: row.column()?,
        environment: row.column()?,
        kind: row.parsed(ScheduleKind::parse)?,
        task: row.column()?,
        cron: row.column()?,
        timezone: row.column()?,
        external_id: row.column()?,
        deduplication_key: row.column()?,
        is_active: row.column()?,
        last_fire_at: row.column()?,
        next_fire_at: row.column()?,
    })
}
