//! What this machine offers. Reads and writes nothing but a probe file in the data directory.

use std::cmp::Ordering;
use std::fs::{File, TryLockError};
use std::io::Read;
use std::path::Path;

use jiff::civil;
use jiff::tz::TimeZone;
use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::app;
use crate::cli::output::{local_time, now, size};
use crate::cli::toolchain::{self, TARGET};

/// Below this, runs fail soon.
const MIN_DISK_BYTES: u64 = 256 * 1024 * 1024;
/// Below this, it is time to do something.
const GOOD_DISK_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Files a busy server has open: connections, components, scratch directories.
const GOOD_OPEN_FILES: u64 = 4_096;
/// How every SQLite database begins.
const SQLITE_MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Tasks can be built. Servers need no toolchain.
pub(super) fn toolchain() -> Finding {
    match toolchain::check(Path::new(".")) {
        Ok(version) => Finding::good("rust", format!("{version}, with {TARGET}")),
        Err(missing) => Finding::warning("rust", missing.to_string(), "only needed where tasks are built"),
    }
}

/// The data directory can be written.
pub(super) fn data_dir(dir: &Path) -> Finding {
    let shown = dir.display();
    if !dir.exists() {
        return Finding::good("data directory", format!("{shown} does not exist; the first start makes it"));
    }
    let probe = dir.join(format!(".doctor-{}", std::process::id()));
    let written = std::fs::write(&probe, b"probe").and_then(|()| std::fs::remove_file(&probe));
    match written {
        Ok(()) => Finding::good("data directory", format!("{shown} can be written")),
        Err(error) => Finding::bad(
            "data directory",
            format!("{shown} cannot be written: {error}"),
            "make it belong to the user that runs the server, or name another with --data-dir",
        ),
    }
}

/// The database is one that this program can use, and whether a server has it.
pub(super) fn database(dir: &Path) -> Finding {
    let path = dir.join("dacapo.db");
    let mut magic = [0; SQLITE_MAGIC.len()];
    let read = File::open(&path).and_then(|mut file| file.read_exact(&mut magic));
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Finding::good("database", "there is none yet; the first start makes it")
        }
        Err(error) => Finding::bad(
            "database",
            format!("{} cannot be read: {error}", path.display()),
            "give the user that runs the server access to it, or restore a backup",
        ),
        Ok(()) if magic != *SQLITE_MAGIC => Finding::bad(
            "database",
            format!("{} is not a database", path.display()),
            "restore a backup, or name another data directory with --data-dir",
        ),
        Ok(()) => match app::schema_versions(dir) {
            Ok(schema) => {
                let shown = format!("{} ({})", path.display(), in_use(dir));
                schema_verdict(schema.found, schema.known, &shown)
            }
            Err(error) => Finding::bad(
                "database",
                format!("{} cannot be read: {error}", path.display()),
                "give the user that runs the server access to it, or restore a backup",
            ),
        },
    }
}

/// What a start would make of a schema of version `found`, where this program knows `known`.
fn schema_verdict(found: usize, known: usize, shown: &str) -> Finding {
    match found.cmp(&known) {
        Ordering::Equal => Finding::good("database", format!("{shown}, schema {found}")),
        Ordering::Less => Finding::warning(
            "database",
            format!("{shown}, schema {found}: the next start of this program brings it to {known}"),
            "an older dacapo cannot use it afterwards: make a backup first, with `dacapo backup`",
        ),
        Ordering::Greater => Finding::bad(
            "database",
            format!("{shown}, schema {found}: it was written by a newer dacapo, this program knows {known}"),
            "install that version or restore an older backup",
        ),
    }
}

fn in_use(dir: &Path) -> &'static str {
    // Held for no longer than this function lasts.
    match File::open(dir.join("dacapo.lock")).map(|file| file.try_lock_shared()) {
        Ok(Err(TryLockError::WouldBlock)) => "a server uses it now",
        Ok(Ok(()) | Err(TryLockError::Error(_))) | Err(_) => "no server uses it now",
    }
}

