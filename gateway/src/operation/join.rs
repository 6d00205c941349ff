//! Becoming a member of a room.

use fanfare_broker::{self as broker, Hub, Replay, Ticket};
use fanfare_shared::RoomName;

/// A membership that is wanted.
#[derive(Debug)]
pub struct Join {
    /// Of which room.
    pub room: RoomName,
    /// What of the past is wanted.
    pub replay: Replay,
}

impl Join {
    /// Asks the hub for it. The answer comes by the worker's inbox.
    pub fn act(self, worker: usize, ticket: Ticket, hub: &Hub) {
        let join = broker::Join {
            worker,
            ticket,
            replay: self.replay,
        };
        hub.join(&self.room, join);
    }
}
