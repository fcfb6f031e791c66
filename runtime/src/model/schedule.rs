//! Decides when a schedule fires.
//!
//! A cron pattern speaks of local times. A local time that does not exist, because clocks go
//! forward over it, fires once, at the first moment after the gap; one that exists twice, because
//! clocks go back, fires at the first of the two. A pattern for every hour of the day follows the
//! time that passes instead: it neither skips an hour nor pauses for one. Start with [`Timing`].

use croner::Cron;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::Timestamp;
use super::limits;

/// The zone of a pattern whose author names none.
pub const UTC: &str = "UTC";
const HOURS_PER_DAY: usize = 24;
const FIELDS: usize = 5;

/// Who made a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleKind {
    /// A component's description; it changes with a deployment.
    Declarative,
    /// Somebody over the API.
    Imperative,
}

words!(ScheduleKind { Declarative = "declarative", Imperative = "imperative", });

/// Why text is not a timing, in its author's terms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTiming {
    /// The cron pattern is wrong.
    #[error("cron pattern `{pattern}` is wrong: {problem}")]
    Pattern {
        /// The pattern, cut.
        pattern: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no such time zone.
    #[error("`{0}` is not an IANA time zone such as `Europe/Berlin`")]
    Zone(String),
}

/// A cron pattern in a time zone.
#[derive(Debug, Clone)]
pub struct Timing {
    cron: Cron,
    zone: TimeZone,
}

impl Timing {
    /// Reads a pattern of five fields, `L`, `W` and `#` included, that fires some time, and the name of
    /// a zone.
    pub fn parse(pattern: &str, zone: &str) -> Result<Self, BadTiming> {
        let cron = parse_cron(pattern).map_err(|problem| BadTiming::Pattern { pattern: shorten(pattern), problem })?;
        let zone = TimeZone::get(zone).map_err(|_| BadTiming::Zone(shorten(zone)))?;
        let timing = Self { cron, zone };
        match timing.next(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(timing),
            None => Err(BadTiming::Pattern { pattern: shorten(pattern), problem: "there is no such day".into() }),
        }
    }

    /// The zone's name as the time zone database spells it.
    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or(UTC)
    }

    /// The pattern in words.
    pub fn description(&self) -> String {
        self.cron.describe().trim().to_owned()
    }

    /// When it fires next after `after`; `None`: never.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        if self.cron.pattern.hours.values().len() == HOURS_PER_DAY {
            let after = after.to_zoned(self.zone.clone());
            return self.cron.find_next_occurrence(&after, false).ok().map(|next| whole_second(next.timestamp()));
        }
        let mut local = self.zone.to_datetime(after);
        loop {
            local = self.cron.find_next_occurrence(&local, false).ok()?;
            // A local time of the second of two halves has fired in the first.
            let at = self.fires_at(local)?;
            if at > after {
                return Some(at);
            }
        }
    }

    /// The next `count` moments after `after`.
    pub fn upcoming(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        std::iter::successors(self.next(after), |last| self.next(*last)).take(count).collect()
    }

    /// The last moment from `due`, at which it fires, to `now`: what stands for all that were missed.
    pub fn last_due(&self, due: Timestamp, now: Timestamp) -> Timestamp {
        let fires_by_now = |after: Timestamp| self.next(after).filter(|next| *next <= now);
        // Between these two the last one is, or it is the first of them.
        let (mut last, mut none_after) = (due, now);
        while let Some(next) = fires_by_now(last) {
            last = next;
            let middle = last.as_millisecond().midpoint(none_after.as_millisecond());
            let middle = Timestamp::from_millisecond(middle).unwrap_or(last);
            match fires_by_now(middle) {
                Some(later) => last = later,
                None => none_after = middle,
            }
        }
        last
    }

    /// The moment that stands for a local time.
    fn fires_at(&self, local: DateTime) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        match ambiguous.offset() {
            jiff::tz::AmbiguousOffset::Gap { .. } => {
                // Read with the offset after the gap, the local time lies before it.
                let before = ambiguous.earlier().ok()?;
                self.zone.following(before).next().map(|transition| transition.timestamp())
            }
            jiff::tz::AmbiguousOffset::Unambiguous { .. } | jiff::tz::AmbiguousOffset::Fold { .. } => {
                ambiguous.earlier().ok()
            }
        }
    }
}

