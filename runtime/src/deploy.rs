//! The verb on code: check a component, store it, make it current.
//!
//! A component becomes current only after it was compiled, linked and described, and after its
//! bytes and the deployment are on disk. Whatever fails before changes nothing.

use std::sync::Arc;

use bytes::Bytes;

use crate::artifacts::Artifacts;
use crate::clock::Clock;
use crate::model::id::EnvironmentId;
use crate::model::limits::{self, MAX_BRANCHES};
use crate::model::schedule::{BadTiming, Timing, UTC};
use crate::model::task::{DefinitionProblem, TaskDefinition, is_plain_name};
use crate::payload_schema::PayloadSchema;
use crate::sandbox::{InspectError, Sandbox};
use crate::storage::{self, Branch, Deployed, Deployment, Environment, NewDeployment, Promotion, Storage};

/// The verb. Clones share everything.
#[derive(Clone)]
pub struct Deploys {
    storage: Storage,
    artifacts: Artifacts,
    sandbox: Arc<dyn Sandbox>,
    clock: Clock,
}

/// Whether a deployment becomes current at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promote {
    /// At once.
    Now,
    /// When somebody says so.
    Later,
}

/// Where a deployment goes.
#[derive(Debug, Clone)]
pub enum Target {
    /// An environment.
    There(EnvironmentId),
    /// An environment that is made with the first deployment, for a branch.
    NewBranch {
        /// Whose branch it is; the new environment has its rules, its limit and its policy.
        parent: Arc<Environment>,
        /// The branch.
        name: String,
    },
}

/// What somebody uploads.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The component's name, under which its versions replace each other.
    pub name: String,
    /// Its bytes.
    pub component: Bytes,
    /// The caller's own name for the deployment.
    pub external_id: Option<String>,
    /// Who uploads it, for people.
    pub deployed_by: Option<String>,
    /// Whether it becomes current at once.
    pub promote: Promote,
}

