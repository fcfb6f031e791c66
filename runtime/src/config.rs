//! What an operator can set: read raw from flags, environment and file, then checked.
//!
//! A flag wins over an environment variable, that over the file, that over the default. Unknown
//! keys of the file are errors. The rest of the program sees only the checked [`Config`].

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use crate::model::admission::DefaultTtl;
use crate::model::duration;
use crate::model::limits::{MAX_FEED_HOLD, MAX_RATE};
use crate::secrets::ServerKey;

/// How long a run of an environment for development waits in its queue, where nobody says.
const DEVELOPMENT_TTL: Duration = Duration::from_secs(600);

/// The settings of a server, as they are written.
#[derive(Debug, Default, Clone, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ServerArgs {
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:3040]
    #[arg(long, env = "DACAPO_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Directory of the database, the components and the keys [default: dacapo-data]
    #[arg(long, env = "DACAPO_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Most attempts that run at the same time [default: 200]
    #[arg(long, env = "DACAPO_MAX_CONCURRENT_RUNS", value_name = "N")]
    pub max_concurrent_runs: Option<u32>,
    /// Most runs of an environment that may wait to start; more are refused [default: 1000000]
    #[arg(long, env = "DACAPO_MAX_WAITING_RUNS", value_name = "N")]
    pub max_waiting_runs: Option<u64>,
    /// How long a run may wait in its queue before it expires, where neither the trigger nor the task says; 0 for ever
    /// [default: 10m in environments for development, for ever in others]
    #[arg(long, env = "DACAPO_DEFAULT_TTL", value_name = "DURATION")]
    pub default_ttl: Option<String>,
    /// CPU time of an attempt whose task does not say [default: 5m]
    #[arg(long, env = "DACAPO_DEFAULT_MAX_DURATION", value_name = "DURATION")]
    pub default_max_duration: Option<String>,
    /// How long an attempt may wait in host calls, beyond its CPU time [default: 1h]
    #[arg(long, env = "DACAPO_MAX_HOST_WAIT", value_name = "DURATION")]
    pub max_host_wait: Option<String>,
    /// Files that an attempt may write [default: 512MiB]
    #[arg(long, env = "DACAPO_SCRATCH_QUOTA", value_name = "SIZE")]
    pub scratch_quota: Option<String>,
    /// Memory of all tasks together [default: three quarters of the machine's]
    #[arg(long, env = "DACAPO_MAX_TASK_MEMORY", value_name = "SIZE")]
    pub max_task_memory: Option<String>,
    /// Memory in which instances of waiting runs stay, so that they go on at once; 0 for none [default: 256MiB]
    #[arg(long, env = "DACAPO_PARKED_MEMORY", value_name = "SIZE")]
    pub parked_memory: Option<String>,
    /// Memory of the tasks that are replayed in the sandbox, all together, beside that of runs [default: 1GiB]
    #[arg(long, env = "DACAPO_REPLAY_MEMORY", value_name = "SIZE")]
    pub replay_memory: Option<String>,
    /// How long the instance of a waiting run stays in memory; 0s for not at all [default: 30s]
    #[arg(long, env = "DACAPO_PARKED_TIME", value_name = "DURATION")]
    pub parked_time: Option<String>,
    /// Most bytes of the journal of an attempt. One that passes them cannot be replayed, and goes on after a wait only
    /// while its instance stays in memory; else the attempt fails. 0 for no journals [default: 16MiB]
    #[arg(long, env = "DACAPO_MAX_JOURNAL", value_name = "SIZE")]
    pub max_journal: Option<String>,
    /// How long the journal of a run is kept after its end; 0 for not at all [default: 30d]
    #[arg(long, env = "DACAPO_JOURNAL_RETENTION", value_name = "DURATION")]
    pub journal_retention: Option<String>,
    /// How long a backtest is kept after its end, with excerpts of what differed [default: 30d]
    #[arg(long, env = "DACAPO_BACKTEST_RETENTION", value_name = "DURATION")]
    pub backtest_retention: Option<String>,
    /// Where others reach this server: the beginning of the URLs that tasks are given
    /// [default: http:// and the address it listens on]
    #[arg(long, env = "DACAPO_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// Requests a second that each API key may send to /api routes; more are answered 429; 0 for no limit, because a
    /// server's keys belong to one operator [default: 0]
    #[arg(long, env = "DACAPO_RATE_LIMIT", value_name = "N")]
    pub rate_limit: Option<u32>,
    /// Requests that it may send at once, where there is such a limit [default: twice the limit]
    #[arg(long, env = "DACAPO_RATE_LIMIT_BURST", value_name = "N")]
    pub rate_limit_burst: Option<u32>,
    /// How long a shutdown waits for running attempts [default: 30s]
    #[arg(long, env = "DACAPO_SHUTDOWN_GRACE", value_name = "DURATION")]
    pub shutdown_grace: Option<String>,
    /// A file with these settings (TOML, the names without the dashes in front)
    #[arg(long, env = "DACAPO_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Print the settings that are in effect, secrets masked, and exit
    #[arg(long)]
    #[serde(skip)]
    pub print_config: bool,
    /// 64 hexadecimal digits that encrypt secrets at rest [default: made once, in server.key]
    #[arg(long, env = "DACAPO_SERVER_KEY", hide_env_values = true, value_name = "HEX")]
    #[serde(skip)]
    pub server_key: Option<String>,
    /// The key of the operator [default: made once, in admin.key]
    #[arg(long, env = "DACAPO_ADMIN_KEY", hide_env_values = true, value_name = "KEY")]
    #[serde(skip)]
    pub admin_key: Option<String>,
}

