//! Waits of runs, as a worker asks storage for them: who waits is woken once, whatever comes first.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dacapo::config::ServerArgs;
use dacapo::model::attempt::{Settlement, Usage};
use dacapo::model::id::{EnvironmentId, RunId, WaitpointId};
use dacapo::model::run::{ErrorKind, IdempotencyKey, RunError, Status, later};
use dacapo::model::task::TaskDefinition;
use dacapo::model::wait::{Awaited, WaitOutcome};
use dacapo::sandbox::scripted::{ScriptedSandbox, Step};
use dacapo::storage::{Canceled, Completed, FamilyInserted, MetadataEdit, Suspended, Suspension};
use serde_json::{Value, json};

mod desk;
mod kept;
mod stories;
mod trees;

use desk::{Desk, line};

use crate::harness::TestApp;

const HOUR: Duration = Duration::from_secs(3_600);

/// What came of a run that was waited for, in short.
#[track_caller]
fn ended(outcome: &Option<WaitOutcome>) -> (RunId, Status, Option<&str>) {
    match outcome {
        Some(WaitOutcome::Ended(run)) => (run.id, run.status, run.output.as_deref()),
        other => panic!("{other:?}"),
    }
}

fn failure() -> RunError {
    RunError { kind: ErrorKind::Task, name: "Oops".into(), message: "no".into(), stack: None }
}

#[tokio::test]
async fn a_run_that_waits_for_any_is_woken_by_the_first_and_takes_its_old_place() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path()).await;
    let parent = desk.insert(desk.new_run()).await;
    let children = [desk.insert(desk.new_run()).await, desk.insert(desk.new_run()).await];
    let lease = desk.claim().await.lease;
    let [first, second] = [desk.claim().await, desk.claim().await];
    let mut awaited = vec![Awaited::Run(children[0]), Awaited::Run(children[1]), Awaited::Moment(desk.after(HOUR))];

    let asked = Suspension {
        usage: Usage { cpu: Duration::from_millis(3), peak_memory_bytes: 9, wall: HOUR },
        cpu_before: Duration::from_millis(2),
        logs: vec![line("before", desk.now())],
        metadata: Some(MetadataEdit::new(|_| Ok("{}".into()))),
        ..desk.suspension(lease, awaited.clone(), false)
    };
    assert_eq!(desk.storage.suspend(asked).await.unwrap(), Suspended::Waiting);

    let waiting = desk.run(parent).await;
    assert_eq!((waiting.status, waiting.attempt), (Status::Waiting, 1));
    assert_eq!((waiting.cpu, waiting.peak_memory_bytes), (Duration::from_millis(5), 9));
    assert_eq!(waiting.metadata.as_deref(), Some("{}"));
    assert_eq!(desk.storage.logs(parent, 0, 10).await.unwrap().len(), 1);
    assert_eq!(desk.rows("run_waits"), 3);
    assert_eq!(desk.outcomes(awaited.clone()).await, [None, None, None]);
    let behind = desk.insert(desk.new_run()).await;

    desk.complete(second.lease, "2").await;

    assert_eq!(desk.status(parent).await, "queued");
    assert_eq!(desk.rows("run_waits"), 0);
    awaited.swap(0, 1);
    let outcomes = desk.outcomes(awaited).await;
    assert_eq!(ended(&outcomes[0]), (children[1], Status::Completed, Some("2")));
    assert_eq!(outcomes[1..], [None, None]);
    // In front of who was triggered after it.
    let again = desk.claim().await;
    assert_eq!((again.run.id, again.run.attempt, again.resumes), (parent, 1, true));
    assert_eq!(again.run.cpu, Duration::from_millis(5));
    assert_eq!(desk.claim().await.run.id, behind);
    assert_eq!(desk.storage.journal(parent, 1).await.unwrap(), [b"segment"]);
    desk.complete(first.lease, "1").await;
    assert_eq!(desk.status(parent).await, "executing", "who waits no more is not woken");
    desk.complete(again.lease, "null").await;
    let history = ["queued", "executing", "waiting", "queued", "executing", "completed"];
    assert_eq!(desk.history(parent).await, history);
}

