//! Which version is tested, on which runs, and how: the arguments as the API takes them.

use clap::Args;
use jiff::Timestamp;
use jiff::civil;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::api::{BacktestPolicy, BacktestRequest, BulkFilter, DeploymentItem, ReplayOptions};
use crate::cli::Usage;
use crate::cli::client::{Client, Route};
use crate::cli::sandboxed::{self, HowArguments, Mode};

/// The conditions of `--filter`, and what the API calls them.
const CONDITIONS: [(&str, &str); 10] = [
    ("status", "status"),
    ("task", "taskIdentifier"),
    ("version", "version"),
    ("tag", "tag"),
    ("machine", "machine"),
    ("queue", "queue"),
    ("batch", "batch"),
    ("schedule", "schedule"),
    ("bulk-action", "bulkAction"),
    ("test", "isTest"),
];

/// What is tested.
#[derive(Debug, Default, Args)]
pub(super) struct NewArguments {
    /// The version to try, promoted or not (20260101.2), or `latest`
    #[arg(long, value_name = "VERSION", required = true)]
    version: Option<String>,
    /// What it is compared with: `recorded`, what the runs did; `current`, what the current version does with the
    /// same inputs; or another version [default: recorded]
    #[arg(long, value_name = "WHAT")]
    against: Option<String>,
    /// Only runs of this task; may be given several times
    #[arg(long = "task", value_name = "TASK")]
    tasks: Vec<String>,
    /// So many of the newest runs [default: 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    last: Option<u32>,
    /// Only runs that were made at this ISO date or later [default with other conditions: 7 days ago]
    #[arg(long, value_name = "DATE", value_parser = instant)]
    from: Option<Timestamp>,
    /// Only runs that were made at this ISO date or earlier
    #[arg(long, value_name = "DATE", value_parser = instant)]
    to: Option<Timestamp>,
    /// Only runs with this status, `completed`, `failed`, `crashed` or `timed-out`; may be given several times
    /// [default: all of these]
    #[arg(long, value_name = "STATUS")]
    status: Vec<String>,
    /// Only runs that meet this condition, such as tag=vip; may be given several times
    #[arg(long = "filter", value_name = "KEY=VALUE")]
    filters: Vec<String>,
    /// Only these runs; may be given several times
    #[arg(long = "run", value_name = "ID", conflicts_with_all = ["tasks", "last", "from", "to", "status", "filters"])]
    runs: Vec<String>,
    /// Of the runs that fit, so many that are spread evenly
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sample: Option<u32>,
    /// How far the replays may reach
    #[arg(long, value_name = "MODE", default_value = "sandbox", value_parser = sandbox_mode)]
    mode: Option<Mode>,
    #[command(flatten)]
    how: HowArguments,
}

/// The modes that make no run.
fn sandbox_mode(text: &str) -> Result<Mode, String> {
    match text {
        "sandbox" => Ok(Mode::Sandbox),
        "shadow" => Ok(Mode::Shadow),
        _ => Err("a backtest makes no runs: write sandbox or shadow".into()),
    }
}

/// An ISO date, with or without a time and an offset; without an offset it is of this machine's zone.
fn instant(text: &str) -> Result<Timestamp, String> {
    let bad = |_| format!("`{text}` is not a date: write for example 2026-01-31 or 2026-01-31T12:00:00Z");
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    let local = text.parse::<civil::DateTime>().map_err(bad)?;
    Ok(local.to_zoned(TimeZone::system()).map_err(bad)?.timestamp())
}

impl NewArguments {
    /// Whether there is a version to test.
    pub(super) fn is_given(&self) -> bool {
        self.version.is_some()
    }

    /// Whether only runs that had failed are meant.
    pub(super) fn only_failed(&self) -> bool {
        let failed = |status: &String| ["FAILED", "CRASHED", "TIMED_OUT"].contains(&contract_word(status).as_str());
        let is_status = |filter: &String| filter.starts_with("status=");
        !self.status.is_empty() && self.status.iter().all(failed) && !self.filters.iter().any(is_status)
    }

    /// As the API takes it; reads the files, and asks which version the words mean.
    pub(super) fn request(&self, client: &Client) -> anyhow::Result<BacktestRequest> {
        let version = self.version.as_deref().unwrap_or("latest");
        Ok(BacktestRequest {
            version: match version {
                "latest" | "current" => {
                    client.get::<DeploymentItem>(Route::new("/api/v1/deployments").segment(version))?.value.version
                }
                version => version.into(),
            },
            against: self.against.clone(),
            filter: self.filter()?,
            run_ids: (!self.runs.is_empty()).then(|| self.runs.clone()),
            last: self.last,
            sample: self.sample,
            mode: self.mode.map(Into::into),
            options: self.how.read()?,
            gate: None,
        })
    }

    /// The conditions, where there are any.
    fn filter(&self) -> Result<Option<BulkFilter>, Usage> {
        let mut conditions: Map<String, Value> = Map::new();
        let named = self.filters.iter().map(|text| condition(text));
        let tasks = self.tasks.iter().map(|task| Ok(("taskIdentifier", json!(task))));
        let statuses = self.status.iter().map(|status| Ok(("status", json!(contract_word(status)))));
        for condition in named.chain(tasks).chain(statuses) {
            let (name, value) = condition?;
            match conditions.get_mut(name) {
                Some(Value::Array(values)) => values.push(value),
                Some(_) => return Err(Usage::new(format!("--filter can name one {name} only"))),
                None if ["batch", "schedule", "bulkAction", "isTest"].contains(&name) => {
                    conditions.insert(name.into(), value);
                }
                None => {
                    conditions.insert(name.into(), json!([value]));
                }
            }
        }
        if conditions.is_empty() && self.from.is_none() && self.to.is_none() {
            return Ok(None);
        }
        let filter = serde_json::from_value::<BulkFilter>(Value::Object(conditions))
            .map_err(|error| Usage::new(format!("--filter and --status: {error}")))?;
        Ok(Some(BulkFilter { from: self.from, to: self.to, ..filter }))
    }
}