/// The checked settings of a server.
#[derive(Debug)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Attempts at a time.
    pub max_concurrent_runs: u32,
    /// Runs of an environment that may wait to start.
    pub max_waiting_runs: u64,
    /// How long a run may wait in its queue where nobody says.
    pub default_ttl: DefaultTtl,
    /// CPU time of an attempt whose task does not say.
    pub default_max_duration: Duration,
    /// Wall time of an attempt beyond its CPU time.
    pub max_host_wait: Duration,
    /// Files of an attempt.
    pub scratch_quota_bytes: u64,
    /// Linear memory of all attempts.
    pub max_task_memory_bytes: u64,
    /// Memory of the instances of waiting runs.
    pub parked_memory_bytes: u64,
    /// Linear memory of all replays.
    pub replay_memory_bytes: u64,
    /// How long they stay.
    pub parked_time: Duration,
    /// Journal of an attempt; 0: none.
    pub max_journal_bytes: usize,
    /// How long a journal is kept after the end of its run; 0: not at all.
    pub journal_retention: Duration,
    /// How long a backtest is kept after its end.
    pub backtest_retention: Duration,
    /// `http` or `https`, a host, perhaps a port and a path, without a slash at the end. `None`: where it
    /// listens.
    pub public_url: Option<String>,
    /// How often a key may ask; `None`: as often as it likes.
    pub rate_limit: Option<RateLimit>,
    /// How long a shutdown waits.
    pub shutdown_grace: Duration,
    /// How long a realtime request is held while nothing changes: [`MAX_FEED_HOLD`], unless a test
    /// has less patience.
    pub feed_hold: Duration,
    /// Encrypts secrets at rest; `None`: the data directory's own.
    pub server_key: Option<ServerKey>,
    /// The operator's key; `None`: the data directory's own.
    pub admin_key: Option<AdminKey>,
}

/// How often a key may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests a second, 1 at least.
    pub per_second: u32,
    /// Requests at once, 1 at least.
    pub burst: u32,
}

/// The operator's key. Never printed.
#[derive(Clone)]
pub struct AdminKey(pub String);

impl std::fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminKey(…)")
    }
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path}: {problem}")]
    Syntax {
        /// The file.
        path: String,
        /// Why.
        problem: String,
    },
    /// A setting has a wrong value.
    #[error("`{name}`: {problem}")]
    Value {
        /// The setting.
        name: &'static str,
        /// What to write.
        problem: String,
    },
}

/// The shortest admin key that is accepted.
const MIN_ADMIN_KEY_CHARS: usize = 24;

