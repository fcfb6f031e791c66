//! Runs guests, and lets nothing out of them.
//!
//! [`Sandbox::inspect`] says whether some bytes are a component with tasks; [`Sandbox::call`] runs
//! one attempt. A guest can never produce a host error: whatever it does, traps, loops, floods,
//! breaks the contract, is an [`Outcome`]. Dropping the future of a call stops the guest and frees
//! all it had. Nothing here decides what an outcome means, and nothing is stored but compiled code.
//!
//! The walls, and where each stands:
//!
//! | against | wall |
//! |---|---|
//! | reading or writing the host's memory | wasmtime, set up in `engine` |
//! | memory, tables | `memory` |
//! | CPU time, starving others | `cpu` |
//! | waiting for ever | the timeout in `call` |
//! | files | `dacapo_host_api`: scratch directory and quota |
//! | network | `egress` |
//! | logs, metadata, resources of the host | `dacapo_host_api` |
//! | code that is not ours in the cache of compiled code | `cache` |
//!
//! [`WasmSandbox`] is the real one; [`scripted::ScriptedSandbox`] plays faults of the host.

mod activity;
mod cache;
mod call;
mod cpu;
mod egress;
mod engine;
mod inspect;
mod memory;
mod quota;
pub mod scripted;
mod state;
mod trap;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
pub use dacapo_host_api::context::Context;
pub use dacapo_host_api::tape::Tape;
pub use dacapo_host_api::{HookCall, Journal, Outbound, Services, World, context, recording, tape, world};
use dacapo_host_api::{ScratchRoot, add_to_linker};
use tokio::sync::Semaphore;
use wasmtime::component::Linker;

pub use self::activity::Activity;
pub use self::egress::EgressRules;
pub use self::inspect::InspectError;
use crate::model::attempt::{Outcome, Usage};
use crate::model::digest::Digest;
use crate::model::egress::EgressPolicy;
use crate::model::task::TaskDefinition;

/// Looks at components, and runs their tasks.
#[async_trait]
pub trait Sandbox: Send + Sync {
    /// Says which tasks a component has, or why it cannot be deployed.
    async fn inspect(&self, component: Bytes) -> Result<Inspection, InspectError>;

    /// Keeps what was compiled for an inspection, for later starts: the component is deployed.
    async fn keep(&self, component: Digest);

    /// Runs one attempt to its end. Dropping the future stops it.
    async fn call(&self, call: Call) -> Report;

    /// What sends the requests of guests of an environment.
    fn outbound(&self, environment: &str, policy: Arc<EgressPolicy>) -> Arc<dyn Outbound>;
}

/// One attempt.
pub struct Call {
    /// The component. It must have passed [`Sandbox::inspect`].
    pub component: Digest,
    /// What is called of it.
    pub entry: Entry,
    /// The id of the task.
    pub task: String,
    /// What the guest may know of its run.
    pub context: Context,
    /// JSON text.
    pub payload: Arc<String>,
    /// What it may use.
    pub limits: Limits,
    /// Environment variables.
    pub variables: Arc<Vec<(String, String)>>,
    /// Where it may connect to. Connections are kept for `context.environment`.
    pub egress: EgressRules,
    /// What answers in place of network, clocks and random numbers; `None`: they are real.
    pub tape: Option<Tape>,
    /// Takes its log and its metadata.
    pub services: Box<dyn Services>,
    /// Reaches other runs, and waits.
    pub world: Arc<dyn World>,
    /// Keeps what the host answers, or answers as it did before.
    pub journal: Journal,
    /// Where the call shows what it does.
    pub activity: Activity,
    /// Whether another call waits for it. Then it stands in that one's place and takes none of its own, so that calls
    /// that wait for others cannot take the places that those need.
    pub is_nested: bool,
}

/// What is called of a component.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// The task. Its outcome has the output.
    Task,
    /// A hook of the task. Its outcome has `null`.
    Hook(HookCall),
}

/// What an attempt may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory, all memories of the component together.
    pub memory_bytes: usize,
    /// CPU time.
    pub cpu: Duration,
    /// How fast it may use that: thousandths of a core, in every 100 ms. A guest has one thread, so
    /// that 1,000 and more do not hold it back.
    pub millicores: u32,
    /// Time from start to end, waiting in host calls included; loading the component is not counted,
    /// nor is time for which [`Activity::pause`] stopped the clock.
    pub wall: Duration,
    /// Files; each name costs 4 KiB.
    pub scratch_bytes: u64,
    /// The output, as JSON text.
    pub output_bytes: usize,
    /// Log lines and spans.
    pub log_lines: usize,
    /// Log lines and spans, attributes included.
    pub log_bytes: usize,
    /// One log line; what is longer is cut.
    pub log_line_bytes: usize,
    /// One metadata value.
    pub metadata_bytes: usize,
}

impl Default for Limits {
    /// Those of `model::limits`, 512 MiB of memory and of files, 5 minutes of a whole core, an hour of wall
    /// time.
    fn default() -> Self {
        use crate::model::limits;
        Self {
            memory_bytes: 512 << 20,
            cpu: Duration::from_secs(300),
            millicores: quota::WHOLE_CORE,
            wall: Duration::from_secs(3_600),
            scratch_bytes: 512 << 20,
            output_bytes: limits::MAX_OUTPUT_BYTES,
            log_lines: limits::MAX_LOG_LINES_PER_ATTEMPT,
            log_bytes: limits::MAX_LOG_BYTES_PER_ATTEMPT,
            log_line_bytes: limits::MAX_LOG_LINE_BYTES,
            metadata_bytes: limits::MAX_METADATA_BYTES,
        }
    }
}

