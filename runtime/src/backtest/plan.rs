//! Which runs a backtest looks at.
//!
//! A list, a sample and a gate choose theirs when they are asked for; otherwise the next ones are looked for
//! with each step, newest first. The runs of a gate are shared among its tasks, so that a rare one is not left out.

use std::time::Duration;

use jiff::Timestamp;

use super::jobs::{BacktestError, Backtests, STEP_RUNS};
use super::rules::Rules;
use super::stubs;
use crate::api::{BacktestRequest, BulkFilter, ReplayMode, ReplayOptions};
use crate::model::id::{DeploymentId, EnvironmentId, RunId};
use crate::model::limits;
use crate::model::run::Status;
use crate::selection;
use crate::storage::{self, PendingBacktest, Place, RunFilter};

/// Among which runs those of a backtest are looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope {
    pub(super) environment: EnvironmentId,
    /// The version that is tested.
    pub(super) deployment: DeploymentId,
    /// When the backtest was asked for.
    pub(super) made_at: Timestamp,
}

/// What a backtest looks at.
#[derive(Debug)]
pub(super) struct Plan {
    /// What was asked for; its times do not move any more.
    pub(super) request: BacktestRequest,
    /// Most runs.
    pub(super) planned: usize,
    /// The runs, step by step, where they are chosen now.
    pub(super) pages: Option<Vec<Vec<RunId>>>,
}

/// How many runs are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amount {
    /// Of the newest.
    pub(super) last: u32,
    /// Of those.
    pub(super) sample: Option<u32>,
}

impl Amount {
    /// Checks how many runs are asked for.
    pub(super) fn check(last: Option<u32>, sample: Option<u32>) -> Result<Self, BacktestError> {
        let last = last.unwrap_or(limits::DEFAULT_BACKTEST_RUNS);
        if !(1..=limits::MAX_BACKTEST_RUNS).contains(&last) || sample == Some(0) {
            let text = "`last` must be 1 to 100,000, and `sample` at least 1";
            return Err(BacktestError::Refused(text.into()));
        }
        Ok(Self { last, sample })
    }
}

/// Checks how the replays of a backtest, or of a policy, are to be done.
pub(super) fn check_how(mode: Option<ReplayMode>, options: &ReplayOptions) -> Result<(), BacktestError> {
    if mode == Some(ReplayMode::Live) {
        let text = "`mode` of a backtest is `sandbox` or `shadow`; for new runs use a bulk action";
        return Err(BacktestError::Refused(text.into()));
    }
    stubs::read(options.stubs.as_ref()).map_err(BacktestError::Refused)?;
    rules_of(options).map(drop)
}

/// The rules of these options.
pub(super) fn rules_of(options: &ReplayOptions) -> Result<Rules, BacktestError> {
    Ok(Rules::check(options.rules.clone().unwrap_or_default())?)
}

/// Checks the least share of runs, in percent, about which a gate must know something.
pub(super) fn check_min_known(given: Option<u32>) -> Result<u32, BacktestError> {
    match given.unwrap_or(limits::DEFAULT_MIN_KNOWN) {
        percent @ 0..=100 => Ok(percent),
        _ => Err(BacktestError::Refused("`minKnown` is a share in percent: 0 to 100".into())),
    }
}

impl Backtests {
    /// Decides which runs are looked at.
    pub(super) async fn plan(
        &self,
        scope: &Scope,
        mut request: BacktestRequest,
        amount: Amount,
    ) -> Result<Plan, BacktestError> {
        match (request.filter.take(), request.run_ids.take()) {
            (Some(_), Some(_)) => {
                return Err(BacktestError::Refused("name either a `filter` or `runIds`".into()));
            }
            (None, Some(ids)) => {
                let ids = selection::run_ids(ids)?;
                let mut runs: Vec<RunId> = ids.iter().filter_map(|id| id.parse().ok()).collect();
                runs.sort_unstable_by(|one, other| other.cmp(one));
                // For whoever wants the same once more.
                request.run_ids = Some(ids);
                return Ok(planned(request, spread(&runs, amount.sample)));
            }
            (Some(filter), None) => request.filter = Some(selection::fixed(filter, self.clock.now())?),
            (None, None) => request.filter = Some(BulkFilter { to: Some(scope.made_at), ..BulkFilter::default() }),
        }
        if request.gate.is_some() {
            let runs = self.shared(scope, &request, amount).await?;
            return Ok(planned(request, runs));
        }
        if amount.sample.is_some() {
            let filter = self.filter(scope, &request).await?;
            let all = self.newest(scope.environment, &filter, (Place::Start, amount.last)).await?;
            return Ok(planned(request, spread(&all, amount.sample)));
        }
        Ok(Plan { request, planned: amount.last as usize, pages: None })
    }