/// `timed-out` as the API spells it.
fn contract_word(status: &str) -> String {
    status.trim().to_uppercase().replace('-', "_")
}

/// A condition of `--filter`, as the API knows it.
fn condition(text: &str) -> Result<(&'static str, Value), Usage> {
    let known = || CONDITIONS.map(|(name, _)| name).join(", ");
    let bad = || Usage::new(format!("`{text}` is not KEY=VALUE: the keys are {}", known()));
    let (key, value) = text.split_once('=').ok_or_else(bad)?;
    let (_, name) = CONDITIONS.into_iter().find(|(known, _)| *known == key).ok_or_else(bad)?;
    Ok((
        name,
        match name {
            "status" => json!(contract_word(value)),
            "queue" => match value.strip_prefix("task/") {
                Some(task) => json!({ "type": "task", "name": task }),
                None => json!({ "type": "custom", "name": value }),
            },
            "isTest" => json!(value.parse::<bool>().map_err(|_| Usage::new("--filter test=true or test=false"))?),
            _ => json!(value),
        },
    ))
}

/// `--backtest last=1000,allow=0`: what must be clean before a version is promoted.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::cli) struct Gated {
    last: Option<u32>,
    allow: u64,
    known: Option<u32>,
    sample: Option<u32>,
    tasks: Vec<String>,
    mode: Option<Mode>,
    rules: Option<String>,
}

impl Gated {
    /// Reads `last=1000,allow=0,known=50,task=t,sample=100,mode=shadow,rules=FILE`, all of which may be left out.
    pub(in crate::cli) fn parse(text: &str) -> Result<Self, String> {
        let mut gate = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let bad = || {
                format!(
                    "`{part}` is none of last=N, allow=N, known=PERCENT, sample=N, task=TASK, mode=sandbox, mode=shadow and \
                     rules=FILE: write for example last=1000,allow=0"
                )
            };
            let (key, value) = part.split_once('=').ok_or_else(bad)?;
            match key {
                "last" => gate.last = Some(value.parse().map_err(|_| bad())?),
                "allow" => gate.allow = value.parse().map_err(|_| bad())?,
                "known" => gate.known = Some(value.parse().map_err(|_| bad())?),
                "sample" => gate.sample = Some(value.parse().map_err(|_| bad())?),
                "task" => gate.tasks.push(value.into()),
                "mode" => gate.mode = Some(sandbox_mode(value)?),
                "rules" => gate.rules = Some(value.into()),
                _ => return Err(bad()),
            }
        }
        Ok(gate)
    }

    /// As the API takes it; reads the rules.
    pub(in crate::cli) fn policy(&self) -> Result<BacktestPolicy, Usage> {
        let rules = sandboxed::rules(self.rules.as_deref().map(AsRef::as_ref))?;
        Ok(BacktestPolicy {
            last: self.last,
            allow: self.allow,
            min_known: self.known,
            sample: self.sample,
            tasks: self.tasks.clone(),
            mode: self.mode.map(Into::into),
            options: ReplayOptions { rules, ..ReplayOptions::default() },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(arguments: &NewArguments, expected: Value) {
        assert_eq!(serde_json::to_value(arguments.filter().unwrap()).unwrap(), expected);
    }

    #[test]
    fn without_conditions_there_is_no_filter() {
        check(&NewArguments::default(), Value::Null);
    }

    #[test]
    fn conditions_are_called_what_the_api_calls_them() {
        let filters = ["tag=a", "tag=b", "queue=task/t", "test=true", "batch=batch_1"];
        let arguments = NewArguments {
            tasks: vec!["t".into()],
            status: vec!["timed-out".into()],
            from: Some(Timestamp::UNIX_EPOCH),
            filters: filters.map(Into::into).into(),
            ..Default::default()
        };
        check(
            &arguments,
            json!({
                "status": ["TIMED_OUT"],
                "taskIdentifier": ["t"],
                "tag": ["a", "b"],
                "queue": [{ "type": "task", "name": "t" }],
                "batch": "batch_1",
                "isTest": true,
                "from": "1970-01-01T00:00:00Z",
            }),
        );
    }

    #[test]
    fn unknown_conditions_are_refused() {
        for bad in ["tag", "colour=red", "status=done", "test=2"] {
            let arguments = NewArguments { filters: vec![bad.into()], ..Default::default() };
            assert!(arguments.filter().is_err(), "{bad}");
        }
    }

    #[test]
    fn dates_may_leave_out_time_and_offset() {
        assert_eq!(instant("2026-01-31T12:00:00Z").unwrap().to_string(), "2026-01-31T12:00:00Z");
        assert!(instant("2026-01-31").is_ok() && instant("2026-01-31T12:00").is_ok());
        assert!(instant("yesterday").is_err());
    }

    #[test]
    fn a_gate_is_read_from_one_word() {
        let tasks = vec!["t".into()];
        let expected = Gated { last: Some(1000), known: Some(80), sample: Some(5), tasks, ..Default::default() };
        assert_eq!(Gated::parse("last=1000, allow=0,known=80,task=t,sample=5").unwrap(), expected);
        assert_eq!(Gated::parse("").unwrap(), Gated::default());
        for bad in ["last", "last=x", "allow=-1", "mode=live", "colour=red"] {
            assert!(Gated::parse(bad).is_err(), "{bad}");
        }
    }
}
