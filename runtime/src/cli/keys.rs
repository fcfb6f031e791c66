//! `dacapo keys`: the API keys of a server.

use clap::{Args, Subcommand};
use ureq::http::Method;

use super::Exit;
use super::client::Route;
use super::connection::{Connection, Slug};
use super::output::{Field, GOOD, Output, clean, local_time};
use crate::api::{ApiKeyItem, ApiKeyList, ChangeReceipt, CreateKeyRequest, CreatedKey};

/// `dacapo keys`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List keys; the keys themselves are not shown
    #[command(visible_alias = "ls")]
    List,
    /// Make a key; it is shown this once
    Create {
        /// What it opens
        #[arg(value_name = "ENV")]
        environment: Slug,
        /// Make a key `tr_<env>_sk_…`: it opens the same, and clients leave the making of public access tokens to the
        /// server
        #[arg(long)]
        additional: bool,
    },
    /// Make a key open nothing, from now on
    Revoke {
        /// `key_…`, as `dacapo keys list` shows it
        key: String,
    },
}

/// Runs one of the subcommands.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<Exit> {
    let client = arguments.connection.admin_client()?;
    let route = Route::new("/admin/v1/keys");
    match &arguments.command {
        Command::List => {
            let answer = client.get::<ApiKeyList>(route)?;
            match output {
                Output::Json => output.json(&answer.text)?,
                Output::Human => output.table(
                    &["id", "environment", "key", "created", "revoked"],
                    answer.value.data.iter().map(row).collect(),
                )?,
            }
        }
        Command::Create { environment, additional } => {
            let request = CreateKeyRequest { environment: environment.as_str().into(), additional: *additional };
            let answer = client.send::<CreatedKey>(Method::POST, route, &request)?;
            match output {
                Output::Json => output.json(&answer.text)?,
                Output::Human => {
                    let created = &answer.value;
                    let (id, slug) = (clean(&created.id), clean(&created.environment));
                    output.note(format_args!("{GOOD}✓{GOOD:#} {id} opens {slug}; keep it, it is not shown again:"))?;
                    output.line(clean(&created.key))?;
                }
            }
        }
        Command::Revoke { key } => {
            let answer = client.send_empty::<ChangeReceipt>(Method::DELETE, route.segment(key))?;
            match output {
                Output::Json => output.json(&answer.text)?,
                Output::Human => output.line(format_args!("{GOOD}✓{GOOD:#} {} opens nothing now", clean(key)))?,
            }
        }
    }
    Ok(Exit::Done)
}

fn row(key: &ApiKeyItem) -> Vec<Field> {
    vec![
        key.id.clone().into(),
        key.environment.clone().into(),
        Field::Dim(key.hint.clone()),
        Field::Dim(local_time(key.created_at)),
        key.revoked_at.map(local_time).unwrap_or_default().into(),
    ]
}
