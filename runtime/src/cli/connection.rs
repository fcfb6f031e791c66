//! Decides which server a command talks to, and with which key.
//!
//! A key comes from `--key-file`, the environment, or the data directory of a server on this
//! machine. A key found in a data directory is never sent to another machine unless that
//! directory was named.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::Usage;
use super::client::{Client, Key, is_local_url};
use crate::model::branch;

const DEFAULT_URL: &str = "http://127.0.0.1:3040";
/// Where a server on this machine may have its data: of `dacapo server`, of `dacapo dev`.
const DEFAULT_DATA_DIRS: [&str; 2] = ["dacapo-data", ".dacapo"];
const HEADING: &str = "Connection";

/// Which server, which environment, which key.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Connection {
    /// Base URL of the server [env: DACAPO_URL, TRIGGER_API_URL] [default: http://127.0.0.1:3040]
    #[arg(long, global = true, value_name = "URL", help_heading = HEADING)]
    url: Option<String>,
    /// The environment: its key is taken, or the admin key; one from elsewhere must open it [default: dev]
    #[arg(long, short, global = true, value_name = "ENV", help_heading = HEADING)]
    environment: Option<Slug>,
    /// The git branch, where the environment is preview (or dev, which can have branches, too)
    /// [env: TRIGGER_PREVIEW_BRANCH]
    #[arg(long, global = true, value_name = "BRANCH", value_parser = branch_name, help_heading = HEADING)]
    branch: Option<String>,
    /// File that holds the key (the admin key for `keys` and `environments`)
    /// [env: DACAPO_KEY or TRIGGER_SECRET_KEY hold the key, DACAPO_ADMIN_KEY the admin key]
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING)]
    key_file: Option<PathBuf>,
    /// Data directory of a server on this machine, to take the key from
    /// [env: DACAPO_DATA_DIR] [default: dacapo-data or .dacapo]
    #[arg(long, global = true, value_name = "DIR", help_heading = HEADING)]
    data_dir: Option<PathBuf>,
}

/// An environment by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Slug {
    /// Development.
    #[value(name = "dev", alias = "development")]
    Dev,
    /// Staging.
    #[value(name = "staging", alias = "stg")]
    Staging,
    /// Production.
    #[value(name = "production", alias = "prod")]
    Production,
    /// Branches.
    Preview,
}

impl Slug {
    /// The word of URLs, keys and files.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Staging => "stg",
            Self::Production => "prod",
            Self::Preview => "preview",
        }
    }

    /// What the key of this environment opens, by its prefix.
    fn of(key: &Key) -> Option<Self> {
        [Self::Dev, Self::Staging, Self::Production, Self::Preview]
            .into_iter()
            .find(|slug| key.begins_with(&format!("tr_{}_", slug.as_str())))
    }
}

/// The name of a branch, as a header can carry it.
fn branch_name(text: &str) -> Result<String, String> {
    let name = branch::name_of(text).map_err(|error| error.to_string())?;
    name.ok_or_else(|| branch::BadBranchName.to_string())
}

type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

fn environment_variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

