//! What a replay does where the recording has no answer, or only half of one; and what is kept of it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dacapo::backtest::replay::{Options, ReplayError, Replayer, Target};
use dacapo::backtest::source::{Source, Sources};
use dacapo::context::AttemptLimits;
use dacapo::model::attempt::{Outcome, Usage};
use dacapo::model::digest::Digest;
use dacapo::model::egress::EgressPolicy;
use dacapo::model::mask::Mask;
use dacapo::model::replay::{AnsweredBy, ChildEffects, Effect, LogCounts, Observed, ObservedEnd, Unmatched};
use dacapo::sandbox::context::Deployment;
use dacapo::sandbox::recording::Recording;
use dacapo::sandbox::world::NoWorld;
use dacapo::sandbox::{Activity, Call, ComponentSource, Config, Entry, Journal, Limits, Sandbox, WasmSandbox, tape};
use dacapo_host_api::{LogEntry, MetadataChange, MetadataError, Services, SpanClosed, SpanOpened};
use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::journal::world::context;
use crate::network::Site;

const MIB: usize = 1 << 20;

struct OneComponent(Bytes);

#[async_trait]
impl ComponentSource for OneComponent {
    async fn component(&self, _: Digest) -> io::Result<Bytes> {
        Ok(self.0.clone())
    }
}

/// No child is on record.
struct NoSources;

#[async_trait]
impl Sources for NoSources {
    async fn source(&self, _: &str) -> Result<Option<Source>, String> {
        Ok(None)
    }
}

/// Metadata of which others say how far something is: further whenever somebody looks.
#[derive(Default)]
struct Others(u32);

impl Services for Others {
    fn log(&mut self, _: LogEntry) {}
    fn span_opened(&mut self, _: SpanOpened) {}
    fn span_closed(&mut self, _: SpanClosed) {}
    fn metadata(&mut self) -> String {
        self.0 += 1;
        json!({ "far": self.0 }).to_string()
    }
    fn metadata_value(&mut self, _: &str) -> Option<String> {
        self.0 += 1;
        Some(self.0.to_string())
    }
    fn change_metadata(&mut self, _: MetadataChange) -> Result<(), MetadataError> {
        Ok(())
    }
}

/// A sandbox with the guest `probe`.
struct Desk {
    sandbox: Arc<dyn Sandbox>,
    target: Target,
}

impl Desk {
    async fn new(dir: &Path) -> Self {
        Self::with_memory(dir, 1 << 30).await
    }

    async fn with_memory(dir: &Path, bytes: u64) -> Self {
        let component = Bytes::from(std::fs::read(guests::PROBE).unwrap());
        let config = Config {
            max_concurrent_calls: 1,
            max_concurrent_calls_in_lanes: 20,
            guest_memory_bytes: 1 << 30,
            max_ready_components: 4,
            code_dir: None,
            code_key: [0; 32],
            scratch_dir: dir.join("scratch"),
            reads_debug_info: false,
        };
        let sandbox = WasmSandbox::new(config, Arc::new(OneComponent(component.clone()))).unwrap();
        let inspected = sandbox.inspect(component).await.unwrap();
        let target = Target {
            component: inspected.digest,
            deployment: Deployment { id: String::new(), short_code: String::new(), version: "1".into() },
            tasks: Arc::new(inspected.tasks.into_iter().map(|task| (task.id.clone(), Arc::new(task))).collect()),
            limits: AttemptLimits {
                default_max_duration: Duration::from_secs(60),
                max_host_wait: Duration::from_secs(600),
                scratch_bytes: 1 << 20,
            },
        };
        Self { sandbox: Arc::new(sandbox.lane(1, bytes)), target }
    }

