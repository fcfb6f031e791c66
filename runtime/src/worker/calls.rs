//! What a run's guests are called with: the same for its attempts and for its hooks.

use std::sync::Arc;

use super::attempt::Shared;
use super::services::{Recorder, RunServices};
use super::world::RunWorld;
use crate::api;
use crate::context::{AttemptLimits, Settings, context_of, limits_of};
use crate::model::id::DeploymentId;
use crate::model::run::{Packet, Run};
use crate::model::task::TaskDefinition;
use crate::sandbox::{Activity, Call, Entry, Journal};
use crate::storage::{Deployment, Error};

/// What must be known before a guest of a run can be called.
pub(super) struct Plan<'r> {
    pub(super) run: &'r Run,
    pub(super) deployment: Arc<Deployment>,
    pub(super) definition: Arc<TaskDefinition>,
    pub(super) settings: Arc<Settings>,
    /// JSON text.
    payload: Arc<String>,
}

impl<'r> Plan<'r> {
    /// Gathers it; the error is for the operator.
    pub(super) async fn of(
        shared: &Shared,
        run: &'r Run,
        deployment: Option<DeploymentId>,
        payload: &Packet,
    ) -> Result<Self, String> {
        let fault = |error: Error| error.to_string();
        let missing = |what: &str| format!("{what} is missing from the database");
        let no_deployment = || missing("the deployment of the run");
        let deployment = shared.settings.deployment(deployment.ok_or_else(no_deployment)?).await;
        let deployment = deployment.map_err(fault)?.ok_or_else(no_deployment)?;
        let definition = shared.storage.task(deployment.id, &run.task).await.map_err(fault)?;
        let definition = definition.ok_or_else(|| missing("the task of the run"))?;
        let settings = shared.settings.of(run.environment).await?;
        let payload = api::plain_json(payload).map_err(|error| error.to_string())?;
        Ok(Self { run, deployment, definition, settings, payload: Arc::new(payload) })
    }

    /// A call of a fresh guest, of which nothing is recorded.
    pub(super) fn call(&self, entry: Entry, recorder: &Recorder, world: RunWorld, limits: &AttemptLimits) -> Call {
        let Self { run, deployment, definition, settings, payload } = self;
        Call {
            component: deployment.digest,
            entry,
            task: run.task.clone(),
            context: context_of(run, definition, deployment, settings, limits),
            payload: payload.clone(),
            limits: limits_of(run, definition, limits),
            variables: settings.variables.clone(),
            egress: settings.egress.clone().into(),
            tape: None,
            services: Box::new(RunServices::new(recorder.clone())),
            world: Arc::new(world),
            journal: Journal::off(),
            activity: Activity::default(),
            is_nested: false,
        }
    }
}
