//! One Redis Cluster: which master has which slot, and what waits while a slot is on its way from
//! one to another.
//!
//! Every master with slots is a shard. [`follow`] keeps the map and moves rooms when it changes;
//! here is what calls and shards need of it. Invariant: a room is looked up and used under one
//! lock, so that nothing is asked of a shard that has given the room away; the sink is never called
//! under it.
//!
//! While a slot moves, the cluster refuses what it cannot do yet (MOVED, ASK, TRYAGAIN). Nothing
//! was done then: such publications are held, and later ones of their slot behind them, until the
//! slot has settled, or for [`HOLD`]. ASK is not followed: channels stay with the old master until
//! all is moved, and what is published at the new one before would reach nobody.

mod follow;
mod map;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use fanfare_shared::RoomName;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, watch};

pub(crate) use follow::run;

use crate::backend::BackendError;
use crate::backend::redis::calls::publish::Item;
use crate::backend::redis::names::slot::{self, SLOTS, Slots};
use crate::backend::redis::server::connect::{ConnectError, Server};
use crate::backend::redis::server::place::Place;
use crate::backend::redis::shard::queue::Load;
use crate::backend::redis::shard::{Common, MAX_QUEUED_BYTES, Shard, SlotOwner};

/// How long a publication waits for its slot, all in all; then it is unavailable.
const HOLD: Duration = Duration::from_secs(5);

/// How many names are tried for one that belongs to a shard: with one slot of all, they do.
const MAX_NAMES: u32 = 200_000;

/// A cluster, as far as it is known.
pub(crate) struct Cluster {
    common: Common,
    seeds: Vec<Server>,
    state: Mutex<State>,
    doubted: Notify,
    /// Whether the map was ever read.
    mapped: watch::Sender<bool>,
    /// For the shards.
    this: Weak<Self>,
}

struct State {
    /// By address. As many as the cluster has masters with slots.
    shards: BTreeMap<String, Arc<Shard>>,
    /// Each slot's shard.
    owners: Vec<Option<Arc<Shard>>>,
    /// What waits for slots that are on their way, in order.
    held: HashMap<u16, VecDeque<Item>>,
    /// How much that is: as much as may wait for one shard.
    holding: Load,
    /// Who contradicted the map last, and so is asked first: the others may not have heard yet.
    witness: Option<String>,
}

