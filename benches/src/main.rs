//! One measurement a call, printed as one JSON object. `cargo xtask bench` decides what to measure,
//! starts the servers and makes a table of it.

mod batch;
mod calls;
mod commits;
mod context;
mod echo;
mod exchange;
mod history;
mod latency;
mod lists;
mod load;
mod options;
mod subscribe;
mod variety;
mod waits;

use anyhow::{Result, bail};

use crate::options::Options;

const USAGE: &str = "\
Usage: dacapo-bench <measurement> [--option value]...

  load         --url U --path P [--key K] --body JSON [--expect TEXT] [--concurrency N]
               [--warmup-seconds N] [--seconds N | --requests N]
  batch        --url U --key K --task T --payload JSON [--items N] [--concurrency N]
               [--warmup-seconds N] [--seconds N]: announced and sent as the official client does
  echo-server  answers JSON with the same JSON, with axum alone, until it is killed
  commits      --dir D [--concurrency N] [--seconds N]: three durable records a run, SQLite alone
  calls        --component F --task T --payload JSON --dir D [--seconds N] [--concurrency N]:
               wasmtime alone and the sandbox, in turn
  history      --data-dir D --runs N: inserts finished runs into the database of a stopped server
  lists        --url U --key K --task T --version V [--requests N]: first pages of that history by every filter;
               its task and version are those that are deployed
  subscribe    --url U --key K [--pid P] [--subscribers N] [--changes N] [--seconds N] [--task T]: CPU time of
               the server while all of them idle, and the time from a change until all have heard of it
  resume       --url U --key K [--runs N]: from a wake-up until the guest of a waiting run goes on
  wait         --url U --key K [--runs N]: lets runs wait, and leaves them so
  journal      --data-dir D: the bytes of the journals in the database of a stopped server
";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(measurement) = arguments.next() else {
        bail!("{USAGE}");
    };
    let options = Options::parse(arguments)?;
    let result = match measurement.as_str() {
        "load" => load::run(&options)?,
        "batch" => batch::run(&options)?,
        "echo-server" => return echo::serve(),
        "commits" => commits::run(&options)?,
        "calls" => calls::run(&options)?,
        "history" => history::run(&options)?,
        "lists" => lists::run(&options)?,
        "resume" => waits::resume(&options)?,
        "wait" => waits::wait(&options)?,
        "journal" => waits::journal(&options)?,
        "subscribe" => subscribe::run(&options)?,
        unknown => bail!("there is no measurement `{unknown}`\n\n{USAGE}"),
    };
    println!("{result}");
    Ok(())
}
