//! Random stories of runs that wait, held against what they must come to.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use dacapo::model::Timestamp;
use dacapo::model::attempt::Settlement;
use dacapo::model::id::{RunId, WaitpointId};
use dacapo::model::run::{Status, later};
use dacapo::model::wait::Awaited;
use dacapo::storage::{Canceled, Completed, Lease, Suspended, Suspension};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::desk::Desk;
use crate::rules::stories;

/// Stories, and the steps of the longest.
const STORIES: u32 = 24;
const STEPS: usize = 60;

/// Something to wait for; numbers choose among what there is.
#[derive(Debug, Clone)]
enum Target {
    Seconds(u64),
    Token(usize),
    Run(usize),
    Runs(Vec<usize>),
}

#[derive(Debug, Clone)]
enum Step {
    Trigger,
    Claim,
    MakeToken(Option<u64>),
    Suspend(usize, Vec<Target>, bool),
    Complete(usize),
    Cancel(usize),
    CompleteToken(usize),
    /// Time passes, and upkeep looks.
    Pass(u64),
    /// The server dies after its last commit, and comes back.
    Reopen,
}

fn any_target() -> impl Strategy<Value = Target> {
    prop_oneof![
        2 => (0_u64..20).prop_map(Target::Seconds),
        2 => any::<usize>().prop_map(Target::Token),
        3 => any::<usize>().prop_map(Target::Run),
        2 => vec(any::<usize>(), 0..4).prop_map(Target::Runs),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Trigger),
        10 => Just(Step::Claim),
        3 => proptest::option::of(1_u64..20).prop_map(Step::MakeToken),
        10 => (any::<usize>(), vec(any_target(), 0..4), any::<bool>())
            .prop_map(|(which, targets, all)| Step::Suspend(which, targets, all)),
        6 => any::<usize>().prop_map(Step::Complete),
        2 => any::<usize>().prop_map(Step::Cancel),
        3 => any::<usize>().prop_map(Step::CompleteToken),
        4 => (0_u64..15).prop_map(Step::Pass),
        1 => Just(Step::Reopen),
    ]
}

/// What a run waits for, and the latest moment that it knows of.
struct Wait {
    of: Vec<Awaited>,
    all: bool,
    at: Timestamp,
}

struct Known {
    status: Status,
    lease: Option<Lease>,
    wait: Option<Wait>,
    has_waited: bool,
}

struct Token {
    is_over: bool,
    timeout_at: Option<Timestamp>,
}

struct Story {
    desk: Desk,
    now: Timestamp,
    runs: BTreeMap<RunId, Known>,
    tokens: BTreeMap<WaitpointId, Token>,
}

impl Story {
    async fn begin(data_dir: &Path) -> Self {
        let desk = Desk::open(data_dir).await;
        Self { now: desk.now(), desk, runs: BTreeMap::new(), tokens: BTreeMap::new() }
    }

    async fn reopen(self, data_dir: &Path) -> Self {
        let Self { desk, now, runs, tokens } = self;
        desk.storage.close().await;
        drop(desk);
        Self { desk: Desk::open(data_dir).await, now, runs, tokens }
    }

    fn some_run(&self, which: usize) -> Option<RunId> {
        self.runs.keys().nth(which % self.runs.len().max(1)).copied()
    }

    fn some_token(&self, which: usize) -> Option<WaitpointId> {
        self.tokens.keys().nth(which % self.tokens.len().max(1)).copied()
    }

    /// One of those that execute.
    fn executing(&self, which: usize) -> Option<Lease> {
        let leases: Vec<Lease> = self.runs.values().filter_map(|run| run.lease).collect();
        leases.get(which % leases.len().max(1)).copied()
    }

    fn awaited(&self, target: &Target) -> Option<Awaited> {
        Some(match target {
            Target::Seconds(seconds) => Awaited::Moment(later(self.now, Duration::from_secs(*seconds))),
            Target::Token(which) => Awaited::Token(self.some_token(*which)?),
            Target::Run(which) => Awaited::Run(self.some_run(*which)?),
            Target::Runs(which) => Awaited::Runs(which.iter().filter_map(|which| self.some_run(*which)).collect()),
        })
    }

    /// How much of this is missing still.
    fn missing(&self, awaited: &Awaited, at: Timestamp) -> usize {
        let lives = |run: &RunId| !self.runs[run].status.is_final();
        match awaited {
            Awaited::Moment(moment) => usize::from(*moment > at),
            Awaited::Token(token) => usize::from(!self.tokens[token].is_over),
            Awaited::Run(run) => usize::from(lives(run)),
            Awaited::Runs(runs) => runs.iter().filter(|run| lives(run)).count(),
        }
    }

    fn is_over(&self, wait: &Wait) -> bool {
        let mut places = wait.of.iter().map(|awaited| self.missing(awaited, wait.at) == 0);
        wait.of.is_empty() || if wait.all { places.all(|there| there) } else { places.any(|there| there) }
    }

    fn end(&mut self, run: RunId, status: Status) {
        let known = self.runs.get_mut(&run).expect("known");
        (known.status, known.lease, known.wait) = (status, None, None);
    }

