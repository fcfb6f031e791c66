//! The command line: `dacapo server`, `dacapo dev`, and a client of the public JSON API.
//!
//! Decides nothing about runs: what a command shows is what the API answered. Every command is a
//! file here with its arguments and one `run`; [`output`] is the only way to the terminal,
//! [`client`] the only way to a server. How a command ends is its exit code:
//!
//! | code | [`Exit`] | meaning |
//! |---|---|---|
//! | 0 | `Done` | it did what was asked |
//! | 1 | `Failed` | the run failed (`--wait`), a check failed (`doctor`), a version differs (`backtest`), or something here failed |
//! | 2 | `Usage` | the command line is wrong |
//! | 2 | `NotRun` | a replay in the sandbox or a backtest could not run: nothing is known of the version |
//! | 3 | `Unreachable` | no server answered |
//! | 4 | `Refused` | the server refused (4xx) |
//! | 5 | `ServerFailed` | the server failed (5xx), or what answered is no dacapo server |

mod backtest;
mod backup;
mod client;
mod connection;
mod deploy;
mod deployments;
mod dev;
mod doctor;
mod environments;
mod envvars;
mod input;
mod keys;
mod offline;
mod output;
mod replay;
mod rerun;
mod runs;
mod sandboxed;
mod server;
mod test;
mod toolchain;
mod trigger;
mod wait;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::api::ErrorBody;
use crate::config;
use output::Output;

/// The table above, for `--help`.
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the run failed (--wait), a check failed (doctor), a version differs (backtest), or something on this side failed
  2  the command line is wrong, or a backtest could not run
  3  no server answered
  4  the server refused (4xx)
  5  the server failed (5xx), or what answered is no dacapo server

With --json, standard output is one JSON document and an error is one on standard error.
Colours follow NO_COLOR.";

/// A self-hosted task runtime: tasks are WebAssembly components.
#[derive(Debug, Parser)]
#[command(name = "dacapo", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub struct Cli {
    /// Print exactly the API's JSON, for machines.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    #[command(after_help = EXIT_CODES)]
    Server(Box<server::Arguments>),
    /// Build, serve and hot-deploy the task crates of a folder.
    Dev(Box<dev::Arguments>),
    /// Upload a component and make it current.
    Deploy(deploy::Arguments),
    /// Make an older or newer version current.
    Promote(deployments::PromoteArguments),
    /// Trigger a task.
    #[command(after_help = EXIT_CODES)]
    Trigger(Box<trigger::Arguments>),
    /// Look at runs, cancel and replay them.
    Runs(Box<runs::Arguments>),
    /// Try a version on the inputs of old runs, in the sandbox, and compare.
    #[command(after_help = EXIT_CODES)]
    Backtest(Box<backtest::Arguments>),
    /// Execute a recorded run again, exactly, without a server.
    Rerun(rerun::Arguments),
    /// Replay recorded runs on a component, without a server; or record some.
    Test(Box<test::Arguments>),
    /// Look at versions.
    Deployments(deployments::Arguments),
    /// API keys (needs the admin key).
    Keys(keys::Arguments),
    /// Environment variables of tasks.
    Envvars(envvars::Arguments),
    /// Environments and where their tasks may connect to (needs the admin key).
    Environments(environments::Arguments),
    /// Copy the data directory of this machine's server while it runs.
    Backup(backup::Arguments),
    /// Check this machine, the data directory and the server.
    Doctor(doctor::Arguments),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Done,
    /// The run, a check, or something on this side failed.
    Failed,
    /// The command line is wrong.
    Usage,
    /// What was asked for could not be found out.
    NotRun,
    /// No server answered.
    Unreachable,
    /// The server refused.
    Refused,
    /// The server failed, or what answered is no dacapo server.
    ServerFailed,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage | Exit::NotRun => 2,
            Exit::Unreachable => 3,
            Exit::Refused => 4,
            Exit::ServerFailed => 5,
        })
    }
}

/// Arguments that clap takes and we do not.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

impl Usage {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Runs the command line of this process.
pub fn run() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let output = Output::new(cli.json);
    match execute(cli.command, output) {
        Ok(exit) => exit,
        // The reader has seen enough: `dacapo runs list | head`.
        Err(error) if is_broken_pipe(&error) => Exit::Done,
        Err(error) => {
            let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
            output::report(output, &error_body(&error), &causes);
            exit_of(&error)
        }
    }
}

/// Says what clap has to say: help, the version, or what is wrong with the command line.
fn refuse(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        // Where standard output is gone, nobody reads help.
        let _ = error.print();
        return Exit::Done;
    }
    // What was not understood may still have asked for JSON.
    if std::env::args_os().take_while(|argument| argument != "--").any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let usage = Usage::new(text.trim_start_matches("error: ").trim_end());
        output::report(Output::Json, &error_body(&usage.into()), &[]);
    } else {
        let _ = error.print();
    }
    Exit::Usage
}

