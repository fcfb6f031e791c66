//! `--report FORMAT=FILE`: keeps reports of a backtest in files.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use super::ROUTE;
use crate::backtest::report::Format;
use crate::cli::Usage;
use crate::cli::client::{Client, Route};
use crate::cli::output::{DIM, Output, clean, size};

/// Which reports, and where.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct ReportArguments {
    /// Write a report: json, junit or html; may be given several times
    #[arg(long = "report", value_name = "FORMAT=FILE", value_parser = target)]
    reports: Vec<Target>,
}

/// A report and its file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    format: Format,
    path: PathBuf,
}

/// Files that are open for their reports.
pub(super) type Files = Vec<(Target, File)>;

fn target(text: &str) -> Result<Target, String> {
    let bad = || format!("`{text}` is not FORMAT=FILE: write json=FILE, junit=FILE or html=FILE");
    let (word, path) = text.split_once('=').filter(|(_, path)| !path.is_empty()).ok_or_else(bad)?;
    Ok(Target { format: Format::parse(word).ok_or_else(bad)?, path: path.into() })
}

impl ReportArguments {
    /// Makes the files: one that cannot be written is found out before the work.
    pub(super) fn open(&self) -> Result<Files, Usage> {
        let open = |target: &Target| {
            let file = File::create(&target.path);
            let file = file.map_err(|error| Usage::new(format!("cannot write {}: {error}", target.path.display())));
            Ok((target.clone(), file?))
        };
        self.reports.iter().map(open).collect()
    }
}

/// Fetches the reports of a backtest that is over.
pub(super) fn save(client: &Client, id: &str, files: Files, output: Output) -> anyhow::Result<()> {
    for (Target { format, path }, mut file) in files {
        let route = Route::new(ROUTE).segment(id).path("/report").query("format", format.as_str());
        let bytes = client.download(route, &mut file)?;
        file.flush()?;
        let shown = path.display().to_string();
        output.note(format_args!("{DIM}  {} report: {} ({}){DIM:#}", format.as_str(), clean(&shown), size(bytes)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_a_format_and_a_file() {
        let expected = Target { format: Format::Junit, path: "a=b.xml".into() };
        assert_eq!(target("junit=a=b.xml").unwrap(), expected);
        for bad in ["", "json", "json=", "pdf=a", "=a"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }
}