/// How an attempt ended.
pub struct Report {
    /// What the guest did.
    pub outcome: Outcome,
    /// What it used.
    pub usage: Usage,
    /// The services of the call, back. `None` if they were lost in a panic of the host.
    pub services: Option<Box<dyn Services>>,
}

/// What is known of a component that may be deployed.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// Its name.
    pub digest: Digest,
    /// Its tasks, at least one, all of the right shape.
    pub tasks: Vec<TaskDefinition>,
    /// The interfaces it imports.
    pub imports: Vec<String>,
}

/// Where components come from.
#[async_trait]
pub trait ComponentSource: Send + Sync {
    /// The bytes of a component that was deployed.
    async fn component(&self, digest: Digest) -> io::Result<Bytes>;
}

/// What a [`WasmSandbox`] is made from.
#[derive(Debug, Clone)]
pub struct Config {
    /// Most calls at a time; more of them wait. Each reserves 16 GiB of address space, not memory.
    pub max_concurrent_calls: u32,
    /// Most calls at a time in all [`WasmSandbox::lane`]s together, those that are nested in others included.
    pub max_concurrent_calls_in_lanes: u32,
    /// Linear memory of all guests together.
    pub guest_memory_bytes: u64,
    /// Most components kept ready in memory.
    pub max_ready_components: usize,
    /// Where compiled code is kept; `None`: nowhere.
    pub code_dir: Option<PathBuf>,
    /// The secret under which that code is authenticated.
    pub code_key: [u8; 32],
    /// Where scratch directories are made. It is emptied first, so it must belong to this process.
    pub scratch_dir: PathBuf,
    /// Whether crashes show places in the source where a component has debug information. Only for components that
    /// are trusted: it takes time and memory that nobody limits, many times what the component has bytes.
    pub reads_debug_info: bool,
}

/// Why a sandbox could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A directory or thread could not be made.
    #[error("the sandbox could not be set up")]
    Io(#[from] io::Error),
    /// This machine does not suit wasmtime, for example because address space is limited.
    #[error("the WebAssembly engine could not be set up: {0}")]
    Engine(String),
}

/// The sandbox that runs WebAssembly.
pub struct WasmSandbox {
    cache: Arc<cache::Cache>,
    scratch: Arc<ScratchRoot>,
    egress: Arc<egress::Egress>,
    budget: Arc<memory::Budget>,
    ticker: cpu::Ticker,
    turns: Arc<Semaphore>,
    calls: Semaphore,
    inspections: Arc<Semaphore>,
    is_lane: bool,
}

/// Descriptions run one at a time, in an instance that no call can take.
const MAX_CONCURRENT_INSPECTIONS: u32 = 1;

impl WasmSandbox {
    /// Sets up the engine, empties the scratch directory and starts the thread that ticks.
    ///
    /// # Errors
    ///
    /// If the directories cannot be used, or the machine is too small.
    pub fn new(config: Config, source: Arc<dyn ComponentSource>) -> Result<Self, SetupError> {
        let fault = |error: wasmtime::Error| SetupError::Engine(format!("{error:#}"));
        let instances =
            config.max_concurrent_calls.max(1) + config.max_concurrent_calls_in_lanes + MAX_CONCURRENT_INSPECTIONS;
        let engine = engine::engine(instances, config.reads_debug_info).map_err(fault)?;
        let mut linker = Linker::new(&engine);
        add_to_linker(&mut linker).map_err(fault)?;
        let files = match config.code_dir {
            Some(dir) => Some(cache::Files::open(dir, config.code_key, &engine)?),
            None => None,
        };
        Ok(Self {
            cache: Arc::new(cache::Cache::new(linker, source, files, config.max_ready_components)),
            scratch: Arc::new(ScratchRoot::open(&config.scratch_dir)?),
            egress: Arc::new(egress::Egress::new()),
            budget: Arc::new(memory::Budget::new(config.guest_memory_bytes)),
            ticker: cpu::Ticker::start(&engine)?,
            turns: cpu::turns(),
            calls: Semaphore::new(config.max_concurrent_calls.max(1) as usize),
            inspections: Arc::new(Semaphore::new(MAX_CONCURRENT_INSPECTIONS as usize)),
            is_lane: false,
        })
    }

    /// The same sandbox for other calls, which take no place and no memory from those of this one: they
    /// have their own. They are replays: one that needs more memory than all of them have says nothing of its guest.
    #[must_use]
    pub fn lane(&self, max_concurrent_calls: u32, guest_memory_bytes: u64) -> Self {
        Self {
            cache: Arc::clone(&self.cache),
            scratch: Arc::clone(&self.scratch),
            egress: Arc::clone(&self.egress),
            budget: Arc::new(memory::Budget::new(guest_memory_bytes)),
            ticker: self.ticker.clone(),
            turns: cpu::turns(),
            calls: Semaphore::new(max_concurrent_calls.max(1) as usize),
            inspections: Arc::clone(&self.inspections),
            is_lane: true,
        }
    }
}

#[async_trait]
impl Sandbox for WasmSandbox {
    async fn inspect(&self, component: Bytes) -> Result<Inspection, InspectError> {
        inspect::inspect(self, component).await
    }

    async fn keep(&self, component: Digest) {
        self.cache.keep(component).await;
    }

    async fn call(&self, call: Call) -> Report {
        call::call(self, call).await
    }

    fn outbound(&self, environment: &str, policy: Arc<EgressPolicy>) -> Arc<dyn Outbound> {
        self.egress.for_call(environment, policy.into())
    }
}
