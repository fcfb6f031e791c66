//! What attempts must know of their environment and deployment, kept until it changes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::egress::{BadRule, EgressPolicy, Rule};
use crate::model::id::{DeploymentId, EnvironmentId};
use crate::sandbox::context;
use crate::secrets::ServerKey;
use crate::storage::{Deployment, Environment, EnvironmentKind, Error, Storage};

/// Deployments that are kept; when there are more, all are forgotten and read again.
const MAX_DEPLOYMENTS: usize = 10_000;

/// The settings of an environment, ready for use.
#[derive(Debug, Clone)]
pub struct Settings {
    /// As guests are told of it.
    pub environment: context::Environment,
    /// Where its guests may connect to.
    pub egress: Arc<EgressPolicy>,
    /// Names and values, opened.
    pub variables: Arc<Vec<(String, String)>>,
    /// The names of those that are not marked as secret.
    pub plain: Arc<HashSet<String>>,
}

/// Reads settings and keeps them.
pub struct SettingsCache {
    storage: Storage,
    server_key: Arc<ServerKey>,
    known: Mutex<Known>,
    deployments: Mutex<HashMap<DeploymentId, Arc<Deployment>>>,
}

/// A variable that was unsealed.
struct Opened {
    value: String,
    is_secret: bool,
}

#[derive(Default)]
struct Known {
    generation: u64,
    environments: HashMap<EnvironmentId, Arc<Settings>>,
}

impl SettingsCache {
    /// Knows nothing yet.
    pub fn new(storage: Storage, server_key: Arc<ServerKey>) -> Self {
        Self { storage, server_key, known: Mutex::default(), deployments: Mutex::default() }
    }

    /// A deployment. What an attempt needs of it never changes.
    pub async fn deployment(&self, id: DeploymentId) -> Result<Option<Arc<Deployment>>, Error> {
        if let Some(known) = self.deployments.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Ok(Some(known.clone()));
        }
        let Some(found) = self.storage.deployment(id).await?.map(Arc::new) else { return Ok(None) };
        let mut deployments = self.deployments.lock().unwrap_or_else(PoisonError::into_inner);
        if deployments.len() >= MAX_DEPLOYMENTS {
            deployments.clear();
        }
        deployments.insert(id, found.clone());
        Ok(Some(found))
    }

    /// The settings of an environment as they are now; the error is for the operator.
    pub async fn of(&self, environment: EnvironmentId) -> Result<Arc<Settings>, String> {
        let generation = self.storage.settings_generation();
        if let Some(known) = self.known(generation, environment) {
            return Ok(known);
        }
        let settings = Arc::new(self.read(environment).await?);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.generation < generation {
            *known = Known { generation, environments: HashMap::new() };
        }
        if known.generation == generation {
            known.environments.insert(environment, settings.clone());
        }
        Ok(settings)
    }

    fn known(&self, generation: u64, environment: EnvironmentId) -> Option<Arc<Settings>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.generation == generation { known.environments.get(&environment).cloned() } else { None }
    }

    async fn read(&self, id: EnvironmentId) -> Result<Settings, String> {
        let text = |error: Error| error.to_string();
        let environment = self.storage.environment(id).await.map_err(text)?;
        let environment = environment.ok_or_else(|| format!("environment {id} does not exist"))?;
        let rules: Result<Vec<Rule>, BadRule> = environment.egress.iter().map(|rule| rule.parse()).collect();
        let rules = rules.map_err(|error| error.to_string())?;
        let mut variables = BTreeMap::<String, Opened>::new();
        // A branch has the variables of its parent, and puts its own in their place.
        let parent = environment.branch.as_ref().map(|branch| branch.parent);
        for owner in parent.into_iter().chain([id]) {
            self.read_variables(owner, &mut variables).await?;
        }
        Ok(Settings {
            environment: context_of(&environment),
            egress: Arc::new(EgressPolicy::new(rules)),
            plain: Arc::new(
                variables.iter().filter(|(_, opened)| !opened.is_secret).map(|(name, _)| name.clone()).collect(),
            ),
            variables: Arc::new(variables.into_iter().map(|(name, opened)| (name, opened.value)).collect()),
        })
    }

    async fn read_variables(
        &self,
        owner: EnvironmentId,
        variables: &mut BTreeMap<String, Opened>,
    ) -> Result<(), String> {
        for variable in self.storage.variables(owner).await.map_err(|error| error.to_string())? {
            let sealed_for = crate::secrets::variable_owner(owner, &variable.name);
            let value = self.server_key.open(&variable.sealed, &sealed_for).map_err(|error| error.to_string())?;
            variables.insert(variable.name, Opened { value, is_secret: variable.is_secret });
        }
        Ok(())
    }
}

fn context_of(environment: &Environment) -> context::Environment {
    context::Environment {
        id: environment.id.to_string(),
        slug: environment.slug.clone(),
        kind: match environment.kind {
            EnvironmentKind::Development => context::EnvironmentKind::Development,
            EnvironmentKind::Staging => context::EnvironmentKind::Staging,
            EnvironmentKind::Production => context::EnvironmentKind::Production,
            EnvironmentKind::Preview => context::EnvironmentKind::Preview,
        },
        branch_name: environment.branch.as_ref().map(|branch| branch.name.clone()),
    }
}
