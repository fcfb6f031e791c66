//! Lengths of time as the contract writes them: `30s`, `2h30m`, `4w`.

use std::fmt::Write;
use std::time::Duration;

/// Text that is not a length of time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a duration: write whole numbers with the units w, d, h (or hr), m, s, for example `2h30m`")]
pub struct BadDuration(pub String);

/// Reads `^(\d+(w|d|hr|h|m|s))+$`, 100 characters at most.
///
/// ```
/// # use dacapo::model::duration;
/// assert_eq!(duration::parse("2h30m").unwrap().as_secs(), 9_000);
/// ```
pub fn parse(text: &str) -> Result<Duration, BadDuration> {
    seconds(text).map(Duration::from_secs).ok_or_else(|| BadDuration(text.chars().take(100).collect()))
}

/// Writes a length of time in whole seconds, in the largest units: what [`parse`] reads.
///
/// ```
/// # use std::time::Duration;
/// # use dacapo::model::duration;
/// assert_eq!(duration::text(Duration::from_secs(9_000)), "2h30m");
/// ```
pub fn text(length: Duration) -> String {
    let mut rest = length.as_secs();
    let mut text = String::new();
    for (unit, seconds) in [("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        let number = rest / seconds;
        rest %= seconds;
        if number > 0 || unit == "s" && text.is_empty() {
            write!(text, "{number}{unit}").expect("a text takes what is written to it");
        }
    }
    text
}

fn seconds(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > 100 {
        return None;
    }
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let units = [("w", 604_800), ("d", 86_400), ("hr", 3_600), ("h", 3_600), ("m", 60), ("s", 1)];
        let (unit, seconds) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        total = total.checked_add(number.checked_mul(seconds)?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<u64>) {
        assert_eq!(parse(text).ok().map(|length| length.as_secs()), expected, "{text}");
    }

    #[test]
    fn durations_are_sums_of_numbers_with_units() {
        check("30s", Some(30));
        check("2h30m", Some(9_000));
        check("1hr", Some(3_600));
        check("4w", Some(2_419_200));
        check("1d1d", Some(172_800));
        check("0s", Some(0));
    }

    #[test]
    fn what_is_written_is_read() {
        for text in ["0s", "1s", "10m", "1m30s", "2h30m", "1d", "4w", "1w6d23h59m59s"] {
            assert_eq!(super::text(parse(text).unwrap()), text);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "5", "m", "5x", "-5s", "1.5h", " 1s", "1s ", "99999999999999999999s", "30500568904944w"] {
            check(text, None);
        }
        check(&"1s".repeat(51), None);
    }
}
