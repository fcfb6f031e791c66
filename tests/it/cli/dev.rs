//! `dacapo dev`, from the first build to the fix of a compile error.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use dacapo_tests::guests;
use serde_json::json;

use crate::program::{command, say, text};

/// How long a build may take, on a machine that does much else.
const BUILD_PATIENCE: Duration = Duration::from_secs(180);
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../sample-tasks");

/// A copy of the task `hello` in a workspace of its own, under a name that no other crate has: the
/// target directory is that of the guests, where what it needs is built already.
struct Folder {
    dir: PathBuf,
    source: String,
    /// Two runs of the tests may share a target directory.
    _lock: File,
}

impl Folder {
    fn make() -> Self {
        let base = Path::new(env!("CARGO_TARGET_TMPDIR")).canonicalize().expect("cargo makes it");
        let lock = File::create(base.join("dev-story.lock")).expect("the target directory can be written");
        lock.lock().expect("another run ends");
        let dir = base.join("dev-story");
        if dir.exists() {
            std::fs::remove_dir_all(&dir).expect("the last run's folder can be removed");
        }
        std::fs::create_dir_all(dir.join("src")).expect("the folder can be made");
        let read = |file: &str| std::fs::read_to_string(Path::new(SAMPLES).join(file)).expect("the samples are there");
        let profile = read("Cargo.toml").split_once("[profile.release]").expect("the samples have one").1.to_owned();
        let sdk = Path::new(SAMPLES).join("../sdk/rust").canonicalize().expect("the SDK is there");
        let manifest = read("hello/Cargo.toml")
            .replace("name = \"hello\"", "name = \"dev-story\"")
            .replace("version.workspace = true\n", "version = \"0.1.0\"\n")
            .replace("edition.workspace = true\n", "edition = \"2024\"\n")
            .replace("license.workspace = true\n", "")
            .replace("publish.workspace = true\n", "")
            .replace("dacapo.workspace = true", &format!("dacapo = {{ path = {sdk:?} }}"))
            .replace("serde.workspace = true", "serde = { version = \"1.0.228\", features = [\"derive\"] }");
        let manifest = format!("{manifest}\n[workspace]\n\n[profile.release]{profile}");
        std::fs::write(dir.join("Cargo.toml"), manifest).expect("the folder can be written");
        std::fs::write(dir.join("Cargo.lock"), read("Cargo.lock")).expect("the folder can be written");
        let folder = Self { dir, source: read("hello/src/lib.rs"), _lock: lock };
        folder.save(&[]);
        folder
    }

    /// Saves the source with other words in it.
    fn save(&self, changes: &[(&str, &str)]) {
        let mut source = self.source.clone();
        for (from, to) in changes {
            assert!(source.contains(from), "{source}");
            source = source.replace(from, to);
        }
        std::fs::write(self.dir.join("src/lib.rs"), source).expect("it can be written");
    }
}

/// `dacapo dev` at work. It and all it started are killed when this is dropped.
struct Dev {
    child: Child,
    lines: Receiver<String>,
    transcript: Vec<String>,
    /// Lines that were waited for already.
    told: usize,
}

impl Dev {
    fn start(dir: &Path) -> Self {
        let (mut dev, (sender, lines)) = (command(&["dev"]), channel());
        let target = Path::new(guests::SAMPLE_HELLO).ancestors().nth(3).expect("it lies in the guests' target");
        dev.arg(dir)
            .args(["--listen", "127.0.0.1:0"])
            .env("CARGO_TARGET_DIR", target)
            .env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_TERM_COLOR", "never")
            .process_group(0);
        // Flags that were meant for the host are not for guests.
        for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER"] {
            dev.env_remove(name);
        }
        let mut child = dev.spawn().expect("dacapo can be started");
        forward(child.stdout.take().expect("it is piped"), sender.clone());
        forward(child.stderr.take().expect("it is piped"), sender);
        Self { child, lines, transcript: Vec::new(), told: 0 }
    }

    /// Waits until lines after those of the last wait say all of this; the one that says the first.
    #[track_caller]
    fn until(&mut self, parts: &[&str]) -> String {
        let deadline = Instant::now() + BUILD_PATIENCE;
        loop {
            let new = &self.transcript[self.told..];
            if parts.iter().all(|part| new.iter().any(|line| line.contains(part))) {
                let first = new.iter().find(|line| line.contains(parts[0])).expect("it is there").clone();
                self.told = self.transcript.len();
                return first;
            }
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.transcript.push(line),
                Err(error) => panic!("{parts:?} was not said ({error}):\n{}", self.transcript.join("\n")),
            }
        }
    }

    /// Sends a signal to the program, or to all it started.
    fn signal(&self, signal: &str, to: &str) {
        let whom = format!("{to}{}", self.child.id());
        let _ = Command::new("kill").args([signal, "--", &whom]).status();
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Its id is not another's while it has not been waited for.
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.signal("-KILL", "-");
            let _ = self.child.wait();
        }
    }
}