#[tokio::test]
async fn a_run_that_waits_for_all_is_woken_by_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path()).await;
    let lease = desk.start().await.lease;
    let (one, two) = (desk.start().await, desk.start().await);
    let token = desk.token(None).await;
    let moment = desk.after(HOUR);
    let awaited = vec![
        Awaited::Runs(vec![one.run.id, two.run.id]),
        Awaited::Token(token),
        Awaited::Moment(moment),
        Awaited::Moment(desk.now()),
    ];
    assert_eq!(desk.wait_for_all(lease, awaited.clone()).await, Suspended::Waiting);
    assert_eq!(desk.rows("run_waits"), 4, "a moment that has come is not waited for");

    desk.storage.complete_waitpoint(token, Some("7".into()), desk.now()).await.unwrap();
    desk.complete(two.lease, "2").await;
    assert_eq!(desk.upkeep(desk.now()).await, Some(moment));
    assert_eq!(desk.upkeep(moment).await, None);
    assert_eq!((desk.status(lease.run).await, desk.rows("run_waits")), ("waiting", 1));
    let error = failure();
    let end = desk.end(one.lease, Settlement::Ended { status: Status::Failed, error: error.clone() });
    assert!(desk.storage.settle(end).await.unwrap());

    assert_eq!((desk.status(lease.run).await, desk.rows("run_waits")), ("queued", 0));
    let outcomes = desk.storage.outcomes(desk.environment, awaited, moment).await.unwrap();
    let Some(WaitOutcome::AllEnded(runs)) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!((runs[0].id, runs[0].status, runs[0].error.as_ref()), (one.run.id, Status::Failed, Some(&error)));
    assert_eq!((runs[1].id, runs[1].output.as_deref(), runs[1].task.as_str()), (two.run.id, Some("2"), "t"));
    let there = [WaitOutcome::Completed(Some("7".into())), WaitOutcome::Elapsed, WaitOutcome::Elapsed];
    assert_eq!(outcomes[1..], there.map(Some));
}

#[tokio::test]
async fn a_batch_is_there_when_its_last_run_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path()).await;
    let lease = desk.start().await.lease;
    let mut children = Vec::new();
    for _ in 0..3 {
        children.push(desk.start().await.lease);
    }
    let batch = Awaited::Runs(children.iter().map(|lease| lease.run).collect());
    // Any of two, of which the other never comes.
    let never = Awaited::Token(desk.token(None).await);
    assert_eq!(desk.wait_for_any(lease, vec![never, batch.clone()]).await, Suspended::Waiting);
    for child in &children {
        assert_eq!(desk.status(lease.run).await, "waiting");
        assert_eq!(desk.outcomes(vec![batch.clone()]).await, [None]);
        desk.complete(*child, "null").await;
    }
    assert_eq!((desk.status(lease.run).await, desk.rows("run_waits")), ("queued", 0));
}

