//! How much of what failed is tried again, and when: one at first, after ever longer waits; once
//! that goes well, twice as much each time.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

/// How many are tried at once at the most.
pub(crate) const BATCH: usize = 512;

/// The wait after a failure, and after many.
const RETRY: Duration = Duration::from_millis(250);
const MAX_RETRY: Duration = Duration::from_secs(5);

/// The attempts at things that fail together.
#[derive(Debug)]
pub(crate) struct Trial {
    backoff: Backoff,
    window: usize,
    at: Instant,
}

impl Default for Trial {
    fn default() -> Self {
        Self {
            backoff: Backoff::new(RETRY, MAX_RETRY),
            window: 1,
            at: Instant::now(),
        }
    }
}

impl Trial {
    /// The first attempt, of which nothing is known: many at once.
    pub(crate) fn untroubled() -> Self {
        Self {
            window: BATCH,
            ..Self::default()
        }
    }

    /// How many may be tried now.
    pub(crate) fn window(&self) -> usize {
        if self.at <= Instant::now() {
            self.window
        } else {
            0
        }
    }

    /// Takes what became of those that were tried.
    pub(crate) fn judge(&mut self, tally: Tally) {
        if tally.failed > tally.done {
            self.window = 1;
            self.at = Instant::now() + self.backoff.wait();
        } else if tally.done > 0 {
            self.window = (self.window * 2).min(BATCH);
            self.backoff.reset();
            self.at = Instant::now();
        }
    }
}

/// How many of those that were tried together went well.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) done: usize,
    pub(crate) failed: usize,
}

impl Tally {
    /// Counts one.
    pub(crate) const fn count(&mut self, went_well: bool) {
        if went_well {
            self.done += 1;
        } else {
            self.failed += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Tally = Tally { done: 0, failed: 1 };

    #[tokio::test(start_paused = true)]
    async fn one_is_tried_ever_more_seldom_until_it_goes_well_and_then_ever_more() {
        let mut trial = Trial::default();
        let (begun, mut tried) = (Instant::now(), 0);
        while begun.elapsed() < Duration::from_secs(600) {
            trial.judge(FAILED);
            tokio::time::sleep_until(trial.at).await;
            assert_eq!(trial.window(), 1);
            tried += 1;
        }
        // Every four seconds or so.
        assert!((120..=240).contains(&tried), "{tried} in ten minutes");
        let mut windows = Vec::new();
        for _ in 0..11 {
            windows.push(trial.window());
            let done = trial.window();
            trial.judge(Tally { done, failed: 0 });
        }
        assert_eq!(windows, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 512]);
        trial.judge(Tally {
            done: 100,
            failed: 412,
        });
        assert!(trial.at - Instant::now() <= RETRY);
        tokio::time::sleep_until(trial.at).await;
        assert_eq!(trial.window(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_says_nothing_changes_nothing() {
        let mut trial = Trial::default();
        trial.judge(FAILED);
        let at = trial.at;
        trial.judge(Tally::default());
        assert_eq!((trial.at, trial.window()), (at, 0));
    }
}
