//! Publications without an id: nobody is told that they were done, and so nobody is woken for it.
//!
//! Whoever learns the outcome, on any thread, looks at it. The worker hears, by its inbox, of a
//! failure; and of any outcome that the reader waits for.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use fanfare_broker::backend::{BackendError, Pending};
use fanfare_broker::{Inbox, Post, Ticket};
use fanfare_shared::Position;

use super::publish::begins_log;
use super::reply::{answer, refuse_backend};
use crate::socket::Connection;
use crate::worker::Worker;

/// A connection's publications whose outcome nobody awaits.
#[derive(Debug)]
pub(super) struct Unawaited {
    under_way: AtomicUsize,
    /// How many of those that were done began the log of their room, and are not accounted for.
    begun: AtomicU32,
    /// Whether the reader waits for one of them.
    is_wanted: AtomicBool,
    inbox: Arc<Inbox>,
    ticket: Ticket,
}

impl Unawaited {
    fn of(worker: &Worker, connection: &Connection) -> Self {
        Self {
            under_way: AtomicUsize::new(0),
            begun: AtomicU32::new(0),
            is_wanted: AtomicBool::new(false),
            inbox: Arc::clone(worker.inbox()),
            ticket: Ticket {
                slot: connection.slot,
                client: connection.client,
                id: None,
                announced: false,
            },
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
struct Held(Arc<Unawaited>);

impl Held {
    fn new(unawaited: &Arc<Unawaited>) -> Self {
        unawaited.under_way.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(unawaited))
    }

    fn settle(&self, outcome: Result<Option<Position>, BackendError>) {
        match outcome {
            Ok(position) if begins_log(position) => {
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

/// Leaves an outcome that nobody asked for: of a failure the client is told.
pub(super) fn leave(
    worker: &Worker,
    connection: &Rc<Connection>,
    outcome: Pending<Option<Position>>,
) {
    if matches!(outcome, Pending::Ready(_)) {
        answer(
            worker,
            connection,
            outcome,
            |worker, connection, outcome| match outcome {
                Ok(position) => {
                    let begun = u32::from(begins_log(position));
                    let mut session = connection.session.borrow_mut();
                    session.has_new_rooms(begun, worker.limits());
                }
                Err(error) => refuse_backend(worker, connection, None, &error),
            },
        );
        return;
    }
    let mut session = connection.session.borrow_mut();
    let unawaited = &mut session.unawaited;
    let unawaited = unawaited.get_or_insert_with(|| Arc::new(Unawaited::of(worker, connection)));
    let held = Held::new(unawaited);
    outcome.settle(move |outcome| held.settle(outcome));
}
