//! `dacapo deploy`: uploads a component, which the server checks, compiles and makes current; where it must stand a
//! backtest first, waits for that.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;

use super::backtest::{Followed, Gated, Judge, follow, note_detached, show as show_backtest};
use super::client::{Answer, Client, Error, Route};
use super::connection::Connection;
use super::output::{DIM, GOOD, Output, Progress, WARN, clean, size};
use super::{Exit, Usage};
use crate::api::{BacktestItem, BacktestPolicy, DeployReceipt, PromoteReceipt};

/// `dacapo deploy`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The component: what `cargo build --release --target wasm32-wasip2` made
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// The component's name, under which its versions replace each other
    /// [default: the file's name, with `-` for `_`]
    #[arg(long)]
    name: Option<String>,
    /// Only upload; `dacapo promote VERSION` makes it current later
    #[arg(long)]
    skip_promotion: bool,
    /// Make it current only if it does the same as old runs did: last=1000,allow=0 (and known=PERCENT, task=TASK, sample=N,
    /// mode=shadow, rules=FILE). Waits; exits with 1 if it differs, and with 2 if that cannot be told
    #[arg(long, value_name = "GATE", value_parser = Gated::parse, conflicts_with = "skip_promotion")]
    backtest: Option<Gated>,
    /// Do not wait for the backtest: the server makes the version current when it is clean
    #[arg(long)]
    detach: bool,
    /// Your own name for this deployment, such as a commit; runs can be triggered to wait for it
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Uploads, and says which version it became.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Exit> {
    let shown = arguments.file.display();
    let unreadable = |error| Usage::new(format!("cannot read the component {shown}: {error}"));
    let file = File::open(&arguments.file).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    if !about.is_file() {
        return Err(Usage::new(format!("{shown} is not a file: name the .wasm file itself")).into());
    }
    let name = arguments.name.clone().or_else(|| component_name(&arguments.file));
    let name = name.ok_or_else(|| Usage::new("give the component a name with --name"))?;
    let policy = arguments.backtest.as_ref().map(Gated::policy).transpose()?;
    let client = arguments.connection.client()?;
    let bar = output.bytes_bar(about.len(), "uploading");
    let upload = Upload {
        name: &name,
        skip_promotion: arguments.skip_promotion,
        backtest: policy.as_ref(),
        external_id: arguments.external_id.as_deref(),
        size: about.len(),
    };
    let answer = upload.send(&client, &mut Counted { body: file, bar: &bar })?;
    drop(bar);
    if let Output::Human = output {
        show(output, &answer.value)?;
    }
    match &answer.value.backtest_id {
        Some(id) if !arguments.detach => wait_for_gate(&client, id, &answer, output),
        backtest => {
            match (output, backtest) {
                (Output::Json, _) => output.json(&answer.text)?,
                (Output::Human, Some(id)) => note_detached(output, id)?,
                (Output::Human, None) => {}
            }
            Ok(Exit::Done)
        }
    }
}

/// Waits for the backtest on which the promotion depends.
fn wait_for_gate(client: &Client, id: &str, answer: &Answer<DeployReceipt>, output: Output) -> anyhow::Result<Exit> {
    let item = match follow(client, id, output)? {
        Followed::Over(item) => item.value,
        Followed::Detached => {
            note_detached(output, id)?;
            return Ok(Exit::NotRun);
        }
    };
    match output {
        Output::Json => output.json(&gated_json(&answer.text, &item)?)?,
        Output::Human => {
            show_backtest(client, &item, Judge::default(), output)?;
            note_gate(output, &item)?;
        }
    }
    Ok(match item.is_open {
        Some(true) => Exit::Done,
        Some(false) => Exit::Failed,
        None => Exit::NotRun,
    })
}

/// The answer to the upload, and in it the backtest as it ended.
fn gated_json(receipt: &str, item: &BacktestItem) -> serde_json::Result<String> {
    let mut receipt: serde_json::Value = serde_json::from_str(receipt)?;
    receipt["backtest"] = serde_json::to_value(item)?;
    Ok(receipt.to_string())
}

