//! A shard: one Redis master, what waits for it, and which rooms the node wants there.
//!
//! Each shard has a [`supervisor`] and with it a link of its own; it fails, heals and catches up
//! by itself. Invariant: only the shard's own rooms hear of that.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use fanfare_shared::RoomName;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::cluster::Cluster;
use super::connect::ConnectError;
use super::interest::Interest;
use super::lease::Leases;
use super::link::Link;
use super::place::Place;
use super::predecessor::Predecessor;
use super::queue::{Load, Queue};
use super::slot::Slots;
use super::stats::{Families, Stats};
use super::{
    BackendError, Nobody, Options, Refused, Scope, Sink, keys, members, publisher, reader,
    supervisor,
};

/// The most bytes of envelopes that wait for a shard; more are refused as
/// [`BackendError::Overloaded`].
pub(super) const MAX_QUEUED_BYTES: usize = 64 * 1024 * 1024;

/// What all shards of a node have in common.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) options: Arc<Options>,
    pub(super) families: Arc<Families>,
    pub(super) leases: Arc<Leases>,
}

impl Common {
    pub(super) fn new(options: Options) -> Result<Self, prometheus::Error> {
        let families = Arc::new(Families::new()?);
        Ok(Self {
            leases: Arc::new(Leases::new(options.lease, Arc::clone(&families))),
            options: Arc::new(options),
            families,
        })
    }
}

/// What the calls and the tasks of one shard's link have in common.
pub(super) struct Shard {
    /// No other shard of the process has it, and none has zero.
    pub(super) number: u64,
    pub(super) options: Arc<Options>,
    pub(super) place: Place,
    pub(super) publications: Queue<publisher::Item, publisher::Shortcut>,
    pub(super) reads: Queue<reader::Item>,
    pub(super) members: Queue<members::Item>,
    pub(super) leases: Arc<Leases>,
    pub(super) interest: Interest,
    pub(super) predecessor: Predecessor,
    pub(super) stats: Arc<Stats>,
    pub(super) ready: watch::Sender<bool>,
    refusing: Mutex<Option<Refused>>,
    /// Whether the sink was told of a loss and has not caught up since.
    pub(super) gapped: AtomicBool,
    /// Which rooms are the shard's.
    pub(super) rooms: Box<Scope>,
    /// In a cluster: the slots that are its own, which the cluster says.
    pub(super) slots: Arc<Slots>,
    /// The cluster that it is part of.
    cluster: Option<Weak<Cluster>>,
}

impl Shard {
    /// Makes a shard without a link.
    pub(super) fn new(
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
            refusing: Mutex::default(),
            gapped: AtomicBool::new(false),
            rooms: Box::new(rooms),
            slots: Arc::default(),
            cluster: None,
        }
    }

    /// Makes it part of a cluster, with these slots.
    pub(super) fn within(self, cluster: &Weak<Cluster>, slots: Arc<Slots>) -> Self {
        Self {
            slots,
            cluster: Some(Weak::clone(cluster)),
            ..self
        }
    }

    /// Takes a publication on its way: sends it at once if nothing is under way.
    pub(super) fn publish(&self, item: publisher::Item) -> Result<(), BackendError> {
        let weight = item.weight();
        if let Some((item, shortcut)) = self.publications.offer(item, weight)? {
            shortcut.send(item);
        }
        Ok(())
    }

    // --- in a cluster ---

    /// Whether it is part of a cluster, whose channels belong to slots like keys.
    pub(super) const fn is_sharded(&self) -> bool {
        self.cluster.is_some()
    }

    /// The command that publishes.
    pub(super) const fn verb(&self) -> &'static str {
        if self.is_sharded() {
            "SPUBLISH"
        } else {
            "PUBLISH"
        }
    }

    /// The channel of the node's probe: in a cluster, one that is the shard's.
    pub(super) fn probe_channel(&self) -> String {
        let node = &self.options.node;
        let Some(cluster) = self.cluster() else {
            return keys::probe(node);
        };
        cluster.own_name(self, |number| keys::numbered_probe(node, number))
    }

    /// Notes that the cluster's slots may be elsewhere than they were.
    pub(super) fn doubt(&self) {
        if let Some(cluster) = self.cluster() {
            cluster.doubt();
        }
    }

    /// Notes that the server does not have a slot that it should have.
    pub(super) fn contradict(&self) {
        if let Some(cluster) = self.cluster() {
            cluster.contradict(self);
        }
    }

    /// Keeps publications that found their slots elsewhere until it is known where.
    pub(super) fn hold(&self, items: Vec<publisher::Item>) {
        if items.is_empty() {
            return;
        }
        match self.cluster() {
            Some(cluster) => cluster.hold(self, items),
            None => items
                .into_iter()
                .for_each(|item| item.fail(BackendError::Unavailable)),
        }
    }

    fn cluster(&self) -> Option<Arc<Cluster>> {
        self.cluster.as_ref()?.upgrade()
    }

    // --- the link ---

    /// Tries once whether the server can be used for all that a node does.
    pub(super) async fn check(self: &Arc<Self>) -> Result<(), ConnectError> {
        let nobody: Arc<dyn Sink> = Arc::new(Nobody);
        // The link that serves says it.
        self.stats.hold_back();
        let link = Link::make(self, &nobody).await?;
        link.touch_a_key().await
    }

    /// Begins to keep a link, until the answer is aborted.
    pub(super) fn attach(
        self: &Arc<Self>,
        sink: Arc<dyn Sink>,
        runtime: &Handle,
    ) -> JoinHandle<()> {
        let shard = Arc::clone(self);
        runtime.spawn(supervisor::run(shard, sink))
    }

    /// Why the server refuses writes, as seen by the last probe.
    pub(super) fn refusing(&self) -> Option<Refused> {
        *self.refusing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes why it does, if it does; answers what was noted before.
    pub(super) fn set_refusing(&self, refusing: Option<Refused>) -> Option<Refused> {
        self.stats.refusing.set(refusing.is_some().into());
        let mut noted = self.refusing.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut noted, refusing)
    }

    /// Whether publications get through.
    pub(super) fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    pub(super) fn set_ready(&self, ready: bool) {
        // First, for whoever waits and then looks at it.
        self.stats.connected.set(ready.into());
        self.ready.send_replace(ready);
    }
}
