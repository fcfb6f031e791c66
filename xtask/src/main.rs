//! The project's own commands: `cargo xtask demo | test | bench | ci`.
//!
//! Each command is one file. They build with cargo, start the real server and speak to it as a
//! user would; none of them links the product.

mod bench;
mod build;
mod ci;
mod client;
mod demo;
mod fuzz;
mod npm;
mod programs;
mod report;
mod server;
mod steps;
mod terminal;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::bail;

use crate::workspace::Workspace;

const USAGE: &str = "\
The project's own commands.

Usage: cargo xtask <command>

Commands:
  demo [--exit]            build everything, start a server and show the replay story; the server
                           stays up until Ctrl-C, or stops at once with --exit
  test [--only a,b]        everything that must hold before a change lands, or some steps of it
       [--list]            the names of the steps
  bench [--quick]          measure into target/bench/bench.json and print a table
        [--only a,b]       some of the measurements
  ci                       install what is missing, then everything that `test` does
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{} {error:#}", terminal::bad("error:"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let Some((command, options)) = arguments.split_first() else {
        print!("{USAGE}");
        return Ok(ExitCode::from(2));
    };
    let workspace = Workspace::find()?;
    match command.as_str() {
        "demo" => demo::run(&workspace, options),
        "test" => test::run(&workspace, options),
        "bench" => bench::run(&workspace, options),
        "ci" => ci::run(&workspace, options),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        unknown => bail!("there is no command `{unknown}`\n\n{USAGE}"),
    }
}

/// What stands after `--only`: names, divided by commas.
fn only(options: &[String]) -> anyhow::Result<Option<Vec<String>>> {
    let Some(at) = options.iter().position(|option| option == "--only") else {
        return Ok(None);
    };
    match options.get(at + 1) {
        Some(names) => Ok(Some(names.split(',').map(str::to_owned).collect())),
        None => bail!("--only needs names, divided by commas"),
    }
}
