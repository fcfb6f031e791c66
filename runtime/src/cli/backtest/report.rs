//! `--report FORMAT=FILE`: keeps reports of a backtest in files.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
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
pub(super) type Files = Vec<Begun>;

/// A report that is being written, beside the file that it will be: what was there stays until the new one is whole.
/// Only its owner can read it, because what tasks were given is in it.
#[derive(Debug)]
pub(super) struct Begun {
    target: Target,
    file: File,
    /// `None`: it is written where it belongs, which is no ordinary file.
    part: Option<PathBuf>,
}

impl Begun {
    fn new(target: Target) -> io::Result<Self> {
        let path = &target.path;
        let options = &mut File::options();
        if path.metadata().is_ok_and(|there| !there.is_file() && !there.is_dir()) {
            let file = options.write(true).open(path)?;
            return Ok(Self { target, file, part: None });
        }
        let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_string_lossy();
        let part = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
        if path.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let file = options.write(true).create_new(true).mode(0o600).open(&part)?;
        Ok(Self { target, file, part: Some(part) })
    }

    /// It is whole.
    fn end(mut self) -> io::Result<()> {
        self.file.flush()?;
        match self.part.take() {
            Some(part) => std::fs::rename(part, &self.target.path),
            None => Ok(()),
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            let _ = std::fs::remove_file(part);
        }
    }
}

fn target(text: &str) -> Result<Target, String> {
    let bad = || format!("`{text}` is not FORMAT=FILE: write json=FILE, junit=FILE or html=FILE");
    let (word, path) = text.split_once('=').filter(|(_, path)| !path.is_empty()).ok_or_else(bad)?;
    Ok(Target { format: Format::parse(word).ok_or_else(bad)?, path: path.into() })
}

impl ReportArguments {
    /// Makes the files: one that cannot be written is found out before the work.
    pub(super) fn open(&self) -> Result<Files, Usage> {
        let open = |target: &Target| {
            let begun = Begun::new(target.clone());
            begun.map_err(|error| Usage::new(format!("cannot write {}: {error}", target.path.display())))
        };
        self.reports.iter().map(open).collect()
    }
}

/// Fetches the reports of a backtest that is over.
pub(super) fn save(client: &Client, id: &str, files: Files, output: Output) -> anyhow::Result<()> {
    for mut begun in files {
        let Target { format, path } = begun.target.clone();
        let route = Route::new(ROUTE).segment(id).path("/report").query("format", format.as_str());
        let bytes = client.download(route, &mut begun.file)?;
        begun.end()?;
        let shown = path.display().to_string();
        output.note(format_args!("{DIM}  {} report: {} ({}){DIM:#}", format.as_str(), clean(&shown), size(bytes)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_takes_the_place_of_an_older_one_when_it_is_whole() {
        use std::os::unix::fs::PermissionsExt;
        let dir = std::env::temp_dir().join(format!("dacapo-report-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("report.json");
        std::fs::write(&path, "old").unwrap();
        let target = Target { format: Format::Json, path: path.clone() };
        let mut broken = Begun::new(target.clone()).unwrap();
        broken.file.write_all(b"ne").unwrap();
        drop(broken);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        let mut whole = Begun::new(target).unwrap();
        whole.file.write_all(b"new").unwrap();
        whole.end().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "nothing is left beside it");
        assert!(Begun::new(Target { format: Format::Json, path: dir.clone() }).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_report_has_a_format_and_a_file() {
        let expected = Target { format: Format::Junit, path: "a=b.xml".into() };
        assert_eq!(target("junit=a=b.xml").unwrap(), expected);
        for bad in ["", "json", "json=", "pdf=a", "=a"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }
}