impl ServerArgs {
    /// Reads the file, if there is one, fills in the defaults and checks everything.
    pub fn into_config(self) -> Result<Config, Error> {
        let args = match self.config.clone() {
            Some(path) => self.or(read(&path)?),
            None => self,
        };
        let listen = args.listen.unwrap_or_else(|| "127.0.0.1:3040".into());
        let machine_memory = rustix::system::sysinfo();
        let machine_bytes = machine_memory.totalram as u64 * u64::from(machine_memory.mem_unit);
        let server_key = args.server_key.map(|hex| ServerKey::parse(&hex).ok_or(hex)).transpose();
        Ok(Config {
            listen: listen
                .parse()
                .map_err(|_| wrong("listen", "write an address and a port, such as 127.0.0.1:3040"))?,
            data_dir: args.data_dir.unwrap_or_else(|| "dacapo-data".into()),
            max_concurrent_runs: within("max-concurrent-runs", args.max_concurrent_runs.unwrap_or(200), 1, 2_000)?,
            max_waiting_runs: args.max_waiting_runs.unwrap_or(1_000_000),
            default_max_duration: length("default-max-duration", args.default_max_duration, 300)?,
            default_ttl: default_ttl(args.default_ttl)?,
            max_host_wait: length("max-host-wait", args.max_host_wait, 3_600)?,
            scratch_quota_bytes: size("scratch-quota", args.scratch_quota, 512 << 20)?,
            max_task_memory_bytes: size("max-task-memory", args.max_task_memory, machine_bytes / 4 * 3)?,
            parked_memory_bytes: size("parked-memory", args.parked_memory, 256 << 20)?,
            replay_memory_bytes: size("replay-memory", args.replay_memory, 1 << 30)?,
            parked_time: length("parked-time", args.parked_time, 30)?,
            max_journal_bytes: usize::try_from(size("max-journal", args.max_journal, 16 << 20)?).unwrap_or(usize::MAX),
            journal_retention: retention("journal-retention", args.journal_retention)?,
            backtest_retention: retention("backtest-retention", args.backtest_retention)?,
            public_url: args.public_url.map(public_url).transpose()?,
            rate_limit: rate_limit(args.rate_limit, args.rate_limit_burst)?,
            shutdown_grace: length("shutdown-grace", args.shutdown_grace, 30)?,
            feed_hold: MAX_FEED_HOLD,
            server_key: server_key.map_err(|_| wrong("server-key", "write 64 hexadecimal digits"))?,
            admin_key: args.admin_key.map(admin_key).transpose()?,
        })
    }

    /// These settings, and those of `other` where there are none.
    fn or(self, other: Self) -> Self {
        Self {
            listen: self.listen.or(other.listen),
            data_dir: self.data_dir.or(other.data_dir),
            max_concurrent_runs: self.max_concurrent_runs.or(other.max_concurrent_runs),
            max_waiting_runs: self.max_waiting_runs.or(other.max_waiting_runs),
            default_max_duration: self.default_max_duration.or(other.default_max_duration),
            default_ttl: self.default_ttl.or(other.default_ttl),
            max_host_wait: self.max_host_wait.or(other.max_host_wait),
            scratch_quota: self.scratch_quota.or(other.scratch_quota),
            max_task_memory: self.max_task_memory.or(other.max_task_memory),
            parked_memory: self.parked_memory.or(other.parked_memory),
            replay_memory: self.replay_memory.or(other.replay_memory),
            parked_time: self.parked_time.or(other.parked_time),
            max_journal: self.max_journal.or(other.max_journal),
            journal_retention: self.journal_retention.or(other.journal_retention),
            backtest_retention: self.backtest_retention.or(other.backtest_retention),
            public_url: self.public_url.or(other.public_url),
            rate_limit: self.rate_limit.or(other.rate_limit),
            rate_limit_burst: self.rate_limit_burst.or(other.rate_limit_burst),
            shutdown_grace: self.shutdown_grace.or(other.shutdown_grace),
            ..self
        }
    }
}

