//! Queues as the API shows them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::serialize_instant_option;

/// How a queue is named: by its id, or as the own queue of a task, or by the name it was given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum QueueKind {
    /// `queue_…`
    #[default]
    Id,
    /// The task's id; the queue is `task/<id>`.
    Task,
    /// Its name.
    Custom,
}

/// A queue, with what is in it now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueItem {
    /// `queue_…`
    pub id: String,
    /// Its name; of a task's own queue, the task's id.
    pub name: String,
    /// `task` or `custom`.
    #[serde(rename = "type")]
    pub kind: QueueKind,
    /// Runs that execute.
    pub running: u64,
    /// Runs that wait their turn.
    pub queued: u64,
    /// Whether none of its runs starts.
    pub paused: bool,
    /// Most runs that execute at a time, for every concurrency key. `null`: no limit of its own.
    #[schema(required)]
    pub concurrency_limit: Option<u32>,
    /// Where that limit comes from.
    pub concurrency: QueueConcurrency,
}

/// The limits of a queue.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueConcurrency {
    /// What counts now.
    #[schema(required)]
    pub current: Option<u32>,
    /// What the newest deployment declares.
    #[schema(required)]
    pub base: Option<u32>,
    /// What somebody put in its place.
    #[serde(rename = "override")]
    #[schema(required)]
    pub overriding: Option<u32>,
    /// When.
    #[serde(serialize_with = "serialize_instant_option")]
    #[schema(required)]
    pub overridden_at: Option<Timestamp>,
    /// Not recorded: keys have no names of people.
    #[schema(required)]
    pub overridden_by: Option<String>,
}

/// `GET /api/v1/queues`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct QueueList {
    /// By name.
    pub data: Vec<QueueItem>,
    /// Which page this is.
    pub pagination: PageNumber,
}

/// A page of a list that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PageNumber {
    /// From 1.
    pub current_page: u64,
    /// 1 at least.
    pub total_pages: u64,
    /// Items on all pages.
    pub count: u64,
}

/// `POST /api/v1/queues/{queue}/pause`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PauseQueue {
    /// How the queue is named.
    #[serde(rename = "type", default)]
    pub kind: QueueKind,
    /// `pause` or `resume`.
    pub action: PauseAction,
}

/// What to do with a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PauseAction {
    /// None of its runs starts any more.
    Pause,
    /// They start again.
    Resume,
}

/// `POST /api/v1/queues/{queue}/concurrency/override`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverrideLimit {
    /// How the queue is named.
    #[serde(rename = "type", default)]
    pub kind: QueueKind,
    /// Most runs at a time; 0 lets none start.
    pub concurrency_limit: u32,
}

/// `POST /api/v1/queues/{queue}/concurrency/reset`
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ResetLimit {
    /// How the queue is named.
    #[serde(rename = "type", default)]
    pub kind: QueueKind,
}