#[tokio::test]
async fn what_has_come_before_a_run_waits_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path()).await;
    let child = desk.start().await;
    desk.complete(child.lease, "1").await;
    let lease = desk.start().await.lease;
    let never = || Awaited::Moment(desk.after(HOUR));
    let asked = Suspension {
        logs: vec![line("kept", desk.now())],
        metadata: Some(MetadataEdit::new(|_| Ok("{}".into()))),
        ..desk.suspension(lease, vec![never(), Awaited::Run(child.run.id)], false)
    };

    assert_eq!(desk.storage.suspend(asked).await.unwrap(), Suspended::Ready);

    let run = desk.run(lease.run).await;
    assert_eq!((run.status, run.metadata.as_deref()), (Status::Executing, Some("{}")));
    assert_eq!(desk.storage.logs(run.id, 0, 10).await.unwrap().len(), 1);
    assert_eq!((desk.rows("run_waits"), desk.rows("run_journals")), (0, 0));
    // What does not exist will never come.
    let nobody = || vec![Awaited::Run(RunId::from_bits(1)), Awaited::Token(WaitpointId::from_bits(1))];
    assert_eq!(desk.wait_for_all(lease, nobody()).await, Suspended::Ready);
    assert_eq!(desk.outcomes(nobody()).await, [Some(WaitOutcome::Missing), Some(WaitOutcome::Missing)]);
    // Nor does what another environment has.
    let (foreign, token) = (EnvironmentId::from_bits(2), desk.token(None).await);
    let ours = vec![Awaited::Run(child.run.id), Awaited::Run(lease.run), Awaited::Token(token)];
    let outcomes = desk.storage.outcomes(foreign, ours, desk.now()).await.unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == Some(WaitOutcome::Missing)), "{outcomes:?}");
    assert_eq!(desk.wait_for_any(lease, Vec::new()).await, Suspended::Ready);
    assert_eq!(desk.wait_for_all(lease, vec![Awaited::Runs(Vec::new()), never()]).await, Suspended::Waiting);
}

#[tokio::test]
async fn tokens_wake_when_they_are_completed_or_time_out() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path()).await;
    let (token, late) = (desk.token(None).await, desk.token(Some(desk.after(HOUR))).await);
    let one = desk.waiting(vec![Awaited::Token(token)]).await.run;
    let other = desk.waiting(vec![Awaited::Token(late)]).await.run;

    let complete = desk.storage.complete_waitpoint(token, None, desk.now()).await.unwrap();
    assert_eq!((complete, desk.status(one).await), (Completed::Now, "queued"));
    desk.upkeep(desk.after(HOUR / 2)).await;
    assert_eq!(desk.status(other).await, "waiting");
    desk.upkeep(desk.after(HOUR)).await;

    assert_eq!(desk.status(other).await, "queued");
    let outcomes = desk.outcomes(vec![Awaited::Token(late), Awaited::Token(token)]).await;
    assert_eq!(outcomes, [Some(WaitOutcome::TimedOut), Some(WaitOutcome::Completed(None))]);
    assert_eq!(desk.rows("run_waits"), 0);
}

#[tokio::test]
async fn a_canceled_run_waits_no_more_and_takes_its_children_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path()).await;
    let lease = desk.start().await.lease;
    let mut child = desk.new_run();
    child.origin.parent = Some(lease.run);
    let child = desk.insert(child).await;
    let token = desk.token(None).await;
    let awaited = vec![Awaited::Run(child), Awaited::Token(token)];
    assert_eq!(desk.wait_for_all(lease, awaited).await, Suspended::Waiting);
    let watcher = desk.waiting_for(lease.run, child).await;

    let canceled = desk.storage.cancel(desk.environment, lease.run, desk.now()).await.unwrap();

    assert_eq!(canceled, Canceled::Now);
    for run in [lease.run, child] {
        assert_eq!(desk.status(run).await, "canceled");
    }
    assert_eq!((desk.status(watcher).await, desk.rows("run_waits")), ("queued", 0), "who waited for it is woken");
    desk.storage.complete_waitpoint(token, None, desk.now()).await.unwrap();
    assert_eq!(desk.status(lease.run).await, "canceled");
}

impl Desk {
    /// A run that waits for another, while a third one stands in the queue before it.
    async fn waiting_for(&self, run: RunId, in_front: RunId) -> RunId {
        let waiter = self.insert(self.new_run()).await;
        assert_eq!(self.claim().await.run.id, in_front);
        let lease = self.claim().await.lease;
        assert_eq!(self.wait_for_any(lease, vec![Awaited::Run(run)]).await, Suspended::Waiting);
        waiter
    }
}

