//! Puts the parts together, starts them, and stops them in order.
//!
//! The only place that names concrete pieces together. The order of a shutdown: not ready any
//! more, no new connections, no new claims; running attempts end, or are interrupted after the
//! grace; what they said is written; the database closes.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::artifacts::Artifacts;
use crate::backtest;
use crate::backtest::jobs::{Backtests, ReplayLimits};
use crate::bulk::Bulks;
use crate::clock::Clock;
use crate::config::Config;
use crate::context::AttemptLimits;
use crate::deploy::Deploys;
use crate::http::{self, Auth, ConnectionLimits, Rates, Server};
use crate::keys::{self, KeyKind};
use crate::model::digest::Digest;
use crate::model::egress::EgressPolicy;
use crate::packets::Packets;
use crate::runs::{Defaults, Runs};
use crate::sandbox::{self, ComponentSource, Sandbox, WasmSandbox};
use crate::schedules::Schedules;
use crate::secrets::{self, ServerKey};
use crate::storage::{self, Environment, EnvironmentKind, SchemaVersions, Storage};
use crate::waitpoints::Waitpoints;
use crate::worker::{self, Worker};

/// Components that are kept linked and ready in memory.
const MAX_READY_COMPONENTS: usize = 1_000;
/// How long a shutdown waits for requests that are being answered, after the runs have ended.
const REQUESTS_GRACE: Duration = Duration::from_secs(5);
const SERVER_KEY_FILE: &str = "server.key";
const ADMIN_KEY_FILE: &str = "admin.key";
const DEV_KEY_FILE: &str = "dev.key";
const ARTIFACTS_DIR: &str = "components";
const CODE_DIR: &str = "compiled";
const SCRATCH_DIR: &str = "scratch";
/// The environments of a new data directory: slug and kind.
const ENVIRONMENTS: [(&str, EnvironmentKind); 4] = [
    ("dev", EnvironmentKind::Development),
    ("stg", EnvironmentKind::Staging),
    ("prod", EnvironmentKind::Production),
    ("preview", EnvironmentKind::Preview),
];

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory or the address cannot be used.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Storage did not open, or failed.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// Keys could not be read or made.
    #[error(transparent)]
    Secrets(#[from] secrets::Error),
    /// The server key is gone, or another one.
    #[error(
        "{0}, which encrypts the API keys and variables of this data directory: restore the file {SERVER_KEY_FILE} \
         from a backup, or set DACAPO_SERVER_KEY to its content"
    )]
    ServerKey(&'static str),
    /// The sandbox could not be set up.
    #[error(transparent)]
    Sandbox(#[from] sandbox::SetupError),
}

/// A running server.
pub struct App {
    address: SocketAddr,
    router: Router,
    storage: Storage,
    clock: Clock,
    keys: Keys,
    ready: Arc<AtomicBool>,
    stop_working: watch::Sender<bool>,
    stop_serving: watch::Sender<bool>,
    worker: JoinHandle<()>,
    upkeep: JoinHandle<()>,
    bulk: JoinHandle<()>,
    backtests: JoinHandle<()>,
    hooks: JoinHandle<()>,
    serving: JoinHandle<()>,
}

/// The keys that an operator needs to begin with.
#[derive(Clone)]
pub struct Keys {
    /// The admin key.
    pub admin: String,
    /// Slugs and keys of the environments that were made by this start. Shown this once; the key of
    /// `dev` is also kept in the file `dev.key`, for the command line.
    pub environments: Vec<(String, String)>,
}

impl App {
    /// Starts a server. When this returns it accepts requests and runs tasks.
    pub async fn start(config: Config) -> Result<Self, Error> {
        Self::start_with(config, Clock::system(), None).await
    }

    /// Starts a server with a clock, and with a sandbox instead of the real one where one is given.
    pub async fn start_with(
        mut config: Config,
        clock: Clock,
        sandbox: Option<Arc<dyn Sandbox>>,
    ) -> Result<Self, Error> {
        let data_dir = config.data_dir.clone();
        let storage = Storage::open(&data_dir, &clock)?;
        let server_key = Arc::new(server_key(&storage, config.server_key.take(), &data_dir).await?);
        let admin = admin_key(&config, &data_dir)?;
        let environments = make_environments(&storage, &server_key, &clock, &data_dir).await?;
        let artifacts = Artifacts::open(&data_dir.join(ARTIFACTS_DIR)).map_err(io("components"))?;
        let (sandbox, lane) = match sandbox {
            Some(sandbox) => (sandbox.clone(), sandbox),
            None => wasm_sandboxes(&config, &server_key, artifacts.clone())?,
        };
        let limits = worker_limits(&config);
        let defaults = Defaults { max_waiting: config.max_waiting_runs, ttl: config.default_ttl };
        let schedules = Schedules::new(storage.clone(), clock.clone(), defaults);
        let runs = Runs::new(storage.clone(), clock.clone(), defaults);
        let bulks = Bulks::new(storage.clone(), runs.clone(), clock.clone(), config.max_waiting_runs);
        let keyed = (server_key.clone(), replay_limits(&config));
        let backtests = Backtests::new(storage.clone(), lane, runs.clone(), clock.clone(), keyed);
        let (stop_serving, stop_listening) = watch::channel(false);
        let server = Arc::new(Server {
            bulks: bulks.clone(),
            backtests: backtests.clone(),
            packets: Packets::new(storage.clone(), &server_key, clock.clone()),
            schedules: schedules.clone(),
            waitpoints: Arc::new(Waitpoints::new(storage.clone(), &server_key, clock.clone())),
            runs,
            deploys: Deploys::new(storage.clone(), artifacts, sandbox.clone(), clock.clone()),
            auth: Auth::new(storage.clone(), server_key.clone(), clock.clone(), &admin),
            rates: Rates::new(config.rate_limit),
            storage: storage.clone(),
            server_key,
            clock: clock.clone(),
            feed_hold: config.feed_hold,
            is_https: config.public_url.as_ref().is_some_and(|url| url.starts_with("https:")),
            ready: Arc::new(AtomicBool::new(true)),
            stopping: stop_listening.clone(),
        });
        let (listener, address) = listen(config.listen).await?;
        let (stop_working, stopped) = watch::channel(false);
        let public_url = config.public_url.unwrap_or_else(|| format!("http://{address}"));
        let worker = Worker::new(worker_means(&server, sandbox, public_url), limits);
        let upkeep = worker.upkeep(schedules);
        let router = http::router(server.clone());
        Ok(Self {
            address,
            upkeep: tokio::spawn(upkeep.run(stopped.clone())),
            bulk: tokio::spawn(worker::bulk::run(storage.clone(), bulks, stopped.clone())),
            backtests: tokio::spawn(worker::backtests::run(storage.clone(), backtests, stopped.clone())),
            hooks: tokio::spawn(worker.hooks().run(stopped.clone())),
            worker: tokio::spawn(worker.run(stopped)),
            serving: tokio::spawn(http::serve(listener, router.clone(), ConnectionLimits::default(), stop_listening)),
            router,
            storage,
            clock,
            keys: Keys { admin, environments },
            ready: server.ready.clone(),
            stop_working,
            stop_serving,
        })
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What answers requests, for callers in this process.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// The keys that an operator needs to begin with.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Topics that somebody watches just now, for tests: those of requests that are held.
    pub fn watched_topics(&self) -> usize {
        self.storage.watched_topics()
    }

    /// Moves the server's time forward, for tests.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.storage.nudge();
    }

    /// Serves until `shutdown` resolves, then stops.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        shutdown.await;
        self.stop().await
    }

    /// Stops in order; when this returns, everything that was acknowledged is on disk.
    pub async fn stop(self) -> Result<(), Error> {
        self.ready.store(false, Ordering::Release);
        self.stop_working.send_replace(true);
        let worked = self.worker.await;
        let kept = self.upkeep.await.and(self.bulk.await).and(self.backtests.await).and(self.hooks.await);
        self.stop_serving.send_replace(true);
        // Requests that wait for a run may wait for long: they are cut off.
        let cut_off = self.serving.abort_handle();
        let served = tokio::time::timeout(REQUESTS_GRACE, self.serving).await;
        cut_off.abort();
        self.storage.close().await;
        let panicked = |error: tokio::task::JoinError| Error::Io { what: "stopping".into(), source: error.into() };
        worked.map_err(panicked)?;
        kept.map_err(panicked)?;
        match served {
            Ok(served) => served.map_err(panicked),
            Err(_) => Ok(()),
        }
    }
}

