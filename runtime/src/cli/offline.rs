//! A sandbox without a server: one component, in a directory that goes away.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{Usage, input};
use crate::api::{ChildrenPolicy, ReplayOptions, VariablesPolicy};
use crate::backtest::children::MAX_DEPTH;
use crate::backtest::file;
use crate::backtest::replay::{Options, Replayer, Target};
use crate::backtest::source::{Original, Source, Sources};
use crate::backtest::stubs;
use crate::context::AttemptLimits;
use crate::model::digest::Digest;
use crate::model::replay::Unmatched;
use crate::sandbox::context::Deployment;
use crate::sandbox::tape;
use crate::sandbox::{ComponentSource, Config, Sandbox, WasmSandbox};

/// Linear memory of the guest, which is what the largest machine has.
const GUEST_MEMORY_BYTES: u64 = 4 << 30;
/// What the server gives where nobody says.
const LIMITS: AttemptLimits = AttemptLimits {
    default_max_duration: Duration::from_secs(300),
    max_host_wait: Duration::from_secs(3_600),
    scratch_bytes: 512 << 20,
};

/// One component, ready to be executed.
pub(super) struct Workshop {
    /// Where it is executed.
    pub(super) sandbox: Arc<dyn Sandbox>,
    /// What is executed; the deployment is that of nobody.
    pub(super) target: Target,
    /// What asynchronous work is done on.
    pub(super) runtime: tokio::runtime::Runtime,
    // The last to go.
    _dir: Scratch,
}

impl Workshop {
    /// Compiles and checks the component of a file.
    pub(super) fn open(component: &Path) -> anyhow::Result<Self> {
        let shown = component.display();
        let bytes = std::fs::read(component);
        let bytes = Bytes::from(bytes.map_err(|error| Usage::new(format!("cannot read {shown}: {error}")))?);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let dir = Scratch::new()?;
        let config = Config {
            max_concurrent_calls: 1,
            // Those that are nested in the one.
            max_concurrent_calls_in_lanes: MAX_DEPTH,
            guest_memory_bytes: GUEST_MEMORY_BYTES,
            max_ready_components: 1,
            code_dir: None,
            code_key: [0; 32],
            scratch_dir: dir.0.join("scratch"),
            // It is the caller's own component, on the caller's own machine.
            reads_debug_info: true,
        };
        let sandbox = WasmSandbox::new(config, Arc::new(OneComponent(bytes.clone())))?;
        let inspected = runtime.block_on(sandbox.inspect(bytes));
        let inspected = inspected.map_err(|error| Usage::new(format!("{shown}: {error}")))?;
        let nobody = Deployment { id: String::new(), short_code: String::new(), version: "local".into() };
        let target = Target {
            component: inspected.digest,
            deployment: nobody,
            tasks: Arc::new(inspected.tasks.into_iter().map(|task| (task.id.clone(), Arc::new(task))).collect()),
            limits: LIMITS,
        };
        Ok(Self { sandbox: Arc::new(sandbox), target, runtime, _dir: dir })
    }

    /// Replays on the component; the guest is told that it is the version of the run.
    pub(super) fn replayer(&self, source: &Source, options: Options) -> Replayer {
        let version = source.context.run.version.clone();
        let nobody = Deployment { version, ..self.target.deployment.clone() };
        let deployment = source.context.deployment.clone().unwrap_or(nobody);
        Replayer::new(self.sandbox.clone(), Target { deployment, ..self.target.clone() }, options)
    }
}

/// How recordings are replayed here. Runs that are executed in place of those that a run triggered find their own
/// recordings among these files.
pub(super) fn options(how: &ReplayOptions, files: &[PathBuf]) -> Result<Options, Usage> {
    if how.variables == Some(VariablesPolicy::Current) {
        return Err(Usage::new("there is no environment here: --variables current is for replays on a server"));
    }
    let children = match how.children {
        Some(ChildrenPolicy::Execute) => Some(Arc::new(InFiles::read(files)) as Arc<dyn Sources>),
        Some(ChildrenPolicy::Recorded) | None => None,
    };
    Ok(Options {
        live: None,
        unmatched: how.unmatched.map(Unmatched::from).unwrap_or_default(),
        stubs: Arc::new(stubs::read(how.stubs.as_ref()).map_err(Usage::new)?),
        children,
        variables: tape::Variables::default(),
    })
}

/// The runs of recording files, by their ids.
struct InFiles(HashMap<String, PathBuf>);

impl InFiles {
    /// Those that can be read; what is wrong with the others is said when they are replayed themselves.
    fn read(files: &[PathBuf]) -> Self {
        let id = |path: &PathBuf| Some((recording(path).ok()?.source.context.run.id, path.clone()));
        Self(files.iter().filter_map(id).collect())
    }
}

#[async_trait]
impl Sources for InFiles {
    async fn source(&self, run: &str) -> Result<Option<Source>, String> {
        let Some(path) = self.0.get(run) else { return Ok(None) };
        recording(path).map(|original| Some(original.source)).map_err(|error| error.to_string())
    }
}

/// Reads a recording file.
pub(super) fn recording(path: &Path) -> Result<Original, Usage> {
    let text = input::read(path)?;
    file::read(&text).map_err(|error| Usage::new(format!("{}: {error}", path.display())))
}

struct OneComponent(Bytes);

#[async_trait]
impl ComponentSource for OneComponent {
    async fn component(&self, _: Digest) -> io::Result<Bytes> {
        Ok(self.0.clone())
    }
}

/// A directory of this process, which goes away with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        let base = std::env::temp_dir();
        let name = |number| base.join(format!("dacapo-{}-{number}", std::process::id()));
        let mut made = Err(io::ErrorKind::AlreadyExists.into());
        for number in 0..100 {
            // One that is there belongs to somebody else.
            made = std::fs::DirBuilder::new().mode(0o700).create(name(number)).map(|()| Self(name(number)));
            if made.as_ref().err().is_none_or(|error| error.kind() != io::ErrorKind::AlreadyExists) {
                break;
            }
        }
        made
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