/// There is room for runs, components and scratch directories.
pub(super) fn disk_space(dir: &Path) -> Finding {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.into());
    let existing = absolute.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let Ok(space) = rustix::fs::statvfs(existing) else {
        return Finding::warning("disk space", "cannot be found out", "see for yourself with `df`");
    };
    disk_verdict(space.f_bavail.saturating_mul(space.f_frsize), existing)
}

fn disk_verdict(free_bytes: u64, dir: &Path) -> Finding {
    let detail = format!("{} free at {}", size(free_bytes), dir.display());
    let advice = "free some, or move the data directory to a larger disk";
    match free_bytes {
        0..MIN_DISK_BYTES => Finding::bad("disk space", detail, advice),
        MIN_DISK_BYTES..GOOD_DISK_BYTES => Finding::warning("disk space", detail, advice),
        _ => Finding::good("disk space", detail),
    }
}

/// Instances of tasks live in address space that is reserved at the start, and mostly never used.
pub(super) fn address_space() -> Finding {
    match getrlimit(Resource::As).current {
        None => Finding::good("address space", "unlimited"),
        Some(bytes) => Finding::bad(
            "address space",
            format!("limited to {}: the server reserves more than that, without using it", size(bytes)),
            "run `ulimit -v unlimited` before the server (systemd: LimitAS=infinity)",
        ),
    }
}

/// Strict accounting of memory may refuse such reservations.
pub(super) fn overcommit() -> Finding {
    match std::fs::read_to_string("/proc/sys/vm/overcommit_memory") {
        Ok(mode) if mode.trim() == "2" => Finding::warning(
            "overcommit",
            "vm.overcommit_memory is 2: memory may be refused although there is some",
            "if the server does not start, set it to 0: sysctl vm.overcommit_memory=0",
        ),
        Ok(mode) => Finding::good("overcommit", format!("vm.overcommit_memory is {}", mode.trim())),
        Err(_) => Finding::good("overcommit", "not a setting of this system"),
    }
}

/// Connections and components are open files.
pub(super) fn open_files() -> Finding {
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < GOOD_OPEN_FILES => Finding::warning(
            "open files",
            format!("limited to {limit}"),
            format!("run `ulimit -n {GOOD_OPEN_FILES}` before the server (systemd: LimitNOFILE=)"),
        ),
        Some(limit) => Finding::good("open files", format!("limited to {limit}")),
        None => Finding::good("open files", "unlimited"),
    }
}

/// Ids, versions and schedules need a clock that is about right.
pub(super) fn clock() -> Finding {
    let now = now();
    let sane = civil::date(2025, 1, 1)..civil::date(2100, 1, 1);
    if sane.contains(&now.to_zoned(TimeZone::UTC).date()) {
        Finding::good("clock", local_time(now))
    } else {
        Finding::bad("clock", format!("it says {}", local_time(now)), "set it, best with NTP: timedatectl set-ntp true")
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn little_disk_space_is_reported_before_there_is_none() {
        let state = |bytes| disk_verdict(bytes, Path::new("/")).state;
        assert_eq!(state(0), State::Bad);
        assert_eq!(state(MIN_DISK_BYTES), State::Warning);
        assert_eq!(state(GOOD_DISK_BYTES), State::Good);
    }

    #[test]
    fn a_newer_schema_is_bad_and_an_older_one_worth_a_warning() {
        let state = |found| schema_verdict(found, 2, "here").state;
        assert_eq!(state(1), State::Warning);
        assert_eq!(state(2), State::Good);
        assert_eq!(state(3), State::Bad);
    }

    #[test]
    fn a_database_is_recognised_by_how_it_begins() {
        let dir = std::env::temp_dir().join(format!("dacapo-doctor-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        assert_eq!(database(&dir).state, State::Good);
        std::fs::write(dir.join("dacapo.db"), b"this is not a database").unwrap();
        assert_eq!(database(&dir).state, State::Bad);
        std::fs::write(dir.join("dacapo.db"), SQLITE_MAGIC).unwrap();
        assert_eq!(database(&dir).state, State::Bad, "more than the beginning is needed");
        assert_eq!(data_dir(&dir).state, State::Good);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
