//! The mailboxes of a node's users, and the receipts that the node awaits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::RandomState;
use fanfare_shared::RoomName;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::RoomKey;

/// The most messages whose receipts are awaited; one more is refused as
/// [`BackendError::Overloaded`].
const MAX_AWAITED: usize = 65_536;

/// A node's mailboxes, and the receipts that it awaits.
pub(super) struct Mail {
    /// Names this run of the node to those who send it receipts.
    pub(super) node: u32,
    /// Held while the backend is told that a mailbox is wanted or not, as a room's lock is.
    pub(super) boxes: Mutex<Mailboxes>,
    awaited: Mutex<HashMap<u64, mpsc::UnboundedSender<bool>, RandomState>>,
    next: AtomicU64,
}

type Mailboxes = HashMap<RoomName, Mailbox, RandomState>;

/// One user with connections on this node.
pub(super) struct Mailbox {
    pub(super) key: RoomKey,
    /// How many connections each worker has.
    pub(super) members: Box<[u32]>,
    /// Since when there are none.
    pub(super) empty_since: Option<Instant>,
    /// Whether the backend refused to hear of it, or could not just then.
    pub(super) is_deaf: bool,
}

impl Mailbox {
    pub(super) fn new(key: RoomKey, workers: usize) -> Self {
        Self {
            key,
            members: vec![0; workers].into(),
            empty_since: None,
            is_deaf: false,
        }
    }
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            node: fastrand::u32(..),
            boxes: Mutex::default(),
            awaited: Mutex::default(),
            next: AtomicU64::new(0),
        }
    }
}

impl Mail {
    /// Begins to await receipts; `None` where enough are awaited.
    pub(super) fn begin(&self) -> Option<(u64, mpsc::UnboundedReceiver<bool>)> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // As many receipts as nodes, of which a few know the number.
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut awaited = self.awaited.lock();
        if awaited.len() >= MAX_AWAITED {
            return None;
        }
        awaited.insert(number, sender);
        Some((number, receiver))
    }

    pub(super) fn end(&self, number: u64) {
        self.awaited.lock().remove(&number);
    }

    /// Hands a receipt to who awaits it, if anybody still does.
    pub(super) fn receipt(&self, number: u64, taken: bool) {
        if let Some(sender) = self.awaited.lock().get(&number) {
            // Who awaited it may have just gone.
            let _ = sender.send(taken);
        }
    }
}
