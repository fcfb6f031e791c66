//! One call: a fresh instance, its limits, and what came of it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use dacapo_host_api::guest::{RetryDecision as GuestRetry, TaskError as GuestError};
use dacapo_host_api::{HooksPre, Limits as HostLimits, Logger, Services, Subject, TaskCtx, TaskPre, TaskSetup};
use serde_json::value::RawValue;
use wasmtime::Store;

use super::cpu::Meter;
use super::memory::Memory;
use super::state::State;
use super::{Call, Entry, Limits, Report, Tape, WasmSandbox, trap};
use crate::model::attempt::{Crash, Outcome, RetryDecision, TaskError, TimeLimit, Usage};
use crate::model::limits::MAX_ERROR_TEXT_BYTES;

/// What a guest may pass to the host in one call besides an output of the largest size.
const HOST_CALL_SLACK_BYTES: usize = 256 * 1024;

/// How what runs in a guest ended.
pub(super) enum End<T> {
    /// It returned to the host.
    Returned(T),
    /// wasmtime stopped it.
    Stopped(wasmtime::Error),
    /// The wall time ran out.
    WallTime,
    /// The host panicked.
    Panicked,
}

/// A guest that is about to run.
pub(super) struct Guest {
    pub(super) store: Store<State>,
    pub(super) meter: Arc<Meter>,
    limits: Limits,
    logger: Logger,
    is_replay: bool,
}

impl Guest {
    pub(super) fn new(sandbox: &WasmSandbox, pre: &TaskPre<State>, setup: TaskSetup, limits: Limits) -> Self {
        let task = TaskCtx::new(setup);
        let logger = task.logger().clone();
        let memory = Memory::new(limits.memory_bytes, Arc::clone(&sandbox.budget));
        let mut store = Store::new(pre.engine(), State { task, memory });
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(limits.output_bytes + HOST_CALL_SLACK_BYTES);
        let meter = Arc::new(Meter::new(limits.cpu, limits.millicores, Arc::clone(&sandbox.turns)));
        let ticks = Arc::clone(&meter);
        store.epoch_deadline_callback(move |_| Ok(ticks.tick()?));
        store.set_epoch_deadline(1);
        Self { store, meter, limits, logger, is_replay: sandbox.is_lane }
    }

    /// The outcome of an end.
    pub(super) fn outcome<T>(self, end: End<T>, returned: impl FnOnce(T) -> Outcome) -> Outcome {
        let (refusal, is_replay) = (self.store.data().memory.refusal(), self.is_replay);
        let outcome = match end {
            End::Returned(value) => returned(value),
            End::WallTime => Outcome::TimedOut(TimeLimit::Wall(self.limits.wall)),
            End::Panicked => Outcome::HostFault("the host panicked while it ran the guest".into()),
            End::Stopped(error) => {
                let stderr = self.logger.stderr_tail();
                let Limits { cpu: cpu_limit, output_bytes, .. } = self.limits;
                let about = trap::Circumstances { cpu_limit, output_bytes, refusal, is_replay, stderr: &stderr };
                trap::outcome(&error, &about)
            }
        };
        if is_replay { trap::in_lane(outcome, refusal) } else { outcome }
    }
}

/// Runs `work` until its wall time is `used_up`, and measures it.
pub(super) async fn run<T>(
    meter: &Meter,
    used_up: impl Future<Output = ()>,
    work: impl Future<Output = wasmtime::Result<T>>,
) -> End<T> {
    let mut work = pin!(work);
    let guarded = std::future::poll_fn(|context| {
        // What a panic leaves behind is dropped with the store; nothing else is shared.
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
            Ok(poll) => poll.map(|result| match result {
                Ok(value) => End::Returned(value),
                Err(error) => End::Stopped(error),
            }),
            Err(_) => std::task::Poll::Ready(End::Panicked),
        }
    });
    tokio::select! {
        biased;
        end = meter.measure(guarded) => end,
        () = used_up => End::WallTime,
    }
}

