//! `dacapo backup`: a copy of a data directory, taken beside a running server.

use std::path::PathBuf;

use clap::Args;

use super::connection::Connection;
use super::output::{DIM, GOOD, Output};
use super::{Exit, Usage};
use crate::app;

/// `dacapo backup`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A directory that does not exist yet
    #[arg(value_name = "TARGET_DIR")]
    target: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

/// Copies.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Exit> {
    let data_dir = arguments.connection.data_dir();
    let target = &arguments.target;
    if !data_dir.is_dir() {
        let shown = data_dir.display();
        return Err(Usage::new(format!("there is no data directory {shown}: name it with --data-dir")).into());
    }
    if target.exists() {
        return Err(Usage::new(format!("{} exists: name a new directory", target.display())).into());
    }
    let spinner = output.spinner(format!("copying {}", data_dir.display()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(app::backup(&data_dir, target))?;
    drop(spinner);
    match output {
        Output::Json => {
            let receipt = serde_json::json!({ "dataDir": data_dir, "target": target });
            output.json(&receipt.to_string())?;
        }
        Output::Human => {
            let (from, to) = (data_dir.display(), target.display());
            output.line(format_args!("{GOOD}✓{GOOD:#} {from} copied to {to}"))?;
            output.note(format_args!("{DIM}  it holds the server's keys: keep it as safe as the original{DIM:#}"))?;
            output.note(format_args!("{DIM}  to restore: dacapo server --data-dir {to}{DIM:#}"))?;
        }
    }
    Ok(Exit::Done)
}
