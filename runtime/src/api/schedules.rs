//! Schedules as the API shows them, and what a scheduled run is given.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::{PageNumber, instant, serialize_instant_option, serialize_instants};
use crate::model::run::{Packet, PacketFormat};
use crate::model::schedule;

/// Who made a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ScheduleKind {
    /// A component's description.
    Declarative,
    /// Somebody over the API.
    Imperative,
}

impl From<schedule::ScheduleKind> for ScheduleKind {
    fn from(kind: schedule::ScheduleKind) -> Self {
        match kind {
            schedule::ScheduleKind::Declarative => Self::Declarative,
            schedule::ScheduleKind::Imperative => Self::Imperative,
        }
    }
}

impl ScheduleKind {
    /// The contract's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Declarative => "DECLARATIVE",
            Self::Imperative => "IMPERATIVE",
        }
    }
}

/// `POST /api/v1/schedules`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateScheduleRequest {
    /// The schedule that has it is changed instead.
    pub deduplication_key: String,
    /// Everything else.
    #[serde(flatten)]
    pub plan: SchedulePlan,
}

/// `PUT /api/v1/schedules/{schedule}`: when what runs.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchedulePlan {
    /// The task.
    pub task: String,
    /// Five fields; `L`, `W` and `#` are understood.
    pub cron: String,
    /// IANA name; UTC where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// The caller's own name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Not offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Value>,
}

/// A schedule.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleItem {
    /// `sched_…`
    pub id: String,
    /// Who made it.
    #[serde(rename = "type")]
    pub kind: ScheduleKind,
    /// What it runs.
    pub task: String,
    /// Whether it fires.
    pub active: bool,
    /// The caller's key; a declarative schedule has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deduplication_key: Option<String>,
    /// The caller's own name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// What makes it fire.
    pub generator: Generator,
    /// IANA name.
    pub timezone: String,
    /// When it fires next.
    #[serde(serialize_with = "serialize_instant_option", skip_serializing_if = "Option::is_none", default)]
    pub next_run: Option<Timestamp>,
    /// Where its runs run: one.
    pub environments: Vec<ScheduleEnvironment>,
    /// Dacapo's: the next five times at which it fires. Not in lists; none where it is not active.
    #[serde(serialize_with = "serialize_instants", skip_serializing_if = "Vec::is_empty", default)]
    pub upcoming: Vec<Timestamp>,
}

/// What makes a schedule fire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Generator {
    /// `CRON`
    #[serde(rename = "type")]
    pub kind: String,
    /// Five fields.
    pub expression: String,
    /// The same in words.
    pub description: String,
}

/// An environment of a schedule.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ScheduleEnvironment {
    /// `env_…`
    pub id: String,
    /// `DEVELOPMENT`, `STAGING`, `PRODUCTION` or `PREVIEW`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// `GET /api/v1/schedules`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ScheduleList {
    /// Oldest first.
    pub data: Vec<ScheduleItem>,
    /// Which page this is.
    pub pagination: PageNumber,
}

/// `DELETE /api/v1/schedules/{schedule}`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct DeletedSchedule {
    /// `sched_…`
    pub id: String,
}

/// `GET /api/v1/timezones`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TimezoneList {
    /// IANA names; UTC first.
    pub timezones: Vec<String>,
}

/// The schedule of a run that one fired, as the run shows it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunSchedule {
    /// `sched_…`
    pub id: String,
    /// The caller's own name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The caller's key; a declarative schedule has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deduplication_key: Option<String>,
    /// What makes it fire.
    pub generator: Generator,
}

/// What a scheduled run is given.
#[derive(Debug, Clone)]
pub struct ScheduledPayload {
    /// `sched_…`
    pub schedule_id: String,
    /// Who made the schedule.
    pub kind: ScheduleKind,
    /// The moment for which it fired.
    pub timestamp: Timestamp,
    /// The moment for which it fired before.
    pub last_timestamp: Option<Timestamp>,
    /// The caller's own name for the schedule.
    pub external_id: Option<String>,
    /// IANA name.
    pub timezone: String,
    /// The moments after this one.
    pub upcoming: Vec<Timestamp>,
}

impl ScheduledPayload {
    /// As superjson, so that clients find dates where guests find ISO texts.
    pub fn packet(&self) -> Packet {
        let upcoming: Vec<String> = self.upcoming.iter().copied().map(instant).collect();
        let mut json = json!({
            "scheduleId": self.schedule_id,
            "type": self.kind.as_str(),
            "timestamp": instant(self.timestamp),
            "timezone": self.timezone,
            "upcoming": upcoming,
        });
        let mut dates: Map<String, Value> = Map::new();
        let mut is_date = |path: String| drop(dates.insert(path, json!(["Date"])));
        is_date("timestamp".into());
        (0..upcoming.len()).for_each(|place| is_date(format!("upcoming.{place}")));
        if let Some(last) = self.last_timestamp {
            json["lastTimestamp"] = instant(last).into();
            is_date("lastTimestamp".into());
        }
        if let Some(external_id) = &self.external_id {
            json["externalId"] = external_id.as_str().into();
        }
        let data = json!({ "json": json, "meta": { "values": dates } }).to_string();
        Packet { data: Some(data), format: PacketFormat::SuperJson }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::plain_json;

    #[test]
    fn a_guest_is_given_texts_and_a_client_dates() {
        let moment = |text: &str| text.parse::<Timestamp>().unwrap();
        let payload = ScheduledPayload {
            schedule_id: "sched_1".into(),
            kind: ScheduleKind::Imperative,
            timestamp: moment("2026-11-21T03:00:00Z"),
            last_timestamp: Some(moment("2026-11-20T03:00:00Z")),
            external_id: Some("user_1".into()),
            timezone: "UTC".into(),
            upcoming: vec![moment("2026-11-22T03:00:00Z")],
        };
        let packet = payload.packet();
        let plain: Value = serde_json::from_str(&plain_json(&packet).unwrap()).unwrap();
        let expected = json!({
            "scheduleId": "sched_1",
            "type": "IMPERATIVE",
            "timestamp": "2026-11-21T03:00:00.000Z",
            "lastTimestamp": "2026-11-20T03:00:00.000Z",
            "externalId": "user_1",
            "timezone": "UTC",
            "upcoming": ["2026-11-22T03:00:00.000Z"],
        });
        assert_eq!(plain, expected);
        let whole: Value = serde_json::from_str(packet.data.as_deref().unwrap()).unwrap();
        let dates = json!({ "timestamp": ["Date"], "lastTimestamp": ["Date"], "upcoming.0": ["Date"] });
        assert_eq!(whole["meta"]["values"], dates);
    }
}
