//! Becoming a member of a room.

use std::sync::Arc;

use fanfare_broker::{self as broker, Hub, Replay, Ticket};
use fanfare_shared::RoomName;
use fanfare_shared::config::RoomRule;

use crate::auth::{Actor, Denied, Verb, authorize};

/// A membership that is wanted.
#[derive(Debug)]
pub struct Join {
    room: RoomName,
    rule: Arc<RoomRule>,
    replay: Replay,
    by_server: bool,
}

impl Join {
    /// That of a client in a room, with something of the room's past. A member may join anew, for
    /// the replay.
    ///
    /// # Errors
    ///
    /// [`Denied`] if the client may not join, or not read the newest of the room's messages.
    pub fn new(
        client: Actor<'_>,
        is_member: bool,
        room: RoomName,
        rule: Arc<RoomRule>,
        replay: Replay,
    ) -> Result<Self, Denied> {
        if !is_member {
            authorize(Verb::Join, room.as_str(), &rule, client)?;
        }
        if matches!(replay, Replay::Newest(_)) {
            // With the join it is a member.
            authorize(Verb::History, room.as_str(), &rule, client.as_member())?;
        }
        Ok(Self {
            room,
            rule,
            replay,
            by_server: false,
        })
    }

    /// The same where a backend makes the client a member: it was authorized when it said so.
    #[must_use]
    pub const fn by_server(room: RoomName, rule: Arc<RoomRule>) -> Self {
        Self {
            room,
            rule,
            replay: Replay::None,
            by_server: true,
        }
    }

    /// Whether a backend makes the client a member.
    #[must_use]
    pub const fn is_by_server(&self) -> bool {
        self.by_server
    }

    /// The room.
    #[must_use]
    pub const fn room(&self) -> &RoomName {
        &self.room
    }

    /// The room's rule.
    #[must_use]
    pub const fn rule(&self) -> &Arc<RoomRule> {
        &self.rule
    }

    /// What of the past is wanted.
    #[must_use]
    pub const fn replay(&self) -> Replay {
        self.replay
    }

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
