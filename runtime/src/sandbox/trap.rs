//! Tells the author of a task why it ended, in the author's terms.

use std::fmt::Write;
use std::time::Duration;

use dacapo_host_api::{HostFault, I32Exit, NonDeterministic, ScratchUnavailable, UsedUp};
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use super::cpu::CpuTimeUsedUp;
use super::engine::MAX_STACK_BYTES;
use super::memory::Refusal;
use crate::model::attempt::{Crash, Outcome, TimeLimit};
use crate::model::limits::MAX_ERROR_TEXT_BYTES;

/// What is known about a call that ended with an error of wasmtime.
pub(super) struct Circumstances<'a> {
    pub(super) cpu_limit: Duration,
    pub(super) output_bytes: usize,
    pub(super) refusal: Option<Refusal>,
    /// Whether what the host gives is no limit of the guest, which ran elsewhere before.
    pub(super) is_replay: bool,
    pub(super) stderr: &'a [String],
}

/// The outcome of a call that ended with an error of wasmtime.
pub(super) fn outcome(error: &wasmtime::Error, about: &Circumstances<'_>) -> Outcome {
    if error.is::<CpuTimeUsedUp>() {
        return Outcome::TimedOut(TimeLimit::Cpu(about.cpu_limit));
    }
    if let Some(error) = error.downcast_ref::<NonDeterministic>() {
        return Outcome::NonDeterministic(error.to_string());
    }
    if let Some(error) = error.downcast_ref::<UsedUp>() {
        return Outcome::NonDeterministic(error.to_string());
    }
    if let Some(HostFault(fault)) = error.downcast_ref() {
        return Outcome::HostFault(fault.clone());
    }
    if error.is::<PoolConcurrencyLimitError>() || error.is::<ScratchUnavailable>() {
        let text = format!("{error:#}");
        // In the lane of replays they are taken by others only as long as these are under way.
        return if about.is_replay { Outcome::HostFull(text) } else { Outcome::HostFault(text) };
    }
    let exited = error.downcast_ref::<I32Exit>();
    let out_of_memory = match about.refusal {
        Some(Refusal::Neighbours(bytes)) if exited.is_none() => return Outcome::HostFull(used_up(bytes)),
        Some(Refusal::Machine(bytes)) if exited.is_none() => {
            Some(format!("the machine of the run has {} MiB", mib(bytes as u64)))
        }
        Some(Refusal::Host(bytes)) if exited.is_none() => {
            Some(format!("this host gives a run {} MiB at most, less than its machine has", mib(bytes)))
        }
        Some(Refusal::Machine(_) | Refusal::Host(_) | Refusal::Neighbours(_)) | None => None,
    };
    let mut message = match (&out_of_memory, exited) {
        (Some(limit), _) => format!("out of memory: {limit}"),
        // WASI 0.2 says only that the status was not 0, as 1.
        (None, Some(I32Exit(1))) => "called exit with a status other than 0; return an error instead".into(),
        (None, Some(I32Exit(status))) => format!("called exit({status}); return a value instead"),
        (None, None) => describe(error, about.output_bytes),
    };
    if let Some(panic) = panic_message(about.stderr) {
        let _ = write!(message, ": {panic}");
    }
    message.truncate(message.floor_char_boundary(MAX_ERROR_TEXT_BYTES));
    let backtrace = error.downcast_ref::<WasmBacktrace>().map(backtrace).filter(|text| !text.is_empty());
    Outcome::Crashed(Crash { out_of_memory: out_of_memory.is_some(), message, backtrace })
}

/// What an end comes to in the lane of replays, where `refusal` says who refused the guest memory: unless it did without,
/// whatever became of it says nothing of the guest, which ran elsewhere before.
pub(super) fn in_lane(end: Outcome, refusal: Option<Refusal>) -> Outcome {
    match (&end, refusal) {
        (Outcome::Returned(_) | Outcome::Interrupted | Outcome::HostFault(_) | Outcome::HostFull(_), _) => end,
        (_, None | Some(Refusal::Machine(_))) => end,
        (_, Some(Refusal::Neighbours(bytes))) => Outcome::HostFull(used_up(bytes)),
        // Alone it would lack the same.
        (_, Some(Refusal::Host(bytes))) => Outcome::HostFault(format!(
            "it needs more memory than all replays have together, {} MiB: raise --replay-memory",
            mib(bytes)
        )),
    }
}

fn used_up(bytes: u64) -> String {
    format!("guests have used up the {} MiB that they may have together", mib(bytes))
}

fn mib(bytes: u64) -> u64 {
    bytes / (1024 * 1024)
}

fn describe(error: &wasmtime::Error, output_bytes: usize) -> String {
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => {
            return format!("trap: stack overflow (the stack has {} KiB)", MAX_STACK_BYTES / 1024);
        }
        Some(Trap::UnreachableCodeReached) => {
            return "trap: wasm `unreachable` instruction executed".into();
        }
        Some(trap) => {
            let text = trap.to_string();
            return format!("trap: {}", text.strip_prefix("wasm trap: ").unwrap_or(&text));
        }
        None => {}
    }
    let cause = error.root_cause().to_string();
    if cause.contains("fuel allocated for hostcalls") {
        // Without a backtrace nothing called the host: the output itself was too large.
        return if error.is::<WasmBacktrace>() {
            "passed too much to the host in one call".into()
        } else {
            too_large(output_bytes)
        };
    }
    format!("broke the contract: {cause}")
}

/// The message for an output that is larger than the limit.
pub(super) fn too_large(limit_bytes: usize) -> String {
    format!("returned an output that is larger than {limit_bytes} bytes")
}

