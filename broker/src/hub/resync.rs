//! Rooms whose log has to be read without anybody asking: those that could not be read, and all
//! now and then, to compare positions.
//!
//! Rooms of one part of the backend fail together. Where reading them failed, one is tried, after
//! ever longer waits; once that goes well two, and so on. The other parts do not wait for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Hub;
use super::trials::Unread;
use crate::backend::Read;
use crate::room::{Request, Room};
use crate::trial::{Tally, Trial};

/// One turn, which ends however its task does.
struct Turn {
    hub: Arc<Hub>,
    part: u64,
    trial: Option<Trial>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(trial) = self.trial.take() {
            self.hub.resync.end(self.part, trial);
        }
    }
}

impl Turn {
    async fn run(mut self, rooms: Vec<Unread>) {
        let mut rooms = rooms.into_iter();
        while let Some(trial) = &mut self.trial {
            let batch: Vec<_> = rooms.by_ref().take(trial.window()).collect();
            if batch.is_empty() {
                return;
            }
            trial.judge(self.hub.sync_lost(batch).await);
        }
    }
}

impl Hub {
    /// Whether what is read may be answered: a server that refuses writes still reads.
    pub(super) fn may_read(&self) -> bool {
        self.backend.ready() || self.backend.refusing().is_some()
    }

    /// Sorts rooms by their part, each part's at random: a room that fails by itself must not be the
    /// one that is tried each time.
    fn by_part(&self, rooms: Vec<Unread>) -> HashMap<u64, Vec<Unread>> {
        let mut parts: HashMap<u64, Vec<Unread>> = HashMap::new();
        for room in rooms {
            let part = self.backend.part(&room.0);
            parts.entry(part).or_default().push(room);
        }
        for rooms in parts.values_mut() {
            // By chance alone, and not by the order of a map.
            rooms.sort_unstable_by_key(|(_, key, _)| key.0);
            fastrand::shuffle(rooms);
        }
        parts
    }

    // --- rooms that could not be read ---

    /// Reads rooms again that are lost, as many as may be tried.
    pub(super) fn read_again(&self, lost: Vec<Unread>) {
        let lost = self.by_part(lost);
        self.resync.keep(&lost);
        let Some(hub) = self.this.upgrade() else {
            return;
        };
        for (part, rooms) in lost {
            let Some(trial) = self.resync.begin(part) else {
                continue;
            };
            let turn = Turn {
                hub: Arc::clone(&hub),
                part,
                trial: Some(trial),
            };
            self.runtime.spawn(turn.run(rooms));
        }
    }

    /// Reads some rooms that are lost still.
    async fn sync_lost(&self, rooms: Vec<Unread>) -> Tally {
        let mut reads = Vec::with_capacity(rooms.len());
        for (name, key, log) in rooms {
            let is_lost = |room: &mut Room| if room.is_lost() { room.sync() } else { None };
            if let Some(Request::Sync { attempt, read, .. }) = self.with_room(&name, key, is_lost) {
                let read = self.backend.read(&name, log, read);
                reads.push((name, key, log, attempt, read));
            }
        }
        let mut tally = Tally::default();
        for (name, key, log, attempt, read) in reads {
            let outcome = read.await;
            tally.count(outcome.is_ok());
            self.synced(&name, key, log, attempt, outcome);
        }
        tally
    }

    // --- positions ---

    /// Compares positions with the log for as long as it is polled: each room every
    /// [`Options::sync_interval`](super::Options::sync_interval), or a little sooner, and one that
    /// differed again after a second.
    ///
    /// What is lost at the end of a burst shows in no later offset; this is how it is noticed. It
    /// also keeps alive the logs of rooms in which nothing is published; those that have no
    /// publications yet live for no longer than these would, and may need it more often.
    pub async fn compare_positions(&self) {
        let mut last_full = Instant::now();
        let mut interval = self.next_interval();
        let pause = Duration::from_secs(1).min(self.options.sync_interval);
        let mut trials = HashMap::new();
        for turn in 1_u64.. {
            tokio::time::sleep(pause).await;
            if !self.may_read() {
                continue;
            }
            let full = last_full.elapsed() >= interval;
            if full {
                last_full = Instant::now();
                interval = self.next_interval();
            }
            let is_due = |room: &Room| {
                let turns = room.log().quiet_ttl().div_duration_f64(pause) / 3.0;
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a duration's share is positive, and saturates"
                )]
                let turns = (turns as u64).max(1);
                room.is_suspect() || room.is_empty_log() && turn.is_multiple_of(turns)
            };
            let wanted =
                |room: &Room| room.is_live() && room.log().size > 0 && (full || is_due(room));
            let parts = self.by_part(self.rooms(wanted));
            if full {
                trials.retain(|part, _| parts.contains_key(part));
            }
            for (part, rooms) in parts {
                let trial = trials.entry(part).or_insert_with(Trial::untroubled);
                let mut rooms = rooms.into_iter();
                loop {
                    let batch: Vec<_> = rooms.by_ref().take(trial.window()).collect();
                    if batch.is_empty() {
                        break;
                    }
                    trial.judge(self.compare(batch).await);
                }
            }
        }
    }

    /// The time to the next comparison of all rooms. Nodes that started together do not read
    /// together.
    fn next_interval(&self) -> Duration {
        (self.options.sync_interval).mul_f64(1.0 - fastrand::f64() / 8.0)
    }

    async fn compare(&self, rooms: Vec<Unread>) -> Tally {
        let reads: Vec<_> = rooms
            .into_iter()
            .map(|(name, key, log)| {
                let read = self.backend.read(&name, log, Read::Begin);
                (name, key, log, read)
            })
            .collect();
        let mut tally = Tally::default();
        for (name, key, log, read) in reads {
            let outcome = read.await;
            tally.count(outcome.is_ok());
            let Ok(snapshot) = outcome else { continue };
            let request = self.with_room(&name, key, |room| {
                room.compare(snapshot.position, &self.metrics)
            });
            self.fulfil(&name, key, log, request);
        }
        tally
    }
}
