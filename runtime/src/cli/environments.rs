//! `dacapo environments`: the environments of a server, where their tasks may connect to, and what versions must stand.

use clap::{Args, Subcommand};
use ureq::http::Method;

use super::backtest::Gated;
use super::client::{Client, Route};
use super::connection::{Connection, Slug};
use super::output::{DIM, Field, GOOD, Output, clean};
use super::{Exit, Usage};
use crate::api::{Egress, EnvironmentConcurrency, EnvironmentItem, EnvironmentList, EnvironmentPolicy};

/// `dacapo environments`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List environments
    #[command(visible_alias = "ls")]
    List,
    /// Show or replace the hosts that tasks of an environment may connect to
    Egress {
        /// The environment
        #[arg(value_name = "ENV")]
        slug: Slug,
        /// All rules from now on (for example api.example.com:443); without any, shows what is
        #[arg(value_name = "RULE")]
        rules: Vec<String>,
        /// Allow nothing
        #[arg(long, conflicts_with = "rules")]
        none: bool,
    },
    /// Show or say what a version must stand before it is made current
    Backtest {
        /// The environment
        #[arg(value_name = "ENV")]
        slug: Slug,
        /// A backtest on the newest runs: last=1000,allow=0 (and known=PERCENT, task=TASK, sample=N, mode=shadow, rules=FILE);
        /// without any, shows what is
        #[arg(value_name = "GATE", value_parser = Gated::parse)]
        gate: Option<Gated>,
        /// Nothing: versions are made current at once
        #[arg(long, conflicts_with = "gate")]
        none: bool,
    },
    /// Limit how many runs of an environment execute at a time
    Concurrency {
        /// The environment
        #[arg(value_name = "ENV")]
        slug: Slug,
        /// Most runs at a time
        #[arg(value_name = "RUNS", required_unless_present = "none", conflicts_with = "none")]
        limit: Option<u32>,
        /// No limit but that of the workers
        #[arg(long)]
        none: bool,
    },
}

/// Runs one of the subcommands.
pub(super) fn run(arguments: Arguments, output: Output) -> anyhow::Result<Exit> {
    let client = arguments.connection.admin_client()?;
    match arguments.command {
        Command::List => show_list(&client, output)?,
        Command::Egress { slug, rules, none: false } if rules.is_empty() => show_egress(&client, slug, output)?,
        Command::Egress { slug, rules, none: _ } => replace_egress(&client, slug, rules, output)?,
        Command::Backtest { slug, gate: None, none: false } => show_policy(&client, slug, output)?,
        Command::Backtest { slug, gate, none: _ } => set_policy(&client, slug, gate, output)?,
        Command::Concurrency { slug, limit, none: _ } => limit_runs(&client, slug, limit, output)?,
    }
    Ok(Exit::Done)
}

fn show_list(client: &Client, output: Output) -> anyhow::Result<()> {
    let answer = client.get::<EnvironmentList>(Route::new("/admin/v1/environments"))?;
    match output {
        Output::Json => output.json(&answer.text)?,
        Output::Human => output.table(
            &["environment", "type", "waiting runs", "runs at a time", "egress", "id"],
            answer.value.data.iter().map(row).collect(),
        )?,
    }
    Ok(())
}

fn row(environment: &EnvironmentItem) -> Vec<Field> {
    vec![
        environment.slug.clone().into(),
        environment.kind.to_lowercase().into(),
        environment.waiting_runs.to_string().into(),
        environment.concurrency_limit.map_or("any".into(), |limit| limit.to_string()).into(),
        rules_text(&environment.egress).into(),
        Field::Dim(environment.id.clone()),
    ]
}

fn rules_text(rules: &[String]) -> String {
    if rules.is_empty() { "nothing".into() } else { rules.join(", ") }
}

/// The environment of this name.
fn find(client: &Client, slug: Slug) -> anyhow::Result<EnvironmentItem> {
    let list = client.get::<EnvironmentList>(Route::new("/admin/v1/environments"))?.value;
    let found = list.data.into_iter().find(|environment| environment.slug == slug.as_str());
    Ok(found.ok_or_else(|| Usage::new(format!("the server has no environment {}", slug.as_str())))?)
}

fn show_policy(client: &Client, slug: Slug, output: Output) -> anyhow::Result<()> {
    let environment = find(client, slug)?;
    match output {
        Output::Json => output.json(&serde_json::to_string(&environment)?)?,
        Output::Human => output.line(policy_text(&environment))?,
    }
    Ok(())
}

fn set_policy(client: &Client, slug: Slug, gate: Option<Gated>, output: Output) -> anyhow::Result<()> {
    let policy = gate.map(|gate| gate.policy()).transpose()?;
    let route = Route::new("/admin/v1/environments").segment(slug.as_str()).path("/backtest-policy");
    let answer = client.send::<EnvironmentItem>(Method::PUT, route, &EnvironmentPolicy { policy })?;
    match output {
        Output::Json => output.json(&answer.text)?,
        Output::Human => output.line(format_args!("{GOOD}✓{GOOD:#} {}", policy_text(&answer.value)))?,
    }
    Ok(())
}

fn policy_text(environment: &EnvironmentItem) -> String {
    let slug = clean(&environment.slug);
    let Some(policy) = &environment.backtest_policy else {
        return format!("versions in {slug} become current at once");
    };
    let runs = policy.last.map_or_else(|| "newest runs".into(), |last| format!("newest {last} runs"));
    let what = if policy.tasks.is_empty() { "their tasks".into() } else { policy.tasks.join(", ") };
    let (what, allow) = (clean(&what), policy.allow);
    format!("versions in {slug} become current when no more than {allow} of the {runs} of {what} differ")
}

fn show_egress(client: &Client, slug: Slug, output: Output) -> anyhow::Result<()> {
    let environment = find(client, slug)?;
    match output {
        Output::Json => output.json(&serde_json::to_string(&environment)?)?,
        Output::Human if environment.egress.is_empty() => output.note("nothing is allowed")?,
        Output::Human => environment.egress.iter().try_for_each(|rule| output.line(clean(rule)))?,
    }
    Ok(())
}

fn limit_runs(client: &Client, slug: Slug, limit: Option<u32>, output: Output) -> anyhow::Result<()> {
    let route = Route::new("/admin/v1/environments").segment(slug.as_str()).path("/concurrency");
    let answer = client.send::<EnvironmentItem>(Method::PUT, route, &EnvironmentConcurrency { limit })?;
    match output {
        Output::Json => output.json(&answer.text)?,
        Output::Human => {
            let slug = clean(&answer.value.slug);
            let text = match limit {
                Some(limit) => format!("{limit} runs of {slug} execute at a time at most"),
                None => format!("as many runs of {slug} execute at a time as the workers take"),
            };
            output.line(format_args!("{GOOD}✓{GOOD:#} {text}"))?;
        }
    }
    Ok(())
}

fn replace_egress(client: &Client, slug: Slug, rules: Vec<String>, output: Output) -> anyhow::Result<()> {
    let route = Route::new("/admin/v1/environments").segment(slug.as_str()).path("/egress");
    let answer = client.send::<EnvironmentItem>(Method::PUT, route, &Egress { rules })?;
    match output {
        Output::Json => output.json(&answer.text)?,
        Output::Human => {
            let environment = &answer.value;
            let (slug, rules) = (clean(&environment.slug), rules_text(&environment.egress));
            output.line(format_args!("{GOOD}✓{GOOD:#} tasks of {slug} may connect to: {}", clean(&rules)))?;
            output.note(format_args!("{DIM}  attempts that begin from now on follow it{DIM:#}"))?;
        }
    }
    Ok(())
}
