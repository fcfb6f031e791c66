//! What is asked for with every run and seldom changes, kept in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::EnvironmentKind;
use crate::model::id::{DeploymentId, EnvironmentId};
use crate::model::task::TaskDefinition;

/// Entries of each kind; when there are more, all are forgotten and read again.
const MAX_ENTRIES: usize = 10_000;

/// A cache of task definitions and current deployments.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    tasks: Mutex<HashMap<DeploymentId, HashMap<String, Arc<TaskDefinition>>>>,
    current: Mutex<Current>,
    kinds: Mutex<HashMap<EnvironmentId, EnvironmentKind>>,
}

/// Which deployments were current when the settings had this generation.
#[derive(Debug, Default)]
struct Current {
    settings: u64,
    deployments: HashMap<EnvironmentId, HashMap<String, Option<DeploymentId>>>,
    entries: usize,
}

impl Catalog {
    pub(super) fn task(&self, deployment: DeploymentId, task: &str) -> Option<Arc<TaskDefinition>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).get(&deployment)?.get(task).cloned()
    }

    pub(super) fn remember_task(&self, deployment: DeploymentId, task: TaskDefinition) -> Arc<TaskDefinition> {
        let task = Arc::new(task);
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.len() >= MAX_ENTRIES {
            tasks.clear();
        }
        tasks.entry(deployment).or_default().insert(task.id.clone(), task.clone());
        task
    }

    /// The kind of an environment, which never changes.
    pub(super) fn kind(&self, environment: EnvironmentId) -> Option<EnvironmentKind> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).get(&environment).copied()
    }

    pub(super) fn remember_kind(&self, environment: EnvironmentId, kind: EnvironmentKind) {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if kinds.len() >= MAX_ENTRIES {
            kinds.clear();
        }
        kinds.insert(environment, kind);
    }

    /// What is known of the task, if it was learned at this generation of the settings.
    pub(super) fn current(
        &self,
        settings: u64,
        environment: EnvironmentId,
        task: &str,
    ) -> Option<Option<DeploymentId>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.settings != settings {
            return None;
        }
        current.deployments.get(&environment)?.get(task).copied()
    }

    /// Keeps what was read after the settings had generation `settings`.
    pub(super) fn remember_current(
        &self,
        settings: u64,
        environment: EnvironmentId,
        task: &str,
        deployment: Option<DeploymentId>,
    ) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.settings > settings {
            return;
        }
        if current.settings < settings || current.entries >= MAX_ENTRIES {
            *current = Current { settings, ..Current::default() };
        }
        current.deployments.entry(environment).or_default().insert(task.into(), deployment);
        current.entries += 1;
    }
}