#[tokio::test]
async fn only_the_holder_of_the_lease_may_wait() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path()).await;
    let lease = desk.start().await.lease;
    let moment = || vec![Awaited::Moment(desk.after(HOUR))];
    desk.storage.lose(vec![lease], desk.now()).await.unwrap();
    assert_eq!(desk.wait_for_any(lease, moment()).await, Suspended::Lost);
    assert_eq!(desk.wait_for_any(lease, Vec::new()).await, Suspended::Lost, "whether or not it would have to wait");
    let again = desk.claim().await;
    assert_eq!((again.run.id, again.resumes), (lease.run, false), "it has never waited");
    assert_eq!(desk.wait_for_any(lease, moment()).await, Suspended::Lost);
    assert_eq!((desk.rows("run_waits"), desk.rows("run_journals")), (0, 0));
    assert_eq!(desk.wait_for_any(again.lease, moment()).await, Suspended::Waiting);
    assert_eq!(desk.wait_for_any(again.lease, moment()).await, Suspended::Lost, "it waits already");
    assert_eq!(desk.rows("run_waits"), 1);
}

#[tokio::test]
async fn an_attempt_that_has_waited_resumes_until_it_fails() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path()).await;
    let lease = desk.waiting(vec![Awaited::Moment(desk.after(HOUR))]).await;
    desk.upkeep(desk.after(HOUR)).await;
    let second = desk.claim().await;
    // It waits again, and is interrupted and lost on the way.
    let again = desk.wait_for_any(second.lease, vec![Awaited::Moment(desk.after(HOUR))]).await;
    assert_eq!((again, desk.storage.journal(lease.run, 1).await.unwrap().len()), (Suspended::Waiting, 2));
    desk.upkeep(desk.after(HOUR)).await;
    let third = desk.claim().await;
    let interrupted = desk.end(third.lease, Settlement::Requeued { at: desk.now(), loss: false });
    assert!(desk.storage.settle(interrupted).await.unwrap());
    let fourth = desk.claim().await;
    assert_eq!((fourth.resumes, fourth.run.attempt), (true, 1));
    desk.storage.lose(vec![fourth.lease], desk.now()).await.unwrap();
    let fifth = desk.claim().await;
    assert_eq!((fifth.resumes, fifth.run.attempt), (true, 1));
    assert_eq!(desk.storage.journal(lease.run, 1).await.unwrap().len(), 2);

    let failed = desk.end(fifth.lease, Settlement::RetryAt { at: desk.now(), error: failure() });
    assert!(desk.storage.settle(failed).await.unwrap());

    assert_eq!(desk.rows("run_journals"), 0);
    let retry = desk.claim().await;
    assert_eq!((retry.resumes, retry.run.attempt), (false, 2));
    let mut end = desk.end(retry.lease, Settlement::Completed("1".into()));
    (end.journal, end.replayable) = (Some(b"whole".to_vec()), Some(true));
    assert!(desk.storage.settle(end).await.unwrap());
    assert_eq!(desk.storage.journal(lease.run, 2).await.unwrap(), [b"whole"]);
    assert_eq!(desk.rows("runs WHERE journaled_attempt = 2 AND is_replayable = 1"), 1);
}

#[tokio::test]
async fn a_journal_that_passed_its_limit_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path()).await;
    let lease = desk.waiting(vec![Awaited::Moment(desk.after(HOUR))]).await;
    desk.upkeep(desk.after(HOUR)).await;
    let claimed = desk.claim().await;
    assert!(claimed.resumes);
    let moment = vec![Awaited::Moment(desk.after(HOUR))];
    let too_long = Suspension { replayable: false, journal: None, ..desk.suspension(claimed.lease, moment, true) };

    assert_eq!(desk.storage.suspend(too_long).await.unwrap(), Suspended::Waiting);

    assert_eq!(desk.rows("run_journals"), 0);
    desk.upkeep(desk.after(HOUR)).await;
    let claimed = desk.claim().await;
    assert_eq!((claimed.run.id, claimed.resumes, claimed.run.attempt), (lease.run, false, 1));
    let mut end = desk.end(claimed.lease, Settlement::Completed("1".into()));
    end.replayable = Some(false);
    assert!(desk.storage.settle(end).await.unwrap());
    assert_eq!(desk.rows("runs WHERE journaled_attempt = 0 AND is_replayable = 0"), 1);
}

