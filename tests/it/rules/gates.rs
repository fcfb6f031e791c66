//! Calls that end when the story says so, and that look around when they begin: how many others run
//! in the queue, for the concurrency key, in the environment.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use dacapo::model::attempt::{Outcome, Usage};
use dacapo::model::digest::Digest;
use dacapo::model::egress::EgressPolicy;
use dacapo::model::task::TaskDefinition;
use dacapo::sandbox::{Call, InspectError, Inspection, Outbound, Report, Sandbox};
use dacapo_host_api::NoNetwork;
use serde_json::Value;
use tokio::sync::oneshot;

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The sandbox of all lives of a server.
#[derive(Clone)]
pub struct Gates {
    components: Arc<HashMap<Digest, Vec<TaskDefinition>>>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    open: Vec<Open>,
    calls: u64,
    limits: Limits,
    /// The last attempt of each run.
    attempts: HashMap<String, u32>,
    /// Runs that somebody canceled: their places are free before their calls have been dropped.
    canceled: HashSet<String>,
    broken: Vec<String>,
    /// Whether calls end by themselves.
    is_over: bool,
}

/// What may run at a time. Without a limit: anything.
#[derive(Default, Clone, Debug)]
pub struct Limits {
    pub queues: HashMap<String, u64>,
    pub environment: Option<u64>,
}

/// A call that has not ended.
struct Open {
    call: u64,
    run: String,
    queue: String,
    place: Option<String>,
    end: Option<oneshot::Sender<Outcome>>,
}

impl Gates {
    /// Knows these components, each by its bytes.
    pub fn new(components: impl IntoIterator<Item = (&'static [u8], Vec<TaskDefinition>)>) -> Self {
        let known = components.into_iter().map(|(bytes, tasks)| (Digest::of(bytes), tasks));
        Self { components: Arc::new(known.collect()), state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The runs of the open calls, sorted.
    pub fn open(&self) -> Vec<String> {
        let mut open: Vec<String> = self.state().open.iter().map(|open| open.run.clone()).collect();
        open.sort();
        open
    }

    /// Ends the open call of this number.
    pub fn end(&self, which: usize, outcome: Outcome) {
        let mut state = self.state();
        let count = state.open.len();
        if count == 0 {
            return;
        }
        if let Some(end) = state.open[which % count].end.take() {
            // Dropped just now: it was canceled.
            let _ = end.send(outcome);
        }
    }

    /// Ends all calls, those that come too.
    pub fn let_go(&self) {
        let mut state = self.state();
        state.is_over = true;
        for open in &mut state.open {
            if let Some(end) = open.end.take() {
                let _ = end.send(Outcome::Returned("1".into()));
            }
        }
    }

    /// From now on calls are counted against these limits.
    pub fn limit(&self, limits: Limits) {
        self.state().limits = limits;
    }

    /// This run is about to be canceled.
    pub fn cancel(&self, run: &str) {
        self.state().canceled.insert(run.to_owned());
    }

    /// What calls have seen that must not be.
    pub fn broken(&self) -> Vec<String> {
        self.state().broken.clone()
    }

    fn begin(&self, call: &Call) -> (u64, oneshot::Receiver<Outcome>) {
        let run = call.context.run.id.clone();
        let payload: Value = serde_json::from_str(&call.payload).unwrap_or_default();
        let place = payload["place"].as_str().map(Into::into);
        let queue = call.context.queue.name.clone();
        let (end, ended) = oneshot::channel();
        let mut state = self.state();
        state.look_around(&run, &queue, place.as_ref());
        state.count_attempt(&run, call.context.attempt.number);
        state.calls += 1;
        let call = state.calls;
        let end = if state.is_over {
            let _ = end.send(Outcome::Returned("1".into()));
            None
        } else {
            Some(end)
        };
        state.open.push(Open { call, run, queue, place, end });
        (call, ended)
    }
}

impl State {
    /// Who is counted when `run` begins.
    fn look_around(&mut self, run: &str, queue: &str, place: Option<&String>) {
        let counted = || self.open.iter().filter(|open| !self.canceled.contains(&open.run));
        let mut broken = Vec::new();
        if counted().any(|open| open.run == run) {
            broken.push(format!("two attempts of run {run} at a time"));
        }
        if self.canceled.contains(run) {
            self.broken.append(&mut broken);
            return;
        }
        let beside = counted().filter(|open| open.queue == queue && open.place.as_ref() == place).count() as u64;
        if let Some(limit) = self.limits.queues.get(queue).filter(|limit| beside >= **limit) {
            broken.push(format!("run {run} begins beside {beside} of `{queue}` {place:?}, whose limit is {limit}"));
        }
        let all = counted().count() as u64;
        if let Some(limit) = self.limits.environment.filter(|limit| all >= *limit) {
            broken.push(format!("run {run} begins beside {all}, and the limit of the environment is {limit}"));
        }
        self.broken.append(&mut broken);
    }

    /// An attempt that did not count is made again; otherwise they are counted up.
    fn count_attempt(&mut self, run: &str, attempt: u32) {
        let last = self.attempts.insert(run.to_owned(), attempt);
        let expected = match last {
            None => 1..=1,
            Some(last) => last..=last + 1,
        };
        if !expected.contains(&attempt) {
            self.broken.push(format!("attempt {attempt} of run {run} after {last:?}"));
        }
    }
}

/// An open call, for as long as somebody waits for it.
struct Guard {
    gates: Gates,
    call: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.gates.state().open.retain(|open| open.call != self.call);
    }
}

// As `async_trait` writes it.
impl Sandbox for Gates {
    fn outbound(&self, _: &str, _: Arc<EgressPolicy>) -> Arc<dyn Outbound> {
        Arc::new(NoNetwork)
    }

    fn inspect<'s, 'a>(&'s self, component: Bytes) -> Answer<'a, Result<Inspection, InspectError>>
    where
        's: 'a,
        Self: 'a,
    {
        let digest = Digest::of(&component);
        let tasks = self.components.get(&digest).cloned().expect("a component of the story");
        Box::pin(async move { Ok(Inspection { digest, tasks, imports: Vec::new() }) })
    }

    fn keep<'s, 'a>(&'s self, _: Digest) -> Answer<'a, ()>
    where
        's: 'a,
        Self: 'a,
    {
        Box::pin(async {})
    }

    fn call<'s, 'a>(&'s self, call: Call) -> Answer<'a, Report>
    where
        's: 'a,
        Self: 'a,
    {
        Box::pin(async move {
            let (number, ended) = self.begin(&call);
            let open = Guard { gates: self.clone(), call: number };
            let outcome = match ended.await {
                Ok(outcome) => outcome,
                Err(_) => std::future::pending().await,
            };
            drop(open);
            Report { outcome, usage: Usage::default(), services: Some(call.services) }
        })
    }
}
