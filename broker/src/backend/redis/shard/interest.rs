//! Which rooms the node wants at a shard.
//!
//! Calls only note what is wanted; the link takes all that was noted since it last looked and
//! sends it in few commands. A room noted twice meanwhile is sent once, as it was noted last.
//!
//! In a cluster a room can be wanted here while its subscription is not in place: just after its
//! slot came from another shard, or after the server said that the slot has gone. Such a room is
//! unsettled: nothing is read for it, and whoever moved it waits until it is settled.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use fanfare_shared::RoomName;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot, watch};

use crate::backend::{BackendError, Pending};

type Answer = oneshot::Sender<Result<(), BackendError>>;

/// The rooms that the node wants, kept across links.
pub(crate) struct Interest {
    state: Mutex<State>,
    changed: Notify,
    settled: watch::Sender<()>,
    /// The most changes that wait.
    bound: usize,
}

struct State {
    /// Whether there is a link to tell.
    open: bool,
    /// The rooms whose subscription was confirmed, on this link or an earlier one, or that came
    /// from another shard, and that are wanted still. As many as the node has rooms.
    rooms: HashSet<RoomName>,
    /// Those of them whose subscription is not in place.
    unsettled: HashSet<RoomName>,
    /// In a cluster: the rooms that a round trip under way subscribes to, and whether the server
    /// has ended their subscriptions meanwhile.
    asked: HashMap<RoomName, bool>,
    changes: HashMap<RoomName, Change>,
    /// Which subscriber each room is at, from when it is first wanted until nothing of it is left
    /// there. Were it wanted at another before that, it might come twice.
    assignments: HashMap<RoomName, usize>,
}

/// What is wanted of a room now, and who waits for it.
#[derive(Default)]
pub(crate) struct Change {
    wanted: bool,
    waiting: Vec<Answer>,
}

