//! Decides whether a request to run a task is admitted, and how the run begins.
//!
//! Triggering and replaying meet here: a replay is a [`Request`] that was made from an older run
//! by [`replay_of`], and from then on it is a run like any other.

use std::collections::HashSet;
use std::time::Duration;

use super::Timestamp;
use super::id::{DeploymentId, EnvironmentId, RunId};
use super::limits;
use super::run::{Debounce, IdempotencyKey, NewRun, Origin, Packet, Run, Status, later};
use super::scope::OneTimeToken;
use super::tag;
use super::task::{Machine, TaskDefinition, is_task_id, reduced_queue_name};

/// What a caller asks for. `None` leaves it to the task or to the server.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The task's id.
    pub task: String,
    /// What the task is given.
    pub payload: Packet,
    /// A JSON object.
    pub metadata: Option<String>,
    /// Labels.
    pub tags: Vec<String>,
    /// What the caller calls a queue; see [`reduced_queue_name`].
    pub queue: Option<String>,
    /// One virtual copy of the queue per key.
    pub concurrency_key: Option<String>,
    /// Head start in the queue, in seconds.
    pub priority_seconds: f64,
    /// When it may be queued.
    pub delay: Option<Delay>,
    /// Longest time in the queue; zero opts out.
    pub ttl: Option<Duration>,
    /// See [`IdempotencyKey`].
    pub idempotency: Option<IdempotencyKey>,
    /// See [`NewRun::request_key`].
    pub request_key: Option<String>,
    /// Attempts in all.
    pub max_attempts: Option<u32>,
    /// CPU seconds of an attempt.
    pub max_duration_seconds: Option<u32>,
    /// Memory and CPU.
    pub machine: Option<Machine>,
    /// A version to run on.
    pub locked: Option<DeploymentId>,
    /// Triggered as a test.
    pub is_test: bool,
    /// The run it replays.
    pub replay_of: Option<RunId>,
    /// Where it comes from.
    pub origin: Origin,
    /// See [`NewRun::parent_lease`].
    pub parent_lease: Option<u64>,
    /// See [`Debounce`].
    pub debounce: Option<Debounce>,
    /// See [`NewRun::one_time_token`].
    pub one_time_token: Option<OneTimeToken>,
    /// Waits for a deployment with this label; means nothing beside `locked`.
    pub external_deployment: Option<String>,
}

impl Request {
    /// A request to run `task` with `payload` that leaves everything else to the defaults.
    pub fn new(task: impl Into<String>, payload: Packet) -> Self {
        Self {
            task: task.into(),
            payload,
            metadata: None,
            tags: Vec::new(),
            queue: None,
            concurrency_key: None,
            priority_seconds: 0.0,
            delay: None,
            ttl: None,
            idempotency: None,
            request_key: None,
            max_attempts: None,
            max_duration_seconds: None,
            machine: None,
            locked: None,
            is_test: false,
            replay_of: None,
            origin: Origin::default(),
            parent_lease: None,
            debounce: None,
            one_time_token: None,
            external_deployment: None,
        }
    }
}

/// When a run may be queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delay {
    /// So long after it was triggered.
    For(Duration),
    /// At a moment; one in the past means at once.
    Until(Timestamp),
}

/// Why a request was not admitted, in the caller's terms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// A replay of `source`: the same task, payload, metadata as first given, tags, queue, key,
/// machine and test flag, and nothing else. The version is whatever is current.
///
/// The queue is copied where a caller chose it, and left to the task where it was the task's own.
pub fn replay_of(source: &Run, payload: Packet, first_metadata: Option<String>) -> Request {
    Request {
        metadata: first_metadata,
        tags: source.tags.clone(),
        queue: source.queue_given.then(|| source.queue.clone()),
        concurrency_key: source.concurrency_key.clone(),
        machine: source.machine,
        is_test: source.is_test,
        replay_of: Some(source.id),
        origin: Origin { is_replay: true, ..Origin::default() },
        ..Request::new(source.task.clone(), payload)
    }
}

/// What a replay does not take from its source.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "each field stands for the one of `Request` with its name")]
pub struct Overrides {
    pub payload: Option<Packet>,
    pub metadata: Option<String>,
    pub tags: Option<Vec<String>>,
    pub queue: Option<String>,
    pub concurrency_key: Option<String>,
    pub priority_seconds: Option<f64>,
    pub delay: Option<Delay>,
    pub ttl: Option<Duration>,
    pub idempotency: Option<IdempotencyKey>,
    pub request_key: Option<String>,
    pub max_attempts: Option<u32>,
    pub max_duration_seconds: Option<u32>,
    pub machine: Option<Machine>,
    pub locked: Option<DeploymentId>,
    pub one_time_token: Option<OneTimeToken>,
}