fn execute(command: Command, output: Output) -> anyhow::Result<Exit> {
    match command {
        Command::Server(arguments) => server::run(*arguments, output),
        Command::Dev(arguments) => dev::run(*arguments, output),
        Command::Deploy(arguments) => deploy::run(&arguments, output),
        Command::Promote(arguments) => deployments::promote(&arguments, output),
        Command::Trigger(arguments) => trigger::run(*arguments, output),
        Command::Runs(arguments) => runs::run(*arguments, output),
        Command::Backtest(arguments) => backtest::run(&arguments, output),
        Command::Rerun(arguments) => rerun::offline(&arguments, output),
        Command::Test(arguments) => test::run(&arguments, output),
        Command::Deployments(arguments) => deployments::run(&arguments, output),
        Command::Keys(arguments) => keys::run(&arguments, output),
        Command::Envvars(arguments) => envvars::run(arguments, output),
        Command::Environments(arguments) => environments::run(arguments, output),
        Command::Backup(arguments) => backup::run(&arguments, output),
        Command::Doctor(arguments) => doctor::run(&arguments, output),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "dacapo", &mut script);
            io::stdout().lock().write_all(&script)?;
            Ok(Exit::Done)
        }
    }
}

fn client_error(error: &anyhow::Error) -> Option<&client::Error> {
    error.chain().find_map(|cause| cause.downcast_ref())
}

fn exit_of(error: &anyhow::Error) -> Exit {
    if error.chain().any(|cause| cause.is::<Usage>() || cause.is::<config::Error>()) {
        return Exit::Usage;
    }
    match client_error(error) {
        Some(client::Error::Unreachable { .. }) => Exit::Unreachable,
        Some(client::Error::Refused { .. }) => Exit::Refused,
        Some(client::Error::Failed { .. } | client::Error::Unexpected { .. }) => Exit::ServerFailed,
        Some(client::Error::BadUrl { .. }) => Exit::Usage,
        None => Exit::Failed,
    }
}

/// What to print: the server's own body where it refused, the outermost sentence else.
fn error_body(error: &anyhow::Error) -> ErrorBody {
    let sent = match client_error(error) {
        Some(client::Error::Refused { body, .. } | client::Error::Failed { body, .. }) => Some(body.clone()),
        Some(client::Error::Unreachable { .. } | client::Error::Unexpected { .. } | client::Error::BadUrl { .. })
        | None => None,
    };
    let code = match exit_of(error) {
        Exit::Done | Exit::Failed | Exit::NotRun | Exit::Refused => None,
        Exit::Usage => Some("usage".to_owned()),
        Exit::Unreachable => Some("unreachable".to_owned()),
        Exit::ServerFailed => Some("server_failed".to_owned()),
    };
    let body = sent.unwrap_or(ErrorBody { code, ..ErrorBody::default() });
    ErrorBody { error: error.to_string(), ..body }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
    // A pipe to the server that breaks is a `client::Error`, which has its own code.
    client_error(error).is_none() && error.downcast_ref().is_some_and(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_exit(error: impl Into<anyhow::Error>, expected: Exit) {
        assert_eq!(exit_of(&error.into()), expected);
    }

    fn body(text: &str) -> ErrorBody {
        ErrorBody { error: text.into(), code: Some("why".into()), ..ErrorBody::default() }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_names_every_command_and_exit_code() {
        let help = Cli::command().render_long_help().to_string();
        let commands = "server dev deploy promote trigger runs backtest rerun test deployments keys envvars environments backup doctor \
                        completions";
        for command in commands.split_whitespace() {
            assert!(help.contains(&format!("\n  {command} ")), "{command} is missing from\n{help}");
        }
        for code in 0..=5 {
            assert!(help.contains(&format!("\n  {code}  ")), "{code} is missing from\n{help}");
        }
    }

    #[test]
    fn every_error_has_the_exit_code_of_its_kind() {
        let url = || "http://a".to_owned();
        let source = Box::new(ureq::Error::HostNotFound);
        check_exit(anyhow::anyhow!("x"), Exit::Failed);
        check_exit(Usage::new("x"), Exit::Usage);
        check_exit(client::Error::Unreachable { url: url(), source }, Exit::Unreachable);
        check_exit(client::Error::Refused { status: 404, body: body("x") }, Exit::Refused);
        check_exit(client::Error::Failed { status: 500, body: body("x") }, Exit::ServerFailed);
        check_exit(client::Error::Unexpected { url: url(), reason: "x".into() }, Exit::ServerFailed);
        let wrapped = anyhow::Error::from(client::Error::Refused { status: 404, body: body("x") });
        check_exit(wrapped.context("while doing y"), Exit::Refused);
    }

    #[test]
    fn an_error_keeps_the_servers_code() {
        let error = anyhow::Error::from(client::Error::Refused { status: 404, body: body("Run not found") });
        assert_eq!(error_body(&error), body("Run not found"));
    }

    #[test]
    fn arguments_of_a_connection_may_stand_behind_the_last_command() {
        let line = ["dacapo", "runs", "list", "--url", "http://a", "-e", "prod", "--json"];
        assert!(Cli::try_parse_from(line).is_ok());
    }
}