    /// A run that has done these steps for real.
    async fn source(&self, steps: Value) -> Source {
        let mut context = context();
        context.task.id = "probe".into();
        let journal = Journal::recording(16 * MIB);
        let call = Call {
            component: self.target.component,
            entry: Entry::Task,
            task: "probe".into(),
            context: context.clone(),
            payload: steps.to_string().into(),
            limits: Limits::default(),
            variables: Arc::default(),
            egress: Arc::new(EgressPolicy::new(vec!["127.0.0.1".parse().unwrap()])).into(),
            tape: None,
            services: Box::new(Others::default()),
            world: Arc::new(NoWorld),
            journal: journal.clone(),
            activity: Activity::default(),
            is_nested: false,
        };
        let report = self.sandbox.call(call).await;
        let Outcome::Returned(output) = report.outcome else { panic!("{:?}", report.outcome) };
        let segment = journal.unwritten().map(|unwritten| unwritten.segment).unwrap_or_default();
        let recording = Recording::read(&segment).unwrap();
        let effects = recording.reaches().unwrap();
        let observed = Observed {
            end: ObservedEnd::Completed(output),
            effects: effects.into_iter().map(|reach| effect(&reach.target, reach.digest)).collect(),
            children: Vec::new(),
            logs: LogCounts::default(),
            metadata: "{}".into(),
            metadata_digest: recording.metadata_digest(),
            usage: Usage::default(),
            new_variables: Vec::new(),
            secrets: Mask::default(),
        };
        Source {
            context,
            payload: Arc::new(steps.to_string()),
            metadata: None,
            machine: None,
            max_duration_seconds: None,
            recording: Arc::new(recording),
            observed,
        }
    }

    async fn replay(&self, source: &Source, unmatched: Unmatched, steps: &Value) -> Result<Observed, ReplayError> {
        let options = Options {
            live: None,
            unmatched,
            stubs: Arc::default(),
            children: Some(Arc::new(NoSources)),
            variables: tape::Variables::default(),
        };
        let replayer = Replayer::new(self.sandbox.clone(), self.target.clone(), options);
        replayer.replay(source, Some(Arc::new(steps.to_string()))).await
    }

    /// What a run that did these steps does now with others.
    async fn changed(&self, then: Value, now: Value) -> Observed {
        let source = self.source(then).await;
        self.replay(&source, Unmatched::Block, &now).await.unwrap()
    }
}

fn effect(target: &str, digest: u64) -> Effect {
    let (kind, answered_by) = (dacapo::model::replay::EffectKind::Http, AnsweredBy::Live);
    Effect { kind, target: target.into(), arguments: String::new(), digest, answered_by }
}

#[track_caller]
fn output(observed: &Observed) -> Value {
    match &observed.end {
        ObservedEnd::Completed(output) => serde_json::from_str(output).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn targets(effects: &[Effect]) -> Vec<&str> {
    effects.iter().map(|effect| effect.target.as_str()).collect()
}

/// What an executed child wanted.
fn wanted(child: &ChildEffects) -> &[Effect] {
    child.now.as_deref().expect("it was executed")
}

/// What nobody answered.
fn unmatched(effects: &[Effect]) -> Vec<&str> {
    let unmatched = effects.iter().filter(|effect| effect.answered_by == AnsweredBy::Unmatched);
    unmatched.map(|effect| effect.target.as_str()).collect()
}

const STRANGE: &str = "http://strange.example/";

#[tokio::test]
async fn a_guest_that_is_told_much_is_still_seen() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::new(dir.path()).await;
    let mut source = desk.source(json!([])).await;
    source.metadata = Some(json!({ "long": "x".repeat(200_000) }).to_string());
    // 80 MB of answers, which is more than is kept of a replay.
    let steps = json!([{ "look": 400 }, { "post": [STRANGE, ""] }]);
    let observed = desk.replay(&source, Unmatched::Block, &steps).await.unwrap();
    assert_eq!(output(&observed)[0], 1);
    assert_eq!(unmatched(&observed.effects), [format!("POST {STRANGE}")]);
}

#[tokio::test]
async fn a_replay_that_asks_more_than_is_kept_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::new(dir.path()).await;
    let source = desk.source(json!([])).await;
    // Those of its children count as well.
    let steps = json!([{ "try": [{ "append": [9_000, 5_000] }] }, { "try": [{ "append": [9_000, 5_000] }] }]);
    let replayed = desk.replay(&source, Unmatched::Block, &steps).await;
    let limit = "the replay passes a limit: its calls, and what they are answered, take more than 64 MiB";
    assert_eq!(replayed.unwrap_err().to_string(), limit);
}

