//! `--report FORMAT=FILE`: keeps reports of a backtest in files.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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

/// Reports that are to be written.
pub(super) type Files = Vec<(Target, Draft)>;

/// A file beside the one that is meant, which takes its place when it is whole, and which nobody else can read. What is no
/// file, such as a terminal, is written at once.
#[derive(Debug)]
pub(super) struct Draft {
    file: File,
    /// Where it is, and where it is to be.
    places: Option<(PathBuf, PathBuf)>,
}

impl Draft {
    fn open(path: &Path) -> io::Result<Self> {
        // Through links, to what they lead to.
        let path = if path.exists() { path.canonicalize()? } else { path.to_owned() };
        if path.exists() && !path.is_file() {
            return Ok(Self { file: OpenOptions::new().write(true).open(path)?, places: None });
        }
        let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_string_lossy();
        let draft = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        Ok(Self { file, places: Some((draft, path)) })
    }

    /// Puts it in its place.
    fn finish(mut self) -> io::Result<()> {
        self.file.flush()?;
        match self.places.take() {
            Some((draft, path)) => std::fs::rename(draft, path),
            None => Ok(()),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some((draft, _)) = self.places.take() {
            // What is left of it disturbs nobody.
            let _ = std::fs::remove_file(draft);
        }
    }
}

fn target(text: &str) -> Result<Target, String> {
    let bad = || format!("`{text}` is not FORMAT=FILE: write json=FILE, junit=FILE or html=FILE");
    let (word, path) = text.split_once('=').filter(|(_, path)| !path.is_empty()).ok_or_else(bad)?;
    Ok(Target { format: Format::parse(word).ok_or_else(bad)?, path: path.into() })
}

impl ReportArguments {
    /// Makes files beside those that are meant, which nobody else can read: where that cannot be, it is found out before
    /// the work, and what is there stays until the report is whole.
    pub(super) fn open(&self) -> Result<Files, Usage> {
        let open = |target: &Target| {
            let file = Draft::open(&target.path);
            let file = file.map_err(|error| Usage::new(format!("cannot write {}: {error}", target.path.display())));
            Ok((target.clone(), file?))
        };
        self.reports.iter().map(open).collect()
    }
}

/// Fetches the reports of a backtest that is over. One that is not whole leaves what was there.
pub(super) fn save(client: &Client, id: &str, files: Files, output: Output) -> anyhow::Result<()> {
    for (Target { format, path }, mut file) in files {
        let route = Route::new(ROUTE).segment(id).path("/report").query("format", format.as_str());
        let bytes = client.download(route, &mut file.file)?;
        file.finish()?;
        let shown = path.display().to_string();
        output.note(format_args!("{DIM}  {} report: {} ({}){DIM:#}", format.as_str(), clean(&shown), size(bytes)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_takes_its_place_when_it_is_whole() {
        let dir = std::env::temp_dir().join(format!("dacapo-report-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("report.json");
        std::fs::write(&path, "old").unwrap();
        let mut broken = Draft::open(&path).unwrap();
        broken.file.write_all(b"ha").unwrap();
        drop(broken);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        let mut whole = Draft::open(&path).unwrap();
        whole.file.write_all(b"new").unwrap();
        whole.finish().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!((mode & 0o777, std::fs::read_dir(&dir).unwrap().count()), (0o600, 1));
        assert!(Draft::open(&dir).is_err() && Draft::open(&dir.join("none/report.json")).is_err());
        Draft::open(Path::new("/dev/null")).unwrap().finish().unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
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
