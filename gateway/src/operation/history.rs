//! Reading what a room keeps.

use std::sync::Arc;

use fanfare_broker::Hub;
use fanfare_broker::backend::{Pending, Read, Snapshot};
use fanfare_shared::config::RoomRule;
use fanfare_shared::{Position, RoomName};

/// Kept publications that are wanted.
#[derive(Debug)]
pub struct History {
    /// Of which room.
    pub room: RoomName,
    /// The room's rule.
    pub rule: Arc<RoomRule>,
    /// Only those after this position; without it, the newest.
    pub since: Option<Position>,
    /// At most as many; all that are kept where nothing is said.
    pub limit: Option<u64>,
}

impl History {
    /// Reads them.
    pub fn act(&self, hub: &Hub) -> Pending<Snapshot> {
        let limit = self.limit.unwrap_or(u64::MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let limit = limit.min(self.rule.history.size);
        let read = match self.since {
            Some(position) => Read::After { position, limit },
            None => Read::Newest { limit },
        };
        hub.history(&self.room, read)
    }
}