/// What can be done about how it ended.
fn note_gate(output: Output, item: &BacktestItem) -> std::io::Result<()> {
    let version = clean(&item.version);
    match item.is_open {
        Some(true) => output.note(format_args!("{DIM}  roll back, at once, with: dacapo promote --previous{DIM:#}")),
        Some(false) | None => {
            output.note(format_args!("{DIM}  make it current all the same with: dacapo promote {version}{DIM:#}"))
        }
    }
}

/// The name of a component whose file or crate is called so: versions built by hand and by
/// `dacapo dev` replace each other.
pub(super) fn component_name(path: &Path) -> Option<String> {
    let stem = path.file_name()?.to_str()?;
    let stem = stem.strip_suffix(".wasm").unwrap_or(stem);
    (!stem.is_empty()).then(|| stem.replace('_', "-"))
}

/// One upload.
#[derive(Debug)]
pub(super) struct Upload<'a> {
    /// The component's name.
    pub(super) name: &'a str,
    /// Whether to leave the current version as it is.
    pub(super) skip_promotion: bool,
    /// What it must stand first.
    pub(super) backtest: Option<&'a BacktestPolicy>,
    /// The caller's own name for the deployment.
    pub(super) external_id: Option<&'a str>,
    /// Of the body, in bytes.
    pub(super) size: u64,
}

impl Upload<'_> {
    /// Sends it.
    pub(super) fn send(&self, client: &Client, body: &mut dyn Read) -> Result<Answer<DeployReceipt>, Error> {
        let route = Route::new("/api/v1/deployments").query("name", self.name);
        let route = route.query_if("skipPromotion", self.skip_promotion.then_some("true"));
        let route = route.query_if("externalId", self.external_id);
        let policy = self.backtest.map(serde_json::to_string).transpose();
        // Texts, numbers and lists are always JSON.
        let route = route.query_if("backtest", policy.unwrap_or_default());
        client.upload(route, self.size, body)
    }
}

struct Counted<'a> {
    body: File,
    bar: &'a Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.body.read(buffer)?;
        self.bar.advance(bytes as u64, "checking and compiling");
        Ok(bytes)
    }
}

fn show(output: Output, receipt: &DeployReceipt) -> std::io::Result<()> {
    let deployment = &receipt.deployment;
    let (version, component) = (clean(&deployment.version), clean(&deployment.component));
    let what = if receipt.is_new { "deployed" } else { "the same bytes were deployed before:" };
    output.line(format_args!(
        "{GOOD}✓{GOOD:#} {component} {what} {version} {DIM}({}, {}){DIM:#}",
        size(deployment.size_bytes),
        clean(&deployment.short_code),
    ))?;
    match (&receipt.promotion, &receipt.backtest_id) {
        (Some(promotion), _) => show_promotion(output, promotion)?,
        (None, Some(id)) => {
            output.note(format_args!("{DIM}  current when its backtest is clean: {}{DIM:#}", clean(id)))?
        }
        (None, None) => {
            output.note(format_args!("{DIM}  not current; make it so with: dacapo promote {version}{DIM:#}"))?
        }
    }
    match &receipt.note {
        Some(note) => output.note(format_args!("{DIM}  {}{DIM:#}", clean(note))),
        None => Ok(()),
    }
}

/// What making a version current changed.
pub(super) fn show_promotion(output: Output, promotion: &PromoteReceipt) -> std::io::Result<()> {
    output.line(format_args!("  current: {}", clean(&promotion.tasks.join(", "))))?;
    if !promotion.retired.is_empty() {
        let retired = promotion.retired.join(", ");
        output.line(format_args!("  {WARN}no longer there:{WARN:#} {} (their runs wait)", clean(&retired)))?;
    }
    if promotion.released_runs > 0 {
        output.line(format_args!("  {} runs had waited for it and are queued now", promotion.released_runs))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_called_like_its_crate() {
        let name = |path: &str| component_name(Path::new(path));
        assert_eq!(name("target/wasm32-wasip2/release/order_importer_v1.wasm").as_deref(), Some("order-importer-v1"));
        assert_eq!(name("hello").as_deref(), Some("hello"));
        assert_eq!(name(".wasm"), None);
        assert_eq!(name("/"), None);
    }
}
