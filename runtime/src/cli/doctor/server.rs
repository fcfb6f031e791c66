//! Whether there is a server, whether it is well, and whether our key opens it.

use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::Finding;
use crate::api::RunList;
use crate::cli::client::{Client, Error, Probe, Route};
use crate::cli::connection::Connection;
use crate::cli::output::now;

/// Clocks that differ by more than this make logs hard to read, in seconds.
const MAX_SKEW_SECONDS: i64 = 30;

/// Everything about the server; where one thing fails, nothing that depends on it is asked.
pub(super) fn findings(connection: &Connection) -> Vec<Finding> {
    let client = match connection.client() {
        Ok(client) => client,
        Err(error) => return vec![Finding::bad("server", error.to_string(), "give a key or URL that can be used")],
    };
    let probe = match client.probe(&Route::new("/healthz")) {
        Ok(probe) => probe,
        Err(error) => return vec![Finding::bad("server", "not reached", error.to_string())],
    };
    if probe.status != 200 {
        let detail = format!("{} answers {} to /healthz", client.url(), probe.status);
        return vec![Finding::bad("server", detail, "look into its log, or give the URL of a dacapo server")];
    }
    let mut findings = vec![Finding::good("server", format!("{}{}", client.url(), version(&probe))), ready(&client)];
    findings.extend(probe.date.as_deref().and_then(|date| skew(date, now())));
    findings.push(key(&client));
    findings
}

fn version(probe: &Probe) -> String {
    let body: serde_json::Value = serde_json::from_str(&probe.body).unwrap_or_default();
    match body.get("version").and_then(|version| version.as_str()) {
        Some(version) if version == env!("CARGO_PKG_VERSION") => format!(", version {version}"),
        Some(version) => format!(", version {version} (this program is {})", env!("CARGO_PKG_VERSION")),
        None => String::new(),
    }
}

fn ready(client: &Client) -> Finding {
    match client.probe(&Route::new("/readyz")) {
        Ok(Probe { status: 200, .. }) => Finding::good("readiness", "it takes requests"),
        Ok(Probe { status, .. }) => {
            Finding::bad("readiness", format!("/readyz answers {status}"), "it is shutting down, or look into its log")
        }
        Err(error) => Finding::bad("readiness", "not reached", error.to_string()),
    }
}

/// Compares clocks by the header `Date`, which counts whole seconds.
fn skew(date: &str, here: Timestamp) -> Option<Finding> {
    let there = rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    let seconds = here.as_second() - there.as_second();
    Some(if seconds.abs() <= MAX_SKEW_SECONDS {
        Finding::good("server clock", "agrees with this machine's")
    } else {
        let direction = if seconds > 0 { "behind" } else { "ahead of" };
        let detail = format!("{} s {direction} this machine's", seconds.abs());
        Finding::warning("server clock", detail, "set both with NTP: timedatectl set-ntp true")
    })
}

fn key(client: &Client) -> Finding {
    let Some(key) = client.key() else {
        return Finding::warning("key", "none was given", "set DACAPO_KEY, or use --key-file or --data-dir");
    };
    let source = key.source();
    match client.get::<RunList>(Route::new("/api/v1/runs").query("page[size]", 1)) {
        Ok(_) => Finding::good("key", format!("the one from {source} is taken")),
        Err(error @ Error::Refused { status: 401 | 403, .. }) => Finding::bad(
            "key",
            format!("the one from {source} is refused: {error}"),
            "use a key of this server: its <data-dir>/dev.key, or make one with `dacapo keys create ENV`",
        ),
        Err(error) => Finding::bad("key", format!("cannot be checked: {error}"), "look into the server's log"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn clocks_may_differ_by_seconds_only() {
        let here = "2026-01-02T03:04:05Z".parse().unwrap();
        let state = |date| skew(date, here).map(|finding| finding.state);
        assert_eq!(state("Fri, 02 Jan 2026 03:04:00 GMT"), Some(State::Good));
        assert_eq!(state("Fri, 02 Jan 2026 02:04:05 GMT"), Some(State::Warning));
        assert_eq!(state("yesterday"), None);
    }
}
