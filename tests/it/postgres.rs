//! A PostgreSQL server for one test: in a directory of its own, reached through a socket in it,
//! stopped and removed when it is dropped.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Where Debian's package puts the programs. `xtask/src/ci.rs` installs it.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// The user that the package makes. The server refuses to be run by root.
const USER: &str = "postgres";

/// A running server with an empty database.
pub struct Postgres {
    dir: TempDir,
}

impl Postgres {
    /// Starts a server.
    pub fn start() -> Self {
        assert!(
            Path::new(PROGRAMS).join("initdb").is_file(),
            "PostgreSQL is missing from {PROGRAMS}. This test needs Debian's package postgresql-15: \
             `apt-get install postgresql-15`, or `cargo xtask ci`, which installs it"
        );
        // Not where TMPDIR says: the path of a socket can have 107 bytes, and USER must be let in.
        let dir = tempfile::Builder::new().prefix("dacapo-pg-").tempdir_in("/tmp").expect("a temporary directory");
        let server = Self { dir };
        if is_root() {
            done(Command::new("chown").arg(USER).arg(server.dir.path()));
        }
        // The locale that our migrations ask for.
        done(server.program("initdb").args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]));
        let socket = server.dir.path().display();
        let options = format!("-c listen_addresses='' -c unix_socket_directories='{socket}' -c fsync=off");
        done(
            server.program("pg_ctl").args(["start", "--wait", "--log"]).arg(server.log()).args(["--options", &options]),
        );
        server
    }

    /// Runs a script of SQL and of psql's own commands in one session, and answers with the lines
    /// that it printed.
    pub fn run(&self, script: &str) -> Vec<String> {
        let file = self.dir.path().join("script.sql");
        std::fs::write(&file, script).expect("the directory can be written");
        let psql = ["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--file"];
        let output = done(self.program("psql").args(psql).arg(&file));
        String::from_utf8_lossy(&output.stdout).lines().map(Into::into).collect()
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// One of PostgreSQL's programs, by a user that is not root, told where the server is.
    fn program(&self, name: &str) -> Command {
        let program = Path::new(PROGRAMS).join(name);
        let mut command = if is_root() { Command::new("runuser") } else { Command::new(&program) };
        if is_root() {
            command.args(["-u", USER, "--"]).arg(&program);
        }
        command.current_dir(self.dir.path()).stdin(Stdio::null()).env_remove("PGUSER");
        command
            .env("PGDATA", self.dir.path().join("data"))
            .env("PGHOST", self.dir.path())
            .env("PGDATABASE", "postgres");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Fails where `start` did not get so far.
        let _ = self.program("pg_ctl").args(["stop", "--wait", "--mode=immediate"]).output();
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").expect("Linux").uid() == 0
}

/// What a program said that ended well.
#[track_caller]
fn done(command: &mut Command) -> Output {
    let output = command.output().expect("the program can be started");
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    assert!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&said));
    output
}
