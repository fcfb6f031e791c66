//! Schedules: making, changing, reading; and the time zones they can be in.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;

use super::Server;
use super::admin::kind_name;
use super::auth::Caller;
use super::body::{Body, Params, Segments, json};
use super::error::{ApiError, Result};
use super::openapi::{ChangeErrors, NumberedPages, ReadErrors};
use super::queues::{page_number, page_of};
use crate::api::{
    CreateScheduleRequest, DeletedSchedule, Generator, RunSchedule, ScheduleEnvironment, ScheduleItem, ScheduleList,
    SchedulePlan, TimezoneList,
};
use crate::model::id::ScheduleId;
use crate::model::schedule::{ScheduleKind, Timing, UTC};
use crate::schedules::{Plan, ScheduleError};
use crate::storage::{Environment, Schedule};

/// How many of the next times are shown at which a schedule fires.
const UPCOMING: usize = 5;
/// What the directories of zones have beside zones.
const NO_ZONES: [&str; 6] = ["posix/", "right/", "posixrules", "localtime", "Factory", "leap"];

fn not_found() -> ApiError {
    ApiError::not_found("Schedule not found")
}

fn id_of(text: &str) -> Result<ScheduleId> {
    text.parse().map_err(|_| not_found())
}

impl From<ScheduleError> for ApiError {
    fn from(error: ScheduleError) -> Self {
        let text = error.to_string();
        match error {
            ScheduleError::BadTiming(_) | ScheduleError::BadPlan(_) => Self::bad_request(text),
            ScheduleError::NoSuchSchedule => not_found(),
            ScheduleError::Declared | ScheduleError::TooMany => Self::unprocessable(text),
            ScheduleError::Storage(error) => error.into(),
        }
    }
}

/// Makes a schedule, or changes the one that has this deduplication key.
#[utoipa::path(
    post, path = "/api/v1/schedules", tag = "Schedules",
    request_body = CreateScheduleRequest,
    responses((status = 200, body = ScheduleItem, description = "The schedule"), ChangeErrors),
)]
pub(super) async fn create(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Body(body): Body<CreateScheduleRequest>,
) -> Result<Json<ScheduleItem>> {
    let plan = plan(body.plan)?;
    let schedule = server.schedules.create(caller.environment.id, body.deduplication_key, plan).await?;
    json(in_full(&caller.environment, schedule))
}

/// The schedules of the environment, oldest first.
#[utoipa::path(
    get, path = "/api/v1/schedules", tag = "Schedules",
    params(NumberedPages),
    responses((status = 200, body = ScheduleList, description = "A page"), ReadErrors),
)]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    params: Params,
) -> Result<Json<ScheduleList>> {
    params.only(&["page", "perPage"])?;
    let (page, per_page) = page_of(&params)?;
    let offset = (page - 1).saturating_mul(u64::from(per_page));
    let (schedules, count) = server.storage.schedules(caller.environment.id, offset, per_page).await?;
    let data = schedules.into_iter().map(|schedule| item(&caller.environment, schedule)).collect();
    json(ScheduleList { data, pagination: page_number(page, per_page, count) })
}

/// A schedule, and when it fires next.
#[utoipa::path(
    get, path = "/api/v1/schedules/{schedule}", tag = "Schedules",
    responses((status = 200, body = ScheduleItem, description = "The schedule"), ReadErrors),
)]
pub(super) async fn retrieve(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(schedule): Segments<String>,
) -> Result<Json<ScheduleItem>> {
    let found = server.storage.schedule(caller.environment.id, id_of(&schedule)?).await?;
    json(in_full(&caller.environment, found.ok_or_else(not_found)?))
}

/// Changes a schedule that was made over the API.
#[utoipa::path(
    put, path = "/api/v1/schedules/{schedule}", tag = "Schedules",
    request_body = SchedulePlan,
    responses((status = 200, body = ScheduleItem, description = "The schedule"), ChangeErrors),
)]
pub(super) async fn update(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(schedule): Segments<String>,
    Body(body): Body<SchedulePlan>,
) -> Result<Json<ScheduleItem>> {
    let id = id_of(&schedule)?;
    let updated = server.schedules.update(caller.environment.id, id, plan(body)?).await?;
    json(in_full(&caller.environment, updated))
}

/// Lets a schedule fire again.
#[utoipa::path(
    post, path = "/api/v1/schedules/{schedule}/activate", tag = "Schedules",
    responses((status = 200, body = ScheduleItem, description = "The schedule"), ChangeErrors),
)]
pub(super) async fn activate(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(schedule): Segments<String>,
) -> Result<Json<ScheduleItem>> {
    let activated = server.schedules.activate(caller.environment.id, id_of(&schedule)?).await?;
    json(in_full(&caller.environment, activated))
}

