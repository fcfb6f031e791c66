//! Every JSON shape on the wire, with its units.
//!
//! Shared by `http`, `cli` and the tests. The shapes are those of the Trigger.dev management API
//! as its client 4.8.3 checks them; what Dacapo adds is marked so. Two rules hold everywhere: a
//! field without a value is left out and never `null`, and instants are ISO 8601 in UTC with
//! milliseconds.

mod backtests;
mod batches;
mod bulk;
mod calls;
mod changes;
mod comparison;
mod deployments;
mod environments;
mod error;
mod metadata;
mod packet;
mod packets;
mod queues;
mod rate;
mod realtime;
mod recordings;
mod replay_rules;
mod replays;
mod runs;
mod schedules;
mod sessions;
mod statistics;
mod streams;
mod tokens;
mod trace;
mod trigger;
mod waitpoints;

pub use backtests::{
    BacktestId, BacktestItem, BacktestList, BacktestPolicy, BacktestReplay, BacktestReplays, BacktestRequest,
    BacktestStatus, Gate,
};
pub use batches::{
    BatchDetails, BatchItemCounts, BatchItemError, BatchItemHead, BatchItemRequest, BatchItemsReceipt, BatchList,
    BatchProcessing, BatchResults, BatchSummary, CreateBatchReceipt, CreateBatchRequest,
};
pub use bulk::{
    BulkCounts, BulkFilter, BulkId, BulkItem, BulkKind, BulkList, BulkMember, BulkMembers, BulkRequest, BulkSelection,
    BulkStatus, OneOrMore, QueueName,
};
pub use calls::{CallItem, CallList, HttpCall, RunContext};
pub use changes::{
    AddTagsRequest, ChangeMetadataRequest, Message, MetadataAnswer, Operation, RescheduleRequest, ResetKeyReceipt,
    ResetKeyRequest,
};
pub use comparison::{
    Both, Change, ChildChanges, Comparison, EffectCall, EffectChange, EffectChanges, EffectMove, End, Listed, LogLines,
    RunComparison, RunSide, Used,
};
pub use deployments::{
    DeployReceipt, DeploymentItem, DeploymentPage, PromoteReceipt, RUNTIME, RUNTIME_VERSION, RetryItem, TaskItem,
};
pub use environments::{
    ApiKeyItem, ApiKeyList, ChangeReceipt, CreateKeyRequest, CreatedKey, Egress, EnvironmentConcurrency,
    EnvironmentItem, EnvironmentList, EnvironmentPolicy, ImportVariablesRequest, SetVariableRequest,
    UpdateVariableRequest, VariableItem,
};
pub use error::{ErrorBody, SerializedError, TaskRunError};
pub use metadata::{BadOperation, MetadataOperation, TooDeep, apply, apply_all, check_levels, find};
pub use packet::{BadPacket, is_array, plain_json};
pub use packets::{DownloadLink, STORED_PACKET, UploadLink};
pub use queues::{
    OverrideLimit, PageNumber, PauseAction, PauseQueue, QueueConcurrency, QueueItem, QueueKind, QueueList, ResetLimit,
};
pub use rate::RateProblem;
pub use realtime::{RealtimeRun, ShapeMessage};
pub use recordings::{RecordedEnd, RecordedError, RecordingFile, RerunReport, RerunStep};
pub use replay_rules::{ReplayRules, ReplayRulesItem, ReplayRulesRequest, TaskReplayRules};
pub use replays::{
    ChildrenPolicy, HttpStub, ReplayAnswer, ReplayEnd, ReplayLine, ReplayMode, ReplayOptions, ReplayReport,
    ReplayStubs, SourceEnd, UnmatchedPolicy, VariablesPolicy,
};
pub use runs::{
    AwaitedItem, EnvironmentRef, EventItem, EventList, LogItem, LogPage, Pagination, RelatedRun, RelatedRuns,
    RunCommon, RunCount, RunDetails, RunId, RunItem, RunList, RunResult, RunStatus, Usage,
};
pub use schedules::{
    CreateScheduleRequest, DeletedSchedule, Generator, RunSchedule, ScheduleEnvironment, ScheduleItem, ScheduleKind,
    ScheduleList, SchedulePlan, ScheduledPayload, TimezoneList,
};
pub use sessions::{LoginRequest, SessionItem};
pub use statistics::{
    EndedCounts, ErrorGroupItem, ErrorGroupList, Overview, PresentCounts, Series, TaskOverview, TaskStatistics,
};
pub use streams::{InputRequest, StreamEvent, StreamReceipt, StreamVersion};
pub use tokens::{BaseClaims, CreateTokenRequest, CreatedToken, RealtimeClaims, TokenEnd};
pub use trace::{
    AttemptFailure, FlatSpan, SpanData, SpanDetails, SpanEvent, Trace, TraceAnswer, TraceOrPage, TracePage,
    TracePagination, TraceSpan, TriggeredRun,
};
pub use trigger::{
    DebounceOption, GoesOn, IdempotencyKeyOptions, QueueOption, ReplayReceipt, ReplayRequest, StringOrList,
    TriggerOptions, TriggerReceipt, TriggerRequest, TtlOption,
};
pub use waitpoints::{
    CompleteWaitpointReceipt, CompleteWaitpointRequest, CreateWaitpointReceipt, CreateWaitpointRequest,
    WaitpointDetails, WaitpointItem, WaitpointList, WaitpointOutput, WaitpointStatus,
};

use jiff::Timestamp;
use serde::Serializer;

/// An instant as ISO 8601 with milliseconds.
pub fn instant(at: Timestamp) -> String {
    format!("{at:.3}")
}

pub(crate) fn serialize_instant<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{at:.3}"))
}

pub(crate) fn serialize_instants<S: Serializer>(instants: &[Timestamp], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(instants.iter().map(|at| instant(*at)))
}

pub(crate) fn serialize_instant_option<S: Serializer>(
    at: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serialize_instant(at, serializer),
        None => serializer.serialize_none(),
    }
}
