//! Publications without an id: nobody is told that they were done, and so nobody is woken for it.
//!
//! The outcome is looked at where it becomes known, on any thread. The worker hears, by its inbox,
//! of a failure; and of any outcome that the reader waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use fanfare_broker::backend::BackendError;
use fanfare_broker::{Inbox, Post, Ticket};
use fanfare_shared::Position;

/// A connection's publications whose outcome nobody awaits.
#[derive(Debug)]
pub struct Detached {
    under_way: AtomicUsize,
    /// How many of those that were done began the log of their room, and are not accounted for.
    begun: AtomicU32,
    /// Whether the reader waits for one of them.
    is_wanted: AtomicBool,
    inbox: Arc<Inbox>,
    ticket: Ticket,
}

impl Detached {
    /// None yet. `inbox` and `ticket` lead to the connection.
    #[must_use]
    pub const fn new(inbox: Arc<Inbox>, ticket: Ticket) -> Self {
        Self {
            under_way: AtomicUsize::new(0),
            begun: AtomicU32::new(0),
            is_wanted: AtomicBool::new(false),
            inbox,
            ticket,
        }
    }

    /// How many there are.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::SeqCst)
    }

    /// How many began the log of their room since this was last asked.
    pub(super) fn take_begun(&self) -> u32 {
        self.begun.swap(0, Ordering::Relaxed)
    }

    /// Has the reader woken when the next outcome is known. What the reader waits for has to be
    /// looked at again after this: the outcome may just have come.
    pub(super) fn want(&self) {
        // In one order with the end of `Held`: either that sees this, or what is looked at next
        // sees that.
        self.is_wanted.store(true, Ordering::SeqCst);
    }
}

/// One of them, until its outcome is known.
#[derive(Debug)]
pub struct Held(Arc<Detached>);

impl Held {
    pub(super) fn new(detached: &Arc<Detached>) -> Self {
        detached.under_way.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(detached))
    }

    /// Takes note of the outcome. Does not block.
    pub fn settle(self, outcome: Result<Option<Position>, BackendError>) {
        match outcome {
            Ok(position) if position.is_some_and(|position| position.offset == 1) => {
                self.0.begun.fetch_add(1, Ordering::Relaxed);
            }
            Ok(_) => {}
            Err(error) => self.post(Some(error)),
        }
    }

    fn post(&self, failed: Option<BackendError>) {
        let ticket = self.0.ticket;
        self.0.inbox.push(Post::Settled { ticket, failed });
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
        if self.0.is_wanted.swap(false, Ordering::SeqCst) {
            self.post(None);
        }
    }
}
