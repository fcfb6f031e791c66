//! How long to wait before the next attempt.

use std::time::Duration;

/// When a failed attempt is followed by another.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; at least 1.
    pub max_attempts: u32,
    /// By what the delay grows from attempt to attempt; at least 1.
    pub factor: f64,
    /// The delay before the second attempt.
    pub min_delay: Duration,
    /// No delay is longer.
    pub max_delay: Duration,
    /// Multiply each delay by a random number between 1 and 2.
    pub randomize: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            factor: 2.0,
            min_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(10),
            randomize: true,
        }
    }
}

impl RetryPolicy {
    /// The delay after attempt number `attempt` (from 1) failed.
    ///
    /// `chance` is a number from 0 to 1, exclusive; it is used only where the policy says
    /// `randomize`.
    pub fn delay_after(&self, attempt: u32, chance: f64) -> Duration {
        let spread = if self.randomize { 1.0 + chance } else { 1.0 };
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.min_delay.as_secs_f64() * self.factor.powi(exponent) * spread;
        // An overflow to infinity is a long delay, too.
        let capped = seconds.min(self.max_delay.as_secs_f64());
        Duration::from_millis((capped * 1_000.0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(attempt: u32, chance: f64, expected_ms: u128) {
        assert_eq!(RetryPolicy::default().delay_after(attempt, chance).as_millis(), expected_ms);
    }

    #[test]
    fn delays_grow_up_to_the_longest() {
        check(1, 0.0, 1_000);
        check(2, 0.0, 2_000);
        check(3, 0.0, 4_000);
        check(1, 0.5, 1_500);
        check(4, 0.9, 10_000);
        check(u32::MAX, 0.0, 10_000);
    }

    #[test]
    fn without_randomize_chance_does_not_matter() {
        let policy = RetryPolicy { randomize: false, ..RetryPolicy::default() };
        assert_eq!(policy.delay_after(2, 0.9), policy.delay_after(2, 0.1));
    }
}