fn forward(stream: impl Read + Send + 'static, to: Sender<String>) {
    thread::spawn(move || BufReader::new(stream).lines().map_while(Result::ok).try_for_each(|line| to.send(line)));
}

#[test]
fn dev_builds_serves_and_deploys_again_on_change_and_a_compile_error_leaves_what_runs() {
    let folder = Folder::make();
    let mut dev = Dev::start(&folder.dir);
    let url = dev.until(&["listening on http://127.0.0.1:"]).replace("listening on ", "");
    let data_dir = folder.dir.join(".dacapo");
    let ask = |arguments: &[&str]| say(&data_dir, &url, &[arguments, &["--json"]].concat()).ended(0).json();
    let current = || text(&ask(&["deployments", "get"])["version"]);
    let greeting = || text(&ask(&["trigger", "hello", "{\"name\": \"Ada\"}", "--wait"])["output"]);

    let explained = format!("dacapo trigger hello '{{}}' --wait --url {url} --data-dir '{}'", data_dir.display());
    let deployed = dev.until(&["  dev-story  ✓ ", &explained, "; Ctrl-C stops"]);
    let first = current();
    assert!(deployed.contains(&format!("✓ {first}  hello  built in ")), "{deployed}");
    assert_eq!(greeting(), "\"Hello, Ada!\"");
    dev.until(&["  hello  completed  run_"]);

    folder.save(&[("Hello", "Goodbye")]);
    let deployed = dev.until(&["  dev-story  ✓ "]);
    let second = current();
    assert!(second != first && deployed.contains(&second), "{deployed}");
    assert_eq!(greeting(), "\"Goodbye, Ada!\"");

    folder.save(&[("Ok(", "Ok(missing_function(")]);
    dev.until(&["  dev-story  ✗ not built; what runs goes on", "error: mismatched closing delimiter", "src/lib.rs:"]);
    assert_eq!((current(), greeting()), (second.clone(), "\"Goodbye, Ada!\"".to_owned()));

    folder.save(&[("Hello", "Welcome")]);
    dev.until(&["  dev-story  ✓ "]);
    assert_eq!(greeting(), "\"Welcome, Ada!\"");
    folder.save(&[("Hello", "Welcome"), ("//! The smallest task", "//! Quite a small task")]);
    dev.until(&["nothing new to deploy"]);

    folder.save(&[("task(\"hello\", hello)", "task(\"\", hello)")]);
    dev.until(&["  dev-story  ✗ not deployed:"]);
    assert_eq!(greeting(), "\"Welcome, Ada!\"");
    let versions = ask(&["deployments", "list"]);
    assert_eq!(versions["data"].as_array().map(Vec::len), Some(3), "{versions}");
    assert_eq!(versions["data"][1]["version"], json!(second));

    dev.signal("-TERM", "");
    assert_eq!(dev.child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn dev_says_what_a_folder_needs() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dev = |folder: &Path| -> crate::program::Said {
        let mut dev = command(&["dev", "--listen", "127.0.0.1:0"]);
        dev.arg(folder).output().expect("dacapo can be started").into()
    };
    dev(dir.path()).ended(2).says("there are no task crates in").says("crate-type = [\"cdylib\"]");
    dev(&dir.path().join("missing")).ended(2).says("cannot open");
    assert!(!dir.path().join(".dacapo").exists(), "nothing was made");
}
