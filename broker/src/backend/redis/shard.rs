//! A shard: one Redis master, what waits for it, and which rooms the node wants there.
//!
//! Each shard has a link of its own; it fails, heals and catches up by itself. Invariant: only the
//! shard's own rooms hear of that.

pub(crate) mod interest;
pub(crate) mod leases;
pub(crate) mod queue;
pub(crate) mod shortcut;
pub(crate) mod stats;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use fanfare_shared::RoomName;
use parking_lot::Mutex;
use tokio::sync::watch;

use self::interest::Interest;
use self::leases::Leases;
use self::queue::{Load, Queue};
use self::shortcut::Shortcut;
use self::stats::{Families, Stats};
use crate::backend::redis::calls::{members, publish, read};
use crate::backend::redis::names::keys;
use crate::backend::redis::names::slot::Slots;
use crate::backend::redis::options::Options;
use crate::backend::redis::server::place::Place;
use crate::backend::redis::server::predecessor::Predecessor;
use crate::backend::redis::wire::channels::Channels;
use crate::backend::{BackendError, Refused, Scope};

/// The most bytes of envelopes that wait for a shard; more are refused as
/// [`BackendError::Overloaded`].
pub(crate) const MAX_QUEUED_BYTES: usize = 64 * 1024 * 1024;

/// What all shards of a node have in common.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) options: Arc<Options>,
    pub(crate) families: Arc<Families>,
    pub(crate) leases: Arc<Leases>,
}

impl Common {
    pub(crate) fn new(options: Options) -> Result<Self, prometheus::Error> {
        let families = Arc::new(Families::new()?);
        Ok(Self {
            leases: Arc::new(Leases::new(options.lease, Arc::clone(&families))),
            options: Arc::new(options),
            families,
        })
    }
}

/// What a shard asks of the cluster that it is part of.
pub(crate) trait SlotOwner: Send + Sync {
    /// The first of some names whose slot is a shard's.
    fn own_name(&self, shard: &Shard, name: &dyn Fn(u32) -> String) -> String;

    /// Notes that the slots may be elsewhere than they were.
    fn doubt(&self);

    /// Notes that a shard does not have a slot that it should have.
    fn contradict(&self, shard: &Shard);

    /// Keeps what a shard refused until it is known where the slots are.
    fn hold(&self, shard: &Shard, refused: Vec<publish::Item>);
}

/// What the calls and the tasks of one shard's link have in common.
pub(crate) struct Shard {
    /// No other shard of the process has it, and none has zero.
    pub(crate) number: u64,
    pub(crate) options: Arc<Options>,
    pub(crate) place: Place,
    pub(crate) publications: Queue<publish::Item, Shortcut>,
    pub(crate) reads: Queue<read::Item>,
    pub(crate) members: Queue<members::Item>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) interest: Interest,
    pub(crate) predecessor: Predecessor,
    pub(crate) stats: Arc<Stats>,
    pub(crate) ready: watch::Sender<bool>,
    /// Which kind its channels are of.
    pub(crate) channels: Channels,
    refusing: Mutex<Option<Refused>>,
    /// Whether the sink was told of a loss and has not caught up since.
    pub(crate) gapped: AtomicBool,
    /// Which rooms are the shard's.
    pub(crate) rooms: Box<Scope>,
    /// In a cluster: the slots that are its own, which the cluster says.
    pub(crate) slots: Arc<Slots>,
    /// In a cluster: who says which slots those are.
    owner: Option<Weak<dyn SlotOwner>>,
}

impl Shard {
    /// Makes a shard without a link.
    pub(crate) fn new(
        common: &Common,
        place: Place,
        rooms: impl Fn(&RoomName) -> bool + Send + Sync + 'static,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let items = common.options.queue;
        let stats = Arc::new(common.families.of(place.name()));
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            options: Arc::clone(&common.options),
            place,
            publications: Queue::new(Load {
                items,
                weight: MAX_QUEUED_BYTES,
            }),
            reads: Queue::new(Load {
                items,
                weight: usize::MAX,
            }),
            members: Queue::new(Load {
                items,
                weight: usize::MAX,
            }),
            leases: Arc::clone(&common.leases),
            interest: Interest::new(items),
            predecessor: Predecessor::default(),
            stats,
            ready: watch::Sender::new(false),
            channels: Channels::Plain,
            refusing: Mutex::default(),
            gapped: AtomicBool::new(false),
            rooms: Box::new(rooms),
            slots: Arc::default(),
            owner: None,
        }
    }

    /// Makes it part of a cluster, with these slots.
    pub(crate) fn within(self, owner: Weak<dyn SlotOwner>, slots: Arc<Slots>) -> Self {
        Self {
            slots,
            channels: Channels::Sharded,
            owner: Some(owner),
            ..self
        }
    }

    /// Takes a publication on its way: sends it at once if nothing is under way.
    pub(crate) fn publish(&self, item: publish::Item) -> Result<(), BackendError> {
        let weight = item.weight();
        if let Some((item, shortcut)) = self.publications.offer(item, weight)? {
            shortcut.send(item);
        }
        Ok(())
    }

    // --- in a cluster ---

    /// Whether a room has gone elsewhere, of which a late word may come still.
    pub(crate) fn has_given(&self, room: &RoomName) -> bool {
        self.owner.is_some() && !(self.rooms)(room)
    }

    /// The channel of the node's probe: in a cluster, one that is the shard's.
    pub(crate) fn probe_channel(&self) -> String {
        let node = &self.options.node;
        let Some(owner) = self.owner() else {
            return keys::probe(node);
        };
        owner.own_name(self, &|number| keys::numbered_probe(node, number))
    }

    /// Notes that the cluster's slots may be elsewhere than they were.
    pub(crate) fn doubt(&self) {
        if let Some(owner) = self.owner() {
            owner.doubt();
        }
    }

    /// Notes that the server does not have a slot that it should have.
    pub(crate) fn contradict(&self) {
        if let Some(owner) = self.owner() {
            owner.contradict(self);
        }
    }

    /// Keeps publications that found their slots elsewhere until it is known where.
    pub(crate) fn hold(&self, items: Vec<publish::Item>) {
        if items.is_empty() {
            return;
        }
        match self.owner() {
            Some(owner) => owner.hold(self, items),
            None => items
                .into_iter()
                .for_each(|item| item.fail(BackendError::Unavailable)),
        }
    }

    fn owner(&self) -> Option<Arc<dyn SlotOwner>> {
        self.owner.as_ref()?.upgrade()
    }

    // --- the link ---

    /// Why the server refuses writes, as seen by the last probe.
    pub(crate) fn refusing(&self) -> Option<Refused> {
        *self.refusing.lock()
    }

    /// Notes why it does, if it does; answers what was noted before.
    pub(crate) fn set_refusing(&self, refusing: Option<Refused>) -> Option<Refused> {
        self.stats.refusing.set(refusing.is_some().into());
        let mut noted = self.refusing.lock();
        std::mem::replace(&mut noted, refusing)
    }

    /// Whether publications get through.
    pub(crate) fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        // First, for whoever waits and then looks at it.
        self.stats.connected.set(ready.into());
        self.ready.send_replace(ready);
    }
}
