//! Reading what a room keeps.

use fanfare_broker::Hub;
use fanfare_broker::backend::{Pending, Read, Snapshot};
use fanfare_shared::config::RoomRule;
use fanfare_shared::{Position, RoomName};

use crate::auth::{Actor, Denied, Verb, authorize};

/// Kept publications that are wanted.
#[derive(Debug)]
pub struct History {
    room: RoomName,
    read: Read,
}

impl History {
    /// Those of a room after a position, or else the newest. At most `limit`, or all that are kept.
    ///
    /// # Errors
    ///
    /// [`Denied`] if the actor may not read them.
    pub fn new(
        actor: Actor<'_>,
        room: RoomName,
        rule: &RoomRule,
        since: Option<Position>,
        limit: Option<u64>,
    ) -> Result<Self, Denied> {
        authorize(Verb::History, room.as_str(), rule, actor)?;
        let limit = limit.unwrap_or(u64::MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let limit = limit.min(rule.history.size);
        let read = match since {
            Some(position) => Read::After { position, limit },
            None => Read::Newest { limit },
        };
        Ok(Self { room, read })
    }

    /// The room.
    #[must_use]
    pub const fn room(&self) -> &RoomName {
        &self.room
    }

    /// Reads them.
    #[must_use]
    pub fn act(&self, hub: &Hub) -> Pending<Snapshot> {
        hub.history(&self.room, self.read)
    }
}
