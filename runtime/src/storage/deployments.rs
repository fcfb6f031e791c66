//! Deployments: versions of components, and which of them runs a task.

use std::sync::Arc;

use jiff::Timestamp;

use super::page::{Page, Place};
use super::queues::declare_queues;
use super::runs::release_pending;
use super::schedules::declare_schedules;
use super::sql::{Row, Tx, values};
use super::upkeep::MAX_UPKEEP_RUNS;
use super::{Error, Storage};
use crate::model::digest::Digest;
use crate::model::hook::Hooks;
use crate::model::id::{DeploymentId, EnvironmentId, Id, RunId};
use crate::model::retry::RetryPolicy;
use crate::model::task::{Cron, QueueDefinition, TaskDefinition};
use crate::model::version::Version;

/// A component that is to be stored as a deployment. Its bytes are stored already.
#[derive(Debug, Clone)]
pub struct NewDeployment {
    /// Its name.
    pub id: DeploymentId,
    /// Where it will run.
    pub environment: EnvironmentId,
    /// The name under which it was uploaded.
    pub component: String,
    /// Its bytes.
    pub digest: Digest,
    /// How many they are.
    pub size_bytes: u64,
    /// What it imports.
    pub imports: Vec<String>,
    /// Its tasks, at least one.
    pub tasks: Vec<TaskDefinition>,
    /// The caller's own name for it, such as a commit; runs can wait for it.
    pub external_id: Option<String>,
    /// Who uploaded it, for people.
    pub deployed_by: Option<String>,
    /// Now.
    pub created_at: Timestamp,
}

/// A deployment, without its tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Its name.
    pub id: DeploymentId,
    /// Where it runs.
    pub environment: EnvironmentId,
    /// `YYYYMMDD.N`
    pub version: Version,
    /// The name under which it was uploaded.
    pub component: String,
    /// Its bytes.
    pub digest: Digest,
    /// How many they are.
    pub size_bytes: u64,
    /// What it imports.
    pub imports: Vec<String>,
    /// The caller's own name for it.
    pub external_id: Option<String>,
    /// When it was uploaded.
    pub created_at: Timestamp,
    /// When it was made current last.
    pub promoted_at: Option<Timestamp>,
    /// How many tasks run on it now.
    pub current_tasks: u64,
    /// When it was made current last past the policy of its environment.
    pub past_policy_at: Option<Timestamp>,
    /// Who uploaded it first, for people.
    pub deployed_by: Option<String>,
}

impl Deployment {
    /// The first eight digits of its digest: enough for people to tell it from others.
    pub fn short_code(&self) -> String {
        self.digest.to_string()[..8].into()
    }
}

/// What storing a deployment led to.
#[derive(Debug, Clone)]
pub struct Deployed {
    /// The deployment that has the bytes.
    pub deployment: Deployment,
    /// Whether it is new.
    pub is_new: bool,
    /// What making it current changed, where that was asked for.
    pub promotion: Option<Promotion>,
}

/// What a promotion changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Promotion {
    /// Tasks that run on this deployment now.
    pub tasks: Vec<String>,
    /// Tasks of the same component that this deployment no longer has; their runs wait.
    pub retired: Vec<String>,
    /// Runs that had waited for it and are queued now.
    pub released_runs: usize,
}

macro_rules! deployment_columns {
    () => {
        "id, environment_id, version, component, digest, size_bytes, imports, external_id, created_at, promoted_at,
         (SELECT COUNT(*) FROM current_tasks c WHERE c.environment_id = deployments.environment_id
                                               AND c.deployment_id = deployments.id) AS current_tasks,
         (SELECT MAX(p.at) FROM promotions p WHERE p.deployment_id = deployments.id
                                             AND p.is_past_policy = 1) AS past_policy_at, deployed_by"
    };
}

macro_rules! task_columns {
    () => {
        "t.task_id, t.description, t.retry_max_attempts, t.retry_factor, t.retry_min_delay_ms, t.retry_max_delay_ms,
         t.retry_randomize, t.queue_name, t.queue_limit, t.max_duration_seconds, t.ttl_ms, t.machine, t.cron_pattern,
         t.cron_timezone, t.payload_schema, t.hooks, t.keeps_journals"
    };
}
impl Storage {
    /// Stores a deployment under the next version of its environment, unless its newest
    /// deployment of the same component has the same bytes: then that one is the answer. Where
    /// `promote_at` is given it becomes current in the same transaction, so that of several uploads
    /// at once the newest version ends up current.
    pub async fn deploy(&self, new: NewDeployment, promote_at: Option<Timestamp>) -> Result<Deployed, Error> {
        self.writer
            .write(move |tx| {
                let (mut deployment, is_new) = insert_deployment(tx, &new)?;
                label(tx, &mut deployment, &new)?;
                let Some(now) = promote_at else {
                    return Ok(Deployed { deployment, is_new, promotion: None });
                };
                let promotion = promote(tx, new.environment, deployment.id, now, false)?;
                if let Some(promotion) = &promotion {
                    deployment.promoted_at = Some(now);
                    deployment.current_tasks = promotion.tasks.len() as u64;
                }
                Ok(Deployed { deployment, is_new, promotion })
            })
            .await
    }

