//! The host side of the WIT world `dacapo:task/task`: everything a task may ask of its host.
//!
//! The embedder keeps a [`TaskCtx`] in its `Store`, says where through [`TaskView`], and calls
//! [`add_to_linker`] once. What the world is made of stays outside: [`Services`] takes the run's
//! log and metadata, [`Outbound`] sends its HTTP requests. Nothing here knows runs, databases or
//! policies.
//!
//! # The gate
//!
//! Whatever a guest cannot compute itself enters through one of these places, and nowhere else. Each asks
//! the [`Journal`] first:
//!
//! | answer | place |
//! |---|---|
//! | HTTP responses | [`Outbound::send`], called in `http.rs` only; what the guest sees of them, in `http/` |
//! | what came of waiting, triggering and the like | [`World`], called in `wait.rs`, `runs.rs`, `tokens.rs`, `relatives.rs` and `streams.rs` |
//! | metadata | [`Services`], called in `metadata.rs` only |
//! | environment variables | `environment.rs` |
//! | clocks, random numbers | `clocks.rs`, `random.rs` |
//! | what is ready | `io.rs` |
//! | files | `files.rs`; a scratch directory starts empty and its streams never wait, so that only times and hashes are new |
//!
//! What goes out without an answer, the log, is in `logger.rs`.
//!
//! [`recording`] reads a journal for others than the guest; [`tape`] answers a replay from it: the
//! embedder puts its parts where the real ones would be.
//!
//! # Example
//!
//! ```no_run
//! use dacapo_host_api::{TaskCtx, TaskView, add_to_linker};
//! use wasmtime::{Engine, component::Linker};
//!
//! struct State { task: TaskCtx }
//! impl TaskView for State {
//!     fn task(&mut self) -> &mut TaskCtx { &mut self.task }
//! }
//!
//! let mut linker = Linker::<State>::new(&Engine::default());
//! add_to_linker(&mut linker).expect("nothing is linked twice");
//! ```

mod bounds;
mod clocks;
pub mod context;
mod environment;
mod file_streams;
mod files;
pub mod guest;
mod hooks;
mod http;
mod io;
mod journal;
mod log;
mod logger;
mod metadata;
mod outside;
mod quota;
mod random;
pub mod recording;
mod relatives;
mod runs;
mod scratch;
mod services;
mod stdio;
mod streams;
pub mod tape;
mod text;
mod tokens;
mod wait;
pub mod world;

use std::sync::Arc;

use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::p2::bindings as wasi;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttp, WasiHttpCtx, WasiHttpCtxView};

pub use hooks::{HookCall, HooksPre, Subject};
pub use http::{Body, HttpError, NoNetwork, Outbound, RequestOptions, ResponseFuture};
pub use journal::{Journal, NonDeterministic, Unwritten, UsedUp};
pub use logger::Logger;
pub use scratch::{ScratchRoot, ScratchUnavailable};
pub use services::{
    Level, LogEntry, LogSource, MetadataChange, MetadataError, NoServices, Services, SpanClosed, SpanId, SpanOpened,
};
pub use wasmtime_wasi::I32Exit;
pub use world::{CallNumber, HostFault, NoWorld, World};

/// The version of the package `dacapo:task` that is offered here.
pub const VERSION: &str = "1.1.0";

#[expect(missing_docs, reason = "bindgen copies the docs of the WIT files, where not every field has one")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "dacapo:task/extension",
        imports: {
            "dacapo:task/wait": async | trappable,
            "dacapo:task/runs": async | trappable,
            "dacapo:task/tokens": async | trappable,
            "dacapo:task/relatives": async | trappable,
            "dacapo:task/streams": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        additional_derives: [PartialEq, serde::Serialize, serde::Deserialize],
        with: {
            "dacapo:task/log.span": crate::log::Span,
            "dacapo:task/wait.pending": crate::world::Pending,
        },
    });
}

/// A task component, linked and ready to be instantiated: `instantiate_async`, then
/// `dacapo_task_guest().call_run(…)` or `.call_describe(…)`.
pub use generated::{Extension as Task, ExtensionPre as TaskPre};

