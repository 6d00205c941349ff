//! How long to wait before trying again: exponential, with full jitter, so that the clients of a
//! node that went away do not come back all at once.

use std::time::Duration;

/// The first wait is at most this.
const BASE: Duration = Duration::from_millis(500);
/// And no wait is longer than this.
const CAP: Duration = Duration::from_secs(30);

/// The attempts since something last went well.
#[derive(Debug, Default)]
pub(in crate::cli) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next wait: anything up to `BASE` doubled with every attempt, or up to `CAP`.
    pub(in crate::cli) fn next(&mut self) -> Duration {
        let most = self.most();
        self.attempts = self.attempts.saturating_add(1);
        most.mul_f64(fastrand::f64())
    }

    /// Something went well.
    pub(in crate::cli) fn reset(&mut self) {
        self.attempts = 0;
    }

    fn most(&self) -> Duration {
        let doubled = 2_u32.saturating_pow(self.attempts);
        BASE.saturating_mul(doubled).min(CAP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_start_over_after_success() {
        let mut backoff = Backoff::default();
        let mut bounds = Vec::new();
        for _ in 0..8 {
            bounds.push(backoff.most().as_millis());
            assert!(backoff.next() <= CAP);
        }
        assert_eq!(
            bounds,
            [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]
        );
        backoff.attempts = u32::MAX;
        assert!(backoff.next() <= CAP);
        backoff.reset();
        assert_eq!(backoff.most(), BASE);
    }

    #[test]
    fn waits_spread_over_the_whole_range() {
        let waits: Vec<Duration> = (0..1000).map(|_| Backoff::default().next()).collect();
        assert!(waits.iter().all(|wait| *wait < BASE));
        assert!(waits.iter().any(|wait| *wait < BASE / 10));
        assert!(waits.iter().any(|wait| *wait > BASE * 9 / 10));
    }
}
