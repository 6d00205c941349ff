//! The way from a room to its shard.

use std::sync::Arc;

use fanfare_shared::RoomName;

use super::ranking::Ranking;
use super::shard::Shard;
use super::{BackendError, Pending};

/// Which shard has which rooms.
pub(super) struct Route {
    shards: Vec<Arc<Shard>>,
    ranking: Arc<Ranking>,
}

impl Route {
    /// Rooms spread over shards as they rank.
    pub(super) fn new(shards: Vec<Arc<Shard>>, ranking: Arc<Ranking>) -> Self {
        Self { shards, ranking }
    }

    /// Asks a room's shard for something. Where no shard has the room, that is unavailable.
    ///
    /// `ask` must neither wait nor call the sink: the shard stays the room's until it returns.
    pub(super) fn ask<T>(
        &self,
        room: &RoomName,
        ask: impl FnOnce(&Shard) -> Result<Pending<T>, BackendError>,
    ) -> Pending<T> {
        self.with(room, ask)
            .unwrap_or(Err(BackendError::Unavailable))
            .unwrap_or_else(|error| Pending::ready(Err(error)))
    }

    /// Does something with a room's shard, if it has one; on the terms of [`Route::ask`].
    pub(super) fn with<T>(&self, room: &RoomName, act: impl FnOnce(&Shard) -> T) -> Option<T> {
        let shard = self.shards.get(self.ranking.first(room))?;
        Some(act(shard))
    }

    /// The shards there are now.
    pub(super) fn shards(&self) -> &[Arc<Shard>] {
        &self.shards
    }
}
