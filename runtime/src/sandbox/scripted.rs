//! A sandbox that does what a test tells it to: for faults of the host, hangs and lost leases,
//! which no guest can stage.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dacapo_host_api::NoNetwork;
use tokio::sync::Notify;

use super::{Call, InspectError, Inspection, Outbound, Report, Sandbox};
use crate::model::attempt::{Outcome, Usage};
use crate::model::digest::Digest;
use crate::model::egress::EgressPolicy;
use crate::model::task::TaskDefinition;

/// What the next call does.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Ends so, at once.
    End(Outcome),
    /// Returns `null` after so long.
    Last(Duration),
    /// Never ends, until its future is dropped.
    Hang,
    /// Panics, as a defect of the host would.
    Panic,
}

/// What a call was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The component.
    pub component: Digest,
    /// The task.
    pub task: String,
    /// The run, by the id in its context.
    pub run: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// JSON text.
    pub payload: String,
}

/// Accepts every component as one that has the given tasks, and ends calls as scripted. Where the
/// script has ended, calls return `null`.
pub struct ScriptedSandbox {
    tasks: Vec<TaskDefinition>,
    script: Mutex<Script>,
    called: Notify,
}

#[derive(Default)]
struct Script {
    steps: VecDeque<Step>,
    seen: Vec<Seen>,
}

impl ScriptedSandbox {
    /// A sandbox whose components all have these tasks.
    pub fn new(tasks: Vec<TaskDefinition>) -> Self {
        Self { tasks, script: Mutex::default(), called: Notify::new() }
    }

    /// Adds to the script.
    pub fn then(&self, step: Step) {
        self.script().steps.push_back(step);
    }

    /// What calls there were, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.script().seen.clone()
    }

    /// Waits until there have been `count` calls.
    pub async fn called(&self, count: usize) {
        loop {
            let next = self.called.notified();
            if self.script().seen.len() >= count {
                return;
            }
            next.await;
        }
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Sandbox for ScriptedSandbox {
    async fn inspect(&self, component: Bytes) -> Result<Inspection, InspectError> {
        Ok(Inspection { digest: Digest::of(&component), tasks: self.tasks.clone(), imports: Vec::new() })
    }

    async fn keep(&self, _: Digest) {}

    async fn call(&self, call: Call) -> Report {
        let Call { component, task, context, payload, services, .. } = call;
        let (run, attempt) = (context.run.id, context.attempt.number);
        let step = {
            let mut script = self.script();
            script.seen.push(Seen { component, task, run, attempt, payload: payload.to_string() });
            script.steps.pop_front()
        };
        self.called.notify_waiters();
        let outcome = match step {
            None => Outcome::Returned("null".into()),
            Some(Step::End(outcome)) => outcome,
            Some(Step::Last(length)) => {
                tokio::time::sleep(length).await;
                Outcome::Returned("null".into())
            }
            Some(Step::Hang) => std::future::pending().await,
            Some(Step::Panic) => panic!("scripted"),
        };
        Report { outcome, usage: Usage::default(), services: Some(services) }
    }

    fn outbound(&self, _: &str, _: Arc<EgressPolicy>) -> Arc<dyn Outbound> {
        Arc::new(NoNetwork)
    }
}