impl Config {
    /// The settings in effect, in the form of the file, secrets masked.
    pub fn print(&self) -> String {
        let public_url = self.public_url.as_ref().map(|url| format!("public-url = \"{url}\"\n")).unwrap_or_default();
        let burst = self.rate_limit.map(|limit| format!("rate-limit-burst = {}\n", limit.burst)).unwrap_or_default();
        let masked = |is_set: bool| if is_set { "(set)" } else { "(from the data directory)" };
        format!(
            "listen = \"{}\"\ndata-dir = \"{}\"\nmax-concurrent-runs = {}\nmax-waiting-runs = {}\n\
             default-ttl = \"{}\"\ndefault-max-duration = \"{}s\"\nmax-host-wait = \"{}s\"\nscratch-quota = \"{}B\"\n\
             max-task-memory = \"{}B\"\nparked-memory = \"{}B\"\nreplay-memory = \"{}B\"\nparked-time = \"{}s\"\nmax-journal = \"{}B\"\n\
             journal-retention = \"{}\"\nbacktest-retention = \"{}\"\n{}shutdown-grace = \"{}s\"\nrate-limit = {}\n{}# server-key {}\n# admin-key {}\n",
            self.listen,
            self.data_dir.display(),
            self.max_concurrent_runs,
            self.max_waiting_runs,
            self.default_ttl.elsewhere.map_or("0".into(), |ttl| format!("{}s", ttl.as_secs())),
            self.default_max_duration.as_secs(),
            self.max_host_wait.as_secs(),
            self.scratch_quota_bytes,
            self.max_task_memory_bytes,
            self.parked_memory_bytes,
            self.replay_memory_bytes,
            self.parked_time.as_secs(),
            self.max_journal_bytes,
            duration::text(self.journal_retention),
            duration::text(self.backtest_retention),
            public_url,
            self.shutdown_grace.as_secs(),
            self.rate_limit.map_or(0, |limit| limit.per_second),
            burst,
            masked(self.server_key.is_some()),
            masked(self.admin_key.is_some()),
        )
    }
}

fn read(path: &Path) -> Result<ServerArgs, Error> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| Error::File { path: name.clone(), source })?;
    toml::from_str(&text).map_err(|error| Error::Syntax { path: name, problem: error.to_string() })
}

fn wrong(name: &'static str, problem: &str) -> Error {
    Error::Value { name, problem: problem.into() }
}

fn within(name: &'static str, value: u32, least: u32, most: u32) -> Result<u32, Error> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(Error::Value { name, problem: format!("write a number from {least} to {most}") })
}

fn rate_limit(per_second: Option<u32>, burst: Option<u32>) -> Result<Option<RateLimit>, Error> {
    match per_second.filter(|per_second| *per_second > 0) {
        None if burst.is_some() => Err(wrong("rate-limit-burst", "it needs a `rate-limit`")),
        None => Ok(None),
        Some(per_second) => Ok(Some(RateLimit {
            per_second: within("rate-limit", per_second, 1, MAX_RATE)?,
            burst: within(
                "rate-limit-burst",
                burst.unwrap_or(per_second.saturating_mul(2).min(MAX_RATE)),
                1,
                MAX_RATE,
            )?,
        })),
    }
}

fn public_url(url: String) -> Result<String, Error> {
    let url = url.trim_end_matches('/');
    let is_url = |url: &hyper::Uri| url.authority().is_some() && matches!(url.scheme_str(), Some("http" | "https"));
    if url.contains(['?', '#']) || !url.parse().is_ok_and(|parsed| is_url(&parsed)) {
        return Err(wrong("public-url", "write a URL such as https://tasks.example.com"));
    }
    Ok(url.into())
}

fn admin_key(key: String) -> Result<AdminKey, Error> {
    if key.len() < MIN_ADMIN_KEY_CHARS {
        return Err(wrong("admin-key", "it must have 24 characters at least"));
    }
    Ok(AdminKey(key))
}

fn default_ttl(text: Option<String>) -> Result<DefaultTtl, Error> {
    let problem = |error: duration::BadDuration| Error::Value { name: "default-ttl", problem: error.to_string() };
    let given = match text.as_deref() {
        None => return Ok(DefaultTtl { in_development: Some(DEVELOPMENT_TTL), elsewhere: None }),
        Some("0") => None,
        Some(text) => Some(duration::parse(text).map_err(problem)?),
    };
    Ok(DefaultTtl { in_development: given, elsewhere: given })
}