/// Lets a schedule fire no more, until it is activated.
#[utoipa::path(
    post, path = "/api/v1/schedules/{schedule}/deactivate", tag = "Schedules",
    responses((status = 200, body = ScheduleItem, description = "The schedule"), ChangeErrors),
)]
pub(super) async fn deactivate(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(schedule): Segments<String>,
) -> Result<Json<ScheduleItem>> {
    let deactivated = server.schedules.deactivate(caller.environment.id, id_of(&schedule)?).await?;
    json(in_full(&caller.environment, deactivated))
}

/// Deletes a schedule that was made over the API. Its runs stay.
#[utoipa::path(
    delete, path = "/api/v1/schedules/{schedule}", tag = "Schedules",
    responses((status = 200, body = DeletedSchedule, description = "It is deleted"), ChangeErrors),
)]
pub(super) async fn delete(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Segments(schedule): Segments<String>,
) -> Result<Json<DeletedSchedule>> {
    let id = id_of(&schedule)?;
    server.schedules.delete(caller.environment.id, id).await?;
    json(DeletedSchedule { id: id.to_string() })
}

/// The time zones that a schedule can be in.
#[utoipa::path(
    get, path = "/api/v1/timezones", tag = "Schedules",
    security(()),
    params(("excludeUtc" = Option<bool>, Query, description = "Whether to leave out UTC")),
    responses(
        (status = 200, body = TimezoneList, description = "The zones, UTC first"),
        (status = 400, body = crate::api::ErrorBody, description = "A parameter is unknown or not good"),
    ),
)]
pub(super) async fn timezones(params: Params) -> Result<Json<TimezoneList>> {
    params.only(&["excludeUtc"])?;
    let exclude_utc = params.flag("excludeUtc")?;
    let known = jiff::tz::db().available().map(|name| name.as_str().to_owned());
    let mut timezones: Vec<String> =
        known.filter(|name| name != UTC && !NO_ZONES.iter().any(|other| name.starts_with(other))).collect();
    timezones.sort();
    timezones.dedup();
    if !exclude_utc {
        timezones.insert(0, UTC.into());
    }
    json(TimezoneList { timezones })
}

fn plan(body: SchedulePlan) -> Result<Plan> {
    let SchedulePlan { task, cron, timezone, external_id, window } = body;
    if window.is_some_and(|window| !window.is_null()) {
        return Err(ApiError::unprocessable("window is not offered yet: leave it out"));
    }
    Ok(Plan { task, cron, timezone: timezone.unwrap_or_else(|| UTC.into()), external_id })
}

fn generator(schedule: &Schedule) -> Generator {
    let timing = Timing::parse(&schedule.cron, &schedule.timezone);
    Generator {
        kind: "CRON".into(),
        expression: schedule.cron.clone(),
        description: timing.map(|timing| timing.description()).unwrap_or_default(),
    }
}

/// The next times at which a schedule fires.
fn upcoming(schedule: &Schedule) -> Vec<Timestamp> {
    let (Some(next), Ok(timing)) = (schedule.next_fire_at, Timing::parse(&schedule.cron, &schedule.timezone)) else {
        return Vec::new();
    };
    std::iter::once(next).chain(timing.upcoming(next, UPCOMING - 1)).collect()
}

/// The caller's key; that of a declarative schedule is not the caller's.
fn caller_key(schedule: &Schedule) -> Option<String> {
    match schedule.kind {
        ScheduleKind::Declarative => None,
        ScheduleKind::Imperative => Some(schedule.deduplication_key.clone()),
    }
}

fn in_full(environment: &Environment, schedule: Schedule) -> ScheduleItem {
    let upcoming = upcoming(&schedule);
    ScheduleItem { upcoming, ..item(environment, schedule) }
}

fn item(environment: &Environment, schedule: Schedule) -> ScheduleItem {
    ScheduleItem {
        id: schedule.id.to_string(),
        kind: schedule.kind.into(),
        active: schedule.is_active,
        deduplication_key: caller_key(&schedule),
        generator: generator(&schedule),
        task: schedule.task,
        external_id: schedule.external_id,
        timezone: schedule.timezone,
        next_run: schedule.next_fire_at,
        environments: vec![ScheduleEnvironment {
            id: environment.id.to_string(),
            kind: kind_name(environment.kind).into(),
        }],
        upcoming: Vec::new(),
    }
}

/// The schedule of a run, as the run shows it.
pub(super) fn of_run(schedule: &Schedule) -> RunSchedule {
    RunSchedule {
        id: schedule.id.to_string(),
        external_id: schedule.external_id.clone(),
        deduplication_key: caller_key(schedule),
        generator: generator(schedule),
    }
}