pub(super) async fn call(sandbox: &WasmSandbox, call: Call) -> Report {
    let Call { component, entry, task, context, payload, limits, variables, egress, services, .. } = call;
    let (world, journal, activity, tape, is_nested) =
        (call.world, call.journal, call.activity, call.tape, call.is_nested);
    let place = match is_nested {
        true => Ok(None),
        false => sandbox.calls.acquire().await.map(Some),
    };
    let pre = match (sandbox.cache.get(component).await, place.is_ok()) {
        (Ok(pre), true) => pre,
        (Err(fault), _) => return not_started(fault, services),
        (Ok(_), false) => return not_started("the sandbox is closed".into(), services),
    };
    let (replayed, clock) = (journal.clone(), Arc::clone(&world));
    let setup = TaskSetup {
        services,
        world,
        journal,
        outbound: match &tape {
            Some(tape) => tape.outbound(),
            None => sandbox.egress.for_call(&context.environment.id, egress),
        },
        pins: tape.as_ref().map(Tape::pins),
        variables,
        scratch: Some(Arc::clone(&sandbox.scratch)),
        limits: host_limits(&limits),
    };
    let mut guest = Guest::new(sandbox, &pre, setup, limits);
    let (meter, logger, memory) = (Arc::clone(&guest.meter), guest.logger.clone(), guest.store.data().memory.gauge());
    activity.begin(Arc::clone(&meter), memory, sandbox.ticker.clone());
    let store = &mut guest.store;
    let end = run(&meter, activity.used_up(limits.wall), async {
        let context = replayed.begin(context, clock.now())?;
        let returned =
            enter(&entry, &pre, store, Subject { task: &task, context: &context, payload: &payload }).await?;
        replayed.ended()?;
        Ok(returned)
    })
    .await;
    activity.end();
    let outcome = guest.outcome(end, |returned| match returned {
        Ok(output) => check_output(output, limits.output_bytes),
        Err(error) => Outcome::Failed(task_error(error)),
    });
    Report { outcome, usage: activity.usage(), services: logger.into_services() }
}

/// Calls what is to be called, in a new instance.
async fn enter(
    entry: &Entry,
    pre: &TaskPre<State>,
    store: &mut Store<State>,
    subject: Subject<'_>,
) -> wasmtime::Result<Result<String, GuestError>> {
    match entry {
        Entry::Task => {
            let Subject { task, context, payload } = subject;
            let instance = pre.instantiate_async(&mut *store).await?;
            instance.dacapo_task_guest().call_run(store, task, context, payload).await
        }
        Entry::Hook(call) => {
            let failed = |message: String| {
                Err(GuestError { name: "HookError".into(), message, stack: None, retry: GuestRetry::Never })
            };
            let Some(hooks) = HooksPre::new(pre.instance_pre()) else {
                return Ok(failed("the component exports no hooks".into()));
            };
            let returned = hooks.call(store, subject, call).await?;
            Ok(returned.map_or_else(failed, |()| Ok("null".into())))
        }
    }
}

fn not_started(fault: String, services: Box<dyn Services>) -> Report {
    Report { outcome: Outcome::HostFault(fault), usage: Usage::default(), services: Some(services) }
}

pub(super) fn host_limits(limits: &Limits) -> HostLimits {
    let Limits { scratch_bytes, log_lines, log_bytes, log_line_bytes, metadata_bytes, .. } = *limits;
    HostLimits { scratch_bytes, log_lines, log_bytes, log_line_bytes, metadata_bytes }
}

fn check_output(output: String, limit_bytes: usize) -> Outcome {
    let message = if output.len() > limit_bytes {
        trap::too_large(limit_bytes)
    } else if let Err(error) = serde_json::from_str::<&RawValue>(&output) {
        format!("returned something that is not JSON: {error}")
    } else {
        return Outcome::Returned(output);
    };
    Outcome::Crashed(Crash { out_of_memory: false, message, backtrace: None })
}

fn task_error(error: GuestError) -> TaskError {
    TaskError {
        name: bounded(error.name),
        message: bounded(error.message),
        stack: error.stack.map(bounded),
        retry: match error.retry {
            GuestRetry::ByPolicy => RetryDecision::ByPolicy,
            GuestRetry::After(ms) => RetryDecision::After(Duration::from_millis(ms)),
            GuestRetry::Never => RetryDecision::Never,
        },
    }
}

fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_ERROR_TEXT_BYTES));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(output: &str, expected: &str) {
        match check_output(output.into(), 10) {
            Outcome::Crashed(crash) => assert_eq!(crash.message, expected),
            other => assert_eq!(other, Outcome::Returned(expected.into())),
        }
    }

    #[test]
    fn an_output_is_json_of_bounded_size() {
        check("[1, 2]", "[1, 2]");
        check("[1, 2", "returned something that is not JSON: EOF while parsing a list at line 1 column 5");
        check("\"12345678\"", "\"12345678\"");
        check("\"123456789\"", "returned an output that is larger than 10 bytes");
    }

    #[tokio::test]
    async fn a_panic_of_the_host_is_an_end_like_others() {
        let meter = Meter::new(Duration::MAX, super::super::quota::WHOLE_CORE, super::super::cpu::turns());
        let end = run::<()>(&meter, std::future::pending(), async { panic!("on purpose") }).await;
        assert!(matches!(end, End::Panicked));
    }
}
