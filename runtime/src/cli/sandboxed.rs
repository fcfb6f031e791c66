//! What replays in the sandbox have in common on the command line: how far they reach, who answers their calls, and
//! what comparisons overlook.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{Usage, input};
use crate::api::{ChildrenPolicy, ReplayMode, ReplayOptions, ReplayStubs, UnmatchedPolicy, VariablesPolicy};
use crate::backtest::rules::{FILE_NAME, Rules};

const HEADING: &str = "Sandbox";

/// How far a replay may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    /// A new run, with all its effects
    Live,
    /// No effect leaves the server: calls are answered from the recording of the run
    Sandbox,
    /// As in the sandbox, but GET and HEAD requests that the recording does not answer may go out
    Shadow,
}

impl From<Mode> for ReplayMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Live => Self::Live,
            Mode::Sandbox => Self::Sandbox,
            Mode::Shadow => Self::Shadow,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Unmatched {
    /// The guest sees an error, as if it could not connect
    Block,
    /// The replay fails at once
    Fail,
    /// The first of --stubs that fits answers, else it is blocked
    Stub,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Children {
    /// Their recorded results are used
    Recorded,
    /// They are executed in the sandbox, too
    Execute,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Variables {
    /// Those of the recording
    Recorded,
    /// Of those that the recording lacks, the ones that the environment has now
    Current,
}

/// How replays in the sandbox are done.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = HEADING)]
pub(super) struct HowArguments {
    /// What becomes of calls that the recording does not answer [default: block; with --stubs: stub]
    #[arg(long, value_name = "POLICY")]
    unmatched: Option<Unmatched>,
    /// JSON file of canned answers: {"http": [{"url": "https://a.example/*", "body": …}], "runs": {"TASK": …}}
    #[arg(long, value_name = "FILE")]
    stubs: Option<PathBuf>,
    /// How the runs that a replay triggers come about [default: recorded]
    #[arg(long, value_name = "HOW")]
    children: Option<Children>,
    /// Which variables a replay sees; those that the recording lacks are named in any case [default: recorded]
    #[arg(long, value_name = "WHICH")]
    variables: Option<Variables>,
    /// JSON file of what comparisons overlook and allow [default: ./dacapo-replay.json where it exists]
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
}

impl HowArguments {
    /// The first that was given, for errors.
    pub(super) fn given(&self) -> Option<&'static str> {
        let given = [
            ("--unmatched", self.unmatched.is_some()),
            ("--stubs", self.stubs.is_some()),
            ("--children", self.children.is_some()),
            ("--variables", self.variables.is_some()),
            ("--rules", self.rules.is_some()),
        ];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(name, _)| name)
    }

    /// As the API takes it; reads the files.
    pub(super) fn read(&self) -> Result<ReplayOptions, Usage> {
        let unmatched = match (self.unmatched, &self.stubs) {
            (Some(Unmatched::Stub), None) => return Err(Usage::new("--unmatched stub needs --stubs FILE")),
            (Some(policy @ (Unmatched::Block | Unmatched::Fail)), Some(_)) => {
                let name = if policy == Unmatched::Fail { "fail" } else { "block" };
                return Err(Usage::new(format!(
                    "--stubs answer nothing with --unmatched {name}: leave one of them out"
                )));
            }
            (Some(policy), _) => Some(policy),
            (None, stubs) => stubs.as_ref().map(|_| Unmatched::Stub),
        };
        Ok(ReplayOptions {
            unmatched: unmatched.map(|policy| match policy {
                Unmatched::Block => UnmatchedPolicy::Block,
                Unmatched::Fail => UnmatchedPolicy::Fail,
                Unmatched::Stub => UnmatchedPolicy::Stub,
            }),
            children: self.children.map(|children| match children {
                Children::Recorded => ChildrenPolicy::Recorded,
                Children::Execute => ChildrenPolicy::Execute,
            }),
            variables: self.variables.map(|variables| match variables {
                Variables::Recorded => VariablesPolicy::Recorded,
                Variables::Current => VariablesPolicy::Current,
            }),
            stubs: self.stubs.as_deref().map(stubs).transpose()?,
            rules: rules(self.rules.as_deref())?,
        })
    }
}

/// The rules of a file; where none is named, of the file of this folder, where it is there.
pub(super) fn rules(named: Option<&Path>) -> Result<Option<crate::api::ReplayRules>, Usage> {
    let path = match named {
        Some(path) => path,
        None if Path::new(FILE_NAME).is_file() => Path::new(FILE_NAME),
        None => return Ok(None),
    };
    let rules = Rules::parse(&input::read(path)?);
    let rules = rules.map_err(|error| Usage::new(format!("the rules in {}: {error}", path.display())))?;
    Ok(Some(rules.given().clone()))
}

fn stubs(path: &Path) -> Result<ReplayStubs, Usage> {
    let shown = path.display();
    serde_json::from_str(&input::read(path)?).map_err(|error| Usage::new(format!("the stubs in {shown}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(how: &HowArguments, part: &str) {
        let error = how.read().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn what_was_not_given_is_not_sent() {
        let sent = serde_json::to_string(&HowArguments::default().read().unwrap()).unwrap();
        assert_eq!(sent, "{}");
    }

    #[test]
    fn stubs_are_for_unmatched_calls_and_files_must_be_there() {
        let how = HowArguments { stubs: Some("/does/not/exist.json".into()), ..Default::default() };
        check_refused(&how, "cannot read /does/not/exist.json");
        check_refused(&HowArguments { unmatched: Some(Unmatched::Fail), ..how }, "with --unmatched fail");
        check_refused(&HowArguments { unmatched: Some(Unmatched::Stub), ..Default::default() }, "needs --stubs");
        let rules = Some("/does/not/exist.json".into());
        check_refused(&HowArguments { rules, ..Default::default() }, "cannot read /does/not/exist.json");
    }
}
