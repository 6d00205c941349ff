//! Which rooms' logs were given their time to live not long ago: not every publication has to.
//!
//! A log is given an eighth more than its TTL, and that again with the first publication after an
//! eighth has passed: so it lives for the TTL at least after whichever was sent last. Two commands fewer
//! of six in the script, for Redis and for its replicas.

use std::collections::HashMap;
use std::time::Duration;

use ahash::RandomState;
use fanfare_shared::RoomName;
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::backend::EPOCH_TTL;

/// How many rooms are remembered. One more, and all are forgotten: each is renewed once more.
const MOST: usize = 65_536;

/// What part of a TTL may pass between renewals, and is given beyond it.
const PART: u32 = 8;

/// The renewals by one link: what another server has, or this one after a restart, may have
/// another time to live.
#[derive(Default)]
pub(crate) struct Renewals(Mutex<HashMap<RoomName, Instant, RandomState>>);

impl Renewals {
    /// Whether a room's next publication has to renew its log.
    pub(crate) fn is_due(&self, room: &RoomName, ttl: Duration) -> bool {
        let last = self.lock().get(room).copied();
        last.is_none_or(|last| last.elapsed() >= ttl / PART)
    }

    /// Notes that a room's log was renewed, at some time after `since`.
    pub(crate) fn note(&self, room: &RoomName, since: Instant) {
        let mut last = self.lock();
        let full = last.len() >= MOST && !last.contains_key(room);
        let forgotten = if full {
            std::mem::take(&mut *last)
        } else {
            HashMap::default()
        };
        last.insert(room.clone(), since);
        drop(last);
        // It takes a while, for which nobody should wait who publishes.
        drop(forgotten);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RoomName, Instant, RandomState>> {
        self.0.lock()
    }
}

/// The time to live that a room's log is given, for it to live for `ttl` at least after whichever
/// publication is sent last.
pub(crate) fn of_log(ttl: Duration) -> Duration {
    ttl.saturating_add(ttl / PART)
}

/// The time to live that a room's position is given: longer than its log.
pub(crate) fn of_position(ttl: Duration) -> Duration {
    of_log(ttl).saturating_add(EPOCH_TTL)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(80);

    #[tokio::test(start_paused = true)]
    async fn a_log_outlives_its_ttl_whenever_the_last_publication_was() {
        let renewals = Renewals::default();
        let room = RoomName::new("room").unwrap();
        let (mut ends, mut renewed) = (Instant::now(), 0);
        for _ in 0..1_000 {
            if renewals.is_due(&room, TTL) {
                renewals.note(&room, Instant::now());
                ends = Instant::now() + of_log(TTL);
                renewed += 1;
            }
            assert!(ends - Instant::now() >= TTL);
            tokio::time::advance(Duration::from_millis(333)).await;
        }
        assert!(renewed <= 333 / 10 + 1, "{renewed} of a thousand");
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_bound_all_are_forgotten() {
        let renewals = Renewals::default();
        for number in 0..=MOST {
            let room = RoomName::new(&number.to_string()).unwrap();
            assert!(renewals.is_due(&room, TTL));
            renewals.note(&room, Instant::now());
        }
        assert_eq!(renewals.lock().len(), 1);
    }
}
