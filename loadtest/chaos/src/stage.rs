//! What clients share: where the nodes are, which rooms there are, what they are told to do, and
//! the ledger that they write down everything in.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use crate::ledger::{Ledger, Room};

/// How fast publishers go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tempo {
    /// They begin nothing new.
    Paused,
    Steady,
    /// So many milliseconds apart, and with so many bytes of padding.
    Burst {
        apart: u64,
        padding: usize,
    },
}

/// What clients are told to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Orders {
    pub(crate) tempo: Tempo,
    /// Whether slow readers read nothing now.
    pub(crate) slow: bool,
    /// Whether subscribers come and go by themselves.
    pub(crate) restless: bool,
    /// Grows by one when everyone has to reconnect at once.
    pub(crate) storms: u32,
}

/// What clients share.
pub(crate) struct Stage {
    pub(crate) nodes: Vec<SocketAddr>,
    pub(crate) rooms: Vec<Room>,
    orders: watch::Sender<Orders>,
    ledger: Mutex<Ledger>,
    /// Publications that are not acknowledged yet.
    pending: AtomicUsize,
}

impl Stage {
    pub(crate) fn new(nodes: Vec<SocketAddr>, rooms: Vec<Room>, subscribers: usize) -> Self {
        Self {
            nodes,
            ledger: Mutex::new(Ledger::new(&rooms, subscribers)),
            rooms,
            orders: watch::Sender::new(Orders {
                tempo: Tempo::Paused,
                slow: false,
                restless: false,
                storms: 0,
            }),
            pending: AtomicUsize::new(0),
        }
    }

    /// The number of a room; none for one that is not ours.
    pub(crate) fn room(&self, name: &str) -> Option<usize> {
        self.rooms.iter().position(|room| room.name == name)
    }

    pub(crate) fn orders(&self) -> watch::Receiver<Orders> {
        self.orders.subscribe()
    }

    pub(crate) fn order(&self, change: impl FnOnce(&mut Orders)) {
        self.orders.send_modify(change);
    }

    /// The ledger. Nothing is awaited while it is held.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock()
    }

    /// Counts a publication as begun until the guard is dropped.
    pub(crate) fn begin_publish(&self) -> Pending<'_> {
        self.pending.fetch_add(1, Ordering::Relaxed);
        Pending(self)
    }

    /// How many publications are not acknowledged yet.
    pub(crate) fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }
}

/// A publication that is under way.
pub(crate) struct Pending<'a>(&'a Stage);

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A random time between two, in milliseconds.
pub(crate) fn between(random: &mut fastrand::Rng, low: u64, high: u64) -> Duration {
    Duration::from_millis(random.u64(low..=high))
}
