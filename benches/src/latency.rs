//! What many durations say together.

use std::time::Duration;

use serde_json::{Value, json};

/// Durations of one kind of thing, in the order in which they were measured.
#[derive(Default)]
pub(crate) struct Latencies(Vec<u32>);

impl Latencies {
    /// Adds one. More than four seconds count as that: nothing here is of that order.
    pub(crate) fn add(&mut self, duration: Duration) {
        self.0.push(u32::try_from(duration.as_nanos()).unwrap_or(u32::MAX));
    }

    /// Adds those of another.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// How many there are, how many a second that is in `elapsed`, and how they are spread.
    pub(crate) fn summary(mut self, elapsed: Duration) -> Value {
        self.0.sort_unstable();
        let count = self.0.len();
        let mean_ns = self.0.iter().map(|ns| f64::from(*ns)).sum::<f64>() / count.max(1) as f64;
        json!({
            "count": count,
            "seconds": elapsed.as_secs_f64(),
            "perSecond": count as f64 / elapsed.as_secs_f64(),
            "meanUs": mean_ns / 1e3,
            "p50Us": self.quantile_us(0.5),
            "p90Us": self.quantile_us(0.9),
            "p99Us": self.quantile_us(0.99),
            "maxUs": self.quantile_us(1.0),
        })
    }

    /// Of sorted durations.
    fn quantile_us(&self, quantile: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let at = (last as f64 * quantile).round() as usize;
        self.0.get(at).map_or(0.0, |ns| f64::from(*ns) / 1e3)
    }
}