#[tokio::test]
async fn nothing_is_kept_of_a_replay_however_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::new(dir.path()).await;
    let source = desk.source(json!([])).await;
    // A child of which there is no recording has the payload of its parent, and so has whatever is kept of the child.
    let is_forgotten = async || {
        while Arc::strong_count(&source.payload) > 1 {
            tokio::task::yield_now().await;
        }
    };
    let too_much = json!([{ "try": [{ "append": [9_000, 5_000] }, { "append": [9_000, 5_000] }] }]);
    let replayed = desk.replay(&source, Unmatched::Block, &too_much).await;
    assert!(matches!(&replayed, Err(ReplayError::Limit(_))), "{replayed:?}");
    tokio::time::timeout(Duration::from_secs(30), is_forgotten()).await.expect("it is kept after its error");

    let steps = json!([{ "try": [{ "post": [STRANGE, ""] }] }]);
    let observed = desk.replay(&source, Unmatched::Fail, &steps).await.unwrap();
    assert_eq!(observed.children.len(), 1);
    tokio::time::timeout(Duration::from_secs(30), is_forgotten()).await.expect("it is kept after its end");

    // Its caller goes away while a child is under way.
    let deep = (0..8).fold(json!([{ "append": [9_000, 5_000] }]), |inner, _| json!([{ "try": inner }]));
    {
        let mut replay = std::pin::pin!(desk.replay(&source, Unmatched::Block, &deep));
        let begins = async {
            // Beside that of the test: the run's own, and those of two children.
            while Arc::strong_count(&source.payload) < 6 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            ended = &mut replay => panic!("{ended:?}"),
            () = begins => {}
        }
    }
    tokio::time::timeout(Duration::from_secs(30), is_forgotten()).await.expect("it is kept after it was dropped");
}

#[tokio::test]
async fn what_a_guest_waits_for_is_bounded_together() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::new(dir.path()).await;
    let source = desk.source(json!([])).await;
    let waiting = async |step: Value| desk.replay(&source, Unmatched::Block, &json!([step, step])).await;
    // What was looked at is free again.
    let observed = waiting(json!({ "tokens": ["waitpoint_1", 40_000, 1_000] })).await.unwrap();
    assert_eq!(output(&observed), json!([40_000_000, 40_000_000]));
    // 10 GB, of which nothing is copied.
    let replayed = waiting(json!({ "tokens": ["waitpoint_1", 10_000_000, 1_000] })).await;
    let limit = "the replay passes a limit: what it waits for at once takes more than 64 MiB";
    assert_eq!(replayed.unwrap_err().to_string(), limit);
    // What is held counts beside what is kept.
    let replayed = waiting(json!({ "tokens": ["waitpoint_1", 10_000_000, 6] })).await;
    let limit = "the replay passes a limit: its calls, and what they are answered, take more than 64 MiB";
    assert_eq!(replayed.unwrap_err().to_string(), limit);
}

#[tokio::test]
async fn a_replay_executes_only_so_many_runs() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::new(dir.path()).await;
    let source = desk.source(json!([])).await;
    let deeper = (0..17).fold(json!([]), |inner, _| json!([{ "try": inner }]));
    let replayed = desk.replay(&source, Unmatched::Block, &deeper).await;
    let limit = "the replay passes a limit: a replay executes 1000 runs at most, 16 deep";
    assert_eq!(replayed.unwrap_err().to_string(), limit);
}