    /// The runs of a gate: tasks share them.
    async fn shared(
        &self,
        scope: &Scope,
        request: &BacktestRequest,
        amount: Amount,
    ) -> Result<Vec<RunId>, BacktestError> {
        let mut filter = self.filter(scope, request).await?;
        // Of what ended before that, nothing is on record.
        filter.from = filter.from.max(Some(since(scope.made_at, self.recordings_kept)));
        let mut tasks: Vec<OfTask> = std::mem::take(&mut filter.tasks).into_iter().map(OfTask::new).collect();
        loop {
            let left = amount.last as usize - tasks.iter().map(|task| task.runs.len()).sum::<usize>();
            let open = tasks.iter().filter(|task| !task.is_dry).count();
            if left == 0 || open == 0 {
                break;
            }
            let (share, mut left) = ((left / open).max(1), left);
            for task in tasks.iter_mut().filter(|task| !task.is_dry) {
                let wanted = share.min(left);
                let place = task.runs.last().map_or(Place::Start, |oldest| Place::After(*oldest));
                let of_task = RunFilter { tasks: vec![task.id.clone()], ..filter.clone() };
                let limit = u32::try_from(wanted).unwrap_or(u32::MAX);
                let more = self.newest(scope.environment, &of_task, (place, limit)).await?;
                task.is_dry = more.len() < wanted;
                left -= more.len();
                task.runs.extend(more);
                if left == 0 {
                    break;
                }
            }
        }
        let found: Vec<usize> = tasks.iter().map(|task| task.runs.len()).collect();
        let wanted = amount.sample.map_or(usize::MAX, |sample| sample as usize);
        let mut runs = Vec::new();
        for (task, share) in tasks.iter().zip(shares(wanted, &found)) {
            runs.extend(spread(&task.runs, u32::try_from(share).ok()));
        }
        runs.sort_unstable_by(|one, other| other.cmp(one));
        Ok(runs)
    }

    /// The next runs of a backtest, newest first, `limit` at most.
    pub(super) async fn next_runs(
        &self,
        pending: &PendingBacktest,
        request: &BacktestRequest,
        limit: u32,
    ) -> Result<Vec<RunId>, BacktestError> {
        let backtest = &pending.backtest;
        if pending.is_planned {
            let mut page = self.storage.backtest_page(backtest.id, backtest.last_run).await?;
            // The last step may have ended within the page.
            page.retain(|run| backtest.last_run.is_none_or(|last| *run < last));
            return Ok(page);
        }
        let (environment, deployment) = (backtest.environment, backtest.deployment);
        let filter = self.filter(&Scope { environment, deployment, made_at: backtest.created_at }, request).await?;
        let place = backtest.last_run.map_or(Place::Start, Place::After);
        Ok(self.newest(environment, &filter, (place, limit)).await?)
    }

    /// The conditions of a backtest. Where no task is named, those of the component are meant: what the version has, and
    /// what its predecessor has and it may have lost.
    async fn filter(&self, scope: &Scope, request: &BacktestRequest) -> Result<RunFilter, BacktestError> {
        let environment = scope.environment;
        let mut filter = match &request.filter {
            Some(filter) => selection::run_filter(&self.storage, environment, filter).await?,
            None => RunFilter { to: Some(scope.made_at), ..RunFilter::default() },
        };
        if filter.tasks.is_empty() {
            filter.tasks = self.tasks_of(environment, scope.deployment).await?;
        }
        Ok(with_ended(filter))
    }

