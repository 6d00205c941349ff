//! Which rooms the node wants, and the task that tells Redis.
//!
//! Calls only note what is wanted; the task takes all that was noted since it last looked and
//! sends it in few commands. A room noted twice meanwhile is sent once, as it was noted last.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fanfare_shared::RoomName;
use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use tokio::sync::{Notify, oneshot};

use super::link::Loss;
use super::refusal::Refusal;
use super::{BackendError, Pending, keys};

/// The most channels in one SUBSCRIBE or UNSUBSCRIBE.
const MAX_CHANNELS: usize = 1_000;

type Answer = oneshot::Sender<Result<(), BackendError>>;

/// The rooms that the node wants, kept across links.
pub(super) struct Interest {
    state: Mutex<State>,
    changed: Notify,
    /// The most changes that wait.
    bound: usize,
}

struct State {
    /// Whether there is a link to tell.
    open: bool,
    /// The rooms whose subscription was confirmed, on this link or an earlier one, and that are
    /// wanted still. As many as the node has rooms.
    rooms: HashSet<RoomName>,
    changes: HashMap<RoomName, Change>,
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
                changes: HashMap::new(),
            }),
            changed: Notify::new(),
            bound,
        }
    }

    /// Wants a room. Without a link that is refused, and not remembered.
    pub(super) fn subscribe(&self, room: &RoomName) -> Pending<()> {
        let mut state = self.lock();
        if !state.open {
            return Pending::ready(Err(BackendError::Unavailable));
        }
        if state.rooms.contains(room) {
            return Pending::ready(Ok(()));
        }
        if state.changes.len() >= self.bound {
            return Pending::ready(Err(BackendError::Overloaded));
        }
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
        // Also while a new connection is being subscribed to what was wanted before.
        if state.rooms.remove(room) || state.open {
            // Whoever waits for a subscription is answered all the same: it was in vain.
            state.changes.entry(room.clone()).or_default().wanted = false;
            drop(state);
            self.changed.notify_one();
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

    /// The channels of all wanted rooms, a SUBSCRIBE at a time. What changes from here on is
    /// noted, and sent after them.
    fn channels(&self) -> Vec<Vec<String>> {
        let mut state = self.lock();
        state.changes.clear();
        let rooms: Vec<_> = state.rooms.iter().collect();
        rooms
            .chunks(MAX_CHANNELS)
            .map(|rooms| {
                rooms
                    .iter()
                    .map(|room| keys::channel(room).to_string())
                    .collect()
            })
            .collect()
    }

    /// Subscribes a new connection to everything that is wanted.
    pub(super) async fn resubscribe(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<()> {
        for channels in self.channels() {
            connection.subscribe(channels).await?;
        }
        Ok(())
    }

    /// Tells Redis what is wanted, until the link is lost.
    pub(super) async fn apply(&self, mut connection: MultiplexedConnection) -> Loss {
        loop {
            let changes = std::mem::take(&mut self.lock().changes);
            if changes.is_empty() {
                self.changed.notified().await;
                continue;
            }
            let (wanted, unwanted): (Vec<_>, Vec<_>) =
                changes.into_iter().partition(|(_, change)| change.wanted);
            if let Err(loss) = self.drop_rooms(&mut connection, unwanted).await {
                return loss;
            }
            let mut wanted = wanted.into_iter().peekable();
            while wanted.peek().is_some() {
                let batch: Vec<_> = wanted.by_ref().take(MAX_CHANNELS).collect();
                if let Err(loss) = self.add_rooms(&mut connection, batch).await {
                    return loss;
                }
            }
        }
    }

    async fn add_rooms(
        &self,
        connection: &mut MultiplexedConnection,
        batch: Vec<(RoomName, Change)>,
    ) -> Result<(), Loss> {
        let channels: Vec<_> = batch
            .iter()
            .map(|(room, _)| keys::channel(room).to_string())
            .collect();
        let outcome = match connection.subscribe(channels).await {
            Ok(()) => Ok(()),
            Err(error) => Err(Refusal::of(&error)?.into()),
        };
        if outcome.is_ok() {
            let mut state = self.lock();
            for (room, _) in &batch {
                let still_wanted = state.changes.get(room).is_none_or(|change| change.wanted);
                if still_wanted {
                    state.rooms.insert(room.clone());
                }
            }
        }
        answer(batch, &outcome);
        Ok(())
    }

    async fn drop_rooms(
        &self,
        connection: &mut MultiplexedConnection,
        rooms: Vec<(RoomName, Change)>,
    ) -> Result<(), Loss> {
        for batch in rooms.chunks(MAX_CHANNELS) {
            let channels: Vec<_> = batch
                .iter()
                .map(|(room, _)| keys::channel(room).to_string())
                .collect();
            if let Err(error) = connection.unsubscribe(channels).await {
                // Refused, we go on receiving what nobody wants: a cost, not a fault.
                Refusal::of(&error)?;
            }
        }
        answer(rooms, &Ok(()));
        Ok(())
    }

    /// No code panics under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(batch: Vec<(RoomName, Change)>, outcome: &Result<(), BackendError>) {
    for waiting in batch.into_iter().flat_map(|(_, change)| change.waiting) {
        // Whoever asked may have gone.
        let _ = waiting.send(outcome.clone());
    }
}
