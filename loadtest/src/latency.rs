//! Latency: a histogram of how long after its due time a publication reached a member.
//!
//! Coordinated omission cannot creep in: the clock starts when a publication was *due*, so when
//! the sender or the server stalls, everything that was due meanwhile carries the delay.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest latency told apart: a minute. Longer ones count as this.
const MAX_NANOS: u64 = 60_000_000_000;

/// A histogram of nanoseconds, three significant digits.
#[derive(Debug, Clone)]
pub(crate) struct Latency(Histogram<u64>);

/// The usual points of a distribution, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) samples: u64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Default for Latency {
    #[allow(
        clippy::expect_used,
        reason = "the bounds are constants that are in order"
    )]
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, MAX_NANOS, 3).expect("valid bounds"))
    }
}

impl Latency {
    /// Records a receipt at `now` of what was due at `due`.
    pub(crate) fn record(&mut self, due: u64, now: u64) {
        self.0.saturating_record(now.saturating_sub(due).max(1));
    }

    /// Adds another histogram's samples.
    pub(crate) fn add(&mut self, other: &Self) {
        // Both have the same bounds, so that nothing can be out of range.
        let _ = self.0.add(&other.0);
    }

    /// The usual points.
    pub(crate) fn quantiles(&self) -> Quantiles {
        #[allow(clippy::cast_precision_loss, reason = "a minute of nanoseconds fits")]
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        Quantiles {
            samples: self.0.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A hundred messages, one a millisecond; the server answers at once, but stands still from
    /// the 10th to the 60th millisecond. A closed-loop client would see one slow answer in 51.
    #[test]
    fn a_stall_counts_for_everything_that_was_due_in_it() {
        let mut latency = Latency::default();
        for due in (0..100).map(|index| index * MS) {
            let stalled = (10 * MS..60 * MS).contains(&due);
            latency.record(due, if stalled { 60 * MS } else { due });
        }
        let quantiles = latency.quantiles();
        assert!((quantiles.max - 50_000.0).abs() < 50.0, "{quantiles:?}");
        assert!((quantiles.p90 - 40_000.0).abs() < 1_100.0, "{quantiles:?}");
        assert_eq!(quantiles.samples, 100);
    }
}
