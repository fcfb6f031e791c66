//! `--name value` pairs.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

/// What stands behind the measurement's name on the command line.
pub(crate) struct Options(HashMap<String, String>);

impl Options {
    /// Reads pairs until there are no more.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut pairs = HashMap::new();
        while let Some(name) = arguments.next() {
            let name = name.strip_prefix("--").with_context(|| format!("`{name}` is no option"))?;
            let value = arguments.next().with_context(|| format!("--{name} needs a value"))?;
            pairs.insert(name.to_owned(), value);
        }
        Ok(Self(pairs))
    }

    /// A text that must be there.
    pub(crate) fn text(&self, name: &str) -> Result<&str> {
        self.0.get(name).map(String::as_str).with_context(|| format!("--{name} is missing"))
    }

    /// A text that may be left out.
    pub(crate) fn text_or<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.0.get(name).map_or(default, String::as_str)
    }

    /// A path that must be there.
    pub(crate) fn path(&self, name: &str) -> Result<PathBuf> {
        self.text(name).map(Into::into)
    }

    /// A number that may be left out.
    pub(crate) fn number(&self, name: &str, default: u64) -> Result<u64> {
        match self.0.get(name) {
            Some(text) => text.parse().with_context(|| format!("--{name} {text}")),
            None => Ok(default),
        }
    }

    /// Seconds that may be left out.
    pub(crate) fn seconds(&self, name: &str, default: u64) -> Result<Duration> {
        self.number(name, default).map(Duration::from_secs)
    }
}
