//! What is kept of journals after the ends of runs, and for how long.

use std::time::Duration;

use dacapo::model::attempt::Settlement;
use dacapo::model::run::Status;
use dacapo::model::wait::Awaited;
use dacapo::storage::Suspended;

use super::{Desk, HOUR, failure};

/// Journals that one pass forgets.
const PASS: usize = 50;

fn ended(status: Status) -> Settlement {
    Settlement::Ended { status, error: failure() }
}

impl Desk {
    /// A run whose first attempt has waited and failed, and whose second has waited and ends so.
    async fn ends_after_a_retry(&self, settlement: Settlement, keeps_journal: bool) -> dacapo::model::id::RunId {
        let moment = || vec![Awaited::Moment(self.after(HOUR))];
        let run = self.waiting(moment()).await.run;
        self.upkeep(self.after(HOUR)).await;
        let first = self.claim().await.lease;
        let failed = self.end(first, Settlement::RetryAt { at: self.now(), error: failure() });
        assert!(self.storage.settle(failed).await.unwrap());
        let second = self.claim().await.lease;
        assert_eq!(self.wait_for_any(second, moment()).await, Suspended::Waiting);
        self.upkeep(self.after(HOUR)).await;
        let mut end = self.end(self.claim().await.lease, settlement);
        (end.journal, end.replayable, end.keeps_journal) = (Some(b"last".to_vec()), Some(true), keeps_journal);
        assert!(self.storage.settle(end).await.unwrap());
        run
    }
}

#[tokio::test]
async fn the_journal_of_the_attempt_that_ended_a_run_is_kept_whole_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path()).await;
    let ends = [Status::Failed, Status::Crashed, Status::TimedOut].map(ended);
    for settlement in ends.into_iter().chain([Settlement::Completed("1".into())]) {
        let run = desk.ends_after_a_retry(settlement, true).await;
        assert_eq!(desk.storage.journal(run, 1).await.unwrap(), [b""; 0]);
        assert_eq!(desk.storage.journal(run, 2).await.unwrap(), [&b"segment"[..], b"last"]);
        assert_eq!(desk.rows(&format!("runs WHERE id = '{run}' AND journaled_attempt = 2")), 1);
    }
}

#[tokio::test]
async fn nothing_is_kept_of_a_run_that_no_attempt_ended_or_whose_journal_nobody_wants() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path()).await;
    desk.ends_after_a_retry(ended(Status::SystemFailure), true).await;
    desk.ends_after_a_retry(Settlement::Completed("1".into()), false).await;
    desk.ends_after_a_retry(ended(Status::Failed), false).await;
    let canceled = desk.waiting(vec![Awaited::Moment(desk.after(HOUR))]).await.run;
    assert_eq!(desk.rows("run_journals"), 1);
    desk.storage.cancel(desk.environment, canceled, desk.now()).await.unwrap();
    assert_eq!((desk.rows("run_journals"), desk.rows("runs WHERE journaled_attempt <> 0")), (0, 0));
}

#[tokio::test]
async fn the_oldest_journals_are_forgotten_first_so_many_at_a_time_and_never_those_of_the_living() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path()).await;
    let waiting = desk.waiting(vec![Awaited::Moment(desk.after(HOUR))]).await.run;
    let mut ends = Vec::new();
    // The newest first.
    for age in 0..=PASS as u64 {
        let mut end = desk.end(desk.start().await.lease, Settlement::Completed("1".into()));
        (end.journal, end.replayable) = (Some(b"whole".to_vec()), Some(true));
        end.at = desk.after(HOUR - Duration::from_secs(age));
        ends.push((end.lease.run, end.at));
        assert!(desk.storage.settle(end).await.unwrap());
    }
    let (newest, newest_end) = ends[0];
    let forget = async |by| desk.storage.forget_old_journals(by).await.unwrap();

    assert!(!forget(desk.now()).await);
    assert_eq!(desk.rows("run_journals"), PASS as i64 + 2, "none is so old");
    assert!(forget(newest_end).await, "there may be more");
    assert_eq!(desk.rows("run_journals"), 2);
    assert_eq!(desk.storage.journal(newest, 1).await.unwrap(), [b"whole"]);
    assert!(!forget(newest_end).await);
    assert_eq!(desk.storage.journal(newest, 1).await.unwrap(), [b""; 0]);
    assert!(!forget(desk.after(100 * HOUR)).await);
    assert_eq!(desk.storage.journal(waiting, 1).await.unwrap(), [b"segment"]);
    assert_eq!(desk.rows("runs WHERE journaled_attempt <> 0"), 1);
}
