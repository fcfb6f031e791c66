//! Instantiate, call and drop: wasmtime alone, and the sandbox with all its walls, in turn, in one
//! process, with the same component and payload.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use dacapo::model::attempt::Outcome;
use dacapo::model::digest::Digest;
use dacapo::model::egress::EgressPolicy;
use dacapo::sandbox::world::NoWorld;
use dacapo::sandbox::{Activity, Call, ComponentSource, Config, Entry, Journal, Limits, Sandbox, WasmSandbox};
use dacapo_host_api::context::Context;
use dacapo_host_api::{NoServices, TaskPre};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use wasmtime::component::{Component, Linker};
use wasmtime::{Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};

use crate::context::context;
use crate::latency::Latencies;
use crate::options::Options;

/// Calls before the first that counts.
const WARM_UP_CALLS: u32 = 200;
/// How often the two take turns, so that a noisy moment hits both.
const ROUNDS: u32 = 4;

/// What is called, by whichever of the two.
#[derive(Clone)]
struct Subject {
    component: Bytes,
    task: String,
    payload: Arc<String>,
}

/// Runs the measurement.
pub(crate) fn run(options: &Options) -> Result<Value> {
    let subject = Subject {
        component: std::fs::read(options.path("component")?)?.into(),
        task: options.text("task")?.to_owned(),
        payload: options.text("payload")?.to_owned().into(),
    };
    let concurrency = options.number("concurrency", 1)?.max(1);
    let turn = options.seconds("seconds", 4)? / ROUNDS;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(take_turns(subject, options.path("dir")?, concurrency, turn))
}

async fn take_turns(subject: Subject, dir: PathBuf, concurrency: u64, turn: Duration) -> Result<Value> {
    let bare = Arc::new(Bare::new(subject.clone())?);
    let walled = Arc::new(Walled::new(subject, dir).await?);
    let (mut bare_latencies, mut walled_latencies) = (Latencies::default(), Latencies::default());
    let (mut bare_elapsed, mut walled_elapsed) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        let bare = bare.clone();
        let (latencies, elapsed) = measure(concurrency, turn, move || {
            let bare = bare.clone();
            async move { bare.call().await }
        })
        .await?;
        bare_latencies.append(latencies);
        bare_elapsed += elapsed;
        let walled = walled.clone();
        let (latencies, elapsed) = measure(concurrency, turn, move || {
            let walled = walled.clone();
            async move { walled.call().await }
        })
        .await?;
        walled_latencies.append(latencies);
        walled_elapsed += elapsed;
    }
    Ok(json!({
        "concurrency": concurrency,
        "bare": bare_latencies.summary(bare_elapsed),
        "sandbox": walled_latencies.summary(walled_elapsed),
    }))
}

/// Calls again and again, `concurrency` calls at a time.
async fn measure<C, F>(concurrency: u64, turn: Duration, call: C) -> Result<(Latencies, Duration)>
where
    C: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = Result<()>> + Send,
{
    for _ in 0..WARM_UP_CALLS {
        call().await?;
    }
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..concurrency {
        let call = call.clone();
        callers.spawn(async move {
            let mut latencies = Latencies::default();
            while started.elapsed() < turn {
                let began = Instant::now();
                call().await?;
                latencies.add(began.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    let mut all = Latencies::default();
    while let Some(latencies) = callers.join_next().await {
        all.append(latencies??);
    }
    Ok((all, started.elapsed()))
}

/// wasmtime with the settings that are known to be the fastest here, and no limits.
struct Bare {
    pre: TaskPre<()>,
    subject: Subject,
    context: Context,
}

impl Bare {
    fn new(subject: Subject) -> Result<Self> {
        let mut pool = PoolingAllocationConfig::new();
        pool.linear_memory_keep_resident(1 << 20);
        pool.table_keep_resident(64 << 10);
        pool.pagemap_scan(Enabled::Auto);
        let mut config = wasmtime::Config::new();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        config.concurrency_support(false);
        let build = || -> wasmtime::Result<TaskPre<()>> {
            let engine = Engine::new(&config)?;
            let component = Component::from_binary(&engine, &subject.component)?;
            let mut linker = Linker::new(&engine);
            linker.define_unknown_imports_as_traps(&component)?;
            TaskPre::new(linker.instantiate_pre(&component)?)
        };
        let pre = build().map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let context = context(&subject.task);
        Ok(Self { pre, subject, context })
    }

    async fn call(&self) -> Result<()> {
        let run = async {
            let mut store = Store::new(self.pre.engine(), ());
            let instance = self.pre.instantiate_async(&mut store).await?;
            let Subject { task, payload, .. } = &self.subject;
            let guest = instance.dacapo_task_guest();
            guest.call_run(&mut store, task, &self.context, payload).await
        };
        match run.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => bail!("the task failed: {}", error.message),
            Err(error) => bail!("the guest stopped: {error:#}"),
        }
    }
}

/// The product's sandbox.
struct Walled {
    sandbox: WasmSandbox,
    digest: Digest,
    subject: Subject,
    context: Context,
    variables: Arc<Vec<(String, String)>>,
    egress: Arc<EgressPolicy>,
}

struct OneComponent(Bytes);

#[async_trait]
impl ComponentSource for OneComponent {
    async fn component(&self, _: Digest) -> io::Result<Bytes> {
        Ok(self.0.clone())
    }
}

impl Walled {
    async fn new(subject: Subject, dir: PathBuf) -> Result<Self> {
        let config = Config {
            max_concurrent_calls: 200,
            max_concurrent_calls_in_lanes: 0,
            guest_memory_bytes: 8 << 30,
            max_ready_components: 16,
            code_dir: None,
            code_key: [0; 32],
            scratch_dir: dir.join("scratch"),
            reads_debug_info: false,
        };
        let source = Arc::new(OneComponent(subject.component.clone()));
        let sandbox = WasmSandbox::new(config, source)?;
        let inspection = sandbox.inspect(subject.component.clone()).await?;
        let has_task = inspection.tasks.iter().any(|task| task.id == subject.task);
        ensure!(has_task, "the component has no task `{}`", subject.task);
        let context = context(&subject.task);
        Ok(Self {
            sandbox,
            digest: inspection.digest,
            subject,
            context,
            variables: Arc::default(),
            egress: Arc::new(EgressPolicy::default()),
        })
    }

    async fn call(&self) -> Result<()> {
        let call = Call {
            component: self.digest,
            entry: Entry::Task,
            task: self.subject.task.clone(),
            context: self.context.clone(),
            payload: Arc::clone(&self.subject.payload),
            limits: Limits::default(),
            variables: self.variables.clone(),
            egress: self.egress.clone().into(),
            tape: None,
            services: Box::new(NoServices),
            world: Arc::new(NoWorld),
            journal: Journal::off(),
            activity: Activity::default(),
            is_nested: false,
        };
        match self.sandbox.call(call).await.outcome {
            Outcome::Returned(_) => Ok(()),
            other => bail!("the task ended as {other:?}"),
        }
    }
}