/// What one attempt may use. Every bound is for the whole attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of files, and 4 KiB for each file, directory or link.
    pub scratch_bytes: u64,
    /// Log lines and spans.
    pub log_lines: usize,
    /// Bytes of log lines and spans, attributes included.
    pub log_bytes: usize,
    /// Bytes of one log line; what is longer is cut.
    pub log_line_bytes: usize,
    /// Bytes of one metadata value.
    pub metadata_bytes: usize,
}

/// What a [`TaskCtx`] is made from.
pub struct TaskSetup {
    /// Takes the log and the metadata.
    pub services: Box<dyn Services>,
    /// Reaches other runs, and waits.
    pub world: Arc<dyn World>,
    /// Keeps what the host answers.
    pub journal: Journal,
    /// Sends HTTP requests.
    pub outbound: Arc<dyn Outbound>,
    /// What stands in for clocks, random numbers and variables in a replay; `None`: they are real.
    pub pins: Option<tape::Pins>,
    /// Environment variables.
    pub variables: Arc<Vec<(String, String)>>,
    /// Where scratch directories are made; `None`: the guest has no files.
    pub scratch: Option<Arc<ScratchRoot>>,
    /// The bounds.
    pub limits: Limits,
}

/// The host's state of one attempt. Dropping it ends the log and removes the scratch directory.
pub struct TaskCtx {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: http::Hooks,
    files: files::Files,
    variables: Arc<Vec<(String, String)>>,
    /// Whether the guest has asked for them.
    variables_are_known: bool,
    metadata_bytes: usize,
    logger: Logger,
    journal: Journal,
    world: Arc<dyn World>,
    pins: Option<tape::Pins>,
    /// Calls of the world so far.
    calls: u64,
    waits: wait::Waits,
    monotonic: clocks::Monotonic,
}

/// Most resources (streams, descriptors, HTTP messages, spans) that an attempt may hold: each of
/// them costs the host memory or a file descriptor.
const MAX_RESOURCES: usize = 1_024;
/// Most bytes of one set of HTTP headers, counted as they are in memory.
const MAX_FIELDS_BYTES: usize = 64 * 1024;

/// Most random bytes for which a guest may ask at once.
const MAX_RANDOM_BYTES: u64 = 16 << 20;

impl TaskCtx {
    /// State for a new attempt. Makes no system call.
    pub fn new(setup: TaskSetup) -> Self {
        let TaskSetup { services, world, journal, outbound, pins, variables, scratch, limits } = setup;
        let logger = Logger::new(services, limits, journal.clone());
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let wasi = WasiCtx::builder()
            .max_random_size(MAX_RANDOM_BYTES)
            .stdout(stdio::Lines::new(logger.clone(), LogSource::Stdout))
            .stderr(stdio::Lines::new(logger.clone(), LogSource::Stderr))
            .build();
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_FIELDS_BYTES);
        Self {
            table,
            wasi,
            http,
            hooks: http::Hooks::new(outbound, logger.clone(), journal.clone()),
            files: files::Files::new(scratch, limits.scratch_bytes, logger.clone()),
            variables,
            variables_are_known: false,
            metadata_bytes: limits.metadata_bytes,
            logger,
            journal,
            world,
            pins,
            calls: 0,
            waits: wait::Waits::default(),
            monotonic: clocks::Monotonic::default(),
        }
    }

    /// The log of the attempt.
    pub fn logger(&self) -> &Logger {
        &self.logger
    }

    /// The number of the next call of the world.
    fn next_call(&mut self) -> CallNumber {
        self.calls += 1;
        CallNumber(self.calls)
    }
}

impl Drop for TaskCtx {
    fn drop(&mut self) {
        self.logger.finish();
    }
}

/// Where an embedder keeps its [`TaskCtx`].
pub trait TaskView: Send {
    /// The state of the attempt that runs in this store.
    fn task(&mut self) -> &mut TaskCtx;
}

