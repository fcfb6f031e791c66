//! Says whether some bytes can be deployed, and which tasks they hold.
//!
//! A component is accepted only after it compiled, linked and described itself, so that what is
//! stored can run.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dacapo_host_api::guest::{self, MachinePreset};
use dacapo_host_api::{Journal, NoNetwork, NoServices, NoWorld, TaskPre, TaskSetup, VERSION};
use wasmtime::component::Component;

use super::call::{Guest, host_limits, run};
use super::context::Entry;
use super::state::State;
use super::{Inspection, Limits, WasmSandbox};
use crate::model::attempt::{Crash, Outcome};
use crate::model::digest::Digest;
use crate::model::hook::{Hook, Hooks};
use crate::model::limits::MAX_TASKS_PER_COMPONENT;
use crate::model::retry::RetryPolicy;
use crate::model::task::{Cron, DefinitionProblem, Machine, QueueDefinition, TaskDefinition, check};

/// Where a definition names its hooks, in its `extra`.
const HOOKS_ENTRY: &str = "hooks";
/// Where it says whether the journals of its runs are kept.
const KEEP_JOURNALS_ENTRY: &str = "journal.keep";

/// Why a component cannot be deployed, in its author's terms; except [`InspectError::HostFault`].
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Neither a component nor anything like one.
    #[error("this is not a WebAssembly component, nor any other WebAssembly")]
    NotWebAssembly,
    /// WebAssembly in text form.
    #[error("this is WebAssembly text; deploy the binary form (`wasm-tools parse`)")]
    Text,
    /// Core WebAssembly.
    #[error("this is a core WebAssembly module, not a component; build it for the target `wasm32-wasip2`")]
    CoreModule,
    /// Broken, or in need of features that tasks do not get.
    #[error("the component is not valid: {0}")]
    Invalid(String),
    /// An import that no task gets.
    #[error("imports `{0}`, which tasks do not get")]
    ForbiddenImport(String),
    /// An import of our package that is newer than this host.
    #[error("imports `{0}`, which this host ({VERSION}) does not offer")]
    UnknownImport(String),
    /// An import of a known interface that does not fit.
    #[error("imports `{name}` in another form than this host offers it: {problem}")]
    UnfitImport {
        /// The interface.
        name: String,
        /// What does not fit.
        problem: String,
    },
    /// Not a task component.
    #[error("does not export `dacapo:task/guest`: build it against the world `dacapo:task/task`")]
    NoGuest,
    /// A task component for another host.
    #[error("exports `{0}`, but this host knows `dacapo:task/guest@{VERSION}`")]
    UnknownGuest(String),
    /// `describe` crashed.
    #[error("`describe` failed: {}", .0.message)]
    DescribeCrashed(Crash),
    /// `describe` needed more memory than this, in bytes.
    #[error("`describe` wanted more than {} MiB of memory", .0 >> 20)]
    DescribeOutOfMemory(usize),
    /// `describe` took too long.
    #[error("`describe` took more than {} seconds", .0.as_secs())]
    DescribeTimedOut(Duration),
    /// No task.
    #[error("the component describes no task")]
    NoTasks,
    /// Too many tasks.
    #[error("the component describes {0} tasks; the most is {MAX_TASKS_PER_COMPONENT}")]
    TooManyTasks(usize),
    /// Tasks that are not right.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Tasks(Vec<DefinitionProblem>),
    /// The host could not do its part.
    #[error("the component could not be inspected: {0}")]
    HostFault(String),
}

/// What a component that describes itself may use.
fn limits() -> Limits {
    Limits {
        memory_bytes: 64 << 20,
        cpu: Duration::from_secs(2),
        wall: Duration::from_secs(10),
        scratch_bytes: 0,
        ..Limits::default()
    }
}

/// What tasks get, by package; see world `task` in `wit/world.wit`.
const OFFERED: &[(&str, &[&str])] = &[
    ("dacapo:task", &["context", "log", "metadata", "relatives", "runs", "streams", "tokens", "types", "wait"]),
    ("wasi:io", &["error", "poll", "streams"]),
    ("wasi:clocks", &["monotonic-clock", "wall-clock"]),
    ("wasi:random", &["random", "insecure", "insecure-seed"]),
    ("wasi:filesystem", &["types", "preopens"]),
    (
        "wasi:cli",
        &[
            "environment",
            "exit",
            "stdin",
            "stdout",
            "stderr",
            "terminal-input",
            "terminal-output",
            "terminal-stdin",
            "terminal-stdout",
            "terminal-stderr",
        ],
    ),
    ("wasi:http", &["types", "outgoing-handler"]),
];

