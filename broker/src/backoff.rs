//! How long to wait before what failed is tried again: longer each time, and never in step with
//! others.

use std::time::Duration;

/// Doubles from attempt to attempt, up to a bound; each wait is between half of that and all of it,
/// so that nodes which failed together do not return together.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            next: first,
        }
    }

    /// Begins anew: something succeeded.
    pub(crate) const fn reset(&mut self) {
        self.next = self.first;
    }

    /// How long to wait after one more failure.
    pub(crate) fn wait(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(self.most);
        now.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_bound_and_begin_anew() {
        let [first, most] = [50, 300].map(Duration::from_millis);
        let mut backoff = Backoff::new(first, most);
        for _ in 0..2 {
            for full in [50, 100, 200, 300, 300].map(Duration::from_millis) {
                let wait = backoff.wait();
                assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
            }
            backoff.reset();
        }
    }
}
