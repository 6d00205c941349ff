//! The mailboxes of a node's users, and the answers that the node awaits.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::RandomState;
use bytes::Bytes;
use fanfare_shared::RoomName;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::RoomKey;

/// The most letters and questions whose answers are awaited; one more is refused as
/// [`BackendError::Overloaded`].
const MAX_AWAITED: usize = 65_536;

/// A node's mailboxes, and the answers that it awaits.
pub(super) struct Mail {
    /// Names this run of the node to those who answer it.
    pub(super) node: u32,
    /// Held while the backend is told that a mailbox is wanted or not, as a room's lock is.
    pub(super) boxes: Mutex<Mailboxes>,
    awaited: Mutex<HashMap<u64, mpsc::UnboundedSender<Bytes>, RandomState>>,
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
    /// Begins to await answers; `None` where enough are awaited.
    pub(super) fn begin(self: &Arc<Self>) -> Option<Awaited> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // As many answers as nodes, of which a few know the number.
        let (sender, answers) = mpsc::unbounded_channel();
        let mut awaited = self.awaited.lock();
        if awaited.len() >= MAX_AWAITED {
            return None;
        }
        awaited.insert(number, sender);
        drop(awaited);
        Some(Awaited {
            number,
            answers,
            mail: Arc::clone(self),
        })
    }

    /// Hands an answer to the one who awaits it, if it still does.
    pub(super) fn answer(&self, number: u64, answer: Bytes) {
        if let Some(sender) = self.awaited.lock().get(&number) {
            // It may have just ended.
            let _ = sender.send(answer);
        }
    }
}

/// Answers that are awaited, until this is dropped.
pub(super) struct Awaited {
    number: u64,
    answers: mpsc::UnboundedReceiver<Bytes>,
    mail: Arc<Mail>,
}

impl Awaited {
    /// What names them to those who answer.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// The next answer. Cancel-safe.
    pub(super) async fn answer(&mut self) -> Bytes {
        match self.answers.recv().await {
            Some(answer) => answer,
            // Its sender stays in the map until this is dropped.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.mail.awaited.lock().remove(&self.number);
    }
}