#[tokio::test]
async fn runs_go_on_waiting_when_the_database_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let (child, waiters) = {
        let desk = Desk::open(dir.path()).await;
        let child = desk.start().await.lease;
        let moment = Awaited::Moment(desk.after(HOUR));
        let waiters = [desk.waiting(vec![Awaited::Run(child.run)]).await.run, desk.waiting(vec![moment]).await.run];
        desk.storage.close().await;
        (child, waiters)
    };
    let desk = Desk::open(dir.path()).await;

    // The worker of before is dead: what executed there is lost, and not what waited.
    let other = dacapo::model::id::WorkerId::from_bits(8);
    desk.storage.upkeep(desk.now(), other).await.unwrap();

    assert_eq!(desk.status(child.run).await, "queued");
    for waiter in waiters {
        assert_eq!(desk.status(waiter).await, "waiting");
    }
    assert_eq!(desk.storage.waiting_runs(desk.environment), 1, "who waits does not stand in the queue");
    let again = desk.claim().await;
    assert_eq!(again.run.id, child.run);
    desk.complete(again.lease, "1").await;
    assert_eq!(desk.status(waiters[0]).await, "queued");
    desk.upkeep(desk.after(HOUR)).await;
    assert_eq!(desk.status(waiters[1]).await, "queued");
    assert_eq!((desk.storage.waiting_runs(desk.environment), desk.rows("run_waits")), (2, 0));
}

#[tokio::test]
async fn a_run_that_waits_leaves_its_place_to_another() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path()).await;
    desk.storage.limit_environment(desk.environment, Some(1)).await.unwrap();
    let first = desk.start().await.lease;
    let second = desk.insert(desk.new_run()).await;
    let token = desk.token(None).await;
    // Nobody may start, and the claim waits.
    let claim = desk.storage.claim(dacapo::storage::ClaimRequest { worker: desk.worker, max_runs: 1 }).unwrap();

    assert_eq!(desk.wait_for_any(first, vec![Awaited::Token(token)]).await, Suspended::Waiting);

    let claimed = claim.await.unwrap().pop().unwrap();
    assert_eq!(claimed.run.id, second);
    desk.storage.complete_waitpoint(token, None, desk.now()).await.unwrap();
    let claim = desk.storage.claim(dacapo::storage::ClaimRequest { worker: desk.worker, max_runs: 1 }).unwrap();
    desk.complete(claimed.lease, "1").await;
    assert_eq!(claim.await.unwrap()[0].run.id, first.run, "it comes back when there is a place again");
}

#[tokio::test]
async fn everyone_is_woken_who_waits_for_the_same() {
    const WAITERS: usize = 501;
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path()).await;
    let child = desk.start().await.lease;
    let family = desk.family((0..WAITERS).map(|_| desk.new_run()).collect(), "all");
    desk.storage.insert_family(family, 1_000).await.unwrap();
    let request = dacapo::storage::ClaimRequest { worker: desk.worker, max_runs: WAITERS };
    let waiters = desk.storage.claim(request).unwrap().await.unwrap();
    assert_eq!(waiters.len(), WAITERS);
    let suspends: tokio::task::JoinSet<_> = waiters
        .iter()
        .map(|waiter| {
            let (storage, awaited) = (desk.storage.clone(), vec![Awaited::Run(child.run)]);
            let asked = desk.suspension(waiter.lease, awaited, false);
            async move { storage.suspend(asked).await.unwrap() }
        })
        .collect();
    assert!(suspends.join_all().await.iter().all(|answer| *answer == Suspended::Waiting));

    desk.complete(child, "1").await;

    assert_eq!(desk.rows("runs WHERE status = 'waiting'"), 1, "as many as one transaction takes");
    desk.upkeep(desk.now()).await;
    assert_eq!(desk.rows("runs WHERE status = 'queued'"), WAITERS as i64);
    assert_eq!(desk.rows("run_waits"), 0);
}

