//! Places for peers whose next step is awaited: a bounded number, beyond which the oldest gives way.
//!
//! Handshakes have them, refusals, and connections of the internal port. By age, not by what was
//! sent, so that a byte now and then gains a peer nothing: however many silent ones there are, the
//! next has a place at once, and keeps it until as many again have come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use prometheus::{IntCounter, IntGauge};
use tokio::sync::Notify;
use tokio::time::sleep;

/// How old a place has to be to give way: the time that an honest peer has in a crowd.
const GRACE: Duration = Duration::from_millis(500);

/// From how many places on. With fewer, the grace is in proportion, so that 8192 peers a second may
/// come at least: others wait no longer behind a full queue of the kernel, whoever fills it.
const FULL: u32 = 4096;

/// A bounded number of places.
pub(crate) struct Places {
    bound: usize,
    /// How old the oldest has to be to give way.
    grace: Duration,
    taken: Mutex<Taken>,
    /// Notified of a place that was given back.
    freed: Notify,
    gauge: IntGauge,
    displaced: IntCounter,
}

#[derive(Default)]
struct Taken {
    next: u64,
    /// By number, and so by age.
    oldest_first: BTreeMap<u64, Holder>,
}

struct Holder {
    since: Instant,
    wanted: Arc<Notify>,
}

/// One place, given back when dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    wanted: Arc<Notify>,
}

impl Places {
    /// `gauge` shows how many are taken, `displaced` counts those that gave way.
    pub(crate) fn new(bound: usize, gauge: IntGauge, displaced: IntCounter) -> Arc<Self> {
        let share = u32::try_from(bound).unwrap_or(u32::MAX).min(FULL);
        Arc::new(Self {
            bound,
            grace: GRACE * share / FULL,
            taken: Mutex::default(),
            freed: Notify::new(),
            gauge,
            displaced,
        })
    }

    /// Takes a place: a free one, or that of the oldest. Waits as long as that is too young, half a
    /// second at most.
    pub(crate) async fn take(self: &Arc<Self>) -> Place {
        loop {
            let wait = match self.try_take(Instant::now()) {
                Ok(place) => return place,
                Err(wait) => wait,
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.freed.notified() => {}
            }
        }
    }

    /// Takes a place, or says how long the oldest is too young to give way.
    fn try_take(self: &Arc<Self>, now: Instant) -> Result<Place, Duration> {
        let mut taken = self.lock();
        while taken.oldest_first.len() >= self.bound
            && let Some(oldest) = taken.oldest_first.first_entry()
        {
            let due = oldest.get().since + self.grace;
            if due > now {
                return Err(due - now);
            }
            oldest.remove().wanted.notify_one();
            self.gauge.dec();
            self.displaced.inc();
        }
        let wanted = Arc::new(Notify::new());
        let number = taken.next;
        taken.next += 1;
        let holder = Holder {
            since: now,
            wanted: Arc::clone(&wanted),
        };
        taken.oldest_first.insert(number, holder);
        self.gauge.inc();
        Ok(Place {
            places: Arc::clone(self),
            number,
            wanted,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock()
    }
}

impl Place {
    /// Waits until another has the place: let go of the peer now.
    pub(crate) async fn lost(&self) {
        self.wanted.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self
            .places
            .lock()
            .oldest_first
            .remove(&self.number)
            .is_some()
        {
            self.places.gauge.dec();
            self.places.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(bound: usize) -> Arc<Places> {
        let gauge = IntGauge::new("places", "taken").expect("a gauge");
        let displaced = IntCounter::new("displaced", "gave way").expect("a counter");
        Places::new(bound, gauge, displaced)
    }

    #[tokio::test]
    async fn the_oldest_gives_way_at_the_bound_and_no_other() {
        let places = places(2);
        let first = places.take().await;
        let second = places.take().await;
        let _third = places.take().await;
        first.lost().await;
        assert_eq!((places.gauge.get(), places.displaced.get()), (2, 1));
        // What gave way has nothing to give back.
        drop(first);
        assert_eq!(places.gauge.get(), 2);
        drop(second);
        assert_eq!(places.gauge.get(), 1);
        let _fourth = places.take().await;
        assert_eq!((places.gauge.get(), places.displaced.get()), (2, 1));
    }

    #[test]
    fn who_has_just_come_does_not_give_way() {
        for (bound, grace) in [(64, GRACE / 64), (4096, GRACE), (8192, GRACE)] {
            let places = places(bound);
            let now = Instant::now();
            let held: Vec<_> = (0..bound)
                .map(|_| places.try_take(now).expect("a free place"))
                .collect();
            assert_eq!(places.try_take(now).err(), Some(grace));
            assert!(places.try_take(now + grace).is_ok());
            assert_eq!(held.len(), bound);
        }
    }

    #[tokio::test]
    async fn a_place_given_back_is_taken_at_once() {
        let small = Arc::new(Places {
            bound: 1,
            // Only a place given back can end the wait.
            grace: Duration::from_secs(3600),
            taken: Mutex::default(),
            freed: Notify::new(),
            gauge: IntGauge::new("places", "taken").expect("a gauge"),
            displaced: IntCounter::new("displaced", "gave way").expect("a counter"),
        });
        let held = small.take().await;
        let (next, ()) = tokio::join!(small.take(), async { drop(held) });
        assert_eq!(next.number, 1);
        assert_eq!(small.displaced.get(), 0);
    }
}