fn parse_cron(pattern: &str) -> Result<Cron, String> {
    if pattern.len() > limits::MAX_CRON_CHARS {
        return Err(format!("it is longer than {} characters", limits::MAX_CRON_CHARS));
    }
    let fields = pattern.split_whitespace().count();
    if fields != FIELDS {
        return Err(format!("it has {fields} fields instead of 5: minute, hour, day, month, weekday"));
    }
    pattern.parse::<Cron>().map_err(|error| error.to_string())
}

fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn shorten(text: &str) -> String {
    text.chars().take(limits::MAX_TASK_ID_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(pattern: &str, zone: &str) -> Timing {
        Timing::parse(pattern, zone).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The next moments, each in its own local time with its offset.
    #[track_caller]
    fn check(pattern: &str, zone: &str, after: &str, expected: &[&str]) {
        let timing = timing(pattern, zone);
        let upcoming = timing.upcoming(at(after), expected.len());
        let shown: Vec<_> = upcoming
            .iter()
            .map(|next| next.to_zoned(timing.zone.clone()).strftime("%Y-%m-%dT%H:%M%:z").to_string())
            .collect();
        assert_eq!(shown, expected, "{pattern} in {zone} after {after}");
    }

    #[test]
    fn patterns_speak_of_local_time() {
        check("15 3 * * *", "UTC", "2026-11-21T03:15:00Z", &["2026-11-22T03:15+00:00", "2026-11-23T03:15+00:00"]);
        check("15 3 * * *", "UTC", "2026-11-21T03:14:59.999Z", &["2026-11-21T03:15+00:00"]);
        check("0 9 * * 1-5", "Asia/Kolkata", "2026-11-20T12:00:00Z", &["2026-11-23T09:00+05:30"]);
        check("0 0 L * *", "Europe/Berlin", "2028-02-01T00:00:00Z", &["2028-02-29T00:00+01:00"]);
        check("30 8 29 2 *", "America/New_York", "2026-01-01T00:00:00Z", &["2028-02-29T08:30-05:00"]);
        check("*/20 * * * *", "UTC", "2026-11-21T00:00:30Z", &["2026-11-21T00:20+00:00", "2026-11-21T00:40+00:00"]);
    }

    // In Berlin clocks go from 02:00 to 03:00 on 2026-03-29, and from 03:00 to 02:00 on 2026-10-25.

    #[test]
    fn a_local_time_that_does_not_exist_fires_once_after_the_gap() {
        let berlin = "Europe/Berlin";
        let around = &["2026-03-28T02:30+01:00", "2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"];
        check("30 2 * * *", berlin, "2026-03-27T12:00:00Z", around);
        let once =
            &["2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00", "2026-03-30T01:00+02:00"];
        check("0,30 1-3 * * *", berlin, "2026-03-29T00:00:00Z", once);
        check("*/10 2 * * *", berlin, "2026-03-28T12:00:00Z", &["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"]);
        // At Lord Howe the gap has half an hour: from 02:00 to 02:30.
        check("15 2 4 10 *", "Australia/Lord_Howe", "2026-01-01T00:00:00Z", &["2026-10-04T02:30+11:00"]);
        // In Santiago it begins at midnight.
        check(
            "0 0 * * *",
            "America/Santiago",
            "2026-09-05T12:00:00Z",
            &["2026-09-06T01:00-03:00", "2026-09-07T00:00-03:00"],
        );
        // Samoa left out the whole of 2011-12-30.
        check(
            "0 12 * * *",
            "Pacific/Apia",
            "2011-12-29T22:30:00Z",
            &["2011-12-31T00:00+14:00", "2011-12-31T12:00+14:00"],
        );
    }

    #[test]
    fn a_local_time_that_exists_twice_fires_once() {
        let berlin = "Europe/Berlin";
        let around = &["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"];
        check("30 2 * * *", berlin, "2026-10-24T12:00:00Z", around);
        check("30 2 * * *", berlin, "2026-10-25T00:30:00Z", &["2026-10-26T02:30+01:00"]);
        check("30 2 * * *", berlin, "2026-10-25T01:10:00Z", &["2026-10-26T02:30+01:00"]);
        let once =
            &["2026-10-25T02:00+02:00", "2026-10-25T02:30+02:00", "2026-10-25T03:00+01:00", "2026-10-25T03:30+01:00"];
        check("0,30 2,3 * * *", berlin, "2026-10-24T23:30:00Z", once);
        check(
            "0 1 1 11 *",
            "America/New_York",
            "2026-10-01T00:00:00Z",
            &["2026-11-01T01:00-04:00", "2027-11-01T01:00-04:00"],
        );
    }

    #[test]
    fn a_pattern_for_every_hour_follows_the_time_that_passes() {
        let berlin = "Europe/Berlin";
        let back = &["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00", "2026-10-25T03:00+01:00"];
        check("0 * * * *", berlin, "2026-10-24T23:30:00Z", back);
        check("0 0-23 * * *", berlin, "2026-10-24T23:30:00Z", back);
        let forward = &["2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00"];
        check("*/30 * * * *", berlin, "2026-03-29T00:00:00Z", forward);
    }

    #[test]
    fn what_follows_is_later_and_misses_nothing() {
        for zone in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"] {
            for pattern in ["*/7 * * * *", "30 2 * * *", "*/15 1,2 * * *", "0 */2 * * 0"] {
                let timing = timing(pattern, zone);
                let mut last = at("2026-03-01T00:00:00Z");
                while last < at("2026-04-15T00:00:00Z") {
                    let next = timing.next(last).unwrap();
                    assert!(next > last, "{pattern} in {zone}: {next} follows {last}");
                    let between = Timestamp::from_millisecond(last.as_millisecond().midpoint(next.as_millisecond()));
                    assert_eq!(
                        timing.next(between.unwrap()),
                        Some(next),
                        "{pattern} in {zone} between {last} and {next}"
                    );
                    last = next;
                }
            }
        }
    }

    #[track_caller]
    fn check_last(pattern: &str, due: &str, now: &str, expected: &str) {
        assert_eq!(timing(pattern, "UTC").last_due(at(due), at(now)), at(expected), "{pattern} due {due} at {now}");
    }

    #[test]
    fn the_last_missed_moment_stands_for_all() {
        check_last("0 3 * * *", "2026-11-21T03:00:00Z", "2026-11-21T03:00:00Z", "2026-11-21T03:00:00Z");
        check_last("0 3 * * *", "2026-11-21T03:00:00Z", "2026-11-21T10:00:00Z", "2026-11-21T03:00:00Z");
        check_last("0 3 * * *", "2026-11-18T03:00:00Z", "2026-11-21T10:00:00Z", "2026-11-21T03:00:00Z");
        check_last("* * * * *", "2016-11-18T03:00:00Z", "2026-11-21T10:00:30Z", "2026-11-21T10:00:00Z");
        check_last("* * 1 * *", "2016-12-01T00:00:00Z", "2026-11-30T10:00:30Z", "2026-11-01T23:59:00Z");
        check_last("* * * * *", "2026-11-21T10:00:00Z", "2026-11-21T10:01:00Z", "2026-11-21T10:01:00Z");
    }

    #[test]
    fn zones_are_spelled_as_the_database_does() {
        assert_eq!(timing("* * * * *", "europe/berlin").zone_name(), "Europe/Berlin");
        assert_eq!(timing("* * * * *", "UTC").zone_name(), "UTC");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let problem = |pattern: &str, zone| Timing::parse(pattern, zone).unwrap_err().to_string();
        assert!(problem("* * *", "UTC").starts_with("cron pattern `* * *` is wrong: it has 3 fields"));
        assert!(problem("61 * * * *", "UTC").starts_with("cron pattern `61 * * * *` is wrong"));
        assert!(problem("0 0 30 2 *", "UTC").ends_with("is wrong: there is no such day"));
        assert!(problem("* * 30 2 *", "UTC").ends_with("is wrong: there is no such day"));
        assert!(problem(&"1,".repeat(200), "UTC").contains("it is longer than 256 characters"));
        assert!(problem("0 3 * * *", "Mars/Olympus").starts_with("`Mars/Olympus` is not an IANA time zone"));
        assert!(problem("0 3 * * *", "../../etc/passwd").contains("is not an IANA time zone"));
    }
}
