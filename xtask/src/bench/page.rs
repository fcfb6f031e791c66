//! The page: how soon an operator sees the list of a million runs.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Bench, deploy};
use crate::server::Server;
use crate::{npm, programs};

/// Opened in Chromium, with the browser's cache and without.
pub(super) fn page(bench: &Bench) -> Result<Value> {
    if !npm::is_here() {
        bail!(npm::MISSING);
    }
    let data_dir = bench.fresh_dir("page")?;
    let server = Server::start(&bench.dacapo, &data_dir, None)?;
    let client = deploy(&server, "echo", &fs::read(bench.guest("echo_v1"))?)?;
    client.finished_run(&client.trigger("echo", &json!({}))?)?;
    server.stop()?;
    let count = if bench.quick { "100000" } else { "1000000" };
    println!("inserting {count} finished runs");
    let inserted = bench.measured("history", &["--data-dir", &data_dir.display().to_string(), "--runs", count])?;
    let server = Server::start(&bench.dacapo, &data_dir, None)?;
    npm::install(&bench.page_tests)?;
    let mut command = Command::new("node");
    command.args(["paint.mjs", &server.url]).env("DACAPO_ADMIN_KEY", server.key("admin")?);
    let said = programs::output(command.current_dir(&bench.page_tests))?;
    let seen: Value = serde_json::from_slice(&said).context("paint.mjs printed no JSON")?;
    server.stop()?;
    fs::remove_dir_all(&data_dir)?;
    Ok(json!({ "inserted": inserted, "seen": seen }))
}