/// Copies everything that a data directory holds, and that cannot be made again, into a new
/// directory. A server may be using the data directory.
pub async fn backup(data_dir: &Path, target: &Path) -> Result<(), Error> {
    let (data_dir, target) = (data_dir.to_owned(), target.to_owned());
    let copied = tokio::task::spawn_blocking(move || copy_data(&data_dir, &target)).await;
    copied.map_err(|error| Error::Io { what: "backup".into(), source: error.into() })?
}

/// The database first: a component that it names was stored before.
fn copy_data(data_dir: &Path, target: &Path) -> Result<(), Error> {
    std::fs::DirBuilder::new().mode(0o700).create(target).map_err(io(&format!("making {}", target.display())))?;
    storage::backup(data_dir, target)?;
    let components = target.join(ARTIFACTS_DIR);
    std::fs::create_dir(&components).map_err(io("components"))?;
    for entry in std::fs::read_dir(data_dir.join(ARTIFACTS_DIR)).map_err(io("components"))? {
        let entry = entry.map_err(io("components"))?;
        // Other names are files that are being written.
        if entry.file_name().to_str().is_some_and(|name| name.parse::<Digest>().is_ok()) {
            std::fs::copy(entry.path(), components.join(entry.file_name())).map_err(io("components"))?;
        }
    }
    for file in [SERVER_KEY_FILE, ADMIN_KEY_FILE, DEV_KEY_FILE] {
        let source: PathBuf = data_dir.join(file);
        if source.is_file() {
            std::fs::copy(&source, target.join(file)).map_err(io(file))?;
        }
    }
    Ok(())
}