impl Connection {
    /// A client with the key of an environment.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        let key = self.key(&environment_variable)?;
        let names_none = key.as_ref().is_some_and(|key| Slug::of(key).is_none());
        let client = Client::new(&self.url(&environment_variable), key)?;
        // The admin key opens all of them.
        let client = if names_none { client.within(self.environment.unwrap_or(Slug::Dev).as_str()) } else { client };
        Ok(client.on_branch(self.branch(&environment_variable)?))
    }

    /// A client with the admin key.
    pub(super) fn admin_client(&self) -> anyhow::Result<Client> {
        let lookup = &environment_variable;
        let key = self.find_key(lookup, &["DACAPO_ADMIN_KEY"], "admin")?;
        if key.is_none() {
            return Err(Usage::new(
                "no admin key: set DACAPO_ADMIN_KEY, or name a file with --key-file or the server's data directory \
                 with --data-dir (it holds `admin.key`)",
            )
            .into());
        }
        Ok(Client::new(&self.url(lookup), key)?.on_branch(self.branch(lookup)?))
    }

    /// The environment that is meant: by flag, else by the key, else dev.
    pub(super) fn slug(&self, client: &Client) -> Slug {
        self.environment.or_else(|| client.key().and_then(Slug::of)).unwrap_or(Slug::Dev)
    }

    /// The data directory that was named, else the one that is there, else the server's default.
    pub(super) fn data_dir(&self) -> PathBuf {
        let named = self.named_data_dir(&environment_variable);
        let found = || DEFAULT_DATA_DIRS.into_iter().map(PathBuf::from).find(|dir| dir.is_dir());
        named.or_else(found).unwrap_or_else(|| DEFAULT_DATA_DIRS[0].into())
    }

    /// The branch that is meant: by flag, else by variable.
    fn branch(&self, lookup: Lookup<'_>) -> anyhow::Result<Option<String>> {
        if self.branch.is_some() {
            return Ok(self.branch.clone());
        }
        let named = lookup("TRIGGER_PREVIEW_BRANCH").map(|text| branch_name(&text));
        Ok(named.transpose().map_err(|problem| Usage::new(format!("TRIGGER_PREVIEW_BRANCH: {problem}")))?)
    }

    fn url(&self, lookup: Lookup<'_>) -> String {
        let variable = || lookup("DACAPO_URL").or_else(|| lookup("TRIGGER_API_URL"));
        self.url.clone().or_else(variable).unwrap_or_else(|| DEFAULT_URL.into())
    }

    fn named_data_dir(&self, lookup: Lookup<'_>) -> Option<PathBuf> {
        self.data_dir.clone().or_else(|| lookup("DACAPO_DATA_DIR").map(Into::into))
    }

    fn key(&self, lookup: Lookup<'_>) -> anyhow::Result<Option<Key>> {
        let file = self.environment.unwrap_or(Slug::Dev).as_str();
        let mut key = self.find_key(lookup, &["DACAPO_KEY", "TRIGGER_SECRET_KEY"], file)?;
        if key.is_none() && self.environment.is_some() {
            // Who may read it is the operator.
            key = self.find_key(lookup, &[], "admin")?;
        }
        if let (Some(wanted), Some(key)) = (self.environment, &key)
            && let Some(opened) = Slug::of(key)
            && opened != wanted
        {
            return Err(Usage::new(format!(
                "the key from {} opens {}, but --environment says {}: give the key of that environment",
                key.source(),
                opened.as_str(),
                wanted.as_str(),
            ))
            .into());
        }
        Ok(key)
    }

    fn find_key(&self, lookup: Lookup<'_>, variables: &[&str], file: &str) -> anyhow::Result<Option<Key>> {
        if let Some(path) = &self.key_file {
            return read_key(path).map(Some);
        }
        for name in variables {
            if let Some(text) = lookup(name) {
                let bad = || Usage::new(format!("{name} does not hold a key: it has characters that no key has"));
                return Ok(Some(Key::new(&text, *name).ok_or_else(bad)?));
            }
        }
        let name = format!("{file}.key");
        if let Some(dir) = self.named_data_dir(lookup) {
            let path = dir.join(name);
            return if path.exists() { read_key(&path).map(Some) } else { Ok(None) };
        }
        if !is_local_url(&self.url(lookup)) {
            return Ok(None);
        }
        let mut candidates = DEFAULT_DATA_DIRS.iter().map(|dir| Path::new(dir).join(&name));
        candidates.find(|path| path.exists()).map(|path| read_key(&path)).transpose()
    }
}

fn read_key(path: &Path) -> anyhow::Result<Key> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Usage::new(format!("cannot read the key file {shown}: {error}")))?;
    let bad = || Usage::new(format!("{shown} does not hold a key: it must hold just the key, on one line"));
    Ok(Key::new(&text, shown.to_string()).ok_or_else(bad)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        (name == "TRIGGER_SECRET_KEY").then(|| "tr_stg_abc".into())
    }

    #[test]
    fn a_key_must_open_the_environment_that_was_named() {
        let mut connection = Connection { environment: Some(Slug::Production), ..Default::default() };
        let error = connection.key(&lookup).unwrap_err();
        assert!(error.to_string().contains("opens stg"), "{error}");
        connection.environment = Some(Slug::Staging);
        assert_eq!(connection.key(&lookup).unwrap().unwrap().source(), "TRIGGER_SECRET_KEY");
    }

    #[test]
    fn a_key_of_an_unnamed_directory_is_not_sent_elsewhere() {
        let elsewhere = Connection { url: Some("https://example.com".into()), ..Default::default() };
        assert!(elsewhere.key(&|_| None).unwrap().is_none());
    }

    #[test]
    fn a_branch_is_named_by_flag_or_else_by_variable() {
        let mut connection = Connection::default();
        let branch = |name: &str| (name == "TRIGGER_PREVIEW_BRANCH").then(|| "refs/heads/from/variable".to_owned());
        assert_eq!(connection.branch(&|_| None).unwrap(), None);
        assert_eq!(connection.branch(&branch).unwrap().as_deref(), Some("from/variable"));
        connection.branch = Some("flag".into());
        assert_eq!(connection.branch(&branch).unwrap().as_deref(), Some("flag"));
        assert!(Connection::default().branch(&|_| Some("a\nb".into())).is_err());
    }

    #[test]
    fn the_environment_is_the_keys_unless_named() {
        let connection = Connection::default();
        let client = Client::new(DEFAULT_URL, Key::new("tr_prod_x", "x")).unwrap();
        assert_eq!(connection.slug(&client), Slug::Production);
        let client = Client::new(DEFAULT_URL, None).unwrap();
        assert_eq!(connection.slug(&client), Slug::Dev);
    }

    #[test]
    fn the_url_falls_back_to_variables_and_then_to_this_machine() {
        let connection = Connection::default();
        assert_eq!(connection.url(&|_| None), DEFAULT_URL);
        let both = |name: &str| Some(format!("http://{}", name.to_lowercase()));
        assert_eq!(connection.url(&both), "http://dacapo_url");
    }
}
