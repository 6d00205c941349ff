//! How much of something somebody may still have: a bucket that fills steadily.
//!
//! Kept as the moment at which it is full again (the generic cell rate algorithm): one field, and
//! nothing to do as time passes.

use std::time::{Duration, Instant};

/// How much a bucket holds, and in which time an empty one fills.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    most: u32,
    fill: Duration,
}

impl Rate {
    /// So much a minute, all of which may be had at once.
    pub(crate) const fn a_minute(most: u32) -> Self {
        let fill = Duration::from_secs(60);
        Self { most, fill }
    }

    /// So much a second, all of which may be had at once; `None` for any number, which 0 says.
    pub(crate) const fn a_second(most: u32) -> Option<Self> {
        let fill = Duration::from_secs(1);
        if most == 0 {
            return None;
        }
        Some(Self { most, fill })
    }
}

/// A bucket.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Budget {
    full_at: Option<Instant>,
}

impl Budget {
    /// Whether something is left.
    pub(crate) fn is_left(&self, rate: Rate, now: Instant) -> bool {
        self.wait(rate, now).is_none()
    }

    /// How long it takes until something is left; `None` where something is.
    pub(crate) fn wait(&self, Rate { most, fill }: Rate, now: Instant) -> Option<Duration> {
        let missing = self.full_at?.checked_duration_since(now)?;
        (missing + fill / most)
            .checked_sub(fill)
            .filter(|wait| !wait.is_zero())
    }

    /// Takes some, though it may have been the last: what was done cannot be undone.
    pub(crate) fn take(&mut self, count: u32, Rate { most, fill }: Rate, now: Instant) {
        let from = self.full_at.map_or(now, |full_at| full_at.max(now));
        let taken = fill.mul_f64(f64::from(count) / f64::from(most));
        self.full_at = from.checked_add(taken);
    }

    /// Whether it is as full as can be.
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.full_at.is_none_or(|full_at| full_at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_spent_at_once_and_fills_in_a_minute() {
        let (mut budget, start) = (Budget::default(), Instant::now());
        let rate = Rate::a_minute(60);
        for _ in 0..60 {
            assert!(budget.is_left(rate, start));
            budget.take(1, rate, start);
        }
        assert_eq!(budget.wait(rate, start), Some(Duration::from_secs(1)));
        let later = start + Duration::from_secs(2);
        for left in [true, true, false] {
            assert_eq!(budget.is_left(rate, later), left);
            budget.take(1, rate, later);
        }
        let much_later = start + Duration::from_secs(600);
        assert!(budget.is_full(much_later));
        budget.take(59, rate, much_later);
        assert!(budget.is_left(rate, much_later));
        budget.take(1, rate, much_later);
        assert!(
            !budget.is_left(rate, much_later),
            "it holds no more than that"
        );
    }

    #[test]
    fn what_is_taken_at_once_beyond_the_bucket_is_waited_for() {
        let (mut budget, start) = (Budget::default(), Instant::now());
        let rate = Rate::a_second(1_000).unwrap();
        budget.take(3_000, rate, start);
        let wait = budget.wait(rate, start).unwrap();
        assert_eq!(wait.as_millis(), 2_001);
        assert!(budget.is_left(rate, start + wait));
    }
}