    /// Makes a deployment current: its tasks run on it from now on, tasks that its component no
    /// longer has run nowhere, and the runs that waited for it are queued. `None`: there is no such
    /// deployment in this environment. It stays on record where the environment's policy was passed by.
    pub async fn promote(
        &self,
        environment: EnvironmentId,
        deployment: DeploymentId,
        now: Timestamp,
        is_past_policy: bool,
    ) -> Result<Option<Promotion>, Error> {
        self.writer.write(move |tx| promote(tx, environment, deployment, now, is_past_policy)).await
    }

    /// A deployment by its id.
    pub async fn deployment(&self, id: DeploymentId) -> Result<Option<Deployment>, Error> {
        let sql = concat!("SELECT ", deployment_columns!(), " FROM deployments WHERE id = ?1");
        self.read(move |tx| tx.row(sql, values![id], read_deployment)).await
    }

    /// A deployment by its version.
    pub async fn deployment_of_version(
        &self,
        environment: EnvironmentId,
        version: Version,
    ) -> Result<Option<Deployment>, Error> {
        let sql =
            concat!("SELECT ", deployment_columns!(), " FROM deployments WHERE environment_id = ?1 AND version = ?2");
        self.read(move |tx| tx.row(sql, values![environment, version], read_deployment)).await
    }

    /// The deployments by which the runs of these versions are found. A version that nobody deployed has
    /// no runs: no deployment has the id that stands for it.
    pub async fn deployments_of_versions(
        &self,
        environment: EnvironmentId,
        versions: &[Version],
    ) -> Result<Vec<DeploymentId>, Error> {
        let mut deployments = Vec::with_capacity(versions.len());
        for version in versions {
            let found = self.deployment_of_version(environment, *version).await?;
            deployments.push(found.map_or(DeploymentId::FIRST, |deployment| deployment.id));
        }
        Ok(deployments)
    }

    /// The newest deployment with a caller's own name.
    pub async fn deployment_of_label(
        &self,
        environment: EnvironmentId,
        external_id: String,
    ) -> Result<Option<DeploymentId>, Error> {
        let sql = "SELECT id FROM deployments WHERE environment_id = ?1 AND external_id = ?2 ORDER BY id DESC LIMIT 1";
        self.read(move |tx| tx.row(sql, values![environment, &external_id], |row| row.column())).await
    }

    /// The deployment that was promoted last and is still current, and the one before it (of the
    /// same component), to which a roll back leads.
    pub async fn current_deployment(
        &self,
        environment: EnvironmentId,
    ) -> Result<Option<(Deployment, Option<Deployment>)>, Error> {
        self.read(move |tx| current_deployment(tx, environment)).await
    }

    /// Deployments of an environment that were made between two moments, newest first.
    pub async fn deployments(
        &self,
        environment: EnvironmentId,
        (from, to): (Option<Timestamp>, Option<Timestamp>),
        place: Place<DeploymentId>,
        limit: u32,
    ) -> Result<Page<Deployment, DeploymentId>, Error> {
        let newest_first = concat!(
            "SELECT ",
            deployment_columns!(),
            " FROM deployments WHERE environment_id = ?1 AND id > ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4"
        );
        let oldest_first = concat!(
            "SELECT ",
            deployment_columns!(),
            " FROM deployments WHERE environment_id = ?1 AND id > ?2 AND id < ?3 ORDER BY id LIMIT ?4"
        );
        let sql = if place.is_backward() { oldest_first } else { newest_first };
        let (above, below) = place.range(from, to);
        self.read(move |tx| {
            let found = tx.rows(sql, values![environment, above, below, limit + 1], read_deployment)?;
            Ok(Page::found(found, place, limit))
        })
        .await
    }

    /// The tasks of a deployment, by id. See [`Storage::task`] for one of them.
    pub async fn tasks(&self, deployment: DeploymentId) -> Result<Vec<TaskDefinition>, Error> {
        let sql = concat!(
            "SELECT ",
            task_columns!(),
            " FROM deployment_tasks t WHERE t.deployment_id = ?1 ORDER BY t.task_id"
        );
        self.read(move |tx| tx.rows(sql, values![deployment], read_task)).await
    }