impl Interest {
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            state: Mutex::new(State {
                open: false,
                rooms: HashSet::new(),
                unsettled: HashSet::new(),
                asked: HashMap::new(),
                changes: HashMap::new(),
                assignments: HashMap::new(),
            }),
            changed: Notify::new(),
            settled: watch::Sender::new(()),
            bound,
        }
    }

    /// Wants a room, at this subscriber unless it is at another yet. Without a link that is refused,
    /// and not remembered.
    pub(crate) fn subscribe(&self, room: &RoomName, subscriber: usize) -> Pending<()> {
        let mut state = self.lock();
        if !state.open {
            return Pending::ready(Err(BackendError::Unavailable));
        }
        if state.rooms.contains(room) && !state.unsettled.contains(room) {
            return Pending::ready(Ok(()));
        }
        if state.changes.len() >= self.bound {
            return Pending::ready(Err(BackendError::Overloaded));
        }
        state.assignments.entry(room.clone()).or_insert(subscriber);
        let (answer, answered) = oneshot::channel();
        let change = state.changes.entry(room.clone()).or_default();
        change.wanted = true;
        change.waiting.push(answer);
        drop(state);
        self.changed.notify_one();
        Pending::Waiting(answered)
    }

    /// Wants a room no more.
    pub(crate) fn unsubscribe(&self, room: &RoomName) {
        let mut state = self.lock();
        state.unsettled.remove(room);
        // Also while a new connection is being subscribed to what was wanted before.
        if state.rooms.remove(room) || state.open {
            // Whoever waits for a subscription is answered all the same: it was in vain.
            state.changes.entry(room.clone()).or_default().wanted = false;
            drop(state);
            self.changed.notify_one();
            self.settled.send_replace(());
        }
    }

    /// Begins to take wishes.
    pub(crate) fn open(&self) {
        self.lock().open = true;
    }

    /// Refuses wishes from now on, and forgets those that are not confirmed.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.open = false;
        let dropped = std::mem::take(&mut state.changes);
        drop(state);
        drop(dropped);
    }

    // --- rooms that come and go with their slots ---

    /// Gives up all rooms in these slots, with the subscribers that they are at. Whoever waits for
    /// one of their subscriptions is refused.
    pub(crate) fn give(&self, moved: impl Fn(&RoomName) -> bool) -> Vec<(RoomName, usize)> {
        let mut state = self.lock();
        let given: Vec<_> = state.rooms.extract_if(|room| moved(room)).collect();
        let dropped: Vec<_> = state.changes.extract_if(|room, _| moved(room)).collect();
        let given = given.into_iter().map(|room| {
            state.unsettled.remove(&room);
            let home = state.assignments.remove(&room).unwrap_or_default();
            (room, home)
        });
        let given = given.collect();
        // Where the others are is still known: one may be on its way there.
        drop(state);
        drop(dropped);
        self.settled.send_replace(());
        given
    }

    /// Takes over a room from another shard; it is unsettled until [retried](Interest::retry).
    pub(crate) fn take_over(&self, room: &RoomName, subscriber: usize) {
        let mut state = self.lock();
        state.assignments.entry(room.clone()).or_insert(subscriber);
        state.unsettled.insert(room.clone());
        state.rooms.insert(room.clone());
    }

    /// Notes that the server ended a subscription; answers whether it was wanted.
    pub(crate) fn unsettle(&self, room: &RoomName) -> bool {
        let mut state = self.lock();
        // What it confirmed just before is not noted yet.
        let asked = state.asked.get_mut(room).map(|ended| *ended = true);
        let wanted = state.rooms.contains(room);
        if wanted {
            state.unsettled.insert(room.clone());
        }
        wanted || asked.is_some()
    }

    /// Tries once more to subscribe to the rooms that are unsettled, and answers which they are.
    pub(crate) fn retry(&self) -> HashSet<RoomName> {
        let mut state = self.lock();
        let unsettled = state.unsettled.clone();
        // A link that is made anew subscribes to all rooms.
        if state.open {
            for room in &unsettled {
                state.changes.entry(room.clone()).or_default().wanted = true;
            }
        }
        drop(state);
        if !unsettled.is_empty() {
            self.changed.notify_one();
        }
        unsettled
    }

    /// Whether a room's subscription is not in place.
    pub(crate) fn is_unsettled(&self, room: &RoomName) -> bool {
        self.lock().unsettled.contains(room)
    }

    /// Waits until none of these rooms is unsettled.
    pub(crate) async fn settled(&self, rooms: &HashSet<RoomName>) {
        let mut settled = self.settled.subscribe();
        // Fails only without a sender, which lives as long as `self`.
        let _ = settled
            .wait_for(|()| self.lock().unsettled.is_disjoint(rooms))
            .await;
    }

    // --- the link's side ---

    /// All wanted rooms, for each of so many subscribers. What changes from here on is noted, and
    /// sent after them.
    pub(crate) fn wanted(&self, subscribers: usize) -> Vec<Vec<RoomName>> {
        let mut state = self.lock();
        let State {
            rooms,
            changes,
            assignments,
            ..
        } = &mut *state;
        changes.clear();
        assignments.retain(|room, _| rooms.contains(room));
        let mut wanted = vec![Vec::new(); subscribers];
        for room in &state.rooms {
            wanted[state.assigned(room)].push(room.clone());
        }
        wanted
    }

    /// Takes what has changed, for each of so many subscribers.
    pub(crate) fn noted(&self, subscribers: usize) -> Vec<Noted> {
        let mut state = self.lock();
        let mut noted: Vec<_> = (0..subscribers).map(|_| Noted::default()).collect();
        for (room, change) in std::mem::take(&mut state.changes) {
            let Noted { wanted, unwanted } = &mut noted[state.assigned(&room)];
            let rooms = if change.wanted { wanted } else { unwanted };
            rooms.push((room, change));
        }
        noted
    }

    /// Notes which rooms a round trip subscribes to.
    pub(crate) fn ask<'a>(&self, rooms: impl Iterator<Item = &'a RoomName>) {
        self.lock().asked = rooms.map(|room| (room.clone(), false)).collect();
    }

    /// Notes which of some rooms a new connection was subscribed to.
    pub(crate) fn restored<'a>(&self, rooms: impl Iterator<Item = (&'a RoomName, bool)>) {
        let mut state = self.lock();
        for (room, is_in_place) in rooms {
            let ended = state.asked.get(room) == Some(&true);
            if is_in_place && !ended {
                state.unsettled.remove(room);
            } else if state.rooms.contains(room) {
                state.unsettled.insert(room.clone());
            }
        }
    }

    /// Notes that nothing of some rooms is left where they were, unless they are wanted anew.
    pub(crate) fn forget<'a>(&self, rooms: impl Iterator<Item = &'a RoomName>) {
        let mut state = self.lock();
        rooms.for_each(|room| state.forget(room));
    }

    /// Wakes who waits for rooms to be settled.
    pub(crate) fn settle(&self) {
        self.settled.send_replace(());
    }

    /// Waits until something has changed since this was last waited for.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Notes that a subscription is in place, or was, unless the room is wanted no more.
    pub(crate) fn confirm(&self, room: &RoomName) {
        let mut state = self.lock();
        if state.changes.get(room).is_none_or(|change| change.wanted) {
            state.rooms.insert(room.clone());
            if state.asked.get(room) == Some(&true) {
                state.unsettled.insert(room.clone());
            } else {
                state.unsettled.remove(room);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// What has changed at one subscriber.
#[derive(Default)]
pub(crate) struct Noted {
    pub(crate) wanted: Vec<(RoomName, Change)>,
    pub(crate) unwanted: Vec<(RoomName, Change)>,
}

impl Noted {
    pub(crate) fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.unwanted.is_empty()
    }
}

impl State {
    /// At which subscriber a room is.
    fn assigned(&self, room: &RoomName) -> usize {
        self.assignments.get(room).copied().unwrap_or_default()
    }

    /// Forgets at which, where nothing of the room is left.
    fn forget(&mut self, room: &RoomName) {
        if !self.rooms.contains(room) && !self.changes.contains_key(room) {
            self.assignments.remove(room);
        }
    }
}

impl Change {
    pub(crate) fn answer(self, outcome: &Result<(), BackendError>) {
        for waiting in self.waiting {
            // Whoever asked may have gone.
            let _ = waiting.send(outcome.clone());
        }
    }
}