/// What Rust, and most others, print before they abort.
fn panic_message(stderr: &[String]) -> Option<String> {
    let begins = |line: &String| line.contains("panicked at") || line.contains("memory allocation of");
    let from = stderr.iter().rposition(begins)?;
    let lines =
        stderr[from..].iter().map(|line| line.trim()).filter(|line| !line.is_empty() && !line.starts_with("note:"));
    Some(lines.collect::<Vec<_>>().join(" "))
}

/// One frame a line, innermost first, names without the compiler's hashes.
fn backtrace(trace: &WasmBacktrace) -> String {
    let mut frames = String::new();
    for line in trace.to_string().lines() {
        // A place in the source belongs to the line before.
        if let Some(place) = line.trim_start().strip_prefix("at ").filter(|_| frames.ends_with('\n')) {
            frames.pop();
            let _ = writeln!(frames, " ({place})");
            continue;
        }
        let Some((_, name)) = line.split_once(" - ") else {
            continue;
        };
        // The module's name, where there is one; names of functions can have such a sign, too.
        let name = match name.split_once('!') {
            Some((module, function)) if !module.contains("::") => function,
            Some(_) | None => name,
        };
        let _ = writeln!(frames, "{}", without_hash(name));
    }
    frames.truncate(frames.floor_char_boundary(MAX_ERROR_TEXT_BYTES));
    frames.truncate(frames.trim_end().len());
    frames
}

fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((rest, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => rest,
        Some(_) | None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::attempt::{RetryDecision, TaskError};

    fn about(stderr: &[String], refusal: Option<Refusal>) -> Circumstances<'_> {
        Circumstances { cpu_limit: Duration::from_secs(1), output_bytes: 10, refusal, is_replay: false, stderr }
    }

    #[track_caller]
    fn check(error: wasmtime::Error, refusal: Option<Refusal>, stderr: &[&str], expected: &str) {
        let stderr: Vec<_> = stderr.iter().map(ToString::to_string).collect();
        match outcome(&error, &about(&stderr, refusal)) {
            Outcome::Crashed(crash) => assert_eq!(crash.message, expected),
            other => assert_eq!(format!("{other:?}"), expected),
        }
    }

    #[test]
    fn ends_are_told_in_the_authors_terms() {
        let unreachable = || wasmtime::Error::from(Trap::UnreachableCodeReached);
        check(unreachable(), None, &[], "trap: wasm `unreachable` instruction executed");
        check(Trap::StackOverflow.into(), None, &[], "trap: stack overflow (the stack has 1024 KiB)");
        check(Trap::IntegerDivisionByZero.into(), None, &[], "trap: integer divide by zero");
        check(I32Exit(0).into(), None, &[], "called exit(0); return a value instead");
        check(I32Exit(1).into(), None, &[], "called exit with a status other than 0; return an error instead");
        check(HostFault("no luck".into()).into(), None, &[], "HostFault(\"no luck\")");
        check(CpuTimeUsedUp.into(), None, &[], "TimedOut(Cpu(1s))");
        check(
            unreachable(),
            None,
            &["hello", "thread 'main' panicked at src/lib.rs:3:5:", "no luck", "note: run with `RUST_BACKTRACE=1`"],
            "trap: wasm `unreachable` instruction executed: thread 'main' panicked at src/lib.rs:3:5: no luck",
        );
    }

    #[test]
    fn a_crash_after_a_refusal_is_for_want_of_memory() {
        let error = || wasmtime::Error::from(Trap::UnreachableCodeReached);
        let refusal = Refusal::Machine(512 << 20);
        check(error(), Some(refusal), &[], "out of memory: the machine of the run has 512 MiB");
        let host = "out of memory: this host gives a run 64 MiB at most, less than its machine has";
        check(error(), Some(Refusal::Host(64 << 20)), &[], host);
        let shared = "HostFull(\"guests have used up the 1 MiB that they may have together\")";
        check(error(), Some(Refusal::Neighbours(1 << 20)), &[], shared);
    }

    #[test]
    fn what_a_replay_does_for_want_of_memory_says_nothing_of_it() {
        let failed = || {
            let (name, message) = ("Error".into(), "out of memory".into());
            Outcome::Failed(TaskError { name, message, stack: None, retry: RetryDecision::ByPolicy })
        };
        let full = Outcome::HostFull("guests have used up the 64 MiB that they may have together".into());
        let needs = "it needs more memory than all replays have together, 64 MiB: raise --replay-memory";
        let exited = || outcome(&I32Exit(2).into(), &about(&[], Some(Refusal::Neighbours(64 << 20))));
        for end in [failed(), exited(), Outcome::TimedOut(TimeLimit::Cpu(Duration::ZERO))] {
            assert_eq!(in_lane(end.clone(), Some(Refusal::Neighbours(64 << 20))), full);
            assert_eq!(in_lane(end.clone(), Some(Refusal::Host(64 << 20))), Outcome::HostFault(needs.into()));
            assert_eq!(in_lane(end.clone(), Some(Refusal::Machine(64 << 20))), end);
            assert_eq!(in_lane(end.clone(), None), end);
        }
        let done = Outcome::Returned("1".into());
        assert_eq!(in_lane(done.clone(), Some(Refusal::Neighbours(64 << 20))), done, "it did without");
    }

    #[test]
    fn names_lose_their_hashes() {
        assert_eq!(without_hash("core::panicking::panic::h0123456789abcdef"), "core::panicking::panic");
        assert_eq!(without_hash("app::handler"), "app::handler");
    }
}