    /// The tasks of a component, by id: those of this deployment of it, and those that run on another one now.
    pub async fn component_tasks(
        &self,
        environment: EnvironmentId,
        component: String,
        deployment: DeploymentId,
    ) -> Result<Vec<String>, Error> {
        let own = "SELECT task_id FROM deployment_tasks WHERE deployment_id = ?1";
        let current = "SELECT c.task_id FROM current_tasks c JOIN deployments d ON d.id = c.deployment_id
                       WHERE  c.environment_id = ?1 AND d.component = ?2";
        self.read(move |tx| {
            let mut tasks: Vec<String> = tx.rows(own, values![deployment], |row| row.column())?;
            tasks.extend(tx.rows(current, values![environment, &component], |row| row.column::<String>())?);
            tasks.sort();
            tasks.dedup();
            Ok(tasks)
        })
        .await
    }

    /// The deployment of a component on which its tasks run now, if any do.
    pub async fn current_deployment_of_component(
        &self,
        environment: EnvironmentId,
        component: String,
    ) -> Result<Option<DeploymentId>, Error> {
        let sql = "SELECT c.deployment_id FROM current_tasks c JOIN deployments d ON d.id = c.deployment_id
                   WHERE  c.environment_id = ?1 AND d.component = ?2
                   ORDER BY c.task_id
                   LIMIT  1";
        self.read(move |tx| tx.row(sql, values![environment, &component], |row| row.column())).await
    }

    /// A task of a deployment. Cached: a deployment never changes.
    pub async fn task(&self, deployment: DeploymentId, task: &str) -> Result<Option<Arc<TaskDefinition>>, Error> {
        if let Some(known) = self.catalog.task(deployment, task) {
            return Ok(Some(known));
        }
        let sql = concat!(
            "SELECT ",
            task_columns!(),
            " FROM deployment_tasks t WHERE t.deployment_id = ?1 AND t.task_id = ?2"
        );
        let id = task.to_owned();
        let found = self.read(move |tx| tx.row(sql, values![deployment, &id], read_task)).await?;
        Ok(found.map(|found| self.catalog.remember_task(deployment, found)))
    }

    /// The deployment on which a task runs now. Cached until a promotion.
    pub async fn current_deployment_of(
        &self,
        environment: EnvironmentId,
        task: &str,
    ) -> Result<Option<DeploymentId>, Error> {
        let settings = self.listeners.settings();
        if let Some(known) = self.catalog.current(settings, environment, task) {
            return Ok(known);
        }
        let sql = "SELECT deployment_id FROM current_tasks WHERE environment_id = ?1 AND task_id = ?2";
        let id = task.to_owned();
        let found = self.read(move |tx| tx.row(sql, values![environment, &id], |row| row.column())).await?;
        self.catalog.remember_current(settings, environment, task, found);
        Ok(found)
    }
}

fn insert_deployment(tx: &mut Tx<'_>, new: &NewDeployment) -> Result<(Deployment, bool), Error> {
    let same = concat!(
        "SELECT ",
        deployment_columns!(),
        " FROM deployments WHERE environment_id = ?1 AND component = ?2 ORDER BY id DESC LIMIT 1"
    );
    let newest = tx.row(same, values![new.environment, &new.component], read_deployment)?;
    if let Some(existing) = newest.filter(|newest| newest.digest == new.digest) {
        return Ok((existing, false));
    }
    let latest = "SELECT id, version FROM deployments WHERE environment_id = ?1 ORDER BY id DESC LIMIT 1";
    let latest = tx.row(latest, values![new.environment], |row| Ok((row.column()?, row.column()?)))?;
    let (latest_id, latest_version): (Option<DeploymentId>, _) = latest.unzip();
    // The order of ids is the order of versions, also when the clock was set back.
    let id = latest_id.map_or(new.id, |latest| new.id.max(latest.next()));
    let version = Version::after(latest_version, new.created_at);
    tx.execute(
        "INSERT INTO deployments (id, environment_id, version, component, digest, size_bytes, imports, created_at,
                                  deployed_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        values![
            id,
            new.environment,
            version,
            &new.component,
            new.digest,
            new.size_bytes,
            new.imports.join("\n"),
            new.created_at,
            new.deployed_by.as_ref(),
        ],
    )?;
    new.tasks.iter().try_for_each(|task| insert_task(tx, id, task))?;
    let deployment = Deployment {
        id,
        environment: new.environment,
        version,
        component: new.component.clone(),
        digest: new.digest,
        size_bytes: new.size_bytes,
        imports: new.imports.clone(),
        external_id: None,
        created_at: new.created_at,
        promoted_at: None,
        current_tasks: 0,
        past_policy_at: None,
        deployed_by: new.deployed_by.clone(),
    };
    Ok((deployment, true))
}

