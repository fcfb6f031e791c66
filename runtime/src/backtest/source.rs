//! What is known of a run that is replayed: what it was given and told, what it was answered, and what
//! came of it.

use std::sync::Arc;

use async_trait::async_trait;

use crate::model::digest::Digest;
use crate::model::replay::Observed;
use crate::model::task::Machine;
use crate::sandbox::context::Context;
use crate::sandbox::recording::Recording;

/// A run that is replayed.
#[derive(Debug, Clone)]
pub struct Source {
    /// What it was told of itself.
    pub context: Context,
    /// JSON text.
    pub payload: Arc<String>,
    /// Its metadata as it was given them: the JSON text of an object.
    pub metadata: Option<String>,
    /// Its machine, where it overrides the task's.
    pub machine: Option<Machine>,
    /// The CPU time of an attempt, where it overrides the task's.
    pub max_duration_seconds: Option<u32>,
    /// What its last attempt was answered.
    pub recording: Arc<Recording>,
    /// What was seen of it.
    pub observed: Observed,
}

/// A run with its recording as it was written: to be executed again exactly.
#[derive(Debug, Clone)]
pub struct Original {
    /// The run.
    pub source: Source,
    /// The version that it ran on.
    pub version: String,
    /// The component of that version.
    pub component: Digest,
    /// What its last attempt was answered. Secrets are in it.
    pub journal: Vec<u8>,
    /// Whether secrets were taken out of it.
    pub is_redacted: bool,
}

/// Where runs are found by their ids.
#[async_trait]
pub trait Sources: Send + Sync {
    /// A run that can be replayed; `None`: there is none of this id, or no recording of it. The error is
    /// for the operator.
    async fn source(&self, run: &str) -> Result<Option<Source>, String>;
}

impl Source {
    /// What random numbers are made from that the recording does not have.
    pub(super) fn seed(&self) -> u64 {
        let Digest(bytes) = Digest::of(self.context.run.id.as_bytes());
        bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// A run that this one triggers in a replay, and of which there is no recording: `number` tells those of a replay apart.
    pub(super) fn child(&self, number: usize, task: &str, metadata: Option<String>) -> Self {
        let mut context = self.context.clone();
        context.run.parent_run_id = Some(std::mem::take(&mut context.run.id));
        context.run.id = format!("run_sandbox{number}");
        context.task.id = task.into();
        let (machine, max_duration_seconds) = (None, None);
        Self { context, metadata, machine, max_duration_seconds, recording: Arc::default(), ..self.clone() }
    }
}
