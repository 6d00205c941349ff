//! Which rooms the node wants at a shard, and the task that tells Redis.
//!
//! Calls only note what is wanted; the task takes all that was noted since it last looked and
//! sends it in few commands. A room noted twice meanwhile is sent once, as it was noted last.
//!
//! In a cluster a room can be wanted here while its subscription is not in place: just after its
//! slot came from another shard, or after the server said that the slot has gone. Such a room is
//! unsettled: nothing is read for it, and whoever moved it waits until it is settled.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fanfare_shared::RoomName;
use redis::{RedisResult, make_extension_error};
use tokio::sync::{Notify, oneshot, watch};

use super::loss::Loss;
use super::refusal::Refusal;
use super::shard::Shard;
use super::subscriber::Subscriber;
use super::{BackendError, Pending, keys, sharded};

/// The most channels in one SUBSCRIBE or UNSUBSCRIBE, and in a cluster in one round trip.
const MAX_CHANNELS: usize = 1_000;

type Answer = oneshot::Sender<Result<(), BackendError>>;

/// The rooms that the node wants, kept across links.
pub(super) struct Interest {
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
    homes: HashMap<RoomName, usize>,
}

#[derive(Default)]
struct Change {
    wanted: bool,
    waiting: Vec<Answer>,
}

impl Interest {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            state: Mutex::new(State {
                open: false,
                rooms: HashSet::new(),
                unsettled: HashSet::new(),
                asked: HashMap::new(),
                changes: HashMap::new(),
                homes: HashMap::new(),
            }),
            changed: Notify::new(),
            settled: watch::Sender::new(()),
            bound,
        }
    }

    /// Wants a room, at this subscriber unless it is at another yet. Without a link that is refused,
    /// and not remembered.
    pub(super) fn subscribe(&self, room: &RoomName, subscriber: usize) -> Pending<()> {
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
        state.homes.entry(room.clone()).or_insert(subscriber);
        let (answer, answered) = oneshot::channel();
        let change = state.changes.entry(room.clone()).or_default();
        change.wanted = true;
        change.waiting.push(answer);
        drop(state);
        self.changed.notify_one();
        Pending::Waiting(answered)
    }

    /// Wants a room no more.
    pub(super) fn unsubscribe(&self, room: &RoomName) {
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
    pub(super) fn open(&self) {
        self.lock().open = true;
    }

    /// Refuses wishes from now on, and forgets those that are not confirmed.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.open = false;
        let dropped = std::mem::take(&mut state.changes);
        drop(state);
        drop(dropped);
    }

    // --- rooms that come and go with their slots ---

    /// Gives up all rooms in these slots, with the subscribers that they are at. Whoever waits for
    /// one of their subscriptions is refused.
    pub(super) fn give(&self, moved: impl Fn(&RoomName) -> bool) -> Vec<(RoomName, usize)> {
        let mut state = self.lock();
        let given: Vec<_> = state.rooms.extract_if(|room| moved(room)).collect();
        let dropped: Vec<_> = state.changes.extract_if(|room, _| moved(room)).collect();
        let given = given.into_iter().map(|room| {
            state.unsettled.remove(&room);
            let home = state.homes.remove(&room).unwrap_or_default();
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
    pub(super) fn take_over(&self, room: &RoomName, subscriber: usize) {
        let mut state = self.lock();
        state.homes.entry(room.clone()).or_insert(subscriber);
        state.unsettled.insert(room.clone());
        state.rooms.insert(room.clone());
    }

    /// Notes that the server ended a subscription; answers whether it was wanted.
    pub(super) fn unsettle(&self, room: &RoomName) -> bool {
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
    pub(super) fn retry(&self) -> HashSet<RoomName> {
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
    pub(super) fn is_unsettled(&self, room: &RoomName) -> bool {
        self.lock().unsettled.contains(room)
    }

    /// Waits until none of these rooms is unsettled.
    pub(super) async fn settled(&self, rooms: &HashSet<RoomName>) {
        let mut settled = self.settled.subscribe();
        // Fails only without a sender, which lives as long as `self`.
        let _ = settled
            .wait_for(|()| self.lock().unsettled.is_disjoint(rooms))
            .await;
    }

    // --- the link's side ---

    /// All wanted rooms, for each of so many subscribers. What changes from here on is noted, and
    /// sent after them.
    fn wanted(&self, subscribers: usize) -> Vec<Vec<RoomName>> {
        let mut state = self.lock();
        let State {
            rooms,
            changes,
            homes,
            ..
        } = &mut *state;
        changes.clear();
        homes.retain(|room, _| rooms.contains(room));
        let mut wanted = vec![Vec::new(); subscribers];
        for room in &state.rooms {
            wanted[state.home(room)].push(room.clone());
        }
        wanted
    }

    /// Subscribes new connections to the probe's channel and to everything that is wanted. In a
    /// cluster, rooms that the server says are elsewhere are left unsettled.
    pub(super) async fn resubscribe(
        &self,
        subscribers: &mut [Subscriber],
        shard: &Shard,
        probe: &str,
    ) -> RedisResult<()> {
        let probe = [probe.to_owned()];
        for subscriber in &mut *subscribers {
            if !shard.is_sharded() {
                subscriber.connection.subscribe("SUBSCRIBE", &probe).await?;
                continue;
            }
            let Subscriber {
                connection,
                inbound,
                ..
            } = subscriber;
            let outcomes = sharded::subscribe(connection, inbound, &probe).await?;
            if let Some(refusal) = outcomes.into_iter().find_map(Result::err) {
                // The map is out of date; by the next attempt it may not be.
                let why = Some(refusal.to_string());
                return Err(make_extension_error("SSUBSCRIBE".to_owned(), why));
            }
        }
        let wanted = self.wanted(subscribers.len());
        for (subscriber, rooms) in subscribers.iter_mut().zip(wanted) {
            for rooms in rooms.chunks(MAX_CHANNELS) {
                self.restore(subscriber, shard, rooms).await?;
            }
        }
        self.settled.send_replace(());
        Ok(())
    }

    /// Subscribes a new connection to some rooms.
    async fn restore(
        &self,
        Subscriber {
            connection,
            inbound,
            ..
        }: &mut Subscriber,
        shard: &Shard,
        rooms: &[RoomName],
    ) -> RedisResult<()> {
        let channels = channels(rooms.iter());
        if !shard.is_sharded() {
            return connection.subscribe("SUBSCRIBE", &channels).await;
        }
        self.ask(rooms.iter());
        let outcomes = sharded::subscribe(connection, inbound, &channels).await?;
        let mut state = self.lock();
        for (room, outcome) in rooms.iter().zip(outcomes) {
            let ended = state.asked.get(room) == Some(&true);
            if outcome.is_ok() && !ended {
                state.unsettled.remove(room);
            } else if state.rooms.contains(room) {
                state.unsettled.insert(room.clone());
            }
        }
        Ok(())
    }

    /// Tells Redis what is wanted, until the link is lost.
    pub(super) async fn apply(&self, mut subscribers: Vec<Subscriber>, shard: &Shard) -> Loss {
        loop {
            let noted = self.noted(subscribers.len());
            if noted.iter().all(Noted::is_empty) {
                self.changed.notified().await;
                continue;
            }
            if let Err(loss) = self.tell(&mut subscribers, shard, noted).await {
                return loss;
            }
        }
    }

    /// Takes what has changed, for each of so many subscribers.
    fn noted(&self, subscribers: usize) -> Vec<Noted> {
        let mut state = self.lock();
        let mut noted: Vec<_> = (0..subscribers).map(|_| Noted::default()).collect();
        for (room, change) in std::mem::take(&mut state.changes) {
            let Noted { wanted, unwanted } = &mut noted[state.home(&room)];
            let rooms = if change.wanted { wanted } else { unwanted };
            rooms.push((room, change));
        }
        noted
    }

    /// Tells Redis of what has changed.
    async fn tell(
        &self,
        subscribers: &mut [Subscriber],
        shard: &Shard,
        mut noted: Vec<Noted>,
    ) -> Result<(), Loss> {
        for (subscriber, Noted { unwanted, .. }) in subscribers.iter_mut().zip(&mut noted) {
            self.drop_rooms(subscriber, shard, std::mem::take(unwanted))
                .await?;
        }
        for (subscriber, Noted { wanted, .. }) in subscribers.iter_mut().zip(noted) {
            let mut wanted = wanted.into_iter().peekable();
            while wanted.peek().is_some() {
                let batch: Vec<_> = wanted.by_ref().take(MAX_CHANNELS).collect();
                self.add_rooms(subscriber, shard, batch).await?;
            }
        }
        Ok(())
    }

    async fn drop_rooms(
        &self,
        Subscriber {
            connection,
            inbound,
            ..
        }: &mut Subscriber,
        shard: &Shard,
        rooms: Vec<(RoomName, Change)>,
    ) -> Result<(), Loss> {
        for batch in rooms.chunks(MAX_CHANNELS) {
            let channels = channels(batch.iter().map(|(room, _)| room));
            let dropped = if shard.is_sharded() {
                sharded::unsubscribe(connection, inbound, &channels).await
            } else {
                connection.subscribe("UNSUBSCRIBE", &channels).await
            };
            match dropped {
                Ok(()) => {
                    let mut state = self.lock();
                    batch.iter().for_each(|(room, _)| state.forget(room));
                }
                // Refused, we go on receiving what nobody wants: a cost, not a fault.
                Err(error) => drop(Refusal::of(&error)?),
            }
        }
        for (_, change) in rooms {
            change.answer(&Ok(()));
        }
        Ok(())
    }

    async fn add_rooms(
        &self,
        Subscriber {
            connection,
            inbound,
            ..
        }: &mut Subscriber,
        shard: &Shard,
        batch: Vec<(RoomName, Change)>,
    ) -> Result<(), Loss> {
        let channels = channels(batch.iter().map(|(room, _)| room));
        if !shard.is_sharded() {
            let outcome = match connection.subscribe("SUBSCRIBE", &channels).await {
                Ok(()) => Ok(()),
                Err(error) => Err(Refusal::of(&error)?.into()),
            };
            for (room, change) in batch {
                match outcome {
                    Ok(()) => self.confirm(&room),
                    Err(_) => self.lock().forget(&room),
                }
                change.answer(&outcome);
            }
            return Ok(());
        }
        self.ask(batch.iter().map(|(room, _)| room));
        let outcomes = match sharded::subscribe(connection, inbound, &channels).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                Refusal::of(&error)?;
                return Err(Loss::Closed);
            }
        };
        for ((room, change), outcome) in batch.into_iter().zip(outcomes) {
            let outcome = match outcome {
                Ok(()) => {
                    self.confirm(&room);
                    // Its slot may have gone before the answer was read; then nobody took it over.
                    if (shard.rooms)(&room) || self.give(|given| *given == room).is_empty() {
                        Ok(())
                    } else {
                        Err(BackendError::Unavailable)
                    }
                }
                Err(refusal) => {
                    self.lock().forget(&room);
                    shard.contradict();
                    Err(refusal.into())
                }
            };
            change.answer(&outcome);
        }
        self.settled.send_replace(());
        Ok(())
    }

    /// Notes which rooms a round trip subscribes to.
    fn ask<'a>(&self, rooms: impl Iterator<Item = &'a RoomName>) {
        self.lock().asked = rooms.map(|room| (room.clone(), false)).collect();
    }

    /// Notes that a subscription is in place, or was, unless the room is wanted no more.
    fn confirm(&self, room: &RoomName) {
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

    /// No code panics under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has changed at one subscriber.
#[derive(Default)]
struct Noted {
    wanted: Vec<(RoomName, Change)>,
    unwanted: Vec<(RoomName, Change)>,
}

impl Noted {
    fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.unwanted.is_empty()
    }
}

impl State {
    /// At which subscriber a room is.
    fn home(&self, room: &RoomName) -> usize {
        self.homes.get(room).copied().unwrap_or_default()
    }

    /// Forgets at which, where nothing of the room is left.
    fn forget(&mut self, room: &RoomName) {
        if !self.rooms.contains(room) && !self.changes.contains_key(room) {
            self.homes.remove(room);
        }
    }
}

impl Change {
    fn answer(self, outcome: &Result<(), BackendError>) {
        for waiting in self.waiting {
            // Whoever asked may have gone.
            let _ = waiting.send(outcome.clone());
        }
    }
}

fn channels<'a>(rooms: impl Iterator<Item = &'a RoomName>) -> Vec<String> {
    rooms.map(|room| keys::channel(room).to_string()).collect()
}
