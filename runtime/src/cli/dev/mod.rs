//! `dacapo dev`: builds the task crates of a folder, serves them, and deploys them again whenever
//! their sources change.
//!
//! One process, no account, no network beyond what cargo needs. The server of `dacapo server` runs
//! in here; everything else talks to it over HTTP like any client. A build that fails, or a
//! component that is refused, leaves the version before it running.

mod build;
mod crates;
mod feed;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use super::client::{Client, Error, Key};
use super::deploy::Upload;
use super::output::{BAD, BOLD, DIM, GOOD, Output, clean, clean_block, now, span, time_of_day};
use super::server::{announce, base_url, log_to_stderr, show_config, stop_signal};
use super::{Exit, Usage, toolchain};
use crate::api::DeployReceipt;
use crate::app::App;
use crate::config::ServerArgs;
use build::Progress;
use crates::TaskCrate;
use watch::Changes;

/// The data directory, in the folder.
const DATA_DIR: &str = ".dacapo";
/// Nobody wants to wait when they stop this.
const SHUTDOWN_GRACE: &str = "2s";
/// The environment that is deployed to.
const SLUG: &str = "dev";

/// `dacapo dev`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Folder with task crates: itself one, a workspace, or with such below
    #[arg(default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
}

/// Serves, builds and deploys until SIGINT or SIGTERM.
pub(super) fn run(arguments: Arguments, output: Output) -> anyhow::Result<Exit> {
    let shown = arguments.dir.display().to_string();
    let dir = arguments.dir.canonicalize().map_err(|error| Usage::new(format!("cannot open {shown}: {error}")))?;
    let mut server = arguments.server;
    // A settings file decides for itself.
    if server.config.is_none() {
        server.data_dir.get_or_insert_with(|| dir.join(DATA_DIR));
        server.shutdown_grace.get_or_insert_with(|| SHUTDOWN_GRACE.into());
    }
    let print_config = server.print_config;
    let config = server.into_config()?;
    if print_config {
        return show_config(output, &config);
    }
    toolchain::check(&dir)?;
    log_to_stderr("warn");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let crates = crates::discover(&dir).await?;
        if crates.is_empty() {
            return Err(Usage::new(format!(
                "there are no task crates in {shown}: a task crate says `crate-type = [\"cdylib\"]` under `[lib]` in \
                 its Cargo.toml (copy one of sample-tasks)"
            ))
            .into());
        }
        let data_dir = config.data_dir.clone();
        let stop = stop_signal()?;
        let app = App::start(config).await.context("the server cannot start")?;
        announce(output, &app, &data_dir)?;
        let client = Client::new(&base_url(app.address()), Some(dev_key(&app, &data_dir)?))?;
        let mut session = Session { dir, data_dir, client, output, crates, deployed: BTreeMap::new() };
        let mut worked = Ok(());
        app.run_until(async {
            tokio::select! {
                () = stop => {}
                ended = session.work() => worked = ended,
            }
        })
        .await?;
        worked
    })?;
    Ok(Exit::Done)
}

/// The key of the environment: just made, or kept by an earlier start.
fn dev_key(app: &App, data_dir: &Path) -> anyhow::Result<Key> {
    let file = data_dir.join(format!("{SLUG}.key"));
    let made = app.keys().environments.iter().find(|(slug, _)| slug == SLUG).map(|(_, key)| key.clone());
    let text = match made {
        Some(key) => key,
        None => std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}: delete {} to begin anew", file.display(), data_dir.display()))?,
    };
    Key::new(&text, file.display().to_string()).with_context(|| format!("{} holds no key", file.display()))
}

struct Session {
    /// Absolute.
    dir: PathBuf,
    data_dir: PathBuf,
    client: Client,
    output: Output,
    crates: Vec<TaskCrate>,
    /// What was deployed, or refused, of each crate last: hashes by manifest.
    deployed: BTreeMap<PathBuf, blake3::Hash>,
}

impl Session {
    async fn work(&mut self) -> anyhow::Result<()> {
        let (client, output) = (self.client.clone(), self.output);
        tokio::try_join!(self.rebuild_on_change(), feed::show(&client, output))?;
        Ok(())
    }

    async fn rebuild_on_change(&mut self) -> anyhow::Result<()> {
        let mut changes = Changes::watch(&self.dir)?;
        let tasks = self.build_and_deploy(Progress::Shown).await?;
        self.explain(tasks.first())?;
        loop {
            let changed = changes.next().await?;
            if may_change_crates(&changed) {
                match crates::discover(&self.dir).await {
                    Ok(crates) => self.crates = crates,
                    Err(error) => self.event("dev", &format!("{BAD}✗{BAD:#} {}", problem(&error)))?,
                }
            }
            self.build_and_deploy(Progress::Quiet).await?;
        }
    }