#[tokio::test]
async fn outputs_beyond_the_budget_are_left_out_and_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path()).await;
    let output = format!("\"{}\"", "x".repeat(10 * 1024 * 1024 - 2));
    let mut runs = Vec::new();
    for _ in 0..8 {
        let lease = desk.start().await.lease;
        desk.complete(lease, &output).await;
        runs.push(lease.run);
    }
    let outcomes = desk.outcomes(vec![Awaited::Runs(runs)]).await;
    let Some(WaitOutcome::AllEnded(ended)) = &outcomes[0] else { panic!("they have ended") };
    let whole = ended.iter().filter(|run| run.output.as_deref() == Some(&output) && run.error.is_none()).count();
    let left_out: Vec<_> = ended.iter().filter(|run| run.output.is_none()).collect();
    assert_eq!((whole, left_out.len()), (6, 2));
    let error = left_out[0].error.as_ref().unwrap();
    assert_eq!((left_out[0].status, error.name.as_str()), (Status::Completed, "OutputsTooLarge"));
    assert!(error.message.contains("more than 64 MiB"), "{error:?}");
}

#[tokio::test]
async fn a_family_is_stored_once_and_whole() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::open(dir.path()).await;
    let key =
        |key: &str| IdempotencyKey { key: key.into(), shown: None, scope: None, expires_at: later(desk.now(), HOUR) };
    let mut known = desk.new_run();
    known.idempotency = Some(key("k"));
    let known = desk.insert(known).await;
    let runs = || {
        let (one, mut two, three) = (desk.new_run(), desk.new_run(), desk.new_run());
        two.idempotency = Some(key("k"));
        vec![one, two, three]
    };
    let full = desk.storage.insert_family(desk.family(runs(), "one"), 2).await.unwrap();
    assert_eq!(full, FamilyInserted::QueueFull { waiting: 1 });
    assert_eq!((desk.rows("runs"), desk.rows("batches"), desk.rows("batch_items")), (1, 0, 0), "all or none");

    let new = desk.family(runs(), "one");
    let (id, made): (_, Vec<_>) = (new.batch.id, new.runs.iter().map(|run| run.id).collect());
    let stored = desk.storage.insert_family(new, 3).await.unwrap();

    let expected = vec![(made[0], false), (known, true), (made[2], false)];
    assert_eq!(stored, FamilyInserted::Stored { batch: id, runs: expected });
    assert!(desk.storage.batch(desk.environment, id).await.unwrap().unwrap().sealed_at.is_some());
    // The same call again, although the queue is full now.
    assert_eq!(desk.storage.insert_family(desk.family(runs(), "one"), 3).await.unwrap(), stored);
    assert_eq!((desk.rows("runs"), desk.rows("batches"), desk.rows("batch_items")), (3, 1, 3));
    let other = desk.family(vec![desk.new_run()], "one");
    assert_eq!(desk.storage.insert_family(other, 100).await.unwrap(), FamilyInserted::OtherRequest);
    assert_eq!(desk.storage.waiting_runs(desk.environment), 3);
}