pub(super) async fn inspect(sandbox: &WasmSandbox, bytes: Bytes) -> Result<Inspection, InspectError> {
    check_kind(&bytes)?;
    let digest = Digest::of(&bytes);
    let compiled = sandbox.cache.compile(digest, bytes).await.map_err(InspectError::HostFault)?;
    let component = compiled.map_err(|error| InspectError::Invalid(format!("{error:#}")))?;
    let imports = imports(&component);
    imports.iter().try_for_each(|name| check_import(name))?;
    let pre = link(sandbox, &component, &imports)?;
    let tasks = describe(sandbox, &pre).await?;
    let problems = match tasks.len() {
        0 => return Err(InspectError::NoTasks),
        count if count > MAX_TASKS_PER_COMPONENT => return Err(InspectError::TooManyTasks(count)),
        _ => check(&tasks),
    };
    if !problems.is_empty() {
        return Err(InspectError::Tasks(problems));
    }
    sandbox.cache.put(digest, pre);
    Ok(Inspection { digest, tasks, imports })
}

fn check_kind(bytes: &[u8]) -> Result<(), InspectError> {
    match bytes {
        [0, b'a', b's', b'm', _, _, 1, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', ..] => Err(InspectError::CoreModule),
        _ if bytes.trim_ascii_start().starts_with(b"(component")
            || bytes.trim_ascii_start().starts_with(b"(module") =>
        {
            Err(InspectError::Text)
        }
        _ => Err(InspectError::NotWebAssembly),
    }
}

fn imports(component: &Component) -> Vec<String> {
    let ty = component.component_type();
    ty.imports(component.engine()).map(|(name, _)| name.to_owned()).collect()
}

fn check_import(name: &str) -> Result<(), InspectError> {
    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
    let (package, short) = interface.split_once('/').unwrap_or((interface, ""));
    let offered = OFFERED.iter().any(|(own, names)| *own == package && names.contains(&short));
    let major = if package == "dacapo:task" { "1." } else { "0.2." };
    match (offered && version.starts_with(major), package) {
        (true, _) => Ok(()),
        (false, "dacapo:task") => Err(InspectError::UnknownImport(name.into())),
        (false, _) if offered => Err(InspectError::ForbiddenImport(name.into())),
        (false, _) => Err(InspectError::ForbiddenImport(interface.into())),
    }
}

fn link(sandbox: &WasmSandbox, component: &Component, imports: &[String]) -> Result<TaskPre<State>, InspectError> {
    let pre = sandbox.cache.linker().instantiate_pre(component).map_err(|error| unlinked(&error, imports))?;
    let ty = component.component_type();
    let mut guests =
        ty.exports(component.engine()).map(|(name, _)| name).filter(|name| name.starts_with("dacapo:task/guest@"));
    match (TaskPre::new(pre), guests.next()) {
        (Ok(pre), _) => Ok(pre),
        (Err(_), None) => Err(InspectError::NoGuest),
        (Err(_), Some(guest)) => Err(InspectError::UnknownGuest(guest.into())),
    }
}

/// Says which import wasmtime could not link; its message names it in backticks.
fn unlinked(error: &wasmtime::Error, imports: &[String]) -> InspectError {
    let text = format!("{error:#}");
    let Some(name) = imports.iter().find(|name| text.contains(&format!("`{name}`"))) else {
        return InspectError::Invalid(text);
    };
    let newer = name
        .strip_prefix("dacapo:task/")
        .and_then(|rest| rest.split_once('@'))
        .is_some_and(|(_, version)| version != VERSION);
    if newer {
        return InspectError::UnknownImport(name.clone());
    }
    InspectError::UnfitImport { name: name.clone(), problem: error.root_cause().to_string() }
}

async fn describe(sandbox: &WasmSandbox, pre: &TaskPre<State>) -> Result<Vec<TaskDefinition>, InspectError> {
    let limits = limits();
    let setup = TaskSetup {
        services: Box::new(NoServices),
        world: Arc::new(NoWorld),
        journal: Journal::off(),
        outbound: Arc::new(NoNetwork),
        pins: None,
        variables: Arc::default(),
        scratch: None,
        limits: host_limits(&limits),
    };
    let _permit = sandbox.inspections.acquire().await.map_err(|error| InspectError::HostFault(error.to_string()))?;
    let _ticking = sandbox.ticker.running();
    let mut guest = Guest::new(sandbox, pre, setup, limits);
    let (meter, store) = (Arc::clone(&guest.meter), &mut guest.store);
    let end = run(&meter, tokio::time::sleep(limits.wall), async {
        let instance = pre.instantiate_async(&mut *store).await?;
        instance.dacapo_task_guest().call_describe(store).await
    })
    .await;
    let mut tasks = Vec::new();
    let outcome = guest.outcome(end, |described| {
        tasks = described.into_iter().map(definition).collect();
        Outcome::Returned(String::new())
    });
    match outcome {
        Outcome::Returned(_) => Ok(tasks),
        Outcome::Crashed(crash) if crash.out_of_memory => Err(InspectError::DescribeOutOfMemory(limits.memory_bytes)),
        Outcome::Crashed(crash) => Err(InspectError::DescribeCrashed(crash)),
        Outcome::TimedOut(_) => Err(InspectError::DescribeTimedOut(limits.cpu)),
        Outcome::HostFault(fault) | Outcome::HostFull(fault) => Err(InspectError::HostFault(fault)),
        Outcome::Failed(_) | Outcome::NonDeterministic(_) | Outcome::Interrupted => {
            Err(InspectError::HostFault("an impossible outcome".into()))
        }
    }
}

fn definition(task: guest::TaskDefinition) -> TaskDefinition {
    TaskDefinition {
        id: task.id,
        description: task.description,
        retry: task.retry.map(|retry| RetryPolicy {
            max_attempts: retry.max_attempts,
            factor: retry.factor,
            min_delay: Duration::from_millis(retry.min_delay),
            max_delay: Duration::from_millis(retry.max_delay),
            randomize: retry.randomize,
        }),
        queue: task.queue.map(|queue| QueueDefinition { name: queue.name, concurrency_limit: queue.concurrency_limit }),
        max_duration_seconds: task.max_duration_seconds,
        ttl: task.ttl.map(Duration::from_millis),
        machine: task.machine.map(|machine| match machine {
            MachinePreset::Micro => Machine::Micro,
            MachinePreset::SmallOneX => Machine::Small1x,
            MachinePreset::SmallTwoX => Machine::Small2x,
            MachinePreset::MediumOneX => Machine::Medium1x,
            MachinePreset::MediumTwoX => Machine::Medium2x,
            MachinePreset::LargeOneX => Machine::Large1x,
            MachinePreset::LargeTwoX => Machine::Large2x,
        }),
        cron: task.cron.map(|cron| Cron { pattern: cron.pattern, timezone: cron.timezone }),
        payload_schema: task.payload_schema,
        hooks: hooks(&task.extra),
        keeps_journals: !task
            .extra
            .iter()
            .any(|entry| entry.name == KEEP_JOURNALS_ENTRY && entry.value.trim() == "false"),
    }
}

/// The hooks that a definition names; words that this version does not know are for others.
fn hooks(extra: &[Entry]) -> Hooks {
    let named = extra.iter().filter(|entry| entry.name == HOOKS_ENTRY);
    let words = named.filter_map(|entry| serde_json::from_str::<Vec<String>>(&entry.value).ok()).flatten();
    Hooks::new(words.filter_map(|word| Hook::parse(&word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_text(result: Result<(), InspectError>, expected: &str) {
        assert_eq!(result.err().map(|error| error.to_string()).unwrap_or_default(), expected);
    }

    #[test]
    fn each_kind_of_file_has_its_message() {
        check_text(check_kind(&[0, b'a', b's', b'm', 0x0d, 0, 1, 0]), "");
        let module = "this is a core WebAssembly module, not a component; build it for the target `wasm32-wasip2`";
        check_text(check_kind(&[0, b'a', b's', b'm', 1, 0, 0, 0]), module);
        check_text(
            check_kind(b" (component)"),
            "this is WebAssembly text; deploy the binary form (`wasm-tools parse`)",
        );
        check_text(check_kind(b"PK"), "this is not a WebAssembly component, nor any other WebAssembly");
        check_text(check_kind(b""), "this is not a WebAssembly component, nor any other WebAssembly");
    }

    #[test]
    fn imports_are_what_the_world_lists() {
        check_text(check_import("wasi:cli/stdout@0.2.0"), "");
        check_text(check_import("wasi:http/outgoing-handler@0.2.12"), "");
        check_text(check_import("dacapo:task/log@1.4.0"), "");
        check_text(check_import("wasi:sockets/tcp@0.2.6"), "imports `wasi:sockets/tcp`, which tasks do not get");
        check_text(check_import("wasi:cli/stdout@0.3.0"), "imports `wasi:cli/stdout@0.3.0`, which tasks do not get");
        check_text(check_import("env"), "imports `env`, which tasks do not get");
        let newer = "imports `dacapo:task/foo@1.3.0`, which this host (1.1.0) does not offer";
        check_text(check_import("dacapo:task/foo@1.3.0"), newer);
        let major = "imports `dacapo:task/log@2.0.0`, which this host (1.1.0) does not offer";
        check_text(check_import("dacapo:task/log@2.0.0"), major);
    }
}
