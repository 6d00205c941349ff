//! Follows the cluster: reads the map again when somebody doubts it, and now and then by itself;
//! moves rooms to the shards that have their slots now, and tells the sink of just these rooms.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use fanfare_shared::RoomName;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::Cluster;
use super::map::Map;
use crate::backend::Sink;
use crate::backend::redis::link::supervisor;
use crate::backend::redis::names::slot;
use crate::backend::redis::shard::Shard;
use crate::backend::redis::shard::stats::LogThrottle;
use crate::backoff::Backoff;

/// How long the map is believed when nobody doubts it.
const BELIEVED: Duration = Duration::from_secs(30);

/// When the cluster is asked again while something is amiss, at first and at most: a shard without a
/// link, a room without its subscription, a publication that waits for its slot.
const AMISS: Duration = Duration::from_millis(200);
const MAX_AMISS: Duration = Duration::from_secs(1);

/// The least time between two questions, however many doubts there are, and what is added to it
/// where the answers to many stay the same.
const PAUSE: Duration = Duration::from_millis(25);
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// How often a cluster that cannot be read is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// How long is waited after a fault of this program.
const FAULT_PAUSE: Duration = Duration::from_secs(2);

/// Follows the cluster until dropped, and keeps a link to each of its masters.
pub(crate) async fn run(cluster: Arc<Cluster>, sink: Arc<dyn Sink>) {
    loop {
        let mut following = JoinSet::new();
        following.spawn(keep(Arc::clone(&cluster), Arc::clone(&sink)));
        // Comes to an end only by a panic, in the sink for example.
        let _ = following.join_next().await;
        tracing::error!("following the cluster failed by a fault in this program");
        sleep(FAULT_PAUSE).await;
    }
}

async fn keep(cluster: Arc<Cluster>, sink: Arc<dyn Sink>) {
    let mut follower = Follower {
        cluster,
        sink,
        tasks: JoinSet::new(),
        supervisors: HashMap::new(),
        movers: HashMap::new(),
        seldom: LogThrottle::new(LOG_INTERVAL),
    };
    let mut amiss = Backoff::new(AMISS, MAX_AMISS);
    let mut pause = Backoff::new(PAUSE, MAX_PAUSE);
    loop {
        let found = follower.follow().await;
        if found.changed {
            amiss.reset();
            pause.reset();
        }
        let patience = if found.amiss {
            amiss.wait()
        } else {
            amiss.reset();
            // Nodes that started together do not ask together.
            BELIEVED.mul_f64(1.0 - fastrand::f64() / 4.0)
        };
        sleep(PAUSE + pause.wait()).await;
        // Asked in any case when that is over.
        let doubted = timeout(patience, follower.cluster.doubted.notified()).await;
        if doubted.is_err() {
            pause.reset();
        }
    }
}

/// What a look at the cluster showed.
struct Found {
    /// Whether slots have changed hands since the last.
    changed: bool,
    amiss: bool,
}

struct Follower {
    cluster: Arc<Cluster>,
    sink: Arc<dyn Sink>,
    /// Supervisors and movers: they end with this.
    tasks: JoinSet<()>,
    supervisors: HashMap<String, AbortHandle>,
    movers: HashMap<String, Mover>,
    seldom: LogThrottle,
}

/// Waits for a shard's rooms to be subscribed, then has the sink catch up.
struct Mover {
    rooms: Arc<HashSet<RoomName>>,
    task: AbortHandle,
}

impl Follower {
    /// Asks once, and acts on the answer.
    async fn follow(&mut self) -> Found {
        while self.tasks.try_join_next().is_some() {}
        let (mut moved, mut changed) = (Vec::new(), false);
        match self.cluster.look().await {
            Ok(map) => (moved, changed) = self.cluster.swap(&map),
            Err(error) => {
                if let Some(unlogged) = self.seldom.now() {
                    tracing::warn!(unlogged, "{error}");
                }
            }
        }
        let shards = self.cluster.shards();
        self.supervise(&shards);
        let mut amiss = self.cluster.is_holding() || shards.is_empty();
        for shard in &shards {
            amiss |= !shard.is_ready();
            let arrived = moved.iter().filter(|room| (shard.rooms)(room)).cloned();
            amiss |= self.settle(shard, arrived);
        }
        // Last: from here on, what is published finds the rooms where they are.
        self.cluster.release();
        self.cluster.mapped.send_if_modified(|mapped| {
            let first = !*mapped && !shards.is_empty();
            *mapped |= first;
            first
        });
        Found { changed, amiss }
    }

