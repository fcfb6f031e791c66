//! A real server process: started, asked where it listens, stopped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// What the line has in it with which a ready server says where it is, whatever stands around it.
const ADDRESS: &str = "http://127.0.0.1:";
/// Longest start: opening a large database and checking it takes its time.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest stop: the grace that running tasks get, and some.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);

/// A running server. Dropped, it is killed.
pub(crate) struct Server {
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    pid: Pid,
    data_dir: PathBuf,
    ended: Receiver<ExitStatus>,
    running: Arc<Mutex<Option<Pid>>>,
}

/// Makes a fresh, empty directory for a server's data.
pub(crate) fn fresh_dir(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("could not empty {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("could not make {}", dir.display()))
}

impl Server {
    /// Starts a server on a free port, or on `listen`, and returns when it is ready. What it logs
    /// goes into a file beside its data directory.
    pub(crate) fn start(binary: &Path, data_dir: &Path, listen: Option<&str>) -> Result<Self> {
        let listen = listen.unwrap_or("127.0.0.1:0");
        Self::start_with(binary, data_dir, &["--listen", listen])
    }

    /// The same, with these settings.
    pub(crate) fn start_with(binary: &Path, data_dir: &Path, settings: &[&str]) -> Result<Self> {
        let mut command = Command::new(binary);
        // Machines get the address on standard output.
        command.args(["--json", "server"]).args(settings).arg("--data-dir").arg(data_dir);
        Self::spawn(command, data_dir)
    }

    /// Starts any program that says where it listens as ours does.
    pub(crate) fn spawn(mut command: Command, data_dir: &Path) -> Result<Self> {
        let log_path = data_dir.with_extension("log");
        let log = File::create(&log_path)?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            // Ctrl-C is ours to pass on: two signals would tell the server to hurry.
            .process_group(0)
            .spawn()
            .with_context(|| format!("could not start {}", command.get_program().display()))?;
        let pid = Pid::from_child(&child);
        let address = first_address(&mut child, log)?;
        let running = Arc::new(Mutex::new(Some(pid)));
        let ended = wait_in_background(child, running.clone());
        let url = match address.recv_timeout(START_TIMEOUT) {
            Ok(address) => address,
            Err(_) => {
                let _ = kill_process(pid, Signal::KILL);
                let log = fs::read_to_string(&log_path).unwrap_or_default();
                bail!("the server did not become ready; it said:\n{}", tail(&log, 20));
            }
        };
        Ok(Self { url, pid, data_dir: data_dir.to_owned(), ended, running })
    }

    /// The key of an environment: `dev`, `stg` or `prod`.
    pub(crate) fn key(&self, environment: &str) -> Result<String> {
        let path = self.data_dir.join(format!("{environment}.key"));
        let key = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        Ok(key.trim().to_owned())
    }

    /// The process.
    pub(crate) fn pid(&self) -> String {
        self.pid.as_raw_nonzero().to_string()
    }

    /// Memory of the process that is in RAM now, in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid.as_raw_nonzero()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: u64 = kib.context("the kernel says nothing about VmRSS")?.trim().parse()?;
        Ok(kib * 1024)
    }

    /// Asks the server to end, as an operator would, and waits for it.
    pub(crate) fn stop(self) -> Result<()> {
        self.interrupter().interrupt();
        let status = self.ended.recv_timeout(STOP_TIMEOUT).context("the server does not stop when it is told to")?;
        if !status.success() {
            bail!("the server ended with {status}");
        }
        Ok(())
    }

    /// Waits until the server ends, for whatever reason.
    pub(crate) fn wait(&self) -> Result<ExitStatus> {
        self.ended.recv().context("the server's end was seen already")
    }

    /// What can ask the server to end from another thread.
    pub(crate) fn interrupter(&self) -> Interrupter {
        Interrupter(self.running.clone())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(running) = self.running.lock()
            && let Some(pid) = *running
        {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Asks a server to end.
pub(crate) struct Interrupter(Arc<Mutex<Option<Pid>>>);

impl Interrupter {
    /// Does so, if it has not ended.
    pub(crate) fn interrupt(&self) {
        if let Ok(running) = self.0.lock()
            && let Some(pid) = *running
        {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

/// Reads the server's output for as long as there is any, so that it never blocks on it, and sends
/// the first address that it names.
fn first_address(child: &mut Child, mut log: File) -> Result<Receiver<String>> {
    let stdout = child.stdout.take().context("the server's output is a pipe")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = writeln!(log, "{line}");
            if let Some((_, rest)) = line.split_once(ADDRESS) {
                let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
                // The receiver is gone once it has its address.
                let _ = sender.send(format!("{ADDRESS}{port}"));
            }
        }
    });
    Ok(receiver)
}

fn wait_in_background(mut child: Child, running: Arc<Mutex<Option<Pid>>>) -> Receiver<ExitStatus> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let status = child.wait();
        if let Ok(mut running) = running.lock() {
            *running = None;
        }
        if let Ok(status) = status {
            let _ = sender.send(status);
        }
    });
    receiver
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
