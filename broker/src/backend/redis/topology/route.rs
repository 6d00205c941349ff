//! The way from a room to its shard.

use std::sync::Arc;

use fanfare_shared::RoomName;

use super::cluster::Cluster;
use crate::backend::redis::calls::publish::Item;
use crate::backend::redis::names::ranking::Ranking;
use crate::backend::redis::shard::Shard;
use crate::backend::{BackendError, Pending};

/// Which shard has which rooms.
#[derive(Clone)]
pub(crate) enum Route {
    /// Each of some servers has the rooms for which it ranks highest.
    Ranked(Vec<Arc<Shard>>, Arc<Ranking>),
    /// A cluster says which of its masters has which.
    Cluster(Arc<Cluster>),
}

impl Route {
    /// Asks a room's shard for something. Where no shard has the room, that is unavailable.
    ///
    /// `ask` must neither wait nor call the sink: the shard stays the room's until it returns.
    pub(crate) fn ask<T>(
        &self,
        room: &RoomName,
        ask: impl FnOnce(&Shard) -> Result<Pending<T>, BackendError>,
    ) -> Pending<T> {
        self.with(room, ask)
            .unwrap_or(Err(BackendError::Unavailable))
            .unwrap_or_else(|error| Pending::ready(Err(error)))
    }

    /// Does something with a room's shard, if it has one; on the terms of [`Route::ask`].
    pub(crate) fn with<T>(&self, room: &RoomName, act: impl FnOnce(&Shard) -> T) -> Option<T> {
        match self {
            Self::Ranked(shards, ranking) => {
                let shard = shards.get(ranking.first(room))?;
                Some(act(shard))
            }
            Self::Cluster(cluster) => cluster.with(room, act),
        }
    }

    /// Hands a publication to its room's shard.
    pub(crate) fn publish(&self, item: Item) -> Result<(), BackendError> {
        match self {
            Self::Ranked(shards, ranking) => {
                let shard = shards.get(ranking.first(item.room()));
                shard.ok_or(BackendError::Unavailable)?.publish(item)
            }
            Self::Cluster(cluster) => cluster.publish(item),
        }
    }

    /// Names a room's shard; 0 where no shard has it.
    pub(crate) fn part(&self, room: &RoomName) -> u64 {
        self.with(room, |shard| shard.number).unwrap_or_default()
    }

    /// The shards that there are now.
    pub(crate) fn shards(&self) -> Vec<Arc<Shard>> {
        match self {
            Self::Ranked(shards, _) => shards.clone(),
            Self::Cluster(cluster) => cluster.shards(),
        }
    }
}
