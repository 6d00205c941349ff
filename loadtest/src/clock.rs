//! Time as all processes of this machine see it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock: comparable between processes, unlike `Instant`.
#[allow(clippy::cast_sign_loss, reason = "the monotonic clock starts at zero")]
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What is due when, at a steady rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    start: u64,
    /// A second.
    rate: f64,
}

impl Schedule {
    /// Begins now; `rate` a second, more than 0.
    pub(crate) fn begin(rate: f64) -> Self {
        Self { start: now(), rate }
    }

    /// When number `index` is due.
    pub(crate) fn due(&self, index: u32) -> u64 {
        self.start + nanos(Duration::from_secs_f64(f64::from(index) / self.rate))
    }

    /// How long it is until then; none once it is due.
    pub(crate) fn until(&self, index: u32) -> Option<Duration> {
        let left = self.due(index).saturating_sub(now());
        (left > 0).then(|| Duration::from_nanos(left))
    }
}

/// How many are due within some seconds at a rate; at least one.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive, and at most what a round can send"
)]
pub(crate) fn count(rate: f64, seconds: f64) -> u32 {
    (rate * seconds).ceil().max(1.0) as u32
}

/// A duration on that clock.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