impl Cluster {
    pub(crate) fn new(common: Common, seeds: Vec<Server>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            common,
            seeds,
            state: Mutex::new(State {
                shards: BTreeMap::new(),
                owners: vec![None; usize::from(SLOTS)],
                held: HashMap::new(),
                holding: Load::default(),
                witness: None,
            }),
            doubted: Notify::new(),
            mapped: watch::Sender::new(false),
            this: Weak::clone(this),
        })
    }

    /// Reads the map once.
    pub(crate) async fn learn(&self) -> Result<(), ConnectError> {
        self.swap(&self.look().await?);
        Ok(())
    }

    /// The masters that are known now.
    pub(crate) fn shards(&self) -> Vec<Arc<Shard>> {
        self.lock().shards.values().cloned().collect()
    }

    /// Waits until the map was read.
    pub(crate) async fn mapped(&self) {
        let mut mapped = self.mapped.subscribe();
        // Fails only without a sender, which lives as long as `self`.
        let _ = mapped.wait_for(|mapped| *mapped).await;
    }

    /// Does something with a room's shard, if there is one.
    pub(crate) fn with<T>(&self, room: &RoomName, act: impl FnOnce(&Shard) -> T) -> Option<T> {
        let state = self.lock();
        state.owner(slot::of_room(room)).map(|shard| act(shard))
    }

    /// Hands a publication to its room's shard, or puts it behind those that wait for the slot.
    pub(crate) fn publish(&self, item: Item) -> Result<(), BackendError> {
        let slot = slot::of_room(item.room());
        let state = &mut *self.lock();
        if let Some(waiting) = state.held.get_mut(&slot) {
            if self.is_full(state.holding, &item) {
                return Err(BackendError::Overloaded);
            }
            state.holding.add(item.weight());
            waiting.push_back(item);
            return Ok(());
        }
        let owner = state.owner(slot).ok_or(BackendError::Unavailable)?;
        owner.publish(item)
    }

    /// Whether a slot is a shard's.
    fn owns(&self, shard: &Shard, slot: u16) -> bool {
        let state = self.lock();
        state
            .owner(slot)
            .is_some_and(|owner| std::ptr::eq(&**owner, shard))
    }

    // --- what waits for slots ---

    /// Hands what waits to the shards that have the slots now, if they are linked.
    fn release(&self) {
        let mut dropped = Vec::new();
        let state = &mut *self.lock();
        for (slot, mut waiting) in std::mem::take(&mut state.held) {
            let owner = state.owners[usize::from(slot)].clone();
            let Some(owner) = owner.filter(|owner| owner.publications.is_open()) else {
                let late = waiting.iter().take_while(|item| item.age() >= HOLD).count();
                dropped.extend(waiting.drain(..late));
                if !waiting.is_empty() {
                    state.held.insert(slot, waiting);
                }
                continue;
            };
            for item in waiting {
                // One that does not fit is answered: it was dropped.
                let _ = owner.publish(item);
            }
        }
        state.holding = Load::default();
        for item in state.held.values().flatten() {
            state.holding.add(item.weight());
        }
        for item in dropped {
            item.fail(BackendError::Unavailable);
        }
    }

    fn is_full(&self, holding: Load, item: &Item) -> bool {
        holding.items >= self.common.options.queue
            || holding.weight + item.weight() > MAX_QUEUED_BYTES
    }

    fn is_holding(&self) -> bool {
        !self.lock().held.is_empty()
    }

    fn shard_at(&self, server: Server) -> Arc<Shard> {
        let slots = Arc::new(Slots::default());
        let owned = Arc::clone(&slots);
        let rooms = move |room: &RoomName| owned.contains(slot::of_room(room));
        let shard = Shard::new(&self.common, Place::Fixed(server), rooms);
        let owner: Weak<dyn SlotOwner> = Weak::<Self>::clone(&self.this);
        Arc::new(shard.within(owner, slots))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl SlotOwner for Cluster {
    /// The first of some names whose slot is a shard's.
    fn own_name(&self, shard: &Shard, name: &dyn Fn(u32) -> String) -> String {
        (0..MAX_NAMES)
            .map(name)
            .find(|name| self.owns(shard, slot::of_name(name)))
            // It has no slots any more: the link will be refused.
            .unwrap_or_else(|| name(0))
    }

    /// Notes that the map may be out of date.
    fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Notes that a shard does not have a slot that the map says it has.
    fn contradict(&self, shard: &Shard) {
        self.lock().witness = Some(shard.place.name().to_owned());
        self.doubt();
    }

    /// Keeps what a shard refused, and all that waits for the same slots there, until it is known
    /// where they are. Answers what has waited for too long, and what came from a shard that has
    /// given the slot away since: later publications may have been done elsewhere.
    fn hold(&self, shard: &Shard, refused: Vec<Item>) {
        let mut dropped = Vec::new();
        let state = &mut *self.lock();
        for item in refused {
            let slot = slot::of_room(item.room());
            let owned = state
                .owner(slot)
                .is_some_and(|owner| std::ptr::eq(&**owner, shard));
            if !owned || item.age() >= HOLD || self.is_full(state.holding, &item) {
                dropped.push(item);
                continue;
            }
            state.keep(item);
        }
        // Behind them, so that none is overtaken.
        let held = &state.held;
        let behind = shard
            .publications
            .extract(|item| held.contains_key(&slot::of_room(item.room())));
        behind.into_iter().for_each(|item| state.keep(item));
        state.witness = Some(shard.place.name().to_owned());
        self.doubt();
        for item in dropped {
            item.fail(BackendError::Unavailable);
        }
    }
}

impl State {
    fn owner(&self, slot: u16) -> Option<&Arc<Shard>> {
        self.owners[usize::from(slot)].as_ref()
    }

    /// Keeps a publication, behind those of its slot.
    fn keep(&mut self, item: Item) {
        self.holding.add(item.weight());
        let slot = slot::of_room(item.room());
        self.held.entry(slot).or_default().push_back(item);
    }
}
