//! Versions of deployments: `YYYYMMDD.N`, counted per environment and day (UTC).

use std::fmt;
use std::str::FromStr;

use super::Timestamp;

/// The version of a deployment. Orders by date, then by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    date: u32,
    number: u32,
}

/// Text that is not a version.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a version: versions look like `20261121.3`")]
pub struct BadVersion;

impl Version {
    /// The version that follows `latest` at `now`: the next number of the day, from 1.
    ///
    /// Where the clock went back to an earlier day, the day of `latest` goes on.
    pub fn after(latest: Option<Self>, now: Timestamp) -> Self {
        let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
        let date = today.year().unsigned_abs() as u32 * 10_000
            + today.month().unsigned_abs() as u32 * 100
            + today.day().unsigned_abs() as u32;
        match latest {
            Some(latest) if latest.date >= date => Self { number: latest.number + 1, ..latest },
            _ => Self { date, number: 1 },
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}.{}", self.date, self.number)
    }
}

impl FromStr for Version {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Self, BadVersion> {
        let (date, number) = text.split_once('.').ok_or(BadVersion)?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if date.len() != 8 || !digits(date) || !digits(number) || number.starts_with('0') {
            return Err(BadVersion);
        }
        Ok(Self { date: date.parse().map_err(|_| BadVersion)?, number: number.parse().map_err(|_| BadVersion)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(latest: Option<&str>, now: &str, expected: &str) {
        let latest = latest.map(|text| text.parse().expect("a version"));
        assert_eq!(Version::after(latest, now.parse().expect("a time")).to_string(), expected);
    }

    #[test]
    fn versions_count_up_within_a_day() {
        check(None, "2026-11-21T10:00:00Z", "20261121.1");
        check(Some("20261121.1"), "2026-11-21T23:59:59Z", "20261121.2");
        check(Some("20261121.9"), "2026-11-21T23:59:59Z", "20261121.10");
        check(Some("20261121.9"), "2026-11-22T00:00:00Z", "20261122.1");
        check(Some("20261122.1"), "2026-11-21T00:00:00Z", "20261122.2");
    }

    #[test]
    fn ten_comes_after_nine() {
        let version = |text: &str| text.parse::<Version>().expect("a version");
        assert!(version("20261121.10") > version("20261121.9"));
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "latest", "20261121", "20261121.", "20261121.0", "2026112.1", "20261121.-1", "20261121.1 "] {
            assert_eq!(text.parse::<Version>(), Err(BadVersion), "{text}");
        }
    }
}