impl WasiView for TaskCtx {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Says that our own interfaces are implemented by [`TaskCtx`] itself.
struct HasTask;

impl HasData for HasTask {
    type Data<'a> = &'a mut TaskCtx;
}

/// Says that streams need the table alone.
struct HasTable;

impl HasData for HasTable {
    type Data<'a> = &'a mut ResourceTable;
}

/// Links all of world `dacapo:task/task`, and nothing else: no sockets, no incoming HTTP.
///
/// # Errors
///
/// If one of the interfaces is linked already.
pub fn add_to_linker<T: TaskView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    use wasmtime_wasi::cli::{WasiCli, WasiCliView};

    let l = linker;
    generated::dacapo::task::log::add_to_linker::<T, HasTask>(l, T::task)?;
    generated::dacapo::task::metadata::add_to_linker::<T, HasTask>(l, T::task)?;
    generated::dacapo::task::wait::add_to_linker::<T, HasTask>(l, T::task)?;
    generated::dacapo::task::runs::add_to_linker::<T, HasTask>(l, T::task)?;
    generated::dacapo::task::tokens::add_to_linker::<T, HasTask>(l, T::task)?;
    generated::dacapo::task::relatives::add_to_linker::<T, HasTask>(l, T::task)?;
    generated::dacapo::task::streams::add_to_linker::<T, HasTask>(l, T::task)?;

    wasi::io::error::add_to_linker::<T, HasTask>(l, T::task)?;
    wasi::io::poll::add_to_linker::<T, HasTask>(l, T::task)?;
    // A stream that must be recorded is one that records itself.
    wasi::io::streams::add_to_linker::<T, HasTable>(l, |t| &mut t.task().table)?;

    wasi::clocks::wall_clock::add_to_linker::<T, HasTask>(l, T::task)?;
    wasi::clocks::monotonic_clock::add_to_linker::<T, HasTask>(l, T::task)?;
    wasi::random::random::add_to_linker::<T, HasTask>(l, T::task)?;
    wasi::random::insecure::add_to_linker::<T, HasTask>(l, T::task)?;
    wasi::random::insecure_seed::add_to_linker::<T, HasTask>(l, T::task)?;

    wasi::filesystem::types::add_to_linker::<T, HasTask>(l, T::task)?;
    wasi::filesystem::preopens::add_to_linker::<T, HasTask>(l, T::task)?;

    wasi::cli::environment::add_to_linker::<T, HasTask>(l, T::task)?;
    wasi::cli::exit::add_to_linker::<T, WasiCli>(l, |t| t.task().cli())?;
    wasi::cli::stdin::add_to_linker::<T, WasiCli>(l, |t| t.task().cli())?;
    wasi::cli::stdout::add_to_linker::<T, WasiCli>(l, |t| t.task().cli())?;
    wasi::cli::stderr::add_to_linker::<T, WasiCli>(l, |t| t.task().cli())?;
    wasi::cli::terminal_input::add_to_linker::<T, WasiCli>(l, |t| t.task().cli())?;
    wasi::cli::terminal_output::add_to_linker::<T, WasiCli>(l, |t| t.task().cli())?;
    wasi::cli::terminal_stdin::add_to_linker::<T, WasiCli>(l, |t| t.task().cli())?;
    wasi::cli::terminal_stdout::add_to_linker::<T, WasiCli>(l, |t| t.task().cli())?;
    wasi::cli::terminal_stderr::add_to_linker::<T, WasiCli>(l, |t| t.task().cli())?;

    use wasmtime_wasi_http::p2::bindings as wasi_http;
    let options = wasi_http::LinkOptions::default();
    wasi_http::http::types::add_to_linker::<T, WasiHttp>(l, &(&options).into(), |t| t.task().http_view())?;
    wasi_http::http::outgoing_handler::add_to_linker::<T, WasiHttp>(l, |t| t.task().http_view())?;
    http::gate::add_to_linker(l)
}

impl TaskCtx {
    fn http_view(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}
