//! An attempt that is brought back from its journal: the guest gets the same answers, and nothing of
//! what it did before happens again.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use dacapo::model::attempt::Outcome;
use dacapo::model::digest::Digest;
use dacapo::model::egress::EgressPolicy;
use dacapo::sandbox::{Activity, Call, ComponentSource, Config, Entry, Journal, Limits, Sandbox, WasmSandbox};
use dacapo_host_api::{LogEntry, MetadataChange, MetadataError, Services, SpanClosed, SpanOpened};
use dacapo_tests::guests;
use serde_json::{Value, json};

use crate::network::{Site, answer};

pub mod world;

use world::{FakeWorld, context};

const MAX_JOURNAL_BYTES: usize = 4 << 20;

/// What was said, done and asked for, in order.
type Seen = Arc<Mutex<Vec<String>>>;

struct Notes(Seen, u32);

impl Notes {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
}

impl Services for Notes {
    fn log(&mut self, entry: LogEntry) {
        self.note(format!("log {}", entry.message));
    }
    fn span_opened(&mut self, span: SpanOpened) {
        self.note(format!("open {} {}", span.id.0, span.name));
    }
    fn span_closed(&mut self, span: SpanClosed) {
        let started = span.at.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        self.note(format!("close {} {}", span.id.0, span.name));
        self.note(format!("span {} began at {started}", span.id.0));
    }
    fn metadata(&mut self) -> String {
        format!(r#"{{"count":{}}}"#, self.1)
    }
    fn metadata_value(&mut self, _: &str) -> Option<String> {
        Some(self.1.to_string())
    }
    fn change_metadata(&mut self, change: MetadataChange) -> Result<(), MetadataError> {
        self.1 += 1;
        self.note(format!("{change:?}"));
        Ok(())
    }
}

struct OneComponent(Bytes);

#[async_trait]
impl ComponentSource for OneComponent {
    async fn component(&self, _: Digest) -> io::Result<Bytes> {
        Ok(self.0.clone())
    }
}

/// A sandbox with the guest `journal`.
struct Desk {
    sandbox: WasmSandbox,
    component: Digest,
}

/// One instance, and what it has left behind.
struct Instance {
    outcome: Option<Outcome>,
    seen: Vec<String>,
    journal: Journal,
}

impl Instance {
    #[track_caller]
    fn output(&self) -> Value {
        match &self.outcome {
            Some(Outcome::Returned(output)) => serde_json::from_str(output).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// The next segment, which is kept now.
    #[track_caller]
    fn segment(&self) -> Vec<u8> {
        let unwritten = self.journal.unwritten().expect("something was recorded");
        self.journal.written(unwritten.up_to);
        unwritten.segment
    }

    /// What was seen, but for the times of spans.
    fn said(&self) -> Vec<&str> {
        self.seen.iter().filter(|line| !line.starts_with("span ")).map(String::as_str).collect()
    }
}

impl Desk {
    async fn new(dir: &Path) -> Self {
        let bytes = Bytes::from(std::fs::read(guests::JOURNAL).unwrap());
        let config = Config {
            max_concurrent_calls: 4,
            max_concurrent_calls_in_lanes: 0,
            guest_memory_bytes: 1 << 30,
            max_ready_components: 4,
            code_dir: None,
            code_key: [0; 32],
            scratch_dir: dir.join("scratch"),
            reads_debug_info: false,
        };
        let sandbox = WasmSandbox::new(config, Arc::new(OneComponent(bytes.clone()))).unwrap();
        let component = sandbox.inspect(bytes).await.unwrap().digest;
        Self { sandbox, component }
    }

    /// Runs the guest until it has ended, or waits for the world for the `waits`th time, counted from
    /// 1, when its instance is dropped.
    async fn run(&self, steps: &Value, color: &str, journal: Journal, waits: u32) -> Instance {
        let seen = Seen::default();
        let world = Arc::new(FakeWorld::new(seen.clone(), waits));
        let call = Call {
            component: self.component,
            entry: Entry::Task,
            task: "journal".into(),
            context: context(),
            payload: steps.to_string().into(),
            limits: Limits::default(),
            variables: Arc::new(vec![("COLOR".into(), color.into())]),
            egress: Arc::new(EgressPolicy::new(vec!["127.0.0.1".parse().unwrap()])).into(),
            tape: None,
            services: Box::new(Notes(seen.clone(), 0)),
            world: world.clone(),
            journal: journal.clone(),
            activity: Activity::default(),
            is_nested: false,
        };
        let call = Box::pin(self.sandbox.call(call));
        let (outcome, seen) = tokio::select! {
            report = call => (Some(report.outcome), seen.lock().unwrap().clone()),
            () = world.is_waiting() => (None, seen.lock().unwrap().clone()),
        };
        Instance { outcome, seen, journal }
    }

    /// Runs it from its beginning to its first wait.
    async fn record(&self, steps: &Value) -> (Vec<Vec<u8>>, Vec<String>) {
        let first = self.run(steps, "red", Journal::recording(MAX_JOURNAL_BYTES), 1).await;
        assert_eq!(first.outcome, None, "it waits");
        (vec![first.segment()], first.seen)
    }

    async fn resume(&self, steps: &Value, segments: &[Vec<u8>]) -> Instance {
        self.run(steps, "blue", Journal::resuming(segments.to_vec(), MAX_JOURNAL_BYTES), 0).await
    }
}

#[tokio::test]
async fn what_was_asked_before_the_wait_is_answered_again_and_nothing_is_done_twice() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::new(dir.path()).await;
    let site = Site::start([answer("200 OK", "", "first"), answer("200 OK", "", "second")]).await;
    let url = site.url("127.0.0.1");
    let before = json!([
        "clocks", "random", {"env": "COLOR"}, "count", "files", {"post": url}, {"sleep": 1}, {"say": "once"},
        {"print": "half "}, {"span": "long"}, {"trigger": "resize"}, "others", "clocks",
    ]);
    let after = json!([{"print": "a line\n"}, {"env": "COLOR"}, "count", {"post": url}, {"say": "twice"}, "clocks"]);
    let steps = [before.as_array().unwrap().clone(), vec![json!({"wait": 2})], after.as_array().unwrap().clone()];
    let steps = json!(steps.concat());

    let whole = desk.run(&json!(before), "red", Journal::recording(MAX_JOURNAL_BYTES), 0).await;
    assert_eq!(whole.output()[5], json!([200, "first"]), "the site is there");

    let (segments, first) = desk.record(&steps).await;
    assert_eq!(site.requests().len(), 2);
    assert!(first.contains(&"log once".into()) && first.contains(&"open 1 long".into()), "{first:?}");
    assert!(first.contains(&"1: trigger resize".into()) && first.contains(&"2: token".into()), "{first:?}");

    let second = desk.resume(&steps, &segments).await;
    let output = second.output();
    assert_eq!(output[2], "red", "not what it is now");
    assert_eq!(output[15], "red");
    assert_eq!(output[5], json!([200, "second"]));
    assert_eq!(output[17], json!([200, "second"]));
    assert_eq!(site.requests().len(), 3, "one request each");
    let said = ["wait 2 all", "log half a line", "Increment(\"count\", 1.0)", "log twice", "log twice, printed"];
    assert_eq!(second.said(), [&said[..], &["close 1 long"]].concat());
    let began: u128 = second.seen.last().unwrap().strip_prefix("span 1 began at ").unwrap().parse().unwrap();
    let wall = |place: usize| output[place][0].as_str().unwrap().parse::<u128>().unwrap();
    assert!(wall(0) <= began && began <= wall(12), "a span began when it began first");
    let clocks = |place: usize| output[place][1].as_u64().unwrap();
    assert!(clocks(0) < clocks(12) && clocks(12) < clocks(19), "{output}");

    // A third instance is given all that both had, and its first steps are as they were.
    let third = desk.resume(&steps, &[segments, vec![second.segment()]].concat()).await;
    assert_eq!(third.output(), output);
    assert_eq!(third.seen, Vec::<String>::new());
    assert_eq!(site.requests().len(), 3);
}

#[tokio::test]
async fn an_attempt_may_wait_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::new(dir.path()).await;
    let steps = json!(["random", {"wait": 1}, "random", {"say": "between"}, {"wait": 3}, "random"]);
    let (mut segments, _) = desk.record(&steps).await;
    let again = Journal::resuming(segments.clone(), MAX_JOURNAL_BYTES);
    let second = desk.run(&steps, "red", again, 2).await;
    assert_eq!(second.outcome, None);
    assert_eq!(second.said(), ["wait 1 all", "log between", "log between, printed", "wait 3 all"]);
    segments.push(second.segment());
    let third = desk.resume(&steps, &segments).await;
    assert_eq!(third.said(), ["wait 3 all"]);
    assert_eq!(third.output()[4], json!(vec!["Some(Outcome::Elapsed)"; 3]));
}

#[tokio::test]
async fn a_task_that_asks_something_else_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::new(dir.path()).await;
    let (segments, _) = desk.record(&json!([{"env": "COLOR"}, {"trigger": "resize"}, {"wait": 1}])).await;
    let refused = async |steps: Value, why: &str| {
        let instance = desk.resume(&steps, &segments).await;
        let expected = format!("the task is not deterministic: as call {why}");
        assert_eq!(instance.outcome, Some(Outcome::NonDeterministic(expected)), "{steps}");
        assert_eq!(instance.seen, Vec::<String>::new(), "{steps}");
    };
    let env = json!({"env": "COLOR"});
    let other = "2 the journal has `runs.trigger(resize)`, but this time it was `runs.trigger(crop)`";
    refused(json!([env, {"trigger": "crop"}, {"wait": 1}]), other).await;
    let ended = "2 the journal has `runs.trigger(resize)`, but this time the task ended";
    refused(json!([env, {"say": "hello"}]), ended).await;
    let longer = "4 the journal has `wait.all(1)`, but this time it was `wait.after`";
    refused(json!([env, {"trigger": "resize"}, {"wait": 2}]), longer).await;
    let early = "3 the journal has `wait.after`, but this time the task ended";
    refused(json!([env, {"trigger": "resize"}, {"wait": 0}]), early).await;
}

