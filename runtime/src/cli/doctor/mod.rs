//! `dacapo doctor`: checks this machine, the data directory and the server, and says what to do.

mod machine;
mod server;

use clap::Args;
use serde::Serialize;

use super::Exit;
use super::connection::Connection;
use super::output::{BAD, DIM, GOOD, Output, WARN, clean_block};

/// `dacapo doctor`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
}

/// What a check found.
#[derive(Debug, Serialize)]
struct Finding {
    name: &'static str,
    state: State,
    /// What is so.
    detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Good,
    Warning,
    Bad,
}

impl Finding {
    fn good(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, state: State::Good, detail: detail.into(), advice: None }
    }

    fn warning(name: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, state: State::Warning, detail: detail.into(), advice: Some(advice.into()) }
    }

    fn bad(name: &'static str, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, state: State::Bad, detail: detail.into(), advice: Some(advice.into()) }
    }
}

/// Checks everything; fails where something is bad.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Exit> {
    let spinner = output.spinner("checking");
    let data_dir = arguments.connection.data_dir();
    let mut findings = vec![
        machine::toolchain(),
        machine::data_dir(&data_dir),
        machine::database(&data_dir),
        machine::disk_space(&data_dir),
        machine::address_space(),
        machine::overcommit(),
        machine::open_files(),
        machine::clock(),
    ];
    findings.extend(server::findings(&arguments.connection));
    drop(spinner);
    match output {
        Output::Json => output.json(&serde_json::json!({ "checks": findings }).to_string())?,
        Output::Human => findings.iter().try_for_each(|finding| show(output, finding))?,
    }
    let is_bad = findings.iter().any(|finding| finding.state == State::Bad);
    Ok(if is_bad { Exit::Failed } else { Exit::Done })
}

fn show(output: Output, finding: &Finding) -> std::io::Result<()> {
    let (style, sign) = match finding.state {
        State::Good => (GOOD, '✓'),
        State::Warning => (WARN, '!'),
        State::Bad => (BAD, '✗'),
    };
    let detail = clean_block(&finding.detail, "    ");
    output.line(format_args!("{style}{sign}{style:#} {:16} {detail}", finding.name))?;
    match &finding.advice {
        Some(advice) => output.line(format_args!("  {DIM}→{DIM:#} {}", clean_block(advice, "    "))),
        None => Ok(()),
    }
}
