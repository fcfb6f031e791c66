//! The real program: found or built, started on a data directory, and spoken to as people do.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The program under test: `DACAPO_BIN`, or what cargo builds now, since cargo builds it for the tests
/// of its own package only. The whole workspace, because with less of it cargo unites other features
/// and would build half of the dependencies again.
pub fn dacapo() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        if let Some(built) = std::env::var_os("DACAPO_BIN") {
            return built.into();
        }
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it lies within the target directory");
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--locked", "--workspace", "--bins", "--tests", "--target-dir"])
            .arg(target)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .status()
            .expect("cargo can be started");
        assert!(built.success(), "dacapo does not build");
        target.join("debug/dacapo")
    })
}

/// `dacapo` with these arguments, with nothing to read and no settings of this machine.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(dacapo());
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["DACAPO_", "TRIGGER_", "CLICOLOR", "NO_COLOR"].iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&*name);
        }
    }
    command
}

/// `dacapo server` on a port that is free, with these arguments before it.
pub fn server_command(data_dir: &Path, arguments: &[&str]) -> Command {
    let mut command = command(arguments);
    command.args(["server", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir).env("DACAPO_LOG", "warn");
    command
}

/// A server process. Killed when it is dropped.
pub struct Server {
    pub child: Child,
    pub url: String,
}

impl Server {
    pub fn start(data_dir: &Path) -> Self {
        let mut child =
            server_command(data_dir, &["--json"]).stderr(Stdio::inherit()).spawn().expect("dacapo can be started");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let about: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("the server says where it is: {line}"));
        Self { child, url: about["url"].as_str().expect("an address").to_owned() }
    }

    /// `SIGKILL`: no chance to tidy up.
    pub fn kill(mut self) {
        self.child.kill().expect("the process is there");
        self.child.wait().expect("it ends");
    }

    /// `SIGTERM`; answers with the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success(), "the signal was sent");
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A data directory that does not exist yet, within a directory that goes away.
pub fn data_dir() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("data");
    (dir, path)
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// This command must have ended with this code.
    #[track_caller]
    pub fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// What standard output says as one JSON document, beside which nothing was said.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.stderr, "", "machines get the document and nothing else: {self:#?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The error body on standard error, beside which nothing was said.
    #[track_caller]
    pub fn error(&self) -> Value {
        assert_eq!(self.stdout, "", "an error is no result: {self:#?}");
        let body: Value = serde_json::from_str(&self.stderr).unwrap_or_else(|error| panic!("{error}: {self:#?}"));
        assert!(body["error"].as_str().is_some_and(|text| !text.is_empty()), "{self:#?}");
        body
    }

    /// Both streams.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Both streams say this.
    #[track_caller]
    pub fn says(&self, part: &str) -> &Self {
        assert!(self.text().contains(part), "`{part}` is missing: {self:#?}");
        self
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

/// Runs a command to its end, with this on its standard input.
pub fn hear(mut command: Command, input: &str) -> Said {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("dacapo can be started");
    let mut stdin = child.stdin.take().expect("it is piped");
    // A command that refuses its arguments does not read.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends").into()
}

/// A command for a server, with the keys of a data directory.
pub fn client_command(data_dir: &Path, url: &str, arguments: &[&str]) -> Command {
    let mut command = command(arguments);
    command.arg("--data-dir").arg(data_dir).args(["--url", url]);
    command
}

/// What a command says to a server, with the keys of a data directory.
pub fn say(data_dir: &Path, url: &str, arguments: &[&str]) -> Said {
    client_command(data_dir, url, arguments).output().expect("dacapo can be started").into()
}

/// A person beside a server of their own.
pub struct Desk {
    pub server: Server,
    pub data_dir: PathBuf,
    pub dir: tempfile::TempDir,
}

impl Desk {
    pub fn new() -> Self {
        let (dir, data_dir) = data_dir();
        Self { server: Server::start(&data_dir), data_dir, dir }
    }

    /// A command for the server.
    pub fn command(&self, arguments: &[&str]) -> Command {
        client_command(&self.data_dir, &self.server.url, arguments)
    }

    /// What a command says.
    pub fn say(&self, arguments: &[&str]) -> Said {
        say(&self.data_dir, &self.server.url, arguments)
    }

    /// What a command says that does what was asked.
    #[track_caller]
    pub fn does(&self, arguments: &[&str]) -> Said {
        self.say(arguments).ended(0)
    }

    /// What a command says to machines that does what was asked.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        self.does(&[arguments, &["--json"]].concat()).json()
    }

    /// Deploys a component under a name; its version.
    #[track_caller]
    pub fn deploy(&self, name: &str, guest: &str) -> String {
        text(&self.json(&["deploy", guest, "--name", name])["deployment"]["version"])
    }

    /// A file beside the data directory.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).expect("the directory can be written");
        path.display().to_string()
    }
}

/// A JSON text as text.
#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}