impl Overrides {
    /// The request with these changes.
    pub fn apply(self, request: Request) -> Request {
        Request {
            payload: self.payload.unwrap_or(request.payload),
            metadata: self.metadata.or(request.metadata),
            tags: self.tags.unwrap_or(request.tags),
            queue: self.queue.or(request.queue),
            concurrency_key: self.concurrency_key.or(request.concurrency_key),
            priority_seconds: self.priority_seconds.unwrap_or(request.priority_seconds),
            delay: self.delay.or(request.delay),
            ttl: self.ttl.or(request.ttl),
            idempotency: self.idempotency.or(request.idempotency),
            request_key: self.request_key.or(request.request_key),
            max_attempts: self.max_attempts.or(request.max_attempts),
            max_duration_seconds: self.max_duration_seconds.or(request.max_duration_seconds),
            machine: self.machine.or(request.machine),
            locked: self.locked.or(request.locked),
            one_time_token: self.one_time_token.or(request.one_time_token),
            ..request
        }
    }
}

/// The ttl of runs for which nobody says one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultTtl {
    /// In environments for development.
    pub in_development: Option<Duration>,
    /// In all others.
    pub elsewhere: Option<Duration>,
}

impl DefaultTtl {
    /// That of an environment.
    pub fn of(self, is_for_development: bool) -> Option<Duration> {
        if is_for_development { self.in_development } else { self.elsewhere }
    }
}

/// Makes a run of a request, or says what is wrong with it.
///
/// `definition` is the task in the version that would run it now; where there is none, the run
/// waits for a deployment that brings the task. `default_ttl` is for a run whose ttl neither the
/// request nor the task says.
pub fn admit(
    id: RunId,
    environment: EnvironmentId,
    request: Request,
    definition: Option<&TaskDefinition>,
    default_ttl: Option<Duration>,
) -> Result<NewRun, Refusal> {
    let now = id.made_at();
    check(&request, now)?;
    let queue = request.queue.as_deref().map(stored_queue_name).transpose()?;
    let delay = request.debounce.as_ref().map(|debounce| Delay::For(debounce.delay)).or(request.delay);
    let delay_until = match delay {
        Some(Delay::For(delay)) if !delay.is_zero() => Some(later(now, delay)),
        Some(Delay::Until(at)) if at > now => Some(at),
        _ => None,
    };
    let status = match (definition, delay_until) {
        (_, Some(_)) => Status::Delayed,
        (None, None) => Status::PendingVersion,
        (Some(_), None) => Status::Queued,
    };
    let given_ttl = request.ttl.or_else(|| definition?.ttl);
    let ttl = given_ttl.or(default_ttl).filter(|ttl| !ttl.is_zero());
    let priority_ms = (request.priority_seconds * 1_000.0).clamp(f64::from(i32::MIN), f64::from(i32::MAX)) as i64;
    let queued_at = (status == Status::Queued).then_some(now);
    let expires_at = match status {
        Status::Queued => ttl.map(|ttl| later(now, ttl)),
        Status::PendingVersion => given_ttl.map_or(Some(limits::PENDING_TTL), |_| ttl).map(|ttl| later(now, ttl)),
        _ => None,
    };
    let own_queue = || definition.map_or_else(|| format!("task/{}", request.task), TaskDefinition::queue_name);
    Ok(NewRun {
        id,
        environment,
        status,
        queue_given: queue.is_some(),
        queue: queue.unwrap_or_else(own_queue),
        concurrency_key: request.concurrency_key.filter(|key| !key.is_empty()),
        priority_ms,
        created_at: now,
        delay_until,
        queued_at,
        dequeue_at: delay_until.unwrap_or_else(|| queue_order(now, priority_ms)),
        ttl,
        expires_at,
        payload: request.payload,
        metadata: request.metadata,
        tags: without_repeats(request.tags),
        idempotency: request.idempotency,
        request_key: request.request_key,
        max_attempts: request.max_attempts,
        max_duration_seconds: request.max_duration_seconds,
        machine: request.machine,
        locked: request.locked,
        is_test: request.is_test,
        replay_of: request.replay_of,
        parent_lease: request.parent_lease,
        origin: request.origin,
        debounce: request.debounce.filter(|_| status == Status::Delayed),
        one_time_token: request.one_time_token,
        external_deployment: request.external_deployment.filter(|_| request.locked.is_none()),
        task: request.task,
    })
}