    /// Gives every shard a supervisor, and ends those whose shards are no more.
    fn supervise(&mut self, shards: &[Arc<Shard>]) {
        for shard in shards {
            let address = shard.place.name();
            if !self.supervisors.contains_key(address) {
                let (shard, sink) = (Arc::clone(shard), Arc::clone(&self.sink));
                let name = address.to_owned();
                let task = self.tasks.spawn(supervisor::run(shard, sink));
                self.supervisors.insert(name, task);
            }
        }
        let lives = |address: &String| shards.iter().any(|shard| shard.place.name() == address);
        let families = &self.cluster.common.families;
        self.supervisors.retain(|address, task| {
            let lives = lives(address);
            if !lives {
                task.abort();
                families.forget(address);
            }
            lives
        });
        self.movers.retain(|address, mover| {
            let lives = lives(address);
            if !lives {
                mover.task.abort();
            }
            lives
        });
    }

    /// Has a shard subscribe to rooms that came to it, just now or earlier, and the sink catch up
    /// with them then; answers whether there are such.
    fn settle(&mut self, shard: &Arc<Shard>, arrived: impl Iterator<Item = RoomName>) -> bool {
        let address = shard.place.name();
        let mut rooms = shard.interest.retry();
        // Even if they are subscribed to already: what came before that was missed.
        let fresh: Vec<_> = arrived.collect();
        let nothing_new = fresh.is_empty();
        rooms.extend(fresh);
        if rooms.is_empty() {
            return false;
        }
        let mover = self.movers.remove(address);
        if let Some(mover) = mover.filter(|mover| !mover.task.is_finished()) {
            if nothing_new && rooms.is_subset(&mover.rooms) {
                self.movers.insert(address.to_owned(), mover);
                return true;
            }
            mover.task.abort();
            rooms.extend(mover.rooms.iter().cloned());
        }
        let rooms = Arc::new(rooms);
        let concerned = Arc::clone(&rooms);
        self.sink.lost(&move |room| concerned.contains(room));
        let (shard, sink, moved) = (
            Arc::clone(shard),
            Arc::clone(&self.sink),
            Arc::clone(&rooms),
        );
        let name = address.to_owned();
        let task = self.tasks.spawn(async move {
            shard.interest.settled(&moved).await;
            // Subscribed while the link is made, they cannot be read yet.
            let _ = shard.ready.subscribe().wait_for(|ready| *ready).await;
            sink.restored(&move |room| moved.contains(room)).await;
        });
        self.movers.insert(name, Mover { rooms, task });
        true
    }
}

impl Cluster {
    /// Takes a new map: shards for masters that are new, rooms and what waits for them to where
    /// their slots are; answers which rooms have changed hands, and whether any slot has.
    pub(crate) fn swap(&self, map: &Map) -> (Vec<RoomName>, bool) {
        let state = &mut *self.lock();
        let mut moved = HashSet::new();
        let mut givers: Vec<Arc<Shard>> = Vec::new();
        for (slots, server) in &map.0 {
            let shard = match state.shards.get(&server.address) {
                Some(shard) => Arc::clone(shard),
                None => {
                    let shard = self.shard_at(server.clone());
                    let address = server.address.clone();
                    state.shards.insert(address, Arc::clone(&shard));
                    shard
                }
            };
            for slot in slots.clone() {
                let owner = &mut state.owners[usize::from(slot)];
                if owner
                    .as_ref()
                    .is_some_and(|owner| Arc::ptr_eq(owner, &shard))
                {
                    continue;
                }
                moved.insert(slot);
                if let Some(giver) = owner.replace(Arc::clone(&shard)) {
                    giver.slots.remove(slot);
                    if !givers.iter().any(|known| Arc::ptr_eq(known, &giver)) {
                        givers.push(giver);
                    }
                }
                shard.slots.insert(slot);
            }
        }
        if !givers.is_empty() {
            let (slots, masters) = (moved.len(), state.shards.len());
            tracing::info!(slots, masters, "slots of the cluster have changed hands");
        }
        let mut rooms = Vec::new();
        let is_moved = |room: &RoomName| moved.contains(&slot::of_room(room));
        for giver in givers {
            let waiting = giver.publications.extract(|item| is_moved(item.room()));
            waiting.into_iter().for_each(|item| state.keep(item));
            for (room, subscriber) in giver.interest.give(is_moved) {
                if let Some(owner) = state.owner(slot::of_room(&room)) {
                    owner.interest.take_over(&room, subscriber);
                    rooms.push(room);
                }
            }
        }
        let owners = &state.owners;
        state.shards.retain(|_, shard| {
            let mut owned = owners.iter().flatten();
            owned.any(|owner| Arc::ptr_eq(owner, shard))
        });
        (rooms, !moved.is_empty())
    }
}