    async fn take(&mut self, step: &Step) {
        match step {
            Step::Trigger => {
                let run = self.desk.insert(self.desk.new_run()).await;
                self.runs.insert(run, Known { status: Status::Queued, lease: None, wait: None, has_waited: false });
            }
            Step::Claim => self.claim().await,
            Step::MakeToken(seconds) => {
                let timeout_at = seconds.map(|seconds| later(self.now, Duration::from_secs(seconds)));
                self.tokens.insert(self.desk.token(timeout_at).await, Token { is_over: false, timeout_at });
            }
            Step::Suspend(which, targets, all) => self.suspend(*which, targets, *all).await,
            Step::Complete(which) => {
                let Some(lease) = self.executing(*which) else { return };
                assert!(
                    self.desk.storage.settle(self.desk.end(lease, Settlement::Completed("1".into()))).await.unwrap()
                );
                self.end(lease.run, Status::Completed);
            }
            Step::Cancel(which) => {
                let Some(run) = self.some_run(*which) else { return };
                let had_ended = self.runs[&run].status.is_final();
                let canceled = self.desk.storage.cancel(self.desk.environment, run, self.now).await.unwrap();
                assert_eq!(canceled, if had_ended { Canceled::HadEnded } else { Canceled::Now });
                if !had_ended {
                    self.end(run, Status::Canceled);
                }
            }
            Step::CompleteToken(which) => {
                let Some(id) = self.some_token(*which) else { return };
                let completed = self.desk.storage.complete_waitpoint(id, None, self.now).await.unwrap();
                let token = self.tokens.get_mut(&id).expect("known");
                assert_eq!(completed, if token.is_over { Completed::Before } else { Completed::Now });
                token.is_over = true;
            }
            Step::Pass(seconds) => {
                self.now = later(self.now, Duration::from_secs(*seconds));
                self.desk.upkeep(self.now).await;
                for token in self.tokens.values_mut() {
                    token.is_over |= token.timeout_at.is_some_and(|at| at <= self.now);
                }
                self.runs.values_mut().filter_map(|run| run.wait.as_mut()).for_each(|wait| wait.at = self.now);
            }
            Step::Reopen => unreachable!("taken elsewhere"),
        }
    }

    async fn claim(&mut self) {
        let queued = self.runs.iter().find(|(_, known)| known.status == Status::Queued);
        let Some(first) = queued.map(|(run, _)| *run) else { return };
        let claimed = self.desk.claim().await;
        assert_eq!(claimed.run.id, first, "whoever was triggered first, whether or not it has waited");
        let known = self.runs.get_mut(&first).expect("known");
        assert_eq!((claimed.resumes, claimed.lease.attempt), (known.has_waited, 1));
        (known.status, known.lease) = (Status::Executing, Some(claimed.lease));
    }

    async fn suspend(&mut self, which: usize, targets: &[Target], all: bool) {
        let Some(lease) = self.executing(which) else { return };
        let of: Vec<Awaited> = targets.iter().filter_map(|target| self.awaited(target)).collect();
        let asked = Suspension { at: self.now, ..self.desk.suspension(lease, of.clone(), all) };
        let suspended = self.desk.storage.suspend(asked).await.unwrap();
        let wait = Wait { of, all, at: self.now };
        assert_eq!(suspended, if self.is_over(&wait) { Suspended::Ready } else { Suspended::Waiting });
        if suspended == Suspended::Waiting {
            let known = self.runs.get_mut(&lease.run).expect("known");
            *known = Known { status: Status::Waiting, lease: None, wait: Some(wait), has_waited: true };
        }
    }

    /// Whoever need not wait any more is queued, and nobody else; rows say what is missing, and nothing
    /// else.
    async fn check(&mut self) {
        let over: Vec<RunId> = (self.runs.iter())
            .filter(|(_, known)| known.wait.as_ref().is_some_and(|wait| self.is_over(wait)))
            .map(|(run, _)| *run)
            .collect();
        for run in over {
            let known = self.runs.get_mut(&run).expect("known");
            (known.status, known.wait) = (Status::Queued, None);
        }
        for (run, known) in &self.runs {
            assert_eq!(self.desk.status(*run).await, known.status.as_str(), "{run}");
        }
        let waits = self.runs.values().filter_map(|known| known.wait.as_ref());
        let missing = waits.flat_map(|wait| wait.of.iter().map(|awaited| self.missing(awaited, wait.at)));
        assert_eq!(self.desk.rows("run_waits"), missing.sum::<usize>() as i64);
        let queued = self.runs.values().filter(|known| known.status == Status::Queued).count();
        assert_eq!(self.desk.storage.waiting_runs(self.desk.environment), queued as u64);
    }
}

#[test]
fn whoever_waits_is_woken_when_it_need_not_wait_and_not_before() {
    let config =
        Config { cases: stories(STORIES), max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let told = TestRunner::new(config).run(&vec(any_step(), 1..STEPS), |steps| {
        let dir = tempfile::tempdir().unwrap();
        runtime.block_on(async {
            let mut story = Story::begin(dir.path()).await;
            for step in &steps {
                if matches!(step, Step::Reopen) {
                    story = story.reopen(dir.path()).await;
                } else {
                    story.take(step).await;
                }
                story.check().await;
            }
            story.desk.storage.close().await;
        });
        Ok(())
    });
    if let Err(error) = told {
        panic!("{error}");
    }
}
