//! What a task says about how it is run.

use std::time::Duration;

use super::milliseconds;
use crate::bindings::exports::dacapo::task::guest as wit;

/// How often a failed attempt is repeated, and after what delay.
///
/// The delay before attempt n+1 is `min_delay * factor^(n-1)`, at most `max_delay`, and with
/// `randomize` multiplied by a random number between 1 and 2, still at most `max_delay`.
///
/// ```
/// use dacapo::Retry;
/// use std::time::Duration;
///
/// // After 2 s, 6 s, 18 s and 54 s, or a little later.
/// let retry = Retry::attempts(5)
///     .min_delay(Duration::from_secs(2))
///     .max_delay(Duration::from_secs(60))
///     .factor(3.0);
/// # let _ = retry;
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Retry(pub(super) wit::RetryPolicy);

impl Retry {
    /// So many attempts in all, the first included. The delays are 1 s to 10 s, each twice the
    /// one before, randomized.
    pub fn attempts(max_attempts: u32) -> Self {
        Self(wit::RetryPolicy { max_attempts, factor: 2.0, min_delay: 1_000, max_delay: 10_000, randomize: true })
    }

    /// One attempt and no more.
    pub fn never() -> Self {
        Self::attempts(1)
    }

    /// How much longer each delay is than the one before, at least 1.
    pub fn factor(mut self, factor: f64) -> Self {
        self.0.factor = factor;
        self
    }

    /// The first delay.
    pub fn min_delay(mut self, delay: Duration) -> Self {
        self.0.min_delay = milliseconds(delay);
        self
    }

    /// The longest delay.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.0.max_delay = milliseconds(delay);
        self
    }

    /// Whether to spread the delays at random, so that runs that failed together do not come back
    /// together.
    pub fn randomize(mut self, randomize: bool) -> Self {
        self.0.randomize = randomize;
        self
    }
}

/// A queue, shared by all tasks that name it.
#[derive(Debug, Clone)]
#[must_use]
pub struct Queue(pub(super) wit::QueueDefinition);

impl Queue {
    /// A queue by its name: 1 to 128 of the characters `A-Z a-z 0-9 _ - /`.
    pub fn new(name: &str) -> Self {
        Self(wit::QueueDefinition { name: name.to_owned(), concurrency_limit: None })
    }

    /// The most runs of this queue that may be executing at the same time.
    pub fn concurrency_limit(mut self, limit: u32) -> Self {
        self.0.concurrency_limit = Some(limit);
        self
    }
}

impl From<&str> for Queue {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

/// When to run a task by itself.
#[derive(Debug, Clone)]
#[must_use]
pub struct Cron(pub(super) wit::Cron);

impl Cron {
    /// Five fields: minute, hour, day of the month, month, day of the week. In UTC.
    pub fn new(pattern: &str) -> Self {
        Self(wit::Cron { pattern: pattern.to_owned(), timezone: None })
    }

    /// An IANA time zone, for example `Europe/Berlin`.
    pub fn timezone(mut self, timezone: &str) -> Self {
        self.0.timezone = Some(timezone.to_owned());
        self
    }
}

impl From<&str> for Cron {
    fn from(pattern: &str) -> Self {
        Self::new(pattern)
    }
}

/// How much memory and how many CPUs an attempt gets. A component can use 4 GiB at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Machine {
    /// 0.25 CPU, 0.25 GiB
    Micro,
    /// 0.5 CPU, 0.5 GiB
    #[default]
    Small1x,
    /// 1 CPU, 1 GiB
    Small2x,
    /// 1 CPU, 2 GiB
    Medium1x,
    /// 2 CPUs, 4 GiB
    Medium2x,
    /// 4 CPUs, 8 GiB
    Large1x,
    /// 8 CPUs, 16 GiB
    Large2x,
}

impl Machine {
    /// The preset's name, for example `small-1x`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Micro => "micro",
            Self::Small1x => "small-1x",
            Self::Small2x => "small-2x",
            Self::Medium1x => "medium-1x",
            Self::Medium2x => "medium-2x",
            Self::Large1x => "large-1x",
            Self::Large2x => "large-2x",
        }
    }
}

impl From<Machine> for wit::MachinePreset {
    fn from(machine: Machine) -> Self {
        match machine {
            Machine::Micro => Self::Micro,
            Machine::Small1x => Self::SmallOneX,
            Machine::Small2x => Self::SmallTwoX,
            Machine::Medium1x => Self::MediumOneX,
            Machine::Medium2x => Self::MediumTwoX,
            Machine::Large1x => Self::LargeOneX,
            Machine::Large2x => Self::LargeTwoX,
        }
    }
}
