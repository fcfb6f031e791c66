//! Counting runs that have ended: intervals of time, classes of duration, groups of errors.
//!
//! A class spans a quarter of an octave, so that a percentile that is read from counts of classes is
//! at most 19 % too large.

use std::time::Duration;

use jiff::Timestamp;

use super::digest::Digest;
use super::run::{ErrorKind, RunError, Status};

/// Most characters of a message by which errors are told apart.
const MAX_LOOK_CHARS: usize = 200;
/// Digits of a fingerprint.
const FINGERPRINT_DIGITS: usize = 16;

/// The length of the intervals in which runs are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Kept for a day.
    Minute,
    /// Kept for 90 days.
    Hour,
}

impl Step {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Minute, Self::Hour];

    /// How long an interval is.
    pub fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
        })
    }

    /// For how long counts are kept.
    pub fn retention(self) -> Duration {
        Duration::from_secs(match self {
            Self::Minute => 86_400,
            Self::Hour => 90 * 86_400,
        })
    }

    /// The beginning of the interval that has a moment.
    pub fn begin_of(self, at: Timestamp) -> Timestamp {
        let length = i64::try_from(self.length().as_millis()).unwrap_or(i64::MAX);
        let begin = at.as_millisecond().div_euclid(length) * length;
        Timestamp::from_millisecond(begin).unwrap_or(at)
    }
}

/// A class of durations: those below `2^(n/4)` ms that are in no class before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(u8);

impl Class {
    /// The class of a duration.
    pub fn of(length: Duration) -> Self {
        let ms = length.as_secs_f64() * 1_000.0;
        let above = (ms.max(1.0).log2() * 4.0).floor() + 1.0;
        // A duration of 500 years has class 175.
        Self(if ms < 1.0 { 0 } else { above.min(f64::from(u8::MAX)) as u8 })
    }

    /// The end of the class: no duration in it is as long.
    pub fn end(self) -> Duration {
        Duration::from_secs_f64(2.0_f64.powf(f64::from(self.0) / 4.0) / 1_000.0)
    }

    /// As it is stored.
    pub fn number(self) -> u32 {
        self.0.into()
    }

    /// What was stored.
    pub fn from_number(number: i64) -> Option<Self> {
        u8::try_from(number).ok().map(Self)
    }
}

/// The duration that `share` of all do not pass, from counts of classes; `None`: there are none.
pub fn percentile(counts: &[(Class, u64)], share: f64) -> Option<Duration> {
    let mut counts = counts.to_vec();
    counts.sort_unstable();
    let all: u64 = counts.iter().map(|(_, count)| count).sum();
    let wanted = ((all as f64 * share).ceil() as u64).max(1);
    let mut passed = 0;
    counts.into_iter().find_map(|(class, count)| {
        passed += count;
        (passed >= wanted).then(|| class.end())
    })
}

/// What a run's end counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tally {
    /// It has an output.
    Completed,
    /// It has none, and that is somebody's fault.
    Failed,
    /// It was canceled, or expired.
    Dropped,
}

impl Tally {
    /// What a final status counts as.
    pub fn of(status: Status) -> Self {
        match status {
            Status::Completed => Self::Completed,
            Status::Canceled | Status::Expired => Self::Dropped,
            Status::Failed
            | Status::Crashed
            | Status::TimedOut
            | Status::SystemFailure
            | Status::PendingVersion
            | Status::Delayed
            | Status::Queued
            | Status::Executing
            | Status::Waiting => Self::Failed,
        }
    }
}

/// The group of an error of a task: 16 hexadecimal digits, the same for errors that look alike. `None`:
/// it is no fault.
pub fn fingerprint(task: &str, error: &RunError) -> Option<String> {
    let is_fault = !matches!(error.kind, ErrorKind::Canceled | ErrorKind::Expired);
    is_fault.then(|| digits_of(&[task, &error.name, &look(&error.message)]))
}

/// The group of all errors of a task that have no group of their own.
pub fn rest_of(task: &str) -> String {
    digits_of(&[task])
}

fn digits_of(parts: &[&str]) -> String {
    let mut digits = Digest::of(parts.join("\0").as_bytes()).to_string();
    digits.truncate(FINGERPRINT_DIGITS);
    digits
}

/// A message without what differs from run to run: words with digits, and what is quoted.
fn look(message: &str) -> String {
    let mut look = String::new();
    let mut quote = None;
    for word in message.chars().take(MAX_LOOK_CHARS).collect::<String>().split_whitespace() {
        let word = without_quoted(word, &mut quote);
        if word.is_empty() {
            continue;
        }
        let varies = word.chars().any(|c| c.is_ascii_digit());
        look.push_str(if varies { "#" } else { &word });
        look.push(' ');
    }
    look
}

/// A word without what is within quotes; `quote` is the one that is open.
fn without_quoted(word: &str, quote: &mut Option<char>) -> String {
    let mut kept = String::new();
    for c in word.chars() {
        match *quote {
            Some(open) if c == open => *quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '`') => *quote = Some(c),
            None => kept.push(c),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_has_the_durations_below_its_end() {
        for micros in [0, 1, 999, 1_000, 1_001, 1_189, 1_190, 2_000, 59_999, 3_600_000_000] {
            let length = Duration::from_micros(micros);
            let class = Class::of(length);
            assert!(length < class.end(), "{length:?} in {class:?}");
            let before = class.0.checked_sub(1).map(|number| Class(number).end());
            assert!(before.is_none_or(|end| length >= end.mul_f64(0.999_999)), "{length:?} in {class:?}");
        }
    }

    #[test]
    fn percentiles_come_from_counts() {
        let ms = |ms| Class::of(Duration::from_millis(ms));
        let counts = [(ms(100), 1), (ms(1), 98), (ms(10), 1)];
        assert_eq!(percentile(&counts, 0.5), Some(ms(1).end()));
        assert_eq!(percentile(&counts, 0.99), Some(ms(10).end()));
        assert_eq!(percentile(&counts, 1.0), Some(ms(100).end()));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn an_interval_begins_at_a_whole_one() {
        let at: Timestamp = "2026-11-22T10:59:59.999Z".parse().unwrap();
        assert_eq!(Step::Minute.begin_of(at).to_string(), "2026-11-22T10:59:00Z");
        assert_eq!(Step::Hour.begin_of(at).to_string(), "2026-11-22T10:00:00Z");
    }

    #[track_caller]
    fn check_alike(one: &str, other: &str, alike: bool) {
        let of = |message: &str| {
            let error = RunError { kind: ErrorKind::Task, name: "Error".into(), message: message.into(), stack: None };
            fingerprint("task", &error).expect("a fault")
        };
        assert_eq!(of(one) == of(other), alike, "{one} / {other}");
    }

    #[test]
    fn errors_that_differ_in_what_varies_are_one_group() {
        check_alike("order 17 is gone", "order 4711 is gone", true);
        check_alike("order \"a b\" is gone", "order \"c\" is gone", true);
        check_alike("no route to 10.0.0.1:80", "no route to [::1]:443", true);
        check_alike("order 17 is gone", "order 17 is late", false);
        check_alike("", " ", true);
    }

    #[test]
    fn what_is_nobodys_fault_has_no_group() {
        let error = RunError { kind: ErrorKind::Canceled, name: String::new(), message: String::new(), stack: None };
        assert_eq!(fingerprint("task", &error), None);
    }
}