/// The run as the whole server shows it: made to wait behind its back, between two of its lives.
#[tokio::test]
async fn a_waiting_run_is_shown_as_such() {
    let sandbox = Arc::new(ScriptedSandbox::new(vec![TaskDefinition::new("t")]));
    sandbox.then(Step::Hang);
    let args = || ServerArgs { shutdown_grace: Some("0s".into()), ..ServerArgs::default() };
    let mut app = TestApp::start_sandboxed(args(), Some(sandbox.clone())).await;
    app.upload("scripted", b"any bytes", "").await.ok();
    let options = json!({ "queue": { "name": "q" }, "ttl": "1h" });
    let run = app.trigger_with("t", json!(1), options).await;
    sandbox.called(1).await;
    app.stop().await;
    {
        let mut desk = Desk::open(app.data_dir()).await;
        let claimed = desk.claim().await;
        desk.environment = claimed.lease.environment;
        let never = vec![Awaited::Token(desk.token(None).await)];
        assert_eq!(desk.wait_for_any(claimed.lease, never).await, Suspended::Waiting);
        desk.storage.close().await;
    }
    let app = TestApp::open(app.data_dir().to_owned(), args(), Some(sandbox.clone())).await;
    // Neither its ttl nor anything else ends it.
    app.app().advance(2 * HOUR);

    let shown = app.run(&run).await;
    let flags = ["isQueued", "isExecuting", "isWaiting", "isCompleted"].map(|flag| shown[flag].clone());
    assert_eq!((&shown["status"], &shown["attemptCount"]), (&json!("WAITING"), &json!(1)), "{shown}");
    assert_eq!(flags, [false, false, true, false].map(Value::from));
    for (status, count) in [("WAITING", 1), ("EXECUTING", 0), ("QUEUED", 0)] {
        let found = app.get(&format!("/api/v1/runs?filter[status]={status}")).await.ok();
        assert_eq!(found["data"].as_array().unwrap().len(), count, "{status}: {found}");
    }
    let queue = app.get("/api/v1/queues/q?type=custom").await.ok();
    assert_eq!((&queue["running"], &queue["queued"]), (&json!(0), &json!(0)));
    let trace = app.get(&format!("/api/v1/runs/{run}/trace")).await.ok();
    let attempts = trace["trace"]["rootSpan"]["children"].as_array().unwrap();
    assert_eq!(attempts.last().unwrap()["data"]["isPartial"], true, "{trace}");
    let feed = app.get(&format!("/realtime/v1/runs/{run}?offset=-1")).await.ok();
    assert_eq!(feed[0]["value"]["status"], "WAITING_TO_RESUME", "{feed}");
    app.post_empty(&format!("/api/v2/runs/{run}/cancel")).await.ok();
    assert_eq!(app.run(&run).await["status"], "CANCELED");
    assert_eq!(sandbox.seen().len(), 1);
}

/// Leads to every statement of waits, journals and families: for `dialect.rs`.
pub async fn walk(data_dir: &Path) {
    let desk = Desk::open(data_dir).await;
    let child = desk.start().await.lease;
    let token = desk.token(None).await;
    let one = vec![Awaited::Run(child.run), Awaited::Moment(desk.after(HOUR))];
    let lease = desk.start().await.lease;
    assert_eq!(desk.wait_for_all(lease, one.clone()).await, Suspended::Waiting);
    let other = desk.waiting(vec![Awaited::Token(token)]).await;
    desk.complete(child, "1").await;
    desk.storage.complete_waitpoint(token, None, desk.now()).await.unwrap();
    desk.upkeep(desk.after(HOUR)).await;
    desk.outcomes(one).await;
    desk.outcomes(vec![Awaited::Token(token)]).await;
    desk.storage.journal(other.run, 1).await.unwrap();
    let claimed = desk.claim().await;
    let failed = desk.end(claimed.lease, Settlement::RetryAt { at: desk.after(HOUR), error: failure() });
    desk.storage.settle(failed).await.unwrap();
    desk.storage.delay_hooks(child.run, desk.now()).await.unwrap();
    let edit = Some(MetadataEdit::new(|_| Ok("{}".into())));
    desk.storage.tell((child.run, 1), vec![line("hook", desk.now())], edit, desk.now()).await.unwrap();
    for most in [0, 10, 10] {
        desk.storage.insert_family(desk.family(vec![desk.new_run()], "one"), most).await.unwrap();
    }
    trees::cancel_large_tree(&desk).await;
    desk.storage.close().await;
}
