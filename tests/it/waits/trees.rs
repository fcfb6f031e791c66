//! Runs with runs below them: all of them are canceled, however many, and a call that is done again
//! finds what it made, however late.

use dacapo::model::id::RunId;
use dacapo::storage::{Canceled, Inserted};

use super::HOUR;
use super::desk::Desk;

impl Desk {
    /// Triggers runs below another.
    async fn insert_below(&self, parent: RunId, count: usize) -> Vec<RunId> {
        let mut runs = Vec::with_capacity(count);
        for _ in 0..count {
            let mut run = self.new_run();
            run.origin.parent = Some(parent);
            runs.push(run);
        }
        let ids = runs.iter().map(|run| run.id).collect();
        let family = self.family(runs, &format!("below {parent}, from {count}"));
        self.storage.insert_family(family, 1_000_000).await.unwrap();
        ids
    }

    /// What upkeep does until it has nothing more to do now.
    async fn upkeep_to_the_end(&self) {
        let now = self.now();
        while self.upkeep(now).await.is_some_and(|next| next <= now) {}
    }
}

/// Cancels more runs than one transaction does: many in a row, one of which had ended, and many below
/// that.
pub(super) async fn cancel_large_tree(desk: &Desk) {
    let top = desk.insert(desk.new_run()).await;
    let children = desk.insert_below(top, 450).await;
    assert_eq!(desk.storage.cancel(desk.environment, children[7], desk.now()).await.unwrap(), Canceled::Now);
    let grandchildren = desk.insert_below(children[7], 250).await;
    let lowest = desk.insert_below(grandchildren[249], 1).await;

    assert_eq!(desk.storage.cancel(desk.environment, top, desk.now()).await.unwrap(), Canceled::Now);
    assert!(desk.rows("cancels_left") > 0, "one transaction does not cancel all of them");
    desk.upkeep_to_the_end().await;

    for run in [vec![top], children, grandchildren, lowest].concat() {
        assert_eq!(desk.status(run).await, "canceled");
    }
    assert_eq!(desk.rows("cancels_left"), 0);
}

#[tokio::test]
async fn all_runs_below_a_canceled_one_are_canceled() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path()).await;
    cancel_large_tree(&desk).await;
}

#[tokio::test]
async fn a_call_finds_the_run_that_it_made_until_its_own_run_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path()).await;
    let lease = desk.start().await.lease;
    // What comes by HTTP, also with a parent, has no lease.
    let call = async |lease_number: Option<u64>, key: &str, days: u32| {
        let mut run = desk.new_run();
        run.origin.parent = Some(lease.run);
        run.parent_lease = lease_number;
        run.request_key = Some(key.into());
        run.created_at = run.created_at.checked_add(days * 24 * HOUR).unwrap();
        desk.storage.insert_run(run, 1_000_000).await.unwrap()
    };
    assert_eq!(call(Some(lease.number), "a call", 0).await, Inserted::New);
    assert_eq!(call(None, "a request", 0).await, Inserted::New);
    assert_eq!(desk.rows("trigger_keys"), 2);

    let late = desk.after(3 * 24 * HOUR);
    assert!(matches!(call(Some(lease.number), "a call", 3).await, Inserted::Existing { .. }), "before upkeep looks");
    desk.upkeep(late).await;
    assert!(matches!(call(Some(lease.number), "a call", 3).await, Inserted::Existing { .. }), "and after it has");
    assert_eq!(desk.rows("trigger_keys"), 1, "the request's is forgotten");
    assert_eq!(call(None, "a request", 3).await, Inserted::New);

    desk.complete(lease, "1").await;
    desk.upkeep(desk.after(9 * 24 * HOUR)).await;
    assert_eq!(desk.rows("trigger_keys"), 0, "nobody calls any more");
}
