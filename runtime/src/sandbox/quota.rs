//! How fast a guest may use CPU time: its share of a core, in every 100 ms.
//!
//! That is the rule by which containers are held to their CPU. What was used beyond the share of a
//! period, because a guest comes to the host only once a millisecond, is taken off the next one; what was
//! not used is not kept.

use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_millis(100);
/// A core, in thousandths.
pub(super) const WHOLE_CORE: u32 = 1_000;

/// What is left of a guest's share.
pub(super) struct Quota {
    /// CPU time of a period.
    share_ns: u64,
    /// When the current period began; `None`: the first has not.
    began: Option<Instant>,
    /// CPU time that the periods before this one have paid for.
    paid_ns: u64,
}

impl Quota {
    /// A guest has one thread: from [`WHOLE_CORE`] on, it is not held back.
    pub(super) fn new(millicores: u32) -> Self {
        let share_ns = nanos(PERIOD) / u64::from(WHOLE_CORE) * u64::from(millicores.max(1));
        Self { share_ns, began: None, paid_ns: 0 }
    }

    /// How long a guest has to rest that has used `used_ns` of CPU time by `now`.
    pub(super) fn rest(&mut self, used_ns: u64, now: Instant) -> Option<Duration> {
        if self.share_ns >= nanos(PERIOD) {
            return None;
        }
        let began = *self.began.get_or_insert(now);
        let periods = nanos(now.saturating_duration_since(began)) / nanos(PERIOD);
        let began = began + Duration::from_nanos(periods * nanos(PERIOD));
        self.began = Some(began);
        self.paid_ns = used_ns.min(self.paid_ns.saturating_add(periods.saturating_mul(self.share_ns)));
        let until_paid = (used_ns - self.paid_ns) / self.share_ns;
        let ends = began + Duration::from_nanos(until_paid.saturating_mul(nanos(PERIOD)));
        (until_paid > 0).then(|| ends.saturating_duration_since(now))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// How long a busy loop takes that needs `work_ms` of CPU and comes to the host every `tick_ms`.
    fn milliseconds(millicores: u32, work_ms: u64, tick_ms: u64) -> u128 {
        let start = Instant::now();
        let (mut quota, mut now) = (Quota::new(millicores), start);
        for used_ms in (tick_ms..=work_ms).step_by(usize::try_from(tick_ms).unwrap()) {
            now += Duration::from_millis(tick_ms);
            now += quota.rest(used_ms * MS, now).unwrap_or_default();
        }
        (now - start).as_millis()
    }

    #[test]
    fn a_share_of_a_core_is_a_share_of_the_time() {
        assert_eq!(milliseconds(250, 1_000, 1), 4_001);
        assert_eq!(milliseconds(500, 1_000, 1), 2_001);
        assert_eq!(milliseconds(1_000, 1_000, 1), 1_000);
        assert_eq!(milliseconds(8_000, 1_000, 1), 1_000);
    }

    #[test]
    fn what_comes_late_to_the_host_rests_longer() {
        assert_eq!(milliseconds(250, 1_000, 50), 4_050);
    }

    #[test]
    fn less_than_the_share_of_a_period_never_rests() {
        assert_eq!(milliseconds(250, 24, 1), 24);
    }

    #[test]
    fn what_was_not_used_is_not_kept() {
        let (start, mut quota) = (Instant::now(), Quota::new(500));
        assert_eq!(quota.rest(MS, start), None);
        let later = start + Duration::from_secs(60);
        assert_eq!(quota.rest(2 * MS, later), None);
        assert_eq!(quota.rest(52 * MS, later + Duration::from_millis(50)), Some(Duration::from_millis(50)));
    }
}