#[tokio::test]
async fn what_executed_children_want_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::new(dir.path()).await;
    let source = desk.source(json!([])).await;
    let innermost = json!([{ "post": [STRANGE, ""] }]);
    let steps = json!([{ "try": [{ "append": [1, 1] }, { "try": innermost }] }]);
    let observed = desk.replay(&source, Unmatched::Block, &steps).await.unwrap();
    assert_eq!(targets(&observed.effects), ["probe"]);
    let children: Vec<_> = observed.children.iter().map(|child| (&*child.task, targets(wanted(child)))).collect();
    let strange = format!("POST {STRANGE}");
    assert_eq!(children, [("probe", vec!["this-run, probe", "probe"]), ("probe", vec![&*strange])]);
    assert!(observed.children.iter().all(|child| child.then.is_none()), "none of them is on record");
    assert_eq!(unmatched(wanted(&observed.children[1])), [&*strange]);

    // Where such a call ends the replay, it does so wherever it is made, and is listed all the same.
    let observed = desk.replay(&source, Unmatched::Fail, &steps).await.unwrap();
    let ObservedEnd::Failed { name, message, .. } = &observed.end else { panic!("{:?}", observed.end) };
    assert_eq!(name, "UnmatchedCall");
    assert_eq!(*message, format!("the recording does not answer {strange}"));
    let last = observed.children.last().unwrap();
    assert_eq!(unmatched(wanted(last)), [&*strange]);
}

#[tokio::test]
async fn a_replay_is_over_where_the_host_has_too_little_for_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::with_memory(dir.path(), 16 << 20).await;
    let source = desk.source(json!([])).await;
    // Either would fit alone; however the parent takes it, it is no fault of the version.
    for step in ["run", "try"] {
        let steps = json!([{ "reserve": 8 << 20 }, { (step): [{ "reserve": 8 << 20 }] }]);
        let replayed = desk.replay(&source, Unmatched::Block, &steps).await;
        let full = "guests have used up the 16 MiB that they may have together".to_owned();
        assert_eq!(replayed.unwrap_err(), ReplayError::Full(full), "{step}");
    }
}

#[tokio::test]
async fn executed_children_draw_their_own_random_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::new(dir.path()).await;
    let source = desk.source(json!([])).await;
    let steps = json!([{ "run": ["random"] }, { "run": ["random"] }]);
    let drawn = async || output(&desk.replay(&source, Unmatched::Block, &steps).await.unwrap());
    let first = drawn().await;
    assert_ne!(first[0], first[1], "none of them is on record");
    assert_eq!(first, drawn().await, "the same every time");
}

#[tokio::test]
async fn bodies_are_compared_as_the_guest_wrote_them() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::new(dir.path()).await;
    let site = Site::saying("hello").await;
    let url = site.url("127.0.0.1");
    let digests = async |then: Value, now: Value| {
        let source = desk.source(then).await;
        let observed = desk.replay(&source, Unmatched::Block, &now).await.unwrap();
        let digests = |effects: &[Effect]| effects.iter().map(|effect| effect.digest).collect::<Vec<_>>();
        (digests(&source.observed.effects), digests(&observed.effects))
    };
    // Whoever does not look at the response wrote a body as well.
    for step in ["post", "forget"] {
        let body = |text: &str| json!([{ (step): [url, text] }]);
        let (then, now) = digests(body("a"), body("a")).await;
        assert_eq!(then, now, "{step}");
        let (then, now) = digests(body("a"), body("b")).await;
        assert_ne!(then, now, "{step}");
        assert!([then, now].concat().iter().all(|digest| *digest != 0));
    }
}

#[tokio::test]
async fn what_nobody_looked_at_is_not_in_the_recording() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::new(dir.path()).await;
    let site = Site::saying("hello").await;
    let url = site.url("127.0.0.1");
    let line = format!("POST {url}");
    let (forget, begin, post) =
        (json!({ "forget": [url, ""] }), json!({ "begin": [url, 2] }), json!({ "post": [url, ""] }));
    // Who does the same again gets the same.
    for step in [&forget, &begin, &post] {
        let steps = json!([step, { "sleep": 1_000 }]);
        let source = desk.source(steps.clone()).await;
        let observed = desk.replay(&source, Unmatched::Fail, &steps).await.unwrap();
        assert_eq!(observed.end, source.observed.end, "{step}");
        assert_eq!(unmatched(&observed.effects), [""; 0], "{step}");
        assert_eq!(observed.effects[0].digest, source.observed.effects[0].digest, "{step}");
    }
    // Who looks further does not know.
    let observed = desk.changed(json!([forget]), json!([post])).await;
    assert_eq!(unmatched(&observed.effects), [&*line]);
    assert!(output(&observed)[0].as_str().unwrap().contains("ConnectionRefused"), "{:?}", observed.end);
    let observed = desk.changed(json!([begin]), json!([post])).await;
    assert_eq!(unmatched(&observed.effects), [&*line]);
    let source = desk.source(json!([begin])).await;
    let observed = desk.replay(&source, Unmatched::Fail, &json!([post])).await.unwrap();
    assert!(matches!(&observed.end, ObservedEnd::Failed { name, .. } if name == "UnmatchedCall"), "{:?}", observed.end);
}