/// Gives a deployment the name that its caller has for it, and queues the runs that waited for that;
/// upkeep goes on where there are more than one transaction takes.
fn label(tx: &mut Tx<'_>, deployment: &mut Deployment, new: &NewDeployment) -> Result<(), Error> {
    let Some(external_id) = &new.external_id else { return Ok(()) };
    let set = "UPDATE deployments SET external_id = ?2 WHERE id = ?1";
    let waiting = "SELECT id FROM runs
                   WHERE  environment_id = ?1 AND external_deployment = ?2 AND status = 'pending-version'
                   ORDER BY id
                   LIMIT  ?3";
    tx.execute(set, values![deployment.id, external_id])?;
    deployment.external_id = Some(external_id.clone());
    let waiting: Vec<RunId> =
        tx.rows(waiting, values![new.environment, external_id, MAX_UPKEEP_RUNS], |row| row.column())?;
    if waiting.len() == MAX_UPKEEP_RUNS as usize {
        tx.effects.pending_left(true);
    }
    waiting.into_iter().try_for_each(|run| release_pending(tx, run, new.created_at).map(drop))
}

fn insert_task(tx: &mut Tx<'_>, deployment: DeploymentId, task: &TaskDefinition) -> Result<(), Error> {
    let sql = "INSERT INTO deployment_tasks (
                   deployment_id, task_id, description, retry_max_attempts, retry_factor, retry_min_delay_ms,
                   retry_max_delay_ms, retry_randomize, queue_name, queue_limit, max_duration_seconds, ttl_ms, machine,
                   cron_pattern, cron_timezone, payload_schema, hooks, keeps_journals)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)";
    let retry = task.retry.as_ref();
    let queue = task.queue.as_ref();
    let cron = task.cron.as_ref();
    let values = values![
        deployment,
        &task.id,
        task.description.as_ref(),
        retry.map(|retry| retry.max_attempts),
        retry.map(|retry| retry.factor.to_string()),
        retry.map(|retry| retry.min_delay),
        retry.map(|retry| retry.max_delay),
        retry.map(|retry| retry.randomize),
        queue.map(|queue| &queue.name),
        queue.and_then(|queue| queue.concurrency_limit),
        task.max_duration_seconds,
        task.ttl,
        task.machine.map(|machine| machine.name()),
        cron.map(|cron| &cron.pattern),
        cron.and_then(|cron| cron.timezone.as_ref()),
        task.payload_schema.as_ref(),
        task.hooks.to_text(),
        task.keeps_journals,
    ];
    if task.hooks != Hooks::default() {
        tx.effects.hooks_exist();
    }
    tx.execute(sql, values).map(drop)
}

pub(super) fn promote(
    tx: &mut Tx<'_>,
    environment: EnvironmentId,
    deployment: DeploymentId,
    now: Timestamp,
    is_past_policy: bool,
) -> Result<Option<Promotion>, Error> {
    let marked = tx.row(
        "UPDATE deployments SET promoted_at = ?3 WHERE id = ?1 AND environment_id = ?2 RETURNING component",
        values![deployment, environment, now],
        |row| row.column::<String>(),
    )?;
    let Some(component) = marked else {
        return Ok(None);
    };
    tx.execute(
        "INSERT INTO promotions (environment_id, seq, deployment_id, at, is_past_policy)
         VALUES (?1, COALESCE((SELECT MAX(seq) FROM promotions WHERE environment_id = ?1), 0) + 1, ?2, ?3, ?4)",
        values![environment, deployment, now, is_past_policy],
    )?;
    let tasks = tx.rows(
        "INSERT INTO current_tasks (environment_id, task_id, deployment_id)
         SELECT ?1, t.task_id, ?2 FROM deployment_tasks t WHERE t.deployment_id = ?2
         ON CONFLICT (environment_id, task_id) DO UPDATE SET deployment_id = excluded.deployment_id
         RETURNING task_id",
        values![environment, deployment],
        |row| row.column(),
    )?;
    let retired = tx.rows(
        "DELETE FROM current_tasks
         WHERE  environment_id = ?1 AND deployment_id <> ?2
         AND    deployment_id IN (SELECT d.id FROM deployments d WHERE d.environment_id = ?1 AND d.component = ?3)
         RETURNING task_id",
        values![environment, deployment, &component],
        |row| row.column(),
    )?;
    tx.effects.settings_changed();
    declare_queues(tx, environment, deployment, now)?;
    declare_schedules(tx, environment, deployment, now)?;
    let released_runs = release_runs(tx, environment, &tasks, now)?;
    Ok(Some(Promotion { tasks: sorted(tasks), retired: sorted(retired), released_runs }))
}

