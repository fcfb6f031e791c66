//! `cargo xtask test`: everything that must hold before a change lands, in one command.
//!
//! It stops at the first step that fails. Its last line counts the steps: `11 passed, 0 failed`,
//! and `, 1 skipped` where a step lacks a tool. With `CI=true` nothing may be skipped.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::steps::{self, Passed, STEPS, Step};
use crate::terminal::{bad, dim, good, heading};
use crate::workspace::Workspace;

/// Runs the command.
pub(crate) fn run(workspace: &Workspace, options: &[String]) -> Result<ExitCode> {
    if options.iter().any(|option| option == "--list") {
        for step in &STEPS {
            println!("{:<11} {}", step.name, step.title);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let only = crate::only(options)?;
    if only.is_none() && !options.is_empty() {
        bail!("test knows two options: --only and --list");
    }
    let steps = steps::named(only.as_deref())?;
    Ok(run_steps(workspace, &steps))
}

fn run_steps(workspace: &Workspace, steps: &[&Step]) -> ExitCode {
    let must_not_skip = std::env::var("CI").is_ok_and(|value| value == "true");
    let mut lines = Vec::new();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (index, step) in steps.iter().enumerate() {
        heading(&format!("{}/{} {}: {}", index + 1, steps.len(), step.name, step.title));
        let started = Instant::now();
        let mark = match (step.run)(workspace) {
            Ok(Passed::Yes) => {
                passed += 1;
                good("passed")
            }
            Ok(Passed::Skipped(reason)) if !must_not_skip => {
                skipped += 1;
                format!("skipped: {reason}")
            }
            Ok(Passed::Skipped(reason)) => {
                failed += 1;
                format!("{}: skipped although CI=true: {reason}", bad("failed"))
            }
            Err(error) => {
                failed += 1;
                format!("{}: {error:#}", bad("failed"))
            }
        };
        lines.push(format!("  {:<11} {:>8}  {mark}", step.name, seconds(started.elapsed())));
        if failed > 0 {
            break;
        }
    }
    heading("Result");
    lines.iter().for_each(|line| println!("{line}"));
    if failed > 0 {
        let name = steps[lines.len() - 1].name;
        println!("\n{}", dim(&format!("Try again with: cargo xtask test --only {name}")));
    }
    let skipped_too = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    println!("\n{passed} passed, {failed} failed{skipped_too}");
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn seconds(elapsed: Duration) -> String {
    format!("{:.1} s", elapsed.as_secs_f64())
}