/// The place in the queue of a run that is queued at `queued_at`: the smaller the earlier.
pub fn queue_order(queued_at: Timestamp, priority_ms: i64) -> Timestamp {
    queued_at.checked_sub(jiff::SignedDuration::from_millis(priority_ms)).unwrap_or(Timestamp::MIN)
}

/// What a queue that a caller names is called inside.
pub fn stored_queue_name(text: &str) -> Result<String, Refusal> {
    let nothing_left = "a queue's name must have at least one of the characters A-Z a-z 0-9 _ - /; others are left out";
    reduced_queue_name(text).ok_or_else(|| Refusal(nothing_left.into()))
}

/// The same tags in the same order, each once.
fn without_repeats(mut tags: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    tags.retain(|tag| seen.insert(tag.clone()));
    tags
}

fn check(request: &Request, now: Timestamp) -> Result<(), Refusal> {
    let refuse = |text: &str| Err(Refusal(text.into()));
    if !is_task_id(&request.task) {
        return refuse("a task id must have 1 to 128 characters, none of them a control character");
    }
    if request.payload.data.as_ref().is_some_and(|data| data.len() > limits::MAX_PAYLOAD_BYTES) {
        return refuse("the payload is larger than 10 MiB");
    }
    if request.metadata.as_ref().is_some_and(|text| text.len() > limits::MAX_METADATA_BYTES) {
        return refuse("metadata is larger than 256 KiB");
    }
    if let Err(problem) = tag::check(&request.tags) {
        return refuse(problem);
    }
    if request.concurrency_key.as_ref().is_some_and(|key| key.chars().count() > limits::MAX_CONCURRENCY_KEY_CHARS) {
        return refuse("a concurrency key can have 512 characters at most");
    }
    if !request.priority_seconds.is_finite() {
        return refuse("priority must be a number of seconds");
    }
    if request
        .idempotency
        .as_ref()
        .is_some_and(|idempotency| !(1..=limits::MAX_IDEMPOTENCY_KEY_CHARS).contains(&idempotency.key.chars().count()))
    {
        return refuse("an idempotency key must have 1 to 2048 characters");
    }
    if request.max_attempts.is_some_and(|attempts| !(1..=limits::MAX_ATTEMPTS).contains(&attempts)) {
        return refuse("maxAttempts must be a whole number from 1 to 1000");
    }
    if request.max_duration_seconds.is_some_and(|seconds| !limits::MAX_DURATION_SECONDS.contains(&seconds)) {
        return refuse("maxDuration must be 1 to 86400 seconds");
    }
    if request.ttl.is_some_and(|ttl| ttl > limits::MAX_TTL) {
        return refuse("a ttl can be 366 days at most; 0 means none");
    }
    if let Some(debounce) = &request.debounce {
        check_debounce(debounce)?;
    }
    if request
        .external_deployment
        .as_ref()
        .is_some_and(|label| !(1..=limits::MAX_EXTERNAL_ID_CHARS).contains(&label.chars().count()))
    {
        return refuse("externalDeploymentId must have 1 to 128 characters");
    }
    let too_late = later(now, limits::MAX_DELAY);
    match request.delay {
        Some(Delay::For(delay)) if delay > limits::MAX_DELAY => refuse("a delay can be 366 days at most"),
        Some(Delay::Until(at)) if at > too_late => refuse("a delay can be 366 days at most"),
        _ => Ok(()),
    }
}