    /// Builds everything that cargo finds out of date and deploys what came out differently; the
    /// tasks that are there now.
    async fn build_and_deploy(&mut self, progress: Progress) -> anyhow::Result<Vec<String>> {
        let mut tasks = Vec::new();
        let crates = std::mem::take(&mut self.crates);
        let workspaces: BTreeSet<&Path> = crates.iter().map(|task| task.workspace.as_path()).collect();
        for workspace in workspaces {
            let members: Vec<&TaskCrate> = crates.iter().filter(|task| task.workspace == workspace).collect();
            let began = Instant::now();
            let built = build::build(workspace, &members, progress).await?;
            let took = began.elapsed();
            let mut is_news = false;
            for task in members {
                let Some(component) = built.components.get(&task.manifest) else {
                    self.event(&task.component, &format!("{BAD}✗ not built{BAD:#}; what runs goes on"))?;
                    is_news = true;
                    continue;
                };
                if let Some(found) = self.deploy_if_new(task, component, took).await? {
                    tasks.extend(found);
                    is_news = true;
                }
            }
            if !is_news {
                self.event("dev", &format!("{DIM}nothing new to deploy ({}){DIM:#}", span(took)))?;
            }
        }
        self.crates = crates;
        Ok(tasks)
    }

    /// Deploys a component unless it is what was deployed last; its tasks.
    async fn deploy_if_new(
        &mut self,
        task: &TaskCrate,
        component: &Path,
        built_in: Duration,
    ) -> anyhow::Result<Option<Vec<String>>> {
        let bytes = match tokio::fs::read(component).await {
            Ok(bytes) => bytes,
            Err(error) => {
                let problem = clean_block(&format!("{}: {error}", component.display()), "");
                self.event(&task.component, &format!("{BAD}✗{BAD:#} {problem}"))?;
                return Ok(Some(Vec::new()));
            }
        };
        let hash = blake3::hash(&bytes);
        if self.deployed.insert(task.manifest.clone(), hash) == Some(hash) {
            return Ok(None);
        }
        let began = Instant::now();
        let (client, name) = (self.client.clone(), task.component.clone());
        let sent = tokio::task::spawn_blocking(move || {
            let upload = Upload {
                name: &name,
                skip_promotion: false,
                backtest: None,
                external_id: None,
                size: bytes.len() as u64,
            };
            upload.send(&client, &mut bytes.as_slice()).map(|answer| answer.value)
        });
        let times = Times { built_in, deployed_in: began };
        match sent.await? {
            Ok(receipt) => self.show_deployed(task, &receipt, &times).map(Some),
            Err(error) => {
                // Only what the server has judged need not be sent again.
                if !matches!(error, Error::Refused { .. }) {
                    self.deployed.remove(&task.manifest);
                }
                self.event(&task.component, &format!("{BAD}✗ not deployed:{BAD:#} {}", problem(&error.into())))?;
                Ok(Some(Vec::new()))
            }
        }
    }

    fn show_deployed(&self, task: &TaskCrate, receipt: &DeployReceipt, times: &Times) -> anyhow::Result<Vec<String>> {
        let tasks = receipt.promotion.as_ref().map(|promotion| promotion.tasks.clone()).unwrap_or_default();
        self.event(
            &task.component,
            &format!(
                "{GOOD}✓{GOOD:#} {}  {}  {DIM}built in {}, deployed in {}{DIM:#}",
                clean(&receipt.deployment.version),
                clean(&tasks.join(", ")),
                span(times.built_in),
                span(times.deployed_in.elapsed()),
            ),
        )?;
        Ok(tasks)
    }

    /// One line with the time; `what` is clean.
    fn event(&self, who: &str, what: &str) -> std::io::Result<()> {
        match self.output {
            Output::Human => self.output.line(format_args!(
                "{DIM}{}{DIM:#}  {BOLD}{}{BOLD:#}  {what}",
                time_of_day(now()),
                clean(who)
            )),
            Output::Json => Ok(()),
        }
    }

    /// How to go on from another terminal.
    fn explain(&self, task: Option<&String>) -> std::io::Result<()> {
        let Some(task) = task else { return Ok(()) };
        let data_dir = self.data_dir.display();
        self.output.note(format_args!("\n{DIM}trigger a task from another terminal:{DIM:#}"))?;
        self.output.note(format_args!(
            "  dacapo trigger {} '{{}}' --wait --url {} --data-dir '{data_dir}'",
            clean(task),
            self.client.url(),
        ))?;
        self.output.note(format_args!("{DIM}watching {}; Ctrl-C stops{DIM:#}\n", self.dir.display()))
    }
}

struct Times {
    built_in: Duration,
    deployed_in: Instant,
}

/// Whether crates may have come or gone: a manifest changed, or something that is not a file.
fn may_change_crates(changed: &BTreeSet<PathBuf>) -> bool {
    changed.iter().any(|path| path.file_name().is_some_and(|name| name == "Cargo.toml") || !path.is_file())
}

/// An error with its details on lines of their own, clean.
fn problem(error: &anyhow::Error) -> String {
    let body = super::error_body(error);
    let unsaid = body.details.iter().filter(|detail| !body.error.contains(*detail));
    let details = unsaid.map(|detail| format!("\n- {detail}"));
    let causes = error.chain().skip(1).map(|cause| format!("\ncaused by: {cause}"));
    let text: String = std::iter::once(body.error.clone()).chain(details).chain(causes).collect();
    clean_block(&text, "    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_manifests_and_folders_change_which_crates_there_are() {
        let changed = |path: &str| may_change_crates(&[PathBuf::from(path)].into());
        assert!(changed("/w/a/Cargo.toml"));
        assert!(changed("/does/not/exist"));
        assert!(!changed(concat!(env!("CARGO_MANIFEST_DIR"), "/src/main.rs")));
    }
}