/// Why nothing was deployed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The name cannot be used.
    #[error("`{0}` cannot be the name of a component: use 1 to 128 of the characters A-Z a-z 0-9 _ - /")]
    BadName(String),
    /// The caller's own name for the deployment cannot be used.
    #[error("externalId must have 1 to 128 characters")]
    BadExternalId,
    /// The component was looked at and refused.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// What it says of its tasks cannot be.
    #[error("the component describes its tasks wrongly")]
    BadDefinitions(Vec<DefinitionProblem>),
    /// There are as many branches as there may be.
    #[error("`{0}` has {MAX_BRANCHES} branches, and there can be no more: deploy to one of these")]
    TooManyBranches(String),
    /// Its bytes could not be stored.
    #[error("the component could not be stored")]
    Artifacts(#[from] std::io::Error),
    /// Storage failed.
    #[error("storage failed")]
    Storage(#[from] storage::Error),
}

impl Deploys {
    /// Deploys with these.
    pub fn new(storage: Storage, artifacts: Artifacts, sandbox: Arc<dyn Sandbox>, clock: Clock) -> Self {
        Self { storage, artifacts, sandbox, clock }
    }

    /// Checks `component`, stores it as the next version of `target` and, where asked, makes
    /// it current. The bytes of the newest deployment of this name again make no new version.
    pub async fn deploy(&self, target: Target, upload: Upload) -> Result<Deployed, DeployError> {
        let Upload { name, component, external_id, deployed_by, promote } = upload;
        if !is_plain_name(&name) {
            return Err(DeployError::BadName(name.chars().take(64).collect()));
        }
        if external_id.as_ref().is_some_and(|id| !(1..=limits::MAX_EXTERNAL_ID_CHARS).contains(&id.chars().count())) {
            return Err(DeployError::BadExternalId);
        }
        let size_bytes = component.len() as u64;
        let inspection = self.sandbox.inspect(component.clone()).await?;
        let described: Vec<_> = inspection.tasks.into_iter().map(TaskDefinition::with_stored_names).collect();
        let tasks = described.clone();
        // Compiling schemas takes its time, and some schemas take it on purpose.
        let problems = tokio::task::spawn_blocking(move || check_grammars(&tasks)).await;
        let problems = problems.map_err(std::io::Error::from)?;
        if !problems.is_empty() {
            return Err(DeployError::BadDefinitions(problems));
        }
        let environment = match target {
            Target::There(environment) => environment,
            Target::NewBranch { parent, name } => self.make_branch(&parent, name).await?,
        };
        let digest = self.artifacts.put(component).await?;
        self.sandbox.keep(digest).await;
        let now = self.clock.now();
        let new = NewDeployment {
            id: crate::secrets::deployment_id(now),
            environment,
            component: name,
            digest,
            size_bytes,
            imports: inspection.imports,
            tasks: described,
            external_id,
            deployed_by,
            created_at: now,
        };
        let promote_at = match promote {
            Promote::Later => None,
            Promote::Now => Some(now),
        };
        let deployed = self.storage.deploy(new, promote_at).await?;
        let (version, is_new) = (deployed.deployment.version, deployed.is_new);
        let component = deployed.deployment.component.as_str();
        tracing::info!(deployment.version = %version, component, is_new, "component deployed");
        Ok(deployed)
    }

    /// Makes the environment for a branch, unless somebody else just did.
    async fn make_branch(&self, parent: &Environment, name: String) -> Result<EnvironmentId, DeployError> {
        if self.storage.count_branches(parent.id).await? >= MAX_BRANCHES {
            return Err(DeployError::TooManyBranches(parent.slug.clone()));
        }
        let now = self.clock.now();
        let made = Environment {
            id: crate::secrets::environment_id(now),
            slug: format!("{}/{name}", parent.slug),
            kind: parent.kind,
            egress: parent.egress.clone(),
            concurrency_limit: parent.concurrency_limit,
            backtest_policy: parent.backtest_policy.clone(),
            branch: Some(Branch { parent: parent.id, name: name.clone() }),
            created_at: now,
        };
        let id = made.id;
        if self.storage.insert_environment(made).await? {
            tracing::info!(environment = parent.slug, branch = name, "branch made");
            return Ok(id);
        }
        let there = self.storage.environment_of_branch(parent.id, name).await?;
        Ok(there.map_or(id, |there| there.id))
    }

    /// Makes a deployment current; `None` where there is none of this name in the environment. That the policy of the
    /// environment is passed by with that is recorded.
    pub async fn promote(
        &self,
        deployment: &Deployment,
        is_past_policy: bool,
    ) -> Result<Option<Promotion>, storage::Error> {
        if is_past_policy {
            tracing::warn!(deployment.version = %deployment.version, "a version becomes current past the backtest policy");
        }
        self.storage.promote(deployment.environment, deployment.id, self.clock.now(), is_past_policy).await
    }
}

/// Checks what has a grammar of its own: cron patterns, time zones and schemas.
fn check_grammars(tasks: &[TaskDefinition]) -> Vec<DefinitionProblem> {
    let mut problems = Vec::new();
    for task in tasks {
        let mut report = |problem: String| problems.push(DefinitionProblem { task: task.id.clone(), problem });
        if let Some(cron) = &task.cron {
            match Timing::parse(&cron.pattern, cron.timezone.as_deref().unwrap_or(UTC)) {
                Ok(_) => {}
                Err(error @ BadTiming::Pattern { .. }) => report(format!("its {error}")),
                Err(error @ BadTiming::Zone(_)) => report(error.to_string()),
            }
        }
        if let Some(Err(error)) = task.payload_schema.as_deref().map(PayloadSchema::parse) {
            report(format!("its payload schema is wrong: {error}"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::Cron;

    #[track_caller]
    fn check(change: impl FnOnce(&mut TaskDefinition), expected: &str) {
        let mut task = TaskDefinition::new("t");
        change(&mut task);
        let problems: Vec<_> = check_grammars(&[task]).iter().map(ToString::to_string).collect();
        let found = problems.join("; ");
        assert!(found.starts_with(expected) && found.is_empty() == expected.is_empty(), "{found}");
    }

    fn cron(pattern: &str, timezone: Option<&str>) -> Option<Cron> {
        Some(Cron { pattern: pattern.into(), timezone: timezone.map(Into::into) })
    }

    #[test]
    fn cron_patterns_have_five_good_fields_and_a_known_zone() {
        check(|task| task.cron = cron("15 3 * * *", Some("Europe/Berlin")), "");
        check(|task| task.cron = cron("0 0 L * *", None), "");
        check(|task| task.cron = cron("* * *", None), "task `t`: its cron pattern `* * *` is wrong: it has 3 fields");
        check(|task| task.cron = cron("61 * * * *", None), "task `t`: its cron pattern `61 * * * *` is wrong");
        check(|task| task.cron = cron("0 3 * * *", Some("Mars/Olympus")), "task `t`: `Mars/Olympus` is not an IANA");
    }

    #[test]
    fn schemas_are_json_schemas() {
        check(|task| task.payload_schema = Some(r#"{"type": "object"}"#.into()), "");
        check(|task| task.payload_schema = Some("{".into()), "task `t`: its payload schema is wrong: not JSON");
        check(|task| task.payload_schema = Some(r#"{"type": 7}"#.into()), "task `t`: its payload schema is wrong");
        check(
            |task| task.payload_schema = Some(r##"{"$ref": "#"}"##.into()),
            "task `t`: its payload schema is wrong: a schema refers to itself",
        );
    }
}