#[tokio::test]
async fn who_waited_in_vain_does_so_again() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::new(dir.path()).await;
    // Nobody answers there, and the connection stays.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let steps = json!([{ "hurry": [url, 30] }]);
    let source = desk.source(steps.clone()).await;
    let observed = desk.replay(&source, Unmatched::Fail, &steps).await.unwrap();
    assert_eq!(observed.end, source.observed.end);
    assert_eq!(unmatched(&observed.effects), [""; 0]);
    // Who waits for nothing else gets no answer either, and that is listed.
    let observed = desk.replay(&source, Unmatched::Block, &json!([{ "begin": [url, 1] }])).await.unwrap();
    assert_eq!(unmatched(&observed.effects)[0], format!("POST {url}"));
}

#[tokio::test]
async fn who_wants_the_answer_first_gets_it() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::new(dir.path()).await;
    let site = Site::saying("hello").await;
    let url = site.url("127.0.0.1");
    let observed = desk.changed(json!([{ "post": [url, "a"] }]), json!([{ "post_late": [url, "a"] }])).await;
    assert_eq!(output(&observed), json!(["200"]));
}

#[tokio::test]
async fn metadata_are_seen_as_they_were_seen() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::new(dir.path()).await;
    let get = json!({ "get": "far" });
    let steps = json!([get, get, { "set": ["own", 1] }, get]);
    let source = desk.source(steps.clone()).await;
    let again = async |steps: Value| output(&desk.replay(&source, Unmatched::Block, &steps).await.unwrap());
    assert_eq!(again(steps).await, json!([1, 2, null, 3]));
    // What was done otherwise begins with what was seen first.
    let other = json!([get, { "set": ["own", 2] }, get, { "get": "own" }]);
    assert_eq!(again(other).await, json!([1, null, 1, 2]));
}

#[tokio::test]
async fn waits_of_which_nobody_knows_the_end_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::new(dir.path()).await;
    let source = desk.source(json!([])).await;
    let steps = json!([{ "token": "waitpoint_1" }]);
    let observed = desk.replay(&source, Unmatched::Block, &steps).await.unwrap();
    assert_eq!(unmatched(&observed.effects), ["wait token waitpoint_1"]);
    let observed = desk.replay(&source, Unmatched::Fail, &steps).await.unwrap();
    let ObservedEnd::Failed { message, .. } = &observed.end else { panic!("{:?}", observed.end) };
    assert_eq!(message, "the recording does not answer wait token waitpoint_1");

    // Nor is it known whether this comes before the limit of the wait.
    let steps = json!([{ "token_within": ["waitpoint_sandbox1", 1_000] }]);
    let observed = desk.replay(&source, Unmatched::Block, &steps).await.unwrap();
    assert_eq!(output(&observed), json!([[1, "late"]]));
    assert_eq!(unmatched(&observed.effects), ["wait token waitpoint_sandbox1"]);
}

#[tokio::test]
async fn a_replay_for_which_the_host_has_no_memory_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::with_memory(dir.path(), 16 << 20).await;
    let source = desk.source(json!([])).await;
    let why = "the server could not execute the replay: it needs more memory than all replays have together, 16 MiB: \
               raise --replay-memory";
    // One that is stopped, and one that finds out and fails.
    for step in [json!({ "append": [1, 64 << 20] }), json!({ "reserve": 64 << 20 })] {
        let replayed = desk.replay(&source, Unmatched::Block, &json!([step])).await;
        assert_eq!(replayed.unwrap_err().to_string(), why, "{step}");
    }
    let observed = desk.replay(&source, Unmatched::Block, &json!([{ "reserve": 1 << 20 }])).await.unwrap();
    assert_eq!(output(&observed), json!([true]));
}