/// How the schema of a data directory's database stands to this program. A server may be using it.
pub fn schema_versions(data_dir: &Path) -> Result<SchemaVersions, Error> {
    Ok(storage::schema_versions(data_dir)?)
}

fn io(what: &str) -> impl Fn(std::io::Error) -> Error {
    let what = what.to_owned();
    move |source| Error::Io { what: what.clone(), source }
}

fn admin_key(config: &Config, data_dir: &Path) -> Result<String, Error> {
    let file = data_dir.join(ADMIN_KEY_FILE);
    match &config.admin_key {
        Some(key) => Ok(key.0.clone()),
        None => Ok(secrets::load_or_create_text(&file, || secrets::new_api_key("dacapo_admin_"))?),
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let listener = TcpListener::bind(address).await.map_err(io(&format!("listening on {address}")))?;
    let address = listener.local_addr().map_err(io("listening"))?;
    Ok((listener, address))
}

fn worker_means(server: &Server, sandbox: Arc<dyn Sandbox>, public_url: String) -> worker::Means {
    worker::Means {
        storage: server.storage.clone(),
        sandbox,
        server_key: server.server_key.clone(),
        runs: server.runs.clone(),
        waitpoints: server.waitpoints.clone(),
        clock: server.clock.clone(),
        public_url,
    }
}

fn worker_limits(config: &Config) -> worker::Limits {
    worker::Limits {
        max_concurrent_runs: config.max_concurrent_runs as usize,
        attempts: attempt_limits(config),
        max_journal_bytes: config.max_journal_bytes,
        journal_retention: config.journal_retention,
        backtest_retention: config.backtest_retention,
        parked: worker::ParkLimits {
            max_instances: config.max_concurrent_runs as usize,
            max_bytes: config.parked_memory_bytes,
            max_time: config.parked_time,
        },
        grace: config.shutdown_grace,
    }
}

fn attempt_limits(config: &Config) -> AttemptLimits {
    AttemptLimits {
        default_max_duration: config.default_max_duration,
        max_host_wait: config.max_host_wait,
        scratch_bytes: config.scratch_quota_bytes,
    }
}

fn replay_limits(config: &Config) -> ReplayLimits {
    ReplayLimits { attempts: attempt_limits(config), recordings_kept: config.journal_retention }
}

/// The key of the data directory. One is made only while nothing is encrypted: a new key beside old
/// secrets would let every run fail that needs them, without saying why.
async fn server_key(storage: &Storage, given: Option<ServerKey>, data_dir: &Path) -> Result<ServerKey, Error> {
    let path = data_dir.join(SERVER_KEY_FILE);
    let newest = storage.keys().await?.pop();
    let key = match (given, &newest) {
        (Some(given), _) => given,
        (None, None) => ServerKey::load_or_create(&path)?,
        (None, Some(_)) => ServerKey::load(&path)?.ok_or(Error::ServerKey("the server key is missing"))?,
    };
    match newest {
        Some(newest) if !keys::opens(&key, &newest) => Err(Error::ServerKey("the server key is not the one")),
        Some(_) | None => Ok(key),
    }
}

/// Makes the environments of a new data directory, each with a key.
async fn make_environments(
    storage: &Storage,
    server_key: &ServerKey,
    clock: &Clock,
    data_dir: &Path,
) -> Result<Vec<(String, String)>, Error> {
    let mut made = Vec::new();
    for (slug, kind) in ENVIRONMENTS {
        let now = clock.now();
        let environment = Environment {
            id: secrets::environment_id(now),
            slug: slug.into(),
            kind,
            egress: EgressPolicy::default().rules().collect(),
            concurrency_limit: None,
            backtest_policy: None,
            branch: None,
            created_at: now,
        };
        if storage.insert_environment(environment.clone()).await? {
            let (_, key) = keys::create(storage, server_key, &environment, KeyKind::Root, now).await?;
            if slug == "dev" {
                secrets::load_or_create_text(&data_dir.join(DEV_KEY_FILE), || key.clone())?;
            }
            made.push((slug.into(), key));
        }
    }
    Ok(made)
}

struct ArtifactSource(Artifacts);

#[async_trait]
impl ComponentSource for ArtifactSource {
    async fn component(&self, digest: Digest) -> std::io::Result<Bytes> {
        self.0.get(digest).await
    }
}

/// The sandbox of runs, and the lane of replays.
type Sandboxes = (Arc<dyn Sandbox>, Arc<dyn Sandbox>);

fn wasm_sandboxes(config: &Config, server_key: &ServerKey, artifacts: Artifacts) -> Result<Sandboxes, Error> {
    let sandbox = wasm_sandbox(config, server_key, artifacts)?;
    let lane = sandbox.lane(backtest::MAX_CONCURRENT_REPLAYS, config.replay_memory_bytes);
    Ok((Arc::new(sandbox), Arc::new(lane)))
}

fn wasm_sandbox(config: &Config, server_key: &ServerKey, artifacts: Artifacts) -> Result<WasmSandbox, Error> {
    let sandbox = sandbox::Config {
        // As many as run, as many that wait in memory, and hooks.
        max_concurrent_calls: config.max_concurrent_runs.saturating_mul(2) + worker::hooks::MAX_CONCURRENT_HOOKS,
        max_concurrent_calls_in_lanes: backtest::MAX_GUESTS,
        guest_memory_bytes: config.max_task_memory_bytes,
        max_ready_components: MAX_READY_COMPONENTS,
        code_dir: Some(config.data_dir.join(CODE_DIR)),
        code_key: server_key.derive("dacapo 2026-11 compiled code"),
        scratch_dir: config.data_dir.join(SCRATCH_DIR),
        reads_debug_info: false,
    };
    Ok(WasmSandbox::new(sandbox, Arc::new(ArtifactSource(artifacts)))?)
}
