//! Names of things: time-ordered ids with a prefix that says what they name.
//!
//! An id is 128 bits, the upper 48 of them milliseconds since 1970, written as 26 characters of
//! lower-case base32hex behind its prefix (`run_06f2…`). Text order is time order.

use std::fmt;
use std::str::FromStr;

use super::Timestamp;

/// The number of bits below the time in an id.
const RANDOM_BITS: u32 = 80;
const BODY_CHARS: usize = 26;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// Text that is not an id of the kind that was asked for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an id that begins with `{prefix}`")]
pub struct BadId {
    prefix: &'static str,
}

/// The bits of a new id: `now_ms` above `entropy`, and always more than `last`, so that ids made
/// within one millisecond by one process keep the order in which they were made.
pub fn next(now_ms: i64, entropy: u128, last: u128) -> u128 {
    let time = u128::from(now_ms.max(0).unsigned_abs()) << RANDOM_BITS;
    let candidate = time | (entropy & ((1 << RANDOM_BITS) - 1));
    candidate.max(last.wrapping_add(1))
}

fn write_body(bits: u128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut body = [0; BODY_CHARS];
    for (place, char) in body.iter_mut().rev().enumerate() {
        *char = ALPHABET[((bits >> (5 * place)) & 31) as usize];
    }
    f.write_str(std::str::from_utf8(&body).map_err(|_| fmt::Error)?)
}

fn parse_body(body: &str) -> Option<u128> {
    // The first character carries the uppermost three bits only.
    if body.len() != BODY_CHARS || body.as_bytes()[0] > b'7' {
        return None;
    }
    body.bytes().try_fold(0_u128, |bits, char| {
        let digit = match char {
            b'0'..=b'9' => char - b'0',
            b'a'..=b'v' => char - b'a' + 10,
            _ => return None,
        };
        Some((bits << 5) | u128::from(digit))
    })
}

/// An id of any kind.
pub trait Id: Copy + Ord + fmt::Display + FromStr<Err = BadId> {
    /// Before every id of the kind.
    const FIRST: Self;
    /// After every id of the kind.
    const LAST: Self;

    /// Before every id that was made at `at` or later.
    fn before(at: Timestamp) -> Self;

    /// After every id that was made at `at` or earlier.
    fn after(at: Timestamp) -> Self;
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// An id of these 128 bits; see [`next`].
            pub const fn from_bits(bits: u128) -> Self {
                Self(bits)
            }

            /// When it was made, in whole milliseconds.
            pub fn made_at(self) -> Timestamp {
                i64::try_from(self.0 >> RANDOM_BITS)
                    .ok()
                    .and_then(|ms| Timestamp::from_millisecond(ms).ok())
                    .unwrap_or(Timestamp::MAX)
            }

            /// The id that comes right after this one.
            pub const fn next(self) -> Self {
                Self(self.0.wrapping_add(1))
            }
        }

        impl Id for $name {
            const FIRST: Self = Self(0);
            const LAST: Self = Self(u128::MAX);

            fn before(at: Timestamp) -> Self {
                Self(next(at.as_millisecond(), 0, 0))
            }

            fn after(at: Timestamp) -> Self {
                Self(next(at.as_millisecond(), u128::MAX, 0))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                write_body(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                text.strip_prefix($prefix)
                    .and_then(parse_body)
                    .map(Self)
                    .ok_or(BadId { prefix: $prefix })
            }
        }
    )*};
}

ids! {
    /// One triggering of a task.
    RunId = "run_";
    /// One uploaded version of a component in one environment.
    DeploymentId = "deployment_";
    /// An environment: dev, staging or production.
    EnvironmentId = "env_";
    /// An API key.
    KeyId = "key_";
    /// Several triggers in one.
    BatchId = "batch_";
    /// A schedule.
    ScheduleId = "sched_";
    /// A token that somebody outside completes.
    WaitpointId = "waitpoint_";
    /// One action on many runs.
    BulkId = "bulk_";
    /// Replays of many runs on one version.
    BacktestId = "backtest_";
    /// A queue that was declared or set up.
    QueueId = "queue_";
    /// A server process, for as long as it lives.
    WorkerId = "worker_";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_a_round_trip_through_text() {
        for bits in [0, 1, u128::MAX, 1 << 127, next(1_795_248_000_000, 42, 0)] {
            let id = RunId::from_bits(bits);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn an_id_tells_when_it_was_made() {
        let id = RunId::from_bits(next(1_795_248_000_000, u128::MAX, 0));
        assert_eq!(id.made_at().as_millisecond(), 1_795_248_000_000);
        assert_eq!(RunId::from_bits(u128::MAX).made_at(), Timestamp::MAX);
    }

    #[test]
    fn text_order_is_time_order() {
        let earlier = RunId::from_bits(next(1_000, u128::MAX, 0));
        let later = RunId::from_bits(next(1_001, 0, 0));
        assert!(earlier.to_string() < later.to_string());
    }

    #[test]
    fn ids_of_one_millisecond_keep_their_order() {
        let first = next(5, u128::MAX, 0);
        assert!(next(5, 0, first) > first);
    }

    #[test]
    fn text_of_another_kind_is_refused() {
        let run = RunId::from_bits(7).to_string();
        for text in
            ["", "run_", "run_zzzz", &run[..20], "env_00000000000000000000000007", "run_80000000000000000000000000"]
        {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
    }
}
