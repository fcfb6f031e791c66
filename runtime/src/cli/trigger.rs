//! `dacapo trigger`: makes a run, and waits for it where asked to.

use clap::Args;
use ureq::http::Method;

use super::client::Route;
use super::connection::Connection;
use super::input::{self, PayloadArguments};
use super::output::{DIM, GOOD, Output, clean};
use super::wait::{self, WaitArguments};
use super::{Exit, Usage};
use crate::api::{QueueOption, StringOrList, TriggerOptions, TriggerReceipt, TriggerRequest, TtlOption};

/// `dacapo trigger`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The task's id
    task: String,
    #[command(flatten)]
    payload: PayloadArguments,
    #[command(flatten)]
    wait: WaitArguments,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Default, Args)]
struct Options {
    /// A label; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// A second trigger with the same key finds the run of the first
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// How long that key is remembered (for example 1h) [default: 30d]
    #[arg(long, value_name = "TIME", requires = "idempotency_key")]
    idempotency_key_ttl: Option<String>,
    /// Start later: a length of time (10m) or an ISO date
    #[arg(long, value_name = "TIME")]
    delay: Option<String>,
    /// Longest time in the queue (for example 1h)
    #[arg(long, value_name = "TIME")]
    ttl: Option<String>,
    /// Attempts in all
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// CPU seconds of an attempt
    #[arg(long, value_name = "SECONDS")]
    max_duration: Option<f64>,
    /// A JSON object to begin with
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    /// The queue to join
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// One virtual copy of the queue per key
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<String>,
    /// Seconds of head start in the queue
    #[arg(long, value_name = "SECONDS")]
    priority: Option<f64>,
    /// A machine preset
    #[arg(long, value_name = "PRESET")]
    machine: Option<String>,
    /// Run on this version, not on the current one
    #[arg(long, value_name = "VERSION")]
    version: Option<String>,
    /// Mark the run as a test
    #[arg(long)]
    test: bool,
}

impl Options {
    fn into_wire(self) -> Result<TriggerOptions, Usage> {
        Ok(TriggerOptions {
            queue: self.queue.map(|name| QueueOption { name }),
            concurrency_key: self.concurrency_key.map(Into::into),
            delay: self.delay,
            ttl: self.ttl.map(TtlOption::Duration),
            idempotency_key: self.idempotency_key,
            idempotency_key_ttl: self.idempotency_key_ttl,
            priority: self.priority,
            tags: (!self.tags.is_empty()).then_some(StringOrList::List(self.tags)),
            metadata: self.metadata.map(|text| input::json("--metadata", &text)).transpose()?,
            max_attempts: self.max_attempts,
            max_duration: self.max_duration,
            machine: self.machine,
            lock_to_version: self.version,
            test: self.test.then_some(true),
            ..TriggerOptions::default()
        })
    }
}

/// Triggers, and says which run it became.
pub(super) fn run(arguments: Arguments, output: Output) -> anyhow::Result<Exit> {
    let request = TriggerRequest { payload: arguments.payload.read()?, options: arguments.options.into_wire()? };
    let client = arguments.connection.client()?;
    let deadline = arguments.wait.begin();
    let task = arguments.task;
    let route = Route::new("/api/v1/tasks").segment(&task).path("/trigger");
    let route = route.query_if("wait", deadline.and_then(|deadline| deadline.next_hold()));
    let spinner = output.spinner(format!("{} is on its way", clean(&task)));
    let answer = client.send::<TriggerReceipt>(Method::POST, route, &request)?;
    let Some(deadline) = deadline else {
        drop(spinner);
        show_receipt(output, &task, &answer.value, &answer.text)?;
        return wait::note_missing_version(output, &client, &answer.value.id);
    };
    let result = match answer.value.result {
        Some(result) => result,
        None => wait::result_of(&client, &answer.value.id, deadline, &spinner)?,
    };
    drop(spinner);
    wait::show(output, &result)
}

fn show_receipt(output: Output, task: &str, receipt: &TriggerReceipt, text: &str) -> std::io::Result<()> {
    match output {
        Output::Json => output.json(text),
        Output::Human => {
            let (id, task) = (clean(&receipt.id), clean(task));
            let what = if receipt.is_cached { "was triggered before with this key:" } else { "triggered:" };
            output.line(format_args!("{GOOD}✓{GOOD:#} {task} {what} {id}"))?;
            output.note(format_args!("{DIM}  dacapo runs logs {id} --follow{DIM:#}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_options_that_were_given_are_sent() {
        let sent = |options: Options| serde_json::to_string(&options.into_wire().unwrap()).unwrap();
        assert_eq!(sent(Options::default()), "{}");
        let options = Options { tags: vec!["a".into()], metadata: Some(r#"{"b":1}"#.into()), ..Default::default() };
        assert_eq!(sent(options), r#"{"tags":["a"],"metadata":{"b":1}}"#);
    }
}