fn check_debounce(debounce: &Debounce) -> Result<(), Refusal> {
    let refuse = |text: &str| Err(Refusal(text.into()));
    if !(1..=limits::MAX_DEBOUNCE_KEY_CHARS).contains(&debounce.key.chars().count()) {
        return refuse("debounce.key must have 1 to 512 characters");
    }
    if debounce.delay.is_zero() || debounce.delay > limits::MAX_DELAY {
        return refuse("debounce.delay must be more than 0 and 366 days at most");
    }
    if debounce.max_delay.is_some_and(|longest| longest <= debounce.delay) {
        return refuse("debounce.maxDelay must be longer than debounce.delay");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::run::PacketFormat;
    use crate::model::task::QueueDefinition;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn request() -> Request {
        Request::new("hello", Packet { data: Some("{}".into()), format: PacketFormat::Json })
    }

    fn admitted(request: Request, definition: Option<&TaskDefinition>) -> Result<NewRun, Refusal> {
        admit(RunId::from_bits(1), EnvironmentId::from_bits(2), request, definition, None)
    }

    #[track_caller]
    fn check_status(request: Request, definition: Option<&TaskDefinition>, expected: Status) -> NewRun {
        let run = admitted(request, definition).expect("admitted");
        assert_eq!(run.status, expected);
        run
    }

    #[test]
    fn a_run_begins_queued_delayed_or_without_a_version() {
        let hello = TaskDefinition::new("hello");
        let delayed = Request { delay: Some(Delay::For(Duration::from_secs(60))), ..request() };
        check_status(request(), Some(&hello), Status::Queued);
        check_status(request(), None, Status::PendingVersion);
        check_status(delayed.clone(), Some(&hello), Status::Delayed);
        let run = check_status(delayed, None, Status::Delayed);
        assert_eq!(run.dequeue_at.as_second(), 60);
    }

    #[test]
    fn a_delay_that_is_over_is_none() {
        let hello = TaskDefinition::new("hello");
        check_status(Request { delay: Some(Delay::Until(NOW)), ..request() }, Some(&hello), Status::Queued);
        check_status(Request { delay: Some(Delay::For(Duration::ZERO)), ..request() }, Some(&hello), Status::Queued);
    }

    #[test]
    fn priority_is_a_head_start_in_seconds() {
        let hello = TaskDefinition::new("hello");
        let run = check_status(Request { priority_seconds: 1.5, ..request() }, Some(&hello), Status::Queued);
        assert_eq!(run.dequeue_at.as_millisecond(), -1_500);
        check_status(Request { priority_seconds: f64::MAX, ..request() }, Some(&hello), Status::Queued);
    }

    #[test]
    fn the_ttl_of_the_trigger_wins_and_zero_opts_out() {
        let mut hello = TaskDefinition::new("hello");
        hello.ttl = Some(Duration::from_secs(9));
        let by_task = check_status(request(), Some(&hello), Status::Queued);
        assert_eq!(by_task.expires_at.map(|at| at.as_second()), Some(9));
        let opted_out = Request { ttl: Some(Duration::ZERO), ..request() };
        assert_eq!(check_status(opted_out.clone(), Some(&hello), Status::Queued).expires_at, None);
        assert_eq!(check_status(opted_out, None, Status::PendingVersion).expires_at, None);
    }

    #[test]
    fn a_run_does_not_wait_for_ever_for_a_version() {
        let waits = |run: NewRun| run.expires_at.map(|at| at.duration_since(NOW).unsigned_abs());
        let ttl = Duration::from_secs(9);
        assert_eq!(waits(check_status(request(), None, Status::PendingVersion)), Some(limits::PENDING_TTL));
        let given = Request { ttl: Some(ttl), ..request() };
        assert_eq!(waits(check_status(given, None, Status::PendingVersion)), Some(ttl));
    }

    #[test]
    fn the_queue_is_the_callers_or_the_tasks() {
        let mut hello = TaskDefinition::new("hello");
        let queue = |request: Request, task: Option<&TaskDefinition>| admitted(request, task).expect("admitted").queue;
        assert_eq!(queue(request(), None), "task/hello");
        hello.queue = Some(QueueDefinition { name: "mail".into(), concurrency_limit: None });
        assert_eq!(queue(request(), Some(&hello)), "mail");
        assert_eq!(queue(Request { queue: Some("fast".into()), ..request() }, Some(&hello)), "fast");
        assert_eq!(queue(Request { queue: Some("very fast!".into()), ..request() }, Some(&hello)), "veryfast");
    }

    #[test]
    fn a_tag_is_kept_once() {
        let tags = ["b", "a", "b"].map(str::to_owned).to_vec();
        let run = admitted(Request { tags, ..request() }, None).expect("admitted");
        assert_eq!(run.tags, ["b", "a"]);
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let too_much = [
            Request { tags: vec!["t".into(); 11], ..request() },
            Request { tags: vec![String::new()], ..request() },
            Request { task: String::new(), ..request() },
            Request { queue: Some("! ?".into()), ..request() },
            Request { priority_seconds: f64::NAN, ..request() },
            Request { max_attempts: Some(0), ..request() },
            Request { max_duration_seconds: Some(0), ..request() },
            Request { delay: Some(Delay::Until(Timestamp::MAX)), ..request() },
            Request { ttl: Some(limits::MAX_TTL + Duration::from_millis(1)), ..request() },
            Request { metadata: Some(" ".repeat(limits::MAX_METADATA_BYTES + 1)), ..request() },
        ];
        for request in too_much {
            assert!(admitted(request.clone(), None).is_err(), "{request:?}");
        }
    }
}