    /// The tasks of the component of a version: those that it has, and those that its predecessor has.
    pub(super) async fn tasks_of(
        &self,
        environment: EnvironmentId,
        deployment: DeploymentId,
    ) -> Result<Vec<String>, BacktestError> {
        let deployment = self.deployment(deployment).await?;
        Ok(self.storage.component_tasks(environment, deployment.component.clone(), deployment.id).await?)
    }

    /// The newest runs that fit, behind a place.
    pub(super) async fn newest(
        &self,
        environment: EnvironmentId,
        filter: &RunFilter,
        (mut place, limit): (Place, u32),
    ) -> Result<Vec<RunId>, storage::Error> {
        let mut found = Vec::new();
        while found.len() < limit as usize {
            let left = limit - u32::try_from(found.len()).unwrap_or(limit);
            let page =
                self.storage.run_ids(environment, filter.clone(), place, left.min(limits::MAX_PAGE_RUNS)).await?;
            found.extend(&page.items);
            place = match (page.go_on, page.items.last()) {
                (Some(on), _) => on,
                (None, Some(oldest)) if page.has_older => Place::After(*oldest),
                (None, _) => break,
            };
        }
        Ok(found)
    }
}

/// Runs of one task, newest first.
struct OfTask {
    id: String,
    runs: Vec<RunId>,
    /// Whether there are no more.
    is_dry: bool,
}

impl OfTask {
    fn new(id: String) -> Self {
        Self { id, runs: Vec::new(), is_dry: false }
    }
}

fn planned(request: BacktestRequest, runs: Vec<RunId>) -> Plan {
    let pages = runs.chunks(STEP_RUNS as usize).map(<[RunId]>::to_vec).collect();
    Plan { request, planned: runs.len(), pages: Some(pages) }
}

/// The moment from which on something is kept for so long.
pub(super) fn since(now: Timestamp, kept: Duration) -> Timestamp {
    now.checked_sub(kept).unwrap_or(Timestamp::MIN)
}

/// So many of them, evenly; `None`: all.
fn spread<T: Copy>(all: &[T], count: Option<u32>) -> Vec<T> {
    match count.map(|count| count as usize) {
        Some(count) if count < all.len() => (0..count).map(|place| all[place * all.len() / count]).collect(),
        Some(_) | None => all.to_vec(),
    }
}

/// How `total` is shared evenly among those that can take so many each; what one cannot take goes to the others.
fn shares(total: usize, most: &[usize]) -> Vec<usize> {
    let mut shares = vec![0; most.len()];
    let mut left = total.min(most.iter().sum());
    while left > 0 {
        let open = shares.iter().zip(most).filter(|(share, most)| share < most).count();
        let each = (left / open.max(1)).max(1);
        for (share, most) in shares.iter_mut().zip(most) {
            let more = each.min(most - *share).min(left);
            *share += more;
            left -= more;
        }
    }
    shares
}

/// Those whose code came to an end, unless statuses are named.
pub(super) fn with_ended(mut filter: RunFilter) -> RunFilter {
    if filter.statuses.is_empty() {
        filter.statuses = vec![Status::Completed, Status::Failed, Status::Crashed, Status::TimedOut];
    }
    filter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_as_many_as_are_asked_for_spread_over_all() {
        let all: Vec<u32> = (0..1_000).collect();
        for count in [1, 3, 600, 999] {
            let sample = spread(&all, Some(count));
            assert_eq!(sample.len(), count as usize);
            assert!(sample.is_sorted_by(|one, other| one < other), "each once");
            let widest = sample.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
            assert!(widest <= 1_000_u32.div_ceil(count), "{count}: {widest}");
        }
        assert_eq!(spread(&all, Some(2_000)), all);
        assert_eq!(spread(&all, None), all);
    }

    #[test]
    fn a_rare_task_gets_its_share() {
        assert_eq!(shares(10, &[1_000, 2, 0]), [8, 2, 0]);
        assert_eq!(shares(10, &[1_000, 1_000, 1_000]), [4, 3, 3]);
        assert_eq!(shares(2, &[5, 5, 5]), [1, 1, 0]);
        assert_eq!(shares(usize::MAX, &[5, 7]), [5, 7]);
        assert_eq!(shares(3, &[]), Vec::<usize>::new());
    }
}
