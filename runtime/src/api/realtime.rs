//! Runs as realtime feeds show them: rows of an Electric shape, in native JSON.
//!
//! Other rules than elsewhere hold here: a status has its internal name, and instants have no zone.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::TaskRunError;
use crate::model::duration;
use crate::model::run::{Packet, Run, Status};

/// One message of a shape's log.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ShapeMessage {
    /// A row.
    Row {
        /// What tells it from other rows.
        key: String,
        /// The whole row.
        value: Box<RealtimeRun>,
        /// What became of it.
        headers: ChangeHeaders,
    },
    /// A word to the reader.
    Control {
        /// The word.
        headers: ControlHeaders,
    },
}

/// What became of a row.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChangeHeaders {
    /// `insert` or `update`.
    pub operation: &'static str,
}

/// A word to the reader of a shape.
#[derive(Debug, Serialize, ToSchema)]
pub struct ControlHeaders {
    /// `up-to-date`: there is nothing more for now. `must-refetch`: begin again.
    pub control: &'static str,
}

impl ShapeMessage {
    /// A row that the reader has not seen.
    pub fn insert(row: RealtimeRun) -> Self {
        Self::row(row, "insert")
    }

    /// A row that the reader may have seen before.
    pub fn update(row: RealtimeRun) -> Self {
        Self::row(row, "update")
    }

    /// The end of what there is for now.
    pub fn up_to_date() -> Self {
        Self::Control { headers: ControlHeaders { control: "up-to-date" } }
    }

    /// The reader is to forget what it knows, and to begin again.
    pub fn must_refetch() -> Self {
        Self::Control { headers: ControlHeaders { control: "must-refetch" } }
    }

    fn row(row: RealtimeRun, operation: &'static str) -> Self {
        let key = format!(r#""public"."TaskRun"/"{}""#, row.id);
        Self::Row { key, value: Box::new(row), headers: ChangeHeaders { operation } }
    }
}

/// A row: a run as it is now. Columns without a value are left out.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the columns are the contract's; `model::run::Run` says what they mean")]
pub struct RealtimeRun {
    pub id: String,
    pub friendly_id: String,
    pub task_identifier: String,
    pub status: &'static str,
    pub created_at: String,
    pub updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queued_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expired_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_test: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_duration_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_in_cents: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_cost_in_cents: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_tags: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<TaskRunError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realtime_streams: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

impl RealtimeRun {
    /// The row of a run with its payload and the names of its streams, without the columns of `skipped`.
    pub fn new(run: Run, payload: Packet, streams: Vec<String>, skipped: &[String]) -> Self {
        let is_final = run.status.is_final();
        let completed_at = is_final.then(|| zoneless(run.finished_at.unwrap_or(run.updated_at)));
        let mut row = Self {
            id: run.id.to_string(),
            friendly_id: run.id.to_string(),
            status: internal_name(run.status),
            created_at: zoneless(run.created_at),
            updated_at: zoneless(run.updated_at),
            started_at: run.started_at.map(zoneless),
            delay_until: run.delay_until.map(zoneless),
            queued_at: run.queued_at.map(zoneless),
            expired_at: completed_at.clone().filter(|_| run.status == Status::Expired),
            completed_at,
            number: Some(0),
            is_test: Some(run.is_test),
            usage_duration_ms: Some(u64::try_from(run.cpu.as_millis()).unwrap_or(u64::MAX)),
            cost_in_cents: Some(0.0),
            base_cost_in_cents: Some(0.0),
            ttl: run.ttl.map(duration::text),
            payload_type: Some(payload.format.as_str()),
            payload: payload.data,
            metadata_type: run.metadata.is_some().then_some("application/json"),
            metadata: run.metadata,
            output_type: run.output.is_some().then_some("application/json"),
            output: run.output,
            run_tags: Some(run.tags),
            error: run.error.as_ref().filter(|_| is_final && run.status != Status::Completed).map(Into::into),
            realtime_streams: Some(streams),
            idempotency_key: run.idempotency_key,
            task_identifier: run.task,
        };
        skipped.iter().for_each(|column| row.skip(column));
        row
    }

    fn skip(&mut self, column: &str) {
        match column {
            "startedAt" => self.started_at = None,
            "delayUntil" => self.delay_until = None,
            "queuedAt" => self.queued_at = None,
            "expiredAt" => self.expired_at = None,
            "completedAt" => self.completed_at = None,
            "number" => self.number = None,
            "isTest" => self.is_test = None,
            "usageDurationMs" => self.usage_duration_ms = None,
            "costInCents" => self.cost_in_cents = None,
            "baseCostInCents" => self.base_cost_in_cents = None,
            "ttl" => self.ttl = None,
            "payload" => self.payload = None,
            "payloadType" => self.payload_type = None,
            "metadata" => self.metadata = None,
            "metadataType" => self.metadata_type = None,
            "output" => self.output = None,
            "outputType" => self.output_type = None,
            "runTags" => self.run_tags = None,
            "error" => self.error = None,
            "realtimeStreams" => self.realtime_streams = None,
            "idempotencyKey" => self.idempotency_key = None,
            // The client cannot do without the others, and nobody knows any more.
            _ => {}
        }
    }
}

fn internal_name(status: Status) -> &'static str {
    match status {
        Status::PendingVersion => "PENDING_VERSION",
        Status::Delayed => "DELAYED",
        Status::Queued => "PENDING",
        Status::Executing => "EXECUTING",
        Status::Waiting => "WAITING_TO_RESUME",
        Status::Completed => "COMPLETED_SUCCESSFULLY",
        Status::Failed => "COMPLETED_WITH_ERRORS",
        Status::Crashed => "CRASHED",
        Status::TimedOut => "TIMED_OUT",
        Status::Canceled => "CANCELED",
        Status::Expired => "EXPIRED",
        Status::SystemFailure => "SYSTEM_FAILURE",
    }
}

/// ISO 8601 in UTC, without saying so: the client adds the `Z`.
fn zoneless(at: Timestamp) -> String {
    let mut text = super::instant(at);
    if text.ends_with('Z') {
        text.pop();
    }
    text
}