fn retention(name: &'static str, text: Option<String>) -> Result<Duration, Error> {
    length(name, text.map(|text| if text == "0" { "0s".into() } else { text }), 30 * 86_400)
}

fn length(name: &'static str, text: Option<String>, default_seconds: u64) -> Result<Duration, Error> {
    match text {
        None => Ok(Duration::from_secs(default_seconds)),
        Some(text) => duration::parse(&text).map_err(|error| Error::Value { name, problem: error.to_string() }),
    }
}

fn size(name: &'static str, text: Option<String>, default_bytes: u64) -> Result<u64, Error> {
    let Some(text) = text else { return Ok(default_bytes) };
    parse_size(&text).ok_or_else(|| wrong(name, "write a whole number with B, KiB, MiB or GiB, such as 512MiB"))
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit = match text[digits..].trim_start() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("512MiB"), Some(512 << 20));
        assert_eq!(parse_size("1 GiB"), Some(1 << 30));
        for text in ["", "512", "MiB", "-1MiB", "1.5GiB", "99999999999GiB", "1MB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn the_defaults_are_good_and_printed_in_the_form_of_the_file() {
        let config = ServerArgs::default().into_config().unwrap();
        assert_eq!(config.listen.port(), 3040);
        let again: ServerArgs = toml::from_str(&config.print()).unwrap();
        assert_eq!(again.into_config().unwrap().print(), config.print());
    }

    #[test]
    fn a_rate_limit_is_off_unless_given_and_printed_in_the_form_of_the_file() {
        assert_eq!(ServerArgs::default().into_config().unwrap().rate_limit, None);
        let given = ServerArgs { rate_limit: Some(10), ..ServerArgs::default() }.into_config().unwrap();
        assert_eq!(given.rate_limit, Some(RateLimit { per_second: 10, burst: 20 }));
        let again: ServerArgs = toml::from_str(&given.print()).unwrap();
        assert_eq!(again.into_config().unwrap().rate_limit, given.rate_limit);
    }

    #[test]
    fn journals_are_kept_for_a_month_unless_told_otherwise() {
        for (given, seconds, printed) in
            [(None, 30 * 86_400, "4w2d"), (Some("0"), 0, "0s"), (Some("90d"), 7_776_000, "12w6d")]
        {
            let args = ServerArgs { journal_retention: given.map(Into::into), ..ServerArgs::default() };
            let config = args.into_config().unwrap();
            assert_eq!(config.journal_retention.as_secs(), seconds);
            assert!(config.print().contains(&format!("journal-retention = \"{printed}\"\n")), "{}", config.print());
        }
    }

    #[test]
    fn wrong_values_are_named() {
        let check = |args: ServerArgs, expected: &str| {
            assert!(args.into_config().unwrap_err().to_string().starts_with(expected));
        };
        check(ServerArgs { listen: Some("x".into()), ..ServerArgs::default() }, "`listen`: write an address");
        check(ServerArgs { shutdown_grace: Some("5".into()), ..ServerArgs::default() }, "`shutdown-grace`: `5` is not");
        let retention = Some("30".into());
        let with_retention = ServerArgs { journal_retention: retention, ..ServerArgs::default() };
        check(with_retention, "`journal-retention`: `30` is not a duration");
        check(ServerArgs { max_concurrent_runs: Some(0), ..ServerArgs::default() }, "`max-concurrent-runs`: write");
        check(ServerArgs { rate_limit: Some(2_000_000), ..ServerArgs::default() }, "`rate-limit`: write a number");
        check(ServerArgs { rate_limit_burst: Some(5), ..ServerArgs::default() }, "`rate-limit-burst`: it needs");
        check(ServerArgs { server_key: Some("0".into()), ..ServerArgs::default() }, "`server-key`: write 64");
    }

    #[test]
    fn unknown_keys_of_the_file_are_errors() {
        assert!(toml::from_str::<ServerArgs>("listn = \"127.0.0.1:1\"").is_err());
        assert!(toml::from_str::<ServerArgs>("server-key = \"00\"").is_err());
    }
}
