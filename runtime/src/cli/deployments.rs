//! `dacapo deployments` and `dacapo promote`: the versions of an environment.

use clap::{ArgGroup, Args, Subcommand};
use ureq::http::Method;

use super::Exit;
use super::client::Route;
use super::connection::Connection;
use super::deploy::show_promotion;
use super::output::{BOLD, DIM, Field, GOOD, Output, clean, local_time, size, span};
use crate::api::{DeploymentItem, DeploymentPage, PromoteReceipt, TaskItem};

/// `dacapo deployments`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List versions, newest first
    #[command(visible_alias = "ls")]
    List {
        /// How many to show
        #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
        /// Begin behind this version
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
    },
    /// Show a version and its tasks
    Get {
        /// A version (20260101.1), an id, or `current`
        #[arg(default_value = "current")]
        version: String,
    },
}

/// `dacapo promote`
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["version", "previous"]))]
pub(super) struct PromoteArguments {
    /// The version to make current
    version: Option<String>,
    /// Roll back: make the version current that was so before
    #[arg(long)]
    previous: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Runs one of the subcommands.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Exit> {
    let client = arguments.connection.client()?;
    match &arguments.command {
        Command::List { limit, after } => {
            let route = Route::new("/api/v1/deployments");
            let answer = client
                .get::<DeploymentPage>(route.query("page[size]", limit).query_if("page[after]", after.as_ref()))?;
            match output {
                Output::Json => output.json(&answer.text)?,
                Output::Human => show_list(output, &answer.value)?,
            }
        }
        Command::Get { version } => {
            let answer = client.get::<DeploymentItem>(Route::new("/api/v1/deployments").segment(version))?;
            match output {
                Output::Json => output.json(&answer.text)?,
                Output::Human => show_deployment(output, &answer.value)?,
            }
        }
    }
    Ok(Exit::Done)
}

/// Makes a version current, or the previous one again.
pub(super) fn promote(arguments: &PromoteArguments, output: Output) -> anyhow::Result<Exit> {
    let client = arguments.connection.client()?;
    let route = Route::new("/api/v1/deployments");
    let route = match &arguments.version {
        Some(version) => route.segment(version).path("/promote"),
        None => route.path("/rollback"),
    };
    let answer = client.send_empty::<PromoteReceipt>(Method::POST, route)?;
    match output {
        Output::Json => output.json(&answer.text)?,
        Output::Human => {
            output.line(format_args!("{GOOD}✓{GOOD:#} {} is current", clean(&answer.value.version)))?;
            show_promotion(output, &answer.value)?;
        }
    }
    Ok(Exit::Done)
}

fn show_list(output: Output, page: &DeploymentPage) -> std::io::Result<()> {
    if page.data.is_empty() {
        return output.note("nothing is deployed; deploy something with `dacapo deploy FILE.wasm`");
    }
    output.table(
        &["version", "component", "code", "size", "uploaded", "promoted", ""],
        page.data.iter().map(row).collect(),
    )?;
    match &page.pagination.next {
        Some(next) => output.note(format_args!("{DIM}more: --after {}{DIM:#}", clean(next))),
        None => Ok(()),
    }
}

fn row(deployment: &DeploymentItem) -> Vec<Field> {
    vec![
        deployment.version.clone().into(),
        deployment.component.clone().into(),
        Field::Dim(deployment.short_code.clone()),
        size(deployment.size_bytes).into(),
        Field::Dim(local_time(deployment.created_at)),
        Field::Dim(deployment.deployed_at.map(local_time).unwrap_or_default()),
        Field::Good(if deployment.is_current { "current".into() } else { String::new() }),
    ]
}

/// When it was made current last.
fn promoted(deployment: &DeploymentItem) -> String {
    let at = deployment.deployed_at.map_or_else(|| "never".into(), local_time);
    match deployment.past_policy_at {
        Some(past) => format!("{at} (past the backtest policy: {})", local_time(past)),
        None => at,
    }
}

fn show_deployment(output: Output, deployment: &DeploymentItem) -> std::io::Result<()> {
    let current = if deployment.is_current { "current" } else { "not current" };
    output.line(format_args!("{BOLD}{}{BOLD:#}  {}", clean(&deployment.version), clean(&deployment.component)))?;
    output.fields(&[
        ("id", deployment.id.clone()),
        ("state", current.into()),
        ("uploaded", local_time(deployment.created_at)),
        ("promoted", promoted(deployment)),
        ("size", size(deployment.size_bytes)),
        ("sha-256", deployment.digest.clone()),
        ("imports", deployment.imports.join(", ")),
    ])?;
    let Some(tasks) = deployment.tasks.as_deref().filter(|tasks| !tasks.is_empty()) else { return Ok(()) };
    output.line(format_args!("\n{BOLD}tasks{BOLD:#}"))?;
    output.table(
        &["id", "queue", "attempts", "max cpu", "machine", "cron", "description"],
        tasks.iter().map(task_row).collect(),
    )
}

fn task_row(task: &TaskItem) -> Vec<Field> {
    let max_cpu = task.max_duration.map(|seconds| span(std::time::Duration::from_secs(seconds.into())));
    let cron = match (&task.cron, &task.timezone) {
        (Some(cron), Some(timezone)) => format!("{cron} ({timezone})"),
        (Some(cron), None) => cron.clone(),
        (None, _) => String::new(),
    };
    vec![
        task.id.clone().into(),
        task.queue.clone().into(),
        task.max_attempts.to_string().into(),
        max_cpu.unwrap_or_default().into(),
        task.machine.clone().into(),
        cron.into(),
        Field::Dim(task.description.clone().unwrap_or_default()),
    ]
}
