//! How many new rooms a connection may still have: a bucket that fills steadily.
//!
//! Kept as the moment at which it is full again (the generic cell rate algorithm): one field, and
//! nothing to do as time passes.

use std::time::{Duration, Instant};

use fanfare_shared::Position;

/// The time in which an empty bucket fills.
const FILL: Duration = Duration::from_secs(60);

/// A connection's bucket; `most` is how much it holds.
#[derive(Debug, Default)]
pub(super) struct Budget {
    full_at: Option<Instant>,
}

impl Budget {
    /// Whether something is left.
    pub(super) fn is_left(&self, most: u32, now: Instant) -> bool {
        let missing = self
            .full_at
            .map_or(Duration::ZERO, |full_at| full_at.duration_since(now));
        missing + FILL / most <= FILL
    }

    /// Takes some, though it may have been the last: what was done cannot be undone.
    pub(super) fn take(&mut self, count: u32, most: u32, now: Instant) {
        let from = self.full_at.map_or(now, |full_at| full_at.max(now));
        self.full_at = from.checked_add(FILL / most * count);
    }
}

/// Whether a publication was the first of its room's log, and so made the room a new one.
pub(super) fn begins_log(position: Option<Position>) -> bool {
    position.is_some_and(|position| position.offset == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_spent_at_once_and_fills_in_a_minute() {
        let (mut budget, start) = (Budget::default(), Instant::now());
        for _ in 0..60 {
            assert!(budget.is_left(60, start));
            budget.take(1, 60, start);
        }
        assert!(!budget.is_left(60, start));
        let later = start + Duration::from_secs(2);
        for left in [true, true, false] {
            assert_eq!(budget.is_left(60, later), left);
            budget.take(1, 60, later);
        }
        let much_later = start + Duration::from_secs(600);
        budget.take(59, 60, much_later);
        assert!(budget.is_left(60, much_later));
        budget.take(1, 60, much_later);
        assert!(
            !budget.is_left(60, much_later),
            "it holds no more than that"
        );
    }
}