/// Queues runs that waited for one of the tasks; upkeep goes on where there are more than one
/// transaction takes.
fn release_runs(tx: &mut Tx<'_>, environment: EnvironmentId, tasks: &[String], now: Timestamp) -> Result<usize, Error> {
    let sql = "SELECT id FROM runs
               WHERE  environment_id = ?1 AND task_id = ?2 AND status = 'pending-version'
               AND    external_deployment IS NULL
               ORDER BY id
               LIMIT  ?3";
    let mut released = 0;
    for task in tasks {
        let pending: Vec<RunId> = tx.rows(sql, values![environment, task, MAX_UPKEEP_RUNS], |row| row.column())?;
        if pending.len() == MAX_UPKEEP_RUNS as usize {
            tx.effects.pending_left(true);
        }
        for run in pending {
            released += usize::from(release_pending(tx, run, now)?);
        }
    }
    Ok(released)
}

fn current_deployment(
    tx: &Tx<'_>,
    environment: EnvironmentId,
) -> Result<Option<(Deployment, Option<Deployment>)>, Error> {
    let current = concat!(
        "SELECT ",
        deployment_columns!(),
        " FROM deployments WHERE id = (
               SELECT p.deployment_id FROM promotions p WHERE p.environment_id = ?1 ORDER BY p.seq DESC LIMIT 1)"
    );
    let Some(current) = tx.row(current, values![environment], read_deployment)? else {
        return Ok(None);
    };
    let before = concat!(
        "SELECT ",
        deployment_columns!(),
        " FROM deployments WHERE id = (
               SELECT p.deployment_id FROM promotions p JOIN deployments d ON d.id = p.deployment_id
               WHERE  p.environment_id = ?1 AND d.component = ?2 AND p.deployment_id <> ?3
               ORDER BY p.seq DESC LIMIT 1)"
    );
    let before = tx.row(before, values![environment, &current.component, current.id], read_deployment)?;
    Ok(Some((current, before)))
}

fn read_deployment(row: &mut Row<'_>) -> Result<Deployment, Error> {
    Ok(Deployment {
        id: row.column()?,
        environment: row.column()?,
        version: row.column()?,
        component: row.column()?,
        digest: row.column()?,
        size_bytes: row.column()?,
        imports: row.parsed(|text| Some(text.lines().map(Into::into).collect()))?,
        external_id: row.column()?,
        created_at: row.column()?,
        promoted_at: row.column()?,
        current_tasks: row.column()?,
        past_policy_at: row.column()?,
        deployed_by: row.column()?,
    })
}

fn read_task(row: &mut Row<'_>) -> Result<TaskDefinition, Error> {
    Ok(TaskDefinition {
        id: row.column()?,
        description: row.column()?,
        retry: read_retry(row)?,
        queue: {
            let name: Option<String> = row.column()?;
            let concurrency_limit = row.column()?;
            name.map(|name| QueueDefinition { name, concurrency_limit })
        },
        max_duration_seconds: row.column()?,
        ttl: row.column()?,
        machine: row.parsed_option(|name| name.parse().ok())?,
        cron: {
            let pattern: Option<String> = row.column()?;
            let timezone = row.column()?;
            pattern.map(|pattern| Cron { pattern, timezone })
        },
        payload_schema: row.column()?,
        hooks: row.parsed_option(Hooks::parse)?.unwrap_or_default(),
        keeps_journals: row.column()?,
    })
}

fn read_retry(row: &mut Row<'_>) -> Result<Option<RetryPolicy>, Error> {
    let max_attempts: Option<u32> = row.column()?;
    let factor = row.parsed_option(|text| text.parse().ok())?;
    let min_delay = row.column::<Option<_>>()?;
    let max_delay = row.column::<Option<_>>()?;
    let randomize = row.column::<Option<bool>>()?;
    let default = RetryPolicy::default();
    Ok(max_attempts.map(|max_attempts| RetryPolicy {
        max_attempts,
        factor: factor.unwrap_or(default.factor),
        min_delay: min_delay.unwrap_or(default.min_delay),
        max_delay: max_delay.unwrap_or(default.max_delay),
        randomize: randomize.unwrap_or(default.randomize),
    }))
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}
