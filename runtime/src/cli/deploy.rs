//! `dacapo deploy`: uploads a component, which the server checks, compiles and makes current.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;

use super::client::{Answer, Client, Error, Route};
use super::connection::Connection;
use super::output::{DIM, GOOD, Output, Progress, WARN, clean, size};
use super::{Exit, Usage};
use crate::api::{DeployReceipt, PromoteReceipt};

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
    let client = arguments.connection.client()?;
    let bar = output.bytes_bar(about.len(), "uploading");
    let upload = Upload {
        name: &name,
        skip_promotion: arguments.skip_promotion,
        external_id: arguments.external_id.as_deref(),
        size: about.len(),
    };
    let answer = upload.send(&client, &mut Counted { body: file, bar: &bar })?;
    drop(bar);
    match output {
        Output::Json => output.json(&answer.text)?,
        Output::Human => show(output, &answer.value)?,
    }
    Ok(Exit::Done)
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
    match &receipt.promotion {
        Some(promotion) => show_promotion(output, promotion),
        None => output.note(format_args!("{DIM}  not current; make it so with: dacapo promote {version}{DIM:#}")),
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