#[tokio::test]
async fn a_request_leads_to_another_place_than_before() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::new(dir.path()).await;
    let site = Site::saying("hello").await;
    let url = site.url("127.0.0.1");
    let (segments, _) = desk.record(&json!([{"post": url}, {"wait": 1}])).await;
    let other = url.replace("/page?q=1", "/other?password=secret");
    let instance = desk.resume(&json!([{"post": other}, {"wait": 1}]), &segments).await;
    let Some(Outcome::NonDeterministic(why)) = instance.outcome else { panic!("{:?}", instance.outcome) };
    let host = url.split("/page").next().unwrap();
    let expected = format!("the journal has `http POST {host}`, but this time with other details");
    assert!(why.ends_with(&expected), "neither path nor query is shown: {why}");
    assert_eq!(site.requests().len(), 1);
}

#[tokio::test]
async fn the_rest_of_a_response_is_lost_with_its_connection() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::new(dir.path()).await;
    let site = Site::saying("hello, world").await;
    let url = site.url("127.0.0.1");
    let host = url.trim_start_matches("http://").split('/').next().unwrap();
    let open = json!({"open": [host, "/"]});
    let (segments, _) = desk.record(&json!([open, "read", {"wait": 1}, "read"])).await;
    let steps = json!([open, "read", {"wait": 1}, "read", "read"]);
    let output = desk.resume(&steps, &segments).await.output();
    let kept = async |steps: &Value| desk.run(steps, "red", Journal::recording(MAX_JOURNAL_BYTES), 0).await.output();
    assert_eq!((&output[0], &output[1]), (&json!(200), &json!("hell")));
    let lost = output[3].as_str().unwrap();
    assert!(lost.contains("the connection was lost while the run waited"), "{lost}");
    assert_eq!(output[4], "closed");
    assert_eq!(kept(&steps).await, output, "in memory as well");

    // One that was read to its end has nothing to lose.
    let read = json!([open, "read", "read", "read", "read", {"wait": 1}, "read"]);
    let (segments, _) = desk.record(&read).await;
    let output = desk.resume(&read, &segments).await.output();
    assert_eq!((&output[4], &output[6]), (&json!("closed"), &json!("closed")));
    assert_eq!(kept(&read).await, output);

    // What is asked for after a wait comes.
    let anew = json!([open, {"wait": 1}, open, "read", "read", "read", "read"]);
    let output = kept(&anew).await;
    assert_eq!((&output[3], &output[6]), (&json!("hell"), &json!("closed")));
    assert_eq!(site.requests().len(), 6);
}

#[tokio::test]
async fn what_passes_the_limit_leaves_the_attempt_without_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::new(dir.path()).await;
    let steps = json!([{"env": "COLOR"}, "random", {"wait": 1}]);
    let instance = desk.run(&steps, "red", Journal::recording(64), 0).await;
    assert_eq!(instance.output()[0], "red");
    assert!(!instance.journal.is_complete());
    assert_eq!(instance.journal.unwritten(), None);
}

#[tokio::test]
async fn a_damaged_journal_is_a_fault_of_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let desk = Desk::new(dir.path()).await;
    let instance = desk.resume(&json!([{"wait": 1}]), &[vec![2], vec![0xFF; 30]]).await;
    let fault = "the journal of the attempt cannot be read: it is damaged";
    assert_eq!(instance.outcome, Some(Outcome::HostFault(fault.into())));
    assert_eq!(instance.seen, Vec::<String>::new());
}
